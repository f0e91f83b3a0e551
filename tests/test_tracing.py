"""What is traced and what is refused: randomness, inputs, sizes, contexts, threads, advice."""

# ruff: noqa: PLC3002

import itertools
import random
import re
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import ConvscopeError, DataError, ImageError, TraceError
from convscope.methods.attribute import attribute
from convscope.methods.checkerboard import checkerboard
from convscope.methods.correspondence import correspondence
from convscope.methods.diagnose import diagnose
from convscope.methods.invariance import invariance
from convscope.methods.occlude import occlude
from convscope.methods.parts import Part
from convscope.methods.project import project
from convscope.methods.sanity import sanity
from convscope.methods.scan import scan
from convscope.methods.trace_unit import trace_unit
from convscope.methods.visualize import visualize
from convscope.network import Network


class Does(nn.Module):
    """A convolution, and a function of it and the images for the rest."""

    def __init__(self, function, **parts) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())


class Casts(nn.Module):
    """Computes in single precision, whatever its parts do."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        return self.part(x.float())


def hooked(hook) -> nn.Module:
    module = small()
    module[0].register_forward_hook(hook)
    return module


def save_activation(module: nn.Module, inputs: object, output: Tensor) -> None:
    output.detach().numpy()


def quantised() -> nn.Module:
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(module, {nn.Linear})


def prepared() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.nn.qat.Conv2d(3, 4, 3, qconfig=torch.ao.quantization.default_qat_qconfig)


def scripted(module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(module)


def jit_traced() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(small(), torch.zeros(1, 3, 8, 8))


class Two(nn.Module):
    def forward(self, x: Tensor, timestep: Tensor) -> Tensor:
        return F.relu(x) + timestep


class TwoByName(nn.Module):
    def forward(self, *, pixels: Tensor, mask: Tensor) -> Tensor:
        return F.relu(pixels) * mask


class Finds(nn.Module):
    """Has a backbone, and gives as many boxes as it finds."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = small()

    def forward(self, x: Tensor) -> list[Tensor]:
        return [row for row in self.backbone(x)[0, :2, 0, 0] if row > 0]


# What a module keeps besides its weights is not moved to their type.
DOUBLES = torch.ones(4, 4, 3, 3, dtype=torch.float64)
WIDE = torch.ones(8, 8, dtype=torch.float64)

FUNCTION = "is a function.*forward of a torch.nn.Module"
SWAPPED = "module comes first and the example second"
DATA = r"data-dependent, at .*test_tracing.py:\d+, `.*`; move Python branches"
KEEPS = r"depends on the pixels, at .*test_tracing.py:\d+.*torch.where"
LEAVES = "values leave torch there.*operations of torch"
RUNS = (
    r"itself fails on an input of shape \[1, 3, \d, \d\]: .*; "
    r"try another size or number of channels"
)
DTYPES = r"float32 and float64 meet at .*test_tracing.py:\d+, `.*`, which.*as by .to\(x.dtype\)"
OTHER_TYPE = "itself fails.*bring one to the type of the other there"
SCRIPTED = "scripted.*give the module that it was made of"
FLOATS = "the network of floats that it was made of"
DROPOUT = r"dropout stays on in evaluation: .*test_tracing.py:\d+, `.*training=self.training"
MASK = "a random mask stays on in evaluation"
ATTENTION = F.scaled_dot_product_attention
VALUES = "random values stay on in evaluation.*self.training.*random='freeze'"


def made_for_inference() -> nn.Module:
    with torch.inference_mode():
        return small()


class WithText(nn.Module):
    def forward(self, words=None, pixels=None):
        return words.logits + pixels


NO_MODULES = {
    "a function": (F.relu, FUNCTION),
    "a lambda": (lambda x: x, FUNCTION),
    "a class": (nn.Conv2d, r"Conv2d is a class.*Conv2d\(\.\.\.\)"),
    "a tensor": (torch.zeros(1, 3, 8, 8), SWAPPED),
    "a tuple": ((1, 3, 8, 8), SWAPPED),
    "weights": (small().state_dict(), "dictionary of weights is no network"),
    "a name": ("resnet18", r"loaded by convscope.load\('resnet18'\)"),
    "a number": (5, "must be a torch.nn.Module, not a whole number"),
    "None": (None, "must be a torch.nn.Module, not None"),
    "a list": ([nn.Conv2d(3, 3, 1)], "must be a torch.nn.Module, not a list"),
}

