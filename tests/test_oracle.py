"""Every operation of the table, under each rule, against the slow oracle in float64.

The network of each case is a convolution, a ReLU, the operation, and nothing else: the signal
starts at the operation's output, and the oracle brings it down the three steps.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import oracle
from convscope.methods.project import project
from convscope.network import Network
from convscope.network.ops import TABLE

RULES = ("deconvnet", "guided", "gradient")
IMAGE = (2, 7, 8)
MAPS = (4, 7, 8)


@dataclass(frozen=True)
class Case:
    """An operation as a module, and how its oracle reverses one image's signal."""

    function: Callable[[Tensor], Tensor]
    reverse: Callable[[str, Tensor, Tensor], Tensor]


def linear(function: Callable[[Tensor], Tensor]) -> Case:
    return Case(function, lambda rule, signal, value: oracle.reverse_linear(
        function, signal, tuple(value.shape)))  # fmt: skip


def rectifier(name: str, function: Callable[[Tensor], Tensor]) -> Case:
    shift = 0.4  # the maps come out of a ReLU: move some of them below zero again
    return Case(
        lambda x: function(x - shift),
        lambda rule, signal, value: oracle.reverse_rectifier(rule, name, signal, value - shift),
    )


def pointwise(function: Callable[[Tensor], Tensor], derivative: Callable[[Tensor], Tensor]) -> Case:
    return Case(function, lambda rule, signal, value: signal * derivative(value))


def jacobian(function: Callable[[Tensor], Tensor]) -> Case:
    """An operation that mixes positions: its Jacobian, entry by entry."""

    def reverse(rule: str, signal: Tensor, value: Tensor) -> Tensor:
        matrix = torch.autograd.functional.jacobian(lambda x: function(x[None])[0], value)
        return torch.tensordot(signal, matrix, dims=signal.dim())

    return Case(function, reverse)


def convolution(groups=1, stride=1, padding=0, dilation=1, kernel=(3, 2)) -> Case:
    module = nn.Conv2d(4, 6, kernel, stride, padding, dilation, groups).double()
    both = [v if isinstance(v, tuple) else (v, v) for v in (stride, padding, dilation)]

    def reverse(rule: str, signal: Tensor, value: Tensor) -> Tensor:
        weight = module.weight.detach()
        return oracle.reverse_convolution(signal, weight, value.shape, *both, groups)

    return Case(module, reverse)


def transposed(**options) -> Case:
    module = nn.ConvTranspose2d(4, 6, 3, **options).double()
    names = ("stride", "padding", "dilation", "groups")
    numbers = {name: options.get(name, 0 if name == "padding" else 1) for name in names}

    def reverse(rule: str, signal: Tensor, value: Tensor) -> Tensor:
        found = F.conv2d(signal[None], module.weight.detach(), None, **numbers)[0]
        return found[:, : value.shape[1], : value.shape[2]]  # output_padding adds rows unread

    return Case(module, reverse)


def max_pool(kernel, stride, padding=(0, 0), dilation=(1, 1), ceil_mode=False, indices=False):
    function = nn.MaxPool2d(kernel, stride, padding, dilation, indices, ceil_mode)
    return Case(
        (lambda x: function(x)[0]) if indices else function,
        lambda rule, signal, value: oracle.reverse_max_pool(
            signal, value, kernel, stride, padding, dilation
        ),
    )


def batch_norm() -> Case:
    module = nn.BatchNorm2d(4).double().eval()
    for values in (module.running_mean, module.weight.data, module.bias.data):
        values.normal_()
    module.running_var.uniform_(0.5, 2)
    scale = module.weight.detach() / torch.sqrt(module.running_var + module.eps)
    return Case(module, lambda rule, signal, value: signal * scale[:, None, None])


def gate() -> Case:
    """A product of the maps with a gate made of their own means, by the product rule."""

    def function(x: Tensor) -> Tensor:
        return x * torch.sigmoid(x.mean((2, 3), keepdim=True))

    def reverse(rule: str, signal: Tensor, value: Tensor) -> Tensor:
        mean = value.mean((1, 2), keepdim=True)
        opened = oracle.logistic(mean)
        through_gate = (signal * value).sum((1, 2), keepdim=True) * opened * (1 - opened)
        return signal * opened + through_gate / value[0].numel()

    return Case(function, reverse)


