"""Which channels of a layer are alike, by their weights and by what they answer to."""

import numpy as np

from convscope.methods.kernels import cosines, kernels_of
from convscope.methods.scanning.result import LayerScan
from convscope.methods.scanning.strongest import Doubles
from convscope.methods.scanning.units import scanned_layers
from convscope.network import Network

NEIGHBOURS = 6


def weight_similarity(net: Network, layer: LayerScan) -> Doubles:
    """Return the cosine of the angle between two channels' kernels, [C, C]."""
    (scanned,) = (own for own in scanned_layers(net) if own.name == layer.name)
    return cosines(kernels_of(net, scanned).rows)


def neighbours(similarity: Doubles, channel: int) -> list[tuple[int, float]]:
    """Return the channels most like one, the most alike first, with how alike they are.

    >>> neighbours(np.array([[1.0, 0.2, 0.9], [0.2, 1.0, 0.0], [0.9, 0.0, 1.0]]), 0)
    [(2, 0.9), (1, 0.2)]
    """
    order = np.argsort(-similarity[channel], kind="stable")
    others = [int(other) for other in order if other != channel][:NEIGHBOURS]
    return [(other, float(similarity[channel, other])) for other in others]


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
