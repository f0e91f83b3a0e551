"""``convscope data``: fetch a data set."""

from pathlib import Path

import typer

from convscope.cli.printing import progress_bar
from convscope.errors import DataError, check_known

SETS = ("cifar10",)


def data(name: str, output: Path = Path("data")) -> None:
    """Fetch a data set, check it and unpack it; what is there already is not fetched again.

    Args:
        name (NAME): cifar10
        output: The folder to put it in.
    """
    check_known("data set", name, SETS, DataError)
    from convscope.study.data import fetch_cifar10

    with progress_bar("fetching") as advance:
        typer.echo(str(fetch_cifar10(output, progress=advance)))
