"""``convscope compare``: two networks, or two trainings, side by side."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from convscope.cli.calls import method
from convscope.cli.networks import NamedNetwork
from convscope.errors import ConvscopeError


@method("convscope.methods.compare:compare", "comparing", "comparison", "model", "weights")
def compare(
    network: NamedNetwork,
    first: str,
    second: str,
    images: Path,
    layer: list[str] | None = None,
    rule: str = "deconvnet",
    method: str = "epsilon-plus",
    sample: int = 500,
    budget: str = "150",
    weights: list[str] | None = None,
    memory: str = "1GB",
) -> dict[str, Any]:
    """Compare two networks: answers, cost, layers, faults, and channels that answer alike.

    An output without an ending is a folder, for the page of all of it. Ctrl-C stops; what is done
    by then is written, marked as partial.

    Args:
        first (A): A model, as for `convscope project`, or a RUN.
        second (B): Another model or RUN.
        images (IMAGES): A folder of pictures, in class folders or not, or CIFAR-10's (its test
            images).
        layer (A,B): Match these layers' channels (repeat for more).
        rule: Of what drives channels: deconvnet, guided, epsilon-plus, ...
        method: Of what answers hang on, as `convscope rules` lists.
        sample: On how many images, at most.
        budget (SECONDS): Time for all of it; 'none' for no limit.
        weights: A file of weights or 'random', for A; given twice, for A and B.
    """
    from convscope.methods.attribute import method_named

    method_named(method)
    given = [*(weights or []), "default", "default"]
    if len(weights or []) > 2:
        raise ConvscopeError("--weights is given at most twice: for A, and for B")
    return {
        "first": None, "second": None, "weights": None,
        "layer": [_pair(text) for text in layer or ()],
        "networks": [
            replace(network, model=model, weights=own)
            for model, own in zip((first, second), given, strict=False)
        ],
    }  # fmt: skip


def _pair(text: str) -> tuple[str, str]:
    """Return two layers given as ``A,B``; one name stands for both."""
    names = text.split(",")
    if len(names) > 2 or not all(names):
        raise ConvscopeError(f"--layer is a layer of A and one of B, as conv1,conv2, not {text!r}")
    return names[0], names[-1]
