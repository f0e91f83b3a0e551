"""A small study for the tests; run as a script, one that can be killed.

python whole_study_worker.py OUT [--pause SECONDS]
"""

import argparse
import time
from pathlib import Path

import torch

from convscope.models.plain import NetConfig
from convscope.study.config import TrainConfig
from convscope.study.run_study import run_study
from convscope.study.study_result import Study
from study_worker import pictures, small

CONFIG: TrainConfig = small(
    net=NetConfig(widths=((6,), (8, 8)), classes=3, identity_start=False),
    epochs=1.2,
    optimizer="sgd",
    learning_rate=0.3,
    other_learning_rate=0.15,
    momentum=0.9,
    sides=(),
)


def compared(out: Path, **options: object) -> Study:
    """Return the small study in *out*."""
    values = {"seeds": 2, "config": CONFIG, "test": pictures(seed=1), "filters": 3, "device": "cpu"}
    return run_study(pictures(), out, **{**values, **options})  # type: ignore[arg-type]


def main() -> None:
    """Run the study as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--pause", type=float, default=0.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    compared(options.out, progress=lambda _: time.sleep(options.pause))


if __name__ == "__main__":
    main()
