"""Matching: which channels of two networks answer alike, by their activations' correlation.

Each correlation stands beside what noise of the same support and envelope reaches. Maps of two
unrelated networks go together already where an image has anything to answer to: where it is bright
or busy, and not at its borders. So the noise that takes a channel's place has the channel's share
of what its layer does in another image, at each place, of what the rest of the layer does in this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from convscope.methods.chance import LEVEL
from convscope.methods.moments import PairMoments
from convscope.packing import plain_of

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
        chance: [C], float64: the best correlation where noise of the same support and envelope
            takes the place of the second network's channels; NaN for a single image.
    """

    partner: Tensor
    correlation: Tensor
    chance: Tensor

    @property
    def median(self) -> float:
        """The median correlation of the channels that have a partner; NaN without any."""
        return float(self.correlation.nanmedian())

    @property
    def median_chance(self) -> float:
        """The median of :attr:`chance`; NaN for a single image."""
        return float(self.chance.nanmedian())

    @property
    def chance_level(self) -> float:
        """What noise stays below in 19 of 20 channels; NaN for a single image."""
        return float(self.chance.nanquantile(LEVEL))

    @property
    def beyond_chance(self) -> Tensor:
        """[C], bool: whether a channel's correlation is above :attr:`chance_level`."""
        return self.correlation > self.chance_level

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, fit for JSON but for NaN."""
        names = ("median", "median_chance", "chance_level")
        return {**{n: getattr(self, n) for n in names}, **plain_of(self, with_tensors=True)}


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
        own = {"first": self.first.to_dict(), "second": self.second.to_dict(), "pairs": self.pairs}
        return {**plain_of(self, with_tensors=True), **own}


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
        self.before = torch.zeros(0, self.grid[0] * self.grid[1], second, dtype=torch.float64)
        self.magnitude, self.images = torch.zeros(second, dtype=torch.float64), 0
        self.together, self.by_chance = (PairMoments.none(first, second) for _ in range(2))

    def add(self, first: Tensor, second: Tensor) -> None:
        """Take in both networks' maps of the same images, [N, C, H, W] each."""
        rows = [self._rows(maps) for maps in (first, second)]
        self.together.add(rows[0], rows[1])
        self._add_noise(rows[0], rows[1])

    def add_peaks(self, side: int, peaks: Tensor, numbers: Sequence[int]) -> None:
        """Take in the peaks, [N, C], of one network's channels in images of these numbers."""
        values, place = peaks.float().cpu().max(0)
        better = values > self.peaks[side]
        self.peaks[side][better] = values[better]
        self.strongest[side][better] = torch.tensor(numbers)[place[better]]

    def _add_noise(self, first: Tensor, second: Tensor) -> None:
        """Pair the first network's maps with noise in the place of the second's.

        The other image is the one before, so that a batch's size changes nothing.
        """
        maps = second.reshape(-1, *self.before.shape[1:])
        # Each channel counts by its own mean so far, as some are a hundred times as large.
        magnitudes = self.magnitude + maps.abs().mean(1).cumsum(0)
        counts = self.images + torch.arange(1, len(maps) + 1)
        others = torch.cat([self.before, maps])[:-1]
        self.before, self.magnitude, self.images = maps[-1:], magnitudes[-1], int(counts[-1])
        first_paired = len(maps) - len(others)  # the very first image has none before it
        first = first[first_paired * maps.shape[1] :]
        if maps.shape[1] == 1:  # a map of one value has no envelope: only the image is another
            self.by_chance.add(first, others.flatten(0, 1))
            return
        scale = (magnitudes / counts[:, None])[first_paired:, None]
        own = (maps[first_paired:] / scale).nan_to_num(0.0).abs()
        rest = own.sum(2, keepdim=True) - own if own.shape[2] > 1 else torch.ones_like(own)
        whole = (others / scale).nan_to_num(0.0).abs().sum(2, keepdim=True)
        noise = rest * (others / whole).nan_to_num(0.0, 0.0, 0.0)
        self.by_chance.add(first, noise.flatten(0, 1))

    def _rows(self, maps: Tensor) -> Tensor:
        """Return maps as [N * cells, C], float64 on the CPU, an image's cells together."""
        pooled = adaptive_avg_pool2d(maps.float(), self.grid)
        return pooled.permute(0, 2, 3, 1).flatten(0, 2).double().cpu()

    def match(self) -> LayerMatch:
        """Return the partners, by all that was taken in."""
        found, chance = self.together.correlation(), self.by_chance.correlation()
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
    noise = chance.nan_to_num(-2.0).amax(1)
    return Partners(
        torch.where(there, partner, -1),
        torch.where(there, best, torch.nan),
        torch.where(there & (noise >= -1), noise, torch.nan),
    )
