"""Matching: which channels of two networks answer alike, by their activations' correlation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from convscope.methods.moments import PairMoments

FINEST = 8
"""Maps are compared on grids of at most so many rows and columns, each cell a mean."""


@dataclass(frozen=True, eq=False)
class Partners:
    """For every channel of one layer, the channel of the other that answers most like it.

    Attributes:
        partner: [C], int64: that channel; -1 where the channel, or all of the other layer, is
            constant.
        correlation: [C], float64: Pearson's correlation with it over images and positions, -1..1;
            NaN where there is none.
        chance: the median over the channels of the best correlation with the other network's
            answers to other images: what the number of channels and the positions alone bring.
            NaN for a single image.

    """

    partner: Tensor
    correlation: Tensor
    chance: float

    @property
    def median(self) -> float:
        """The median correlation of the channels that have a partner; NaN without any."""
        return float(self.correlation.nanmedian())

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, fit for JSON but for NaN."""
        return {
            "median": self.median,
            "chance": self.chance,
            "partner": self.partner.tolist(),
            "correlation": self.correlation.tolist(),
        }


@dataclass(frozen=True, eq=False)
class LayerMatch:
    """How the channels of a layer of one network go with those of a layer of another.

    Attributes:
        layers: the two layers' names.
        first: for every channel of the first layer its partner in the second.
        second: for every channel of the second its partner in the first.
        grid: rows and columns on which the maps were compared.
        strongest: for every channel of either layer the number, in the whole set, of the image in
            which it peaks.

    """

    layers: tuple[str, str]
    first: Partners
    second: Partners
    grid: tuple[int, int]
    strongest: tuple[Tensor, Tensor]

    @property
    def pairs(self) -> list[tuple[int, int, float]]:
        """Channels that are each other's partners, with their correlation, the highest first."""
        found = [
            (channel, partner, float(self.first.correlation[channel]))
            for channel, partner in enumerate(self.first.partner.tolist())
            if partner >= 0 and int(self.second.partner[partner]) == channel
        ]
        return sorted(found, key=lambda pair: (-pair[2], pair[0]))

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, fit for JSON but for NaN."""
        return {
            "layers": self.layers,
            "grid": self.grid,
            "strongest": [images.tolist() for images in self.strongest],
            "first": self.first.to_dict(),
            "second": self.second.to_dict(),
            "pairs": self.pairs,
        }


class Matcher:
    """Correlates two layers' channels batch by batch, in memory that does not grow with them.

    Args:
        layers: the layers' names.
        shapes: channels, rows and columns of each.

    >>> matcher = Matcher(("a", "b"), ((2, 2, 2), (2, 2, 2)))
    >>> maps = torch.tensor([[[[0.0, 1], [2, 3]], [[4, 1], [1, 0]]]])
    >>> matcher.add(maps, 10 + 3 * maps.flip(1))
    >>> sorted((first, second, round(r, 3)) for first, second, r in matcher.match().pairs)
    [(0, 1, 1.0), (1, 0, 1.0)]

    """

    def __init__(
        self, layers: tuple[str, str], shapes: tuple[tuple[int, int, int], tuple[int, int, int]]
    ) -> None:
        (first, *own), (second, *other) = shapes
        self.layers = layers
        self.grid = (min(FINEST, own[0], other[0]), min(FINEST, own[1], other[1]))
        self.peaks = [torch.full((size,), -torch.inf) for size in (first, second)]
        self.strongest = [torch.zeros(size, dtype=torch.int64) for size in (first, second)]
        self.before = torch.zeros(0, second, dtype=torch.float64)
        self.together, self.others = (PairMoments.none(first, second) for _ in range(2))

    def add(self, first: Tensor, second: Tensor) -> None:
        """Take in both networks' maps of the same images, [N, C, H, W] each."""
        rows = [self._rows(maps) for maps in (first, second)]
        self.together.add(rows[0], rows[1])
        self._add_others(rows[0], rows[1])

    def add_peaks(self, side: int, peaks: Tensor, numbers: Sequence[int]) -> None:
        """Take in the peaks, [N, C], of one network's channels in images of these numbers."""
        values, place = peaks.float().cpu().max(0)
        better = values > self.peaks[side]
        self.peaks[side][better] = values[better]
        self.strongest[side][better] = torch.tensor(numbers)[place[better]]

    def _add_others(self, first: Tensor, second: Tensor) -> None:
        """Pair every image with the one before it: what would agree by chance."""
        cells = self.grid[0] * self.grid[1]
        shifted = torch.cat([self.before, second])[:-cells]
        self.others.add(first[len(first) - len(shifted) :], shifted)
        self.before = second[-cells:]

    def _rows(self, maps: Tensor) -> Tensor:
        """Return maps as [N * cells, C], float64 on the CPU, an image's cells together."""
        pooled = adaptive_avg_pool2d(maps.float(), self.grid)
        return pooled.permute(0, 2, 3, 1).flatten(0, 2).double().cpu()

    def match(self) -> LayerMatch:
        """Return the partners, by all that was taken in."""
        found, chance = self.together.correlation(), self.others.correlation()
        return LayerMatch(
            self.layers,
            _partners(found, chance),
            _partners(found.T, chance.T),
            self.grid,
            (self.strongest[0].clone(), self.strongest[1].clone()),
        )


def _partners(correlation: Tensor, chance: Tensor) -> Partners:
    """Return for each row of [C, D] the column with the highest correlation."""
    there = ~correlation.isnan().all(1)
    best, partner = correlation.nan_to_num(-2.0).max(1)
    other = chance.nan_to_num(-2.0).amax(1)[there]
    return Partners(
        torch.where(there, partner, -1),
        torch.where(there, best, torch.nan),
        float(other.median()) if len(other) else float("nan"),
    )
