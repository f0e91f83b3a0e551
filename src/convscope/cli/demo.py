"""``convscope demo``: the study of 2018 on one page, with no download and no data."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.printing import print_json, progress_bar


def demo(
    output: Path = Path("convscope-demo"),
    opened: Annotated[bool, typer.Option("--open", help="Show the page in a browser.")] = False,
    as_json: bool = False,
) -> None:
    """Show what convscope does: one page, made from the bundled networks, nothing to download.

    Args:
        output: The folder to write the page into.
    """
    from convscope.pages.demo import demo as make

    with progress_bar("looking") as advance:
        made = make(output, progress=advance)
    if as_json:
        print_json(made.to_dict())
    else:
        typer.echo(made.summary())
    if opened:
        import webbrowser

        webbrowser.open(made.page.resolve().as_uri())