def cases() -> dict[str, Case]:
    torch.manual_seed(0)
    slope = torch.full((4,), 0.3, dtype=torch.float64)
    matrix, row = torch.randn(5, 8).double(), torch.randn(8).double()
    head, bias = torch.randn(4 * 56, 3).double(), torch.randn(3).double()
    return {
        "convolution": convolution(),
        "convolution, strided": convolution(stride=(2, 3), padding=(1, 2)),
        "convolution, dilated": convolution(dilation=2, padding=1),
        "convolution, grouped": convolution(groups=2, padding=1, stride=2),
        "convolution, stride beyond kernel": convolution(kernel=1, stride=3),
        "convolution, same": linear(
            nn.Conv2d(4, 5, (4, 3), padding="same", dilation=(1, 2)).double()),
        "convolution, valid": linear(nn.Conv2d(4, 5, 3, padding="valid").double()),
        "transposed convolution": transposed(stride=2, padding=1),
        "transposed convolution, grouped": transposed(stride=3, groups=2, output_padding=1),
        "linear": linear(lambda x: F.linear(x, matrix)),
        "addmm": linear(lambda x: torch.addmm(bias, x.flatten(1), head)),
        "batch norm": batch_norm(),
        "layer norm": jacobian(lambda x: F.layer_norm(x, [8], row)),
        "rms norm": jacobian(lambda x: F.rms_norm(x, [8], row)),
        "group norm": jacobian(lambda x: F.group_norm(x, 2)),
        "instance norm": jacobian(F.instance_norm),
        "max pool": max_pool((2, 2), (2, 2)),
        "max pool, overlapping": max_pool((3, 3), (2, 2), (1, 1)),
        "max pool, ceil": max_pool((3, 2), (2, 3), ceil_mode=True),
        "max pool, dilated": max_pool((2, 2), (1, 1), dilation=(2, 3)),
        "max pool, gaps": max_pool((1, 2), (2, 3)),
        "max pool, gaps within": max_pool((2, 2), (3, 3), dilation=(2, 2)),
        "max pool, wide": max_pool((7, 8), (1, 1)),
        "max pool, indices": max_pool((2, 3), (2, 1), (1, 1), indices=True),
        "adaptive max pool": jacobian(lambda x: F.adaptive_max_pool2d(x, (3, 5))),
        "average pool": linear(nn.AvgPool2d(3, 2, 1)),
        "average pool, ceil": linear(nn.AvgPool2d((2, 3), 2, ceil_mode=True)),
        "average pool, channels": linear(
            lambda x: F.avg_pool3d(x[:, None], (3, 1, 1), 1, (1, 0, 0))[:, 0]),
        "average pool, across": linear(lambda x: F.avg_pool3d(x, (2, 3, 2), 1, (1, 1, 0))),
        "max pool, across": jacobian(lambda x: F.max_pool3d(x, (2, 3, 2), 1, (0, 1, 0))),
        "adaptive average pool": linear(nn.AdaptiveAvgPool2d((3, 5))),
        "global average": linear(lambda x: x.mean((2, 3))),
        "nearest": linear(lambda x: F.interpolate(x, size=(10, 19))),
        "nearest exact": linear(
            lambda x: F.interpolate(x, size=(10, 19), mode="nearest-exact")),
        "bicubic": linear(lambda x: F.interpolate(x, size=(10, 19), mode="bicubic")),
        "bilinear": linear(lambda x: F.interpolate(x, size=(10, 19), mode="bilinear")),
        **{
            f"{name} (rectifier)": rectifier(name, function)
            for name, function in {
                "relu": F.relu, "relu6": F.relu6, "clamp_min": lambda x: torch.clamp_min(x, 0),
                "clamp 0 to 1": lambda x: x.clamp(0, 1),
                "hardtanh": F.hardtanh,
                "leaky_relu": lambda x: F.leaky_relu(x, 0.2), "rrelu": F.rrelu,
                "prelu": lambda x: F.prelu(x, slope), "elu": F.elu,
                "celu": lambda x: F.celu(x, 2.0), "selu": F.selu, "gelu": F.gelu, "silu": F.silu,
                "hardswish": F.hardswish, "mish": F.mish, "softplus": F.softplus,
                "threshold": lambda x: F.threshold(x, 0.1, 0.0),
            }.items()
        },
        "add": linear(lambda x: torch.add(x, x.mean((2, 3), keepdim=True), alpha=3)),
        "add twice": linear(lambda x: x + x),
        "subtract": linear(lambda x: x[:, :2] - x[:, 2:] - 1),
        "gate": gate(),
        "scale": linear(lambda x: 3 * x / row),
        "constant times": linear(lambda x: torch.mul(row, x)),
        "negative": linear(lambda x: 1 - (-x)),
        "rsub": linear(lambda x: torch.rsub(x, 2)),
        "log sigmoid": pointwise(F.logsigmoid, lambda x: oracle.logistic(-x)),
        "gated halves": jacobian(lambda x: F.glu(x, 1)),
        "sigmoid": pointwise(torch.sigmoid, lambda x: oracle.logistic(x) * oracle.logistic(-x)),
        "hard sigmoid": pointwise(
            F.hardsigmoid, lambda x: torch.full_like(x, 1 / 6) * (x.abs() < 3)),
        "tanh": pointwise(torch.tanh, lambda x: 1 - torch.tanh(x) ** 2),
        "exponential": pointwise(torch.exp, torch.exp),
        "power": pointwise(lambda x: x**3, lambda x: 3 * x**2),
        "root": pointwise(lambda x: torch.sqrt(x + 1), lambda x: 0.5 / torch.sqrt(x + 1)),
        "absolute value": pointwise(lambda x: torch.abs(x - 0.4), lambda x: torch.sign(x - 0.4)),
        "sign": pointwise(lambda x: torch.sign(x - 0.4), torch.zeros_like),
        "quotient": jacobian(lambda x: x / (1 + x.sum(1, keepdim=True))),
        "concatenation": linear(
            lambda x: torch.cat([x, x.mean((2, 3), keepdim=True).expand_as(x), x], 1)),
        "reshape": linear(
            lambda x: x.view(len(x), 2, 2, 7, 8).transpose(1, 2).reshape(len(x), 4, 7, 8)),
        "flatten": linear(lambda x: x.flatten(1)),
        "squeeze": linear(lambda x: x.mean((2, 3), keepdim=True).squeeze(3).squeeze(2)),
        "squeeze dims": linear(lambda x: x[:, :, :1, :1].squeeze((2, 3))),
        "permutation": linear(
            lambda x: (x.permute(0, 2, 3, 1) * torch.arange(4)).permute(0, 3, 1, 2)
        ),
        "split": linear(lambda x: torch.cat(x.chunk(2, 1)[::-1], 1)),
        "split sizes": linear(lambda x: torch.cat(x.split([1, 3], 1)[::-1], 1)),
        "slice": linear(lambda x: x[:, 1:, ::2, -5:-1]),
        "select": linear(lambda x: x[:, :, 3].unsqueeze(2)),
        "channel shuffle": linear(lambda x: F.channel_shuffle(x, 2)),
        "pixel shuffle": linear(lambda x: F.pixel_shuffle(x, 2)),
        "pixel unshuffle": linear(lambda x: F.pixel_unshuffle(F.pad(x, (0, 0, 0, 1)), 2)),
        "pad": linear(lambda x: F.pad(x, (1, 2, -1, 3), value=0.5)),
        "pad, reflected": linear(lambda x: F.pad(x, (1, 2, 3, 1), mode="reflect")),
        "flip": linear(lambda x: x.flip(3).roll(2, 2)),
        "copy": linear(lambda x: x.transpose(2, 3).contiguous().transpose(2, 3)),
        # Outside the table: the vector-Jacobian product.
        "softmax": jacobian(lambda x: x.softmax(1)),
        "response norm": jacobian(lambda x: F.local_response_norm(x, 3)),
    }  # fmt: skip


