"""``convscope correspondence``: the same part hidden in several images."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import (
    PICTURES,
    AsJson,
)
from convscope.cli.printing import print_json, print_line, progress_bar

if TYPE_CHECKING:
    from torch import Tensor

    from convscope.methods.correspondence_result import Correspondence

TENSORS = (".safetensors",)


@network_options()
def correspondence(
    network: NamedNetwork,
    parts: Annotated[
        Path,
        typer.Argument(
            metavar="PARTS.csv",
            help="A table: image, part, left, top, right, bottom, in pixels of the pictures.",
        ),
    ],
    layer: Annotated[
        list[str] | None,
        typer.Option(help="A layer (repeat for more); the first block's, the middle's, the last."),
    ] = None,
    fill: Annotated[
        str, typer.Option(help="What hides a part: gray, black, mean, blur, ...; see occlude.")
    ] = "gray",
    repeats: Annotated[
        int, typer.Option(help="How many random boxes to draw for each part and image.")
    ] = 10,
    seed: Annotated[int, typer.Option(help="Of the random places.")] = 0,
    budget: Annotated[
        str | None, typer.Option(metavar="SECONDS", help="Stop after so many seconds.")
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .png, .svg, .pdf or .safetensors file.")
    ] = Path("correspondence.png"),
    as_json: AsJson = False,
) -> None:
    """Hide the same part in several images and compare how a layer's features change.

    Ctrl-C stops; what is done by then is written, marked as partial.
    """
    from convscope.figures.correspondence import correspondence_figure
    from convscope.methods.correspondence import correspondence as measure
    from convscope.methods.parts import read_parts
    from convscope.outputs import check_output, written_beside

    check_output(output, PICTURES + TENSORS)
    net = network.load()
    marked = read_parts(parts, net.preprocess)
    with progress_bar(f"hiding parts of {len(marked.files)} images") as advance:
        found = measure(
            net, marked.images, marked.parts, layer, fill=fill, repeats=repeats, seed=seed,
            budget=budget, progress=advance,
        )  # fmt: skip
    if output.suffix.lower() in TENSORS:
        found.save(output)
    else:
        names = [path.name for path in marked.files]
        figure = correspondence_figure(found, marked.images, net.preprocess, names)
        with written_beside(output) as beside:
            figure.save(beside)
    if as_json:
        files = [str(path) for path in marked.files]
        print_json({"output": str(output), "images": files, **found.to_dict()})
        return
    print_line(str(output))
    _print(found)


def _print(found: "Correspondence") -> None:
    """Print one table a layer, as table 1 of Zeiler & Fergus."""
    random, random_error = found.control("random")
    same, same_error = found.control("same_place")
    wide = max(len("hidden"), *(len(name) for name in found.parts))
    for at, layer in enumerate(found.layers):
        print_line(f"{layer}: share of features whose change has another sign, ± standard error")
        print_line(
            f"  {'hidden':{wide}}  {'the part':>15}  {'random places':>15}  "
            f"{'one random place':>16}  changed at all"
        )
        for p, name in enumerate(found.parts):
            print_line(
                f"  {name:{wide}}  {_with_error(found.difference[p, at], found.error[p, at]):>15}"
                f"  {_with_error(random[p, at], random_error[p, at]):>15}"
                f"  {_with_error(same[p, at], same_error[p, at]):>16}"
                f"  {float(found.changed[p, at]):>14.1%}"
            )
    if found.partial:
        print_line(f"partial: {found.notes[-1]}")


def _with_error(value: "Tensor", error: "Tensor") -> str:
    own, deviation = float(value), float(error)
    if math.isnan(own):
        return "none"
    return f"{own:.3f}" if math.isnan(deviation) else f"{own:.3f} ± {deviation:.3f}"
