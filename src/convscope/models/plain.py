"""Plain convolutional networks: one parameterised family that is easy to see into."""

from dataclasses import dataclass
from itertools import chain
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import init

from convscope.errors import ModelError
from convscope.models.parts import seeded

# Share of a batch's statistics in the running ones: trainings of a few hundred steps, whose weights
# move fast, need them fresh.
NORM_MOMENTUM = 0.4


@dataclass(frozen=True)
class NetConfig:
    """A plain network: blocks of 3x3 convolutions, each block followed by 2x2 max pooling.

    Attributes:
        widths: channels of every convolution, one tuple a block: ``((32,), (64, 64))`` is one
            convolution, a pooling, two convolutions, a pooling. The last block's pooling takes the
            maximum of the whole map, so that the network accepts images of any size.
        batch_norm: normalise each convolution's maps over the batch.
        padding: ``"same"`` pads by one pixel of zeros, ``"valid"`` not at all.
        classes: number of outputs.
        logit_scale: constant factor on the outputs: with a small one, training starts from soft
            answers and the last layer's learning rate suits the rest.
        identity_start: with batch norm, start every convolution past the first by passing channels
            on; off, it starts at random as without batch norm, so that nets with and without can be
            compared.

    Raises:
        ModelError: a block without a convolution, a width or class count below one, or a padding of
            another name.
    """

    widths: tuple[tuple[int, ...], ...]
    batch_norm: bool = True
    padding: Literal["same", "valid"] = "same"
    classes: int = 10
    logit_scale: float = 1 / 9
    identity_start: bool = True

    def __post_init__(self) -> None:
        if not self.widths or not all(self.widths):
            raise ModelError("a network needs at least one block, and a block one convolution")
        numbers = [self.classes, *chain(*self.widths)]
        if not all(isinstance(number, int) and number >= 1 for number in numbers):
            raise ModelError("widths and classes must be whole numbers of at least 1")
        if self.padding not in ("same", "valid"):
            raise ModelError(f"padding is 'same' or 'valid', not {self.padding!r}")


class PlainNet(nn.Module):
    """The network that a :class:`NetConfig` describes.

    ``features`` is a flat sequence of named modules, ``conv1``, ``norm1``, ``relu1`` and so on;
    ``classifier`` is one linear layer on the maximum of each channel's last map.

    A block's last convolution is pooled *before* its normalisation and ReLU, except the last
    block's. Max pooling commutes with any increasing function, so this is the usual order's network
    (exactly so without batch norm) at a quarter of the cost of what lies between. The last pooling
    leaves too few values a batch to normalise well by, so it comes last.
    """

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.config = config
        self.features = _features(config)
        self.classifier = nn.Linear(config.widths[-1][-1], config.classes)
        _start(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [N, classes] of normalised images [N, 3, H, W]."""
        maps: Tensor = self.features(images)
        logits: Tensor = self.classifier(maps.flatten(1))
        return logits * self.config.logit_scale


def _features(config: NetConfig) -> nn.Sequential:
    """Return the convolutional part, down to one value a channel [N, C, 1, 1]."""
    features = nn.Sequential()
    channels, number = 3, 0
    for index, block in enumerate(config.widths, start=1):
        for place, width in enumerate(block, start=1):
            number += 1
            bias = not config.batch_norm
            convolution = nn.Conv2d(channels, width, 3, padding=config.padding, bias=bias)
            features.add_module(f"conv{number}", convolution)
            if place == len(block) and index < len(config.widths):
                features.add_module(f"pool{index}", nn.MaxPool2d(2))
            if config.batch_norm:
                features.add_module(f"norm{number}", nn.BatchNorm2d(width, momentum=NORM_MOMENTUM))
            features.add_module(f"relu{number}", nn.ReLU())
            channels = width
    features.add_module(f"pool{len(config.widths)}", nn.AdaptiveMaxPool2d(1))
    return features


@torch.no_grad()
def _start(network: PlainNet) -> None:
    """Draw the first weights from torch's CPU generator.

    With batch norm and ``identity_start``, every convolution past the first starts by passing on as
    many channels as fit, so that the first gradients reach each layer unmixed; its other filters
    keep PyTorch's uniform start. Otherwise, He et al.'s normal start keeps the signal's scale from
    layer to layer.
    """
    config = network.config
    for module in network.features:
        if not isinstance(module, nn.Conv2d):
            continue
        if not (config.batch_norm and config.identity_start):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif module.in_channels > 3:
            init.dirac_(module.weight[: module.in_channels])
        if module.bias is not None:
            init.zeros_(module.bias)
    init.zeros_(network.classifier.bias)


def build(config: NetConfig, seed: int) -> PlainNet:
    """Return a network with the random weights of *seed*; torch's generators stay untouched."""
    with seeded(seed):
        return PlainNet(config)


def smallest_side(config: NetConfig) -> int:
    """Return the side in pixels that images need for every layer to have something to read.

    >>> smallest_side(NetConfig(widths=((8,), (8,)), padding="valid"))  # 8 - 2, halved, - 2
    8
    >>> smallest_side(NetConfig(widths=((8,), (8,))))
    2
    """
    lost = 0 if config.padding == "same" else 2
    side = 1
    for place, block in enumerate(reversed(config.widths)):
        side = side * (2 if place else 1) + lost * len(block)
    return side


def multiply_adds(config: NetConfig, side: int = 32) -> int:
    """Return the multiplications, each with an addition, that one image of *side* pixels costs.

    >>> multiply_adds(NetConfig(widths=((8,),)), side=4)  # 16 places
    3536
    """
    lost = 0 if config.padding == "same" else 2
    total, channels = 0, 3
    for block in config.widths:
        for width in block:
            side -= lost
            total += side * side * 9 * channels * width
            channels = width
        side //= 2
    return total + channels * config.classes
