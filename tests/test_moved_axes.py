"""Rows and columns that a network moves about: every operation, behind any permutation.

A network of each case is a convolution, a permutation, the operation, a permutation, and another
convolution. Its maps are cubes, as many channels as rows and columns, so that every operation runs
on whatever lies in its dimensions: batch norm along the image's columns, a convolution across its
rows. The oracles are brute force and torch's own gradient, in float64.
"""

from dataclasses import replace
from functools import cache
from itertools import permutations
from random import Random

import pytest
import torch
import torch.nn.functional as F
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import convscope as cs
from convscope.network import Network
from convscope.network.graph import Graph
from convscope.network.ops import TABLE, Convolution
from products import some

pytestmark = pytest.mark.usefixtures("by_windows")

aten = torch.ops.aten
SIDE = 10


def norm(kind: type[nn.Module]) -> nn.Module:
    module = kind(SIDE).double().eval()
    for values in (module.running_mean, module.weight.data, module.bias.data):
        values.normal_()
    module.running_var.uniform_(0.5, 2)
    return module


def operations() -> dict[str, object]:
    torch.manual_seed(0)
    numbers = torch.randn(SIDE, dtype=torch.float64)
    slopes, matrix = torch.rand_like(numbers), torch.randn(SIDE, SIDE, dtype=torch.float64)
    cube = torch.randn(SIDE, SIDE, SIDE, dtype=torch.float64)
    weight = 0.2 * torch.randn(SIDE, SIDE, 3, 2, dtype=torch.float64)
    head = torch.randn(SIDE**3, 4, dtype=torch.float64)
    rows, columns = numbers[:, None], numbers
    return {
        "convolution": lambda x: F.conv2d(x, weight, numbers, (1, 2), (1, 0)),
        "convolution, same": lambda x: F.conv2d(x, weight, padding="same", dilation=2),
        "convolution, grouped": lambda x: F.conv2d(x, weight[:, :2], groups=5, dilation=(1, 2)),
        "transposed convolution": lambda x: F.conv_transpose2d(x, weight, stride=(1, 2)),
        "linear": lambda x: F.linear(x, matrix, numbers),
        "addmm": lambda x: torch.addmm(head[0], x.flatten(1), head)[:, :, None, None] + x[:, :4],
        "batch norm": norm(nn.BatchNorm2d),
        "batch norm along one dimension": lambda x: flat_norm(x.flatten(2)).view_as(x),
        "layer norm": lambda x: F.layer_norm(x, [SIDE], numbers),
        "rms norm": lambda x: F.rms_norm(x, [SIDE], numbers),
        "max pool": lambda x: F.max_pool2d(x, (2, 3), (1, 2), (1, 1)),
        "max pool, ceil": lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True),
        "max pool, indices": lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
        "adaptive max pool": lambda x: F.adaptive_max_pool2d(x, (5, 3)),
        "average pool": lambda x: F.avg_pool2d(x, (2, 3), (2, 1), (1, 1)),
        "average pool, ceil": lambda x: F.avg_pool2d(x, 3, 2, ceil_mode=True),
        "average pool, without padding": lambda x: F.avg_pool2d(
            x, 3, 1, 1, count_include_pad=False),
        "average pool, channels": lambda x: F.avg_pool3d(x, (2, 3, 2), 1, (1, 1, 0)),
        "average pool, three": lambda x: F.avg_pool3d(x[:, None], (3, 2, 1), 1, (1, 0, 0))[:, 0],
        "adaptive average pool": lambda x: F.adaptive_avg_pool2d(x, (5, 3)),
        "adaptive average pool, even": lambda x: F.adaptive_avg_pool2d(x, (5, SIDE)),
        "mean": lambda x: x.mean(2, keepdim=True) + x,
        "mean, one gone": lambda x: x.mean(3)[:, None],
        "nearest": lambda x: F.interpolate(x, scale_factor=(2, 1)),
        "bilinear": lambda x: F.interpolate(x, size=(13, 8), mode="bilinear"),
        "nearest, exact": lambda x: F.interpolate(x, size=(13, 20), mode="nearest-exact"),
        "bicubic": lambda x: F.interpolate(x, size=(13, 8), mode="bicubic"),
        "nearest, uneven": lambda x: F.interpolate(x, size=(13, 20)),
        **{name: (lambda x, f=f: f(x - 0.4)) for name, f in {
            "relu": F.relu, "relu6": F.relu6, "hardtanh": F.hardtanh, "leaky": F.leaky_relu,
            "rrelu": F.rrelu, "prelu": lambda x: F.prelu(x, slopes), "elu": F.elu, "celu": F.celu,
            "selu": F.selu, "gelu": F.gelu, "silu": F.silu, "hardswish": F.hardswish,
            "mish": F.mish, "softplus": F.softplus, "threshold": lambda x: F.threshold(x, 0.1, 0),
            "clamp": lambda x: x.clamp(0, 1), "clamp_min": lambda x: torch.clamp_min(x, 0),
            "log sigmoid": F.logsigmoid, "gated halves": lambda x: F.glu(x, 1),
            "gated columns": F.glu, "sigmoid": torch.sigmoid, "hardsigmoid": F.hardsigmoid,
            "tanh": torch.tanh, "exponential": torch.exp, "power": lambda x: x**2,
            "absolute": torch.abs,
            "negative": lambda x: -x, "rsub": lambda x: torch.rsub(x, 2),
            "root": lambda x: torch.sqrt(x + 1.5),
            "sign": lambda x: x + torch.sign(x),
        }.items()},
        "a bias a row": lambda x: x + rows,
        "a bias a column": lambda x: columns - x,
        "a bias a channel": lambda x: x + numbers[:, None, None],
        "a position embedding": lambda x: x + cube,
        "a scale a row": lambda x: x * rows,
        "a quotient a column": lambda x: x / columns,
        "gate": lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
        "gate of a row": lambda x: x * torch.sigmoid(x.mean(3, keepdim=True)),
        "gate of a channel": lambda x: x * x.mean(1, keepdim=True),
        "quotient": lambda x: x / (1 + x.sum(1, keepdim=True) ** 2),
        "its own transpose": lambda x: x + x.transpose(2, 3),
        "its own permutation": lambda x: x.permute(0, 3, 1, 2) * x,
        "concatenation": lambda x: torch.cat([x, x * 2], 1),
        "concatenation, of rows": lambda x: torch.cat([x, x * 2], 2),
        "concatenation, with a constant": lambda x: torch.cat(
            [x, cube.expand(len(x), -1, -1, -1)], 1),
        "concatenation, transposed": lambda x: torch.cat([x, x.transpose(2, 3)], 1),
        "copy": lambda x: x.contiguous().clone(),
        "reshape": lambda x: x.reshape(len(x), 2, 5, SIDE, SIDE).transpose(1, 2).reshape(x.shape),
        "reshape, of the last": lambda x: x.reshape(len(x), SIDE, SIDE, 5, 2).mean(4),
        "reshape, mixing": lambda x: x.reshape(len(x), 5, 20, SIDE),
        "squeeze": lambda x: x[:, :1].squeeze(1).unsqueeze(3),
        "squeeze dims": lambda x: x[:, :, :1].unsqueeze(1).squeeze((1, 3)).unsqueeze(2),
        "transposition": lambda x: (x.transpose(1, 3) + 1).transpose(2, 3),
        "split": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
        "split, of rows": lambda x: x.split([4, 6], 2)[1],
        "slice": lambda x: x[:, 1:, ::2, -7:-1],
        "slice, of the last": lambda x: x[..., 2:9:3],
        "select": lambda x: x[:, 3].unsqueeze(1) + x[:, :, 2].unsqueeze(1),
        "channel shuffle": lambda x: F.channel_shuffle(x, 5),
        "pixel shuffle": lambda x: F.pixel_shuffle(x[:, :8], 2),
        "pixel unshuffle": lambda x: F.pixel_unshuffle(x, 2),
        "pad": lambda x: F.pad(x, (1, 2, -1, 3), value=0.5),
        "pad, of channels": lambda x: F.pad(x, (0, 0, 0, 1, 1, 2)),
        "pad, reflected": lambda x: F.pad(x, (1, 2, 3, 1), mode="reflect"),
        "pad, circular": lambda x: F.pad(x, (1, 0, 3, 1), mode="circular"),
        # Outside the table.
        "softmax": lambda x: x.softmax(3),
        "group norm": lambda x: F.group_norm(x, 2),
        "response norm": lambda x: F.local_response_norm(x, 3),
        "flip": lambda x: x.flip(2),
        "roll": lambda x: x.roll(3, 3),
        "running sum": lambda x: x.cumsum(2),
        "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
        "a matrix product": lambda x: matrix @ x,
    }  # fmt: skip


