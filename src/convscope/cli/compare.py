"""``convscope compare``: two networks, or two trainings, side by side."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import (
    AsJson,
    Memory,
    open_images,
)
from convscope.cli.printing import print_json, print_line, progress_bar
from convscope.errors import ConvscopeError


@network_options("model", "weights")
def compare(
    network: NamedNetwork,
    first: Annotated[
        str, typer.Argument(metavar="A", help="A model, as for `convscope project`, or a RUN.")
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="Another model or RUN.")],
    images: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGES",
            help="A folder of pictures, in class folders or not, or CIFAR-10's (its test images).",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to write.")
    ] = Path("comparison"),
    layer: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B", help="Match these layers' channels (repeat for more)."),
    ] = None,
    sample: Annotated[int, typer.Option(help="On how many images, at most.")] = 500,
    budget: Annotated[
        str, typer.Option(metavar="SECONDS", help="Time for all of it; 'none' for no limit.")
    ] = "150",
    weights: Annotated[
        list[str] | None,
        typer.Option(help="A file of weights or 'random', for A; given twice, for A and B."),
    ] = None,
    memory: Memory = "1GB",
    as_json: AsJson = False,
) -> None:
    """Compare two networks: answers, cost, layers, faults, and channels that answer alike."""
    from convscope.methods.budget import Deadline, parse_bytes
    from convscope.methods.compare import compare as measure
    from convscope.outputs import check_folder
    from convscope.pages.comparison import comparison_report
    from convscope.wording import counted

    seconds = None if budget == "none" else budget
    Deadline(seconds)
    parse_bytes(memory)
    check_folder(output, "comparison", images)
    given = [*(weights or []), "default", "default"]
    if len(weights or []) > 2:
        raise ConvscopeError("--weights is given at most twice: for A, and for B")
    pairs = [_pair(text) for text in layer] if layer else None
    nets = tuple(
        replace(network, model=model, weights=own).load()
        for model, own in zip((first, second), given, strict=False)
    )
    sources = tuple(open_images(images, net) for net in nets)
    with progress_bar("comparing") as advance:
        found = measure(
            nets[0], nets[1], sources, pairs, sample=sample, budget=seconds, memory=memory,
            progress=advance,
        )  # fmt: skip
    page = comparison_report(found, (nets[0], nets[1]), (sources[0], sources[1]), output)
    if as_json:
        print_json({"page": str(page), **found.to_dict()})
        return
    print_line(str(page))
    for name, side in zip(found.names, found.sides, strict=True):
        right = "" if side.accuracy is None else f"{side.accuracy:.1%} right, "
        dead, channels = side.dead
        print_line(
            f"  {name}: {right}{side.parameters:,} parameters, {side.multiply_adds:,} "
            f"multiply-adds, {dead} of {channels:,} channels dead, "
            f"{counted(len(side.diagnosis.findings), 'finding')}"
        )
    for match in found.matches:
        print_line(
            f"  {match.layers[0]} and {match.layers[1]}: median correlation "
            f"{match.first.median:.2f} (by chance {match.first.chance:.2f})"
        )
    for sentence in found.left_out:
        print_line(f"  left out: {sentence}")


def _pair(text: str) -> tuple[str, str]:
    """Return two layers given as ``A,B``; one name stands for both."""
    names = text.split(",")
    if len(names) > 2 or not all(names):
        raise ConvscopeError(f"--layer is a layer of A and one of B, as conv1,conv2, not {text!r}")
    return names[0], names[-1]
