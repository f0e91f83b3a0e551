"""Whether observed grids tell kernels that the stride divides from others, on trained networks.

    python benchmarks/checkerboard.py DATA [--seeds 4] [--images 10000] [--epochs 3]

DATA is the folder of CIFAR-10's binary files. Small networks of the study's style, alike but for
the kernel and stride of one convolution, are trained on some of the images; then grids are sought
in their projections of test images. Of each network there is one line:

- alone: the structural number of the strided layer;
- units: the observed one, from projections of single units of that layer;
- map, deep: the observed one in whole feature maps, from that layer and from the deepest;
- values: energy of the projection's own values at the multiples of 1/stride, deepest layer, over
  the image's: what one would measure first.
"""

import argparse
import itertools
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

import convscope as cs
from convscope.study.data import ImageSet, load_cifar10

MEAN, STD = 0.47, 0.25
BATCH = 100
MEASURED = 32
NUMBERS = ("alone", "units", "map", "deep", "values")


@dataclass(frozen=True)
class Stem:
    """One strided convolution: whether it comes first, or after another one."""

    place: str
    kernel: int
    stride: int
    padding: int

    @property
    def divisible(self) -> bool:
        """Whether the stride divides the kernel."""
        return self.kernel % self.stride == 0

    @property
    def name(self) -> str:
        """What the rows of the table are called."""
        return f"{self.place} {self.kernel}x{self.kernel}/{self.stride}"


STEMS = (
    Stem("first", 3, 2, 1),
    Stem("first", 4, 2, 1),
    Stem("first", 5, 2, 2),
    Stem("first", 6, 2, 2),
    Stem("first", 11, 3, 5),
    Stem("first", 12, 3, 5),
    Stem("first", 9, 3, 4),
    Stem("inner", 3, 2, 1),
    Stem("inner", 4, 2, 1),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    data, test = (load_cifar10(options.data, part) for part in ("train", "test"))
    rows: list[tuple[Stem, dict[str, float]]] = []
    print("network         seed  accuracy", *(f"{name:>7}" for name in NUMBERS), "seconds")
    for seed, stem in itertools.product(range(options.seeds), STEMS):
        began = time.perf_counter()
        module = train(stem, data, options.images, options.epochs, seed)
        seconds = time.perf_counter() - began
        found = measure(module, stem, normalised(test.images[2000 : 2000 + MEASURED]))
        rows.append((stem, found))
        numbers = "  ".join(f"{found[name]:7.3f}" for name in NUMBERS)
        print(f"{stem.name:15} {seed:4} {accuracy(module, test):9.1%}  {numbers} {seconds:8.0f}",
              flush=True)  # fmt: skip
    for name in NUMBERS[1:]:
        separate(name, rows)


def separate(name: str, rows: list[tuple[Stem, dict[str, float]]]) -> None:
    """Print how well a number tells the two kinds of networks from each other."""
    for what, chosen in (("all", rows), *((f"stride {s}", of_stride(rows, s)) for s in (2, 3))):
        uneven = [found[name] for stem, found in chosen if not stem.divisible]
        even = [found[name] for stem, found in chosen if stem.divisible]
        pairs = [(a > b) + (a == b) / 2 for a in uneven for b in even]
        print(f"{name:6} {what:8}: AUC {statistics.mean(pairs):.3f}; not divisible "
              f"{min(uneven):.3f} to {max(uneven):.3f}, divisible {min(even):.3f} to "
              f"{max(even):.3f}")  # fmt: skip


def of_stride(
    rows: list[tuple[Stem, dict[str, float]]], stride: int
) -> list[tuple[Stem, dict[str, float]]]:
    return [row for row in rows if row[0].stride == stride]


def build(stem: Stem) -> nn.Sequential:
    def block(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        return [convolution, nn.BatchNorm2d(outputs, momentum=0.4), nn.ReLU()]

    strided = stem.kernel, stem.stride, stem.padding
    if stem.place == "first":
        head = [*block(3, 24, *strided), *block(24, 32, 3, 1, 1)]
    else:
        head = [*block(3, 12, 3, 1, 1), *block(12, 24, *strided), *block(24, 32, 3, 1, 1)]
    tail = [*block(32, 48, 3, 1, 1), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(48, 10)]
    return nn.Sequential(*head, nn.MaxPool2d(2), *tail)


def normalised(images: Tensor) -> Tensor:
    return (images.float() / 255 - MEAN) / STD


def train(stem: Stem, data: ImageSet, count: int, epochs: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    module = build(stem)
    chosen = data.part(torch.randperm(len(data))[:count])
    optimizer = torch.optim.SGD(
        module.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    steps = epochs * (count // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.2, total_steps=steps, pct_start=0.25
    )
    module.train()
    for _ in range(epochs):
        for part in torch.randperm(count)[: count // BATCH * BATCH].split(BATCH):
            images = normalised(chosen.images[part])
            if torch.rand(()) < 0.5:
                images = images.flip(3)
            loss = functional.cross_entropy(
                module(images), chosen.labels[part], label_smoothing=0.1
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return module.eval()


@torch.no_grad()
def accuracy(module: nn.Sequential, test: ImageSet) -> float:
    right = [
        (module(normalised(images)).argmax(1) == labels).sum()
        for images, labels in test.part(torch.arange(2000)).batches(500)
    ]
    return float(torch.stack(right).sum() / 2000)


def measure(module: nn.Sequential, stem: Stem, images: Tensor) -> dict[str, float]:
    net = cs.Network(module, images[:1])
    convolution, layer = ("0", "2") if stem.place == "first" else ("3", "5")
    found = cs.checkerboard(net, images)
    source = next(n for n, own in enumerate(found.sources) if own.layers == (convolution,))
    place = found.layers.index(layer)
    deepest = cs.project(net, images, found.layers[0], select="map", top=1).pixels[:, 0]
    return {
        "alone": next(own.alone for own in found.strided if own.name == convolution),
        "units": found.of_units[source].item(),
        "map": found.by_source[place, source].item(),
        "deep": found.by_source[0, source].item(),
        "values": peaks(deepest, stem.stride) / peaks(images, stem.stride),
    }


def peaks(pictures: Tensor, stride: int) -> float:
    """Return the share of the energy that lies at the multiples of 1/stride."""
    size = pictures.shape[-1]
    window = torch.hann_window(size + 2, periodic=False)[1:-1]
    centred = (pictures - pictures.mean((2, 3), keepdim=True)) * window[:, None] * window
    places = torch.arange(size)
    waves = torch.polar(
        torch.ones(stride, size), -2 * torch.pi / stride * torch.arange(stride)[:, None] * places
    )
    power = (waves @ centred.to(waves.dtype) @ waves.T).abs().square()
    power[..., 0, 0] = 0
    return float(power.sum() / centred.square().sum())


if __name__ == "__main__":
    main()
