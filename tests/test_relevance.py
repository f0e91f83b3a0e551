"""Rules that share relevance: on paper, against a slow account of them, and against zennit.

The account goes by contributions: what each input adds to each output, all written out. It shares
no code with convscope, which changes weights and inputs instead.
"""

import copy
import math
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convscope as cs
from architectures import ARCHITECTURES, Residual
from convscope.network.rules import RULES
from products import each_once

SHARING = [name for name, rule in RULES.items() if rule.composite]

PATCH = [[4.0, 3.0], [0.5, 9.0]]
KERNEL = [[1.0, -1.0], [2.0, 0.0]]
# 4 - 3 + 1 + 0 = 2 is the activation, which is shared out.
BY_HAND = {
    "epsilon": [[4, -3], [1, 0]],
    "z-plus": [[8 / 5, 0], [2 / 5, 0]],
    "excitation": [[8 / 5, 0], [2 / 5, 0]],
    "alpha2-beta1": [[16 / 5, -2], [4 / 5, 0]],
    "gamma": [[2 * 5 / 3.25, -2 * 3 / 3.25], [2 * 1.25 / 3.25, 0]],
    "epsilon-plus-flat": [[0.5, 0.5], [0.5, 0.5]],
    "epsilon-gamma-box": [[8 / 3, -4 / 3], [2 / 3, 0]],  # the second as if it came down from one
}


@pytest.mark.parametrize("rule", SHARING)
@pytest.mark.parametrize("dim", [1, -1])
def test_a_gated_linear_unit_is_the_gate_that_it_stands_for(rule, dim):
    class Gated(nn.Module):
        def __init__(self, gate) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.gate, self.last = nn.Conv2d(2, 4, 3), gate, nn.LazyLinear(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.gate(self.first(x)).flatten(1))

    def by_hand(x: Tensor) -> Tensor:
        through, gate = x.chunk(2, dim)
        return through * torch.sigmoid(gate)

    def pixels(gate) -> Tensor:
        module = Gated(gate)
        module(torch.zeros(1, 2, 8, 8))
        net = cs.Network(module.double(), (1, 2, 8, 8))
        image = torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(1)).double()
        return cs.attribute(net, image, 1, method=rule).pixels

    found, expected = pixels(lambda x: F.glu(x, dim)), pixels(by_hand)
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("rule", BY_HAND)
def test_a_case_on_paper(rule):
    convolution = nn.Conv2d(1, 1, 2, 2, bias=False)
    convolution.weight.data = torch.tensor(KERNEL)[None, None]
    net = cs.Network(nn.Sequential(convolution, nn.ReLU()), (1, 1, 4, 4))
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 2:, :2] = torch.tensor(PATCH)
    found = cs.project(net, image, layer="1", channels=[0], rule=rule)
    assert found.activation.item() == 2
    expected = torch.zeros(4, 4)
    expected[2:, :2] = torch.tensor(BY_HAND[rule])
    torch.testing.assert_close(found.pixels[0, 0, 0], expected, atol=1e-5, rtol=1e-5)


class Written(nn.Module):
    """A reused, functional ReLU, a batch norm, a skip, overlapping pools: nothing for hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, 2, 1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(4, 3)
        for values in (self.norm.running_mean, self.norm.weight.data, self.norm.bias.data):
            values.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.first(x)))
        x = x + F.relu(self.second(F.max_pool2d(x, 3, 1, 1)))
        return self.last(F.avg_pool2d(x, 2).mean((2, 3)))


def written_out(function, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return a linear function of [*shape*] as a matrix, [inputs, outputs], and what it adds."""
    count = math.prod(shape)
    offset = function(torch.zeros(1, *shape).double()).reshape(-1)
    columns = function(torch.eye(count).double().view(count, *shape)).reshape(count, -1)
    return columns - offset, offset


def away(z: Tensor) -> Tensor:
    return z + torch.where(z < 0, -1e-6, 1e-6)


