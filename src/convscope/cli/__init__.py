"""The command line: parse, one library call, print the path and the numbers.

One file a command; each imports what is heavy when it runs, so that ``--help`` answers at once.
"""

from importlib import import_module
from inspect import getdoc
from typing import Annotated

import typer

from convscope import __version__
from convscope.cli.calls import documented
from convscope.cli.console import answered

app = typer.Typer(
    name="convscope",
    help="See what a convolutional network sees.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS = (
    *("demo", "explore", "report", "compare", "draw", "layers", "rules", "project", "attribute"),
    *("trace_unit", "occlude", "scan", "unit", "plate", "visualize", "ablate", "probe"),
    *("checkerboard", "diagnose", "sanity", "invariance", "correspondence"),
    *("data", "train", "evolve", "study"),
)
"""Each a function in the file of its name."""

for name in COMMANDS:
    command = getattr(import_module(f"convscope.cli.{name}"), name)
    # The list of all says of each what stands before its details; click would cut it to 45 letters.
    said = (getdoc(command) or "").partition("\n\nArgs:")[0]
    brief = said.partition("\n\n")[0].partition(":")[0].removesuffix(".")
    app.command(help=said, short_help=" ".join(brief.split()))(documented(command))


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
    answered(lambda: app(prog_name="convscope", standalone_mode=False))
