"""Passes: the network's answers to patched images, by windows or by recomputing everything."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope.methods.budget import tensor_limit
from convscope.methods.occlude.patches import Corners, Cover
from convscope.methods.targets import Goal
from convscope.network import Network
from convscope.network.answer import Answer
from convscope.network.blocks import narrow_steps
from convscope.network.walk import ascend
from convscope.network.windows.differences import DifferenceWalk
from convscope.network.windows.grouping import costs_of, grouped, shares
from convscope.network.windows.placement import Placement
from convscope.network.windows.windowed import Plan, WindowedWalk, Windows
from convscope.network.windows.winograd import TurnedFilters

Indices = npt.NDArray[np.int64]

HEAD_BATCH = 128
"""Patches for which the layers after the maps run together: enough that reading their weights from
memory costs little, and so few that the answers keep coming."""

FILTERS_SHARE = 1 / 4
"""The part of the memory that filters made ready for Winograd's convolution may take: a fourth of
the default holds VGG16's."""

WINDOWS_WORTH = 0.9
"""The share of what whole passes cost up to which windows are taken: above, planning takes what
they save."""

PLAN_BYTES = 96
"""What planning one patch takes for each step: its rows and columns, where they are, and how many,
in the order in which groups are cut."""

FEWEST_PLANNED = 1024
"""Patches that are planned together however little memory there is: of fewer, those whose windows
are alike would make small batches."""


@dataclass(frozen=True)
class Question:
    """What is asked of the network at every position.

    Attributes:
        net: the network.
        image: [C, H, W], the clean image in the network's input space.
        answer: how its output is read, if that is wanted.
        layer: the step whose map is summed, if one is wanted.
        channel: that map's channel.
        goals: the targets whose numbers are wanted.
    """

    net: Network
    image: Tensor
    answer: Answer | None
    layer: int | None
    channel: int
    goals: tuple[Goal, ...] = ()

    @property
    def quantities(self) -> list[str]:
        """What is read of the targets."""
        return [*dict.fromkeys(name for goal in self.goals for name in self.read_of(goal))]

    def read_of(self, goal: Goal) -> tuple[str, ...]:
        """Return what is read of a target: of anything but a class or label, the number alone."""
        decides = self.answer is not None and self.answer.kind != "number"
        return ("probability", "logit") if goal.plain and decides else ("number",)

    @property
    def outputs(self) -> list[int]:
        """The steps whose values are wanted, but for the layer."""
        answer = [] if self.answer is None else [self.answer.step]
        return [*dict.fromkeys([*answer, *(step for goal in self.goals for step in goal.steps)])]

    @property
    def targets(self) -> list[int]:
        """All steps that are wanted."""
        return [*([] if self.layer is None else [self.layer]), *self.outputs]

    def numbers(self, maps: Mapping[int, Tensor]) -> dict[str, Tensor]:
        """Return the quantities of the targets, [T, N] each, by the outputs for N images.

        They are NaN for a target of which another one is read.
        """
        found = {} if self.answer is None else quantities(self.answer, maps[self.answer.step])
        rows = []
        for goal in self.goals:
            number = goal.values(maps)
            own = {name: torch.full_like(number, math.nan) for name in self.quantities}
            for name in self.read_of(goal):
                own[name] = number if name == "number" else found[name][:, goal.channel]
            rows.append(own)
        return {name: torch.stack([own[name] for own in rows]) for name in self.quantities}


def quantities(answer: Answer, values: Tensor) -> dict[str, Tensor]:
    """Return the quantities that an answer holds, [N, count] each, by their names."""
    if answer.kind == "number":
        return {"number": answer.scores(values)}
    return {"probability": answer.probabilities(values), "logit": answer.scores(values)}


@dataclass(frozen=True)
class Answers:
    """What the network said to some patches.

    Attributes:
        patches: [B], int64: which patches.
        outputs: [B, ...] each, what the question's numbers are read from, by step.
        activation: [B], float64: the sum of the unit's map, or None.
    """

    patches: Indices
    outputs: dict[int, Tensor]
    activation: Tensor | None


def painted(image: Tensor, cover: Cover, place: Placement) -> Tensor:
    """Return windows of the image with its parts covered, [B, C, h, w]."""
    rows, columns = (torch.from_numpy(lines).to(image.device) for lines in place.lines())
    if cover.masks is None:
        corners = torch.from_numpy(cover.corners).to(image.device)
        top, left, bottom, right = corners[:, :, None].unbind(1)
        within = (columns >= left) & (columns < right)
        hidden = (((rows >= top) & (rows < bottom))[:, :, None] & within[:, None, :])[:, None]
    else:
        which = torch.arange(len(rows), device=image.device)[:, None, None]
        hidden = cover.masks[which, :, rows[:, :, None], columns[:, None, :]].movedim(3, 1)
    behind = cover.behind(image)
    if behind.shape[-2:] == image.shape[-2:] and len(behind) == 1:
        behind = _windows_of(behind[0], rows, columns)
    return torch.where(hidden, behind, _windows_of(image, rows, columns))


