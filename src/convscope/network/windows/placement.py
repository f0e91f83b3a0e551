"""Placements: where the windows of a batch lie on a map, and values brought from there elsewhere.

A walk in windows, up or down, holds of each map one window for every patch or unit: all of one
size, so that one call computes them all, each with an origin of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from convscope.network.windows.relations import Array, Relation, Sliding

EACH_ITS_OWN = Sliding()
"""The relation of an operation whose every row reads the row of its own number, and no other."""


@dataclass(frozen=True)
class Placement:
    """Where the windows of a batch lie in the output of one step.

    Attributes:
        origins: [2, B]: the first row and the first column of each window, outside the map where it
            holds padding.
        size: height and width of every window.
        whole: whether the windows are the whole output, which may then have no rows and columns.
    """

    origins: Array
    size: tuple[int, int]
    whole: bool = False

    @classmethod
    def of_whole(cls, size: Sequence[int], count: int) -> "Placement":
        """Return the placement of *count* windows that are whole maps of a *size*."""
        height, width = map(int, size)
        return cls(np.zeros((2, count), np.int64), (height, width), whole=True)

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.origins[0])

    def part(self, part: slice) -> "Placement":
        """Return some of the windows."""
        return replace(self, origins=self.origins[:, part])

    def equals(self, other: "Placement") -> bool:
        """Return whether every window is the same."""
        # Most steps hand on the very origins they were given, and then no array is compared.
        same = self.origins is other.origins or np.array_equal(self.origins, other.origins)
        return self.size == other.size and same

    def lines(self) -> tuple[Array, Array]:
        """Return the rows, [B, height], and the columns, [B, width], of each window."""
        rows, columns = (
            first[:, None] + np.arange(size)
            for first, size in zip(self.origins, self.size, strict=True)
        )
        return rows, columns

    def read(self, relations: Sequence[Relation]) -> "Placement":
        """Return what the windows read of an input, given what rows and columns are to it."""
        if all(relation == EACH_ITS_OWN for relation in relations):
            return self  # most steps, which should take no time for a single small window
        firsts, sizes = [], []
        for relation, origins, size in zip(relations, self.origins, self.size, strict=True):
            first, last = read(relation, origins, origins + size - 1)
            firsts.append(first)
            # As long for all: where the rows that are read alternate, the windows of a batch start
            # in step, see `cones.Cones`.
            sizes.append(int(last[0] - first[0]) + 1)
        return Placement(np.array(firsts), (sizes[0], sizes[1]))


def read(relation: Relation, first: Array, last: Array) -> tuple[Array, Array]:
    """Return the first and the last row that each range of rows reads, borders apart."""
    # The relations that windows have are plain arithmetic on two numbers, which arrays allow as
    # well: one call answers for a whole batch.
    found = relation.reads((first, last))  # type: ignore[arg-type]
    assert found is not None
    return found  # type: ignore[return-value]


def moved(
    values: Tensor, axes: tuple[int, int], held: Placement, wanted: Placement, beyond: float = 0.0
) -> Tensor:
    """Return windows that lay as *held* says where they are *wanted*, *beyond* them one number."""
    offsets = wanted.origins - held.origins
    # Where all move alike a slice does, and values are copied only for what lies beyond them.
    if (offsets == offsets[:, :1]).all():
        return narrowed(values, axes, offsets[:, 0], wanted.size, beyond)
    rest = values.movedim(axes, (1, 2)).shape[3:].numel()
    return gathered(values, axes, held, wanted, values.new_full((1, rest), beyond), np.array(0))


def gathered(
    values: Tensor,
    axes: tuple[int, int],
    held: Placement,
    wanted: Placement,
    around: Tensor,
    places: Array,
) -> Tensor:
    """Return windows where they are *wanted*, and beyond those *held* rows of a table.

    Args:
        values: the windows held, [B, ...].
        axes: which of their dimensions are rows and columns.
        held: where they lie.
        wanted: where those lie that are returned.
        around: the table, one row a position.
        places: [B, h, w], the row of the table for each position wanted.
    """
    (rows, in_rows), (columns, in_columns) = (
        _within(offset, had, size)
        for offset, had, size in zip(
            wanted.origins - held.origins, held.size, wanted.size, strict=True
        )
    )
    height, width = held.size
    # The held windows stand behind the table, one after the other and row by row: position (y, x)
    # of window b is row len(around) + (b * height + y) * width + x. Numbers of places outside a
    # window mean nothing, and are replaced below.
    first = len(around) + (np.arange(len(rows))[:, None] * height + rows) * width
    inside = in_rows[:, :, None] & in_columns[:, None, :]
    turned = values.movedim(axes, (1, 2))
    rest = turned.shape[3:]
    # One call for all windows, which copies whole runs of channels: where windows are small and
    # many, calls are what takes time.
    table = torch.cat([around, turned.reshape(-1, rest.numel())])
    places = np.where(inside, first[:, :, None] + columns[:, None, :], places)
    return _taken(table, places, rest, axes)


def _within(offset: Array, held: int, wanted: int) -> tuple[Array, NDArray[np.bool_]]:
    """Return where in the held windows each wanted row lies, [B, wanted], and whether it does."""
    rows = np.arange(wanted) + offset[:, None]
    return rows, (rows >= 0) & (rows < held)


def _taken(table: Tensor, places: Array, rest: torch.Size, axes: tuple[int, int]) -> Tensor:
    """Return the rows of a table at [B, h, w] *places* as windows."""
    found = table.index_select(0, torch.from_numpy(places.reshape(-1)).to(table.device))
    return found.view(*places.shape, *rest).movedim((1, 2), axes)


def surrounding(
    maps: Tensor, axes: tuple[int, int], wanted: Placement, beyond: float
) -> tuple[Tensor, Array]:
    """Return one map, padded as far as windows stick out of it, as a table of its positions.

    And the rows of the table that the *wanted* windows consist of, [B, h, w].
    """
    height, width = maps.shape[axes[0]], maps.shape[axes[1]]
    rows, columns = wanted.lines()
    # No farther than some window sticks out: where all lie inside, no padded copy is made.
    top, left = max(0, -int(rows.min())), max(0, -int(columns.min()))
    bottom, right = (max(0, int(rows.max()) + 1 - height), max(0, int(columns.max()) + 1 - width))
    flat = maps[0].movedim((axes[0] - 1, axes[1] - 1), (0, 1)).reshape(height, width, -1)
    if top or left or bottom or right:
        flat = functional.pad(flat, (0, 0, left, right, top, bottom), value=beyond)
    places = (rows + top)[:, :, None] * (left + width + right) + (columns + left)[:, None, :]
    return flat.reshape(-1, flat.shape[2]), places


def cut(maps: Tensor, axes: tuple[int, int], wanted: Placement, beyond: float) -> Tensor:
    """Return windows of one map, and *beyond* its borders a number."""
    table, places = surrounding(maps, axes, wanted, beyond)
    return _taken(table, places, maps.movedim(axes, (1, 2)).shape[3:], axes)


def nearest(maps: Tensor, numbers: Tensor, axes: tuple[int, int], placement: Placement) -> Tensor:
    """Return windows of the maps number *numbers*; outside a map, its nearest row or column.

    This is for what was remembered on the way up, where any finite value does outside of the map,
    since the signal is zero there. A signal itself goes from window to window by :func:`moved`.
    """
    if len(numbers) == 1 and _is_inside(placement, maps, axes):
        return narrowed(maps[int(numbers) :][:1], axes, placement.origins[:, 0], placement.size)
    rows, columns = (
        torch.from_numpy(np.clip(lines, 0, maps.shape[axis] - 1)).to(maps.device)
        for axis, lines in zip(axes, placement.lines(), strict=True)
    )
    turned = maps.movedim(axes, (1, 2))
    windows = turned[numbers[:, None, None], rows[:, :, None], columns[:, None, :]]
    return windows.movedim((1, 2), axes)


def _is_inside(placement: Placement, maps: Tensor, axes: tuple[int, int]) -> bool:
    return all(
        origins.min() >= 0 and origins.max() + size <= maps.shape[axis]
        for axis, origins, size in zip(axes, placement.origins, placement.size, strict=True)
    )


def narrowed(
    windows: Tensor,
    axes: tuple[int, int],
    offset: Array,
    size: tuple[int, int],
    beyond: float = 0.0,
) -> Tensor:
    """Return windows of a *size* that start *offset* further, *beyond* where there was nothing."""
    # Two numbers a dimension, the last one first, as functional.pad wants them.
    borders = [0] * (2 * windows.dim())
    for axis, first, length in zip(axes, offset.tolist(), size, strict=True):
        # Cut at both ends, so that a window wholly outside comes out as nothing but *beyond*.
        begin = min(max(first, 0), windows.shape[axis])
        end = max(min(first + length, windows.shape[axis]), begin)
        windows = windows.narrow(axis, begin, end - begin)
        before, from_end = min(max(-first, 0), length), 2 * (windows.dim() - 1 - axis)
        borders[from_end : from_end + 2] = [before, length - before - (end - begin)]
    return functional.pad(windows, borders, value=beyond) if any(borders) else windows


def paste(window: Tensor, whole: Tensor, axes: tuple[int, int], origins: Sequence[int]) -> None:
    """Write what lies inside the map of *window*, which starts at *origins*, to *whole*."""
    for axis, first in zip(axes, origins, strict=True):
        size = window.shape[axis]
        begin, end = max(first, 0), min(first + size, whole.shape[axis])
        if begin >= end:
            return
        window = window.narrow(axis, begin - first, end - begin)
        whole = whole.narrow(axis, begin, end - begin)
    whole.copy_(window)
