"""Relevance of a class's score, convscope beside zennit, in one run: how alike, and how fast.

    pip install --no-deps zennit
    python benchmarks/rules.py [--rounds 5] [--networks vgg16 vgg16_bn]

Both run on the same random weights (seed 0) and the same image of noise. How alike they are is
measured in float64 (zennit merges batch norms but for their epsilon, which is zero here), the time
in float32, in turn: one image up, one class down. Units of conv3_3 come besides, 64 of one image,
of which zennit takes a pass each.
"""

import argparse
import copy
import platform
import statistics
import sys
import types
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

import convscope as cs
from timing import clock

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from test_relevance import composite, without_torchvision

RULES = [
    "epsilon", "gamma", "z-plus", "alpha2-beta1", "epsilon-plus", "epsilon-plus-flat",
    "epsilon-gamma-box", "epsilon-alpha2-beta1", "epsilon-alpha2-beta1-flat", "excitation",
]  # fmt: skip
CLASS, UNITS = 7, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", nargs="+", default=["vgg16", "vgg16_bn"])
    parser.add_argument("--rules", nargs="+", default=RULES)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
          f"torch {torch.__version__}")  # fmt: skip
    with without_torchvision():
        peer = import_module("zennit.composites")

        for name in options.networks:
            net = plainly(name)
            for rule in options.rules:
                compare(peer, net, rule, options.rounds)
            units(peer, net, options.rounds)


def plainly(name: str) -> cs.Network:
    """Return a network whose ReLUs make maps of their own, which zennit's hooks need."""
    module = cs.load(name, weights="random").module
    for part in module.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = False
        if isinstance(part, nn.BatchNorm2d):
            part.eps = 0.0
    return cs.Network(module, (1, 3, 224, 224), name=name, preprocess="imagenet")


def noise(seed: int = 0) -> Tensor:
    return torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(seed))


def theirs(peer: types.ModuleType, net: cs.Network, rule: str, image: Tensor) -> Tensor:
    with composite(peer, rule, net).context(net.module) as module:
        inputs = image.clone().requires_grad_()
        scores = module(inputs)
        relevance = torch.zeros_like(scores)
        relevance[:, CLASS] = scores[:, CLASS].detach()
        return torch.autograd.grad(scores, inputs, relevance)[0]


def compare(peer: types.ModuleType, net: cs.Network, rule: str, rounds: int) -> None:
    exact = cs.Network(copy.deepcopy(net.module).double(), (1, 3, 224, 224), preprocess="imagenet")
    image = noise().double()
    own = cs.attribute(exact, image, CLASS, method=rule).pixels[:, 0]
    other = theirs(peer, exact, rule, image)
    off = float((own - other).abs().max() / other.abs().max())
    times: list[tuple[float, float]] = []
    for turn in range(rounds + 1):
        shown = noise(turn)
        pair = (
            clock(lambda shown=shown: theirs(peer, net, rule, shown)),
            clock(lambda shown=shown: cs.attribute(net, shown, CLASS, method=rule)),
        )
        times += [pair] if turn else []
    line(net.name, rule, off, times)


def units(peer: types.ModuleType, net: cs.Network, rounds: int) -> None:
    """Time units of conv3_3, each at its channel's peak, under epsilon-plus."""
    layer = [name for name, one in net.layers.items() if one.op == "rectifier"][6]
    channels, image = list(range(UNITS)), noise()
    found = cs.project(net, image, layer, channels, rule="epsilon-plus")
    features = nn.Sequential(*list(net.module.features)[: int(layer.split(".")[-1]) + 1])

    def unit(k: int) -> Tensor:
        row, column = found.position[0, k].tolist()
        with composite(peer, "epsilon-plus", net).context(features) as module:
            inputs = image.clone().requires_grad_()
            maps = module(inputs)
            relevance = torch.zeros_like(maps)
            relevance[0, k, row, column] = maps[0, k, row, column].detach()
            return torch.autograd.grad(maps, inputs, relevance)[0]

    active = [k for k in channels if found.activation[0, k] > 0]
    off = max(
        float((found.pixels[0, k] - unit(k)[0]).abs().max() / found.pixels[0, k].abs().max())
        for k in active[:3]
    )
    times = [
        (
            UNITS * clock(lambda turn=turn: unit(active[turn % len(active)])),
            clock(lambda: cs.project(net, image, layer, channels, rule="epsilon-plus")),
        )
        for turn in range(rounds)
    ]
    line(net.name, f"{UNITS} units of {layer}", off, times)


def line(network: str, rule: str, off: float, times: list[tuple[float, float]]) -> None:
    peer, own = (statistics.median(column) for column in zip(*times, strict=True))
    ratios = sorted(a / b for a, b in times)
    print(f"{network:9} {rule:26} apart {off:.1e}  zennit {peer:7.2f} s  ours {own:7.2f} s  "
          f"{statistics.median(ratios):5.2f} times ({ratios[0]:.2f}-{ratios[-1]:.2f})",
          flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