def _windows_of(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return image[:, rows[:, :, None], columns[:, None, :]].movedim(0, 1)


def filters_within(memory: int) -> TurnedFilters:
    """Return room for filters of quick convolutions, its share of so many bytes."""
    return TurnedFilters(int(memory * FILTERS_SHARE))


class FullPasses:
    """Recomputes the whole network for every patch: the oracle."""

    def __init__(self, question: Question, memory: int) -> None:
        self.question = question
        graph = question.net.graph
        largest = max(math.prod(step.shape) for step in graph.steps)
        one_image = largest * question.image.element_size()
        # Beside the largest map there are its input, and what the operation works on.
        self.at_once = max(1, tensor_limit(memory, question.image.device) // one_image)

    def answers(self, cover: Cover) -> Iterator[Answers]:
        """Yield the answers with each part covered, in any order, each part once."""
        question = self.question
        for begin in range(0, len(cover), self.at_once):
            part = np.arange(begin, min(begin + self.at_once, len(cover)))
            found = _in_full(question, cover.part(part))
            activation = None
            if question.layer is not None:
                activation = _channel_sums(found[question.layer], question.channel)
            outputs = {step: found[step] for step in question.outputs}
            yield Answers(part, outputs, activation)


def _in_full(question: Question, cover: Cover) -> dict[int, Tensor]:
    """Return the whole maps that are asked for with each part covered."""
    place = Placement.of_whole(question.image.shape[-2:], len(cover))
    images = painted(question.image, cover, place)
    return ascend(question.net.graph, images, question.targets).maps


class WindowedPasses:
    """Computes at every layer only the window that a patch touches, where that costs less.

    At small inputs windows soon are whole maps, and the same answers come from whole passes.
    One part of the first batch is computed in full besides; where the two differ by more than
    rounding, everything is.

    Args:
        question: what is asked.
        clean: the maps of the clean image by their steps.
        memory: bytes for the batches, and for filters made ready.
        precision: what the changes that a patch makes are rounded to; None to compute with the
            values themselves, unrounded.
        turned: filters for quick convolutions, where some are kept already.
        unasked: take windows whatever they cost, as where a single patch is asked for.

    Attributes:
        differs: whether windows gave another answer than the whole network.
    """

    def __init__(
        self,
        question: Question,
        clean: Mapping[int, Tensor],
        memory: int,
        precision: torch.dtype | None = None,
        turned: TurnedFilters | None = None,
        *,
        unasked: bool = False,
    ) -> None:
        self.question = question
        graph = question.net.graph
        self.junction = _junction(question)
        in_head = set()
        if self.junction is not None:
            # Another output than the answer may also be reached by a way around the junction.
            ways = {t: narrow_steps(replace(graph, output=t)) for t in question.targets}
            in_head = {t for t, way in ways.items() if self.junction in way}
        self.head = sorted(in_head)
        trunk = [target for target in question.targets if target not in in_head]
        if self.junction is not None:
            trunk.append(self.junction)
        self.walk = (
            WindowedWalk(graph, clean, trunk, turned or filters_within(memory))
            if precision is None
            else DifferenceWalk(graph, clean, trunk, precision)
        )
        self.costs = costs_of(self.walk)
        self.limit = tensor_limit(memory, question.image.device)
        self.memory = memory
        # Rounded, answers differ from those of the whole network by more than a check could allow.
        self.whole = FullPasses(question, memory) if precision is None else None
        self.checked = self.differs = False
        self.unasked = unasked

    def answers(self, cover: Cover) -> Iterator[Answers]:
        """Yield the answers with each part covered, in any order, each part once."""
        if self.whole is None:
            yield from self._by_windows(cover)
            return
        if not self.differs and (self.unasked or self._pays(cover.corners)):
            for answers in self._by_windows(cover):
                self.differs = not self.checked and not self._agrees(answers, cover)
                self.checked = True
                if self.differs:
                    break
                yield answers
            else:
                return
        yield from self.whole.answers(cover)

    def _agrees(self, answers: Answers, cover: Cover) -> bool:
        """Return whether the middle one of some answers is that of the whole network."""
        question, place = self.question, len(answers.patches) // 2
        found = _in_full(question, cover.part(answers.patches[place : place + 1]))
        pairs = []
        for step, values in answers.outputs.items():
            own = found[step][0]
            # Beside the largest of its kind: a small number among large ones is no more exact.
            pairs.append((values[place], own, own.abs().nan_to_num(0, posinf=0).max()))
        if answers.activation is not None and question.layer is not None:
            maps = found[question.layer]
            own = _channel_sums(maps, question.channel)[0]
            pairs.append(
                (answers.activation[place], own, _channel_sums(maps.abs(), question.channel))
            )
        # Rounding differs in the order of sums; a wrong window is off by what a part changes.
        tolerance = torch.finfo(question.image.dtype).eps ** 0.5
        return all(
            torch.allclose(a, b, rtol=0, atol=tolerance * float(scale), equal_nan=True)
            for a, b, scale in pairs
        )

    def _pays(self, patches: Corners) -> bool:
        """Return whether windows cost less than whole maps, by a patch in the middle."""
        # The middle one, as no border cuts what it touches. Twice its distance from the image's
        # middle is |top + bottom - height|, and so across.
        height, width = self.question.image.shape[1:]
        middle = np.abs(patches[:, 0::2].sum(1) - height) + np.abs(patches[:, 1::2].sum(1) - width)
        spans = self.walk.spans(patches[[int(middle.argmin())]])
        windows, whole = shares(self.walk, *spans, len(patches))
        return windows < WINDOWS_WORTH * whole

    def _by_windows(self, cover: Cover) -> Iterator[Answers]:
        waiting: list[tuple[Indices, dict[int, Windows]]] = []
        waiting_bytes = 0
        image = self.question.image
        for batch, plan in self._planned(cover.corners):
            windows = painted(image, cover.part(batch), plan[0])
            found = self.walk.run(plan, windows)
            waiting.append((batch, found))
            waiting_bytes += sum(w.values.nbytes for w in found.values())
            # Without a junction nothing is gained by waiting.
            enough = sum(len(b) for b, _ in waiting) >= HEAD_BATCH
            if enough or waiting_bytes > self.memory // 8 or self.junction is None:
                yield self._finished(waiting)
                waiting, waiting_bytes = [], 0
        if waiting:
            yield self._finished(waiting)

    def _planned(self, patches: Corners) -> Iterator[tuple[Indices, Plan]]:
        """Yield which patches go up together, and how."""
        if len(patches) == 1:
            yield np.arange(1), self.walk.plan(*self.walk.spans(patches))
            return
        each = PLAN_BYTES * len(self.question.net.graph.steps)
        at_once = max(FEWEST_PLANNED, self.memory // 8 // each)
        random = np.random.default_rng(0)
        order = np.arange(len(patches))
        # Planned in parts, these should be alike, so that each part's speed tells that of the rest.
        if len(patches) > at_once:
            random.shuffle(order)
        for begin in range(0, len(patches), at_once):
            part = order[begin : begin + at_once]
            rows, columns = self.walk.spans(patches[part])
            batches = grouped(rows, columns, self.costs, self._at_once(rows, columns))
            # Batches differ in speed; shuffled, what is done tells how long the rest will take.
            random.shuffle(batches)
            for batch in batches:
                yield part[batch], self.walk.plan(rows[:, batch], columns[:, batch])

    def _at_once(self, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> int:
        """Return how many patches go up together, so that no tensor is larger than the limit."""
        walk, graph = self.walk, self.question.net.graph
        if not graph.batched:
            return 1
        plan = walk.plan(rows, columns)
        most = 1
        for index in (0, *walk.needed):
            (height, width), shape = plan[index].size, graph.steps[index].shape
            positions = math.prod(map(int, walk.sizes[index]))
            if not plan[index].whole:
                # A reader gathers its halo with it.
                positions = min((height + 2) * (width + 2), positions)
            # In the end an output is made whole.
            if index in self.question.outputs:
                positions = math.prod(map(int, walk.sizes[index]))
            most = max(most, math.prod(shape) // math.prod(map(int, walk.sizes[index])) * positions)
        return max(1, self.limit // (most * walk.precision.itemsize))

    def _finished(self, waiting: list[tuple[Indices, dict[int, Windows]]]) -> Answers:
        """Return the answers to batches whose windows have come to the end of the trunk.

        The layers above, which are matrices of weights to be read from memory, then run once for
        many batches.
        """
        question = self.question
        found: dict[int, Tensor] = {}
        if self.junction is not None:
            ends = [self.walk.whole_maps(self.junction, w[self.junction]) for _, w in waiting]
            found = self.walk.finish(self.junction, torch.cat(ends), self.head)
        outputs = {
            step: found[step]
            if step in found
            else torch.cat([self.walk.whole_maps(step, w[step]) for _, w in waiting])
            for step in question.outputs
        }
        activation = None
        if question.layer in found:
            activation = _channel_sums(found[question.layer], question.channel)
        elif question.layer is not None:
            activation = torch.cat(
                [
                    self.walk.channel_sums(question.layer, question.channel, w[question.layer])
                    for _, w in waiting
                ]
            )
        return Answers(np.concatenate([batch for batch, _ in waiting]), outputs, activation)


def _channel_sums(maps: Tensor, channel: int) -> Tensor:
    """Return the sum over one channel's map, or its value where it has no map, [B], float64."""
    own = maps[:, channel].double()
    return own.flatten(1).sum(1) if own.dim() > 1 else own


def _junction(question: Question) -> int | None:
    """Return the first step without rows and columns that everything after it goes through."""
    graph = question.net.graph
    if not question.outputs or not graph.batched:
        return None
    for index in narrow_steps(graph):
        if graph.axes[index] is None and graph.steps[index].shape[0] == 1:
            return index if index < max(question.outputs) else None
    return None
