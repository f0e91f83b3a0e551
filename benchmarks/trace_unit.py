"""A tree of 5 x 5 x 5 channels below a unit of VGG16's last layer, beside passes of the network.

    python benchmarks/trace_unit.py [--rounds 3]

A pass is one image forward and its gradient backward in plain torch, by the weights too, as a step
of training has it; or by the image alone.
"""

import argparse
import platform
import statistics
from pathlib import Path

import torch

import convscope as cs
from convscope import samples
from timing import clock

LAYER, CHANNEL = "features.29", 286


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    net = cs.load("vgg16_features")
    image = net.preprocess(Path(samples.__file__).with_name("cat.jpg"))
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    ratios: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(options.rounds):
        tree = clock(lambda: cs.trace_unit(net, image, LAYER, CHANNEL))
        for weights, found in ratios.items():
            net.module.requires_grad_(requires_grad=weights)
            found.append(tree / clock(lambda: backward(net, image)))
    for weights, found in ratios.items():
        whose = "image and weights" if weights else "image alone"
        spread = f"{min(found):.1f} to {max(found):.1f}"
        print(f"{statistics.median(found):.1f} passes ({spread}), backward to {whose}")


def backward(net: cs.Network, image: torch.Tensor) -> None:
    """Run the network forward and backward."""
    output = net.module(image.clone().requires_grad_())
    output.sum().backward()


if __name__ == "__main__":
    main()
