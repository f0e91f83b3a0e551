"""Fields: what part of the image a unit reads, and what part of every map a patch of it touches."""

from collections.abc import Sequence
from functools import cache, cached_property
from math import gcd, lcm

import numpy as np

from convscope.network.graph import Graph
from convscope.network.windows.relations import (
    NO_ROWS,
    Array,
    Range,
    Relation,
    Rows,
    Sliding,
    Whole,
    clip,
    ends,
    read_by,
    union,
)

FAR = 5_045_040
"""A row so far along, and divisible by so much, that a fractional stride shows exactly."""

PHASES = 64
"""How many neighbouring rows are tried at most where transposed convolutions or resizing by broken
factors make windows alternate."""


class ReceptiveFields:
    """Finds what part of the image any unit of a graph reads.

    Args:
        graph: the network.
        local: leave out what reaches units as one value for a whole map, wherever a step reads
            something else besides: gates, and the statistics of norms.
    """

    def __init__(self, graph: Graph, *, local: bool = False) -> None:
        self.graph, self.local = graph, local
        self.image_size = graph.steps[0].shape[-2:]
        # Caches of this object: on the class, they would keep every graph alive.
        self.relation = cache(self._relation)
        # Windows are products of rows and columns, and neighbouring units share theirs.
        self.rows = cache(self._rows)
        self.along = cache(self._along)
        self.inputs = cache(self._inputs)

    def _relation(self, index: int, position: int, axis: int) -> Relation:
        step = self.graph.steps[index]
        source = step.inputs[position]
        target_axes, source_axes = self.graph.axes[index], self.graph.axes[source]
        if target_axes is None or source_axes is None:
            return Whole()
        if self.local and step.operation.takes_statistics:
            return Sliding()
        return step.operation.relation(step.call, position, source_axes[axis], target_axes[axis])

    @cached_property
    def _placed(self) -> list[bool]:
        """Whether each step's values depend on where in the image they lie."""
        placed = [True]
        for index, step in enumerate(self.graph.steps[1:], start=1):
            placed.append(
                any(
                    placed[source] and not isinstance(self.relation(index, position, axis), Whole)
                    for position, source in enumerate(step.inputs)
                    for axis in (0, 1)
                )
            )
        return placed

    @cached_property
    def _periods(self) -> list[int]:
        """After how many rows each step's windows are the same again but moved, borders apart."""
        found = [1]
        for index in range(1, len(self.graph.steps)):
            periods = [1]
            for position, source in self.inputs(index):
                paces = (self.relation(index, position, axis).pace for axis in (0, 1))
                # So many rows further the input is read a whole number of its periods further.
                periods += [
                    pace.denominator * (found[source] // gcd(pace.numerator, found[source]))
                    for pace in paces
                ]
            found.append(lcm(*periods))
        return found

    @property
    def leaves_out(self) -> bool:
        """Whether there is anything that a local field leaves out."""
        steps = enumerate(self.graph.steps)
        return any(
            step.operation.takes_statistics or len(self.inputs(index)) < len(step.inputs)
            for index, step in steps
        )

    def _inputs(self, index: int) -> list[tuple[int, int]]:
        """Return the positions and steps that a step reads, without gates if they are left out."""
        inputs = list(enumerate(self.graph.steps[index].inputs))
        placed = [pair for pair in inputs if self._placed[pair[1]]] if self.local else []
        return placed or inputs

    def _rows(self, start: int, rows: Range, axis: int, clipped: bool) -> Range:
        """Return the image rows that *rows* of a step read.

        Args:
            start: the step.
            rows: rows of its output, or columns if *axis* is 1.
            axis: 0 for rows, 1 for columns.
            clipped: stop at every map's borders, as the network does, so that the answer is exact;
                otherwise maps are taken as endless.
        """
        reached: dict[int, Rows] = {start: rows}
        for index in range(start, 0, -1):
            # All that reads a step had its turn before it, so that its rows are complete now.
            if index not in reached:
                continue
            wanted = reached.pop(index)
            for position, source in self.inputs(index):
                cut = clipped and self.graph.axes[source] is not None
                size = self.graph.map_size(source)[axis] if cut else None
                found = read_by(self.relation(index, position, axis), wanted, size)
                # Of padding alone nothing comes from the image.
                if isinstance(found, tuple) and found[0] > found[1]:
                    continue
                reached[source] = union(reached[source], found) if source in reached else found
        return ends(reached.get(0, NO_ROWS))

    def window(self, index: int, row: int, column: int) -> tuple[int, int, int, int]:
        """Return what one unit reads: (top, left, bottom, right), the last two excluded.

        *row* and *column* are its place in the last two dimensions of the map, which a network may
        have transposed.
        """
        if self.graph.is_turned(index):
            row, column = column, row
        return self._window(index, (row, row), (column, column))

    def shown(self, index: int, row: int, column: int) -> tuple[int, int, int, int]:
        """Return what to show of the image beside a unit, like :meth:`window`.

        It is all of it where the unit reads padding alone, and no pixel.
        """
        window, (height, width) = self.window(index, row, column), self.image_size
        return (0, 0, height, width) if is_empty(window) else window

    def map_window(self, index: int) -> tuple[int, int, int, int]:
        """Return what a whole feature map reads, like :meth:`window`."""
        rows, columns = self.graph.map_size(index)
        return self._window(index, (0, rows - 1), (0, columns - 1))

    def size(self, index: int) -> tuple[int, int]:
        """Return height and width of one unit's receptive field, borders apart."""
        height, width = (self.along(index, axis) for axis in (0, 1))
        whole = self.image_size
        return height[2] if height else whole[0], width[2] if width else whole[1]

    def stride(self, index: int) -> tuple[int | float, int | float] | None:
        """Return the image pixels between neighbouring units; None where each reads all rows."""
        rows, columns = (self.along(index, axis) for axis in (0, 1))
        return None if rows is None or columns is None else (rows[0], columns[0])

    def _window(self, index: int, rows: Range, columns: Range) -> tuple[int, int, int, int]:
        height, width = self.image_size
        if self.graph.axes[index] is None:
            return 0, 0, height, width
        top, bottom = clip(self.rows(index, rows, 0, True), height)
        left, right = clip(self.rows(index, columns, 1, True), width)
        return top, left, bottom + 1, right + 1

    def _along(self, index: int, axis: int) -> tuple[int | float, int, int] | None:
        """Return stride, padding and size of a layer's windows along one axis; None if whole."""
        if self.graph.axes[index] is None:
            return None
        windows = []
        for row in range(min(PHASES, self._periods[index])):
            window, far = (self.rows(index, (r, r), axis, False) for r in (row, row + FAR))
            if window is None or far is None:
                return None
            # Some rows of a transposed convolution read nothing where its stride exceeds its
            # kernel.
            if window[0] <= window[1]:
                windows.append((row, window, far))
        if not windows:
            return None
        row, first, far = windows[0]
        # Behind a flip a later row reads earlier ones.
        stride: int | float = abs(far[0] - first[0]) / FAR
        size = max(last - begin + 1 for _, (begin, last), _ in windows)
        return int(stride) if stride == int(stride) else stride, -int(first[0] - row * stride), size


def is_empty(window: Sequence[int]) -> bool:
    """Return whether a window, (top, left, bottom, right), holds no pixel."""
    top, left, bottom, right = window
    return bottom <= top or right <= left


class ProjectiveFields:
    """Finds which rows (or columns) of every map depend on some rows of the image."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.relation = ReceptiveFields(graph).relation
        # A patch is a product of rows and columns, and patches of a grid share theirs.
        self.spans = cache(self._spans)

    def of_patches(self, patches: Array, axis: int) -> Array:
        """Return the touched rows of every step for each patch.

        Args:
            patches: [B, 2], the first and last row of each patch, or columns if *axis* is 1.
            axis: 0 for rows, 1 for columns.

        Returns:
            [steps, B, 2]: first and last row; the last before the first where nothing is touched.
        """
        return np.stack([self.spans(int(a), int(b), axis) for a, b in patches], axis=1)

    def _spans(self, first: int, last: int, axis: int) -> Array:
        """Return the touched rows of every step, [steps, 2]; of one without rows (0, 0)."""
        graph, found = self.graph, [(first, last)]
        for index, step in enumerate(graph.steps[1:], start=1):
            touched, size = NO_ROWS, graph.map_size(index)[axis]
            for position, source in enumerate(step.inputs):
                # A source without rows has (0, 0), and what reads it along rows is Whole: all is
                # touched.
                if graph.axes[index] is not None and found[source] != NO_ROWS:
                    relation = self.relation(index, position, axis)
                    rows = relation.touched(found[source], graph.map_size(source)[axis], size)
                    touched = _together(touched, rows)
            empty = NO_ROWS if graph.axes[index] is not None else (0, 0)
            found.append(touched if touched[0] <= touched[1] else empty)
        return np.array(found)


def _together(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest range that holds both, of which either may be empty."""
    if one[0] > one[1]:
        return other
    if other[0] > other[1]:
        return one
    return min(one[0], other[0]), max(one[1], other[1])
