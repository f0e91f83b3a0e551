"""The walk up in windows: only what a changed part of the image touches is computed.

Many patches go up at once. At every step the maps of a batch are windows of one size, each with an
origin of its own; one that would stick out of its map is shifted inward and then holds some
values that come out as in the clean image. A step gathers what its windows read from the windows
below, from the clean map around them and from the padding around that, and runs once, without
padding, for the whole batch. Where the windows are as large as the map, or an operation mixes the
whole map, it goes on with whole maps.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from convscope.network.calls import Call
from convscope.network.cone_descent import paste
from convscope.network.graph import Graph
from convscope.network.ops import MAPS, Generated
from convscope.network.ops.base import resized
from convscope.network.projective import ProjectiveFields, Spans
from convscope.network.walk import ascend
from convscope.network.windows import Padded, Relation, Sliding
from convscope.network.winograd import TurnedFilters

Origins = npt.NDArray[np.int64]
SAME = Sliding()


@dataclass(frozen=True)
class Placement:
    """Where the windows of a batch lie on their map: one size, an origin each.

    ``rows`` and ``columns`` are [B], the first row and column of each window; they may lie
    outside the map where a window reads padding.
    """

    rows: Origins
    columns: Origins
    height: int
    width: int

    def equals(self, other: "Placement") -> bool:
        """Return whether every window is the same."""
        return (
            (self.height, self.width) == (other.height, other.width)
            and np.array_equal(self.rows, other.rows)
            and np.array_equal(self.columns, other.columns)
        )


@dataclass(frozen=True)
class Plan:
    """What a batch of patches touches.

    Attributes:
        placements: one a step.
        whole: [steps], whether the step's output is kept as whole maps.
    """

    placements: list[Placement]
    whole: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of patches."""
        return len(self.placements[0].rows)


@dataclass(frozen=True)
class Windows:
    """The changed windows of one step: values [B, ...] and where they lie; None if whole."""

    values: Tensor
    placement: Placement | None


