"""Chance: how alike pictures are that share nothing but where they are and how strong.

Two pictures that are zero at the same pixels, and fall off alike from the same middle, are alike by
any measure whatever they show. A similarity says something only where it exceeds what noise of the
same support and envelope reaches.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

DRAWS = 20
"""Draws of noise that a similarity is compared with: one in twenty is the level of a verdict."""

LEVEL = 0.95
"""Quantile of what chance gives that must be exceeded: one in twenty is above it."""

LEAST_EFFECT = 0.15
"""The share of the way from noise to the same picture below which nothing is said of a similarity.
An envelope is known from the picture alone: where it changes from each pixel to the next, noise
that was made with it is a little more alike than noise that is made like it."""

REACH = 1
"""How many pixels around its own, on either side, a pixel's envelope is the mean of.

Tiles are as large. Three by three pixels leave to the noise all but the finest detail: what exceeds
it is no matter of where a picture is strong.
"""


def noise_like(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Return noise that has the support and the envelope of each picture, and nothing else of it.

    The support are the pixels that are not zero in all channels; the envelope is the mean magnitude
    of those around a pixel. Pixels change places within tiles, all their channels together, each
    grown by what the envelope grows from its place to the new one; then their signs are drawn, if
    any picture has a negative value.

    Args:
        pictures: [..., C, H, W], finite.
        generator: of the places and the signs.

    Returns:
        the same shape, float64, on the CPU, zero where *pictures* are.

    >>> picture = torch.tensor([[[0.0, 2, 2], [0, 2, 2]]])
    >>> noise_like(picture, torch.Generator()).tolist()
    [[[0.0, 2.0, 2.0], [0.0, 2.0, 2.0]]]
    """
    values = pictures.detach().cpu().double()
    channels, height, width = values.shape[-3:]
    flat = values.reshape(-1, channels, height * width)
    there = (flat != 0).any(1)
    side = 2 * REACH + 1
    pair = torch.cat([flat.abs().mean(1), there.double()]).view(-1, 1, height, width)
    total, weight = avg_pool2d(pair, side, 1, REACH).flatten(1).chunk(2)
    envelope = torch.where(there, total / weight, 1.0)[:, None]
    shift = torch.randint(side, (2,), generator=generator)
    rows, columns = (
        (torch.arange(n) + s) // side for n, s in zip((height, width), shift, strict=True)
    )
    tiles = (rows[:, None] * (width + side) + columns).flatten().double()
    # Outside the support all is zero: its pixels come last, and change places with each other.
    tiles = tiles.where(there, torch.inf).numpy()
    # Sorted by tile, and within each by a random number: that permutes all tiles at once.
    drawn = torch.rand(tiles.shape, generator=generator, dtype=torch.float64).numpy()
    source, goal = (torch.from_numpy(np.argsort(keys))[:, None] for keys in (tiles + drawn, tiles))
    moved = (flat / envelope).gather(2, source.expand_as(flat))
    noise = torch.zeros_like(flat).scatter_(2, goal.expand_as(flat), moved) * envelope
    if bool((values < 0).any()):
        noise *= torch.randint(0, 2, noise[:, :1].shape, generator=generator) * 2 - 1
    return noise.view(values.shape)


@dataclass(frozen=True, eq=False)
class Chance:
    """What noise reaches where some similarities were measured.

    Attributes:
        draws: [..., D], float64, for each similarity what it is of D draws of noise; NaN where
            fewer were drawn.

    >>> chance = Chance(torch.tensor([0.5, 0.6, 0.7]))
    >>> chance.effect(torch.tensor([0.6, 0.8])).round(decimals=3).tolist()
    [0.0, 0.5]
    >>> chance.exceeded_by(torch.tensor([0.6, 0.8])).tolist()
    [False, True]
    """

    draws: Tensor

    @property
    def mean(self) -> Tensor:
        """[...], what noise reaches on the mean."""
        return self.draws.nanmean(-1)

    @property
    def level(self) -> Tensor:
        """[...], what one draw of noise in twenty exceeds."""
        return self.draws.nanquantile(LEVEL, dim=-1)

    def effect(self, similarity: Tensor) -> Tensor:
        """Return how much of the way from noise, 0, to the same picture, 1, a similarity is."""
        return (similarity - self.mean) / (1 - self.mean)

    def exceeded_by(self, similarity: Tensor) -> Tensor:
        """Return whether similarities are above the level, by an effect that is worth a word."""
        return (similarity > self.level) & (self.effect(similarity) >= LEAST_EFFECT)
