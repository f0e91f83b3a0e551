"""Projective fields: what part of every map a changed part of the image touches."""

from functools import cache

import numpy as np
import numpy.typing as npt

from convscope.network.graph import Graph
from convscope.network.layers import ReceptiveFields
from convscope.network.windows import touched_within

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
        for index, step in enumerate(self.graph.steps[1:], start=1):
            axes = self.graph.axes[index]
            if axes is None:
                found.append((0, 0))
                continue
            size, touched = step.shape[axes[axis]], NOTHING
            for position, source in enumerate(step.inputs):
                before = found[source]
                if before[0] > before[1]:
                    continue
                relation, source_axes = (
                    self.relation(index, position, axis),
                    self.graph.axes[source],
                )
                source_size = (
                    1 if source_axes is None else self.graph.steps[source].shape[source_axes[axis]]
                )
                touched = _together(touched, touched_within(relation, before, source_size, size))
            found.append(touched if touched[0] <= touched[1] else NOTHING)
        return np.array(found)


def _together(one: Rows, other: Rows) -> Rows:
    """Return the smallest range that holds both, of which either may be empty."""
    if one[0] > one[1]:
        return other
    if other[0] > other[1]:
        return one
    return min(one[0], other[0]), max(one[1], other[1])