class WindowedWalk:
    """Walks up the graph with patches of one image changed.

    Args:
        graph: the network; it must be batched, or be given one patch at a time.
        image: [1, C, H, W], the clean image.
        targets: the steps whose outputs are wanted.
        turned: filters for quick convolutions; None for none.
        clean: every map of the clean image by its step, where it went up already.
    """

    def __init__(
        self,
        graph: Graph,
        image: Tensor,
        targets: Iterable[int],
        turned: TurnedFilters | None = None,
        clean: Mapping[int, Tensor] | None = None,
    ) -> None:
        self.graph, self.targets, self.precision = graph, tuple(targets), image.dtype
        self.needed = graph.needed_for(self.targets)
        self.changing = _reached_from_image(graph)
        self.fields = ProjectiveFields(graph)
        self.windowable = [False] * len(graph.steps)
        for index in self.needed:
            self.windowable[index] = self._is_windowable(index)
        self.sizes = np.array([_map_size(graph, index) for index in range(len(graph.steps))])
        self.image = image
        self.turned = turned
        self.kept = clean
        self.on_windows: dict[tuple[int, int, int], Call | None] = {}

    @cached_property
    def clean(self) -> Mapping[int, Tensor]:
        """The maps of the clean image that windows are read from or pasted into."""
        if self.kept is not None:
            return self.kept
        wanted = {0, *self.targets, *self._gathered_from()}
        return ascend(self.graph, self.image, sorted(wanted)).maps

    def _is_windowable(self, index: int) -> bool:
        step, axes = self.graph.steps[index], self.graph.axes[index]
        if step.made_by is None or axes is None or step.shape[0] != 1:
            return False
        for position, source in enumerate(step.inputs):
            if self.graph.axes[source] is None or self.graph.steps[source].shape[0] != 1:
                return False
            for axis in (0, 1):
                if _sliding(self._relation(index, position, axis)) is None:
                    return False
        return step.operation.on_windows(step.call, axes, (1, 1)) is not None

    def _relation(self, index: int, position: int, axis: int) -> Relation:
        return self.fields.relation(index, position, axis)

    def _call(self, index: int) -> Call:
        return self.graph.steps[index].call

    def _gathered_from(self) -> set[int]:
        """Return the steps of whose clean maps parts may be read."""
        found = set()
        for index in self.needed:
            inputs = self.graph.steps[index].inputs
            plain = self.windowable[index] and len(inputs) == 1
            for position, source in enumerate(inputs):
                # A window may be shifted inward otherwise where the maps differ in size.
                alike = plain and np.array_equal(self.sizes[index], self.sizes[source])
                for axis in (0, 1):
                    alike = alike and self._relation(index, position, axis) == SAME
                if not (alike and self.windowable[source] and self.changing[source]):
                    found.add(source)
        return found

    def spans(self, patches: Spans) -> tuple[Spans, Spans]:
        """Return the rows and columns of every step that each patch touches, [steps, B, 2].

        Args:
            patches: [B, 4]: top, left, bottom, right in the image, the last two excluded.
        """
        rows, columns = patches[:, (0, 2)] - (0, 1), patches[:, (1, 3)] - (0, 1)
        return self.fields.of_patches(rows, 0), self.fields.of_patches(columns, 1)

    def plan(self, rows: Spans, columns: Spans) -> Plan:
        """Return where the windows of a batch lie, given what each patch touches."""
        (tops, heights), (lefts, widths) = (
            _placed(spans, self.sizes[:, axis]) for axis, spans in ((0, rows), (1, columns))
        )
        full = (heights == self.sizes[:, 0]) & (widths == self.sizes[:, 1])
        whole = full | ~np.array(self.windowable)
        whole[0] = False
        placements = [
            Placement(tops[i], lefts[i], int(heights[i]), int(widths[i]))
            for i in range(len(self.graph.steps))
        ]
        return Plan(placements, whole)

    @torch.no_grad()
    def run(self, plan: Plan, image_windows: Tensor) -> dict[int, Windows]:
        """Return what the targets become.

        Args:
            plan: where the windows lie.
            image_windows: [B, C, h, w], the image at ``plan.placements[0]``, changed.
        """
        last_reader = {s: index for index in self.needed for s in self.graph.steps[index].inputs}
        values = {0: image_windows.contiguous(memory_format=torch.channels_last)}
        for index in self.needed:
            if not self.changing[index]:
                continue
            values[index] = self._step(index, plan, values)
            for source in set(self.graph.steps[index].inputs):
                if last_reader[source] == index and source not in self.targets:
                    values.pop(source, None)
        return {
            index: Windows(values[index], None if plan.whole[index] else plan.placements[index])
            for index in self.targets
        }

    def _step(self, index: int, plan: Plan, values: Mapping[int, Tensor]) -> Tensor:
        step, call = self.graph.steps[index], self._call(index)
        inputs: list[Tensor] = []
        if plan.whole[index]:
            for source in step.inputs:
                axes = self.graph.axes[source]
                wanted = None if axes is None else self._whole(source, len(plan))
                inputs.append(self._read(source, wanted, 0.0, plan, values))
            return self._run(index, call, inputs, len(plan))
        axes, here = self.graph.axes[index], plan.placements[index]
        key = (index, here.height, here.width)
        if key not in self.on_windows:
            self.on_windows[key] = step.operation.on_windows(call, axes, key[1:])
        on_windows = self.on_windows[key]
        assert on_windows is not None
        for position, source in enumerate(step.inputs):
            wanted = self._read_by(index, position, here)
            inputs.append(self._read(source, wanted, step.operation.beyond(call), plan, values))
        return self._run(index, on_windows, inputs, len(plan))

    def _run(self, index: int, call: Call, inputs: list[Tensor], batch: int) -> Tensor:
        """Run a step, by Winograd's convolution where that is faster and there is room for it."""
        quick = None
        if self.turned is not None:
            quick = self.turned.convolved(index, call, inputs[0])
        return call.run(inputs, batch) if quick is None else quick

    def _read_by(self, index: int, position: int, here: Placement) -> Placement:
        """Return what windows of a step, placed *here*, read of an input."""
        rows, columns = (_sliding(self._relation(index, position, axis)) for axis in (0, 1))
        assert rows is not None
        assert columns is not None
        return _read_by(here, rows, columns)

    def _whole(self, index: int, batch: int) -> Placement:
        zeros = np.zeros(batch, dtype=np.int64)
        return Placement(zeros, zeros, *map(int, self.sizes[index]))

    def _read(
        self,
        source: int,
        wanted: Placement | None,
        beyond: float,
        plan: Plan,
        values: Mapping[int, Tensor],
    ) -> Tensor:
        """Return an input of a step as it reads it: *wanted* windows; None for all there is."""
        held = values.get(source)
        if held is None:
            clean = self.clean[source]
            held = clean.expand(len(plan) * clean.shape[0], *clean.shape[1:])
        if wanted is None:
            return held
        whole = plan.whole[source] or source not in values
        placement = self._whole(source, len(plan)) if whole else plan.placements[source]
        if placement.equals(wanted):
            return held
        axes = self.graph.axes[source]
        assert axes is not None
        return self._gather(source, held, axes, placement, wanted, beyond)

    def _gather(
        self,
        source: int,
        held: Tensor,
        axes: tuple[int, int],
        placement: Placement,
        wanted: Placement,
        beyond: float,
    ) -> Tensor:
        """Return windows read from the *held* ones, the clean map and what lies beyond it."""
        batch = len(held)
        if batch == 1:
            return self._gather_one(source, held, axes, placement, wanted, beyond)
        surrounding, row_offset, width, column_offset = self._surrounding(
            source, axes, wanted, beyond
        )
        rows = wanted.rows[:, None] + np.arange(wanted.height)
        columns = wanted.columns[:, None] + np.arange(wanted.width)
        # Where in the held windows each row lies, and whether it does.
        own_rows, own_columns = rows - placement.rows[:, None], columns - placement.columns[:, None]
        in_rows = (own_rows >= 0) & (own_rows < placement.height)
        in_columns = (own_columns >= 0) & (own_columns < placement.width)
        first = np.arange(batch)[:, None] * placement.height + own_rows
        changed_rows = len(surrounding) + first * placement.width
        clean_rows, clean_columns = (rows + row_offset) * width, columns + column_offset
        places = np.where(
            in_rows[:, :, None] & in_columns[:, None, :],
            changed_rows[:, :, None] + own_columns[:, None, :],
            clean_rows[:, :, None] + clean_columns[:, None, :],
        )
        moved = held.movedim(axes, (1, 2))
        rest = moved.shape[3:]
        table = torch.cat([surrounding, moved.reshape(-1, rest.numel())])
        index = torch.from_numpy(places.reshape(-1)).to(held.device)
        found = table.index_select(0, index)
        return found.view(batch, wanted.height, wanted.width, *rest).movedim((1, 2), axes)

    def _gather_one(
        self,
        source: int,
        held: Tensor,
        axes: tuple[int, int],
        placement: Placement,
        wanted: Placement,
        beyond: float,
    ) -> Tensor:
        """Return a single window, for which only what it reads of the clean map is copied."""
        clean, size = self.clean[source], (wanted.height, wanted.width)
        maps = axes == MAPS and held.dim() == 4
        layout = torch.channels_last if maps else torch.contiguous_format
        shape = resized(tuple(held.shape), axes, size)
        found = torch.empty(shape, dtype=held.dtype, device=held.device, memory_format=layout)
        found.fill_(beyond)
        top, left = int(wanted.rows[0]), int(wanted.columns[0])
        paste(clean, found, axes, [-top, -left])
        own = [int(placement.rows[0]) - top, int(placement.columns[0]) - left]
        paste(held, found, axes, own)
        return found

    def _surrounding(
        self, source: int, axes: tuple[int, int], wanted: Placement, beyond: float
    ) -> tuple[Tensor, int, int, int]:
        """Return the clean map with its padding as rows of a table, and how to find a place there.

        Row and column (r, c) of the map is row ``(r + row_offset) * width + c + column_offset``.
        """
        height, width = map(int, self.sizes[source])
        top = max(0, -int(wanted.rows.min()))
        left = max(0, -int(wanted.columns.min()))
        bottom = max(0, int(wanted.rows.max()) + wanted.height - height)
        right = max(0, int(wanted.columns.max()) + wanted.width - width)
        moved = self.clean[source][0].movedim((axes[0] - 1, axes[1] - 1), (0, 1))
        flat = moved.reshape(height, width, -1)
        if top or left or bottom or right:
            flat = functional.pad(flat, (0, 0, left, right, top, bottom), value=beyond)
        return flat.reshape(-1, flat.shape[2]), top, left + width + right, left

    def whole_maps(self, target: int, found: Windows) -> Tensor:
        """Return what :meth:`run` found for a target as whole maps, [B, ...]."""
        axes = self.graph.axes[target]
        if found.placement is None or axes is None:
            return found.values
        whole = self._whole(target, len(found.values))
        return self._gather(target, found.values, axes, found.placement, whole, 0.0)

    def channel_sums(self, target: int, channel: int, found: Windows) -> Tensor:
        """Return the sum over one channel of a target's maps, [B], float64.

        Outside its window a map is the clean one, so only the difference inside is summed.
        """
        own, clean = found.values[:, channel].double(), self.clean[target][0, channel].double()
        if found.placement is None:
            return own.flatten(1).sum(1) if own.dim() > 1 else own
        place = found.placement
        if self.graph.axes[target] == (3, 2):
            own, clean = own.mT, clean.mT
        rows = torch.from_numpy(place.rows[:, None] + np.arange(place.height)).to(own.device)
        columns = torch.from_numpy(place.columns[:, None] + np.arange(place.width)).to(own.device)
        before = clean[rows[:, :, None], columns[:, None, :]]
        return clean.sum() + (own - before).sum((1, 2))

    @torch.no_grad()
    def finish(self, junction: int, values: Tensor, targets: Iterable[int]) -> dict[int, Tensor]:
        """Go on plainly from a step that everything after it goes through.

        Args:
            junction: the step.
            values: [B, ...], its outputs.
            targets: the steps whose outputs are wanted.
        """
        targets = list(targets)
        found = {junction: values}
        for index in self.graph.needed_for(targets):
            if index > junction or not self.changing[index]:
                call = self._call(index)
                inputs = [found[source] for source in self.graph.steps[index].inputs]
                found[index] = call.run(inputs, len(values))
        return {index: found[index] for index in targets}


