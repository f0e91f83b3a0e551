"""Single units brought down through VGG16 at 224x224: convscope beside captum, in one run.

    python benchmarks/windows.py [--channels 32] [--peers 3] [--rounds 3]

Both run on the same random weights (seed 0), the same image and the same units: the peak of each
channel, for channels sampled evenly from each of the 13 convolutional layers. captum's
NeuronDeconvolution takes one unit a call, and each call runs the network up and down; convscope
goes up once for all units of a layer. So a layer's time is, for captum, its channels times a
call's median; for convscope, one way up, and its channels times what each sampled unit took
beyond that. Each column is that time over the layer's channels. The floor counts the multiply-adds
of the units' windows, cut at the borders of every map, at the rate of one convolution alone.
"""

import argparse
import math
import platform
import resource
import statistics
import time
import warnings

import torch
from captum.attr import NeuronDeconvolution
from torch import Tensor

import convscope as cs
from convscope.network.ops import Convolution
from convscope.network.rules import RULES
from convscope.network.walk import ascend
from convscope.network.windows.cones import Cones
from timing import arithmetic_rate, clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=32, help="channels a layer for convscope")
    parser.add_argument("--peers", type=int, default=3, help="units a layer and round for captum")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; each times both in turn")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="Setting backward hooks|Input Tensor 0 did not")
    net = cs.load("vgg16", weights="random")
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
          f"torch {torch.__version__}")  # fmt: skip
    rate = arithmetic_rate()
    print(f"arithmetic: {rate / 1e9:.0f} billion multiply-adds a second, on conv3 at 56x56")
    print(f"{'layer':12} {'captum s':>9} {'ours s':>8} {'ratio':>6} {'(min-max)':>13} "
          f"{'floor s':>8} {'ours/floor':>10} {'largest difference':>19}")  # fmt: skip
    layers = [name for name, layer in net.layers.items() if layer.op == "convolution"]
    totals = [0.0, 0.0, 0.0]
    for layer in layers:
        found = measure(net, image, layer, options, rate)
        channels = net.layers[layer].shape[0]
        totals = [t + channels * seconds for t, seconds in zip(totals, found, strict=True)]
    count = sum(net.layers[layer].shape[0] for layer in layers)
    peer, own, floor = totals
    print(f"all {count} channels: captum {peer:.0f} s, ours {own:.0f} s, ratio "
          f"{peer / own:.1f}; floor {floor:.0f} s, ours / floor {own / floor:.2f}")  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak resident memory of both, weights (0.52 GiB) included: {peak:.2f} GiB")


def measure(
    net: cs.Network, image: Tensor, layer: str, options: argparse.Namespace, rate: float
) -> tuple[float, float, float]:
    """Print one layer's row, and return the seconds a channel of captum, of ours and the floor."""
    count = net.layers[layer].shape[0]
    chosen = [i * count // options.channels for i in range(options.channels)]

    def ours() -> cs.Projection:
        return cs.project(net, image, layer, chosen)

    found = ours()
    places = found.position[0].tolist()
    peers, owns, difference = [], [], 0.0
    for turn in range(options.rounds):
        up = clock(lambda: ascend(net.graph, image, [net.step(layer)], RULES["deconvnet"]))
        owns.append(up / count + (clock(ours) - up) / len(chosen))
        for extra in range(options.peers):
            k = (turn * options.peers + extra) * len(chosen) // (options.rounds * options.peers)
            began = time.perf_counter()
            pixels = peer_pixels(net, layer, image, chosen[k], *places[k])
            peers.append(time.perf_counter() - began)
            scale = pixels.abs().max().clamp(min=1e-30)
            difference = max(difference, ((found.pixels[0, k] - pixels).abs().max() / scale).item())
    peer, own = statistics.median(peers), statistics.median(owns)
    floor = multiply_adds(net, layer, places) / len(chosen) / rate
    spread = f"({min(peers) / max(owns):.1f}-{max(peers) / min(owns):.1f})"
    print(f"{layer:12} {peer:9.3f} {own:8.4f} {peer / own:6.1f} {spread:>13} {floor:8.4f} "
          f"{own / floor:10.2f} {difference:19.1e}", flush=True)  # fmt: skip
    return peer, own, floor


def peer_pixels(
    net: cs.Network, layer: str, image: Tensor, channel: int, row: int, column: int
) -> Tensor:
    """Return captum's deconvolution of one unit, started at its activation as ours is."""
    method = NeuronDeconvolution(net.module, net.module.get_submodule(layer))
    selector = lambda out: out[:, channel, row, column] ** 2 / 2  # noqa: E731
    return method.attribute(image, selector).detach()[0]


def multiply_adds(net: cs.Network, layer: str, places: list[list[int]]) -> int:
    """Count the multiply-adds of the transposed convolutions onto the units' windows.

    One for each weight and position that is written; the first step is one kernel alone.
    """
    rows, columns = torch.tensor(places).T.numpy()
    start = net.step(layer)
    cones = Cones(net.graph, net.receptive_fields, start, rows, columns)
    total = 0
    for unit in range(len(places)):
        placements = cones.placements(unit, unit + 1)
        for index, step in enumerate(net.graph.steps):
            if index in placements and isinstance(step.operation, Convolution):
                assert step.call is not None
                weights = step.call.arguments["weight"].numel()
                written = math.prod(placements[step.inputs[0]].size)
                total += weights // step.shape[1] if index == start else weights * written
    return total


if __name__ == "__main__":
    main()
