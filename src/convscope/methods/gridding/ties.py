"""Ties: windows of a max pool that hold nothing but zeros, whose switches all lie at one place."""

from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.methods.rules import chosen_rule
from convscope.network import Network
from convscope.network.layers import LayerName
from convscope.network.ops import MaxPool
from convscope.network.walk import ascend, descend


@dataclass(frozen=True)
class Ties:
    """How much of a projection a pool places by ties.

    Attributes:
        pool: the pool's layer.
        windows: share of its windows, 0..1, that hold nothing but zeros in this image.
        energy: share of the energy that comes down to it, 0..1, that arrives at those.
    """

    pool: str
    windows: float
    energy: float


@torch.no_grad()
def ties(net: Network, image: Tensor, layer: LayerName, channel: int) -> list[Ties]:
    """Return, pool by pool from the deepest, what a map's deconvnet owes to windows of zeros.

    Behind a ReLU most windows of a deep pool hold zeros alone. None of them won, so the switch is
    the first place of the window, always; the transposed convolution above brings a signal to them
    all the same, which is then laid out on a grid of the pool's stride. The image is [1, C, H, W].

    >>> from torch import nn
    >>> net = Network(
    ...     nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3, padding=1), nn.ReLU()),
    ...     torch.zeros(1, 1, 4, 4),
    ... )
    >>> _ = net.module[2].weight.data.fill_(1.0)
    >>> image = torch.zeros(1, 1, 4, 4)
    >>> image[0, 0, 0, 0] = 1.0
    >>> ties(net, image, "3", 0)[0].windows
    0.75
    """
    start, graph, rule = net.step(layer), net.graph, chosen_rule(net, "deconvnet")
    steps = sorted(graph.needed_for([start]), reverse=True)
    pools = [i for i in steps if isinstance(graph.steps[i].operation, MaxPool)]
    ascent = ascend(graph, net.checked(image), {start, *pools}, rule)
    signal, first = torch.zeros_like(ascent.maps[start]), torch.zeros(1, dtype=torch.int64)
    signal[:, channel] = ascent.maps[start][:, channel]
    found = []
    for pool in pools:
        coming = descend(ascent, start, signal, first, rule, signal.nbytes, stop=pool)
        tied, energy = ascent.maps[pool] == 0, coming.double().square()
        share = (energy * tied).sum() / energy.sum().clamp(min=torch.finfo().tiny)
        found.append(Ties(graph.steps[pool].name, tied.double().mean().item(), share.item()))
    return found
