"""How channels' peaks go together over images: sums of whole numbers, and so exact."""

import numpy as np
import numpy.typing as npt
import torch

from convscope.methods.scanning.exact_sums import Integers

LEVEL_BITS = 10
MOST_LEVELS = 2**15
ROWS_TOGETHER = 64
"""Products of so many images are added at once: those of a few cost hardly less than those of
many, as each addition runs over all pairs of channels."""


class LevelSums:
    """Sums over images of the levels of C channels' peaks, and of the products of each two.

    A level is a peak as a whole number of steps of a fixed share of the layer's *scale*.

    Args:
        sums: [C].
        products: [C, C].
        scale: a power of two, of about the size of the layer's peaks.

    >>> found = LevelSums.none(2, scale=1.0)
    >>> found.add(np.array([[1.0, 0.5]], dtype=np.float32))
    >>> found.sums.tolist(), (found.products / 2**20).tolist()
    ([1024, 512], [[1.0, 0.5], [0.5, 0.25]])

    """

    def __init__(self, sums: Integers, products: Integers, scale: float) -> None:
        self._sums = sums
        self._products = products
        self._scale = scale
        self._waiting: list[npt.NDArray[np.float64]] = []

    @classmethod
    def none(cls, channels: int, scale: float) -> "LevelSums":
        """Return the sums of no image."""
        sums = np.zeros(channels, dtype=np.int64)
        return cls(sums, np.zeros((channels, channels), dtype=np.int64), scale)

    @property
    def sums(self) -> Integers:
        """[C], the sums of the levels."""
        self._add_waiting()
        return self._sums

    @property
    def products(self) -> Integers:
        """[C, C], the sums of the products of two channels' levels."""
        self._add_waiting()
        return self._products

    def add(self, peaks: npt.NDArray[np.float32]) -> None:
        """Add the peaks [N, C] of N images."""
        levels = np.rint(peaks.astype(np.float64) * (2**LEVEL_BITS / self._scale))
        self._waiting.append(np.clip(levels, -MOST_LEVELS, MOST_LEVELS))
        if sum(map(len, self._waiting)) >= ROWS_TOGETHER:
            self._add_waiting()

    def merge(self, other: "LevelSums") -> None:
        """Add the sums over other images."""
        self.sums.__iadd__(other.sums)
        self.products.__iadd__(other.products)

    def _add_waiting(self) -> None:
        if not self._waiting:
            return
        levels = torch.from_numpy(np.concatenate(self._waiting))
        self._waiting = []
        self._sums += levels.sum(dim=0).numpy().astype(np.int64)
        # Products of whole numbers below 2**16: exact in float64 for millions of images.
        self._products += (levels.T @ levels).numpy().astype(np.int64)
