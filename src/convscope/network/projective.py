"""Projective fields: what part of every map a changed part of the image touches."""

from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from convscope.network.graph import Graph
from convscope.network.layers import ReceptiveFields
from convscope.network.windows import Relation, Sliding

Rows = tuple[int, int]
Spans = npt.NDArray[np.int64]
NOTHING: Rows = (0, -1)


class ProjectiveFields:
    """Finds which rows (or columns) of every map depend on some rows of the image."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.relation = ReceptiveFields(graph).relation
        # A patch is a product of rows and columns, and patches of a grid share theirs.
        self.spans = cache(self._spans)

    def of_patches(self, patches: Spans, axis: int) -> Spans:
        """Return the touched rows of every step for each patch.

        Args:
            patches: [B, 2], the first and last row of each patch, or columns if *axis* is 1.
            axis: 0 for rows, 1 for columns.

        Returns:
            [steps, B, 2]: first and last row; the last before the first where nothing is touched.
        """
        return np.stack([self.spans(int(a), int(b), axis) for a, b in patches], axis=1)

    def _spans(self, first: int, last: int, axis: int) -> Spans:
        """Return the touched rows of every step, [steps, 2]; of one without rows (0, 0)."""
        found: list[Rows] = [(first, last)]
        for size, readings in self.readings[axis]:
            touched = NOTHING if size else (0, 0)
            for source, relation, source_size in readings:
                before = found[source]
                if before[0] <= before[1]:
                    # Most steps take each row to its own, and patches are many.
                    if relation is not None:
                        before = relation.touched(before, source_size, size)
                    touched = _together(touched, before)
            found.append(touched if touched[0] <= touched[1] else NOTHING)
        return np.array(found)

    @cached_property
    def readings(self) -> list[list[tuple[int, list[tuple[int, Relation | None, int]]]]]:
        """What is read, for each axis and step: its size, 0 if it has no rows, and of each input.

        Of an input: its step, how the rows are related, None if each is its own, and its size.
        """
        return [
            [self._reading(index, axis) for index in range(1, len(self.graph.steps))]
            for axis in (0, 1)
        ]

    def _reading(self, index: int, axis: int) -> tuple[int, list[tuple[int, Relation | None, int]]]:
        size = self._size(index, axis)
        readings = []
        for position, source in enumerate(self.graph.steps[index].inputs if size else ()):
            relation, own = self.relation(index, position, axis), self._size(source, axis) or 1
            alike = relation == Sliding() and own == size
            readings.append((source, None if alike else relation, own))
        return size, readings

    def _size(self, index: int, axis: int) -> int:
        axes = self.graph.axes[index]
        return 0 if axes is None else self.graph.steps[index].shape[axes[axis]]


def _together(one: Rows, other: Rows) -> Rows:
    """Return the smallest range that holds both, of which either may be empty."""
    if one[0] > one[1]:
        return other
    if other[0] > other[1]:
        return one
    return min(one[0], other[0]), max(one[1], other[1])
