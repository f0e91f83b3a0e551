"""``convscope attribute``: what a class's score hangs on."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.calls import method
from convscope.cli.options import (
    Colour,
    Contrast,
    Memory,
    Pictures,
    Scale,
    Targets,
)


@method("convscope.methods.attribute:attribute", "attributing", "attribution.png")
def attribute(
    images: Pictures,
    target: Targets = None,
    method: Annotated[str, typer.Option(help="As `convscope rules` lists.")] = "epsilon-plus",
    layer: Annotated[
        str | None, typer.Option(help="Of a class activation map; the last feature maps.")
    ] = None,
    baseline: Annotated[
        list[Path] | None,
        typer.Option(help="Picture that paths start from (repeat for more); the mean colour."),
    ] = None,
    steps: Annotated[int, typer.Option(help="Points on a path, or noisy images.")] = 50,
    noise: Annotated[float, typer.Option(help="Of smoothgrad, as a share of the range.")] = 0.15,
    seed: Annotated[int, typer.Option(help="Of noise, and of what is drawn.")] = 0,
    scale: Scale = "tile",
    colour: Colour = "signed",
    contrast: Contrast = "linear",
    memory: Memory = "1GB",
) -> None:
    """Show what a class's score hangs on: class activation maps, paths, rules."""
    from convscope.display import Display
    from convscope.methods.attribute import method_named

    method_named(method)
    Display(scale, colour, contrast)
