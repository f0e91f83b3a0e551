"""``convscope draw``: the architecture as a figure."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.options import PICTURES, Answer, AsJson, Head, Model, Random, Size, load_network
from convscope.cli.printing import print_json, print_line


def draw(
    model: Model,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .png, .svg or .pdf file.")
    ] = Path("architecture.png"),
    weights: Annotated[
        str | None, typer.Option(help="A .safetensors or .pth file; the drawing needs none.")
    ] = None,
    size: Size = None,
    answer: Answer = None,
    head: Head = None,
    random: Random = "refuse",
    as_json: AsJson = False,
) -> None:
    """Draw the architecture: a box for every layer, its maps' size and channels, and what skips."""
    from convscope.figures.architecture import draw as drawn
    from convscope.outputs import check_output, written_beside

    check_output(output, PICTURES)
    # An exported program brings its weights; for all else random ones save a download.
    own = "default" if model.endswith(".pt2") else "random"
    net = load_network(model, weights or own, size, "cpu", answer, head, random=random)
    found = drawn(net)
    with written_beside(output) as beside:
        found.save(beside)
    if as_json:
        print_json({"output": str(output), **found.to_dict()})
        return
    print_line(str(output))
    print_line(f"  {len(found.volumes)} volumes, {len(found.drawing.boxes)} drawn as boxes")
