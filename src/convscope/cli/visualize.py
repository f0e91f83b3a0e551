"""``convscope visualize``: pictures that drive channels as far as they go."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import AsJson, Caption, Memory, Output, Width
from convscope.cli.printing import finish, kept, progress_bar


@network_options()
def visualize(
    network: NamedNetwork,
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
    width: Width = "text",
    caption: Caption = "short",
    output: Output = Path("visualization.png"),
    as_json: AsJson = False,
) -> None:
    """Find a picture that drives each channel as far as it goes, by optimisation."""
    from convscope.atlas.atlas import Atlas
    from convscope.figures.style import style
    from convscope.methods.visualization import Visualization
    from convscope.methods.visualize import visualize

    Visualization.check(output)
    style(width, caption)
    beside = None if atlas is None else Atlas(atlas)
    net = network.load()
    with progress_bar("optimising") as advance:
        found = kept(
            lambda: visualize(
                net, layer, channel, select=select, frequencies=frequencies, atlas=beside,
                steps=steps, seed=seed, memory=memory, progress=advance,
            )
        )  # fmt: skip
    finish(found, output, as_json, width, caption)
