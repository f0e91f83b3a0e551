"""Checkpoints: the moments of a training that are kept, their files, and who keeps anyone's."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from torch import Tensor, nn

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


class Tracker(AbstractContextManager["Tracker"]):
    """Keeps a module's weights at 0, 1/16, 1/8, 1/4, 1/2, 1, 2, 5, 10, 20, ... epochs.

    Two lines put it into any training loop: one before it, and ``tracker.step()`` after every
    step of the optimizer. As a context manager, or by :meth:`close`, it keeps the last weights too.
    :func:`convscope.evolve` then takes the folder, the module and images.
    ``steps`` is the number of optimizer steps so far.

    Args:
        folder: where to keep the checkpoints, made if missing.
        module: what is trained.
        steps_per_epoch: optimizer steps in one pass over the training images.
        done: optimizer steps that a resumed training has done. It goes on in the same folder, where
            checkpoints of later steps are removed: they will be done again.

    Raises:
        TrainError: the folder holds checkpoints already and nothing is *done*, or
            *steps_per_epoch* is below one.
        OutputError: the folder cannot be written.

    >>> import tempfile
    >>> import torch
    >>> module = nn.Conv2d(3, 4, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Tracker(folder, module, steps_per_epoch=16) as tracker:
    ...         for _ in range(20):
    ...             tracker.step()
    ...     [path.stem for path in checkpoint_paths(Path(folder))]
    ['step-0000000', 'step-0000001', 'step-0000002', 'step-0000004', 'step-0000008', \
'step-0000016', 'step-0000020']
    """

    def __init__(
        self, folder: str | Path, module: nn.Module, steps_per_epoch: int, *, done: int = 0
    ) -> None:
        if steps_per_epoch < 1:
            raise TrainError(f"an epoch has at least one step, not {steps_per_epoch}")
        self.folder = Path(folder)
        self.steps = done
        self._module = module
        self._steps_per_epoch = steps_per_epoch
        kept = checkpoint_paths(self.folder)
        if kept and not done:
            raise TrainError(f"{self.folder} holds checkpoints already; choose another folder")
        for path in kept:
            if checkpoint_step(path) > done:
                path.unlink(missing_ok=True)
        if not kept or done in moments(done + 1, steps_per_epoch):
            self._keep()

    def step(self, steps: int = 1) -> None:
        """Note that the optimizer took a step, or several, and keep the weights if it is time."""
        first = self.steps + 1
        self.steps += steps
        kept = moments(self.steps + 1, self._steps_per_epoch)
        if any(step in kept for step in range(first, self.steps + 1)):
            self._keep()

    def close(self) -> None:
        """Keep the weights as they are now."""
        self._keep()

    def __exit__(self, *stopped: object) -> None:
        """Keep the final weights, also those of a training that was stopped."""
        self.close()

    def _keep(self) -> None:
        save_checkpoint(self.folder, self.steps, self._module.state_dict())
