"""``convscope trace-unit``: which channels feed a unit, and which feed those."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import AsJson, Caption, Memory, Output, Rule, Width
from convscope.cli.printing import finish, progress_bar
from convscope.errors import UnitError


@network_options()
def trace_unit(
    network: NamedNetwork,
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
    width: Width = "text",
    caption: Caption = "short",
    output: Output = Path("trace.png"),
    as_json: AsJson = False,
) -> None:
    """Trace a unit down to the channels that feed it, to those that feed them, and to pixels."""
    from convscope.figures.style import style
    from convscope.methods.trace_unit import UnitTrace
    from convscope.methods.trace_unit import trace_unit as trace

    UnitTrace.check(output)
    style(width, caption)
    place = None
    if position is not None:
        try:
            row, column = map(int, position.split(","))
        except ValueError:
            message = f"--position is a row and a column, as 3,7, not {position!r}"
            raise UnitError(message) from None
        place = row, column
    net = network.load()
    with progress_bar("tracing") as advance:
        found = trace(
            net, image, layer, channel, place, to=to or None, top=top, rule=rule, memory=memory,
            progress=advance,
        )  # fmt: skip
    finish(found, output, as_json, width, caption)
