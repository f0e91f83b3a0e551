"""``convscope draw``: the architecture as a figure."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import AsJson, Caption, Output, Width
from convscope.cli.printing import finish


@network_options("weights", "device", says_notes=False)
def draw(
    network: NamedNetwork,
    weights: Annotated[
        str | None, typer.Option(help="A .safetensors or .pth file; the drawing needs none.")
    ] = None,
    width: Width = "text",
    caption: Caption = "short",
    output: Output = Path("architecture.png"),
    as_json: AsJson = False,
) -> None:
    """Draw the architecture: a box for every layer, its maps' size and channels, and what skips."""
    from convscope.figures.style import style
    from convscope.methods.draw import Architecture
    from convscope.methods.draw import draw as drawn

    Architecture.check(output)
    style(width, caption)
    # An exported program brings its weights; for all else random ones save a download.
    own = "default" if network.model.endswith(".pt2") else "random"
    net = replace(network, weights=own if weights is None else weights).load()
    finish(drawn(net), output, as_json, width, caption)
