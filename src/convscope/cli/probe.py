"""``convscope probe``: how well a linear classifier tells classes apart by each layer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from convscope.cli.calls import method
from convscope.cli.networks import NamedNetwork


@method("convscope.methods.probe:probe", "probing", "probe.png")
def probe(
    network: NamedNetwork,
    images: Path,
    layer: list[str] | None = None,
    against: str | None = None,
    grid: int = 2,
    folds: int = 5,
    sample: int = 2000,
    seed: int = 0,
    memory: str = "1GB",
) -> dict[str, Any]:
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
    from convscope.methods.probe import learning

    learning("linear_model")
    if against is None:
        return {}
    model, weights = (network.model, "random") if against == "random" else (against, "default")
    return {"against": replace(network, model=model, weights=weights).load()}
