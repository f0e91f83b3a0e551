"""Patches sorted into groups whose windows have like sizes, so that little is computed in vain.

All windows of a batch take the largest size among them. A patch at the border touches less than
one in the middle, and strides make sizes alternate, so a batch of any patches would compute up to
half as much again as they need. Groups are cut in two as long as that saves more than one more
batch costs.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope.network.windows.relations import Array
from convscope.network.windows.windowed import WindowedWalk
from convscope.network.windows.winograd import is_suited, pays

Floats = npt.NDArray[np.float64]

WEIGHT_COST = 60.0
"""Multiply-adds in whose time one weight is laid out anew for a batch, as oneDNN does."""

VALUE_COST = 25.0
"""Multiply-adds in whose time one value of a window is gathered, written and read again."""

PLAIN_COST = 12.0
"""The same for a value of a whole map, which is not gathered."""

WINOGRAD_SHARE = 0.6
"""What a convolution by Winograd's method costs of the plain one."""

STEP_COST = 4e6
"""Multiply-adds in whose time one step is set in motion."""


@dataclass(frozen=True)
class Costs:
    """What steps cost, in multiply-adds.

    Attributes:
        position: [steps], for each row and column of a window.
        batch: for each batch, whatever its size.
    """

    position: Floats
    batch: float


def costs_of(walk: WindowedWalk) -> Costs:
    """Return what the steps of a walk cost."""
    graph = walk.graph
    position = np.zeros(len(graph.steps))
    batch = 0.0
    for index in walk.needed:
        step = graph.steps[index]
        rows, columns = walk.sizes[index]
        values = math.prod(step.shape)
        multiply_adds = step.operation.multiply_adds(step.call)
        if walk.windowable[index] and walk.changing[index]:
            position[index] = (multiply_adds + VALUE_COST * values) / (rows * columns)
        weight = step.call.arguments.get("weight")  # an Input where the image itself gives it
        batch += STEP_COST + WEIGHT_COST * (weight.numel() if isinstance(weight, Tensor) else 0)
    return Costs(position, batch)


def shares(walk: WindowedWalk, rows: Array, columns: Array, patches: int) -> tuple[float, float]:
    """Return what a patch costs by windows, and by whole maps, in multiply-adds.

    Args:
        walk: the walk.
        rows: [steps, 1, 2], what the patch that touches most touches.
        columns: the same for columns.
        patches: how many there are: by windows, getting ready costs a pass besides.
    """
    touched = (_extents(rows) * _extents(columns))[:, 0] / walk.sizes.prod(axis=1)
    by_windows = whole = 0.0
    for index in walk.needed:
        step = walk.graph.steps[index]
        own = float(step.operation.multiply_adds(step.call))
        plain = own + PLAIN_COST * math.prod(step.shape)
        whole += plain
        if walk.windowable[index] and walk.changing[index] and touched[index] < 1:
            if is_suited(step.call) and pays(step.call, torch.Size((8, *step.shape[1:]))):
                own *= WINOGRAD_SHARE
            by_windows += touched[index] * (own + VALUE_COST * math.prod(step.shape))
        else:
            by_windows += plain
    ready = whole + len(walk.needed) * STEP_COST
    return by_windows + ready / patches, whole


def grouped(rows: Array, columns: Array, costs: Costs, at_once: int) -> list[Array]:
    """Return patches in batches, each a list of their numbers.

    Args:
        rows: [steps, B, 2], what each patch touches; see :meth:`.WindowedWalk.spans`.
        columns: the same for columns.
        costs: what a walk costs.
        at_once: the largest batch.
    """
    heights, widths = _extents(rows), _extents(columns)
    waiting, batches = [np.arange(rows.shape[1])], []
    while waiting:
        group = waiting.pop()
        halves = _cut(group, heights[:, group], widths[:, group], costs, at_once)
        if halves:
            waiting += halves
        else:
            batches += np.array_split(group, -(-len(group) // at_once))
    return batches


def _cut(
    group: Array, heights: Floats, widths: Floats, costs: Costs, at_once: int
) -> list[Array] | None:
    """Return the two parts into which *group* is best cut along rows or columns, if it pays."""
    count = len(group)
    now = _cost(np.array(count), heights.max(axis=1), widths.max(axis=1), costs, at_once)
    best, parts = now, None
    for own, other in ((heights, widths), (widths, heights)):
        # What each patch would cost by its own extent, if along the other axis it took the group's.
        # Patches of equal extents have equal keys, and are never parted.
        keys = costs.position @ (own * other.max(axis=1, keepdims=True))
        order = np.argsort(keys, kind="stable")
        cuts = np.flatnonzero(np.diff(keys[order]) > 0) + 1
        if not len(cuts):
            continue
        extents, across = own[:, order], other.max(axis=1)
        # The largest extents before and behind every possible cut, so that all of them are judged
        # at once.
        below = np.maximum.accumulate(extents, axis=1)[:, cuts - 1]
        above = np.maximum.accumulate(extents[:, ::-1], axis=1)[:, ::-1][:, cuts]
        found = _cost(cuts, below, across[:, None], costs, at_once) + _cost(
            count - cuts, above, across[:, None], costs, at_once
        )
        place = int(found.argmin())
        if found[place] < best:
            best, parts = found[place], [order[: cuts[place]], order[cuts[place] :]]
    return None if parts is None else [group[part] for part in parts]


def _cost(count: Array, heights: Floats, widths: Floats, costs: Costs, at_once: int) -> Floats:
    """Return what *count* patches cost whose windows take *heights* times *widths*."""
    each: Floats = costs.position @ (heights * widths)
    total: Floats = count * each + np.ceil(count / at_once) * costs.batch
    return total


def _extents(spans: Array) -> Floats:
    """Return how many rows each patch touches, [steps, B], at least one."""
    extents = np.maximum(spans[:, :, 1] - spans[:, :, 0] + 1, 1)
    return np.asarray(extents, dtype=np.float64)