def shared(kind: str, matrix: Tensor, bias: Tensor, x: Tensor, relevance: Tensor) -> Tensor:
    """Return the relevance of the inputs x, [inputs], by contributions."""
    parts = x[:, None] * matrix
    z = parts.sum(0) + bias
    plus, minus = parts.clamp(min=0), parts.clamp(max=0)
    if kind == "epsilon":
        shares = parts / away(z)
    elif kind == "excitation":
        shares = plus / away(plus.sum(0))
    elif kind in ("z-plus", "alpha2-beta1"):
        shares = plus / away(plus.sum(0) + bias.clamp(min=0))
        if kind == "alpha2-beta1":
            shares = 2 * shares - minus / away(minus.sum(0) + bias.clamp(max=0))
    elif kind == "gamma":
        risen = parts + 0.25 * torch.where(z > 0, plus, minus)
        own = bias + 0.25 * torch.where(z > 0, bias.clamp(min=0), bias.clamp(max=0))
        shares = risen / away(risen.sum(0) + own)
    elif kind == "flat":
        reads = (matrix != 0).double()
        shares = reads / away(reads.sum(0))
    else:
        assert kind == "box"  # of 0 to 1
        boxed = parts - matrix.clamp(max=0)
        shares = boxed / away(boxed.sum(0))
    return (shares * relevance).sum(1)


KINDS = {  # of the first convolution, the others, the linear layer
    "epsilon": ("epsilon", "epsilon", "epsilon"),
    "gamma": ("gamma", "gamma", "gamma"),
    "z-plus": ("z-plus", "z-plus", "z-plus"),
    "alpha2-beta1": ("alpha2-beta1", "alpha2-beta1", "alpha2-beta1"),
    "epsilon-plus": ("z-plus", "z-plus", "epsilon"),
    "epsilon-plus-flat": ("flat", "z-plus", "epsilon"),
    "epsilon-gamma-box": ("box", "gamma", "epsilon"),
    "epsilon-alpha2-beta1": ("alpha2-beta1", "alpha2-beta1", "epsilon"),
    "epsilon-alpha2-beta1-flat": ("flat", "alpha2-beta1", "epsilon"),
    "excitation": ("excitation", "excitation", "excitation"),
}


def account(m: Written, image: Tensor, number: int, kinds: tuple[str, str, str]) -> Tensor:
    """Return the relevance of each pixel for a class, layer by layer."""
    first, others, linear = kinds
    a = F.relu(m.norm(m.first(image)))
    pooled, indices = F.max_pool2d(a, 3, 1, 1, return_indices=True)
    b = F.relu(m.second(pooled))
    joined = a + b
    small = F.avg_pool2d(joined, 2)
    average = small.mean((2, 3))

    def step(kind: str, function, x: Tensor, relevance: Tensor) -> Tensor:
        matrix, bias = written_out(function, tuple(x.shape[1:]))
        return shared(kind, matrix, bias, x.reshape(-1), relevance.reshape(-1)).view_as(x)

    logits = m.last(average)
    relevance = torch.zeros_like(logits)
    relevance[0, number] = logits[0, number]
    relevance = step(linear, m.last, average, relevance)
    relevance = step("epsilon", lambda x: x.mean((2, 3)), small, relevance)
    relevance = step("epsilon", lambda x: F.avg_pool2d(x, 2), joined, relevance)
    share = relevance / away(joined)
    through = step(others, m.second, pooled, share * b)
    unpooled = torch.zeros_like(a).flatten(2)
    unpooled.scatter_add_(2, indices.flatten(2), through.flatten(2))
    relevance = share * a + unpooled.view_as(a)
    return step(first, lambda x: m.norm(m.first(x)), image, relevance)


@pytest.fixture(scope="module")
def written() -> tuple[cs.Network, Tensor]:
    torch.manual_seed(0)
    module, image = Written().double().eval(), torch.rand(1, 2, 9, 8).double()
    return cs.Network(module, (1, 2, 9, 8)), image


@pytest.mark.parametrize("rule", KINDS)
def test_a_network_as_written_out(written, rule):
    net, image = written
    found = cs.project(net, image, layer="last", channels=[1], rule=rule)
    with torch.no_grad():
        expected = account(net.module, image, 1, KINDS[rule])
    torch.testing.assert_close(found.pixels[:, 0], expected, rtol=1e-8, atol=1e-10)


def test_every_rule_has_an_account():
    assert set(KINDS) == set(SHARING)


@pytest.mark.parametrize("name", ["plain", "residual", "inception", "depthwise"])
def test_relevance_adds_up_where_there_is_no_bias(name):
    torch.manual_seed(0)
    module = ARCHITECTURES[name]().double().eval()
    for part in module.modules():
        if getattr(part, "bias", None) is not None:
            part.bias.data.zero_()
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.zero_()
    image = 1e4 * torch.rand(1, 3, 24, 24).double()  # so that what keeps off zero is little
    net = cs.Network(module, (1, 3, 24, 24))
    layer = net.graph.steps[net.graph.output].name
    # A sum that is negative may get relevance that no positive contribution takes on.
    plus = () if name == "residual" else ("z-plus", "epsilon-plus-flat", "excitation")
    for rule in ("epsilon", "gamma", *plus):
        found = cs.project(net, image, layer=layer, channels=[0], rule=rule)
        total = found.pixels.sum() / found.activation.item()
        assert total == pytest.approx(1, abs=1e-3), rule


