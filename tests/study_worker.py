"""A small training for the tests of the study; run as a script, one that can be killed.

python study_worker.py OUT [--pause SECONDS] [--optimizer sgd]
"""

import argparse
import atexit
import os
import sys
import time

import torch
import torch.distributed as dist

from convscope.models.plain import NetConfig
from convscope.study.config import TrainConfig
from convscope.study.data import ImageSet
from convscope.study.train import train

CLASSES = ("dark", "bright", "striped")


def pictures(count: int = 260, side: int = 16, seed: int = 0) -> ImageSet:
    """Return noisy pictures that are dark, bright or striped."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    noise = torch.randint(0, 120, (count, 3, side, side), generator=generator)
    noise[labels == 1] += 120
    noise[labels == 2, :, ::2] += 120
    return ImageSet(noise.to(torch.uint8), labels, CLASSES)


def small(**changes: object) -> TrainConfig:
    """Return the configuration of a training of 32 steps."""
    values: dict[str, object] = {
        "net": NetConfig(widths=((6,), (8, 8)), classes=3),
        "epochs": 6.5,
        "batch_size": 40,
        "held_out": 60,
        "sides": ((0.3, 12),),
    }
    return TrainConfig(**{**values, **changes})  # type: ignore[arg-type]


def main() -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--optimizer", default="muon")
    options = parser.parse_args()
    torch.set_num_threads(1)
    # What is registered later runs before.
    atexit.register(tell_whether_grouped)
    train(
        small(optimizer=options.optimizer),
        pictures(),
        options.out,
        progress=lambda _: time.sleep(options.pause),
        device="cpu",
        precision="float32",
    )


def tell_whether_grouped() -> None:
    """Say at the end, in one piece among the other processes' words, whether they are joined."""
    line = f"in a process group at the end: {dist.is_initialized()}\n"
    os.write(sys.stdout.fileno(), line.encode())


if __name__ == "__main__":
    main()
