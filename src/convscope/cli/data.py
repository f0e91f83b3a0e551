"""``convscope data``: fetch a data set."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.printing import progress_bar
from convscope.errors import DataError, check_known

SETS = ("cifar10",)


def data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="cifar10")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to put it in.")] = Path(
        "data"
    ),
) -> None:
    """Fetch a data set, check it and unpack it; what is there already is not fetched again."""
    check_known("data set", name, SETS, DataError)
    from convscope.study.data import fetch_cifar10

    with progress_bar("fetching") as advance:
        typer.echo(str(fetch_cifar10(output, progress=advance)))
