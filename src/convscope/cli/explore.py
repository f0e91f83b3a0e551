"""``convscope explore``: a live page of one network."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.calls import taking
from convscope.cli.networks import NamedNetwork
from convscope.cli.printing import progress_bar


@taking()
def explore(
    network: NamedNetwork,
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IMAGE...] [ATLAS]",
            help="Picture files, by default the samples; and a folder that `convscope scan` made.",
        ),
    ] = None,
    against: list[str] | None = None,
    port: int = 8420,
    browser: bool = True,
    memory: str = "1GB",
    export: Path | None = None,
    layer: list[str] | None = None,
    top: int | None = None,
    patch: int | None = None,
    stride: int | None = None,
    trust: bool = False,
) -> None:
    """Open a live page: feature maps, projections, a patch to drag, channels to switch off.

    It is served to this machine alone, until Ctrl-C; nothing is written to disk but by --export.

    Args:
        against (MODEL): Another network, side by side (repeat for more).
        port: The next free one is taken.
        browser: Open the page in the browser.
        export (DIR): Write the page as files instead, computed ahead.
        layer: Of the files: a layer (repeat for more); by default one a block.
        top: Of the files: channels of a layer; 12.
        patch: Of the files: the patch's side.
        stride: Of the files: pixels from one patch to the next.
        trust: Of the files: how far to trust each; takes longer.
    """
    from convscope.explorer.explore import explore as show
    from convscope.study.run import Run, is_run

    run = is_run(network.model) and network == NamedNetwork(network.model)
    net = Run.load(network.model) if run else network.load()
    others = [replace(network, model=model, weights="default").load() for model in against or ()]
    atlas = next((own for own in images or () if own.is_dir()), None)
    shown = [own for own in images or () if own != atlas] or None
    with progress_bar("computing ahead") as advance:
        show(
            net, shown, against=others, atlas=atlas, port=port, browser=browser, memory=memory,
            export=export, layer=layer, top=top, patch=patch, stride=stride,
            trust=trust, ready=typer.echo, progress=advance,
        )  # fmt: skip
