"""``convscope trace-unit``: which channels feed a unit, and which feed those."""

from pathlib import Path
from typing import Annotated, Any

import typer

from convscope.cli.calls import method
from convscope.cli.options import Memory, Rule, numbers_of


@method("convscope.methods.trace_unit:trace_unit", "tracing", "trace.png")
def trace_unit(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture file.")],
    layer: Annotated[str, typer.Option(help="The unit's layer.")],
    channel: Annotated[int, typer.Option(help="Its feature map.")],
    position: Annotated[
        str | None, typer.Option(metavar="ROW,COLUMN", help="Its place in that; the map's peak.")
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option(help="A layer to go through (repeat for more); one in each of three blocks."),
    ] = None,
    top: Annotated[int, typer.Option(help="How many feeders to follow of each channel.")] = 5,
    rule: Rule = "epsilon-plus",
    memory: Memory = "1GB",
) -> dict[str, Any]:
    """Trace a unit down to the channels that feed it, to those that feed them, and to pixels."""
    if position is None:
        return {}
    place = numbers_of(position, "--position", "a row and a column, as 3,7", int, counts=(2,))
    return {"position": tuple(place)}
