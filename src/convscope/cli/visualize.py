"""``convscope visualize``: pictures that drive channels as far as they go."""

from pathlib import Path
from typing import Annotated, Any

import typer

from convscope.cli.calls import method
from convscope.cli.options import Memory


@method("convscope.methods.visualize:visualize", "optimising", "visualization.png")
def visualize(
    layer: Annotated[str, typer.Option(help="A layer.")],
    channel: Annotated[list[int], typer.Option(help="A channel (repeat for more).")],
    select: Annotated[
        str, typer.Option(help="peak: one unit amid the map; map: the mean of the whole map.")
    ] = "peak",
    frequencies: Annotated[
        str, typer.Option(help="free; or natural: each as strong as in photographs.")
    ] = "free",
    atlas: Annotated[
        Path | None,
        typer.Option(metavar="ATLAS", help="Show the strongest real patches beside each picture."),
    ] = None,
    steps: Annotated[int, typer.Option(help="Of the ascent.")] = 128,
    seed: Annotated[int, typer.Option(help="Of its beginning.")] = 0,
    memory: Memory = "1GB",
) -> dict[str, Any]:
    """Find a picture that drives each channel as far as it goes, by optimisation."""
    from convscope.atlas.atlas import Atlas

    return {"atlas": None if atlas is None else Atlas(atlas)}
