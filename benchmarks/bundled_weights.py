"""Whether the weights that ship with convscope are the published ones, number by number.

    python benchmarks/bundled_weights.py

fetches the files that torchvision publishes of VGG16's features and of SqueezeNet 1.1 (528 and
5 MB; they stay in torch.hub's cache) and prints, tensor by tensor, the largest difference over the
largest value. Half precision moves a number by at most one part in 2,048; anything beyond is an
error, and ends the script with status 1. torchvision's own training of `vgg16` is another network:
the file with the original features is the one meant here.
"""

import argparse
import sys

import torch
from safetensors.torch import load_file
from torch import Tensor

from convscope.models.bundled import bundled_file
from convscope.models.loading import OFFICIAL, fetch
from convscope.models.parts import IMAGENET
from convscope.models.weight_files import read_weights

VGG16 = "https://download.pytorch.org/models/vgg16_features-amdegroot-88682ab5.pth"
VGG16_MEAN = (123.68, 116.779, 103.939)  # red, green, blue in 0..255, as its authors give them
ROUNDING = 2**-11  # of half precision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vgg16", default=VGG16, help="where the features of VGG16 are")
    parser.add_argument("--squeezenet1_1", default=OFFICIAL["squeezenet1_1"])
    arguments = parser.parse_args()
    same = [
        compare("vgg16_features", rewritten(published(arguments.vgg16))),
        compare("squeezenet1_1", published(arguments.squeezenet1_1)),
    ]
    sys.exit(not all(same))


def published(url: str) -> dict[str, Tensor]:
    """Return the tensors of a published file in double precision."""
    tensors = read_weights(fetch(url))
    return {name: tensor.double() for name, tensor in tensors.items()}


def rewritten(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return VGG16's features with a first layer for the preprocessing that the bundled ones have.

    Both give the same answer to a pixel x in 0..1: w' (x - m') / s' + b' = w (255 x - m) + b.
    """
    features = {name: tensor for name, tensor in weights.items() if name.startswith("features.")}
    first, bias = features["features.0.weight"], features["features.0.bias"]
    mean, std = 255 * torch.tensor([IMAGENET.mean, IMAGENET.std], dtype=torch.float64)
    shift = mean - torch.tensor(VGG16_MEAN, dtype=torch.float64)
    features["features.0.bias"] = bias + first.sum((2, 3)) @ shift
    features["features.0.weight"] = first * std[:, None, None]
    return features


def compare(name: str, wanted: dict[str, Tensor]) -> bool:
    """Print how far the bundled weights are from those wanted; return whether only by rounding."""
    kept = load_file(bundled_file(f"{name}.safetensors"))
    bundled = {key: tensor.double() for key, tensor in kept.items()}
    if bundled.keys() != wanted.keys():
        print(f"{name}: only one of the two has {sorted(bundled.keys() ^ wanted.keys())}")
        return False
    same = True
    for key, tensor in wanted.items():
        off = (bundled[key] - tensor).abs()
        # The least normal number's rounding is that of all below it; 1.001: single precision.
        least = torch.finfo(torch.float16).smallest_normal
        allowed = tensor.abs().clamp(min=least) * ROUNDING * 1.001
        beyond = int((off > allowed).sum())
        same &= not beyond
        print(
            f"{name}  {key}: {tensor.numel():,} numbers, largest difference "
            f"{off.max() / tensor.abs().max():.2g} of the largest value, {beyond} beyond rounding"
        )
    return same


if __name__ == "__main__":
    main()