BAD_MODULES = {
    "a branch": (lambda: Does(lambda s, x: s.conv(x) if x.sum() > 0 else x), DATA),
    "a float": (lambda: Does(lambda s, x: s.conv(x) if float(x.max()) > 1 else x), DATA),
    "a slice": (lambda: Does(lambda s, x: x[:, :, : int(x.sum())]), "data-dependent|cannot be"),
    "range": (lambda: Does(lambda s, x: sum(x[i] for i in range(int(x.max())))), DATA),
    "item": (lambda: Does(lambda s, x: x if x.max().item() > 0 else -x), "data-dependent"),
    "a list of pixels": (
        lambda: Does(lambda s, x: x * x[0, 0, 0].tolist()[0]), LEAVES + "|leave .*stays a tensor"
    ),
    "a number": (lambda: Does(lambda s, x: s.conv(x) * x.mean().item()), "`.item.*stays a tensor"),
    "any": (lambda: Does(lambda s, x: x if (x > 0).any() else -x), "data-dependent"),
    "allclose": (lambda: Does(lambda s, x: x if torch.allclose(x, -x) else -x), "data-dep|cannot"),
    "a mask": (lambda: Does(lambda s, x: x[x > 0]), KEEPS),
    "masked_select": (lambda: Does(lambda s, x: x.masked_select(x > 0)), KEEPS),
    "nonzero": (lambda: Does(lambda s, x: torch.nonzero(x)), KEEPS),
    "unique": (lambda: Does(lambda s, x: torch.unique(x)), KEEPS + "|data-dependent"),
    "numpy": (lambda: Does(lambda s, x: torch.from_numpy(x.numpy())), LEAVES),
    "maps": (lambda: Does(lambda s, x: torch.tensor(s.conv(x).detach().numpy())), LEAVES),
    "rows cut off": (lambda: Does(lambda s, x: s.conv(x[1:])), "nothing is left of a single image"),
    "rows turned": (
        lambda: Does(lambda s, x: s.conv(torch.cat([x[1:], x[:1]]))), "nothing is left of a single"
    ),
    "a random branch": (lambda: Does(lambda s, x: x if torch.rand(1) > 0.5 else -x), "random"),
    "scripted": (lambda: scripted(small()), SCRIPTED),
    "traced": (jit_traced, SCRIPTED),
    "a scripted part": (lambda: nn.Sequential(scripted(nn.ReLU())), "'0' is " + SCRIPTED),
    "int8": (quantised, f"'1' is quantised.*{FLOATS}"),
    "QAT": (prepared, f"prepared for quantisation.*{FLOATS}"),
    "a leftover hook": (lambda: hooked(save_activation), r"hooks \(save_activation on '0'\)"),
    "several inputs": (Two, r"give it timestep too, by fixed=\{'timestep': \.\.\.\}"),
    "several by name": (TwoByName, "pixels, mask.*name the images by image="),
    "a detector": (Finds, r"use its backbone: Network\(module.backbone, example\)"),
    "lazy": (lambda: nn.LazyConv2d(3, 3), "no shape yet: run the module once"),
    "weights for inference": (made_for_inference, "made in torch.inference_mode"),
    "the images elsewhere": (WithText, "'words' of words, pixels; image= names another"),
    "no values": (lambda: nn.Conv2d(3, 3, 3, device="meta"), "weights have no values"),
    "other channels": (lambda: nn.Conv2d(4, 3, 3), RUNS),
    "too small": (lambda: nn.Conv2d(3, 3, 30), RUNS),
    "a linear of another size": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(7, 2)), RUNS),
    "along one dimension": (lambda: nn.Conv1d(3, 3, 3), RUNS),
    "along three": (lambda: nn.Conv3d(3, 3, 3), "itself fails.*three-dimensional, for volumes"),
    "a missing part": (lambda: Does(lambda s, x: s.nothing(x)), f"{RUNS}, or mend that line"),
    "an error of its own": (lambda: Does(lambda s, x: 1 // 0), "division.*test_tracing.py.*try"),
    "an assertion without words": (
        lambda: Does(lambda s, x: torch._assert(x.shape[2] % 5 == 0, "")),
        r"fails .*: what it asserts does not hold, at .*test_tracing.py:\d+, `.*`; try another",
    ),
    "doubles where it casts": (lambda: Casts(nn.Conv2d(3, 4, 3).double()), OTHER_TYPE),
    "kernels of doubles": (lambda: Does(lambda s, x: F.conv2d(s.conv(x), s.p), p=DOUBLES), DTYPES),
    "a linear of doubles": (lambda: Does(lambda s, x: F.linear(x, s.p), p=WIDE), DTYPES),
    "a product with doubles": (lambda: Does(lambda s, x: s.conv(x) @ s.p, p=WIDE), DTYPES),
    "an assertion": (lambda: Does(lambda s, x: x if x.shape[2] == 9 else None.y), RUNS),
    "complex": (lambda: nn.Conv2d(3, 3, 3, dtype=torch.complex64), OTHER_TYPE),
    "no forward": (nn.Module, RUNS),
    "a list of modules": (lambda: nn.ModuleList([nn.Conv2d(3, 3, 1)]), RUNS),
    "text out": (lambda: Does(lambda s, x: "cat"), "does not depend on the images"),
    "nothing out": (lambda: Does(lambda s, x: None), "does not depend on the images"),
    "a constant out": (lambda: Does(lambda s, x: torch.ones(3)), "does not depend on the images"),
    "dropout": (lambda: Does(lambda s, x: F.dropout(s.conv(x))), DROPOUT),
    "dropout in place": (lambda: Does(lambda s, x: F.dropout(s.conv(x), inplace=True)), DROPOUT),
    "dropout2d": (lambda: Does(lambda s, x: F.dropout2d(s.conv(x))), DROPOUT),
    "alpha dropout": (lambda: Does(lambda s, x: F.alpha_dropout(x, training=True)), DROPOUT),
    "fractional pooling": (lambda: nn.FractionalMaxPool2d(2, output_size=3), VALUES),
    "sampling": (lambda: Does(lambda s, x: s.conv(x) + torch.randn_like(s.conv(x))), VALUES),
    "noise": (lambda: Does(lambda s, x: x + torch.rand(x.shape)), VALUES),
    "noise of a fixed size": (lambda: Does(lambda s, x: x + torch.rand(8, 8)), VALUES),
    "a mask of paths": (lambda: Does(lambda s, x: x * s.p.bernoulli(), p=torch.ones(8)), MASK),
    "a rectifier": (lambda: Does(lambda s, x: F.rrelu(x, training=True)), "a random slope stays"),
    "attention's dropout": (lambda: Does(lambda s, x: ATTENTION(x, x, x, dropout_p=0.5)), DROPOUT),
    "a Poisson draw": (lambda: Does(lambda s, x: torch.poisson(x.abs())), VALUES),
}  # fmt: skip


def refused(module: object) -> str:
    """Return the sentence that a module is refused with, for it holds no jargon."""
    with pytest.raises(TraceError) as caught:
        Network(module, torch.zeros(1, 3, 8, 8))
    message = str(caught.value)
    assert not any(word in message for word in ("\n", "u0", "zuf", "torch.export", "FakeTensor"))
    return message


@pytest.mark.parametrize("name", NO_MODULES)
def test_what_is_no_module_is_told_what_it_is(name):
    value, words = NO_MODULES[name]
    assert re.search(words, refused(value))


@pytest.mark.parametrize("name", BAD_MODULES)
def test_a_module_that_cannot_be_used_is_told_why_and_what_to_try(name):
    make, words = BAD_MODULES[name]
    message = refused(make())
    assert re.search(words, message), message


BAD_EXAMPLES = {
    "a batch": (torch.zeros(2, 3, 8, 8), r"must be \[1, C, H, W\], not \[2, 3, 8, 8\]"),
    "a picture alone": (torch.zeros(3, 8, 8), r"must be \[1, C, H, W\], not \[3, 8, 8\]"),
    "a file": ("cat.png", r"not 'cat.png'; its shape, such as \(1, 3, 224, 224\)"),
    "None": (None, "a tensor .* or its shape, not None"),
    "a number": (224, "a tensor .* or its shape, not a whole number"),
    "a module": (nn.ReLU(), SWAPPED),
    "a shape of nothing": ((1, 3, 0, 8), "has no pixels"),
    "a shape of several": ((2, 3, 8, 8), r"must be \[1, C, H, W\], not \[2, 3, 8, 8\]"),
    "two images": ((torch.zeros(1, 3, 8, 8),) * 2, "cannot be told: they are the one"),
    "no image": ((torch.zeros(1),), "cannot be told"),
    "unknown names": ({"pixels": torch.zeros(1, 3, 8, 8)}, "takes no input 'pixels'.*takes input"),
}


@pytest.mark.parametrize("name", BAD_EXAMPLES)
def test_an_example_that_cannot_be_used_is_told_why_and_what_to_try(name):
    example, words = BAD_EXAMPLES[name]
    with pytest.raises(TraceError, match=words):
        Network(nn.Conv2d(3, 4, 3), example)


def test_an_example_may_be_a_shape_an_array_or_whole_numbers():
    module = small()
    image = torch.rand(1, 3, 8, 8)
    for example in [
        (1, 3, 8, 8), [3, 8, 8], image.shape, image.numpy(), image.numpy().astype(np.uint8),
        (image * 255).to(torch.uint8), image.double(),
    ]:  # fmt: skip
        net = Network(module, example)
        assert net.input_shape == (3, 8, 8)
        torch.testing.assert_close(net(image), module(image))
    with pytest.raises(ImageError, match=r"whole numbers \(uint8\)"):
        net((image * 255).to(torch.uint8))


class Keeps(nn.Module):
    """Keeps what it computed in attributes, for whoever looks later."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.seen = nn.Conv2d(3, 4, 3), []
        self.maps = None

    def forward(self, x: Tensor) -> Tensor:
        self.maps = self.conv(x)
        return F.relu(self.maps)


def test_what_a_forward_keeps_is_as_it_was():
    module, images = Keeps(), torch.randn(2, 3, 8, 8)
    try:
        net = Network(module, images[:1])
    except TraceError as refused:  # torch 2.9 to 2.11 or so
        assert "keeps a tensor in self.maps" in str(refused)  # noqa: PT017
        return
    assert module.maps is None
    torch.testing.assert_close(net(images), module(images))


class Noisy(nn.Module):
    """Everything that stays on by mistake, around two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.on = True

    def forward(self, x: Tensor) -> Tensor:
        maps = F.relu(self.first(x))
        if self.on:
            maps = F.dropout(maps, 0.3)
            maps = F.dropout2d(maps, 0.3, inplace=True)
            keep = maps.new_empty(maps.shape[0], 1, 1, 1).bernoulli_(0.8).div_(0.8)
            maps = maps * keep
        return F.relu(self.second(maps))


def test_frozen_dropout_and_masks_are_off_on_the_way_up_and_down():
    torch.manual_seed(0)
    module = Noisy().double()
    net = Network(module, (1, 3, 9, 9), random="freeze")
    images = torch.randn(3, 3, 9, 9).double()
    module.on = False
    expected = module(images).detach()
    assert (net(images) - expected).abs().max() < 1e-12
    p = project(net, images, list(net.layers)[-1], [1], rule="gradient", select="map")
    leaf = images.clone().requires_grad_()
    maps = module(leaf)[:, 1]
    (gradient,) = torch.autograd.grad(maps, leaf, maps.detach())
    assert (p.pixels[:, 0] - gradient).abs().max() <= 1e-10 * gradient.abs().max()
    assert [use.what for use in net.graph.random] == ["dropout", "dropout", "a random mask"]
    assert all("test_tracing.py:" in use.place for use in net.graph.random)
    assert sum("switched off: dropout at" in note for note in net.notes) == 2


class Sampled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.scale = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        mean, scale = self.mean(x), self.scale(x)
        return F.relu(mean + scale * torch.randn_like(scale))


def test_frozen_values_are_drawn_once_and_the_same_for_every_image():
    torch.manual_seed(0)
    module = Sampled().double()
    images = torch.randn(1, 3, 9, 9).double().repeat(3, 1, 1, 1)
    state = torch.get_rng_state()
    net = Network(module, images[:1], random="freeze")
    assert torch.equal(torch.get_rng_state(), state)
    first = net(images)
    assert torch.equal(first[0], first[2])
    assert torch.equal(first, net(images))
    assert torch.equal(first, Network(module, images[:1], random="freeze")(images))
    mean, scale = module.mean(images), module.scale(images)
    noise = (project_free := Network(module, images[:1], random="freeze"))(images)
    drawn = (noise - mean) / scale  # where the rectifier let it pass
    assert 0.5 < drawn[noise > 0].std() < 1.5
    p = project(project_free, images[:1], "relu", [0], rule="gradient", select="map")
    assert p.pixels.abs().max() > 0
    with pytest.raises(TraceError, match="random is 'refuse' or 'freeze'"):
        Network(module, images[:1], random="maybe")


@pytest.mark.parametrize(
    "draws",
    [random.random, lambda: random.choice([0, 1]), np.random.rand, lambda: np.random.randn(1)],
)
def test_what_python_draws_is_found_with_its_line(draws):
    """A trace holds one side of the branch, and no node of it tells of the other."""

    def forward(s, x):
        x = s.conv(x)
        return x if draws() < 0.5 else F.relu(-x)

    states = random.getstate(), np.random.get_state()[1].tolist()
    with pytest.raises(
        TraceError, match=r"drawn in Python stays on .*test_tracing.py:\d+, `.*random|draws"
    ):
        Network(Does(forward), (1, 3, 8, 8))
    nets = [Network(Does(forward), (1, 3, 8, 8), random="freeze") for _ in range(3)]
    assert len({len(net.graph.steps) for net in nets}) == 1
    assert "drawn once with a fixed seed" in nets[0].notes[0]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    off = Does(lambda s, x: s.conv(x) * draws() if s.training else s.conv(x)).train()
    assert not Network(off, (1, 3, 8, 8)).graph.random


@pytest.mark.parametrize(
    "draw",
    [random.Random(0).random, np.random.default_rng(0).random, itertools.count(1).__next__],
)
def test_what_a_module_draws_by_itself_or_counts_is_found(draw):
    """It is a constant in the trace, and another one at the next call."""
    module = Does(lambda s, x: s.conv(x) * float(draw()))
    with pytest.raises(
        TraceError, match="what it counts, or draws from a generator that it keeps, stays on"
    ):
        Network(module, (1, 3, 8, 8))
    frozen = Network(module, (1, 3, 8, 8), random="freeze")
    assert "as it was at first: what it counts" in frozen.notes[0]
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    factor = frozen(image) / module.conv(image)
    torch.testing.assert_close(factor, factor[:, :1, :1, :1].expand_as(factor), rtol=1e-3, atol=0)


def test_a_single_number_among_the_outputs_is_what_the_module_gives():
    net = Network(Does(lambda s, x: (s.conv(x), s.conv(x).square().mean())), (1, 3, 8, 8))
    assert [*net.graph.outputs] == ["0", "1"]


def test_a_buffer_that_is_written_is_left_as_it_was():
    module = Does(lambda s, x: s.conv(x) * (s.calls.add_(1) > 0))
    module.register_buffer("calls", torch.zeros(()))
    Network(module, (1, 3, 8, 8))
    assert module.calls == 0


def test_what_is_drawn_by_the_image_cannot_be_frozen():
    with pytest.raises(TraceError, match="drawn by what is in the image"):
        Network(Does(lambda s, x: torch.poisson(x.abs())), (1, 3, 8, 8), random="freeze")


@pytest.mark.parametrize(
    "function",
    [
        lambda s, x: F.relu_(s.conv(x).add_(1)).mul_(2),
        lambda s, x: (lambda y: (y.clamp_(min=0), y * 3)[1])(s.conv(x)),
        lambda s, x: (lambda y: (y[:, :2].mul_(2), y)[1])(s.conv(x)),  # a view that is written
        lambda s, x: (lambda y: (y.view(-1).zero_(), y)[1])(s.conv(x)) + s.conv(x),
        lambda s, x: (lambda y, z: (y.relu_(), z + 1)[1])(*(lambda m: (m, m[:, 1:]))(s.conv(x))),
        lambda s, x: (lambda z: (z[1:].fill_(3), s.conv(x) * z)[1])(torch.zeros(4, 1, 1)),
        lambda s, x: (lambda z: s.conv(x) + z + z.add_(1))(torch.zeros(4, 1, 1)),
        lambda s, x: torch.cat(s.conv(x).chunk(3, 1)[::-1], 1).movedim(1, -1).contiguous(),
        lambda s, x: s.conv(x).flatten(2).unflatten(2, (8, 8)).narrow(1, 1, 2).swapaxes(2, 3),
        lambda s, x: s.conv(x).mT.reshape(len(x), -1).view(len(x), 4, 64).to(torch.float64),
        lambda s, x: s.conv(x.mul_(2))[:, :3] + x,
        lambda s, x: torch.zeros(len(x), 4, 8, 8).add_(s.conv(x)).squeeze(),
        lambda s, x: s.conv(x).squeeze().type_as(x).expand_as(torch.zeros(len(x), 4, 8, 8)),
        lambda s, x: F.instance_norm(s.conv(x)) + F.batch_norm(x, None, None, training=True).sum(),
        lambda s, x: (torch.no_grad()(s.conv))(x) + s.conv(x),
    ],
)
def test_writing_over_tensors_and_views_is_what_the_module_does(function):
    torch.manual_seed(0)
    module = Does(function)
    images = torch.randn(3, 3, 8, 8)
    net = Network(module, images[:1])
    with torch.no_grad():
        expected = torch.cat([module(image[None].clone()).reshape(1, -1) for image in images])
    torch.testing.assert_close(net(images).reshape(3, -1), expected, rtol=1e-5, atol=1e-5)


class Pixels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, time: Tensor, pixels: Tensor, *, scale: Tensor, off: bool = False) -> Tensor:
        return self.conv(pixels * scale) + (0 if off else time.view(-1, 1, 1, 1))


