"""The checkpoints in a RUN folder: the moments of a training that are kept, and their files."""

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from convscope.errors import TrainError
from convscope.outputs import made_folder
from convscope.packing import load_tensors, save_tensors

FOLDER = "checkpoints"


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors by name, on the CPU, and facts.

    Raises:
        TrainError: the file is missing or damaged.
    """
    try:
        return load_tensors(path)
    except OSError as error:
        raise TrainError(f"{path} cannot be read as saved tensors: {error}") from error


def save_checkpoint(run: Path, step: int, weights: Mapping[str, Tensor]) -> None:
    """Keep the weights after *step* optimizer steps in a RUN folder.

    Raises:
        OutputError: they cannot be written.
    """
    path = checkpoint_path(run, step)
    made_folder(path.parent)
    save_tensors(path, weights, {"step": str(step)})


def checkpoint_path(run: Path, step: int) -> Path:
    """Return where the weights after *step* optimizer steps are kept; names sort by step.

    >>> checkpoint_path(Path("run"), 90).name
    'step-0000090.safetensors'
    """
    return run / FOLDER / f"step-{step:07d}.safetensors"


def checkpoint_step(path: Path) -> int:
    """Return the step that a checkpoint's file name carries.

    >>> checkpoint_step(Path("step-0000090.safetensors"))
    90
    """
    return int(path.stem.removeprefix("step-"))


def checkpoint_paths(run: Path) -> list[Path]:
    """Return the checkpoints in a RUN folder, in order of time."""
    return sorted((run / FOLDER).glob("step-*.safetensors"))


def moments(steps: int, steps_per_epoch: int) -> tuple[int, ...]:
    """Return the steps after which a checkpoint is kept, from 0 to *steps*, without repetition.

    They are 0, 1/16, 1/8, 1/4, 1/2, 1, 2, 5, 10, 20, 50, ... epochs, and the end: filters change
    most in the first moments, so time is sampled geometrically.

    >>> moments(400, 100)
    (0, 6, 12, 25, 50, 100, 200, 400)
    """
    epochs = [1 / 16, 1 / 8, 1 / 4, 1 / 2]
    longest = max(1, math.ceil(steps / steps_per_epoch))
    for power in range(len(str(longest))):
        epochs.extend(factor * 10.0**power for factor in (1, 2, 5))
    kept = {int(epoch * steps_per_epoch) for epoch in epochs}
    return tuple(sorted({0, steps} | {step for step in kept if 0 < step < steps}))
