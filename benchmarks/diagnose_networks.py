"""The networks that `benchmarks/diagnose.py` plants faults in: trained once, kept in a folder."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import convscope as cs
from convscope.images import Preprocess
from convscope.preprocessing import CIFAR10
from convscope.study.config import (
    PLAIN_RATE,
    TrainConfig,
    preset,
    variant_of,
)
from convscope.study.data import CLASSES, ImageSet, load_cifar10


@dataclass(frozen=True)
class FirstLayer:
    """How a small network begins, and what is wrong with that.

    kernel, stride: of its first convolution
    pool: side and stride of the max pool after it; 1 for none
    faults: kinds of findings on the first convolution
    """

    kernel: int
    stride: int
    pool: int
    faults: tuple[str, ...] = ()


SIDE = 64
BATCH = 128
EPOCHS, IMAGES = 3, 10_000
LONGER = 12  # epochs without batch norm, which learns more slowly
CONFIGS: dict[str, TrainConfig] = {
    "tiny": preset("tiny", epochs=EPOCHS, held_out=500),
    "tiny, no batch norm": replace(
        variant_of(preset("tiny"), batch_norm=False, padding="same"), epochs=LONGER, held_out=500
    ),
    "study": replace(preset("study"), epochs=EPOCHS, held_out=500),
    "study, no batch norm": replace(
        variant_of(preset("study"), batch_norm=False, padding="valid"),
        epochs=LONGER,
        learning_rate=PLAIN_RATE,
        held_out=500,
    ),
}
FIRST_LAYERS = {
    "11x11, stride 4": FirstLayer(11, 4, 1, ("aliasing", "checkerboard")),
    # After one epoch the filters still hold much of the white noise that they began as, 0.9 octaves
    # beyond what a stride of 3 carries.
    "11x11, stride 3": FirstLayer(11, 3, 1, ("aliasing", "checkerboard")),
    "3x3, stride 2": FirstLayer(3, 2, 2, ("checkerboard",)),
    "6x6, stride 2": FirstLayer(6, 2, 2),
    "3x3, stride 1": FirstLayer(3, 1, 4),
}


def trained(name: str, data: Path, folder: Path) -> cs.Network:
    """Return a network of :data:`CONFIGS`, trained now if *folder* does not hold it yet."""
    place = folder / name.replace(", ", "-").replace(" ", "-")
    run = cs.train(CONFIGS[name], load_cifar10(data).part(torch.arange(IMAGES)), place, resume=True)
    return cs.Network(
        run.module(), torch.zeros(1, 3, 32, 32), name=name, classes=CLASSES,
        preprocess=Preprocess(*CIFAR10, (32, 32)),
    )  # fmt: skip


def first_layer_net(first: FirstLayer) -> nn.Sequential:
    """Return a small network for images of 64 pixels."""
    padding = first.kernel // 2
    start: list[nn.Module] = [nn.Conv2d(3, 32, first.kernel, first.stride, padding), nn.ReLU()]
    if first.pool > 1:
        start.append(nn.MaxPool2d(first.pool))
    return nn.Sequential(
        *start,
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def large_inputs(images: Tensor) -> Tensor:
    """Return uint8 images [N, 3, 32, 32] as normalised inputs at 64 pixels."""
    large = F.interpolate(images / 255, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return Preprocess(*CIFAR10, (SIDE, SIDE)).to_inputs(large)


def trained_at_64(name: str, data: Path, folder: Path, seed: int) -> cs.Network:
    """Return a network with one of :data:`FIRST_LAYERS`, trained on CIFAR-10 at 64 pixels."""
    torch.manual_seed(seed)
    module = first_layer_net(FIRST_LAYERS[name])
    path = folder / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}.safetensors"
    if path.exists():
        module.load_state_dict(load_file(path))
    else:
        _train(module, load_cifar10(data).part(torch.arange(IMAGES)))
        save_file({k: v.contiguous() for k, v in module.state_dict().items()}, path)
    return cs.Network(
        module.eval(), torch.zeros(1, 3, SIDE, SIDE), name=name, classes=CLASSES,
        preprocess=Preprocess(*CIFAR10, (SIDE, SIDE)),
    )  # fmt: skip


def _train(module: nn.Module, data: ImageSet) -> None:
    """Train for one epoch."""
    steps = len(data) // BATCH
    optimizer = torch.optim.SGD(module.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=steps)
    module.to(memory_format=torch.channels_last).train()
    for batch in torch.randperm(len(data)).split(BATCH)[:steps]:
        inputs = large_inputs(data.images[batch])
        if torch.rand(()) < 0.5:
            inputs = inputs.flip(3)
        loss = F.cross_entropy(module(inputs), data.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
