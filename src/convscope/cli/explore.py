"""``convscope explore``: a live page of one network."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import Memory
from convscope.cli.printing import print_line


@network_options()
def explore(
    network: NamedNetwork,
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGE...]", help="Picture files; by default the samples."),
    ] = None,
    port: Annotated[int, typer.Option(help="The next free one is taken.")] = 8420,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    memory: Memory = "1GB",
) -> None:
    """Open a live page: feature maps, projections, a patch to drag, channels to switch off.

    It is served to this machine alone, until Ctrl-C; nothing is written to disk.
    """
    from convscope.explorer.server import explore as serve
    from convscope.images import decode_image
    from convscope.methods.budget import parse_bytes
    from convscope.samples import SAMPLES

    parse_bytes(memory)
    net = network.load()
    shown = [*images] if images else [decode_image(one.content(), one.file) for one in SAMPLES]
    titles = None if images else [one.title for one in SAMPLES]
    serve(net, shown, titles=titles, port=port, browser=browser, memory=memory, ready=print_line)
