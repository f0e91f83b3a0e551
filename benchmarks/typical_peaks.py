"""What each channel of a bundled network typically reaches at its peak, for ranking by it.

    python benchmarks/typical_peaks.py vgg16_features IMAGENET_PICTURES FOLDER
    python benchmarks/typical_peaks.py squeezenet1_1 IMAGENET_PICTURES FOLDER
    python benchmarks/typical_peaks.py base CIFAR10 FOLDER

writes NAME.peaks.safetensors: of every convolution, where a scan reads its units, the median over
the images of each channel's peak. The ImageNet pictures are a folder of them; of CIFAR-10 those are
taken that the training of `base` held out.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

import convscope as cs
from convscope.methods.scanning.units import scanned_layers
from convscope.models.bundled import bundle_facts
from convscope.network.walk import ascend
from convscope.study.data import load_cifar10, split

BATCH = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    name = arguments.name
    net = cs.load(name)
    layers = {layer.read_at: layer.step for layer in scanned_layers(net)}
    found: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    batches = held_out(net, arguments.data) if name == "base" else photographs(net, arguments.data)
    for images in batches:
        maps = ascend(net.graph, images, list(layers.values())).maps
        for layer, step in layers.items():
            found[layer].append(maps[step].amax((2, 3)))
    peaks = {layer: torch.cat(parts) for layer, parts in found.items()}
    images = len(next(iter(peaks.values())))
    what = "held-out images of CIFAR-10" if name == "base" else "pictures of ImageNet"
    save_file(
        {layer: own.quantile(0.5, dim=0) for layer, own in peaks.items()},
        arguments.folder / f"{name}.peaks.safetensors",
        {"over": f"{images:,} {what}"},
    )


def photographs(net: cs.Network, folder: Path) -> Iterator[Tensor]:
    """Yield the pictures of a folder, a few at a time."""
    paths = sorted(folder.iterdir())
    for start in range(0, len(paths), BATCH):
        yield torch.cat([net.preprocess(path) for path in paths[start : start + BATCH]])


def held_out(net: cs.Network, folder: Path) -> Iterator[Tensor]:
    """Yield the images of CIFAR-10's training set that `base` was not trained on."""
    config = bundle_facts("base")["config"]
    own = split(load_cifar10(folder, "train"), config["held_out"], config["split_seed"])[1]
    for part in own.images.split(100):
        yield net.preprocess.to_inputs(part.float() / 255)


if __name__ == "__main__":
    main()
