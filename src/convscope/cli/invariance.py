"""``convscope invariance``: images moved, enlarged and turned, and what becomes of the features."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import AsJson, Budget, Caption, Memory, Output, Width
from convscope.cli.printing import finish, kept, progress_bar


@network_options()
def invariance(
    network: NamedNetwork,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Picture files.")],
    layer: Annotated[
        list[str] | None,
        typer.Option(help="A layer (repeat for more); the first block's, the middle's, the last."),
    ] = None,
    transform: Annotated[
        list[str] | None,
        typer.Option(help="translation, scale or rotation (repeat for more); all three."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="A class, by number or name, one for all or one an image; the answer."),
    ] = None,
    steps: Annotated[int, typer.Option(help="How many amounts of each transformation.")] = 25,
    fill: Annotated[
        str, typer.Option(help="Beyond the image: reflect, gray, black, mean, image-mean, #rrggbb.")
    ] = "reflect",
    budget: Budget = None,
    memory: Memory = "1GB",
    width: Width = "text",
    caption: Caption = "short",
    output: Output = Path("invariance.png"),
    as_json: AsJson = False,
) -> None:
    """Move, enlarge and turn images, and show how far features and answer follow.

    Ctrl-C stops; what is done by then is written, marked as partial.
    """
    from convscope.figures.invariance import check_fits
    from convscope.figures.style import style
    from convscope.methods.invariance import invariance as measure
    from convscope.methods.invariance_result import Invariance
    from convscope.results import FIGURES

    Invariance.check(output)
    style(width, caption)
    if output.suffix.lower() in FIGURES:
        check_fits(len(images))
    net = network.load()
    targets = None if not target else target[0] if len(target) == 1 else target
    with progress_bar("transforming") as advance:
        found = kept(
            lambda: measure(
                net, images, layer, transform, targets, steps=steps, fill=fill, memory=memory,
                budget=budget, progress=advance,
            )
        )  # fmt: skip
    finish(found, output, as_json, width, caption)
