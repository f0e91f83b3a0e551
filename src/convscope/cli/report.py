"""``convscope report``: all of it, on one page."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.console import INTERRUPTED
from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import (
    AsJson,
    Memory,
    open_images,
    say_least,
)
from convscope.cli.printing import print_json, print_line, progress_bar

FINDINGS_SHOWN = 10


@network_options()
def report(
    network: NamedNetwork,
    images: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGES",
            help="A folder of pictures, in class folders or not, or CIFAR-10's (its test images).",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to write.")
    ] = Path("report"),
    picture: Annotated[
        list[Path] | None,
        typer.Option(help="A picture to look at closely (repeat for more); two of IMAGES."),
    ] = None,
    budget: Annotated[
        str, typer.Option(metavar="SECONDS", help="Time for all of it; 'none' for no limit.")
    ] = "200",
    memory: Memory = "1GB",
    as_json: AsJson = False,
) -> None:
    """Report on a network: architecture, diagnosis, and what it sees in a few pictures, as a page.

    What is done is kept: the same command again goes on where it was, or where the time ran out.
    """
    from convscope.methods.budget import Deadline, parse_bytes
    from convscope.outputs import check_folder
    from convscope.pages.report import KIND
    from convscope.pages.report import report as write

    seconds = None if budget == "none" else budget
    Deadline(seconds)
    parse_bytes(memory)
    check_folder(output, KIND, images)
    net = network.load()
    say_least(net, memory)
    source = open_images(images, net)
    pictures = [net.preprocess(path) for path in picture] if picture else None
    names = [path.name for path in picture] if picture else None
    with progress_bar("reporting") as advance:
        found = write(
            net, source, output, pictures, names=names, budget=seconds, memory=memory,
            progress=advance,
        )  # fmt: skip
    if as_json:
        print_json(found.to_dict())
    else:
        print_line(str(found.page))
        findings = found.to_dict()["findings"]
        for sentence in findings[:FINDINGS_SHOWN]:
            print_line(f"  {sentence}")
        if len(findings) > FINDINGS_SHOWN:
            print_line(f"  and {len(findings) - FINDINGS_SHOWN} more on the page")
        if not findings:
            print_line("  nothing wrong was found")
        for sentence in found.missing:
            print_line(f"  missing: {sentence}")
    if found.interrupted:
        raise typer.Exit(INTERRUPTED)
