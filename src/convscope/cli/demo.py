"""``convscope demo``: what the bundled network sees, with no download and no data."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.options import AsJson
from convscope.cli.printing import print_json, print_line, progress_bar


def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The folder to write the page into.")
    ] = Path("convscope-demo"),
    opened: Annotated[bool, typer.Option("--open", help="Show the page in a browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what the bundled network sees in four pictures: one page, nothing to download."""
    from convscope.demo import make_demo

    with progress_bar("pictures") as advance:
        made = make_demo(output, advance)
    if as_json:
        pictures = [shown.to_dict() for shown in made.pictures]
        print_json({"output": str(made.page), "pictures": pictures})
    else:
        print_line(str(made.page))
        for shown in made.pictures:
            name, probability = shown.answers[0]
            print_line(f"  {shown.sample.title}: {name} ({probability:.0%})")
        print_line("Open the page in a browser. Then try:")
        print_line(f"  {made.pictures[0].command}")
        print_line("  convscope project mine.py:build photo.jpg   # your own network and picture")
    if opened:
        import webbrowser

        webbrowser.open(made.page.resolve().as_uri())
