"""A training as the explorer looks at it: each checkpoint a network of its own, by its step."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from convscope.atlas.atlas import Atlas, scanned_images
from convscope.errors import ConvscopeError, TrainError
from convscope.explorer.session import Session
from convscope.methods import budget
from convscope.methods.pictures import Images
from convscope.network import Network
from convscope.study.checkpoints import checkpoint_path, checkpoint_step
from convscope.study.run import Run, parts_of_run

KEPT = 8
"""Checkpoints whose networks are kept at once; the others are read again."""


class TrainingSession(Session):
    """A session at the newest checkpoint of a training, which others can be asked for from."""

    def __init__(
        self,
        run: Run,
        images: Images,
        titles: Sequence[str] | None = None,
        memory: int | str = budget.DEFAULT,
        against: Sequence[Session] = (),
        atlas: Atlas | None = None,
    ) -> None:
        self.run = run
        super().__init__(_network(run), images, titles, memory, against, atlas)
        self._sessions: OrderedDict[int, Session] = OrderedDict()

    def at(self, step: int | None) -> Session:
        """Return the session at a checkpoint, by default at the newest."""
        steps = [checkpoint_step(path) for path in self.run.checkpoints]
        step = steps[-1] if step is None and steps else step
        if step not in steps:
            raise ConvscopeError(f"there is no checkpoint of step {step}")
        with self.lock:
            if step not in self._sessions:
                checkpoint = checkpoint_path(self.run.folder, step)
                net = _network(self.run, checkpoint)
                made = Session(net, self.album[0].values, None, self.memory)
                made.album, made.sessions, made.atlas = self.album, self.sessions, self.atlas
                # From an atlas's images, not its numbers: those are of one checkpoint alone.
                folder = None if self.atlas is None else scanned_images(self.atlas.folder)[1]
                made.examined = folder or self._given
                self._sessions[step] = made
                while len(self._sessions) > KEPT:
                    self._sessions.popitem(last=False)
            self._sessions.move_to_end(step)
            return self._sessions[step]

    def describe(self) -> dict[str, Any]:
        """Return what the page needs to know, and what there is of the training."""
        return {**self.at(None).describe(), **self.news()}

    def news(self) -> dict[str, Any]:
        """Return the checkpoints that there are by now, and whether more will come."""
        with suppress(TrainError):  # the folder may be gone
            self.run = Run.load(self.run.folder)
        epochs = self.run.epochs
        accuracy = {one.step: one.accuracy for one in epochs}
        share = epochs[-1].epoch / epochs[-1].step if epochs else None
        steps = [checkpoint_step(path) for path in self.run.checkpoints]
        checkpoints = [
            {
                "step": step,
                "epoch": None if share is None else step * share,
                "accuracy": accuracy.get(step),
            }
            for step in steps
        ]
        return {"checkpoints": checkpoints, "finished": self.run.finished}


def _network(run: Run, checkpoint: Path | None = None) -> Network:
    """Return a training's network with the weights of a checkpoint, by default of the newest."""
    return parts_of_run(run.folder, checkpoint=checkpoint).network(run.folder.resolve().name)