def test_a_gate_takes_no_share():
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.gate = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(1, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(self.gate(x)) * self.conv(x)

    module = Gated().double()
    net = cs.Network(module, (1, 1, 4, 4))
    image = torch.rand(1, 1, 4, 4).double()
    found = cs.project(net, image, channels=[1], layer=list(net.layers)[-1], rule="epsilon")
    # All of the activation goes to the one pixel that the product reads, through `conv` alone.
    assert found.pixels.sum().item() == pytest.approx(found.activation.item(), rel=1e-4)


@pytest.mark.parametrize(
    "odd",
    [
        lambda x: F.rms_norm(x.permute(0, 2, 3, 1), (4,), torch.ones(4).to(x)).permute(0, 3, 1, 2),
        lambda x: torch.lerp(x, x.flip(3), 0.3),
    ],
)
def test_a_weight_without_a_bias_is_taken_as_any_operation_is(odd):
    # Only what has both, as a convolution does, has weights of which a rule takes others.
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 4, 3, bias=False), nn.Conv2d(4, 2, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(odd(F.relu(self.a(x))))

    torch.manual_seed(0)
    net = cs.Network(Own().double(), (1, 1, 7, 7))
    image = torch.rand(1, 1, 7, 7).double()
    for rule in ("epsilon", "epsilon-plus"):
        found = cs.project(net, image, "b", [1], rule=rule)
        assert found.pixels.any()
        assert found.pixels.isfinite().all()
        if rule == "epsilon":
            assert found.pixels.sum().item() == pytest.approx(found.activation.item(), rel=1e-4)


def test_what_comes_down_is_each_images_own():
    torch.manual_seed(0)
    net = cs.Network(Written().double().eval(), (1, 2, 9, 8))
    images = torch.rand(3, 2, 9, 8).double()
    together = cs.project(net, images, layer="last", channels=[2], rule="epsilon-gamma-box")
    for n in range(3):
        alone = cs.project(net, images[n : n + 1], "last", [2], rule="epsilon-gamma-box")
        torch.testing.assert_close(together.pixels[n], alone.pixels[0])


def test_a_kept_look_and_the_sanity_check_take_the_rules():
    torch.manual_seed(0)
    net, image = cs.Network(Written().eval(), (1, 2, 9, 8)), torch.rand(1, 2, 9, 8)
    found = cs.project(net, image, "second", [1], rule="epsilon-plus")
    looked = cs.look(net, image).project("second", 1, rule="epsilon-plus")
    torch.testing.assert_close(looked.pixels, found.pixels)
    tested = cs.sanity(net, image, 1, rules=["gradient", "epsilon-plus"], seeds=1, others=1)
    own = cs.project(net, image, "last", [1], rule="epsilon-plus").pixels[0, 0]
    torch.testing.assert_close(tested.pictures[1, 0], own, rtol=1e-4, atol=1e-6)


# zennit works on modules with hooks, so its networks have one ReLU a place and name their sums.


@contextmanager
def without_torchvision() -> Iterator[None]:
    """Let zennit be imported where torchvision is missing: it only wants the names of two blocks.

    `pip install --no-deps zennit` is all that these tests need.
    """
    names = ["torchvision", "torchvision.models", "torchvision.models.resnet"]
    missing = [name for name in names if find_spec("torchvision") is None]
    for name in missing:
        sys.modules[name] = types.ModuleType(name)
        for block in ("Bottleneck", "BasicBlock"):
            setattr(sys.modules[name], block, type(block, (nn.Module,), {}))
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


@pytest.fixture(scope="module")
def zennit() -> Iterator[types.ModuleType]:
    with without_torchvision():
        yield pytest.importorskip("zennit.composites")


def vgg(normalised: bool) -> nn.Module:
    layers, channels = [], 3
    for width in (8, 8, 0, 12, 12, 0, 16, 16, 0):
        if not width:
            layers.append(nn.MaxPool2d(2))
            continue
        layers.append(nn.Conv2d(channels, width, 3, padding=1))
        if normalised:
            layers.append(seasoned(nn.BatchNorm2d(width, eps=0.0)))
        layers.append(nn.ReLU())
        channels = width
    head = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 5))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), head).double().eval()


