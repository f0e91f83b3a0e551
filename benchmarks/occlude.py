"""Occlusion sensitivity at 224x224, patch 16, stride 8: convscope beside captum, in one run.

    python benchmarks/occlude.py [--networks vgg16 resnet18 squeezenet1_1] [--rounds 5]
                                   [--sample 32] [--stride 8]
    python benchmarks/occlude.py --side 32 [--networks NAME ...] [--stride 2]

Both run on the same random weights (seed 0) and the same image, in turn. convscope computes all
positions of the grid, borders and centre alike. captum's Occlusion recomputes the whole network for
every position, so each costs the same: the first ones (a sample whose size is printed) are timed,
from the end of its clean pass on, at the best number of perturbations a pass among those tried. The
floor counts the multiply-adds in the windows that each patch touches, cut off at the borders, at
the rate that this machine reaches on one convolution alone.

With --side, networks of torchvision are occluded at inputs of so many pixels: the processor's time
on one thread by windows alone, by whole passes alone, and by `exact`, which chooses by counted
cost. The least of three rounds, in turn, is taken.
"""

import argparse
import platform
import resource
import statistics
import sys
import time

import numpy as np
import torch
from captum.attr import Occlusion
from torch import Tensor, nn

import convscope as cs
from convscope.methods.occlude.passes import WindowedPasses
from convscope.methods.occlude.patches import grid
from convscope.network.windows.grouping import costs_of, grouped
from convscope.network.windows.windowed import WindowedWalk
from timing import arithmetic_rate, clock

PATCH = 16
AT_ONCE = (1, 4, 8, 16, 32)
SMALL = (
    "vgg11", "vgg16_bn", "resnet18", "resnet50", "wide_resnet50_2", "resnext50_32x4d",
    "densenet121", "squeezenet1_0", "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small",
    "mobilenet_v3_large", "mnasnet0_5", "mnasnet1_0", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0",
    "efficientnet_b0", "regnet_y_400mf", "regnet_x_400mf", "convnext_tiny",
)  # fmt: skip


class EnoughError(Exception):
    """Stops captum after the positions that are timed."""


class Block(nn.Module):
    """Two convolutions and a way around them (He et al., arXiv 1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both ways."""
        maps = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(maps + self.shortcut(x))


def resnet18() -> nn.Module:
    """Return ResNet-18 with random weights."""
    torch.manual_seed(0)
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    layers: list[nn.Module] = [*stem, nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(channels, outputs, stride), Block(outputs, outputs, 1)]
        channels = outputs
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
    return nn.Sequential(*layers).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["vgg16", "resnet18", "squeezenet1_1"])
    parser.add_argument("--rounds", type=int, default=5, help="each times both once")
    parser.add_argument("--sample", type=int, default=32, help="positions timed of captum")
    parser.add_argument("--stride", type=int, default=8)
    parser.add_argument(
        "--side", type=int, help="of networks of torchvision, whose choice is timed"
    )
    options = parser.parse_args()
    if options.side:
        named = options.networks if "--networks" in sys.argv else SMALL
        print_choices(named, options.side, options.stride)
        return
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
          f"torch {torch.__version__}")  # fmt: skip
    rate = arithmetic_rate()
    print(f"arithmetic: {rate / 1e9:.0f} billion multiply-adds a second, on conv3 at 56x56")
    for name in options.networks:
        module = resnet18() if name == "resnet18" else cs.load(name, weights="random").module
        net = cs.Network(module, image, name=name)
        measure(net, image, options.stride, options.sample, options.rounds, rate)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak resident memory of both, weights included: {peak:.2f} GiB")


def print_choices(names: list[str], side: int, stride: int) -> None:
    """Print the processor's seconds by windows, by whole passes, and by the choice of the two."""
    torch.set_num_threads(1)
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    chosen = WindowedPasses._pays
    print(f"{side} x {side} pixels, stride {stride}, torch {torch.__version__}")
    print("| network | windows, s | whole passes, s | `exact`, s | `exact` to the better |")
    worst = 0.0
    for name in names:
        net = cs.load(f"torchvision:{name}", weights="random", size=f"3,{side},{side}")
        times: dict[str, list[float]] = {"windows": [], "full": [], "exact": []}
        for _ in range(3):
            for way, own in times.items():
                WindowedPasses._pays = (lambda *_: True) if way == "windows" else chosen
                began = time.process_time()
                method = "full" if way == "full" else "exact"
                cs.occlude(net, image, stride=stride, target=0, method=method)
                own.append(time.process_time() - began)
        windows, full, exact = (min(own) for own in times.values())
        worst = max(worst, exact / min(windows, full))
        print(f"| {name} | {windows:.2f} | {full:.2f} | {exact:.2f} | "
              f"{exact / min(windows, full):.2f} |", flush=True)  # fmt: skip
    print(f"at most {worst:.2f} times the better")


