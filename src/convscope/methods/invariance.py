"""Invariance: how far features move when an image is moved, enlarged or turned."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from convscope.errors import ConvscopeError, ImageError, Interrupted, UnitError, check_known
from convscope.images import Preprocess
from convscope.methods import budget as budgets
from convscope.methods import not_finite
from convscope.methods.pictures import Images, read
from convscope.methods.randomisation import stages_of
from convscope.methods.targets import ClassName, answer_of, class_number, several
from convscope.methods.transformations import (
    SOURCES,
    UNITS,
    check_outside,
    leaves_alone,
    transformed,
)
from convscope.network import Network
from convscope.network.blocks import block_ends
from convscope.network.layers import LayerName, listed
from convscope.network.shield import shielded
from convscope.network.walk import ascend
from convscope.results import Result

REACH = 60 / 224
"""How far an image is moved at most, as a share of its height: the paper's 60 of 224 pixels."""

LARGEST = 1.8
"""How much it is enlarged at most, as in the paper."""

AT_ONCE = 8
"""How many transformed images go up together at most: more are no faster."""


@dataclass(frozen=True, eq=False, repr=False)
class Invariance(Result):
    """What transformations of some images do to a network's features and answer.

    All tensors lie on the CPU. K stands for the kinds of transformation, L for the layers, N for
    the images, S for the most amounts that any kind has; what is beyond a kind's amounts, or was
    not computed before the work was stopped, is NaN.

    Attributes:
        images: [N, C, H, W], the images as they are, in the network's input space.
        amounts: [K, S], float64: how much each image was transformed; see ``units``.
        distance: [K, L, N, S], float64: the Euclidean distance between the layer's features of the
            transformed and of the plain image, divided by the length of those of the plain image.
        norm: [L, N], float64: that length, which takes the distances back to the layer's own units;
            where it is zero, distances are NaN.
        probability: [K, N, S], float64, of the target; None if the network is no classifier.
        predicted: [K, N, S], int64, the most probable class, -1 where unknown, as where the network
            makes no numbers; or None.
        clean: the probabilities for the plain images, one an image; empty for no classifier.
        transforms: ``"translation"``, ``"scale"``, ``"rotation"``.
        units: the units of the amounts, one a kind.
        layers: names of the layers.
        targets: one class an image; empty for no classifier.
        classes: names of the classes that occur, by number.
        fill: what lies beyond the borders of a transformed image.
        network: the network's name.
        preprocess: takes inputs back to pixels.
        titles: one an image.
    """

    images: Tensor
    amounts: Tensor
    distance: Tensor
    norm: Tensor
    clean: tuple[float, ...]
    transforms: tuple[str, ...]
    units: tuple[str, ...]
    layers: tuple[str, ...]
    targets: tuple[int, ...]
    classes: dict[str, str]
    fill: str
    network: str
    preprocess: Preprocess
    titles: tuple[str, ...]
    probability: Tensor | None = None
    predicted: Tensor | None = None

    figure: ClassVar[str] = "invariance"
    seen_only: ClassVar[tuple[str, ...]] = ("images",)

    def class_name(self, n: int) -> str:
        """Return the name of an image's class, or its number where the network names none."""
        return self.classes.get(str(self.targets[n]), f"class {self.targets[n]}")

    def changed(self, k: int) -> Tensor:
        """Return [S], bool: which amounts of a kind change the image; 0 pixels does not."""
        return torch.tensor(
            [
                math.isfinite(amount) and not leaves_alone(self.transforms[k], amount)
                for amount in self.amounts[k].tolist()
            ]
        )

    def medians(self, k: int) -> list[float]:
        """Return each layer's median distance over the images that a kind changed.

        It is NaN where none was computed.
        """
        # The image as it is would draw the median towards its zero.
        values = self.distance[k][:, :, self.changed(k)].flatten(1)
        if not values.numel():
            return [math.nan] * len(values)
        return [float(own) for own in values.nanquantile(0.5, dim=1)]

    def kept(self, k: int) -> tuple[int, int]:
        """Return how often a kind left the target the answer, and how many images it changed.

        Both are 0 where none was computed, or the network is no classifier.
        """
        if self.predicted is None:
            return 0, 0
        answers = self.predicted[k][:, self.changed(k)]
        kept = answers == torch.tensor(self.targets)[:, None]
        return int(kept.sum()), int((answers >= 0).sum())

    def table(self) -> list[dict[str, Any]]:
        """Return a row a transformed image: the distance at each layer, and the answer."""
        rows = []
        for k, name in enumerate(self.transforms):
            for n, title in enumerate(self.titles):
                for s, amount in enumerate(self.amounts[k].tolist()):
                    if math.isnan(amount):
                        continue
                    row = {"image": title, "transform": name, "amount": amount}
                    row |= {
                        f"distance at {layer}": float(self.distance[k, at, n, s])
                        for at, layer in enumerate(self.layers)
                    }
                    if self.probability is not None and self.predicted is not None:
                        row["target"] = self.targets[n]
                        row["probability"] = float(self.probability[k, n, s])
                        row["predicted"] = int(self.predicted[k, n, s])
                    rows.append(row)
        return rows

    def summary(self) -> str:
        """Return how far each transformation moves the features on the median, and the answers."""
        lines = []
        for k, (name, unit) in enumerate(zip(self.transforms, self.units, strict=True)):
            known = self.amounts[k][~self.amounts[k].isnan()]
            lines.append(f"{name}, {float(known.min()):g} to {float(known.max()):g} {unit}:")
            for layer, median in zip(self.layers, self.medians(k), strict=True):
                told = f"median distance {median:.3f} of the features' length"
                lines.append(f"  {layer}: {'not measured' if math.isnan(median) else told}")
            kept, of = self.kept(k)
            if of:
                lines.append(f"  the target is the answer for {kept} of {of} transformed images")
        if self.partial:
            lines.append(f"partial: {self.notes[-1]}")
        lines += [note for note in self.notes if note.startswith("values are not finite")]
        for n, chance in enumerate(self.clean):
            lines.append(f"{self.titles[n]}: P({self.class_name(n)}) {chance:.3f} as it is")
        return "\n".join(lines)


