"""A Lightning callback that keeps the checkpoints :func:`convscope.evolve` looks at.

It works with the trainers of both packages, ``lightning.pytorch`` and ``pytorch_lightning``. One of
them must be installed, which is why nothing else of convscope imports this module.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from convscope.errors import ConvscopeError, TrainError
from convscope.study.checkpoints import Tracker

PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def _callback_class() -> Any:
    """Return the class that callbacks inherit from, of the package in use if there are both.

    The two are copies of one another, and a trainer of either takes the other's callbacks.
    """
    for package in sorted(PACKAGES, key=lambda name: name not in sys.modules):
        try:
            return import_module(package).Callback
        except ModuleNotFoundError:
            continue
    raise ConvscopeError(
        "the callback needs Lightning: install it with `pip install 'convscope[lightning]'`"
    )


if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    Callback = _callback_class()


class TrackerCallback(Callback):
    """Keeps the weights of a Lightning training at 0, 1/16, 1/8, ... epochs, as a Tracker does.

    A training that Lightning resumes (``trainer.fit(..., ckpt_path=...)``) goes on in the same
    folder: checkpoints of steps after the one it resumes from are removed, and made again.

    Args:
        folder: where to keep the checkpoints, made if missing.
        module: what to keep, as ``evolve(folder, images, module=module)`` will need it: usually the
            network that the LightningModule holds. By default the LightningModule itself.
        steps_per_epoch: optimizer steps in one pass over the training images; by default as the
            trainer counts them, one a batch or group of accumulated batches.

    Raises, when the training starts:
        TrainError: the folder holds the checkpoints of another training, or the trainer does not
            know how many batches an epoch has.
        OutputError: the folder cannot be written.

    >>> callback = TrackerCallback("run", nn.Conv2d(3, 4, 3))
    >>> # lightning.pytorch.Trainer(callbacks=[callback]).fit(model, loader)
    """

    def __init__(
        self,
        folder: str | Path,
        module: nn.Module | None = None,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self._module = module
        self._steps_per_epoch = steps_per_epoch
        self._tracker: Tracker | None = None

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Keep the first weights, or go on where a resumed training stands."""
        if not trainer.is_global_zero:
            return
        self._tracker = Tracker(
            self.folder,
            self._module or pl_module,
            self._steps_per_epoch or _steps_per_epoch(trainer),
            done=trainer.global_step,
        )

    def on_train_batch_end(
        self,
        trainer: "Trainer",
        pl_module: "LightningModule",
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Keep the weights if the optimizer took a step and it is time."""
        if self._tracker and trainer.global_step > self._tracker.steps:
            self._tracker.step(trainer.global_step - self._tracker.steps)

    def on_train_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Keep the last weights."""
        if self._tracker:
            self._tracker.close()
            self._tracker = None

    def on_exception(
        self, trainer: "Trainer", pl_module: "LightningModule", exception: BaseException
    ) -> None:
        """Keep the last weights of a training that was stopped, too."""
        self.on_train_end(trainer, pl_module)


def _steps_per_epoch(trainer: "Trainer") -> int:
    """Return the optimizer steps of one epoch.

    Lightning also takes a step at an epoch's end, however few batches have been accumulated.
    """
    batches = trainer.num_training_batches
    if batches == float("inf"):
        raise TrainError(
            "the trainer does not know how many batches an epoch has: give steps_per_epoch"
        )
    return -(-int(batches) // trainer.accumulate_grad_batches)
