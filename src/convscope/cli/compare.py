"""``convscope compare``: two networks, or two trainings, side by side."""

from dataclasses import replace
from pathlib import Path

from convscope.cli.calls import taking
from convscope.cli.networks import NamedNetwork
from convscope.cli.options import Showing, open_images
from convscope.cli.printing import kept
from convscope.errors import ConvscopeError


@taking("model", "weights", output="comparison")
def compare(
    network: NamedNetwork,
    shown: Showing,
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
) -> None:
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
    from convscope.methods.budget import Deadline
    from convscope.methods.compare import compare as measure
    from convscope.methods.compare_result import Comparison
    from convscope.network.rules import rule_named
    from convscope.outputs import check_folder

    shown.check(Comparison)
    if not shown.output.suffix:
        check_folder(shown.output, Comparison.folder, images)
    rule_named(rule)
    method_named(method)
    seconds = None if budget == "none" else budget
    Deadline(seconds)
    given = [*(weights or []), "default", "default"]
    if len(weights or []) > 2:
        raise ConvscopeError("--weights is given at most twice: for A, and for B")
    pairs = [_pair(text) for text in layer] if layer else None
    nets = tuple(
        replace(network, model=model, weights=own).load()
        for model, own in zip((first, second), given, strict=False)
    )
    sources = tuple(open_images(images, net) for net in nets)
    found = kept(
        "comparing", measure, nets[0], nets[1], sources, pairs, rule=rule, method=method,
        sample=sample, budget=seconds, memory=memory,
    )  # fmt: skip
    shown.finish(found)


def _pair(text: str) -> tuple[str, str]:
    """Return two layers given as ``A,B``; one name stands for both."""
    names = text.split(",")
    if len(names) > 2 or not all(names):
        raise ConvscopeError(f"--layer is a layer of A and one of B, as conv1,conv2, not {text!r}")
    return names[0], names[-1]
