"""``convscope correspondence``: the same part hidden in several images."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import AsJson, Budget, Caption, Output, Width
from convscope.cli.printing import finish, kept, progress_bar


@network_options()
def correspondence(
    network: NamedNetwork,
    parts: Annotated[
        Path,
        typer.Argument(
            metavar="PARTS.csv",
            help="A table: image, part, left, top, right, bottom, in pixels of the pictures.",
        ),
    ],
    layer: Annotated[
        list[str] | None,
        typer.Option(help="A layer (repeat for more); the first block's, the middle's, the last."),
    ] = None,
    fill: Annotated[
        str, typer.Option(help="What hides a part: gray, black, mean, blur, ...; see occlude.")
    ] = "gray",
    repeats: Annotated[
        int, typer.Option(help="How many random boxes to draw for each part and image.")
    ] = 10,
    seed: Annotated[int, typer.Option(help="Of the random places.")] = 0,
    budget: Budget = None,
    width: Width = "text",
    caption: Caption = "short",
    output: Output = Path("correspondence.png"),
    as_json: AsJson = False,
) -> None:
    """Hide the same part in several images and compare how a layer's features change.

    Ctrl-C stops; what is done by then is written, marked as partial.
    """
    from convscope.figures.style import style
    from convscope.methods.correspondence import correspondence as measure
    from convscope.methods.correspondence_result import Correspondence

    Correspondence.check(output)
    style(width, caption)
    net = network.load()
    with progress_bar("hiding parts") as advance:
        found = kept(
            lambda: measure(
                net, parts, layer=layer, fill=fill, repeats=repeats, seed=seed, budget=budget,
                progress=advance,
            )
        )  # fmt: skip
    finish(found, output, as_json, width, caption)