def test_other_inputs_stay_as_they_are():
    torch.manual_seed(0)
    module, images = Pixels(), torch.randn(3, 3, 8, 8)
    time, scale = torch.tensor([5.0]), torch.rand(1, 3, 8, 8)
    expected = module(time, images, scale=scale)
    made = [
        Network(module, images[:1], image="pixels", fixed={"time": time, "scale": scale}),
        Network(module, {"scale": scale, "time": time, "pixels": images[:1]}, image="pixels"),
        Network(module, (time, images[:1]), fixed={"scale": scale}),
    ]
    for net in made:
        torch.testing.assert_close(net(images), expected)
        assert list(net.layers) == ["mul", "conv", "add"]
    fixed = {"time": time, "scale": scale, "off": True}
    net = Network(module, images[:1], image="pixels", fixed=fixed)
    torch.testing.assert_close(net(images), module(time, images, scale=scale, off=True))
    both = Network(TwoByName(), images[:1], image="pixels", fixed={"mask": scale})
    torch.testing.assert_close(both(images), F.relu(images) * scale)

    class OnlyByName(nn.Module):
        def forward(self, *, pixel_values: Tensor) -> Tensor:
            return F.relu(pixel_values)

    assert torch.equal(Network(OnlyByName(), images[:1])(images), F.relu(images))


