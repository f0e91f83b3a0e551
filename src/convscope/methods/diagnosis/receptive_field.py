"""Receptive fields: what a unit could read, and how much of it really moves the unit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.methods import budget
from convscope.methods.descents import images_at_once
from convscope.methods.diagnosis.finding import Finding, Thresholds
from convscope.methods.scanning.units import ScannedLayer
from convscope.network import Network
from convscope.network.rules import RULES
from convscope.network.walk import ascend, descend

KIND = "receptive field"
BEYOND = 1 - 0.9545
"""Luo et al. 2016, sec. 3: pixels with more than this share of the largest effect belong to it."""


@dataclass(frozen=True)
class Fields:
    """The receptive field of the unit in the middle of a layer's maps.

    Attributes:
        theoretical: pixels that it reads, inside the image.
        effective: pixels whose effect on it is more than 4.55 % of the largest.
    """

    theoretical: int
    effective: int


@torch.no_grad()
def receptive_fields(net: Network, layer: ScannedLayer, images: Tensor, memory: int) -> Fields:
    """Measure the effective receptive field (Luo et al. 2016, arXiv 1701.04128, sec. 3).

    The effect of a pixel is the root mean square, over images, colours and channels, of the
    derivative of the middle unit's activation by it. Channels go down together, each with a
    random sign, which leaves the mean square what it is. Of the images, [N, C, H, W], as many go
    up at once as the memory allows.
    """
    rule, step = RULES["gradient"], layer.step
    images = net.checked(images)
    channels, *sides = net.graph.steps[step].shape[1:]
    row, column = (side // 2 for side in sides)
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (len(images), channels), generator=generator) * 2 - 1
    limit = budget.tensor_limit(memory, images.device)
    at_once = images_at_once(net.graph, [step], memory)
    squares = torch.zeros(images.shape[2:], dtype=torch.float64, device=images.device)
    for some, own in zip(torch.split(images, at_once), torch.split(signs, at_once), strict=True):
        ascent = ascend(net.graph, some, [step], rule)
        signal = torch.zeros_like(ascent.maps[step])
        signal[:, :, row, column] = own.to(signal)
        owners = torch.arange(len(some), device=images.device)
        squares += descend(ascent, step, signal, owners, rule, limit).double().square().sum((0, 1))
    effect = squares.sqrt()
    top, left, bottom, right = net.receptive_fields.window(step, row, column)
    beyond = effect > BEYOND * effect.max()
    return Fields((bottom - top) * (right - left), int(beyond.sum()))


def last_layers(net: Network, layers: Sequence[ScannedLayer]) -> list[ScannedLayer]:
    """Return the layers that no other one reads: several where the network ends in branches."""
    read: set[int] = set()
    for layer in layers:
        read.update(net.graph.needed_for(net.graph.steps[layer.convolution].inputs))
    return [layer for layer in layers if layer.convolution not in read]


def find(
    layer: str, fields: Fields, image_size: tuple[int, int], thresholds: Thresholds
) -> list[Finding]:
    """Return what is to be said of the last layer's receptive field."""
    pixels = image_size[0] * image_size[1]
    share = math.sqrt(fields.effective / pixels)
    if share >= thresholds.receptive_field:
        return []
    evidence = (
        f"A unit of the last layer is moved by {fields.effective:,} pixels, of "
        f"{fields.theoretical:,} that it reads and {pixels:,} of the image ({share:.0%} of its "
        f"side): the network sees details only."
    )
    suggestion = "Pool earlier, add layers or dilate the late ones, or give it smaller images."
    return [Finding(KIND, layer, (), evidence, suggestion, 0.5)]
