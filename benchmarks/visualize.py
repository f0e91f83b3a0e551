"""Units of VGG16's conv3_3 drawn by gradient ascent, beside the same loop on whole images.

    python benchmarks/visualize.py [--units 64] [--steps 128] [--rounds 3]

The peer is what one writes in plain torch: whole images of 224 pixels through the layers up to
conv3_3, the middle unit of a channel each, 4 images at a time so that their maps fit the memory;
the same frequencies and Adam. Its steps are all alike, so a few are timed and multiplied.
"""

import argparse
import platform
import statistics

import torch
from torch import nn

import convscope as cs
from timing import clock

LAYER, SIDE, TOGETHER, TIMED = "features.15", 224, 4, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    net = cs.load("vgg16_features")
    net.module.requires_grad_(requires_grad=False)
    channels = list(range(options.units))
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    ratios = []
    for _ in range(options.rounds):
        own = clock(lambda: cs.visualize(net, LAYER, channels, steps=options.steps))
        few = clock(lambda: whole_images(net, channels[:TOGETHER], TIMED))
        peer = few / TIMED * options.steps * options.units / TOGETHER
        ratios.append(peer / own)
        print(f"ours {own:.1f} s, whole images {peer:.0f} s (by {TIMED} steps), {peer / own:.1f} x")
    print(f"median {statistics.median(ratios):.1f} x ({min(ratios):.1f} to {max(ratios):.1f})")


def whole_images(net: cs.Network, channels: list[int], steps: int) -> None:
    """Drive the middle unit of each channel with a whole image, in plain torch."""
    module = nn.Sequential(*list(net.module.features)[: int(LAYER.split(".")[1])])
    shape = len(channels), 3, SIDE, SIDE // 2 + 1, 2
    spectrum = (torch.randn(shape) * 0.01).requires_grad_()
    rows, columns = torch.fft.fftfreq(SIDE)[:, None], torch.fft.rfftfreq(SIDE)[None]
    share = SIDE / (rows**2 + columns**2).sqrt().clamp(min=1 / SIDE)
    optimizer = torch.optim.Adam([spectrum], lr=0.05)
    for _ in range(steps):
        pixels = torch.fft.irfft2(torch.view_as_complex(spectrum) * share, s=(SIDE, SIDE)).sigmoid()
        maps = module(net.preprocess.to_inputs(pixels))
        middle = maps[range(len(channels)), channels, maps.shape[2] // 2, maps.shape[3] // 2]
        optimizer.zero_grad()
        (-middle.sum()).backward()
        optimizer.step()


if __name__ == "__main__":
    main()
