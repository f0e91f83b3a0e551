"""``convscope probe``: how well a linear classifier tells classes apart by each layer."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.calls import taking
from convscope.cli.networks import NamedNetwork
from convscope.cli.options import Memory, Showing, open_images
from convscope.cli.printing import kept


@taking(output="probe.png")
def probe(
    network: NamedNetwork,
    shown: Showing,
    images: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGES", help="A folder with class folders, or CIFAR-10's (its test images)."
        ),
    ],
    layer: Annotated[
        list[str] | None,
        typer.Option(help="A layer (repeat for more); the images, and each stage's feature maps."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Another network beside it; random: this one, random weights."
        ),
    ] = None,
    grid: Annotated[int, typer.Option(help="Places each way that a map is averaged to.")] = 2,
    folds: Annotated[int, typer.Option(help="Parts of the images, left out in turn.")] = 5,
    sample: Annotated[int, typer.Option(help="How many images are taken, at most.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the parts.")] = 0,
    memory: Memory = "1GB",
) -> None:
    """Train a linear classifier on each layer's features, and see how far it gets."""
    from convscope.methods.probe import Probe, learning
    from convscope.methods.probe import probe as measure

    shown.check(Probe)
    learning("linear_model")
    net, other = network.load(), None
    if against is not None:
        twin = against == "random"
        model, weights = (network.model, "random") if twin else (against, "default")
        other = replace(network, model=model, weights=weights).load()
    found = kept(
        "probing", measure, net, open_images(images, net), layer or None, against=other, grid=grid,
        folds=folds, sample=sample, seed=seed, memory=memory,
    )  # fmt: skip
    shown.finish(found)
