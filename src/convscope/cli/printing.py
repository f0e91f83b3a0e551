"""What commands print: lines, JSON, and a progress bar on anything that takes a while."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from convscope.errors import Interrupted
from convscope.outputs import finite

if TYPE_CHECKING:
    from convscope.study.trainer import TrainProgress

BAR_AFTER_SECONDS = 2.0


def print_json(value: Any) -> None:
    """Print a value as JSON, on one line."""
    typer.echo(json.dumps(finite(value), allow_nan=False))


def kept(label: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Return what a method found, under a bar; after Ctrl-C what it had by then, as partial."""
    with progress_bar(label) as advance:
        try:
            return call(*arguments, progress=advance, **options)
        except Interrupted as stopped:
            if stopped.result is None:
                raise
            return stopped.result


class StatusLine:
    """One line on the screen that tells how far a training is, or one an epoch in a log."""

    def __init__(self) -> None:
        self._shown: object = None
        self._width = 0

    def show(self, training: "TrainProgress", which: str = "", left: float | None = None) -> None:
        """Show how far it is, in place on a terminal.

        Args:
            training: how far it is.
            which: what stands before it: which of several it is.
            left: seconds until all of them are done; by default, until this one is.
        """
        terminal = sys.stderr.isatty()
        moment = which, int(training.epoch)
        if not terminal and moment == self._shown:
            return
        self._shown = moment
        minutes, seconds = divmod(round(training.seconds_left if left is None else left), 60)
        epochs = training.epoch * training.steps / training.step
        accuracy = "" if training.accuracy is None else f", accuracy {training.accuracy:.1%}"
        text = (
            f"{which}epoch {training.epoch:.2f} of {epochs:g}, loss {training.loss:.3f}{accuracy}, "
            f"{training.images_per_second:.0f} images/s, {minutes}:{seconds:02} left"
        )
        self._width = max(self._width, len(text))
        shown = f"\r{text:{self._width}}" if terminal else text
        typer.echo(shown, err=True, nl=training.step == training.steps or not terminal)


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int | None], None]]:
    """Yield a callback (done, total) that shows a bar with the time left once it pays."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    bar = Progress(
        TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )
    task = bar.add_task(label)
    began = time.monotonic()

    def advance(done: int, total: int | None) -> None:
        bar.update(task, completed=done, total=total)
        late = time.monotonic() - began > BAR_AFTER_SECONDS
        if late and console.is_terminal and not bar.live.is_started:
            bar.start()

    try:
        yield advance
    finally:
        # Stopping a bar that was never shown would print an empty line.
        if bar.live.is_started:
            bar.stop()