def test_images_of_another_size_are_traced_once_and_kept():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    net = Network(module, (1, 3, 12, 12))
    images = torch.randn(2, 3, 20, 15)
    torch.testing.assert_close(net(images), module(images))
    assert net.at((20, 15)) is net.at((20, 15))
    assert net.at((12, 12)) is net
    assert net.layers["1"].shape == (4, 10, 10)
    assert net.at((20, 15)).layers["1"].shape == (4, 18, 13)
    with pytest.raises(ImageError, match="was exported for images of"):
        Network(torch.export.export(module, (torch.zeros(1, 3, 12, 12),)), (1, 3, 12, 12)).at(
            (9, 9)
        )
    with pytest.raises(ImageError, match=rf"images \[N, 3, 12, 12\], and none of \(2, 2\).*{RUNS}"):
        net(torch.zeros(1, 3, 2, 2))


def test_the_output_that_was_chosen_counts_at_another_size_too():
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"maps": self.conv(x), "mean": self.conv(x).mean((2, 3))}

    module, images = Pair(), torch.randn(2, 3, 9, 12)
    for net in (Network(module, (1, 3, 8, 8), head="mean"), Network(module, (1, 3, 8, 8))):
        torch.testing.assert_close(net.reading(head="mean")(images), module(images)["mean"])
    torch.testing.assert_close(net(images), module(images)["maps"])


