"""Files of tensors in a RUN folder, written so that a crash leaves the old or the new one whole."""

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
