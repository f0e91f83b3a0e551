"""Going down in windows against going down in whole maps: the same to the last digits."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from architectures import ARCHITECTURES, build, images_for
from convscope.methods.project import project
from convscope.network import Network
from convscope.network.ops import MAPS
from convscope.network.rules import RULES
from convscope.network.walk import Ascent, ascend, descend
from convscope.network.windows import cone_descent
from convscope.network.windows.cone_descent import Units, descend_units
from convscope.network.windows.cones import Cones
from products import each_once

TRIED = ["deconvnet", "guided", "gradient", "epsilon-gamma-box", "alpha2-beta1"]
"""Of the rules that share relevance, those with the most in each part."""

EXACT = {torch.float64: 1e-10, torch.float32: 1e-5}


def traced(module: nn.Module, images: Tensor) -> Network:
    return Network(module, images[:1])


@cache
def architecture(name: str) -> tuple[Network, Tensor]:
    module = build(name)
    images = images_for(module)
    return traced(module, images), images


def places_to_test(height: int, width: int) -> list[tuple[int, int]]:
    """Return the corners, the middles of the borders, the centre, and a place beside a corner."""
    rows, columns = {0, height // 2, height - 1}, {0, width // 2, width - 1}
    return sorted({(r, c) for r in rows for c in columns} | {(min(1, height - 1), width // 3)})


def units_of(net: Network, start: int, images: int) -> Units:
    """Return units at every kind of place, of all images in turn, each of another channel."""
    _, channels, height, width = net.graph.steps[start].shape
    places = places_to_test(height, width)
    found = [(n, (3 * n + i) % channels, *place) for n in range(images)
             for i, place in enumerate(places)]  # fmt: skip
    return Units(start, *torch.tensor(found).T)


def by_windows(net: Network, ascent: Ascent, units: Units, rule: str, limit: int) -> Tensor:
    cones = Cones(
        ascent.graph, net.receptive_fields, units.start, units.rows.numpy(), units.columns.numpy()
    )
    maps = ascent.maps[units.start]
    pixels = maps.new_zeros(len(units.owners), *net.graph.steps[0].shape[1:])
    arrived: list[int] = []
    descend_units(cones, ascent, units, RULES[rule], limit, pixels, arrived.append)
    assert sum(arrived) == len(units.owners)
    return pixels


def by_maps(net: Network, ascent: Ascent, units: Units, rule: str) -> Tensor:
    maps, count = ascent.maps[units.start], torch.arange(len(units.owners))
    unit = units.owners, units.channels, units.rows, units.columns
    signal = torch.zeros(len(count), *maps.shape[1:], dtype=maps.dtype)
    signal[count, *unit[1:]] = maps[unit]
    return descend(ascent, units.start, signal, units.owners, RULES[rule], 2**30)


def assert_the_same(net: Network, images: Tensor, start: int, rule: str, limit: int) -> None:
    ascent = ascend(net.graph, images, [start], RULES[rule])
    units = units_of(net, start, len(images))
    found, expected = (
        by_windows(net, ascent, units, rule, limit),
        by_maps(net, ascent, units, rule),
    )
    scale = expected.abs().amax((1, 2, 3))
    difference = (found - expected).abs().amax((1, 2, 3))
    assert (difference <= EXACT[images.dtype] * scale).all(), net.graph.steps[start].name


def starts_of(net: Network) -> list[int]:
    graph = net.graph
    return [i for i in range(1, len(graph.steps)) if graph.axes[i] == MAPS and graph.is_map(i)]


@each_once("name, rule", list(ARCHITECTURES), TRIED)
def test_every_layer_of_every_architecture(name, rule):
    net, images = architecture(name)
    for start in starts_of(net):
        assert_the_same(net, images, start, rule, 2**30)


@pytest.mark.parametrize("name", ["plain", "residual", "overlapping pools", "hourglass"])
def test_batches_of_any_size(name, monkeypatch):
    net, images = architecture(name)
    start = starts_of(net)[-1]
    for limit in (1, 30_000):
        assert_the_same(net, images, start, "guided", limit)
    monkeypatch.setattr(cone_descent, "SEPARATE", 1)
    assert_the_same(net, images, start, "guided", 2**30)


@pytest.mark.parametrize("rule", TRIED)
def test_batches_that_are_split_after_their_windows_were_whole_maps(rule):
    # Halves then get windows of their own, which stick out of the maps: a signal is zero there.
    torch.manual_seed(0)
    channels = [3, 12, 12, 4, 4, 4, 4, 4]
    parts = [nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU()) for a, b in pairwise(channels)]
    module = nn.Sequential(*parts[:2], nn.MaxPool2d(2), *parts[2:]).double().eval()
    images = torch.randn(2, 3, 16, 16).double()
    net = traced(module, images)
    start = starts_of(net)[-1]
    ascent = ascend(net.graph, images, [start], RULES[rule])
    places = [(0, 0), (0, 2), (1, 0), (1, 1), (3, 3), (4, 4), (6, 1), (7, 7)]
    rows, columns = torch.tensor(places).repeat(2, 1).T
    numbers = torch.arange(len(rows))
    units = Units(start, numbers // len(places), numbers % 4, rows, columns)
    expected = by_maps(net, ascent, units, rule)
    for limit in 2 ** torch.arange(12, 20):
        found = by_windows(net, ascent, units, rule, int(limit))
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", TRIED)
def test_single_precision(rule):
    module = build("plain").float()
    images = images_for(module, size=(61, 70))
    net = traced(module, images)
    for start in starts_of(net):
        assert_the_same(net, images, start, rule, 2**30)


class Odd(nn.Module):
    """What the architectures lack: one operation of *kind* between two convolutions."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 3, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 4, (3, 2), (3, 2), 1, dilation=(1, 3), groups=2)
        self.gaps = nn.ConvTranspose2d(4, 4, 1, 3)
        self.norm = nn.LayerNorm(4)
        self.scale = nn.Parameter(torch.randn(13, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.last(self.odd(F.relu(self.first(x)))))

    def odd(self, x: Tensor) -> Tensor:
        return ODD[self.kind](self, x)


ODD = {
    "transposed": lambda net, x: net.up(x),
    "gaps": lambda net, x: net.gaps(x),
    "upsampled by three": lambda net, x: F.interpolate(x, scale_factor=3),
    "upsampled by a broken factor": lambda net, x: F.interpolate(x, size=(20, 31)),
    "bilinear": lambda net, x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "sliced": lambda net, x: x[:, :, 1:-2:2, 2:],
    "padded": lambda net, x: F.pad(x, (2, 1, -1, 3), value=0.3),
    "padded below and right alone": lambda net, x: F.pad(x, (0, 1, 0, 1)),
    "reflected": lambda net, x: F.pad(x, (2, 1, 1, 3), mode="reflect"),
    "channels last": lambda net, x: net.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
    "scaled by rows": lambda net, x: x * net.scale,
    "halves": lambda net, x: F.relu(torch.add(x, x.flip(1), alpha=-2)) + x * x,
    "average": lambda net, x: F.avg_pool2d(x, 3, 2, 1),
    "average without padding": lambda net, x: F.avg_pool2d(
        x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
    "one number": lambda net, x: x / x.mean((1, 2, 3), keepdim=True),
    "unknown": lambda net, x: x.softmax(1),
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_odd_operations(kind):
    torch.manual_seed(0)
    images = torch.randn(2, 3, 15, 17).double()
    net = traced(Odd(kind).double().eval(), images)
    last = starts_of(net)[-1]
    for start in (last - 1, last):
        assert_the_same(net, images, start, "gradient", 2**30)
    assert_the_same(net, images, last, "deconvnet", 1)


@st.composite
def plain_nets(draw) -> nn.Module:
    """Draw convolutions, ReLUs and pools of any geometry, one after the other."""
    parts: list[nn.Module] = []
    channels = 2
    for _ in range(draw(st.integers(1, 3))):
        kernel, stride = draw(st.tuples(*[st.integers(1, 3)] * 2)), draw(st.integers(1, 3))
        padding, dilation = draw(st.integers(0, 3)), draw(st.integers(1, 2))
        parts.append(nn.Conv2d(channels, 4, kernel, stride, padding, dilation,
                               draw(st.sampled_from([1, 2]))))  # fmt: skip
        parts.append(nn.ReLU())
        channels = 4
        if draw(st.booleans()):
            side, stride, dilation = (draw(st.integers(1, most)) for most in (3, 3, 2))
            up = draw(st.booleans())
            parts.append(nn.MaxPool2d(side, stride, side // 2, dilation, ceil_mode=up))
    torch.manual_seed(draw(st.integers(0, 99)))
    return nn.Sequential(*parts).double().eval()


@settings(max_examples=6, deadline=None)
@given(plain_nets(), st.sampled_from(TRIED), st.sampled_from([1, 2**30]))
def test_plain_nets_of_any_geometry(module, rule, limit):
    images = torch.randn(2, 2, 26, 29, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        try:
            module(images)
        except RuntimeError:
            return  # a kernel larger than what the layers before left of the image
    net = traced(module, images)
    assert_the_same(net, images, starts_of(net)[-1], rule, limit)


def test_windows_reach_no_further_than_receptive_fields():
    net, _ = architecture("plain")
    start = net.step("features.8")
    units = units_of(net, start, 1)
    cones = Cones(net.graph, net.receptive_fields, start, units.rows.numpy(), units.columns.numpy())
    for number, unit in enumerate(cones.order.tolist()):
        placement = cones.placements(number, number + 1)[0]
        (top, left), (height, width) = placement.origins[:, 0].tolist(), placement.size
        row, column = units.rows[unit].item(), units.columns[unit].item()
        window = net.receptive_fields.window(start, row, column)
        assert (top, left, top + height, left + width) == window


def test_units_that_share_a_batch_lie_the_same_way():
    # By hand: rows upsampled by two start at even or odd rows, so four kinds of units.
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 3))
    images = torch.randn(1, 3, 12, 12)
    net = traced(module, images)
    rows, columns = np.array([0, 1, 2, 3, 4, 5]), np.array([0, 1, 0, 2, 4, 7])
    cones = Cones(net.graph, net.receptive_fields, net.step("2"), rows, columns)
    groups = [sorted(cones.order[begin:end].tolist()) for begin, end in cones.ranges()]
    assert sorted(groups) == [[0, 2, 4], [1, 5], [3]]


class Largest(TorchDispatchMode):
    """Notes the most values a single map had that any operation made."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr() for t in tree_leaves(args) if isinstance(t, Tensor)}
        for tensor in (t for t in tree_leaves(made) if isinstance(t, Tensor) and t.dim() == 4):
            if tensor.untyped_storage().data_ptr() not in given:  # else a view
                self.largest = max(self.largest, tensor.shape[2] * tensor.shape[3])
        return made


def test_no_whole_map_is_made():
    module = build("plain").float()
    images = images_for(module, count=1, size=(90, 90))
    net = traced(module, images)
    start = net.step("features.5")
    ascent = ascend(net.graph, images, [start], RULES["deconvnet"])
    units = Units(start, *torch.tensor([[0, 1, 9, 9], [0, 2, 10, 9]]).T)
    cones = Cones(net.graph, net.receptive_fields, start, units.rows.numpy(), units.columns.numpy())
    pixels = torch.zeros(2, 3, 90, 90)
    with Largest() as seen:
        descend_units(cones, ascent, units, RULES["deconvnet"], 2**30, pixels, lambda n: None)
    # By hand: two rows side by side read 4 of the pool's, which read 8, then 10 and 12 pixels; one
    # column reads 3, 6, 8 and 10.
    assert pixels[:, :, 16:28, 16:26].abs().sum() == pixels.abs().sum() > 0
    assert seen.largest <= 12 * 10


def test_projections_of_peaks_say_so_too():
    net, images = architecture("residual")
    p = project(net, images, "layer2", [0, 3, 5], rule="guided")
    start = net.step("layer2")
    ascent = ascend(net.graph, images, [start], RULES["guided"])
    rows, columns = p.position.flatten(0, 1).T
    owners = torch.arange(2).repeat_interleave(3)
    expected = by_maps(net, ascent, Units(start, owners, p.channels.flatten(), rows, columns),
                       "guided")  # fmt: skip
    assert (p.pixels.flatten(0, 1) - expected).abs().max() <= 1e-10 * expected.abs().max()