flat_norm = norm(nn.BatchNorm1d)
OPERATIONS = operations()
POINTWISE = {
    "relu6", "hardtanh", "leaky", "rrelu", "elu", "celu", "selu", "silu", "hardswish", "mish",
    "softplus", "clamp", "clamp_min", "sigmoid", "hardsigmoid", "tanh", "exponential", "power",
    "absolute", "negative", "rsub", "sign",
}  # fmt: skip
"""What does not know where a value lies; four of the kind stay in the quick suite."""


class Moved(nn.Module):
    """A convolution, the operation between two permutations, and another convolution."""

    def __init__(self, name: str, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.operation, self.before, self.after = OPERATIONS[name], before, after
        self.stem = nn.Conv2d(2, SIDE, (2, 3), padding=(0, 1)).double()
        self.tail: nn.Module = nn.Identity()
        self.tail = nn.Conv2d(
            self.moved(torch.zeros(1, 2, 11, 10).double()).shape[1], 4, 2
        ).double()

    def moved(self, x: Tensor) -> Tensor:
        y = self.operation(self.stem(x).tanh().permute(0, *self.before))
        return y.permute(0, *self.after)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.pad(self.moved(x), (1, 0, 0, 1))).sigmoid().mean((2, 3))


class AllAtOnce(nn.Module):
    """Every operation of one and the same convolution, added up: traced once."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, SIDE, (2, 3), padding=(0, 1)).double()

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x).tanh()
        return sum(operation(y).sum((1, 2, 3)) for operation in OPERATIONS.values())[:, None]


def run(graph: Graph, image: Tensor, step: int) -> Tensor:
    """A step's output, with torch's own record of how it came about."""
    values = {0: image}
    for index in graph.needed_for([step]):
        values[index] = graph.steps[index].call.run(
            [values[i] for i in graph.steps[index].inputs], 1
        )
    return values[step]


def check(
    name: str, before: tuple[int, ...], after: tuple[int, ...], patch: tuple[int, int]
) -> None:
    module = Moved(name, before, after)
    image = torch.randn(1, 2, SIDE + 1, SIDE, generator=torch.Generator().manual_seed(2)).double()
    net = Network(module, image)
    assert torch.allclose(net(image), module(image), rtol=0, atol=1e-12)

    o = cs.occlude(net, image, patch, (4, 3), "black")
    for (row, column), place in zip(
        ((r, c) for r in range(o.logit.shape[0]) for c in range(o.logit.shape[1])),
        o.positions.flatten(0, 1).tolist(), strict=True,
    ):  # fmt: skip
        top, left, bottom, right = place
        hidden = image.clone()
        hidden[:, :, top:bottom, left:right] = 0
        assert torch.allclose(
            o.logit[row, column], module(hidden)[0, o.targets], rtol=0, atol=1e-12
        )
    assert o.notes == net.notes

    for index, step in enumerate(net.graph.steps):
        if index == 0 or step.name not in net.layers or not net.graph.is_map(index):
            continue
        channels = sorted({0, step.shape[1] - 1})
        p = cs.project(net, image, step.name, channels, rule="gradient")
        for k, channel in enumerate(channels):
            leaf = image.clone().requires_grad_()
            row, column = p.position[0, k].tolist()
            unit = run(net.graph, leaf, index)[0, channel, row, column]
            assert torch.allclose(unit, p.activation[0, k], rtol=1e-12)
            (gradient,) = torch.autograd.grad(unit, leaf)
            expected = gradient[0] * unit.detach()
            assert torch.allclose(p.pixels[0, k], expected, rtol=0, atol=1e-12), step.name
            top, left, bottom, right = p.window[0, k].tolist()
            gradient[:, :, top:bottom, left:right] = 0
            assert not gradient.any(), f"the window of {step.name} is too small"


ORDERS = tuple(permutations((1, 2, 3)))
PATCHES = ((3, 2), (1, 4))


@pytest.mark.parametrize("name", some(OPERATIONS.keys() - POINTWISE, OPERATIONS))
def test_wherever_rows_and_columns_lie(name):
    random = Random(name)
    check(name, random.choice(ORDERS[1:]), random.choice(ORDERS), random.choice(PATCHES))


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
@settings(deadline=None, max_examples=20, phases=[Phase.generate])  # to shrink takes minutes
@given(st.sampled_from(ORDERS), st.sampled_from(ORDERS), st.sampled_from(PATCHES))
def test_wherever_rows_and_columns_lie_at_length(name, before, after, patch):
    check(name, before, after, patch)


def test_the_operations_cover_the_table():
    # Only core-ATen programs hold the first three. Torch itself misreads what comes down to an
    # instance norm from a permutation, so that there is nothing to compare with; and a norm by the
    # batch's own statistics would let all of them run image by image.
    elsewhere = {aten.convolution.default, aten._adaptive_avg_pool2d.default,
                 aten.constant_pad_nd.default, aten.instance_norm.default,
                 aten._native_batch_norm_legit.no_stats}  # fmt: skip
    net = Network(AllAtOnce(), torch.zeros(1, 2, SIDE + 1, SIDE).double())
    used = {step.call.target for step in net.graph.steps[1:]}
    assert set(TABLE) - used <= elsewhere


def test_windows_that_are_wrong_are_noticed_and_not_used(monkeypatch):
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).double()
    image = torch.randn(1, 2, 12, 12, generator=torch.Generator().manual_seed(0)).double()
    module(image)
    net = Network(module, image)
    assert cs.occlude(net, image, 4, 4, "black", layer="1", channel=0).notes == net.notes
    # A convolution that is taken to read two columns further left than it does.
    right = Convolution.rows
    monkeypatch.setattr(
        Convolution, "rows", lambda *a: replace(right(*a), padding=2 * (a[-1] == 3))
    )  # fmt: skip
    found, expected = (
        cs.occlude(net, image, 4, 4, "black", layer="1", channel=0, method=method)
        for method in ("exact", "full")
    )
    said = "computed in full: windows gave another answer (please report it)"
    assert found.notes == (*net.notes, said)
    assert torch.equal(found.logit, expected.logit)
    assert torch.equal(found.activation, expected.activation)


class Turned(nn.Module):
    """Convolves images, or these with rows and columns exchanged: its answers are the same."""

    def __init__(self, turns: bool, end: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(5)
        first, second = nn.Conv2d(1, 4, (3, 5), padding="same"), nn.Conv2d(4, 3, (1, 3))
        self.body = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
        self.turns, self.end = turns, end
        if turns:
            for one in (first, second):
                one.weight.data = one.weight.data.mT.contiguous()

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.body(x.mT if self.turns else x))


@cache
def both_ways(maps: bool) -> list[cs.Network]:
    end = nn.Identity() if maps else nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return [cs.Network(Turned(turns, end).double(), (1, 1, 12, 16)) for turns in (False, True)]


IMAGES = torch.randn(6, 1, 12, 16, generator=torch.Generator().manual_seed(2)).double()


@pytest.mark.parametrize("maps", [False, True])
def test_what_lies_over_the_image_is_turned_back_where_maps_are_turned(maps):
    # Class activation maps were drawn with rows for columns, and a box was taken as one of them.
    target = cs.Target(1, box=(0, 0, 12, 4)) if maps else 1
    plain, turned = (
        cs.attribute(net, IMAGES[:1], target, method="grad-cam", layer="body.1")
        for net in both_ways(maps)
    )
    assert plain.pixels.abs().max() > 0
    torch.testing.assert_close(turned.activation, plain.activation)
    torch.testing.assert_close(turned.pixels, plain.pixels)


def test_maps_that_are_turned_are_matched_place_by_place():
    found = cs.compare(*both_ways(False), [*IMAGES])
    for match in found.matches:
        assert match.first.correlation.min() > 0.999
        assert match.first.partner.tolist() == [*range(len(match.first.partner))]
