"""The networks that `benchmarks/diagnose.py` plants faults in: trained once, kept in a folder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import convscope as cs
from convscope.images import Preprocess
from convscope.study.config import CIFAR10_MEAN, CIFAR10_STD, TrainConfig, preset, variant_of
from convscope.study.data import CLASSES, ImageSet, load_cifar10

SIDE = 64
BATCH = 128
EPOCHS, IMAGES = 3, 10_000
CONFIGS: dict[str, TrainConfig] = {
    "tiny": preset("tiny", epochs=EPOCHS, held_out=500),
    "tiny, no batch norm": replace(
        variant_of(preset("tiny"), batch_norm=False, padding="same"), epochs=EPOCHS, held_out=500
    ),
    "study": replace(preset("study"), epochs=EPOCHS, held_out=500),
    "study, no batch norm": replace(
        variant_of(preset("study"), batch_norm=False, padding="valid"),
        epochs=EPOCHS,
        held_out=500,
    ),
}
FIRST_LAYERS = {
    "11x11, stride 4": (11, 4, 1),
    "7x7, stride 2": (7, 2, 2),
    "3x3, stride 1": (3, 1, 4),
}


def trained(name: str, data: Path, folder: Path) -> cs.Network:
    """Return a network of :data:`CONFIGS`, trained now if *folder* does not hold it yet."""
    place = folder / name.replace(", ", "-").replace(" ", "-")
    run = cs.train(CONFIGS[name], load_cifar10(data)[torch.arange(IMAGES)], place, resume=True)
    return cs.Network(
        run.module(), torch.zeros(1, 3, 32, 32), name=name, classes=CLASSES,
        preprocess=Preprocess(CIFAR10_MEAN, CIFAR10_STD, (32, 32)),
    )  # fmt: skip


def first_layer_net(kernel: int, stride: int, pool: int) -> nn.Sequential:
    """Return a small network for images of 64 pixels, whose maps are 16 pixels after the start."""
    start: list[nn.Module] = [nn.Conv2d(3, 32, kernel, stride, padding=kernel // 2), nn.ReLU()]
    if pool > 1:
        start.append(nn.MaxPool2d(pool))
    return nn.Sequential(
        *start,
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def large_inputs(images: Tensor) -> Tensor:
    """Return uint8 images [N, 3, 32, 32] as normalised inputs at 64 pixels."""
    large = F.interpolate(images / 255, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return Preprocess(CIFAR10_MEAN, CIFAR10_STD, (SIDE, SIDE)).to_inputs(large)


def trained_at_64(
    name: str, data: Path, folder: Path, epochs: int = 2,
    say: Callable[[str], None] = print,
) -> cs.Network:  # fmt: skip
    """Return a network with one of :data:`FIRST_LAYERS`, trained on CIFAR-10 at 64 pixels."""
    torch.manual_seed(0)
    module = first_layer_net(*FIRST_LAYERS[name])
    path = folder / f"{name.replace(', ', '-').replace(' ', '-')}.safetensors"
    if path.exists():
        module.load_state_dict(load_file(path))
    else:
        _train(module, load_cifar10(data)[torch.arange(IMAGES)], epochs, say)
        save_file({k: v.contiguous() for k, v in module.state_dict().items()}, path)
    return cs.Network(
        module.eval(), torch.zeros(1, 3, SIDE, SIDE), name=name, classes=CLASSES,
        preprocess=Preprocess(CIFAR10_MEAN, CIFAR10_STD, (SIDE, SIDE)),
    )  # fmt: skip


def _train(module: nn.Module, data: ImageSet, epochs: int, say: Callable[[str], None]) -> None:
    steps = epochs * (len(data) // BATCH)
    optimizer = torch.optim.SGD(module.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=steps)
    module.to(memory_format=torch.channels_last).train()
    done = 0
    for _ in range(epochs):
        for batch in torch.randperm(len(data)).split(BATCH)[: len(data) // BATCH]:
            inputs = large_inputs(data.images[batch])
            if torch.rand(()) < 0.5:
                inputs = inputs.flip(3)
            loss = F.cross_entropy(module(inputs), data.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            done += 1
            if done % 50 == 0:
                say(f"  step {done} of {steps}: loss {loss.item():.3f}")
