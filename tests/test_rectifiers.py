"""Rectifiers written otherwise: as their modules, under every rule."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convscope as cs
from convscope.network import Network
from convscope.network.ops import Rectifier

pytestmark = pytest.mark.usefixtures("by_windows")

ZERO = torch.zeros(1, dtype=torch.float64)
WRITTEN = {
    "maximum of zeros": (lambda x: torch.maximum(x, torch.zeros_like(x)), F.relu),
    "maximum of a zero": (lambda x: torch.maximum(ZERO, x), F.relu),
    "max": (lambda x: torch.max(x, ZERO), F.relu),
    "where": (lambda x: torch.where(x > 0, x, 0), F.relu),
    "where, of zeros": (lambda x: torch.where(x <= 0, torch.zeros_like(x), x), F.relu),
    "a mask": (lambda x: x * (x > 0), F.relu),
    "a mask of numbers": (lambda x: (x >= 0).to(x.dtype) * x, F.relu),
    "a mask filled": (lambda x: x.masked_fill(x < 0, 0.0), F.relu),
    "written over": (lambda x: x.clone().masked_fill_(x < 0, 0.0), F.relu),
    "clamp": (lambda x: x.clamp(min=0), F.relu),
    "clip": (lambda x: x.clip(0), F.relu),
    "threshold": (lambda x: F.threshold(x, 0, 0), F.relu),
    "half of x and its size": (lambda x: (x + x.abs()) / 2, F.relu),
    "half, otherwise": (lambda x: 0.5 * (torch.abs(x) + x), F.relu),
    "negative of a minimum": (lambda x: -torch.minimum(-x, ZERO), F.relu),
    "silu": (lambda x: x * torch.sigmoid(x), F.silu),
    "silu, a quotient": (lambda x: x / (1 + torch.exp(-x)), F.silu),
    "mish": (lambda x: x * torch.tanh(F.softplus(x)), F.mish),
    "hard swish": (lambda x: x * F.relu6(x + 3) / 6, F.hardswish),
    "hard swish, gated": (lambda x: x * F.hardsigmoid(x), F.hardswish),
    "gelu": (lambda x: x * 0.5 * (1.0 + torch.erf(x / 2**0.5)), F.gelu),
    "gelu, by tanh": (
        lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
        lambda x: F.gelu(x, approximate="tanh"),
    ),
    "relu6": (lambda x: torch.minimum(torch.maximum(x, ZERO), ZERO + 6), F.relu6),
    "leaky": (lambda x: torch.maximum(x, 0.01 * x), F.leaky_relu),
    "elu": (lambda x: torch.where(x > 0, x, torch.exp(x) - 1), F.elu),
    "softplus": (lambda x: torch.log1p(torch.exp(x)), F.softplus),
}

NONE = {
    "a gate": lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
    "a square": lambda x: x * x,
    "softsign": lambda x: x / (1 + x.abs()),
    "absolute": lambda x: torch.maximum(x, -x),
    "another's mask": lambda x: x * (x.flip(1) > 0),
    "a learned slope": lambda x: torch.where(x > 0, x, x * torch.linspace(0, 1, 4)[:, None, None]),
    "a shift": lambda x: x + 0.1,
    "finite nowhere": lambda x: x / (x - x),
}


class Plain(nn.Module):
    def __init__(self, rectifier) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Conv2d(2, 4, 3, padding=1).double()
        self.b = nn.Conv2d(4, 4, 3).double()
        self.rectifier = rectifier

    def forward(self, x: Tensor) -> Tensor:
        x = self.rectifier(self.a(x))
        return self.rectifier(self.b(x)).mean((2, 3))


IMAGES = torch.randn(2, 2, 9, 8, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("name", WRITTEN)
def test_they_are_what_they_compute(name):
    written, named = (Network(Plain(function), IMAGES[:1]) for function in WRITTEN[name])
    assert torch.allclose(written(IMAGES), Plain(WRITTEN[name][0])(IMAGES), rtol=0, atol=1e-12)
    steps = [step for step in written.graph.steps if isinstance(step.operation, Rectifier)]
    assert len(steps) == 2
    assert len(written.graph.steps) == len(named.graph.steps)
    for rule in ("deconvnet", "guided", "gradient"):
        found, expected = (
            cs.project(net, IMAGES, layer, [0, 3], rule=rule)
            for net, layer in ((written, steps[1].name), (named, named.graph.steps[4].name))
        )
        # torch keeps the constants of some rectifiers in single precision.
        assert torch.allclose(found.pixels, expected.pixels, rtol=1e-5, atol=1e-7), rule
        assert not any("instead of a rule" in note for note in found.notes)
    exact, full = (
        cs.occlude(written, IMAGES[:1], 3, 2, "black", method=method)
        for method in ("exact", "full")
    )
    assert torch.allclose(exact.logit, full.logit, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NONE)
def test_what_is_no_rectifier_is_taken_for_none(name):
    net = Network(Plain(NONE[name]), IMAGES[:1])
    assert not any(isinstance(step.operation, Rectifier) for step in net.graph.steps)
    expected = Plain(NONE[name])(IMAGES)
    assert torch.allclose(net(IMAGES), expected, rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.relu(x).clamp(max=100),
        lambda x: torch.minimum(F.relu(x), ZERO + 64),
        lambda x: torch.where(x > 0.05, x, 0),
        lambda x: x * (x > 0.003),
    ],
    ids=["cut off at 100", "cut off at 64", "from 0.05 on", "from 0.003 on"],
)
def test_what_differs_from_a_rectifier_far_out_or_close_to_zero_is_not_taken_for_it(function):
    # These were computed as plain ReLUs, which they are at every tenth from -8 to 8 and at 50.
    module, net = Plain(function), Network(Plain(function), IMAGES[:1])
    for images in (IMAGES, 500 * IMAGES):
        assert torch.allclose(net(images), module(images), rtol=0, atol=1e-12)
        p = cs.project(net, images, "b", [0, 3], rule="gradient")
        leaf = images.clone().requires_grad_()
        with torch.enable_grad():
            maps = module.b(function(module.a(leaf)))
            row, column = p.position[1, 1].tolist()
            (expected,) = torch.autograd.grad(maps[1, 3, row, column], leaf)
        expected = expected[1] * maps[1, 3, row, column].detach()
        assert torch.allclose(p.pixels[1, 1], expected, rtol=0, atol=1e-9 * expected.abs().max())


@pytest.mark.parametrize(
    ("function", "rectifies"),
    [
        (lambda x: x * (x > 0).float(), True),
        (lambda x: F.relu(x.half()).float(), True),
        (lambda x: (x > 0).float(), False),
        (lambda x: x.flip(1) * (x > 0.1).type_as(x), False),
    ],
    ids=["a mask of floats", "in half precision", "the mask alone", "a mask of others"],
)
def test_masks_in_single_precision(function, rectifies):
    # The usual precision of networks, in which a mask that was made floats could not be traced.
    module, images = Plain(function).float(), IMAGES.float()
    net = Network(module, images[:1])
    assert torch.allclose(net(images), module(images), rtol=0, atol=1e-6)
    kinds = [isinstance(step.operation, Rectifier) for step in net.graph.steps]
    assert any(kinds) == rectifies


class Swish(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.sigmoid(x)


def test_one_layer_stands_for_its_module_and_others_may_read_a_part():
    net = Network(nn.Sequential(nn.Conv2d(2, 3, 3), Swish()).double(), IMAGES[:1])
    assert [(layer.name, layer.op) for layer in net.layers.values()] == [
        ("0", "convolution"), ("1", "rectifier"),
    ]  # fmt: skip
    assert net.step("1.sigmoid") == net.step("1") == 2

    module = Plain(lambda x: x * torch.sigmoid(x) + torch.sigmoid(x))
    assert torch.allclose(Network(module, IMAGES[:1])(IMAGES), module(IMAGES), rtol=0, atol=1e-12)
    kinds = [step.operation.kind for step in Network(module, IMAGES[:1]).graph.steps]
    assert (kinds.count("sigmoid"), kinds.count("rectifier")) == (2, 2)


class Unit(nn.Module):
    """Divides what a convolution finds by its length at each place, which may be zero."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(1, 4, 3, bias=False), nn.Conv2d(4, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(F.normalize(self.first(x).relu(), dim=1))


def test_what_keeps_a_divisor_above_zero_is_no_rectifier():
    module, image = Unit().double(), torch.zeros(1, 1, 9, 9).double()
    image[..., 5:, 5:] = 1.0
    net = cs.Network(module, image)
    assert torch.equal(net(image), module(image))
    assert net(image).isfinite().all()
    kinds = [layer.op for layer in net.layers.values()]
    assert kinds.count("rectifier") == 1
