"""Cones: where the signals of single units lie in every map between their layer and the image.

Going down from one unit, the signal spreads over the windows that the unit reads and is exactly
zero outside; so it does from several side by side. So a window may be chosen freely as long as it
holds the unit's own range of rows and columns, cut at the map's borders, or at those of what is
wanted in the end. The windows of a batch have one size and lie the same way below
each other for every unit; only their origins differ. Where units of a batch stand differently to
the borders, their windows are as large as the largest needs, and stick out of the map elsewhere.
"""

from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from convscope.network.graph import Graph
from convscope.network.ops import Generated
from convscope.network.ops.base import varies
from convscope.network.windows.fields import ReceptiveFields
from convscope.network.windows.placement import Placement, read
from convscope.network.windows.relations import Array, Relation, Resized, Sliding, Transposed, Whole

NOTHING = 2**40
"""First row of an empty range; its last row is the negative. Beyond any map, and yet what strides
make of it on the way down does not overflow."""


class Cones:
    """The cones of some units of one layer, in an order that keeps neighbours together.

    Args:
        graph: the network.
        fields: its receptive fields.
        start: the step of the layer, which gives maps.
        rows: [U], the row of each unit.
        columns: [U], its column.
        extent: [2, 2, U], the first and last row and column, where a signal starts at several
            units; then *rows* and *columns* are any that lie alike to what is wanted of each.
        seen: [2, 2, U], the first and last row and column that are wanted of each in the end.
        stop: the step at whose output the signals end.
    """

    def __init__(
        self, graph: Graph, fields: ReceptiveFields, start: int, rows: Array, columns: Array,
        extent: Array | None = None, seen: Array | None = None, stop: int = 0,
    ) -> None:  # fmt: skip
        self.graph, self.fields, self.start = graph, fields, start
        between = [i for i in graph.needed_for([start]) if stop < i < start]
        self.steps = [start, *reversed(between), stop]
        self.place = {index: place for place, index in enumerate(self.steps)}
        shape = len(self.steps), 2, len(rows)
        self.size = np.array([graph.map_size(index) for index in self.steps])
        self.whole = np.array([graph.axes[index] is None for index in self.steps])
        # A unit's range is first to last; the anchor is a row that keeps its distance from
        # the range where borders do not cut it, the same for all units of a batch. By a 3x3
        # kernel of stride 2, padded by 1, units in rows 0 and 4 read rows -1 to 1 and 7 to 9. Their
        # anchors are -1 and 7: from there both ranges are 0 to 2, and the border cuts the first.
        self.anchor = np.zeros(shape, np.int64)
        self.first, self.last = np.full(shape, NOTHING), np.full(shape, -NOTHING)
        # What must be equal for two units to share a batch: at steps whose rows alternate, where in
        # the pattern a unit stands; where paths meet, by how far their anchors differ.
        self._phases: list[Array] = []
        self._windowed: dict[int, bool] = {}
        self._reached = {start}
        # What can reach the wanted part, or else the map.
        self.low = np.zeros(shape, np.int64)
        self.high = np.broadcast_to(self.size[:, :, None] - 1, shape).copy()
        if seen is not None:
            self.low[-1], self.high[-1] = seen
            for index in reversed(self.steps[:-1]):
                self._narrow(index)
        self.anchor[0] = self.first[0] = self.last[0] = [rows, columns]
        if extent is not None:
            self.first[0] = np.maximum(extent[0], self.low[0])
            self.last[0] = np.minimum(extent[1], self.high[0])
        for index in self.steps[:-1]:
            if index in self._reached:
                self._spread(index)
        self.order = self._in_order(rows, columns)
        for name in ("anchor", "first", "last"):
            setattr(self, name, getattr(self, name)[:, :, self.order])

    def windowed(self, index: int) -> bool:
        """Return whether a step can be reversed on windows."""
        # Asked first when all that reads the step has handed its ranges on: whether it is whole no
        # longer changes.
        if index not in self._windowed:
            self._windowed[index] = self._is_windowed(index)
        return self._windowed[index]

    def _is_windowed(self, index: int) -> bool:
        step = self.graph.steps[index]
        if step.made_by is None or self.whole[self.place[index]]:
            return False
        axes, shapes = self.graph.axes[index], step.call.input_shapes
        if step.shape[0] != 1 or not step.operation.has_windows(step.call, axes):
            return False
        for position, source in enumerate(step.inputs):
            if any(isinstance(r, Whole) for r in self.relations(index, position)):
                # A single value for all places, such as a gate's, is read from each of them.
                if len(shapes) == 1 or varies(shapes[position], axes, len(step.shape)):
                    return False
            elif len(shapes) > 1 and self.graph.axes[source] != axes:
                return False
        return all(shape[0] == 1 for shape in shapes)

    def relations(self, index: int, position: int) -> tuple[Relation, Relation]:
        """Return what the rows and the columns of a step read of its input number *position*."""
        return self.fields.relation(index, position, 0), self.fields.relation(index, position, 1)

    def _narrow(self, index: int) -> None:
        """Leave out of a step what reaches nothing that is wanted of what it reads."""
        sources = [s if s in self.place else None for s in self.graph.steps[index].inputs]
        for axis in (0, 1):
            low = np.full_like(self.low[0, 0], NOTHING)
            high = -low
            for position, source in enumerate(sources):
                # What is not between layer and end leads to nothing that is wanted.
                if source is None:
                    continue
                relation, below = self.relations(index, position)[axis], (self.place[source], axis)
                touched: Any = (0, NOTHING)  # of any other relation there is no telling
                if isinstance(relation, Sliding | Transposed | Resized):
                    touched = relation.touches((self.low[below], self.high[below]))
                low, high = np.minimum(low, touched[0]), np.maximum(high, touched[1])
            above = self.place[index], axis
            self.low[above] = np.maximum(low, self.low[above])
            self.high[above] = np.minimum(high, self.high[above])

    def _spread(self, index: int) -> None:
        """Hand the ranges of one step on to what it reads."""
        step = self.graph.steps[index]
        # What it reads tells it the number of images alone, and gets no signal.
        if isinstance(step.operation, Generated):
            return
        windowed = self.windowed(index)
        for position, source in enumerate(step.inputs):
            if source not in self.place:
                continue
            relations = self.relations(index, position)
            if not windowed or any(isinstance(r, Whole) for r in relations):
                self.whole[self.place[source]] = True
            elif not self.whole[self.place[source]]:
                for axis, relation in enumerate(relations):
                    self._spread_axis(index, source, axis, relation)
            self._reached.add(source)

    def _spread_axis(self, index: int, source: int, axis: int, relation: Relation) -> None:
        above, below = (self.place[index], axis), (self.place[source], axis)
        anchor = read(relation, self.anchor[above], self.anchor[above])[0]
        # Copies of each row twice: rows 0 and 1 read one row, rows 1 and 2 read two. Windows of one
        # size read windows of one size only where all start in step.
        if period(relation) > 1:
            self._phases.append(self.anchor[above] % period(relation))
        first, last = read(relation, self.first[above], self.last[above])
        # Padding is read but holds no signal. The anchor is not cut: it must move as the unit does.
        first, last = np.maximum(first, self.low[below]), np.minimum(last, self.high[below])
        empty = (first > last) | (self.first[above] > self.last[above])
        # Two paths lead here. The window holds both ranges, by the anchor of the first.
        if source in self._reached:
            self._phases.append(anchor - self.anchor[below])
            anchor = self.anchor[below]
        self.anchor[below] = anchor
        # Empty ranges are written anew at each step, so that no stride multiplies NOTHING twice.
        self.first[below] = np.minimum(self.first[below], np.where(empty, NOTHING, first))
        self.last[below] = np.maximum(self.last[below], np.where(empty, -NOTHING, last))

    def _in_order(self, rows: Array, columns: Array) -> Array:
        """Return the units, those that may share a batch side by side, neighbours nearest."""
        phases = np.array(self._phases).reshape(-1, len(rows))
        # Rows of equal phases part nobody; mostly none is left, and all units are one group.
        moves = phases[(phases != phases[:, :1]).any(axis=1)]
        group = np.zeros(len(rows), np.int64)
        if len(moves):
            group = np.unique(moves, axis=1, return_inverse=True)[1].reshape(-1)
        parts = [np.flatnonzero(group == number) for number in range(int(group.max()) + 1)]
        self.groups = np.cumsum([0, *map(len, parts)]).tolist()
        return np.concatenate([_halved(part, np.stack([rows, columns])) for part in parts])

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Yield begin and end, in the order of :attr:`order`, of units that may share a batch."""
        yield from pairwise(self.groups)

    @cached_property
    def _offsets(self) -> tuple[Array, Array]:
        return self.first - self.anchor, self.last - self.anchor

    def mean_area(self, index: int, begin: int, end: int) -> float:
        """Return how many positions of a step the units *begin* to *end* need on average."""
        place = self.place[index]
        if self.whole[place]:
            return float(self.size[place].prod())
        first, last = self.first[place, :, begin:end], self.last[place, :, begin:end]
        return float(np.maximum(last - first + 1, 0).prod(axis=0).mean())

    def placements(self, begin: int, end: int) -> dict[int, Placement]:
        """Return where the windows of the units *begin* to *end* lie, step by step.

        A step that is missing has no signal at all.
        """
        # A unit without a signal in a step has an empty range there, from NOTHING to -NOTHING,
        # which moves neither bound; where none has one, the size comes out negative.
        lowest = self._offsets[0][:, :, begin:end].min(axis=2)
        sizes = self._offsets[1][:, :, begin:end].max(axis=2) - lowest + 1
        found: dict[int, Placement] = {}
        # Relative to the anchor all units' windows lie the same, so one size and one distance do.
        whole = self.whole.copy()
        for place, index in enumerate(self.steps):
            if index not in self._reached:
                continue
            height, width = sizes[place].tolist()
            if not whole[place] and (height < 1 or width < 1):
                continue
            area = self.size[place].prod()
            # A single unit's window is never larger than the map. Several units' may be, and then
            # the map itself costs less, here and everywhere below, where windows mostly grow.
            if whole[place] or (end - begin > 1 and height * width >= area):
                for source in self.graph.steps[index].inputs:
                    if source in self.place:
                        whole[self.place[source]] = True
                found[index] = Placement.of_whole(self.size[place], end - begin)
            else:
                origins = self.anchor[place, :, begin:end] + lowest[place][:, None]
                found[index] = Placement(origins, (height, width))
        return found


def period(relation: Relation) -> int:
    """Return how many rows further a window must start to read in the same pattern."""
    if isinstance(relation, Transposed):
        return relation.stride
    if isinstance(relation, Resized):
        return max(1, relation.target // relation.source)
    assert isinstance(relation, Sliding)
    return 1


def _halved(units: Array, positions: Array) -> Array:
    """Return *units* such that each half of the row, and each half of that, lies close together."""
    if len(units) < 3:
        return units
    # As in a k-d tree: a batch is split in the middle when it is too large, and its halves should
    # have small windows.
    spread = np.ptp(positions[:, units], axis=1)
    units = units[positions[int(spread.argmax()), units].argsort(kind="stable")]
    middle = len(units) // 2
    return np.concatenate([_halved(part, positions) for part in (units[:middle], units[middle:])])