@shielded
@budgets.holding
def invariance(
    net: Network,
    images: Images,
    layer: LayerName | Sequence[LayerName] | None = None,
    transform: str | Sequence[str] | None = None,
    target: ClassName | Sequence[ClassName] | None = None,
    *,
    amounts: Mapping[str, Sequence[float]] | None = None,
    steps: int = 25,
    fill: str = "reflect",
    titles: Sequence[str] | None = None,
    memory: int | str = budgets.DEFAULT,
    budget: float | str | None = None,
    progress: budgets.Progress | None = None,
) -> Invariance:
    """Measure how features move when the image does (Zeiler & Fergus, arXiv 1311.2901, fig. 5).

    Each image is moved vertically, enlarged and turned; at each layer the distance of its features
    to those of the plain image is taken, and the probability of its class.

    Args:
        net: the network.
        images: picture files or Pillow images, or [N, C, H, W] in the network's input space.
        layer: a layer's name, or a module; several in a list; None for the end of the first block
            and of the middle one, and the last layer before the class scores (the paper takes its
            layers 1 and 7).
        transform: ``"translation"`` (vertical), ``"scale"`` or ``"rotation"``; several in a list;
            None for all three.
        target: a class for all images, by number or name, or a list with one for each; None for the
            most probable one of each.
        amounts: name -> amounts in the units of :data:`~.transformations.UNITS`; for those not in
            it *steps* amounts over the paper's range: 60/224 of the height up and down in whole
            pixels, 1 to 1.8 times as large, once around.
        steps: how many.
        fill: what lies beyond the borders; see :func:`~.transformations.transformed`.
        titles: one an image; by default the names of the files, or numbers.
        memory: bytes, or a text such as ``"2GB"``: half of it for the batches, half for the
            features of the plain images; those of more images are computed again when needed.
        budget: seconds after which to stop.
        progress: called with the transformed images done and those in all.

    Raises:
        ImageError: if the images do not fit, or there is no such transformation or fill.
        DataError: if the network makes NaN or infinity of an image as it is.
        UnitError: if there is no such layer or class.
        ConvscopeError: if there are too few steps, or the budget is none.
        Interrupted: on Ctrl-C, with what was done by then as its ``result``.

    >>> from torch import nn
    >>> class Rows(nn.Module):
    ...     def forward(self, x):
    ...         return torch.relu(x).sum(3)[:, 0]
    >>> image = torch.tensor([[[[3.0, 0], [0, 0], [4, 0], [0, 0]]]])
    >>> i = invariance(Network(Rows(), image), image, "sum", "translation",
    ...                amounts={"translation": [0, 1]}, fill="black")
    >>> i.norm.item(), i.distance[0, 0, 0].round(decimals=4).tolist()  # 3040 became 0304
    (5.0, [0.0, 1.4142])
    """
    deadline = budgets.Deadline(budget)
    kinds = [transform] if isinstance(transform, str) else list(transform or ())
    if not kinds:
        if transform is not None:
            raise ConvscopeError("no transformation was named")
        kinds = list(SOURCES)
    for kind in (*kinds, *(amounts or {})):
        check_known("transformation", kind, SOURCES, ImageError)
    check_outside(fill)
    if steps < 2:
        raise ConvscopeError(f"the number of steps must be at least 2, not {steps}")
    net = net.fitting(images)
    checked, names = read(net, images, titles)
    grid = [_amounts(kind, amounts, steps, checked.shape[2]) for kind in kinds]
    chosen = chosen_layers(net, layer)
    allowed = budgets.parse_bytes(memory)
    work = _InvarianceWork(net, checked, tuple(names), chosen, kinds, grid, fill, allowed)
    work.begin(target)
    try:
        partial = "" if work.run(deadline, progress) else "budget"
    except KeyboardInterrupt:
        if not work.done:
            raise
        raise Interrupted("the transformations were stopped", work.result("interrupted")) from None
    return work.result(partial)


