"""``convscope draw``: the architecture as a figure."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import PICTURES, AsJson
from convscope.cli.printing import print_json, print_line


@network_options("weights", "device", says_notes=False)
def draw(
    network: NamedNetwork,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .png, .svg or .pdf file.")
    ] = Path("architecture.png"),
    weights: Annotated[
        str | None, typer.Option(help="A .safetensors or .pth file; the drawing needs none.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw the architecture: a box for every layer, its maps' size and channels, and what skips."""
    from convscope.figures.architecture import draw as drawn
    from convscope.outputs import check_output, written_beside

    check_output(output, PICTURES)
    # An exported program brings its weights; for all else random ones save a download.
    own = "default" if network.model.endswith(".pt2") else "random"
    net = replace(network, weights=own if weights is None else weights).load()
    found = drawn(net)
    with written_beside(output) as beside:
        found.save(beside)
    if as_json:
        print_json({"output": str(output), **found.to_dict()})
        return
    print_line(str(output))
    print_line(f"  {len(found.volumes)} volumes, {len(found.drawing.boxes)} drawn as boxes")
