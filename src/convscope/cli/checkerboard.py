"""``convscope checkerboard``: the grids that strides leave in projections."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.calls import method
from convscope.cli.options import Memory, Rank, Reference, Rule


@method("convscope.methods.checkerboard:checkerboard", "projecting", "checkerboard.png")
def checkerboard(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Pictures; the first one is shown.")
    ],
    layer: Annotated[
        list[str] | None,
        typer.Option(help="A layer (repeat for more); by default one a convolution or block."),
    ] = None,
    channel: Annotated[
        int | None, typer.Option(help="A feature map of every layer; by default the strongest.")
    ] = None,
    rank: Rank = None,
    reference: Reference = None,
    top: Annotated[
        int, typer.Option(help="How many of the strongest feature maps are measured.")
    ] = 8,
    rule: Rule = "deconvnet",
    budget: Annotated[
        str | None,
        typer.Option(metavar="SECONDS", help="Begin no projection after this long, such as 60."),
    ] = None,
    memory: Memory = "1GB",
) -> None:
    """Show the projection from each layer, and measure the grids that strides leave in them.

    Names the layers whose kernel and stride leave a grid, and kernels or strides that would not.
    Ctrl-C stops; what is done by then is written, marked as partial.
    """