def seasoned(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """Return a batch norm after a while of training.

    Its epsilon is zero in these tests: zennit forgets to undo it where it merges one.
    """
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    norm.weight.data.normal_(1, 0.3)
    norm.bias.data.normal_()
    return norm


def summing(module: Residual) -> nn.Module:
    """Return a residual network's twin in which zennit finds the sums and the average."""
    from zennit.layer import Sum

    twin = copy.deepcopy(module)
    for block in [*twin.layer1, *twin.layer2]:
        block.sum = Sum()
        block.forward = types.MethodType(
            lambda self, x: self.relu2(self.sum(torch.stack(
                [self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))), self.shortcut(x)], -1
            ))), block)  # fmt: skip
    twin.average = nn.AdaptiveAvgPool2d(1)
    twin.forward = lambda x: twin.head(
        twin.average(twin.layer2(twin.layer1(twin.stem(x)))).flatten(1)
    )
    return twin


def composite(zennit, name: str, net: cs.Network):
    from zennit import rules, types
    from zennit.canonizers import SequentialMergeBatchNorm

    own = {"canonizers": [SequentialMergeBatchNorm()]}
    single = {
        "epsilon": rules.Epsilon, "gamma": rules.Gamma, "z-plus": rules.ZPlus,
        "alpha2-beta1": rules.AlphaBeta,
        "excitation": lambda: rules.ZPlus(zero_params="bias"),
    }  # fmt: skip
    if name in single:
        layers = [*zennit.layer_map_base(), (types.Linear, single[name]())]
        return zennit.LayerMapComposite(layers, **own)
    if name == "epsilon-gamma-box":
        low, high = (
            net.preprocess.to_inputs(torch.full((1, 3, 1, 1), value).double())
            for value in (0.0, 1.0)
        )
        return zennit.EpsilonGammaBox(low=low, high=high, **own)
    named = "".join(part.capitalize() for part in name.split("-"))
    return getattr(zennit, named)(**own)


@each_once("build, rule", ["vgg", "vgg with batch norm", "residual"], SHARING)
def test_as_zennit_has_it(zennit, build, rule):
    torch.manual_seed(0)
    if build == "residual":  # the user's own network, and a twin edited for zennit
        module = Residual().double().eval()
        for block in [*module.layer1, *module.layer2]:
            for norm in (block.bn1, block.bn2):
                seasoned(norm).eps = 0.0
        twin = summing(module)
    else:
        module = twin = vgg(normalised="norm" in build)
    images = torch.randn(2, 3, 16, 16).double()
    net = cs.Network(module, (1, 3, 16, 16), preprocess="imagenet")
    layer = net.graph.steps[net.graph.output].name
    found = cs.project(net, images, layer=layer, channels=[2], rule=rule).pixels[:, 0]
    with composite(zennit, rule, net).context(twin) as hooked:
        inputs = images.clone().requires_grad_()
        answers = hooked(inputs)
        relevance = torch.zeros_like(answers)
        relevance[:, 2] = answers[:, 2].detach()
        (expected,) = torch.autograd.grad(answers, inputs, relevance)
    assert (found - expected).abs().max() <= 1e-8 * expected.abs().max()


def test_a_score_below_zero_does_not_turn_the_sign_of_what_speaks_for_it():
    torch.manual_seed(0)
    module, image = Written().eval(), torch.rand(1, 2, 9, 8)
    module.last.bias.data.fill_(-100.0)
    net = cs.Network(module, (1, 2, 9, 8))
    tested = cs.sanity(net, image, 1, rules=["z-plus", "epsilon"], seeds=1, others=1)
    with torch.no_grad():
        assert module(image)[0, 1] < 0
    assert tested.pictures[0, 0].min() >= 0
    assert tested.pictures[1, 0].min() < 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_relevance_and_pictures_in_half_precision(dtype):
    # These failed: what relevance is multiplied by was in single precision, frequencies in half.
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    ).eval()  # fmt: skip
    image = torch.rand(1, 3, 12, 12)
    full = cs.attribute(cs.Network(copy.deepcopy(module), image), image, 1)
    net = cs.Network(module.to(dtype), image.to(dtype))
    half = cs.attribute(net, image.to(dtype), 1)
    assert (half.pixels.float() - full.pixels).abs().max() < 0.1 * full.pixels.abs().max()
    assert cs.trace_unit(net, image.to(dtype), "5", 0).activation[0, 0] > 0
    found = cs.visualize(net, "1", [0], steps=1)
    assert found.pixels.shape == (1, 3, 3, 3)
    assert found.activation.isfinite().all()
