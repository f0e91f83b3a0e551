"""``convscope study``: the four variants of the 2018 study."""

import logging
from pathlib import Path

import typer

from convscope.cli.console import INTERRUPTED
from convscope.cli.options import Showing
from convscope.cli.printing import StatusLine, progress_bar
from convscope.errors import Interrupted, OutputError


def study(
    data: Path,
    output: Path,
    seeds: int = 3,
    epochs: float | None = None,
    filters: int = 8,
    device: str = "auto",
    precision: str = "auto",
    as_json: bool = False,
) -> None:
    """Compare four variants on CIFAR-10: with and without batch norm, same and valid padding.

    Each is trained several times. Interrupted, the same command goes on where it was.

    Args:
        output: The folder for the trainings and the page.
        seeds: How often to train each variant.
        filters: How many of a layer's filters to show.
        device: auto, cpu, cuda, cuda:1 or mps.
    """
    from convscope.study.config import preset
    from convscope.study.run_study import StudyProgress, run_study
    from convscope.study.study_result import Study

    # Lightning would announce the precision before each of the trainings.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if Study.check(output).suffix:
        raise OutputError(f"the trainings need a folder, not {output}")
    changes = {} if epochs is None else {"epochs": epochs}
    line = StatusLine()

    def show(progress: StudyProgress) -> None:
        number = f"{progress.number} of {progress.trainings}"
        which = f"{number}: {progress.variant.name}, seed {progress.seed}, "
        line.show(progress.training, which, progress.seconds_left)

    try:
        with progress_bar("looking at the filters") as measuring:
            found = run_study(
                data, output, seeds=seeds, config=preset("study", **changes), filters=filters,
                progress=show, measuring=measuring, device=device, precision=precision,
            )  # fmt: skip
    except Interrupted:
        typer.echo("\ninterrupted; the same command goes on from here", err=True)
        raise typer.Exit(INTERRUPTED) from None
    Showing(output=output, as_json=as_json).finish(found)
