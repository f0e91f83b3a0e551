"""Networks, images and units drawn at random, and a slow account of their projections.

The account is torch's own derivative in float64, one unit at a time through the module that the
user gave, with every rectifier's reverse taken from the oracle. It shares no code with convscope.
"""

import copy
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import oracle
from convscope.loading import load
from convscope.methods.descents import project_units
from convscope.methods.project import project
from convscope.network import Network
from convscope.network.ops import Rectifier
from convscope.network.rules import RULES
from convscope.network.windows.cone_descent import Units

EXACT = 1e-9
"""How far a projection may be off, as a share of its largest pixel, in float64."""

SIGNALS = sorted(
    name for name, rule in RULES.items() if rule.sees != "output" and not rule.composite
)
"""The rules that bring a signal down value by value; the others have accounts of their own."""


class Branches(nn.Module):
    """Several ways through, whose outputs are joined by *join*."""

    def __init__(self, join: Callable[[list[Tensor]], Tensor], *ways: nn.Module) -> None:
        super().__init__()
        self.join, self.ways = join, nn.ModuleList(ways)

    def forward(self, x: Tensor) -> Tensor:
        return self.join([way(x) for way in self.ways])


class Function(nn.Module):
    """A function of one tensor as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def summed(parts: list[Tensor]) -> Tensor:
    return sum(parts[1:], parts[0])


def cropped_and_summed(parts: list[Tensor]) -> Tensor:
    height, width = (min(part.shape[axis] for part in parts) for axis in (2, 3))
    return summed([part[:, :, :height, :width] for part in parts])


def gated(parts: list[Tensor]) -> Tensor:
    return parts[0] * parts[1]


def joined(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts, 1)


def convolution(rng: random.Random, inputs: int, outputs: int, kernel: int = 0) -> nn.Module:
    """Draw a convolution, mostly with the padding that keeps its map's size."""
    kernel = kernel or rng.choice([1, 3, 3, 3, 5, 2])
    dilation = rng.choice([1, 1, 1, 2]) if kernel > 1 else 1
    groups = 2 if rng.random() < 0.2 and not inputs % 2 and not outputs % 2 else 1
    same = dilation * (kernel - 1) // 2
    padding = rng.choice([same, same, same, 0, same + 1])
    stride = rng.choice([1, 1, 1, 1, 2, 3]) if kernel > 1 else 1
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups)


