"""Compare: two networks on the same images, layer by layer and channel by channel."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from convscope.errors import ConvscopeError, DataError, Interrupted, RuleError
from convscope.methods import bad_images, not_finite
from convscope.methods import budget as budgets
from convscope.methods.attribute import RECOMMENDED, Attribution, attribute, method_named
from convscope.methods.compare_matching import LayerMatch, Matcher
from convscope.methods.compare_result import Comparison, MatchedPairs, Side, told_apart
from convscope.methods.diagnose import diagnose
from convscope.methods.diagnosis.result import Diagnosis
from convscope.methods.draw import draw
from convscope.methods.kernels import weight_tensor
from convscope.methods.project import project
from convscope.methods.projection import Projection
from convscope.methods.rules import rule_notes
from convscope.methods.scanning.batches import ImageBatch, batches, images_affordable
from convscope.methods.scanning.image_pass import batch_size
from convscope.methods.scanning.sources import SomeImages, fitted, images_of
from convscope.methods.scanning.units import ScannedLayer, scanned_layers
from convscope.network import Network
from convscope.network.rules import rule_named
from convscope.network.shield import shielded
from convscope.network.visit import visit

SAMPLE = 500
MOST_PAIRS = 16
SHARE, PASSES = 0.6, 10
"""Share of the time for what looks at every image, and what that costs, in passes."""

SHOWN_LAYERS, SHOWN_PAIRS = 3, 4
"""Of how many pairs of layers, and how many channels of each, what drives them is kept."""

SHOWN_IMAGES = 3
"""Of how many images what the answers hang on is kept."""

Layers = Sequence[tuple[str | nn.Module, str | nn.Module]]


@shielded
@budgets.holding
def compare(
    first: Network,
    second: Network,
    images: Any,
    layers: Layers | None = None,
    *,
    rule: str = "deconvnet",
    method: str = RECOMMENDED,
    sample: int = SAMPLE,
    budget: float | str | None = None,
    memory: int | str = budgets.DEFAULT,
    progress: budgets.Progress | None = None,
) -> Comparison:
    """Compare two networks on the same images: answers, cost, faults, and channels that go alike.

    For every channel of a layer, the channel of the corresponding layer of the other network is
    found that answers most like it, by the correlation of their activations over images and
    positions (as Li et al., arXiv 1511.07543, do between runs).

    Args:
        first: a network.
        second: another, or the same one with other weights; their inputs may differ in size.
        images: a folder of pictures or a data set, as for :func:`.scan`; or two of them, one a
            network, that give the same pictures in the same order.
        layers: pairs of convolutions, by name or module; None for those at the same share of the
            depth, at most 16 of them.
        rule: how what drives channels that go alike is brought down, as for :func:`.project`; by
            the gradient where it means nothing.
        method: how what either network's answer hangs on is shown, as for :func:`.attribute`, on
            three images, first of all those that they answer differently.
        sample: on how many of the images, spread evenly, at most.
        budget: seconds for the diagnoses' slow parts, and after which no more images are matched.
        memory: bytes, or a text such as ``"2GB"``, for the maps.
        progress: called with the steps done and the steps in all.

    Raises:
        UnitError: if a network has no convolution, or not the layer named.
        DataError: if there is no image, or the two sets differ in length.
        RuleError: if there is no such rule or method.
        ConvscopeError: if the sample or budget is none.
        Interrupted: on Ctrl-C, with what was done by then as its ``result``.

    >>> import torch
    >>> from torch import nn
    >>> module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    >>> net = Network(module, torch.zeros(1, 1, 8, 8))
    >>> pictures = list(torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    >>> found = compare(net, net, pictures).matches[0].first
    >>> bool(((found.correlation > 0.999) | found.correlation.isnan()).all())
    True
    """
    if sample < 1:
        raise ConvscopeError(f"the sample must be at least 1 image, not {sample}")
    rule_named(rule)
    method_named(method)
    deadline = budgets.Deadline(budget)
    both = images if isinstance(images, tuple) and len(images) == 2 else (images, images)
    nets = (fitted(first, both[0]), fitted(second, both[1]))
    sources = (images_of(both[0], nets[0]), images_of(both[1], nets[1]))
    if len(sources[0]) != len(sources[1]):
        raise DataError(f"the two sets hold {len(sources[0])} and {len(sources[1])} images")
    most = sample
    for net, source in zip(nets, sources, strict=True):
        time_for_one = None if deadline.seconds is None else SHARE * deadline.seconds / 2
        most = min(most, images_affordable(net, source, time_for_one, PASSES))
    chosen = (SomeImages(sources[0], most), SomeImages(sources[1], most))
    work = _ComparisonWork(nets, chosen, layers, budgets.parse_bytes(memory), progress)
    if most < min(sample, len(sources[0])):
        work.left_out.append(
            f"{min(sample, len(sources[0])) - most:,} of the images: there was time for {most:,} "
            f"in the budget of {deadline.seconds:g} s"
        )
        work.partial = "budget"
    try:
        work.match(deadline)
        work.project(rule)
        work.attribute(method)
        work.diagnose(deadline)
    except KeyboardInterrupt:
        work.partial = "interrupted"
        stopped = work.comparison(sources[0].name) if work.images else None
        raise Interrupted("the comparison was stopped", stopped) from None
    return work.comparison(sources[0].name)


def corresponding(
    first: Sequence[ScannedLayer], second: Sequence[ScannedLayer]
) -> list[tuple[ScannedLayer, ScannedLayer]]:
    """Return pairs of layers at the same share of the depth, at most 16, in order."""
    count = min(len(first), len(second), MOST_PAIRS)
    places = (budgets.evenly(len(own), count) for own in (first, second))
    return [(first[a], second[b]) for a, b in zip(*places, strict=True)]


class _ComparisonWork:
    """A comparison as it is made: first one pass of both networks over the images."""

    def __init__(
        self, nets: tuple[Network, Network], sources: tuple[SomeImages, SomeImages],
        layers: Layers | None, memory: int, progress: budgets.Progress | None,
    ) -> None:  # fmt: skip
        self.nets, self.sources, self._progress = nets, sources, progress
        self.memory = memory
        if layers is None:
            self.pairs = corresponding(scanned_layers(nets[0]), scanned_layers(nets[1]))
        else:
            self.pairs = [
                (scanned_layers(nets[0], a)[0], scanned_layers(nets[1], b)[0]) for a, b in layers
            ]
        self.matchers = [Matcher((a.name, b.name), (a.shape, b.shape)) for a, b in self.pairs]
        self.size = min(batch_size(net, memory // 4) for net in nets)
        self.bad: dict[int, str] = {}
        self.images = self.same = 0
        self.right, self.labelled = [0, 0], [0, 0]
        self.diagnoses: list[Diagnosis | None] = [None, None]
        self.shown: list[MatchedPairs] = []
        self.looked_at: list[tuple[bool, int]] = []
        self.attributions: list[Attribution] = []
        self.left_out: list[str] = []
        self.partial = ""

    def _count(self, done: int) -> None:
        if self._progress:
            self._progress(done, 5 * len(self.sources[0]))

    def match(self, deadline: budgets.Deadline) -> None:
        """Take in the images until they or the time are spent."""
        sets = list(zip(self.sources, self.nets, strict=True))
        numbers = range(len(self.sources[0]))
        for batch in batches(sets, numbers, self.size, left_out=self.bad.__setitem__):
            self._take(batch)
            self._count(batch.done)
            if deadline.passed and batch.done < len(self.sources[0]):
                self.left_out.append(
                    f"{len(self.sources[0]) - batch.done} of {len(self.sources[0])} images: the "
                    f"budget of {deadline.seconds:g} s was spent"
                )
                self.partial = "budget"
                break
        if not self.images:
            first = bad_images.first(self._titled())
            raise DataError(f"no image could be used by both networks{first}")

    def diagnose(self, deadline: budgets.Deadline) -> None:
        count = len(self.sources[0])
        for place, (net, source) in enumerate(zip(self.nets, self.sources, strict=True)):
            # What is begun is finished, and a page may still be made: not all of it is given.
            rest = deadline.share(2 - place)
            rest = None if rest is None else round(0.6 * rest, 1)
            base = (1 + 2 * place) * count

            def inside(done: int, total: int, base: int = base) -> None:
                self._count(base + round(2 * count * done / max(1, total)))

            try:
                found = diagnose(
                    net, source, budget=rest, sample=count, memory=self.memory, progress=inside
                )
            except Interrupted as stopped:
                self.diagnoses[place] = stopped.result
                raise
            left_out = budgets.as_share(found.left_out)
            self.diagnoses[place] = replace(found, left_out=left_out)

    def project(self, rule: str) -> None:
        """Keep what drives the best pairs of the first, the middle and the last pair of layers."""
        for place in budgets.evenly(len(self.pairs), SHOWN_LAYERS):
            match = self.matchers[place].match()
            level = match.first.chance_level
            best = [pair for pair in match.pairs if pair[2] > level][:SHOWN_PAIRS]
            if best:
                units = [self._units(place, match, side, best, rule) for side in (0, 1)]
                self.shown.append(MatchedPairs(place, (units[0], units[1])))

    def attribute(self, method: str) -> None:
        """Keep what the answers to a few images hang on, of classifiers."""
        places = [place for _, place in self.looked_at]
        if not places:
            return
        both: list[Attribution] = []
        try:
            for net, source in zip(self.nets, self.sources, strict=True):
                images = torch.stack([source.load(place)[0] for place in places])
                titles = [source.title(place) for place in places]
                found = attribute(net, images, method=method, titles=titles, memory=self.memory)
                both.append(found)
        except ConvscopeError as error:  # such as a class activation map without maps
            self.left_out.append(f"what the answers hang on: {error}")
        else:
            self.attributions = both  # of one network alone there is nothing to compare

    def _units(
        self, place: int, match: LayerMatch, side: int, pairs: Sequence[tuple[int, int, float]],
        rule: str,
    ) -> Projection:  # fmt: skip
        """Return what drives one side's channels, each in the image in which it is strongest."""
        net, (whole, read_at) = self.nets[side], (self.sources[side].images, self.pairs[place])
        channels = torch.tensor([pair[side] for pair in pairs])
        numbers = match.strongest[side][channels].tolist()
        images = torch.stack([whole.load(number)[0] for number in numbers])
        titles = [whole.title(number) for number in numbers]
        given = (net, images, read_at[side].read_at, channels[:, None])
        try:
            found = project(*given, rule=rule, titles=titles, memory=self.memory)
        except RuleError:  # the deconvnet means nothing where there is no rectifier
            found = project(*given, rule="gradient", titles=titles, memory=self.memory)
        return replace(found, titles=tuple(titles))  # without what the image is taken for

    def _titled(self) -> dict[str, str]:
        return bad_images.titled(self.bad, self.sources[0].title)

    def _take(self, batch: ImageBatch) -> None:
        """Take in the images of which both networks make finite numbers."""
        sides = enumerate(zip(self.nets, batch.inputs, strict=True))
        found = (self._answered(net, inputs, side) for side, (net, inputs) in sides)
        maps, peaks, answers, finite = zip(*found, strict=True)
        good = finite[0] & finite[1]
        kept = [place for place, is_good in zip(batch.numbers, good, strict=True) if is_good]
        for side in (1, 0):  # the first network's word counts where both make no numbers
            for place in (~finite[side]).nonzero().flatten().tolist():
                why = not_finite.why_left_out(
                    self.nets[side], batch.inputs[side][place], self._steps(side)
                )
                self.bad[batch.numbers[place]] = why
        if not kept:
            return
        numbers = [self.sources[0].original(place) for place in kept]
        for place, matcher in enumerate(self.matchers):
            matcher.add(maps[0][place][good], maps[1][place][good])
            for side, own in enumerate(peaks):
                matcher.add_peaks(side, own[place][good], numbers)
        self.images += len(kept)
        if answers[0] is not None and answers[1] is not None:
            alike = (answers[0] == answers[1])[good].tolist()
            self.same += sum(alike)
            # Those that are answered differently come first.
            places = zip(alike, kept, strict=True)
            self.looked_at = sorted([*self.looked_at, *places])[:SHOWN_IMAGES]
        for side, answer in enumerate(answers):
            if answer is not None:
                right = batch.answers[side][good]
                self.labelled[side] += int((right >= 0).sum())
                self.right[side] += int((answer[good] == right).sum())

    def _steps(self, side: int) -> list[int]:
        """Return the steps of one network that are looked at: the layers' and the output's."""
        net = self.nets[side]
        output = net.graph.output if net.answer is None else net.answer.step
        return [*(pair[side].step for pair in self.pairs), output]

    def _answered(
        self, net: Network, inputs: Tensor, side: int
    ) -> tuple[list[Tensor], list[Tensor], Tensor | None, Tensor]:
        """Run a network on a batch of N images.

        Returns:
            the maps of every layer that is matched, [N, C, H, W] on the matcher's grid, and their
            peaks, [N, C]; the most probable classes, [N], or None if the network is no classifier;
            [N], whether all of an image's maps and its output are finite.
        """
        *steps, output = self._steps(side)
        maps: dict[int, Tensor] = {}
        peaks: dict[int, Tensor] = {}
        answer: Tensor | None = None
        finite = torch.ones(len(inputs), dtype=torch.bool)

        def look(index: int, values: Tensor) -> None:
            nonlocal answer
            # Pooled at once: whole maps of all layers would not fit.
            for place, step in enumerate(steps):
                if step == index:
                    lying = values.mT if net.graph.is_turned(index) else values  # as the image
                    maps[place] = adaptive_avg_pool2d(lying.float(), self.matchers[place].grid)
                    maps[place] = maps[place].cpu()
                    peaks[place] = values.amax((2, 3)).float().cpu()
                    # A value that is not finite makes its cell's mean so too.
                    finite.logical_and_(_finite_rows(maps[place], len(inputs)))
            if index == output:
                finite.logical_and_(_finite_rows(values, len(inputs)))
                if net.answer is not None and net.class_count:
                    answer = net.answer.decided(values).cpu()

        visit(net.graph, net.checked(inputs), {*steps, output}, look)
        places = range(len(steps))
        return [maps[place] for place in places], [peaks[place] for place in places], answer, finite

    def comparison(self, data: str) -> Comparison:
        sides = [
            Side(
                architecture=draw(net),
                layers=tuple(net.layers.values()),
                right=self.right[side] if self.labelled[side] else None,
                labelled=self.labelled[side],
                diagnosis=self.diagnoses[side],
                notes=net.notes,
            )
            for side, net in enumerate(self.nets)
        ]
        missing, notes = [*self.left_out], []
        names = told_apart(sides[0].network, sides[1].network)
        for place, (name, side) in enumerate(zip(names, sides, strict=True)):
            told = dict.fromkeys([*side.notes, *self._of_pictures(place)])
            found = () if side.diagnosis is None else side.diagnosis.left_out
            missing += [f"{name}: {text}" for text in found]
            notes += [f"{name}: {note}" for note in told]
        return Comparison(
            sides=(sides[0], sides[1]),
            images=self.images,
            data=data,
            agreement=self.same / self.images if _same_classes(self.nets) else None,
            matches=tuple(matcher.match() for matcher in self.matchers),
            filters=self._filters(),
            shown=tuple(self.shown),
            attributions=tuple(self.attributions),
            left_out=tuple(missing),
            bad=self._titled(),
            notes=tuple(notes),
            partial=self.partial,
        )

    def _of_pictures(self, side: int) -> list[str]:
        """Return what the pictures of one side must say."""
        found = [note for own in self.attributions[side:][:1] for note in own.notes]
        for rule in {pairs.units[side].rule for pairs in self.shown}:
            steps = [self.pairs[pairs.match][side].step for pairs in self.shown]
            found += rule_notes(self.nets[side], rule_named(rule), steps)
        return found

    def _filters(self) -> tuple[Tensor, ...]:
        """Return both first layers' filters, if they are small pictures."""
        pair = list(zip(self.nets, self.pairs[0], strict=True))
        weights = tuple(weight_tensor(net, layer).cpu() for net, layer in pair)
        reads_images = all(net.graph.steps[o.convolution].inputs == (0,) for net, o in pair)
        return weights if reads_images and all(w.shape[1] in (1, 3) for w in weights) else ()


def _finite_rows(values: Tensor, images: int) -> Tensor:
    """Return for each image whether all its values are finite, [N], on the CPU."""
    return values.isfinite().reshape(images, -1).all(1).cpu()


def _same_classes(nets: tuple[Network, Network]) -> bool:
    """Return whether the two networks' answers stand for the same."""
    first, second = nets
    if not first.class_count or not second.class_count:
        return False
    if first.classes is not None and second.classes is not None:
        return first.classes == second.classes
    return first.class_count == second.class_count