def test_wrappers_are_looked_into(monkeypatch):
    # As on a machine without a GPU: or DataParallel moves the module to the device that stands in.
    code = sys.modules["torch.nn.parallel.data_parallel"]
    monkeypatch.setattr(code, "_get_available_device_type", lambda: None)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    images = torch.randn(2, 3, 8, 8)
    expected = Network(module, (1, 3, 8, 8))
    for wrapped in [
        nn.DataParallel(module),
        torch.compile(module),
        torch.optim.swa_utils.AveragedModel(module),
        nn.DataParallel(torch.compile(module)),
    ]:
        net = Network(wrapped, (1, 3, 8, 8))
        assert list(net.layers) == list(expected.layers) == ["0", "1", "2"]
        assert net.graph.batched
        assert torch.equal(net(images), expected(images))


CONTEXTS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_the_context_does_not_change_the_graph(name):
    torch.manual_seed(0)
    module = Noisy()
    module.on = False
    images = torch.randn(2, 3, 8, 8)
    expected = Network(module, images[:1])
    with CONTEXTS[name]():
        net = Network(module, images[:1])
    assert [step.name for step in net.graph.steps] == [s.name for s in expected.graph.steps]
    assert [step.dtype for step in net.graph.steps] == [s.dtype for s in expected.graph.steps]
    assert torch.equal(net(images), expected(images))


