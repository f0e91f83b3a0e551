"""``convscope correspondence``: the same part hidden in several images."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.calls import method
from convscope.cli.options import Budget, DefaultLayers


@method("convscope.methods.correspondence:correspondence", "hiding parts", "correspondence.png")
def correspondence(
    parts: Annotated[
        Path,
        typer.Argument(
            metavar="PARTS.csv",
            help="A table: image, part, left, top, right, bottom, in pixels of the pictures.",
        ),
    ],
    layer: DefaultLayers = None,
    fill: Annotated[
        str, typer.Option(help="What hides a part: gray, black, mean, blur, ...; see occlude.")
    ] = "gray",
    repeats: Annotated[
        int, typer.Option(help="How many random boxes to draw for each part and image.")
    ] = 10,
    seed: Annotated[int, typer.Option(help="Of the random places.")] = 0,
    budget: Budget = None,
) -> None:
    """Hide the same part in several images and compare how a layer's features change.

    Ctrl-C stops; what is done by then is written, marked as partial.
    """
