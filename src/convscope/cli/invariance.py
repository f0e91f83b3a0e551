"""``convscope invariance``: images moved, enlarged and turned, and what becomes of the features."""

from typing import Annotated, Any

import typer

from convscope.cli.calls import method
from convscope.cli.options import (
    Budget,
    DefaultLayers,
    Memory,
    Pictures,
    Showing,
    one_or_all,
)


@method("convscope.methods.invariance:invariance", "transforming", "invariance.png")
def invariance(
    shown: Showing,
    images: Pictures,
    layer: DefaultLayers = None,
    transform: Annotated[
        list[str] | None,
        typer.Option(help="translation, scale or rotation (repeat for more); all three."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="A class, by number or name, one for all or one an image; the answer."),
    ] = None,
    steps: Annotated[int, typer.Option(help="How many amounts of each transformation.")] = 25,
    fill: Annotated[
        str, typer.Option(help="Beyond the image: reflect, gray, black, mean, image-mean, #rrggbb.")
    ] = "reflect",
    budget: Budget = None,
    memory: Memory = "1GB",
) -> dict[str, Any]:
    """Move, enlarge and turn images, and show how far features and answer follow.

    Ctrl-C stops; what is done by then is written, marked as partial.
    """
    from convscope.figures.invariance import check_fits

    if shown.drawn:
        check_fits(len(images))
    return {"target": one_or_all(target)}
