"""Files of tensors in a RUN folder, written so that a crash leaves the old or the new one whole."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from convscope.errors import TrainError
from convscope.outputs import made_folder, written_beside

FOLDER = "checkpoints"


def save_tensors(tensors: Mapping[str, Tensor], path: Path, facts: Mapping[str, str]) -> None:
    """Write tensors by name to one safetensors file, with *facts* in its header.

    The bytes are written beside, forced to the disk and then renamed: should the disk be full or
    the power fail, what was at *path* is still there.

    Raises:
        OutputError: the file cannot be written.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = save(whole, dict(facts))
    with written_beside(path) as beside:
        beside.write_bytes(content)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return what :func:`save_tensors` wrote: tensors by name, on the CPU, and facts.

    Raises:
        TrainError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise TrainError(f"{path} cannot be read as saved tensors: {error}") from error


def save_checkpoint(run: Path, step: int, weights: Mapping[str, Tensor]) -> None:
    """Keep the weights after *step* optimizer steps in a RUN folder.

    Raises:
        OutputError: they cannot be written.
    """
    path = checkpoint_path(run, step)
    made_folder(path.parent)
    save_tensors(weights, path, {"step": str(step)})


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
