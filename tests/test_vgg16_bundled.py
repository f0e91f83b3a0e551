"""The bundled VGG16's projections against a loop of plain torch, in double precision."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import convscope as cs
from convscope import samples

LAYERS = {"conv2_2": 8, "conv3_3": 15, "conv4_3": 22, "conv5_3": 29}
TOP = 2
PICTURES = Path(samples.__file__).parent
# Photographs: where the drawing of a horse is flat, the rounding of the last digit decides which of
# equal values a pool lets through.
SAMPLES = ("cat.jpg", "rocket.jpg")


@pytest.fixture(scope="module")
def net() -> cs.Network:
    bundled = cs.load("vgg16_features")
    module = copy.deepcopy(bundled.module).double()
    return cs.Network(module, bundled.input_shape, preprocess=bundled.preprocess)


def climb(features: nn.Sequential, image: Tensor) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Return the maps that each layer reads and gives, and where each pool found its maxima."""
    maps, places = {-1: image}, {}
    for number, layer in enumerate(features):
        below = maps[number - 1]
        if isinstance(layer, nn.MaxPool2d):
            maps[number], places[number] = F.max_pool2d(below, 2, return_indices=True)
        elif isinstance(layer, nn.Conv2d):
            maps[number] = F.conv2d(below, layer.weight, layer.bias, padding=1)
        else:
            maps[number] = below.clamp(min=0)
    return maps, places


def deconvnet(features: nn.Sequential, signal: Tensor, last: int, places: dict[int, Tensor]):
    """Bring a signal at layer *last* down as Zeiler & Fergus, sec. 2.1, say, without autograd.

    Unpooling to the recorded places, rectification, the transposed filters.
    """
    for number in range(last, -1, -1):
        layer = features[number]
        if isinstance(layer, nn.MaxPool2d):
            signal = F.max_unpool2d(signal, places[number].expand(len(signal), -1, -1, -1), 2)
        elif isinstance(layer, nn.Conv2d):
            signal = F.conv_transpose2d(signal, layer.weight, padding=1)
        else:
            signal = signal.clamp(min=0)
    return signal


@torch.no_grad()
def differences(net: cs.Network, path: Path) -> list[float]:
    """Return the largest difference of each layer's strongest channels over their largest value."""
    image, features = net.preprocess(path).double(), net.module.features
    p = cs.project(net, image, [f"features.{number}" for number in LAYERS.values()], top=TOP)
    maps, places = climb(features, image)
    found = []
    for k, number in enumerate(LAYERS.values()):
        own = slice(k * TOP, (k + 1) * TOP)
        signal = torch.zeros_like(maps[number]).repeat(TOP, 1, 1, 1)
        for row, channel in enumerate(p.channels[0, own].tolist()):
            peak = int(maps[number][0, channel].argmax())
            signal[row, channel].view(-1)[peak] = maps[number][0, channel].max()
        wanted = deconvnet(features, signal, number, places)
        largest = wanted.abs().amax((1, 2, 3))
        assert largest.min() > 0
        off = (p.pixels[0, own] - wanted).abs().amax((1, 2, 3))
        found.append(float((off / largest).max()))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_projections_of_the_sample_photographs(net, name):
    assert max(differences(net, PICTURES / name)) < 1e-10


@pytest.mark.slow
def test_projections_of_photographs_of_imagenet(net, data):
    for path in sorted((data / "imagenet-sample" / "images").iterdir())[::25]:
        assert max(differences(net, path)) < 1e-10, path
