"""How alike two maps are: structural similarity, rank correlation, and an image's edges.

All in float64 and on the CPU, so that a number does not depend on where the maps were made.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Floats = npt.NDArray[np.float64]

DEVIATION = 1.5
REACH = 5
"""The Gaussian window of structural similarity: 11 x 11 pixels, as published."""

LEAST_SIDE = 2 * REACH + 1


def structural_similarity(one: Tensor, other: Tensor, span: float) -> float:
    """Return the mean structural similarity (SSIM) of two maps.

    Wang, Bovik, Sheikh & Simoncelli, Image quality assessment: from error visibility to structural
    similarity (2004): Gaussian windows of 11 x 11 pixels and standard deviation 1.5, K1 = 0.01,
    K2 = 0.03, the mean over the windows that lie inside.

    Args:
        one: [H, W], finite.
        other: [H, W], finite.
        span: how far apart the smallest and the largest possible value are.

    Returns:
        -1 to 1, and 1 for equal maps; NaN where a side is shorter than the window.

    >>> map = torch.arange(144.0).view(12, 12)
    >>> structural_similarity(map, map, 144.0)
    1.0

    """
    if min(one.shape) < LEAST_SIDE:
        return float("nan")
    pair = torch.stack([one, other]).detach().cpu().double()
    means = _blurred(pair)
    squares = _blurred(pair**2) - means**2
    product = _blurred((pair[0] * pair[1])[None])[0] - means[0] * means[1]
    first, second = (0.01 * span) ** 2, (0.03 * span) ** 2
    similarity = (
        (2 * means[0] * means[1] + first)
        * (2 * product + second)
        / ((means**2).sum(0) + first)
        / (squares.sum(0) + second)
    )
    return float(similarity.mean())


def _blurred(maps: Tensor) -> Tensor:
    """Return the Gaussian mean around each pixel whose window lies inside."""
    places = torch.arange(-REACH, REACH + 1, dtype=maps.dtype)
    kernel = torch.exp(-0.5 * (places / DEVIATION) ** 2)
    kernel = kernel / kernel.sum()
    rows = functional.conv2d(maps[:, None], kernel.view(1, 1, -1, 1))
    return functional.conv2d(rows, kernel.view(1, 1, 1, -1))[:, 0]


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Return Spearman's rank correlation of two maps, equal values sharing their mean rank.

    Args:
        one: any shape, finite.
        other: the same shape.

    Returns:
        -1 to 1; NaN where either is constant.

    >>> rank_correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 10.0, 1000.0]))
    1.0

    """
    ranks = [_ranks(values.detach().cpu().double().flatten().numpy()) for values in (one, other)]
    squares = float(ranks[0] @ ranks[0]) * float(ranks[1] @ ranks[1])
    if not squares > 0:
        return float("nan")
    found = float(ranks[0] @ ranks[1]) / math.sqrt(squares)
    return min(1.0, max(-1.0, found))


def _ranks(values: Floats) -> Floats:
    """Return the rank of each value, less the mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    # Of equal values each has the mean of the ranks that they take together.
    ranks = ends - (counts + 1) / 2.0
    return np.asarray(ranks[place] - (len(values) - 1) / 2.0)


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
