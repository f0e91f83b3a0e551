"""A small scan for the tests; run as a script, one that is killed again and again.

python scan_worker.py FOLDER KILLS: starts the scan in processes of their own that are killed at
random moments, until KILLS were killed on their way, then lets it end. A scan that ends before that
makes room for another: the finished ones are FOLDER's files.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

import convscope as cs

SIDE = 9
CLASSES = ("dark", "bright", "striped")


class Pictures:
    """Images with labels; some are alike, two are bad."""

    classes = CLASSES
    bad = (5, 130)

    def __init__(self, count: int = 300) -> None:
        generator = torch.Generator().manual_seed(3)
        self.labels = torch.randint(0, 3, (count,), generator=generator)
        self.images = torch.randn(count, 3, SIDE, SIDE, generator=generator)
        self.images[self.labels == 1] += 0.5
        self.images[self.labels == 2, :, ::2] -= 0.5
        self.images[1::7] = self.images[0]  # equal peaks, which image order must decide

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        if number == self.bad[0]:
            raise OSError("the file is cut short")
        image = self.images[number]
        if number == self.bad[1]:
            image = image * 1e37  # finite, but the network's answer is not
        return image, int(self.labels[number])


def network() -> cs.Network:
    """Return a network with a dead channel, a batch norm, a pool and an unrectified layer."""
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 5, 3),
        nn.ReLU(),
        nn.Conv2d(5, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ).eval()
    with torch.no_grad():
        module[4].bias[2] = -100.0  # never active
    return cs.Network(module, torch.zeros(1, 3, SIDE, SIDE), name="small")


def scan_into(state: Path, pause: float) -> None:
    """Scan, or go on with scanning, saving after every batch."""
    cs.scan(
        NET,
        Pictures(),
        top=4,
        memory=400_000,  # a few images at once
        state=state,
        resume=True,
        save_every=0.0,
        progress=lambda *_: time.sleep(pause),
    )


def killed_on_its_way(state: Path, seconds: float) -> bool:
    """Scan in another process and kill it after a while; return whether it was still at work."""
    child = os.fork()
    if not child:
        scan_into(state, pause=0.03)
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    NET = network()
    chance = random.Random(4)
    folder, kills, number = Path(sys.argv[1]), 0, 0
    while kills < int(sys.argv[2]):
        if killed_on_its_way(folder / str(number), chance.uniform(0, 0.3)):
            kills += 1
        else:
            number += 1
    scan_into(folder / str(number), pause=0)
