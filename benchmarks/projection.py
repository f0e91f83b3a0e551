"""Whole feature maps brought down through VGG16 at 224x224: convscope beside captum, in one run.

    python benchmarks/projection.py [--channels 32] [--rounds 5]

Both run on the same random weights (seed 0), the same image and the same channels, in turn.
captum's NeuronDeconvolution takes one channel a call, and each call runs the network up and down;
convscope goes up once for all channels of a call. The floor counts the multiply-adds that the way
down needs, at the rate that this machine reaches on one convolution alone.
"""

import argparse
import platform
import resource
import statistics
import warnings

import torch
from captum.attr import NeuronDeconvolution
from torch import Tensor, nn

import convscope as cs
from timing import arithmetic_rate, clock

LAYERS = {
    "conv2_2": "features.7",
    "conv3_3": "features.14",
    "conv4_3": "features.21",
    "conv5_3": "features.28",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=32, help="channels a layer for convscope")
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds; each times both once a layer"
    )
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="Setting backward hooks|Input Tensor 0 did not")
    net = cs.load("vgg16", weights="random")
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
          f"torch {torch.__version__}")  # fmt: skip
    rate = arithmetic_rate()
    print(f"arithmetic: {rate / 1e9:.0f} billion multiply-adds a second, on conv3 at 56x56")
    headings = f"{'layer':8} {'captum s':>9} {'ours s':>8} {'ratio':>6} {'(min-max)':>13}"
    print(f"{headings} {'floor s':>8} {'ours/floor':>10}   (seconds a channel)")
    for name, layer in LAYERS.items():
        measure(net, image, name, layer, options.channels, options.rounds, rate)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak resident memory of both, weights (0.52 GiB) included: {peak:.2f} GiB")
    check(image)


def measure(
    net: cs.Network, image: Tensor, name: str, layer: str, channels: int, rounds: int, rate: float
) -> None:
    count = net.layers[layer].shape[0]
    chosen = [i * count // channels for i in range(channels)]

    def ours() -> Tensor:
        return cs.project(net, image, layer, chosen, select="map").pixels

    ours()
    peer_pixels(net.module, layer, image, chosen[0])
    times: list[tuple[float, float]] = []
    for turn in range(rounds):
        channel = chosen[turn % channels]
        peer = clock(lambda channel=channel: peer_pixels(net.module, layer, image, channel))
        times.append((peer, clock(ours) / channels))
    ratios = [peer / own for peer, own in times]
    peer, own = (statistics.median(column) for column in zip(*times, strict=True))
    floor = way_down(net, layer) / rate
    spread = f"({min(ratios):.1f}-{max(ratios):.1f})"
    print(
        f"{name:8} {peer:9.3f} {own:8.4f} {statistics.median(ratios):6.1f} {spread:>13} "
        f"{floor:8.4f} {own / floor:10.2f}",
        flush=True,
    )


def peer_pixels(module: nn.Module, layer: str, image: Tensor, channel: int) -> Tensor:
    """Return captum's deconvolution of one whole map, started at the map itself as ours is."""
    method = NeuronDeconvolution(module, module.get_submodule(layer))
    selector = lambda out: (out[:, channel] * out[:, channel].detach()).sum((1, 2))  # noqa: E731
    return method.attribute(image, selector).detach()


def check(image: Tensor) -> None:
    """Compare the two in double precision, where no rounding decides which unit wins a pool."""
    module = cs.load("vgg16", weights="random").module.double()
    net, image = cs.Network(module, image.double()), image.double()
    for name, layer in LAYERS.items():
        expected = peer_pixels(module, layer, image, 1)[0]
        found = cs.project(net, image, layer, [1], select="map").pixels[0, 0]
        difference = ((found - expected).abs().max() / expected.abs().max()).item()
        print(f"{name:8} largest difference from captum in float64: {difference:.1e}", flush=True)


def way_down(net: cs.Network, layer: str) -> int:
    """Count the multiply-adds of the transposed convolutions from one map down to the image.

    The first of them reads one channel only, so it needs that channel's share.
    """
    names = list(net.layers)
    below = [net.layers[name] for name in names[: names.index(layer) + 1]]
    costs = [item.multiply_adds for item in below if item.op == "convolution"]
    return sum(costs[:-1]) + costs[-1] // below[-1].shape[0]


if __name__ == "__main__":
    main()
