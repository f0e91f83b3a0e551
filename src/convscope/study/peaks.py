"""Peaks: how strongly every channel answers to every image of a set."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from convscope.errors import UnitError
from convscope.network import Network
from convscope.network.walk import ascend

BATCH = 250
"""Images that go up at once: enough to keep two cores busy, few enough for any memory."""


def channel_peaks(net: Network, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Return for each layer the largest value of every channel's map in every image.

    Args:
        net: the network.
        images: [I, C, H, W] in its input space.
        layers: names of layers with feature maps.

    Returns:
        layer -> [I, K].

    Raises:
        UnitError: there is no such layer, or it gives no feature maps.

    >>> from torch import nn
    >>> net = Network(nn.Sequential(nn.MaxPool2d(2)), torch.zeros(1, 1, 4, 4))
    >>> channel_peaks(net, torch.arange(16.0).view(1, 1, 4, 4), ["0"])["0"]
    tensor([[15.]])

    """
    steps = [net.step(layer) for layer in layers]
    for step, layer in zip(steps, layers, strict=True):
        if not net.graph.is_map(step):
            raise UnitError(f"layer {layer!r} gives no feature maps")
    parts = [
        {step: maps.amax((2, 3)) for step, maps in ascend(net.graph, batch, steps).maps.items()}
        for batch in torch.split(images.to(net.dtype), BATCH)
    ]
    return {
        layer: torch.cat([part[step] for part in parts])
        for layer, step in zip(layers, steps, strict=True)
    }
