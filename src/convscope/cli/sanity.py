"""``convscope sanity``: whether the picture depends on what it claims to show."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.calls import method
from convscope.cli.options import Budget, Memory, Target


@method("convscope.methods.sanity:sanity", "testing", "sanity.png")
def sanity(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture file.")],
    rule: Annotated[
        list[str] | None,
        typer.Option(
            help="deconvnet, guided, gradient, epsilon-plus, ... (repeat); the first three."
        ),
    ] = None,
    target: Target = None,
    layer: Annotated[
        str | None, typer.Option(help="Project a unit of this layer instead of a target.")
    ] = None,
    channel: Annotated[
        int | None, typer.Option(help="That unit's map; the most strongly activated.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many times to draw random weights.")] = 3,
    seed: Annotated[int, typer.Option(help="The first seed; the others follow it.")] = 0,
    init: Annotated[
        str,
        typer.Option(
            help="centred (normal, own deviation, kernels of mean zero), draw (own mean too) or "
            "permute."
        ),
    ] = "centred",
    others: Annotated[int, typer.Option(help="How many other units to compare with.")] = 10,
    other: Annotated[
        Path | None, typer.Option(help="Picture whose switches to take; IMAGE mirrored.")
    ] = None,
    budget: Budget = None,
    memory: Memory = "1GB",
) -> None:
    """Measure what projections depend on: weights, unit, switches, the image's edges.

    Ctrl-C stops; what is done by then is written, marked as partial.
    """
