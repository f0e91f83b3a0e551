"""``convscope study``: the four variants of the 2018 study."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.console import INTERRUPTED
from convscope.cli.options import AsJson
from convscope.cli.printing import finish, progress_bar
from convscope.errors import Interrupted, OutputError

if TYPE_CHECKING:
    from convscope.study.run_study import StudyProgress


def study(
    data: Annotated[Path, typer.Option(help="CIFAR-10's folder; see `convscope data`.")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The folder for the trainings and the page."),
    ],
    seeds: Annotated[int, typer.Option(help="How often to train each variant.")] = 3,
    epochs: Annotated[float | None, typer.Option(help="Passes over the training images.")] = None,
    filters: Annotated[int, typer.Option(help="How many of a layer's filters to show.")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Compare four variants on CIFAR-10: with and without batch norm, same and valid padding.

    Each is trained several times. Interrupted, the same command goes on where it was.
    """
    from convscope.study.config import preset
    from convscope.study.run_study import run_study
    from convscope.study.study_result import Study

    # Lightning would announce the precision before each of the trainings.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if Study.check(output).suffix:
        raise OutputError(f"the trainings need a folder, not {output}")
    changes = {} if epochs is None else {"epochs": epochs}
    try:
        with progress_bar("looking at the filters") as measuring:
            found = run_study(
                data, output, seeds=seeds, config=preset("study", **changes), filters=filters,
                progress=_Line().show, measuring=measuring, device=device, precision=precision,
            )  # fmt: skip
    except Interrupted:
        typer.echo("\ninterrupted; the same command goes on from here", err=True)
        raise typer.Exit(INTERRUPTED) from None
    finish(found, output, as_json)


class _Line:
    """One line on the screen that tells how far the study is, or one an epoch in a log."""

    def __init__(self) -> None:
        self._shown = (0, -1)

    def show(self, progress: "StudyProgress") -> None:
        """Show it, in place on a terminal."""
        terminal = sys.stderr.isatty()
        training = progress.training
        ended = training.step == training.steps
        here = (progress.number, int(training.epoch))
        if not terminal and here == self._shown:
            return
        self._shown = here
        accuracy = "" if training.accuracy is None else f", accuracy {training.accuracy:.1%}"
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        text = (
            f"{progress.number} of {progress.trainings}: {progress.variant.name}, seed "
            f"{progress.seed}, epoch {training.epoch:.2f}{accuracy}, {minutes}:{seconds:02} left"
        )
        typer.echo(f"\r{text:94}" if terminal else text, err=True, nl=ended or not terminal)
