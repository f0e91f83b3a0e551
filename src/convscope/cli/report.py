"""``convscope report``: all of it, on one page."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.calls import taking
from convscope.cli.networks import NamedNetwork
from convscope.cli.options import AsJson, Memory, PictureFolder, Showing, open_images
from convscope.cli.printing import kept


@taking()
def report(
    network: NamedNetwork,
    images: PictureFolder,
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="The folder to write; or numbers (.json), findings (.csv) or all of it (.npz, "
            ".safetensors).",
        ),
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
    from convscope.methods.budget import Deadline
    from convscope.outputs import check_folder
    from convscope.pages.report import report as make
    from convscope.pages.report_result import Report

    seconds = None if budget == "none" else budget
    Deadline(seconds)
    folder = None if Report.check(output).suffix else check_folder(output, Report.folder, images)
    net = network.load()
    source = open_images(images, net)
    found = kept(
        "reporting", make, net, source, picture, folder=folder, budget=seconds, memory=memory
    )
    Showing(output=output, as_json=as_json).finish(found)
