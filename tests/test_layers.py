"""Receptive fields against what a network really reads, found by changing every pixel."""

import pytest
import torch
from torch import Tensor, nn

from architectures import ARCHITECTURES, build, images_for
from convscope.models.architectures import ARCHITECTURES as OWN
from convscope.network import Network
from convscope.network.graph import Graph
from convscope.network.walk import ascend
from famous import undrawn
from products import some

SIZE = (17, 22)


def made_positive(module: nn.Module) -> nn.Module:
    """Make every weight positive, so that a brighter pixel brightens all that reads it."""
    for part in module.modules():
        for name, values in [*part.named_parameters(recurse=False)]:
            with torch.no_grad():
                values.copy_(values.abs() + 0.1 if name == "weight" else values.abs())
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.zero_()
    return module


def readers_of_each_pixel(graph: Graph, image: Tensor, index: int) -> Tensor:
    """Return [pixel rows, pixel columns, unit rows, unit columns]: does the unit read the pixel?"""
    height, width = image.shape[2:]
    brighter = torch.eye(height * width, dtype=image.dtype).view(-1, 1, height, width) * 1e4
    maps = ascend(graph, torch.cat([image, image + brighter]), [index]).maps[index]
    changed = ((maps[1:] - maps[:1]).abs() > 1e-9).any(dim=1)
    return changed.view(height, width, *changed.shape[1:])


def bounds(flags: Tensor) -> tuple[int, int, int, int]:
    rows, columns = flags.any(1).nonzero().flatten(), flags.any(0).nonzero().flatten()
    return rows[0].item(), columns[0].item(), rows[-1].item() + 1, columns[-1].item() + 1


@pytest.mark.parametrize("name", some({*ARCHITECTURES} - {"residual", "dense"}, ARCHITECTURES))
def test_every_units_window_is_what_it_reads(name):
    module = made_positive(build(name))
    image = images_for(module, 1, SIZE).abs()
    net = Network(module, image)
    checked = 0
    for index, step in enumerate(net.graph.steps):
        # A gate reads the whole image, and saturates: no change shows through a sigmoid of 1.
        if net.graph.axes[index] != (2, 3) or index == 0 or name == "squeeze-excite":
            continue
        reads = readers_of_each_pixel(net.graph, image, index)
        for row in range(step.shape[2]):
            for column in range(step.shape[3]):
                seen = reads[:, :, row, column]
                window = net.receptive_fields.window(index, row, column)
                if not seen.any():
                    # A unit of the upsampled border may read nothing but padding.
                    assert window[0] >= window[2] or window[1] >= window[3]
                    continue
                assert window == bounds(seen), f"{step.name} at {row}, {column}"
                checked += 1
    assert checked > 100 or name == "squeeze-excite"


def test_squeeze_excite_reads_the_whole_image_after_its_gate():
    net = Network(build("squeeze-excite"), torch.zeros(1, 3, *SIZE, dtype=torch.float64))
    assert net.layers["relu"].receptive_field == (3, 3)
    assert net.layers["last"].receptive_field == SIZE
    assert net.layers["last"].stride is None
    assert net.receptive_fields.window(net.step("last"), 0, 0) == (0, 0, *SIZE)


def test_layers_of_a_network_worked_out_by_hand():
    net = Network(
        nn.Sequential(
            nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(8, 16, 3, padding=2, dilation=2, groups=4),
            nn.ConvTranspose2d(16, 4, 2, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 10),
        ),
        torch.zeros(1, 3, 32, 40),
    )
    # By hand: receptive field r + (k - 1) d j, stride j s, padding offset o + p j.
    expected = [
        # name, op, shape, stride, padding, receptive field, parameters, multiply-adds
        ("0", "convolution", (8, 16, 20), (2, 2), (3, 3), (7, 7), 1176, 8 * 16 * 20 * 147),
        ("1", "batch norm", (8, 16, 20), (2, 2), (3, 3), (7, 7), 16, 0),
        ("2", "rectifier", (8, 16, 20), (2, 2), (3, 3), (7, 7), 0, 0),
        ("3", "max pool", (8, 8, 10), (4, 4), (5, 5), (11, 11), 0, 0),
        ("4", "convolution", (16, 8, 10), (4, 4), (13, 13), (27, 27), 304, 16 * 80 * 18),
        ("5", "transposed convolution", (4, 16, 20), (2, 2), (13, 13), (27, 27), 260, 80 * 256),
        ("6", "average pool", (4, 1, 1), None, (0, 0), (32, 40), 0, 0),
        ("8", "linear", (10,), None, (0, 0), (32, 40), 50, 40),
    ]
    found = [
        (x.name, x.op, x.shape, x.stride, x.padding, x.receptive_field, x.parameters,
         x.multiply_adds)
        for x in net.layers.values()
    ]  # fmt: skip
    assert found == expected
    assert list(net.layers) == [row[0] for row in expected]


def test_vgg16_has_the_published_receptive_fields_and_cost():
    layers = Network(undrawn(OWN["vgg16"]), (1, 3, 224, 224)).layers
    fields = {name: layers[f"features.{i}"].receptive_field[0]
              for name, i in {"conv1_2": 2, "conv2_2": 7, "conv3_3": 14, "conv4_3": 21,
                              "conv5_3": 28, "pool5": 30}.items()}  # fmt: skip
    # Araujo, Norris & Sim, "Computing receptive fields of CNNs", Distill 2019, table for VGG-16.
    assert fields == {"conv1_2": 5, "conv2_2": 14, "conv3_3": 40, "conv4_3": 92, "conv5_3": 196,
                      "pool5": 212}  # fmt: skip
    assert layers["features.30"].stride == (32, 32)
    assert sum(layer.parameters for layer in layers.values()) == 138_357_544
    assert sum(layer.multiply_adds for layer in layers.values()) == 15_470_264_320
