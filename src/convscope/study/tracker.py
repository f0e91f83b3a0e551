"""A tracker: keeps the weights of anyone's training at the moments that :func:`evolve` looks at."""

from contextlib import AbstractContextManager
from pathlib import Path

from torch import nn

from convscope.errors import TrainError
from convscope.study.checkpoints import checkpoint_paths, checkpoint_step, moments, save_checkpoint


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
