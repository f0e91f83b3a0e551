"""``convscope compare``: two networks, or two trainings, side by side."""

from dataclasses import replace
from typing import Annotated

import typer

from convscope.cli.calls import taking
from convscope.cli.networks import NamedNetwork
from convscope.cli.options import Memory, PictureFolder, Showing, open_images
from convscope.cli.printing import kept
from convscope.errors import ConvscopeError


@taking("model", "weights", output="comparison")
def compare(
    network: NamedNetwork,
    shown: Showing,
    first: Annotated[
        str, typer.Argument(metavar="A", help="A model, as for `convscope project`, or a RUN.")
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="Another model or RUN.")],
    images: PictureFolder,
    layer: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B", help="Match these layers' channels (repeat for more)."),
    ] = None,
    rule: Annotated[
        str, typer.Option(help="Of what drives channels: deconvnet, guided, epsilon-plus, ...")
    ] = "deconvnet",
    method: Annotated[
        str, typer.Option(help="Of what answers hang on, as `convscope rules` lists.")
    ] = "epsilon-plus",
    sample: Annotated[int, typer.Option(help="On how many images, at most.")] = 500,
    budget: Annotated[
        str, typer.Option(metavar="SECONDS", help="Time for all of it; 'none' for no limit.")
    ] = "150",
    weights: Annotated[
        list[str] | None,
        typer.Option(help="A file of weights or 'random', for A; given twice, for A and B."),
    ] = None,
    memory: Memory = "1GB",
) -> None:
    """Compare two networks: answers, cost, layers, faults, and channels that answer alike.

    An output without an ending is a folder, for the page of all of it. Ctrl-C stops; what is done
    by then is written, marked as partial.
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
