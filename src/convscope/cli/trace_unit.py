"""``convscope trace-unit``: which channels feed a unit, and which feed those."""

from pathlib import Path
from typing import Any

from convscope.cli.calls import method
from convscope.cli.options import numbers_of


@method("convscope.methods.trace_unit:trace_unit", "tracing", "trace.png")
def trace_unit(
    image: Path,
    layer: str,
    channel: int,
    position: str | None = None,
    to: list[str] | None = None,
    top: int = 5,
    rule: str = "epsilon-plus",
    memory: str = "1GB",
) -> dict[str, Any]:
    """Trace a unit down to the channels that feed it, to those that feed them, and to pixels.

    Args:
        image (IMAGE): A picture file.
        layer: The unit's layer.
        channel: Its feature map.
        position (ROW,COLUMN): Its place in that; the map's peak.
        to: A layer to go through (repeat for more); one in each of three blocks.
        top: How many feeders to follow of each channel.
    """
    if position is None:
        return {}
    place = numbers_of(position, "--position", "a row and a column, as 3,7", int, counts=(2,))
    return {"position": tuple(place)}