def keeping(inputs: int, outputs: int, kernel: int) -> nn.Module:
    """Return a convolution that keeps its map's size."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


def rectifier(rng: random.Random) -> nn.Module:
    return rng.choice([nn.ReLU, nn.ReLU, nn.ReLU, nn.ReLU6, lambda: nn.LeakyReLU(0.2)])()


def pool(rng: random.Random) -> nn.Module:
    kernel = rng.choice([2, 2, 3])
    options = {"stride": rng.choice([2, 2, 2, 1, 3]), "padding": rng.choice([0, 0, 1])}
    ceil = rng.random() < 0.3
    if rng.random() < 0.7:
        return nn.MaxPool2d(kernel, ceil_mode=ceil, **options)
    return nn.AvgPool2d(kernel, ceil_mode=ceil, **options)


def enlarging(rng: random.Random, channels: int) -> nn.Module:
    """Draw a transposed convolution or an upsampling."""
    kind = rng.randrange(5)
    if kind == 0:
        return nn.Upsample(scale_factor=2)
    if kind == 1:
        return nn.Upsample(scale_factor=2, mode="bilinear")
    if kind == 2:
        return nn.ConvTranspose2d(channels, channels, 3, 2, 1, 1)
    if kind == 3:
        return nn.ConvTranspose2d(channels, channels, 2, 2)
    return nn.ConvTranspose2d(channels, channels, 3, 1, 1, groups=channels)


def branched(rng: random.Random, inputs: int, outputs: int) -> tuple[nn.Module, int]:
    """Draw a skip, a concatenation, an hourglass or a gate; return it with its channels."""
    kind = rng.randrange(4)
    if kind == 0:
        body = nn.Sequential(keeping(inputs, inputs, 3), nn.ReLU(), keeping(inputs, outputs, 3))
        return Branches(summed, body, keeping(inputs, outputs, 1)), outputs
    if kind == 1:
        pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), keeping(inputs, 2, 1))
        parts = keeping(inputs, outputs, 3), keeping(inputs, outputs, 1), pooled
        return Branches(joined, *parts), 2 * outputs + 2
    if kind == 2:
        down = keeping(inputs, outputs, 3), nn.MaxPool2d(2, ceil_mode=True), nn.ReLU()
        body = nn.Sequential(*down, keeping(outputs, outputs, 3), enlarging(rng, outputs))
        return Branches(cropped_and_summed, body, keeping(inputs, outputs, 1)), outputs
    gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, inputs, 1), nn.Sigmoid())
    return Branches(gated, nn.Identity(), gate), inputs


def network(rng: random.Random, channels: int, most: int) -> nn.Module:
    """Draw a network of two to ten blocks, in float64, with lively weights and statistics."""
    torch.manual_seed(rng.randrange(2**31))
    parts: list[nn.Module] = []
    for _ in range(rng.randint(2, 10)):
        outputs = rng.randint(max(2, most // 4), most // 2) * 2
        kind = rng.random()
        if kind < 0.62:
            body = [convolution(rng, channels, outputs) if rng.random() < 0.5
                    else keeping(channels, outputs, 3)]  # fmt: skip
            if rng.random() < 0.25:
                body.append(nn.BatchNorm2d(outputs))
            parts.append(nn.Sequential(*body, rectifier(rng)))
        elif kind < 0.82:
            part, outputs = branched(rng, channels, outputs)
            parts.append(part)
        elif kind < 0.94:
            parts.append(pool(rng))
            outputs = channels
        else:
            parts.append(enlarging(rng, channels))
            outputs = channels
        channels = outputs
    module = nn.Sequential(*parts).double().eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.3)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
            nn.init.normal_(part.weight)
    return module


class _Rectified(torch.autograd.Function):
    """A rectifier that reverses as the oracle says."""

    @staticmethod
    def forward(ctx, value: Tensor, name: str, function: Callable[[Tensor], Tensor], rule: str):
        ctx.save_for_backward(value)
        ctx.said = rule, name
        return function(value)

    @staticmethod
    def backward(ctx, signal: Tensor):
        found = oracle.reverse_rectifier(*ctx.said, signal, *ctx.saved_tensors)
        return found, None, None, None


RECTIFIERS = {
    F.relu: ("relu", torch.relu),
    F.hardtanh: ("relu6", F.relu6),  # as nn.ReLU6 calls it
    F.leaky_relu: ("leaky_relu", lambda x: F.leaky_relu(x, 0.2)),
}
"""What the drawn networks' rectifiers call -> the oracle's name for it, and what it computes."""


class ByRule(TorchFunctionMode):
    """Under which each rectifier reverses as *rule* says."""

    def __init__(self, rule: str) -> None:
        super().__init__()
        self.rule = rule

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func not in RECTIFIERS:
            return func(*args, **(kwargs or {}))
        return _Rectified.apply(args[0], *RECTIFIERS[func], self.rule)


class Account:
    """What single units of a layer, and whole maps of it, come down to at their image."""

    def __init__(self, module: nn.Module, layer: str, images: Tensor, rule: str) -> None:
        part = module.get_submodule(layer)
        self.images = [image[None].clone().requires_grad_() for image in images]
        self.maps: list[Tensor] = []
        hook = part.register_forward_hook(lambda module, inputs, out: self.maps.append(out))
        try:
            with torch.enable_grad(), ByRule(rule):
                for image in self.images:
                    module(image)
        finally:
            hook.remove()

    def project(self, image: int, channel: int, *place: int) -> Tensor:
        """Return [C, H, W]: the signal at the image of the unit at *place*, or of all units.

        It starts as the activation.
        """
        start = self.maps[image][(0, channel, *place)]
        (found,) = torch.autograd.grad(
            start, self.images[image], start.detach(), retain_graph=True, allow_unused=True
        )
        return torch.zeros_like(self.images[image][0]) if found is None else found[0]


@dataclass
class Traced:
    """A module with the network that convscope made of it, and the names of its layers of maps."""

    name: str
    module: nn.Module
    net: Network

    @cached_property
    def layers(self) -> list[str]:
        graph = self.net.graph
        children = [name for name, _ in self.module.named_children()]
        return [n for n in children if n in {*graph.modules, *self.net.layers}
                and graph.is_map(self.net.step(n))]  # fmt: skip


def drawn_network(rng: random.Random, size: tuple[int, int]) -> Traced | None:
    """Draw a network and trace it; None where its layers leave nothing of images of *size*."""
    channels = rng.choice([1, 3])
    # Maps of more than 65,536 values are what lets a batch be split for its windows' sake.
    module = network(
        rng, channels, rng.choice([8, 16, 64] if size[0] * size[1] < 1100 else [8, 12])
    )
    example = torch.zeros(1, channels, *size, dtype=torch.float64)
    try:
        with torch.no_grad():
            module(example)
    except RuntimeError:
        return None
    traced = Traced("drawn", module, Network(module, example))
    return traced if traced.layers else None


def trained(name: str, size: int, data: Path | None = None) -> Traced:
    """Return the convolutional part of a trained network, in float64, for images of *size*.

    *name* is "base", which is bundled, or a folder of weights in *data*.
    """
    if name == "base":
        module = load("base").module.features
    else:
        (file,) = (data / name).glob("*.safetensors")
        module = load(name, str(file)).module.features if name == "squeezenet1_1" else vgg16(file)
    module = copy.deepcopy(module).double().eval()
    net = Network(module, torch.zeros(1, 3, size, size, dtype=torch.float64))
    return Traced(f"{name}, {size} pixels", module, net)


def vgg16(file: Path) -> nn.Module:
    """Return VGG16 without its fully connected layers, whose weights *file* does not hold."""
    parts: list[nn.Module] = []
    channels = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            parts += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        parts.append(nn.MaxPool2d(2))
    features = nn.Sequential(*parts)
    weights = load_file(file).items()
    features.load_state_dict({name.removeprefix("features."): value for name, value in weights})
    return features


def drawn_images(rng: random.Random, net: Network) -> Tensor:
    """Draw one to three images of noise, fine or coarse."""
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    channels, height, width = net.input_shape
    count, cell = rng.randint(1, 3), rng.choice([1, 1, 4])
    coarse = torch.randn(count, channels, -(-height // cell), -(-width // cell),
                         generator=generator, dtype=torch.float64)  # fmt: skip
    fine = torch.randn(count, channels, height, width, generator=generator, dtype=torch.float64)
    return F.interpolate(coarse, size=(height, width), mode="bilinear") + 0.1 * fine


@dataclass
class Case:
    """Units of some images, a rule, a memory and a way to ask."""

    traced: Traced
    images: Tensor
    layer: str
    rule: str
    memory: int
    way: str
    places: list[tuple[int, int, int, int]]

    def found(self, places: Sequence[tuple[int, int, int, int]]) -> Tensor:
        """Return [U, C, H, W], the projections of (image, channel, row, column) together."""
        units = Units(self.traced.net.step(self.layer), *torch.tensor(places).T)
        (pixels,) = project_units(
            self.traced.net, self.images, [units], RULES[self.rule], self.memory
        )
        return pixels

    def failures(self) -> list[str]:
        """Return how the units together differ from each alone and from the slow account."""
        account = Account(self.traced.module, self.layer, self.images, self.rule)
        if self.way != "units":
            return self._failures_of_project(account)
        expected = torch.stack([account.project(*place) for place in self.places])
        together = self.found(self.places)
        alone = torch.cat([self.found([place]) for place in self.places])
        return [
            *differences("together", together, expected),
            *differences("alone", alone, expected),
        ]

    def _failures_of_project(self, account: Account) -> list[str]:
        """Compare :func:`project`'s answer for the channels, of peaks or of whole maps."""
        count = len(self.images)
        channels = [[c for i, c, *_ in self.places if i == image] for image in range(count)]
        width = min(map(len, channels))
        chosen = torch.tensor([row[:width] for row in channels])
        p = project(self.traced.net, self.images, self.layer, chosen, rule=self.rule,
                    select=self.way, memory=self.memory)  # fmt: skip
        expected = torch.stack([
            account.project(n, c, *(p.position[n, k].tolist() if self.way == "peak" else ()))
            for n in range(count) for k, c in enumerate(chosen[n].tolist())
        ])  # fmt: skip
        return differences(self.way, p.pixels.flatten(0, 1), expected)