def _sliding(relation: Relation) -> Sliding | None:
    """Return a relation as a sliding window, if it is one."""
    if isinstance(relation, Padded) and relation.mode == "constant":
        return Sliding(padding=relation.before)
    return relation if isinstance(relation, Sliding) else None


def _read_by(here: Placement, rows: Sliding, columns: Sliding) -> Placement:
    """Return what windows placed *here* read of an input."""
    height = (here.height - 1) * rows.stride + rows.dilation * (rows.kernel - 1) + 1
    width = (here.width - 1) * columns.stride + columns.dilation * (columns.kernel - 1) + 1
    return Placement(
        here.rows * rows.stride - rows.padding,
        here.columns * columns.stride - columns.padding,
        height,
        width,
    )


def _placed(spans: Spans, sizes: Origins) -> tuple[Origins, Origins]:
    """Return the origins, [steps, B], and sizes, [steps], of windows that hold *spans*."""
    first, last = spans[:, :, 0], spans[:, :, 1]
    extents = np.maximum((last - first + 1).max(axis=1), 1)
    return np.clip(first, 0, (sizes - extents)[:, None]), extents


def _map_size(graph: Graph, index: int) -> tuple[int, int]:
    """Return height and width of a step's maps; 1, 1 of one that has none."""
    axes, shape = graph.axes[index], graph.steps[index].shape
    return (1, 1) if axes is None else (shape[axes[0]], shape[axes[1]])


def _reached_from_image(graph: Graph) -> list[bool]:
    """Return for each step whether the image's values reach it."""
    found = [True]
    for step in graph.steps[1:]:
        found.append(
            not isinstance(step.operation, Generated) and any(found[i] for i in step.inputs)
        )
    return found
