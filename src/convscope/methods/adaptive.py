"""A budget spent where a map bends: coarse positions first, then finer ones.

The positions form grids within grids, each twice as fine as the one before. The coarsest is
computed whole. At each finer one the positions where the map bends most are computed, and the rest
is read off a spline through the grid before.
"""

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from convscope.errors import ConvscopeError

Floats: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]
Interpolation: TypeAlias = Callable[[Indices, Indices], Floats]

COARSE_SHARE = 0.5
"""The part of the budget that the coarsest grid may take."""

LEVEL_SHARE = 0.95
"""The part of what is left that each finer grid may take; the finest takes all. A grid finished
before the next is begun gives maps nearer to the exact ones than finer places here and there."""

COARSEST = 8
"""The coarsest grid's spacing, in positions: what lies between is guessed from too far away."""


class Budget:
    """How many positions may be computed, or how long it may take.

    Args:
        positions: how many; None for no limit.
        seconds: how long; None for no limit.

    """

    def __init__(self, positions: int | None = None, seconds: float | None = None) -> None:
        self.positions, self.seconds = positions, seconds
        self.began, self.done = time.monotonic(), 0

    @classmethod
    def parse(cls, value: int | str | None, positions: int) -> "Budget":
        """Return the budget that a caller names, for a grid of *positions*.

        Args:
            value: a number of positions; a text with their number, or with a time such as
                ``"20s"``; None for a quarter of the positions.
            positions: how many there are.

        Raises:
            ConvscopeError: if it is none of those, or not positive.

        >>> Budget.parse(None, 100).positions, Budget.parse("1.5 s", 100).seconds
        (25, 1.5)

        """
        if value is None:
            return cls(positions=max(1, positions // 4))
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s?)\s*", str(value))
        if match is None or not float(match[1]) or not (match[2] or float(match[1]).is_integer()):
            raise ConvscopeError(
                f"the budget {value!r} is neither a number of positions nor a time such as 20s"
            )
        return cls(seconds=float(match[1])) if match[2] else cls(positions=int(match[1]))

    def begin(self) -> None:
        """Start counting the time."""
        self.began = time.monotonic()

    def left(self) -> int:
        """Return how many more positions can be computed, by the speed so far."""
        if self.positions is not None:
            return self.positions - self.done
        assert self.seconds is not None
        elapsed = time.monotonic() - self.began
        return int(self.done * (self.seconds - elapsed) / max(elapsed, 1e-9))

    def spent(self) -> bool:
        """Return whether nothing is left; the coarsest grid must be done whatever the time."""
        return self.left() <= 0


@dataclass(frozen=True)
class Level:
    """One of the grids: some rows and columns of the whole."""

    rows: Indices
    columns: Indices

    @classmethod
    def spaced(cls, shape: tuple[int, int], spacing: int) -> "Level":
        """Return every *spacing*-th row and column, and the last of each."""
        sides = (np.unique([*range(0, size, spacing), size - 1]) for size in shape)
        return cls(*sides)

    def positions(self, shape: tuple[int, int]) -> Indices:
        """Return the numbers of its positions in the whole grid, [rows, columns]."""
        return self.rows[:, None] * shape[1] + self.columns


class Sharpening:
    """Decides which positions of a grid to compute, and estimates the others.

    Args:
        shape: rows and columns of the grid.
        budget: what may be spent.

    """

    def __init__(self, shape: tuple[int, int], budget: Budget) -> None:
        self.shape, self.budget = shape, budget
        spacings = [1]
        while self._too_fine(spacings[-1]) and spacings[-1] < min(COARSEST, max(shape)):
            spacings.append(2 * spacings[-1])
        self.levels = [Level.spaced(shape, spacing) for spacing in reversed(spacings)]
        if budget.positions is not None and budget.positions < self.levels[0].positions(shape).size:
            raise ConvscopeError(
                f"a budget of {budget.positions} positions is too small for a grid of "
                f"{shape[0]} x {shape[1]}: at least {self.levels[0].positions(shape).size}"
            )

    def _too_fine(self, spacing: int) -> bool:
        count = Level.spaced(self.shape, spacing).positions(self.shape).size
        if self.budget.positions is None:
            return spacing < COARSEST
        return count > (self.budget.positions if spacing == 1 else self._coarse_budget())

    def _coarse_budget(self) -> float:
        assert self.budget.positions is not None
        return COARSE_SHARE * self.budget.positions

    def chosen(self, level: int, values: Sequence[Floats], computed: Mask) -> Indices:
        """Return the positions to compute at a level.

        Args:
            level: its number, 0 the coarsest.
            values: the maps so far, each [rows, columns] of the whole grid, estimates included.
            computed: which positions are computed already, the same shape.

        """
        places = self.levels[level].positions(self.shape)
        if level == 0:
            return places.ravel()
        left = self.budget.left()
        if level < len(self.levels) - 1:
            left = math.ceil(left * LEVEL_SHARE)
        before, here = self.levels[level - 1], self.levels[level]
        bend = sum(_bend(v[np.ix_(before.rows, before.columns)]) for v in values)
        bend = _between(before, here, np.asarray(bend), _linear)
        candidates = np.flatnonzero(~computed.ravel()[places.ravel()])
        order = np.argsort(-bend.ravel()[candidates], kind="stable")
        return np.asarray(places.ravel()[candidates[order[: max(left, 0)]]])

    def filled(self, values: Floats, computed: Mask) -> Floats:
        """Return a map with estimates wherever it was not computed, [rows, columns]."""
        first = self.levels[0]
        found = values[np.ix_(first.rows, first.columns)]
        for before, here in zip(self.levels, self.levels[1:], strict=False):
            own = np.ix_(here.rows, here.columns)
            found = np.where(computed[own], values[own], _between(before, here, found, _spline))
        return found

    def nearest(self, computed: Mask) -> Indices:
        """Return for each position the number of the computed one nearest to it."""
        rows, columns = np.nonzero(computed)
        grid_rows, grid_columns = np.indices(self.shape)
        found = np.empty(self.shape, dtype=np.int64)
        for row in range(self.shape[0]):
            away = (grid_rows[row][:, None] - rows) ** 2 + (
                grid_columns[row][:, None] - columns
            ) ** 2
            closest = away.argmin(axis=1)
            found[row] = rows[closest] * self.shape[1] + columns[closest]
        return found


def _bend(values: Floats) -> Floats:
    """Return how much a map bends at each position, as a share of its spread."""
    spread = values.std()
    if not spread > 0:
        return np.zeros_like(values)
    total = np.zeros_like(values)
    for axis in (0, 1):
        if values.shape[axis] > 2:
            second = np.abs(np.diff(values, 2, axis=axis))
            edges = [(1, 1) if own == axis else (0, 0) for own in (0, 1)]
            total += np.pad(second, edges, mode="edge")
    bend: Floats = total / spread
    return bend


def _between(before: Level, here: Level, values: Floats, way: Interpolation) -> Floats:
    """Return a map on the grid *before* read off on the finer grid *here*."""
    return np.asarray(way(before.rows, here.rows) @ values @ way(before.columns, here.columns).T)


def _linear(known: Indices, wanted: Indices) -> Floats:
    """Return the matrix of linear interpolation from places *known* to places *wanted*."""
    columns = [np.interp(wanted, known, unit) for unit in np.eye(len(known))]
    return np.stack(columns, axis=1)


def _spline(known: Indices, wanted: Indices) -> Floats:
    """Return the matrix of natural cubic spline interpolation."""
    count = len(known)
    linear = _linear(known, wanted)
    if count < 3:
        return linear
    gaps = np.diff(known).astype(np.float64)
    # The second derivatives m at the knots solve a tridiagonal system in the values y.
    system, right = np.eye(count), np.zeros((count, count))
    for i in range(1, count - 1):
        system[i, i - 1 : i + 2] = gaps[i - 1] / 6, (gaps[i - 1] + gaps[i]) / 3, gaps[i] / 6
        right[i, i - 1 : i + 2] = 1 / gaps[i - 1], -1 / gaps[i - 1] - 1 / gaps[i], 1 / gaps[i]
    bends = np.linalg.solve(system, right)
    place = np.clip(np.searchsorted(known, wanted, side="right") - 1, 0, count - 2)
    upper = (wanted - known[place]) / gaps[place]
    lower = 1 - upper
    square = gaps[place] ** 2 / 6
    return np.asarray(
        linear
        + ((lower**3 - lower) * square)[:, None] * bends[place]
        + ((upper**3 - upper) * square)[:, None] * bends[place + 1]
    )
