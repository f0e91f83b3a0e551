"""``convscope explore``: a live page of one network."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.calls import taking
from convscope.cli.networks import NamedNetwork
from convscope.cli.options import Memory
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
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Another network, side by side (repeat for more)."),
    ] = None,
    port: Annotated[int, typer.Option(help="The next free one is taken.")] = 8420,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    memory: Memory = "1GB",
    export: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the page as files instead, computed ahead."),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Of the files: a layer (repeat for more); by default one a block."),
    ] = None,
    top: Annotated[int | None, typer.Option(help="Of the files: channels of a layer; 12.")] = None,
    patch: Annotated[int | None, typer.Option(help="Of the files: the patch's side.")] = None,
    stride: Annotated[
        int | None, typer.Option(help="Of the files: pixels from one patch to the next.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Of the files: how far to trust each; takes longer.")
    ] = False,
) -> None:
    """Open a live page: feature maps, projections, a patch to drag, channels to switch off.

    It is served to this machine alone, until Ctrl-C; nothing is written to disk but by --export.
    """
    from convscope.explorer.explore import explore as show
    from convscope.reading import decode_image
    from convscope.samples import SAMPLES
    from convscope.study.run import Run, is_run

    run = is_run(network.model) and network == NamedNetwork(network.model)
    net = Run.load(network.model) if run else network.load()
    others = [replace(network, model=model, weights="default").load() for model in against or ()]
    atlas = next((own for own in images or () if own.is_dir()), None)
    images = [own for own in images or () if own != atlas]
    shown = [*images] if images else [decode_image(one.content(), one.file) for one in SAMPLES]
    titles = None if images else [one.title for one in SAMPLES]
    with progress_bar("computing ahead") as advance:
        show(
            net, shown, against=others, atlas=atlas, titles=titles, port=port, browser=browser,
            memory=memory, export=export, layer=layer, top=top, patch=patch, stride=stride,
            trust=trust, ready=typer.echo, progress=advance,
        )  # fmt: skip