def test_threads_may_trace_at_once():
    torch.manual_seed(0)
    modules = [nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(), nn.ReLU()) for _ in range(8)]
    images = torch.randn(2, 3, 8, 8)
    found: dict[int, Tensor | Exception] = {}

    def trace(number: int) -> None:
        try:
            found[number] = Network(modules[number], images[:1])(images)
        except Exception as error:
            found[number] = error

    threads = [threading.Thread(target=trace, args=(n,)) for n in range(len(modules))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, module in enumerate(modules):
        assert all(part.training for part in module.modules())
        assert isinstance(found[number], Tensor), found[number]
        torch.testing.assert_close(found[number], module.eval()(images).detach())


class Logarithm(nn.Module):
    """Makes NaN of finite values in its second layer, and masks by infinity in its first."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, padding=1)
        self.second = nn.Conv2d(3, 3, 3)
        self.last = nn.Conv2d(3, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.first(x)
        masked = maps.masked_fill(maps > 1e3, float("-inf")).softmax(1)
        return F.relu(self.last(torch.log(self.second(masked + maps).sin() - 0.5)))


def test_the_layer_that_makes_nan_is_named():
    torch.manual_seed(0)
    net = Network(Logarithm(), (1, 1, 12, 12))
    images = torch.rand(60, 1, 12, 12)
    notes = project(net, images[:2], "last", [0]).notes
    assert "values are not finite from layer 'log' on" in notes
    fine = project(net, images[:2], "second", [0])
    assert fine.pixels.isfinite().all()
    assert not any("finite" in note for note in fine.notes)
    with pytest.raises(ConvscopeError, match="not finite from log on"):
        scan(net, list(images))


class Root(nn.Module):
    """Makes NaN of the dark images alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 3, 3)
        self.off = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.last(F.dropout(F.relu(self.conv(x))) + (x.mean() - 0.1).sqrt()))


