"""``convscope trace-unit``: which channels feed a unit, and which feed those."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import Memory, Rule, Showing, result_options
from convscope.cli.printing import kept
from convscope.errors import UnitError


@network_options()
@result_options("trace.png")
def trace_unit(
    network: NamedNetwork,
    shown: Showing,
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
) -> None:
    """Trace a unit down to the channels that feed it, to those that feed them, and to pixels."""
    from convscope.methods.trace_unit import UnitTrace
    from convscope.methods.trace_unit import trace_unit as trace

    shown.check(UnitTrace)
    place = None if position is None else position.split(",")
    if place and not (len(place) == 2 and all(part.strip().isdecimal() for part in place)):
        raise UnitError(f"--position is a row and a column, as 3,7, not {position!r}")
    at = None if place is None else (int(place[0]), int(place[1]))
    net = network.load()
    found = kept(
        "tracing", trace, net, image, layer, channel, at, to=to or None, top=top, rule=rule,
        memory=memory,
    )  # fmt: skip
    shown.finish(found)
