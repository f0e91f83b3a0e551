"""The command line: parse, one library call, print the path and the numbers.

One file a command; each imports what is heavy when it runs, so that ``--help`` answers at once.
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer

from convscope import __version__
from convscope.cli.checkerboard import checkerboard
from convscope.cli.compare import compare
from convscope.cli.correspondence import correspondence
from convscope.cli.data import data
from convscope.cli.demo import demo
from convscope.cli.diagnose import diagnose
from convscope.cli.draw import draw
from convscope.cli.evolve import evolve
from convscope.cli.invariance import invariance
from convscope.cli.layers import layers
from convscope.cli.occlude import occlude
from convscope.cli.project import project
from convscope.cli.report import report
from convscope.cli.sanity import sanity
from convscope.cli.scan import scan
from convscope.cli.study import study
from convscope.cli.train import train
from convscope.cli.unit import unit
from convscope.errors import ConvscopeError

app = typer.Typer(
    name="convscope",
    help="See what a convolutional network sees.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS = (
    *(demo, report, compare, draw, layers, project, occlude, scan, unit),
    *(checkerboard, diagnose, sanity, invariance, correspondence),
    *(data, train, evolve, study),
)
for command in COMMANDS:
    app.command()(command)

INTERRUPTED = 130
OUT_OF_MEMORY = (
    "there is not enough memory: try a smaller --memory, a smaller --size or fewer images"
)


@app.callback(invoke_without_command=True)
def without_command(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """See what a convolutional network sees."""
    if version:
        typer.echo(f"convscope {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line; a user's mistake is one sentence and exit code 2."""
    try:
        with _notes_in_a_line():
            status = app(prog_name="convscope", standalone_mode=False)
    except ConvscopeError as error:
        _stop(str(error), 2)
    except MemoryError:
        _stop(OUT_OF_MEMORY, 2)
    except Exception as error:
        # What typer has against the arguments; its class has moved from version to version.
        complaint = getattr(error, "format_message", None)
        if complaint is None and not _is_out_of_memory(error):
            raise
        _stop(complaint() if complaint else OUT_OF_MEMORY, 2)
    if status == INTERRUPTED:
        _stop("stopped", INTERRUPTED)
    sys.exit(status or 0)


@contextmanager
def _notes_in_a_line() -> Iterator[None]:
    """Print the library's own warnings as notes, without the line of source that Python adds."""
    show = warnings.showwarning

    def note(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if category.__module__.partition(".")[0] == "convscope":
            typer.echo(f"convscope: note: {message}", err=True)
        else:
            show(message, category, *where, **more)

    warnings.showwarning = note
    try:
        yield
    finally:
        warnings.showwarning = show


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether torch found no memory, for which it has several words and no class."""
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("out of memory", "can't allocate memory")
    )


def _stop(sentence: str, status: int) -> NoReturn:
    text = " ".join(sentence.split()).rstrip(".")
    typer.echo(f"convscope: {text}".encode("utf-8", "replace").decode(), err=True)
    sys.exit(status)