def test_randomness_and_nan_are_findings():
    torch.manual_seed(0)
    images = [torch.rand(1, 8, 8) * (number % 20 > 0) for number in range(60)]
    net = Network(Root(), (1, 1, 8, 8), random="freeze")
    found = diagnose(net, images, budget=0)
    kinds = ("randomness", "not finite")
    random, nan = (next(f for f in found.findings if f.kind == kind) for kind in kinds)
    assert "Dropout stays on in evaluation: " in random.evidence
    assert "test_tracing.py:" in random.evidence
    assert random.suggestion.startswith("Pass `training=self.training` there")
    assert (nan.layer, "in 3 of 60 images" in nan.evidence) == ("sqrt", True)


class RootBehind(Root):
    """Makes NaN of the dark images behind the last feature maps, in the answer alone."""

    def __init__(self, masked: bool = False) -> None:
        super().__init__()
        self.masked = masked

    def forward(self, x: Tensor) -> Tensor:
        logits = F.relu(self.last(F.relu(self.conv(x)))).mean((2, 3))
        if self.masked:
            return logits.masked_fill(torch.tensor([False, True, False]), float("-inf"))
        return logits + (x.mean() - 0.1).sqrt()


def test_an_answer_that_is_not_finite_is_named():
    torch.manual_seed(0)
    images = [torch.rand(1, 8, 8) * (number % 20 > 0) for number in range(60)]
    net = Network(RootBehind(), (1, 1, 8, 8))
    assert scan(net, images).bad == dict.fromkeys(
        ("image 0", "image 20", "image 40"), "the network's activations are not finite from sqrt on"
    )
    (found,) = (f for f in diagnose(net, images, budget=0).findings if f.kind == "not finite")
    assert (found.layer, "in 3 of 60 images" in found.evidence) == ("sqrt", True)
    note = "values are not finite from layer 'sqrt' on"
    dark, bright = images[0][None], images[1][None]
    assert note in attribute(net, dark, 1).notes
    told = f"of the baseline, {note}: give another"
    assert told in attribute(net, bright, 1, method="deeplift").notes
    assert note not in attribute(net, bright, 1, method="deeplift").notes
    assert note in trace_unit(net, dark, "add", 1).notes
    assert note not in (*attribute(net, bright, 1).notes, *trace_unit(net, bright, "add", 1).notes)


