"""``convscope probe``: how well a linear classifier tells classes apart by each layer."""

from dataclasses import replace
from pathlib import Path

from convscope.cli.calls import taking
from convscope.cli.networks import NamedNetwork
from convscope.cli.options import Showing, open_images
from convscope.cli.printing import kept


@taking(output="probe.png")
def probe(
    network: NamedNetwork,
    shown: Showing,
    images: Path,
    layer: list[str] | None = None,
    against: str | None = None,
    grid: int = 2,
    folds: int = 5,
    sample: int = 2000,
    seed: int = 0,
    memory: str = "1GB",
) -> None:
    """Train a linear classifier on each layer's features, and see how far it gets.

    Args:
        images (IMAGES): A folder with class folders, or CIFAR-10's (its test images).
        layer: A layer (repeat for more); the images, and each stage's feature maps.
        against (MODEL): Another network beside it; random: this one, random weights.
        grid: Places each way that a map is averaged to.
        folds: Parts of the images, left out in turn.
        sample: How many images are taken, at most.
        seed: Of the parts.
    """
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
