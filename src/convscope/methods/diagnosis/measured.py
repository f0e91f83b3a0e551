"""How the channels of a layer move together, measured on some positions of some images."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope.methods.moments import PairMoments
from convscope.methods.scanning.strongest import Doubles
from convscope.methods.scanning.units import ScannedLayer
from convscope.network import Network
from convscope.network.graph import Graph
from convscope.network.ops import BatchNorm, MaxPool
from convscope.network.visit import visit

POSITIONS = 32
"""Positions looked at in each map: neighbouring ones say nearly the same."""

GOLDEN = 0.618033988749895
NEARLY = 0.01
"""How near to a smooth function's flat end counts as being there, as a share of its range."""

aten = torch.ops.aten


def _rows(maps: Tensor) -> Tensor:
    """Return some positions of maps [N, C, H, W], the same in each, as [N * positions, C]."""
    values = maps.flatten(2)
    chosen = torch.from_numpy(positions(values.shape[2])).to(maps.device)
    return values[:, :, chosen].transpose(1, 2).flatten(0, 1)


def positions(count: int) -> npt.NDArray[np.int64]:
    """Return at most 32 of *count* positions, spread so that no row or column is favoured.

    >>> positions(4)
    array([0, 1, 2, 3])
    >>> len(set(positions(112 * 112))), len(set(positions(112 * 112) % 112)) > 20
    (32, True)
    """
    if count <= POSITIONS:
        return np.arange(count)
    return np.unique((np.arange(POSITIONS) * GOLDEN % 1 * count).astype(np.int64))


class FlatEnds:
    """Where the function behind a convolution is flat: beyond, a change of its input is lost.

    A ReLU's zero is no such end: to be off is its work.
    """

    def __init__(self, net: Network, layer: ScannedLayer) -> None:
        self.step = _bounded_behind(net.graph, layer.convolution)
        self.low, self.high = float("-inf"), float("inf")
        if self.step is not None:
            self.low, self.high = _ends(net, self.step)
        self._at_end = np.zeros(layer.shape[0])
        self._count = 0

    def add(self, maps: Tensor) -> None:
        """Count the values of maps [N, C, H, W] that lie at an end."""
        there = (maps <= self.low) | (maps >= self.high)
        self._at_end += there.sum((0, 2, 3)).double().cpu().numpy()
        self._count += maps.shape[0] * maps.shape[2] * maps.shape[3]

    def share(self) -> Doubles | None:
        """Return the share of each channel's values that lie at an end, [C]."""
        return None if self.step is None else self._at_end / max(self._count, 1)


def _bounded_behind(graph: Graph, index: int) -> int | None:
    """Return the step of the bounded function that a convolution's maps go through at once."""
    while len(graph.readers[index]) == 1:
        (index,) = graph.readers[index]
        call = graph.steps[index].call
        bounded = (aten.sigmoid.default, aten.tanh.default, aten.hardsigmoid.default,
                   aten.relu6.default, aten.hardtanh.default)  # fmt: skip
        if call.target in bounded:
            return index
        if not isinstance(graph.steps[index].operation, BatchNorm | MaxPool):
            return None
    return None


def _ends(net: Network, step: int) -> tuple[float, float]:
    """Return below and above which values count as lying at a flat end."""
    call = net.graph.steps[step].call
    if call.target is aten.tanh.default:
        return -1 + 2 * NEARLY, 1 - 2 * NEARLY
    if call.target in (aten.sigmoid.default, aten.hardsigmoid.default):
        return NEARLY, 1 - NEARLY
    low, high = 0.0, 6.0
    if call.target is not aten.relu6.default:
        low, high = float(call.arguments["min_val"]), float(call.arguments["max_val"])
    return (float("-inf") if low == 0 else low), high


class Measured:
    """What one pass over the sample measured of every layer."""

    def __init__(self, net: Network, layers: list[ScannedLayer]) -> None:
        self._net = net
        self.moments = {
            layer.step: PairMoments.none(layer.shape[0], layer.shape[0]) for layer in layers
        }
        self.flat_ends = [FlatEnds(net, layer) for layer in layers]
        self._energy, self._pixels = 0.0, 0

    def add(self, images: Tensor) -> None:
        """Run the network on images [N, C, H, W] and count what its layers answer."""
        self._energy += float(images.double().square().sum())
        self._pixels += images.numel()
        ends = {end.step: end for end in self.flat_ends if end.step is not None}

        def look(step: int, maps: Tensor) -> None:
            if step in self.moments:
                rows = _rows(maps)
                self.moments[step].add(rows, rows)
            if step in ends:
                ends[step].add(maps)

        visit(self._net.graph, self._net.checked(images), {*self.moments, *ends}, look)

    @property
    def level(self) -> float:
        """The root mean square of the images."""
        return float((self._energy / max(self._pixels, 1)) ** 0.5)