class Shares(nn.Module):
    """Divides by an image's mean, which makes NaN of a black one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        shares = F.max_pool2d(F.relu(self.first(x)) / x.mean((1, 2, 3), keepdim=True), 2)
        return F.relu(self.last(shares)).mean((2, 3))


def test_what_compares_with_an_image_refuses_one_that_the_network_makes_nan_of():
    torch.manual_seed(0)
    net, good, black = Network(Shares(), (1, 1, 16, 16)), torch.rand(1, 1, 16, 16), "black"
    images, titles = torch.cat([good, 0 * good]), ["bright", black]
    why = "black: values are not finite from layer 'div' on"
    parts = [Part(place, "corner", (0, 0, 4, 4)) for place in range(2)]
    calls = (
        lambda: sanity(net, images[1:], title=black),
        lambda: sanity(net, images[1:], layer="last", title=black),
        lambda: sanity(net, good, other=images[1:]),
        lambda: invariance(net, images, "last", titles=titles),
        lambda: correspondence(net, parts, images, "last", titles=titles),
    )
    for call, told in zip(calls, [why, why, why.replace(black, "image"), why, why], strict=True):
        with pytest.raises(DataError, match=f"^{told}$"):
            call()
    note = why.removeprefix("black: ")
    assert note in checkerboard(net, images[1:], "last").notes
    assert note not in checkerboard(net, good, "last").notes
    whole = [Part(place, "all", (0, 0, 16, 16)) for place in range(2)]
    with pytest.raises(DataError, match=r"^image 1 with a box hidden: values are not"):
        correspondence(net, whole, torch.cat([good, 1 - good]), "last", fill=black)


def test_a_changed_image_that_the_network_makes_nan_of_has_no_answer():
    torch.manual_seed(0)
    net, image = Network(Shares(), (1, 1, 16, 16)), torch.rand(1, 1, 16, 16)
    given = {"translation": [0, 16.0]}
    found = invariance(net, image, "last", "translation", amounts=given, fill="black")
    assert found.predicted is not None
    assert found.predicted[0, 0].tolist() == [found.targets[0], -1]
    assert found.distance[0, 0, 0].isnan().tolist() == [False, True]
    note = "values are not finite from layer 'div' on"
    assert note in found.notes
    assert note in found.summary().splitlines()
    sane = invariance(net, image, "last", "translation", amounts=given)
    assert note not in sane.notes


def test_a_unit_that_answers_nothing_finite_is_noted_and_its_picture_kept():
    torch.manual_seed(0)

    class Below(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.log(x - 100)

    net = Network(nn.Sequential(nn.Conv2d(1, 2, 3), Below()), (1, 1, 9, 9))
    found = visualize(net, "1", [0], steps=2)
    assert found.activation.isnan().all()
    assert found.pixels.isfinite().all()
    assert "values are not finite from layer '1' on" in found.notes
    assert visualize(net, "0", [0], steps=2).notes == net.notes


def test_a_class_that_is_ruled_out_by_infinity_leaves_no_image_out():
    torch.manual_seed(0)
    net = Network(RootBehind(masked=True), (1, 1, 8, 8))
    images = torch.rand(3, 1, 8, 8)
    assert scan(net, list(images)).bad == {}
    kept = invariance(net, images, "last", "scale", steps=2)
    assert (kept.predicted >= 0).all()
    assert kept.notes == net.notes
    assert sanity(net, images[:1], seeds=1, others=1).table()


def test_methods_take_images_of_another_size():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net, images = Network(module, (1, 3, 8, 8)), torch.rand(2, 3, 14, 11)
    same = Network(module, images[:1])
    found, expected = (project(n, images, "1", [0, 3]) for n in (net, same))
    assert torch.equal(found.pixels, expected.pixels)
    found, expected = (occlude(n, images[:1], patch=4, stride=2, target=1) for n in (net, same))
    assert torch.equal(found.logit, expected.logit)


def test_tensors_of_one_value_do_not_make_a_window_whole():
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            maps = self.conv(x)
            edge = maps.new_zeros(maps.shape[2:])
            edge[1:3, 2:4] = 1.0
            return F.relu(maps * edge + torch.zeros_like(maps) + maps.new_full((4, 1, 1), 2.0))

    torch.manual_seed(0)
    module, images = Shifted(), torch.randn(2, 3, 9, 9)
    net = Network(module, images[:1])
    assert net.graph.batched
    assert net.layers["relu"].receptive_field == (3, 3)
    torch.testing.assert_close(net(images), module(images))
