"""``convscope train``: train a network of the study on CIFAR-10."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from convscope.cli.console import INTERRUPTED
from convscope.cli.printing import StatusLine, print_json

if TYPE_CHECKING:
    from convscope.study.run import Run
    from convscope.study.trainer import TrainProgress


def train(
    data: Path,
    output: Path,
    preset: str = "tiny",
    epochs: float | None = None,
    seed: int = 0,
    batch_norm: bool = True,
    padding: str = "same",
    resume: bool = False,
    device: str = "auto",
    precision: str = "auto",
    explore: bool = False,
    as_json: bool = False,
) -> None:
    """Train a plain ConvNet on CIFAR-10, keeping checkpoints from its first moments on.

    Interrupted, the same command with --resume goes on and ends with the same weights.

    Args:
        output: The RUN folder to make.
        preset: tiny, base, study or vgg16.
        seed: Seed of weights, batches and augmentation.
        batch_norm: Normalise each convolution's maps.
        padding: same or valid.
        resume: Go on with the training in OUTPUT.
        explore: Open the live page, which follows the training.
        device: auto, cpu, cuda, cuda:1 or mps.
    """
    from convscope.errors import Interrupted
    from convscope.study import config as presets
    from convscope.study.train import train as train_network

    length = {} if epochs is None else {"epochs": epochs}
    config = presets.variant_of(
        presets.preset(preset, seed=seed, **length), batch_norm=batch_norm, padding=padding
    )
    line = StatusLine()
    with _followed(output, explore) as opened:

        def show(progress: "TrainProgress") -> None:
            opened()
            line.show(progress)

        try:
            run = train_network(
                config, data, output, resume=resume, device=device, precision=precision,
                progress=show,
            )  # fmt: skip
        except Interrupted as stopped:
            typer.echo(f"\n{stopped} (--resume)", err=True)
            raise typer.Exit(INTERRUPTED) from None
        _print_run(run, preset, as_json)
        opened()


def _print_run(run: "Run", preset: str, as_json: bool) -> None:
    assert run.test_accuracy is not None
    numbers = {
        "run": str(run.folder),
        "preset": preset,
        "test_accuracy": run.test_accuracy,
        "validation_accuracy": run.epochs[-1].accuracy,
        "seconds": run.seconds,
        **run.network,
    }
    if as_json:
        print_json(numbers)
        return
    typer.echo(str(run.folder))
    typer.echo(
        f"test accuracy {run.test_accuracy:.2%}, validation {run.epochs[-1].accuracy:.2%}; "
        f"{run.seconds['training']:.0f} s of training, {run.network['parameters']:,} parameters"
    )


@contextmanager
def _followed(run: Path, explore: bool) -> Iterator[Callable[[], None]]:
    """Yield what opens the live page of a training, once; it stays open after it until Ctrl-C.

    The page has a process of its own, so that neither waits for the other.
    """
    page: list[subprocess.Popen[bytes]] = []

    def opened() -> None:
        first = os.environ.get("RANK", "0") == "0"
        if explore and first and not page:
            command = [sys.executable, "-m", "convscope", "explore", str(run)]
            page.append(subprocess.Popen(command, stdout=sys.stderr))

    try:
        yield opened
        if page:
            typer.echo("the page stays open until Ctrl-C", err=True)
            page[0].wait()
    except KeyboardInterrupt:
        pass
    finally:
        for process in page:
            # Ctrl-C in a terminal has reached it already, but not one sent to this process alone.
            process.terminate()
            process.wait()
