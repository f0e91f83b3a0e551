"""Checkerboard: the projection from each layer, deepest first, and the grids that strides leave."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from convscope.errors import ConvscopeError, Interrupted, UnitError
from convscope.methods import budget as budgets
from convscope.methods import not_finite
from convscope.methods.gridding.result import Checkerboard, GridSource
from convscope.methods.gridding.spectrum import Band, GridMeter, UnitMeter, bands_of
from convscope.methods.gridding.structure import (
    strided_layers,
    structural_findings,
    variation_at_pixels,
)
from convscope.methods.pictures import Images, read
from convscope.methods.project import project
from convscope.methods.ranking import (
    Reference,
    check_rank,
    chosen_rank,
    clamped,
    strongest,
    typical_peaks,
)
from convscope.methods.rules import chosen_rule, rule_notes
from convscope.network import Network
from convscope.network.blocks import feature_maps
from convscope.network.layers import LayerName, listed
from convscope.network.ops import MaxPool
from convscope.network.shield import shielded
from convscope.network.typical import TypicalPeaks
from convscope.network.visit import visit

TOP = 8
SINGLE_UNITS = 64
"""How many single units of a strided layer are projected at most."""
NAN = float("nan")


@shielded
@budgets.holding
def checkerboard(
    net: Network,
    images: Images,
    layer: LayerName | Sequence[LayerName] | None = None,
    channel: int | None = None,
    *,
    rank: str | None = None,
    reference: Reference | None = None,
    top: int = TOP,
    rule: str = "deconvnet",
    titles: Sequence[str] | None = None,
    budget: float | str | None = None,
    memory: int | str = budgets.DEFAULT,
    progress: budgets.Progress | None = None,
) -> Checkerboard:
    """Project whole feature maps of each layer and measure the grids that strides leave in them.

    Of each layer the strongest feature map is projected first, deepest layer first; then the next
    ones, which make the measurement steadier.

    Args:
        net: the network.
        images: [N, C, H, W] in the network's input space, or picture files; several make the
            measurement steadier. The first one is shown.
        layer: a name in ``net.layers``, or a module; several in a list; by default the network's
            feature maps, one for each convolution or block on its main path.
        channel: the feature map to show and measure, of each layer; None for the strongest ones.
        rank: which feature maps are the strongest, ``"relative"`` or ``"raw"``, and...
        reference: ...over what; see :func:`convscope.project`.
        top: how many of the strongest feature maps are measured.
        rule: a name in :data:`convscope.network.rules.RULES`.
        titles: one an image; by default the names of the files, or numbers.
        budget: seconds after which no further projection is begun, as a number or a text such as
            ``"90s"``; None for no limit.
        memory: bytes, or a text such as ``"2GB"``, for what the walks hold.
        progress: called with the projections done and the projections in all.

    Returns:
        the projections, the structural and the observed numbers.

    Raises:
        UnitError: if there is no such layer, channel or rank, or the layers have no feature maps.
        DataError: if the reference cannot be read, or is of another network.
        RuleError: if there is no such rule, or it means nothing here.
        ImageError: if the images do not fit.
        ConvscopeError: if the budget is no number of seconds, or *top* not above zero.
        Interrupted: on Ctrl-C, with what was done by then as its ``result``.

    >>> import torch
    >>> from torch import nn
    >>> module = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU())
    >>> net = Network(module, torch.zeros(1, 3, 33, 33))
    >>> found = checkerboard(net, torch.rand(1, 3, 33, 33))
    >>> found.layers, round(found.structural[0], 3), found.findings[0].alternatives[0].kernel
    (('1',), 0.484, (4, 4))
    """
    if top < 1:
        raise ConvscopeError(f"the number of feature maps to measure must be at least 1, not {top}")
    check_rank(rank)
    deadline = budgets.Deadline(budget)
    chosen_rule(net, rule)
    allowed = budgets.parse_bytes(memory)
    typical = typical_peaks(net, reference)
    net = net.fitting(images)
    checked, names = read(net, images, titles)
    steps = _shown(net, layer)
    if channel is None:
        rank = chosen_rank(net.graph, steps, rank, typical)
        channels = _strongest(net, checked, steps, top, typical if rank == "relative" else None)
    else:
        for index in steps:
            net.check_units(index, (channel,), maps_only=True)
        rank, channels = "", [torch.full((len(checked), 1), channel) for _ in steps]
    work = _CheckerboardWork(net, checked, steps, channels, rule, rank, allowed, names[0])
    try:
        work.run(deadline, progress)
    except KeyboardInterrupt:
        if not work.pixels:
            raise
        work.stopped = "interrupted"
        raise Interrupted("the checkerboard was stopped", work.result()) from None
    return work.result()


class _CheckerboardWork:
    """The projections as they come in.

    Attributes:
        channels: a layer's [N, U] feature maps to project, in the order of *steps*.
        done: how many of them were, of each layer.
    """

    def __init__(
        self, net: Network, images: Tensor, steps: list[int], channels: list[Tensor], rule: str,
        rank: str, memory: int, title: str,
    ) -> None:  # fmt: skip
        self.title = title
        self.net, self.images, self.steps, self.channels = net, images, steps, channels
        self.rule, self.rank, self.memory = rule, rank, memory
        size = (images.shape[2], images.shape[3])
        self.bands = {band: own for band, own in bands_of(net).items() if band.fits(size)}
        self.meters = [{band: GridMeter(band, size) for band in self.bands} for step in steps]
        self.pixels: dict[int, Tensor] = {}
        self.done = [0] * len(steps)
        self.of_units: dict[Band, float] = {}
        self.stopped = ""

    def run(self, deadline: budgets.Deadline, progress: budgets.Progress | None) -> None:
        jobs = list(self._jobs())
        total, done = sum(count for count, _ in jobs), 0
        for count, run in jobs:
            if self.pixels and deadline.passed:
                self.stopped = "budget"
                return
            run()
            done += count
            if progress:
                progress(done, total)

    def _jobs(self) -> Iterator[tuple[int, Callable[[], None]]]:
        """Yield how many projections to make, and what makes and measures them.

        The strongest map of every layer first, then single units, then the other maps.
        """
        count = len(self.images)
        for place in range(len(self.steps)):
            yield count, partial(self._project_maps, place, 0, 1)
        for band, own in self.bands.items():
            fixed = [index for index in own if self._is_fixed(index)]
            if fixed:
                units = sum(min(SINGLE_UNITS, self.net.graph.steps[i].shape[1]) for i in fixed)
                yield count * units, partial(self._project_units, band, fixed)
        for place, channels in enumerate(self.channels):
            if channels.shape[1] > 1:
                rest = channels.shape[1]
                yield count * (rest - 1), partial(self._project_maps, place, 1, rest)

    def _project_maps(self, place: int, first: int, end: int) -> None:
        step, channels = self.steps[place], self.channels[place]
        layer = self.net.graph.steps[step].name
        below = {step, *self.net.graph.needed_for([step])}
        for part in self._parts(end - first):
            found = project(
                self.net, self.images[part], layer, channels[part, first:end], rule=self.rule,
                select="map", titles=[""] * len(self.images[part]), memory=self.memory,
            ).pixels  # fmt: skip
            self.pixels.setdefault(place, found[0, 0].cpu())
            for band, meter in self.meters[place].items():
                if not below.isdisjoint(self.bands[band]):
                    meter.add(found.flatten(0, 1))
        self.done[place] = end

    def _project_units(self, band: Band, steps: list[int]) -> None:
        meter = UnitMeter(band)
        for index in steps:
            name, count = self.net.graph.steps[index].name, self.net.graph.steps[index].shape[1]
            for part in self._parts(min(SINGLE_UNITS, count)):
                found = project(
                    self.net, self.images[part], name, rule=self.rule, rank="raw",
                    top=SINGLE_UNITS, titles=[""] * len(self.images[part]), memory=self.memory,
                )  # fmt: skip
                meter.add(found)
        self.of_units[band] = meter.variation()

    def _parts(self, units: int) -> list[slice]:
        """Return groups of images, so that the projections of each take no more than allowed."""
        one = units * self.images[0].numel() * self.images.element_size()
        size = max(1, self.memory // 4 // one)
        return [slice(begin, begin + size) for begin in range(0, len(self.images), size)]

    def _is_fixed(self, index: int) -> bool:
        return not isinstance(self.net.graph.steps[index].operation, MaxPool)

    def result(self) -> Checkerboard:
        kept = sorted(self.pixels)
        grids = [[meter.energies() for meter in self.meters[place].values()] for place in kept]
        # Of a projection zero means nothing; of an image its own mean comes nearest to that.
        even = self.images - self.images.mean(dim=(2, 3), keepdim=True)
        of_images = [GridMeter(band, (even.shape[2], even.shape[3])) for band in self.bands]
        for meter in of_images:
            meter.add(even)
        grids.append([meter.energies() for meter in of_images])
        lines, beside = _numbers(grids, len(kept) + 1, len(self.bands), 2).unbind(2)
        names = [step.name for step in self.net.graph.steps]
        return Checkerboard(
            image=self.images[0].cpu(),
            title=self.title,
            preprocess=self.net.preprocess,
            pixels=torch.stack([self.pixels[place] for place in kept]),
            channels=self._measured(kept),
            line=lines[:-1],
            beside=beside[:-1],
            image_line=lines[-1],
            image_beside=beside[-1],
            of_units=_numbers([self.of_units.get(band, NAN) for band in self.bands], -1),
            layers=tuple(names[self.steps[place]] for place in kept),
            structural=tuple(variation_at_pixels(self.net, self.steps[p]) for p in kept),
            with_pools=tuple(variation_at_pixels(self.net, self.steps[p], True) for p in kept),
            sources=tuple(
                GridSource(band, tuple(names[i] for i in own), any(map(self._is_fixed, own)))
                for band, own in self.bands.items()
            ),
            strided=tuple(strided_layers(self.net)),
            findings=tuple(structural_findings(self.net)),
            rule=self.rule,
            rank=self.rank,
            network=self.net.name,
            images=len(self.images),
            partial=self.stopped,
            notes=self._notes(len(kept)),
        )

    def _measured(self, kept: list[int]) -> Tensor:
        """Return the feature maps that were projected, [layers, N, U], with -1 for the others."""
        most = max(channels.shape[1] for channels in self.channels)
        found = torch.full((len(kept), len(self.images), most), -1)
        for row, place in zip(found, kept, strict=True):
            row[:, : self.done[place]] = self.channels[place][:, : self.done[place]]
        return found

    def _notes(self, layers: int) -> tuple[str, ...]:
        rule = chosen_rule(self.net, self.rule)
        notes = [*self.net.notes, *rule_notes(self.net, rule, self.steps)]
        if not all(bool(own.isfinite().all()) for own in self.pixels.values()):
            notes += not_finite.notes(self.net, self.images, self.steps)
        if self.stopped:
            maps = sum(channels.shape[1] for channels in self.channels)
            notes.append(
                f"stopped early: {layers} of {len(self.steps)} layers, {sum(self.done)} of {maps} "
                f"feature maps an image"
            )
        return tuple(notes)


def _shown(net: Network, layer: LayerName | Sequence[LayerName] | None) -> list[int]:
    """Return the steps to show, deepest first."""
    if layer is None:
        steps = feature_maps(net.graph)
        if not steps:
            raise UnitError(f"{net.name} has no feature maps of its own to show: name a layer")
        return steps[::-1]
    steps = sorted({net.step(one) for one in listed(layer)}, reverse=True)
    for index in steps:
        net.check_units(index, maps_only=True)
    return steps


def _strongest(
    net: Network, images: Tensor, steps: list[int], count: int, typical: TypicalPeaks | None
) -> list[Tensor]:
    """Return the feature maps with the strongest activation, [N, U] a layer."""
    graph = net.graph
    looked_at = sorted({*steps, *(clamped(graph, index) for index in steps)})
    found: dict[int, list[Tensor]] = {index: [] for index in looked_at}
    for image in images:
        visit(
            graph, image[None], looked_at,
            lambda index, maps: found[index].append(maps.amax(dim=(2, 3))),
        )  # fmt: skip
    peaks = {index: torch.cat(own) for index, own in found.items()}
    return [
        strongest(
            peaks[index], peaks[clamped(graph, index)],
            None if typical is None else typical.of(graph, index), count,
        ).cpu()
        for index in steps
    ]  # fmt: skip


def _numbers(values: Sequence[Any], *shape: int) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(shape)
