"""``convscope sanity``: whether the picture depends on what it claims to show."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import (
    PICTURES,
    AsJson,
    Memory,
)
from convscope.cli.printing import print_json, print_line, progress_bar

TENSORS = (".safetensors",)


@network_options()
def sanity(
    network: NamedNetwork,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture file.")],
    rule: Annotated[
        list[str] | None,
        typer.Option(help="deconvnet, guided or gradient (repeat for more); all three."),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="A class, by number or name; the most probable one.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Project a unit of this layer instead of a class.")
    ] = None,
    channel: Annotated[
        int | None, typer.Option(help="That unit's map; the most strongly activated.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many times to draw random weights.")] = 3,
    seed: Annotated[int, typer.Option(help="The first seed; the others follow it.")] = 0,
    init: Annotated[
        str,
        typer.Option(
            help="centred (normal, own deviation, kernels of mean zero), draw (own mean too) or "
            "permute."
        ),
    ] = "centred",
    others: Annotated[int, typer.Option(help="How many other units to compare with.")] = 10,
    other: Annotated[
        Path | None, typer.Option(help="Picture whose switches to take; IMAGE mirrored.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="SECONDS", help="Stop after so many seconds.")
    ] = None,
    memory: Memory = "1GB",
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .png, .svg, .pdf or .safetensors file.")
    ] = Path("sanity.png"),
    as_json: AsJson = False,
) -> None:
    """Measure what projections depend on: weights, unit, switches, the image's edges.

    Ctrl-C stops; what is done by then is written, marked as partial.
    """
    from convscope.figures.sanity import sanity_figure
    from convscope.methods.sanity import sanity as measure
    from convscope.outputs import check_output, written_beside

    check_output(output, PICTURES + TENSORS)
    net = network.load()
    inputs = net.preprocess(image)
    rules = {"rules": rule} if rule else {}
    with progress_bar(f"testing {image.name}") as advance:
        found = measure(
            net, inputs, target, layer, channel, seeds=seeds, seed=seed, initialisation=init,
            others=others, other=net.preprocess(other) if other else None,
            other_name=other.name if other else "", memory=memory, budget=budget,
            progress=advance, **rules,
        )  # fmt: skip
    if output.suffix.lower() in TENSORS:
        found.save(output)
    else:
        figure = sanity_figure(found, inputs[0], net.preprocess, image.name)
        with written_beside(output) as beside:
            figure.save(beside)
    if as_json:
        print_json({"output": str(output), "image": str(image), **found.to_dict()})
        return
    print_line(str(output))
    print_line(f"{image.name}: {found.unit}")
    for sentence in found.verdicts().values():
        print_line(f"  {sentence}")
    if found.partial:
        print_line(f"  partial: {found.notes[-1]}")