CASES = cases()


class Sandwiches(nn.Module):
    """A convolution, a ReLU, and behind them the operation of each case: traced once."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.stem = nn.Conv2d(2, 4, 3, padding=1).double()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = F.relu(self.stem(x))
        return {name: case.function(maps) for name, case in CASES.items()}


@pytest.fixture(scope="module")
def net() -> Network:
    return Network(Sandwiches().eval(), torch.zeros(1, *IMAGE, dtype=torch.float64))


def expected_pixels(name: str, rule: str, stem: nn.Module, image: Tensor, channel: int) -> Tensor:
    value = stem(image[None])[0].detach()
    rectified = torch.relu(value)
    output = CASES[name].function(rectified[None])[0].detach()
    signal = torch.zeros_like(output)
    signal[channel] = output[channel]
    signal = CASES[name].reverse(rule, signal, rectified)
    signal = oracle.reverse_rectifier(rule, "relu", signal, value)
    weight = stem.weight.detach()
    return oracle.reverse_convolution(signal, weight, IMAGE, (1, 1), (1, 1), (1, 1), 1)


@pytest.mark.parametrize("name", CASES)
def test_projection_equals_the_oracle(net, name):
    net, stem = net.reading(head=name), net.module.stem
    images = torch.randn(2, *IMAGE, generator=torch.Generator().manual_seed(3)).double()
    output = net(images)
    expected = CASES[name].function(F.relu(stem(images)))
    assert torch.allclose(output, expected, rtol=1e-12, atol=1e-12)
    last = net.graph.steps[net.graph.output]
    channels = [0, output.shape[1] - 1]
    for rule in RULES:
        p = project(net, images, last.name, channels, rule=rule, select="map")
        for n, k in [(0, 0), (0, 1), (1, 0), (1, 1)]:
            found, expected = (
                p.pixels[n, k],
                expected_pixels(name, rule, stem, images[n], channels[k]),
            )
            scale = expected.abs().max().clamp(min=1e-3)
            # torch keeps the sixth of a hard sigmoid in single precision.
            tolerance = 1e-7 if name == "hard sigmoid" else 1e-10
            assert (found - expected).abs().max() <= tolerance * scale, (rule, n, k)


def test_the_cases_cover_the_table(net):
    # Only core-ATen programs hold the first three; test_network.py projects through one. A norm by
    # the batch's own statistics would let all cases run image by image; it does the same.
    elsewhere = {torch.ops.aten.convolution.default, torch.ops.aten._adaptive_avg_pool2d.default,
                 torch.ops.aten.constant_pad_nd.default,
                 torch.ops.aten._native_batch_norm_legit.no_stats}  # fmt: skip
    used = {step.call.target for step in net.graph.steps[1:]}
    assert set(TABLE) - used == elsewhere
