"""A budget spent on a part of a grid of positions, and the others estimated from it.

The positions computed form a lattice: every second, third, fourth ... place of each row, shifted
from row to row so that they lie evenly. How even they lie matters more than where the
map bends: of equally many positions those of a lattice gave the nearer maps.
"""

import math
import time
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]

# Where c + 5 * r is 0 modulo 24, it is so modulo 12, 8, 4, 3 and 2: each of these lattices holds
# the coarsest. Modulo 5 the same shift would put all positions into the same columns.
SHIFTS = {24: 5, 12: 5, 8: 5, 6: 2, 5: 2, 4: 5, 3: 5, 2: 5, 1: 5}
"""Lattices, from coarse to dense: one position in so many is computed -> columns by which it is
shifted from row to row. Of all shifts these gave the nearest maps, or nearly so where they let a
denser lattice hold a coarser one."""

COARSEST = next(iter(SHIFTS))

CAUTION = 0.95
"""The part of the time left for which a lattice is planned: half of one is worth less than all of
a coarser one."""

LACKING = 0.02
"""The share of a lattice's positions that may be missing."""

NUGGET = 1e-3
"""The share of a map's variance that an estimate takes for noise; it keeps the system solvable."""

TOLERANCE, MOST_ROUNDS = 1e-3, 300


class Sampling:
    """Decides which positions of a grid to compute.

    Args:
        shape: rows and columns of the grid.
        positions: how many may be computed.
        seconds: how long it may take from now on, instead of how many.

    >>> Sampling((3, 6), 6).lattice(3).astype(int)
    array([[1, 0, 0, 1, 0, 0],
           [0, 1, 0, 0, 1, 0],
           [0, 0, 1, 0, 0, 1]])
    """

    def __init__(
        self, shape: tuple[int, int], positions: int, seconds: float | None = None
    ) -> None:
        self.shape, self.positions, self.seconds = shape, positions, seconds
        self.began = time.monotonic()
        self.rows, self.columns = np.indices(shape)

    def left(self, done: int) -> int:
        """Return how many more positions can be computed, by the speed so far."""
        if self.seconds is None:
            return self.positions - done
        elapsed = time.monotonic() - self.began
        return int(done * (self.seconds - elapsed) / max(elapsed, 1e-9))

    def lattice(self, spacing: int, times: int = 1) -> Mask:
        """Return which positions belong to the lattice of one in *spacing*, [rows, columns].

        Args:
            spacing: one of :data:`SHIFTS`.
            times: take only every so many of them, which form a lattice again.
        """
        phase = self.columns + SHIFTS[spacing] * self.rows
        return np.asarray(phase % (spacing * times) == 0)

    def coarse(self, computed: Mask) -> Indices:
        """Return the positions to begin with, by which the speed is measured.

        Where it is known which lattice will be computed, they are part of that one.
        """
        # A lattice of every so many of a lattice's positions is part of it: nothing is lost.
        planned = COARSEST
        if self.seconds is None:
            planned = self._affordable(computed, self.positions) or COARSEST
        begun = self.lattice(planned, math.ceil(COARSEST / planned))
        # Without a known speed no bound in positions can be given.
        return np.flatnonzero(begun)[: self.positions if self.seconds is None else None]

    def densest(self, computed: Mask) -> Indices:
        """Return the positions missing from the densest lattice that the budget affords."""
        left = max(self.left(int(computed.sum())), 0)
        if self.seconds is not None:
            left = int(left * CAUTION)
        spacing = self._affordable(computed, left)
        if spacing is None:
            return np.empty(0, dtype=np.int64)
        missing = np.flatnonzero(self.lattice(spacing) & ~computed)
        # In any order, so that where time runs out the gaps lie everywhere and not in one corner.
        return np.random.default_rng(0).permutation(missing)[:left]

    def _affordable(self, computed: Mask, left: int) -> int | None:
        """Return the densest lattice of which *left* more positions make a whole one, if any.

        A lattice of one in three may have a position more than a third of them: a few may lack.
        """
        for spacing in reversed(SHIFTS):
            lattice = self.lattice(spacing)
            if np.count_nonzero(lattice & ~computed) <= left + LACKING * lattice.sum():
                return spacing
        return None

    def rest(self, computed: Mask) -> Indices:
        """Return as many of the other positions, here and there, as the budget still affords."""
        others = np.random.default_rng(0).permutation(np.flatnonzero(~computed))
        return np.asarray(others[: max(self.left(int(computed.sum())), 0)])


def estimated(values: Floats, computed: Mask, reach: tuple[float, float]) -> Floats:
    """Return a map with estimates wherever it was not computed, [rows, columns].

    The estimates are those of a Gaussian process (kriging) whose correlation fades, by Matern's
    function of order 3/2, over the distance at which two patches no longer overlap. The system is
    solved by conjugate gradients, each product with the covariance by a Fourier transform.

    Args:
        values: the map; what it holds where it was not computed does not matter.
        computed: where it was computed.
        reach: the patch's height and width, in positions.
    """
    # The covariance depends on the distance alone, so a product with it is a convolution. Twice the
    # size keeps the Fourier transform's copies apart: what leaves on one side may not come back.
    size = [2 * side for side in values.shape]
    # Round a ring, as the transform takes it: the last position is next to the first.
    away = [
        np.minimum(np.arange(side), side - np.arange(side)) / max(far, 1.0)
        for side, far in zip(size, reach, strict=True)
    ]
    distance = np.sqrt(3) * np.hypot(away[0][:, None], away[1])
    # Symmetric about zero, so that its transform is real but for rounding.
    spectrum = np.fft.rfft2((1 + distance) * np.exp(-distance)).real

    def spread(weights: Floats) -> Floats:
        wide = np.fft.irfft2(spectrum * np.fft.rfft2(weights, size), size)
        return np.asarray(wide[: values.shape[0], : values.shape[1]])

    mean = values[computed].mean()
    residual = np.where(computed, values - mean, 0.0)
    # A map that is the same everywhere has no residual: the loop ends before it divides by it.
    enough = TOLERANCE**2 * (residual**2).sum()
    # Rows and columns of positions that were not computed are left out of the system by a mask: the
    # iteration never leaves the others, and no matrix of them is ever written down.
    weights, direction, before = np.zeros_like(residual), residual.copy(), (residual**2).sum()
    for _ in range(MOST_ROUNDS):
        if before <= enough:
            break
        product = np.where(computed, spread(direction), 0.0) + NUGGET * direction
        step = before / (direction * product).sum()
        weights += step * direction
        residual -= step * product
        now = (residual**2).sum()
        direction = residual + now / before * direction
        before = now
    return np.where(computed, values, mean + spread(weights))


def nearest(computed: Mask) -> Indices:
    """Return for each position the number of the computed one nearest to it, [rows, columns]."""
    rows, columns = np.nonzero(computed)
    found = np.empty(computed.shape, dtype=np.int64)
    # Row by row: all distances at once would take positions times computed positions.
    for row in range(computed.shape[0]):
        across = np.arange(computed.shape[1])[:, None] - columns
        closest = ((row - rows) ** 2 + across**2).argmin(axis=1)
        found[row] = rows[closest] * computed.shape[1] + columns[closest]
    return found
