"""Diagnose: which layers are dead, drowned, doubled, aliased or idle, and what to change."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from convscope.errors import ConvscopeError, DataError, Interrupted
from convscope.methods import bad_images
from convscope.methods import budget as budgets
from convscope.methods.diagnosis import (
    aliasing,
    grid,
    importance,
    layer_faults,
    receptive_field,
    whole,
)
from convscope.methods.diagnosis.examined import ExaminedLayer
from convscope.methods.diagnosis.finding import Finding, Thresholds
from convscope.methods.diagnosis.importance import Fidelity, WithoutLayers
from convscope.methods.diagnosis.measured import Measured
from convscope.methods.diagnosis.receptive_field import Fields, receptive_fields
from convscope.methods.diagnosis.result import Diagnosis, LayerDiagnosis
from convscope.methods.kernels import kernels_of, weight_tensor
from convscope.methods.scan import scan
from convscope.methods.scanning.batches import batches
from convscope.methods.scanning.image_pass import batch_size
from convscope.methods.scanning.result import Scan
from convscope.methods.scanning.sources import Images, fitted, images_of
from convscope.methods.scanning.units import ScannedLayer, scanned_layers
from convscope.network import Network
from convscope.network.shield import shielded

SAMPLE = 1000
ANSWERED = 500
"""Images that are answered anew with each layer taken out, at most."""

FIELD_IMAGES = 8
"""Images that an effective receptive field is the mean of."""

SPREADING = (
    layer_faults.DEAD, layer_faults.DOMINATING, layer_faults.EXPLODING, layer_faults.SATURATION,
)  # fmt: skip
"""Findings that change what the layers above are given."""

ONE_ANSWER = 0.9
"""A network that gives nearly every image the same answer does not show what a layer does."""


@shielded
@budgets.holding
def diagnose(
    net: Network,
    images: Any,
    *,
    scanned: Scan | None = None,
    thresholds: Thresholds | Mapping[str, float] | None = None,
    sample: int = SAMPLE,
    budget: float | str | None = None,
    memory: int | str = budgets.DEFAULT,
    progress: budgets.Progress | None = None,
) -> Diagnosis:
    """Find what is wrong with a network's layers, with the evidence and what to change.

    Looked for are dead units, dominating and duplicate filters, exploding layers, a first layer
    that aliases or leaves out the middle frequencies (Zeiler & Fergus, arXiv 1311.2901, sec. 4.1),
    saturated units, strides that leave a checkerboard in projections (Odena et al. 2016), a last
    layer that sees too little (Luo et al., arXiv 1701.04128), and layers that the answer does not
    need. A healthy network gets no finding.

    Args:
        net: the network.
        images: as for :func:`.scan`; or a :class:`.Scan` alone, which leaves out what needs the
            images themselves.
        scanned: a scan of these images by this network, if there is one; else it is made.
        thresholds: from where on something is a fault, or some of them by name.
        sample: on how many of the images, spread evenly, activations are compared, at most.
        budget: seconds for what is slow and optional (effective receptive fields, and what each
            layer matters), as a number or a text such as ``"90s"``; None for no limit, 0 for none
            of it. What was left out is said.
        memory: bytes, or a text such as ``"2GB"``, for the maps.
        progress: called with the steps done and the steps in all.

    Raises:
        UnitError: if the network has no convolution.
        DataError: if there is no image, or *scanned* is of another network or set of images.
        ConvscopeError: if there is no such threshold, or the budget or sample is none.
        Interrupted: on Ctrl-C while the slow part is measured, with the rest as its ``result``.

    >>> import torch
    >>> from torch import nn
    >>> module = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.ReLU())
    >>> _ = torch.nn.init.dirac_(module[0].weight)  # one filter passes on, three are zero
    >>> net = Network(module, torch.zeros(1, 1, 8, 8))
    >>> pictures = list(torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    >>> found = diagnose(net, pictures, budget=0)
    >>> [(finding.kind, finding.layer, finding.channels) for finding in found.findings]
    [('dead units', '0', (1, 2, 3))]
    """
    if not isinstance(thresholds, Thresholds):
        thresholds = Thresholds.named(thresholds or {})
    seconds = budgets.Deadline(budget, or_zero=True).seconds
    if sample < 1:
        raise ConvscopeError(f"the sample must be at least 1 image, not {sample}")
    room = budgets.parse_bytes(memory)
    net = fitted(net, images)
    source = None if isinstance(images, Scan) else images_of(images, net)
    given = images if isinstance(images, Scan) else scanned
    if given is not None:
        _check_same(net, source, given)
    work = _DiagnosisWork(net, source, thresholds, room, sample, progress)
    work.scan(given)
    work.measure()
    try:
        work.spend(seconds)
    except KeyboardInterrupt:
        work.stopped = "interrupted"
        raise Interrupted("the diagnosis was stopped", work.diagnosis()) from None
    return work.diagnosis()


def _check_same(net: Network, source: Images | None, scanned: Scan) -> None:
    facts = scanned.tally.facts
    scanned.check_weights(net)
    if len(facts["layers"]) < len(scanned_layers(net)):
        raise DataError(f"the scan is of some layers only, and a diagnosis needs all of {net.name}")
    if source is not None and facts["data"]["fingerprint"] != source.fingerprint():
        raise DataError(f"the scan is of other images than {source.name}")


class _DiagnosisWork:
    def __init__(
        self, net: Network, source: Images | None, thresholds: Thresholds, memory: int,
        sample: int, progress: budgets.Progress | None,
    ) -> None:  # fmt: skip
        self.net, self.source, self.thresholds = net, source, thresholds
        self.layers = scanned_layers(net)
        self.first = aliasing.first_layer(net, self.layers)
        self.memory, self.most = memory, sample
        self.size = batch_size(net, memory)
        self.left_out: list[str] = []
        self.stopped = ""
        self.fields: dict[str, Fields] = {}
        self.without: dict[str, Fidelity] = {}
        self.skipping: dict[str, Fidelity | None] = {}
        self.ablation: WithoutLayers | None = None
        self.response: aliasing.Response | None = None
        self.kept = self.labels = torch.zeros(0)
        self.sampled = 0
        self.level = 0.0
        self._progress, self._done = progress, 0
        self._total = (0 if source is None else len(source) + min(sample, len(source))) + 2 * len(
            self.layers
        )

    def _count(self, done: int) -> None:
        if self._progress:
            self._progress(self._done + done, self._total)

    def scan(self, given: Scan | None) -> None:
        if given is None:
            assert self.source is not None
            try:
                given = scan(
                    self.net, self.source, top=1, memory=self.memory,
                    progress=lambda done, _: self._count(done),
                )  # fmt: skip
            except Interrupted:
                # Of part of the images nothing is known of a unit that answers to others.
                raise Interrupted(
                    "the diagnosis was stopped before anything was measured"
                ) from None
        self.scanned = given
        self.left_out += given.label_notes()
        self._done += 0 if self.source is None else len(self.source)

    def measure(self) -> None:
        """Compare the channels' activations, and take the images' spectrum."""
        measured = None
        if self.source is None:
            self.left_out.append("whatever needs the images: there is only a scan of them")
        else:
            measured = self._sampled(self.source)
            self.level = measured.level
        self.examined = [
            ExaminedLayer(
                layer=layer,
                scan=self.scanned.layers[layer.name],
                images=self.scanned.images,
                kernels=kernels_of(self.net, layer),
                correlation=(
                    measured.moments[layer.step].correlation().nan_to_num_(0.0).numpy()
                    if measured
                    else self.scanned.layers[layer.name].similarity
                ),
                saturated=measured.flat_ends[place].share() if measured else None,
            )
            for place, layer in enumerate(self.layers)
        ]

    def _sampled(self, source: Images) -> Measured:
        good = [number for number in range(len(source)) if number not in self.scanned.tally.bad]
        chosen = [good[place] for place in budgets.evenly(len(good), self.most)]
        measured = Measured(self.net, self.layers)
        spectrum = aliasing.ImageSpectrum(self.net.input_shape)
        # So many stay in memory for what is slow.
        one = math.prod(self.net.input_shape) * self.net.dtype.itemsize
        every = max(1, len(chosen) // max(1, min(ANSWERED, self.memory // 4 // one)))
        kept, labels = [], []
        for batch in batches([(source, self.net)], chosen, self.size):
            (images,), (right,) = batch.inputs, batch.answers
            measured.add(images)
            if self.first is not None:
                spectrum.add(images)
            place = torch.arange(self.sampled, self.sampled + len(images))
            kept.append(images[place % every == 0])
            labels.append(right[place % every == 0])
            self.sampled += len(images)
            self._count(batch.done)
        self._done += len(chosen)
        self.kept, self.labels = torch.cat(kept), torch.cat(labels)
        if self.first is not None:
            self.response = aliasing.response_of(self.net, self.first, spectrum)
        return measured

    def spend(self, seconds: float | None) -> None:
        """Measure what is slow, the cheapest first, until the time is up."""
        if self.source is None:
            return
        deadline = budgets.Deadline(seconds, or_zero=True)
        tasks = [("effective receptive field", own, self._find_fields) for own in self.layers[::-1]]
        if not self.net.class_count:
            self.left_out.append(f"what each layer matters: {self.net.name} is no classifier")
        else:
            if few := importance.too_few(len(self.kept), self.thresholds):
                self.left_out.append(few)
            tasks += [("importance", layer, self._take_out) for layer in self.layers]
        for done, (_, layer, task) in enumerate(tasks):
            if deadline.passed:
                self.stopped = "budget"
                break
            task(layer)
            self._count(done + 1)
        else:
            return
        for what, left in itertools.groupby(tasks[done:], lambda task: task[0]):
            layers = [layer.name for _, layer, _ in left]
            which = "all layers" if len(layers) == len(self.layers) else ", ".join(layers)
            self.left_out.append(f"{what} of {which}: the budget of {seconds:g} s was spent")

    def _find_fields(self, layer: ScannedLayer) -> None:
        images = self.kept[:: max(1, len(self.kept) // FIELD_IMAGES)][:FIELD_IMAGES]
        self.fields[layer.name] = receptive_fields(self.net, layer, images, self.memory)

    def _take_out(self, layer: ScannedLayer) -> None:
        if self.ablation is None:
            self.ablation = WithoutLayers(self.net, self.layers, self.kept, self.labels, self.size)
        self.without[layer.name] = self.ablation.without(layer)
        self.skipping[layer.name] = self.ablation.skipping(layer)

    def diagnosis(self) -> Diagnosis:
        filters, spectra, stride = torch.zeros(0, 1, 1, 1), torch.zeros(0, 1, 1), (1, 1)
        if self.first is not None and self.response is not None:
            filters = weight_tensor(self.net, self.first).float()
            power = torch.from_numpy(self.response.power).float()
            spectra = torch.fft.fftshift(power, dim=(1, 2))  # the frequency zero in the middle
            stride = self.response.stride
        findings = sorted(self._findings(), key=lambda finding: -finding.severity)
        title = self.source.title if self.source else self.scanned.title
        return Diagnosis(
            filters=filters.clone(),
            spectra=spectra,
            stride=stride,
            layers=tuple(self._row(layer) for layer in self.examined),
            findings=tuple(findings),
            network=self.net.name,
            data=str(self.scanned.tally.facts["data"]["name"]),
            images=self.scanned.images,
            sampled=self.sampled,
            answered=len(self.kept) if self.ablation else 0,
            accuracy=self.ablation.accuracy if self.ablation else None,
            commonest=self.ablation.commonest if self.ablation else None,
            thresholds=self.thresholds,
            bad=bad_images.titled(self.scanned.tally.bad, title),
            left_out=tuple(self.left_out),
            notes=self.net.notes,
            partial=self.stopped,
        )

    def _findings(self) -> list[Finding]:
        found = whole.find(self.net, self.scanned)
        for layer in self.examined:
            found = self._with_units(layer, found)
        name = None if self.first is None else self.first.name
        if name is not None and self.response is not None:
            found += aliasing.find_aliasing(name, self.response, self.thresholds)
            found += aliasing.find_gap(name, self.response, self.thresholds)
        return found + grid.find(self.net, self.thresholds) + self._slow_findings()

    def _with_units(self, layer: ExaminedLayer, found: list[Finding]) -> list[Finding]:
        """Return *found* with what is wrong in one layer, or follows there from what is below."""
        limits = self.thresholds
        below = set(self.net.graph.needed_for([layer.layer.convolution]))
        below.discard(layer.layer.convolution)
        levels = [layer_faults.level(other) for other in self.examined if other.layer.step in below]
        own = [one for find in layer_faults.LAYER_FINDINGS for one in find(layer, limits)]
        own += layer_faults.find_exploding(layer, max([self.level, *levels]), limits)
        steps = {other.name: other.step for other in self.layers}
        causes = [one for one in found if one.kind in SPREADING and steps[one.layer] in below]
        consequences = []
        either = layer_faults.find_dead(layer, limits), layer_faults.find_dominating(layer, limits)
        for finding in itertools.chain(*either):
            if causes and layer_faults.follows_from_below(layer, finding, limits):
                told = layer_faults.CONSEQUENCES[finding.kind]
                consequences.append(told.format(count=len(finding.channels), layer=finding.layer))
            else:
                own.append(finding)
        if consequences:
            place = found.index(causes[-1])
            cause = replace(
                causes[-1],
                consequences=(*causes[-1].consequences, *consequences),
                above=(*causes[-1].above, layer.layer.name),
            )
            found = [*found[:place], cause, *found[place + 1 :]]
        return found + own

    def _slow_findings(self) -> list[Finding]:
        found: list[Finding] = []
        last = [layer.name for layer in receptive_field.last_layers(self.net, self.layers)]
        fields = {name: self.fields[name] for name in last if name in self.fields}
        if len(fields) == len(last):
            # Beside the main path there may be a shortcut, which sees less of the image.
            widest = max(last, key=lambda name: (fields[name].theoretical, fields[name].effective))
            size = self.net.input_shape[1], self.net.input_shape[2]
            found += receptive_field.find(widest, fields[widest], size, self.thresholds)
        if self.ablation is None or self.ablation.commonest > ONE_ANSWER:
            return found
        for layer in self.layers:
            # Where all goes through the layer, its mean map makes all answers one.
            without = self.without.get(layer.name) if self.ablation.goes_around(layer) else None
            skipping = self.skipping.get(layer.name)
            found += importance.find(layer.name, without, skipping, len(self.kept), self.thresholds)
        return found

    def _row(self, layer: ExaminedLayer) -> LayerDiagnosis:
        name, limits = layer.layer.name, self.thresholds
        fields, without = self.fields.get(name), self.without.get(name)
        skipping = self.skipping.get(name)
        first = self.first is not None and self.first.name == name
        response = self.response if first else None
        return LayerDiagnosis(
            name=name,
            read_at=layer.layer.read_at,
            shape=layer.layer.shape,
            active=float(layer.scan.active_positions.mean()),
            dead=_numbers(layer_faults.dead_units(layer, limits)),
            almost_dead=_numbers(layer_faults.almost_dead_units(layer, limits)),
            duplicates=tuple(layer_faults.duplicate_groups(layer, limits)),
            largest_weights=float(layer_faults.weight_ratios(layer).max()),
            largest_activation=float(layer_faults.activation_ratios(layer).max()),
            saturated=None if layer.saturated is None else float(layer.saturated.mean()),
            aliased=aliasing.aliased_share(response) if response else None,
            folded_octaves=aliasing.folded_octaves(response) if response else None,
            receptive_field=fields.theoretical if fields else None,
            effective_field=fields.effective if fields else None,
            without=without.same if without else None,
            without_accuracy=without.accuracy if without else None,
            skipped=skipping.same if skipping else None,
            skipped_accuracy=skipping.accuracy if skipping else None,
        )


def _numbers(which: Any) -> tuple[int, ...]:
    return tuple(int(number) for number in which.nonzero()[0])
