"""``convscope report``: all of it, on one page."""

from pathlib import Path

from convscope.cli.calls import taking
from convscope.cli.networks import NamedNetwork
from convscope.cli.options import Showing, open_images
from convscope.cli.printing import kept


@taking()
def report(
    network: NamedNetwork,
    images: Path,
    output: Path = Path("report"),
    picture: list[Path] | None = None,
    budget: str = "200",
    memory: str = "1GB",
    as_json: bool = False,
) -> None:
    """Report on a network: architecture, diagnosis, and what it sees in a few pictures, as a page.

    What is done is kept: the same command again goes on where it was, or where the time ran out.

    Args:
        images (IMAGES): A folder of pictures, in class folders or not, or CIFAR-10's (its test
            images).
        output: The folder to write; or numbers (.json), findings (.csv) or all of it (.npz,
            .safetensors).
        picture: A picture to look at closely (repeat for more); two of IMAGES.
        budget (SECONDS): Time for all of it; 'none' for no limit.
    """
    from convscope.methods.budget import Deadline
    from convscope.pages.report import report as make
    from convscope.pages.report_result import Report

    Deadline(budget)
    folder = None if Report.check(output, images).suffix else output
    net = network.load()
    source = open_images(images, net)
    found = kept(
        "reporting", make, net, source, picture, folder=folder, budget=budget, memory=memory
    )
    Showing(output=output, as_json=as_json).finish(found)