def differences(name: str, found: Tensor, expected: Tensor) -> list[str]:
    """Return a line for each projection that is off by more than rounding."""
    off = (found - expected).abs().amax((1, 2, 3))
    scale = expected.abs().amax((1, 2, 3))
    return [f"{name}: unit {u} is off by {off[u].item():.3g} of {scale[u].item():.3g}"
            for u in range(len(off)) if not off[u] <= EXACT * scale[u]]  # fmt: skip


def drawn_case(rng: random.Random, traced: Traced, most: int = 12) -> Case:
    """Draw what to ask of a network."""
    images, layer = drawn_images(rng, traced.net), rng.choice(traced.layers)
    _, channels, height, width = traced.net.graph.steps[traced.net.step(layer)].shape
    near = rng.choice([0, 1, height, height])

    def place(image: int) -> tuple[int, int, int, int]:
        row, column = rng.randrange(height), rng.randrange(width)
        if near == 0:
            row, column = rng.choice([0, height - 1]), rng.choice([0, width - 1, column])
        elif near == 1:
            row, column = min(row, 2), min(column, 2)
        return image, rng.randrange(channels), row, column

    count = max(len(images), rng.randint(2, most))
    places = [place(n % len(images)) for n in range(count)]
    if rng.random() < 0.3:
        places.append(rng.choice(places))
    rng.shuffle(places)
    # What so many units want where their maps are largest, give or take, or plenty, or nothing.
    largest = max(math.prod(step.shape) for step in traced.net.graph.steps)
    memory = rng.choice([8, 2**30, 2**30, int(8 * 8 * largest * rng.uniform(0.3, count))])
    way = rng.choice(["units", "units", "units", "peak", "map"])
    rectified = any(isinstance(s.operation, Rectifier) for s in traced.net.graph.steps)
    rule = rng.choice(SIGNALS) if rectified else "gradient"  # the others mean nothing there
    return Case(traced, images, layer, rule, memory, way, places)