def chosen_layers(net: Network, layer: LayerName | Sequence[LayerName] | None) -> list[int]:
    """Return the steps of the layers asked for, or of those that are followed by default.

    These are the end of the first block, of the middle one, and the last layer before the scores; a
    layer that plays two of these roles comes once.
    """
    if layer is not None:
        return [net.step(one) for one in listed(layer)]
    graph, ends = net.graph, block_ends(net.graph)
    found = [ends[0], ends[len(ends) // 2]] if ends else []
    stages = stages_of(graph, graph.output)
    if stages:
        index = graph.steps[stages[0].steps[0]].inputs[0]
        while index and not graph.steps[index].is_layer:
            index = graph.steps[index].inputs[0]
        if index:
            found.append(index)
    if not found:
        raise UnitError(f"{net.name} has no feature maps of its own to follow: name a layer")
    return list(dict.fromkeys(found))


def _amounts(
    kind: str, given: Mapping[str, Sequence[float]] | None, steps: int, height: int
) -> list[float]:
    if given is not None and kind in given:
        found = [float(amount) for amount in given[kind]]
        if not found:
            raise ConvscopeError(f"no amounts were given for the {kind}")
        return found
    if kind == "translation":
        reach = max(1, round(REACH * height))
        # Whole pixels: between them the interpolation would blur, which moves features too.
        return [float(a) for a in sorted({round(a) for a in np.linspace(-reach, reach, steps)})]
    low, high = (1.0, LARGEST) if kind == "scale" else (0.0, 360.0)
    return [float(amount) for amount in np.linspace(low, high, steps)]


@dataclass
class _InvarianceWork:
    """Distances and answers as they come in."""

    net: Network
    images: Tensor
    titles: tuple[str, ...]
    layers: list[int]
    kinds: list[str]
    grid: list[list[float]]
    fill: str
    memory: int
    done: int = 0

    def __post_init__(self) -> None:
        graph, answer = self.net.graph, self.net.answer
        self.steps = [*self.layers, graph.output if answer is None else answer.step]
        self.notes = dict.fromkeys(self.net.notes)

    @property
    def classifies(self) -> bool:
        return self.net.class_count > 0

    def begin(self, target: ClassName | Sequence[ClassName] | None) -> None:
        """Take the plain images' features and answers, and the class of each."""
        count, longest = len(self.images), max(map(len, self.grid))
        shape = len(self.kinds), len(self.layers), count, longest
        self.distance = torch.full(shape, torch.nan, dtype=torch.float64)
        self.probability = self.distance[:, 0].clone()
        self.predicted = torch.full((len(self.kinds), count, longest), -1)
        self.plain: dict[int, list[Tensor]] = {}
        self.norm = torch.zeros(len(self.layers), count, dtype=torch.float64)
        answers = []
        shapes = [self.net.graph.steps[index].shape for index in self.layers]
        values = sum(torch.Size(shape).numel() for shape in shapes)
        most_kept = self.memory // 2 // (values * self.images.element_size())
        for number, image in enumerate(self.images):
            features, answer = self._features(image[None])
            if not self._finite(features, answer).all():
                not_finite.refuse(self.net, image[None], self.steps, self.titles[number])
            self.norm[:, number] = torch.stack([own.double().norm().cpu() for own in features])
            if number < most_kept:
                self.plain[number] = [own[0] for own in features]
            answers.append(answer)
        self.clean: list[float] = []
        self.numbers: list[int] = []
        if self.classifies:
            self.answer = answer_of(self.net)
            found = torch.cat(answers)
            self.numbers = self._numbers(target, self.answer.best(found).tolist())
            chances = self.answer.probabilities(found)
            self.clean = [float(chances[n, number]) for n, number in enumerate(self.numbers)]
        elif target is not None:
            raise UnitError(f"{self.net.name} is no classifier: it has no target classes")

    def _numbers(
        self, target: ClassName | Sequence[ClassName] | None, best: list[int]
    ) -> list[int]:
        if target is None:
            return best
        count = len(best)
        given = several(target) or [target] * count
        if len(given) != count:
            need = f"{count} images need {count} target classes"
            if count == 1:
                need = "1 image needs 1 target class"
            raise UnitError(f"{need}, not {len(given)}")
        return [class_number(self.net, one) for one in given]

    def _features(self, batch: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return each layer's features, [B, ...] flattened, and the answers, in float64."""
        maps = ascend(self.net.graph, batch, self.steps).maps
        features = [maps[index].reshape(len(batch), -1) for index in self.layers]
        return features, maps[self.steps[-1]].double().cpu()

    def _finite(self, features: list[Tensor], answer: Tensor) -> Tensor:
        """Return for each image whether its features are, and there is an answer, [B]."""
        found = torch.stack([own.isfinite().all(1).cpu() for own in features]).all(0)
        if self.classifies:  # which may rule a class out by minus infinity
            found &= ~answer_of(self.net).probabilities(answer).isnan().any(1)
        return found

    def _plain_features(self, numbers: Sequence[int]) -> dict[int, list[Tensor]]:
        """Return the features of some plain images: those kept, the others computed once more."""
        # Most often all are kept; where memory is short, a batch pays one more pass for its own.
        lacking = sorted({*numbers} - {*self.plain})
        if not lacking:
            return self.plain
        features, _ = self._features(self.images[lacking])
        again = {n: [own[row] for own in features] for row, n in enumerate(lacking)}
        return {**self.plain, **again}

    def run(self, deadline: budgets.Deadline, progress: budgets.Progress | None) -> bool:
        """Transform and measure; return whether all was done in time."""
        orders = [budgets.far_apart(len(own)) for own in self.grid]
        # Kind, image and amount of all there is to do, the whole range coarsely first.
        jobs = [
            (kind, image, orders[kind][place])
            for place in range(max(map(len, self.grid)))
            for kind in range(len(self.kinds))
            if place < len(self.grid[kind])
            for image in range(len(self.images))
        ]
        at_once = self._at_once()
        for begin in range(0, len(jobs), at_once):
            if begin and deadline.passed:
                return False
            self._measure(jobs[begin : begin + at_once])
            self.done = min(begin + at_once, len(jobs))
            if progress:
                progress(self.done, len(jobs))
        return True

    def _at_once(self) -> int:
        largest = max(torch.Size(step.shape).numel() for step in self.net.graph.steps)
        each = 4 * largest * self.images.element_size()
        return max(1, min(AT_ONCE, self.memory // 2 // each)) if self.net.graph.batched else 1

    def _measure(self, jobs: list[tuple[int, int, int]]) -> None:
        fill, preprocess = self.fill, self.net.preprocess
        changed = (
            transformed(self.images[n], self.kinds[k], self.grid[k][s], fill, preprocess)
            for k, n, s in jobs
        )
        batch = torch.stack([*changed])
        features, answer = self._features(batch)
        finite = self._finite(features, answer)
        if not finite.all():
            self.notes |= dict.fromkeys(not_finite.notes(self.net, batch[~finite], self.steps))
        plain = self._plain_features([n for _, n, _ in jobs])
        for row, (k, n, s) in enumerate(jobs):
            for at, own in enumerate(features):
                distance = float((own[row].double() - plain[n][at].double()).norm())
                length = float(self.norm[at, n])
                # The plain image among the others differs by rounding only.
                if leaves_alone(self.kinds[k], self.grid[k][s]):
                    distance = 0.0
                self.distance[k, at, n, s] = distance / length if length else torch.nan
        if self.classifies:
            place, chances = torch.tensor(jobs).unbind(1), self.answer.probabilities(answer)
            wanted = torch.tensor(self.numbers)[place[1]]
            self.probability[place] = chances.gather(1, wanted[:, None])[:, 0]
            unknown = chances.isnan().any(1)
            self.predicted[place] = self.answer.best(answer).masked_fill(unknown, -1)

    def result(self, partial: str) -> Invariance:
        net, longest = self.net, max(map(len, self.grid))
        padded = [[*own, *[torch.nan] * (longest - len(own))] for own in self.grid]
        notes = list(self.notes)
        if partial:
            total = len(self.images) * sum(map(len, self.grid))
            notes.append(f"stopped early: {self.done} of {total} transformed images")
        names = net.classes or ()
        met = sorted({*self.numbers, *self.predicted.flatten().tolist()} - {-1})
        return Invariance(
            images=self.images.cpu(),
            amounts=torch.tensor(padded, dtype=torch.float64),
            distance=self.distance,
            norm=self.norm,
            clean=tuple(self.clean),
            transforms=tuple(self.kinds),
            units=tuple(UNITS[kind] for kind in self.kinds),
            layers=tuple(net.graph.steps[index].name for index in self.layers),
            targets=tuple(self.numbers),
            classes={str(n): names[n] for n in met if n < len(names)},
            fill=self.fill,
            network=net.name,
            preprocess=net.preprocess,
            titles=self.titles,
            probability=self.probability if self.classifies else None,
            predicted=self.predicted if self.classifies else None,
            partial=partial,
            notes=tuple(notes),
        )
