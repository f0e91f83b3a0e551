"""How alike two maps are: structural similarity, rank correlation, and an image's edges.

All in float64 and on the CPU, so that a number does not depend on where the maps were made.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from convscope.display import display_scale

DEVIATION = 1.5
REACH = 5
"""The Gaussian window of structural similarity (SSIM): 11×11 pixels, and with K1 = 0.01 and K2 =
0.03, as Wang, Bovik, Sheikh & Simoncelli published it (2004)."""

LEAST_SIDE = 2 * REACH + 1


class _Windows(NamedTuple):
    """Maps, [N, H, W], and the mean and the variance in each window, [N, H - 10, W - 10]."""

    maps: Tensor
    means: Tensor
    variances: Tensor

    @classmethod
    def of(cls, maps: Tensor) -> "_Windows":
        means = _blurred(maps)
        return cls(maps, means, _blurred(maps**2) - means**2)


SPANS = torch.tensor([1.0, 2.0], dtype=torch.float64)
"""How far apart the values of |picture| and of a picture can be, each over its own limit."""


def _structural(one: _Windows, other: _Windows) -> Tensor:
    """Return the mean SSIM of |picture| and of a picture, [2], over the windows inside."""
    # The covariance in each window, as the mean of the products less the product of the means.
    product = _blurred(one.maps * other.maps) - one.means * other.means
    first, second = ((share * SPANS.view(-1, 1, 1)) ** 2 for share in (0.01, 0.03))
    similarity = (
        (2 * one.means * other.means + first)
        * (2 * product + second)
        / (one.means**2 + other.means**2 + first)
        / (one.variances + other.variances + second)
    )
    return similarity.mean((1, 2))


def _blurred(maps: Tensor) -> Tensor:
    """Return the Gaussian mean around each pixel whose window lies inside; NaN where none does."""
    if min(maps.shape[1:]) < LEAST_SIDE:
        return torch.full((len(maps), 1, 1), torch.nan, dtype=maps.dtype)
    places = torch.arange(-REACH, REACH + 1, dtype=maps.dtype)
    kernel = torch.exp(-0.5 * (places / DEVIATION) ** 2)
    kernel = kernel / kernel.sum()
    rows = functional.conv2d(maps[:, None], kernel.view(1, 1, -1, 1))
    return functional.conv2d(rows, kernel.view(1, 1, 1, -1))[:, 0]


def _ranks(values: Tensor) -> Tensor:
    """Return the rank of each value, [P], less the mean rank."""
    _, place, counts = np.unique(values.numpy(), return_inverse=True, return_counts=True)
    # Of equal values each has the mean of the ranks that they take together.
    return torch.from_numpy((np.cumsum(counts) - (counts + len(values)) / 2.0)[place])


MEASURES = ("rank correlation", "signed rank correlation", "SSIM", "signed SSIM")
"""How alike two pictures are: Spearman's rank correlation and the structural similarity, of
|picture| summed over the colours, and of the picture summed over the colours."""


@dataclass(frozen=True)
class Prepared:
    """A signed picture, with what comparing it takes of it alone.

    Attributes:
        ranks: [2, H * W], of |picture| and of the picture, both summed over the colours; less their
            mean, and of length one.
        windows: of the same two maps, each divided by its own 99.9 % quantile of |value| and
            clipped there, as it is shown.
    """

    ranks: Tensor
    windows: _Windows

    @classmethod
    def of(cls, pixels: Tensor) -> "Prepared":
        """Return a picture, [C, H, W], prepared; one that is zero or not finite is like none."""
        values = pixels.detach().cpu().double()
        if not bool(values.any()) or not bool(values.isfinite().all()):
            values = values * torch.nan
        maps = torch.stack([values.abs().sum(0), values.sum(0)])
        limits = torch.tensor([display_scale(own).limit for own in maps], dtype=torch.float64)
        scaled = (maps / limits[:, None, None]).clamp(-1, 1)
        ranks = torch.stack([_ranks(own.flatten()) for own in maps])
        return cls(ranks / ranks.norm(dim=1, keepdim=True), _Windows.of(scaled))


def similarities(one: Prepared, other: Prepared) -> Tensor:
    """Return how alike two pictures are by each of :data:`MEASURES`, [M], float64.

    They are NaN where one of them is zero everywhere or not finite.

    >>> picture = Prepared.of(torch.randn(3, 12, 12))
    >>> similarities(picture, picture).round(decimals=9)
    tensor([1., 1., 1., 1.], dtype=torch.float64)
    """
    ranks = (one.ranks * other.ranks).sum(1).clamp(-1, 1)
    return torch.cat([ranks, _structural(one.windows, other.windows)])


def edges(pixels: Tensor) -> Tensor:
    """Return how steep an image is at each pixel: the length of Sobel's gradient.

    Args:
        pixels: [C, H, W], in 0..1; the mean over the channels is taken.

    Returns:
        [H, W], float64, in brightness a pixel; the image goes on beyond its borders as it ends.

    >>> edges(torch.arange(4.0).expand(1, 4, 4))[1]
    tensor([0.5000, 1.0000, 1.0000, 0.5000], dtype=torch.float64)
    """
    grey = pixels.detach().cpu().double().mean(0)[None, None]
    wide = functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=torch.float64) / 8
    kernels = torch.stack([across, across.T])[:, None]
    down_and_across = functional.conv2d(wide, kernels)[0]
    return down_and_across.square().sum(0).sqrt()
