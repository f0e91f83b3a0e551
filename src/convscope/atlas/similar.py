"""Which channels of a layer are alike, by their weights and by what they answer to."""

import numpy as np

from convscope.methods.chance import LEVEL
from convscope.methods.scanning.strongest import Doubles

NEIGHBOURS = 6


def chance(dimensions: int, others: int) -> float:
    """Return the cosine that the most alike of others stays below by chance, in 19 of 20 cases.

    By chance: were all of independent normal numbers, so that every direction is as likely. The
    correlation over N images is a cosine in N - 1 dimensions.

    >>> round(chance(39, 63), 2), round(chance(576, 63), 2), chance(1, 63)
    (0.48, 0.13, 1.0)
    """
    if dimensions < 2:
        return 1.0
    angles = np.linspace(-np.pi / 2, np.pi / 2, 20_001)
    below = np.cumsum(np.cos(angles) ** (dimensions - 2))
    rank = LEVEL ** (1 / max(1, others))
    return float(np.sin(np.interp(rank, below / below[-1], angles)))


def neighbours(similarity: Doubles, channel: int) -> list[list[float]]:
    """Return the channels most like one, the most alike first, with how alike they are, rounded.

    >>> neighbours(np.array([[1.0, 0.2, 0.9], [0.2, 1.0, 0.0], [0.9, 0.0, 1.0]]), 0)
    [[2, 0.9], [1, 0.2]]
    """
    order = np.argsort(-similarity[channel], kind="stable")
    others = [int(other) for other in order if other != channel][:NEIGHBOURS]
    return [[other, round(float(similarity[channel, other]), 3)] for other in others]


def chained(similarity: Doubles, first: int) -> list[int]:
    """Return all channels in an order in which each is followed by the one most like it.

    >>> chained(np.array([[1.0, 0.2, 0.9], [0.2, 1.0, 0.0], [0.9, 0.0, 1.0]]), 1)
    [1, 0, 2]
    """
    left = np.ones(len(similarity), dtype=bool)
    order = [first]
    left[first] = False
    while left.any():
        order.append(int(np.where(left, similarity[order[-1]], -np.inf).argmax()))
        left[order[-1]] = False
    return order