def measure(
    net: cs.Network, image: Tensor, stride: int, sample: int, rounds: int, rate: float
) -> None:
    positions = grid((224, 224), (PATCH, PATCH), (stride, stride)).reshape(-1, 4)
    whole, floor, planned = counted(net, positions)
    print(
        f"\n{net.name}: {len(positions)} positions; multiply-adds a position, in billions: "
        f"{whole / 1e9:.3f} recomputed, {floor / 1e9:.3f} counted in windows "
        f"({whole / floor:.1f} times fewer), {planned / 1e9:.3f} in batches of like windows"
    )
    at_once, tried = best_at_once(net.module, image, stride, sample)
    print("captum, seconds a position by perturbations a pass: "
          + ", ".join(f"{n}: {seconds:.4f}" for n, seconds in tried.items()))  # fmt: skip

    def ours() -> None:
        cs.occlude(net, image, PATCH, stride, 0.0, target=0)

    ours()
    times = []
    for _ in range(rounds):
        peer = peer_seconds(net.module, image, stride, sample, at_once)
        times.append((peer, clock(ours) / len(positions)))
    ratios = [peer / own for peer, own in times]
    peer, own = (statistics.median(column) for column in zip(*times, strict=True))
    print(
        f"captum {peer:.4f} s a position (timed on {sample}), ours {own:.4f} (on all "
        f"{len(positions)}), ratio {statistics.median(ratios):.1f} "
        f"({min(ratios):.1f}-{max(ratios):.1f}); floor {floor / rate:.4f} s, "
        f"ours/floor {own * rate / floor:.2f}",
        flush=True,
    )
    check(net, image)


def counted(net: cs.Network, positions: np.ndarray) -> tuple[float, float, float]:
    """Return the multiply-adds a position: recomputed, in windows, and in batches of windows."""
    graph = net.graph
    walk = WindowedWalk(graph, {}, [graph.output])
    costs = [0, *(step.operation.multiply_adds(step.call) for step in graph.steps[1:])]
    area, windowable = walk.sizes.prod(axis=1), np.array(walk.windowable)
    each = np.where(windowable, np.array(costs) / area, 0.0)
    rest = sum(cost for cost, window in zip(costs, walk.windowable, strict=True) if not window)
    rows, columns = walk.spans(positions)
    heights, widths = (np.maximum(s[:, :, 1] - s[:, :, 0] + 1, 1) for s in (rows, columns))
    total = 0.0
    for batch in grouped(rows, columns, costs_of(walk), 48):
        windows = heights[:, batch].max(axis=1) * widths[:, batch].max(axis=1)
        total += len(batch) * float(each @ windows)
    floor = float((each @ (heights * widths)).mean())
    return float(sum(costs)), floor + rest, total / len(positions) + rest


def best_at_once(
    module: nn.Module, image: Tensor, stride: int, sample: int
) -> tuple[int, dict[int, float]]:
    """Return the number of perturbations a pass at which captum is fastest, and all times."""
    tried = {n: peer_seconds(module, image, stride, max(sample, n), n) for n in AT_ONCE}
    return min(tried, key=tried.__getitem__), tried


def peer_seconds(module: nn.Module, image: Tensor, stride: int, sample: int, at_once: int) -> float:
    """Return captum's seconds a position, over the first *sample* positions."""
    seen, began, ended = -1, 0.0, 0.0  # the clean image comes first

    def forward(images: Tensor) -> Tensor:
        nonlocal seen, began, ended
        if seen >= sample:
            raise EnoughError
        logits = module(images)
        ended = time.perf_counter()
        if seen < 0:
            seen, began = 0, ended
        else:
            seen += len(images)
        return logits

    try:
        with torch.no_grad():
            Occlusion(forward).attribute(
                image, (3, PATCH, PATCH), strides=(3, stride, stride), baselines=0.0, target=0,
                perturbations_per_eval=at_once,
            )  # fmt: skip
    except EnoughError:
        pass
    return (ended - began) / seen


def check(net: cs.Network, image: Tensor) -> None:
    """Compare the two maps at a few positions, cut-off patches included."""
    size, stride = 80, 60
    with torch.no_grad():
        expected = Occlusion(net.module).attribute(
            image, (3, size, size), strides=(3, stride, stride), baselines=0.0, target=0,
            perturbations_per_eval=4,
        )[0, 0]  # fmt: skip
    found = cs.occlude(net, image, size, stride, 0.0, target=0)
    spread = (found.logit.max() - found.logit.min()).item()
    difference = (found.heatmap("logit") - expected).abs().max().item() / spread
    print(f"largest difference of the maps, patch {size}, stride {stride}: {difference:.1e} of the "
          f"logits' range", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
