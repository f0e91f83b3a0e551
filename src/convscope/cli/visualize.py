"""``convscope visualize``: pictures that drive channels as far as they go."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import Memory, Showing, result_options
from convscope.cli.printing import kept


@network_options()
@result_options("visualization.png")
def visualize(
    network: NamedNetwork,
    shown: Showing,
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
) -> None:
    """Find a picture that drives each channel as far as it goes, by optimisation."""
    from convscope.atlas.atlas import Atlas
    from convscope.methods.visualization import Visualization
    from convscope.methods.visualize import visualize

    shown.check(Visualization)
    beside = None if atlas is None else Atlas(atlas)
    net = network.load()
    found = kept(
        "optimising", visualize, net, layer, channel, select=select, frequencies=frequencies,
        atlas=beside, steps=steps, seed=seed, memory=memory,
    )  # fmt: skip
    shown.finish(found)
