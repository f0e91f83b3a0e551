"""How few bits a weight of the bundled VGG16 can have before its pictures change.

    python benchmarks/weight_bits.py FOLDER_OF_PICTURES

Each weight is rounded to 8 bits with one scale a filter, and the projections of the three channels
that are strongest in each of 20 pictures are held against those of half precision: the largest
difference of a pixel over the largest value, and whether the peak lies where it did.
"""

import argparse
import copy
from pathlib import Path

import torch
from torch import Tensor

import convscope as cs

LAYERS = {"conv2_2": 8, "conv3_3": 15, "conv4_3": 22, "conv5_3": 29}
PICTURES, CHANNELS, LEVELS = 20, 3, 127


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path)
    arguments = parser.parse_args()
    half = cs.load("vgg16_features")
    module = copy.deepcopy(half.module)
    module.load_state_dict({name: rounded(w) for name, w in module.state_dict().items()})
    eight = cs.Network(module, half.input_shape, preprocess=half.preprocess)
    files = sorted(arguments.pictures.iterdir())
    paths = files[:: len(files) // PICTURES][:PICTURES]
    print("| layer | median | 90 % | worst | within 1 % | peak moved |")
    for name, number in LAYERS.items():
        layer = f"features.{number}"
        differences, moved = [], 0
        for path in paths:
            wanted = cs.project(half, path, layer, top=CHANNELS)
            got = cs.project(eight, path, layer, wanted.channels)
            off = (got.pixels - wanted.pixels).abs().amax((2, 3, 4))
            differences.append(off / wanted.pixels.abs().amax((2, 3, 4)))
            moved += int((got.position != wanted.position).any(2).sum())
        all_of = torch.cat(differences).flatten()
        median, ninth = all_of.quantile(0.5), all_of.quantile(0.9)
        within = int((all_of <= 0.01).sum())
        print(
            f"| {name} | {median:.2%} | {ninth:.2%} | {all_of.max():.2%} "
            f"| {within} of {len(all_of)} | {moved} |"
        )


def rounded(weight: Tensor) -> Tensor:
    """Return weights as 8 bits hold them, one scale a filter; biases as they are."""
    if weight.ndim < 2:
        return weight
    scale = weight.abs().amax((1, 2, 3), keepdim=True) / LEVELS
    return (weight / scale).round() * scale


if __name__ == "__main__":
    main()
