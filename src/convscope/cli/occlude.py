"""``convscope occlude``: where the answer hangs on the image."""

from typing import Annotated, Any

import typer

from convscope.cli.calls import method
from convscope.cli.options import Memory, Pictures, Showing, Targets, numbers_of, one_or_all


@method(
    "convscope.methods.occlude:occlude_all",
    "occluding",
    "occlusion.png",
    "A figure (.png, .svg, .pdf), a film of the patch (.gif, .mp4), numbers (.json, "
    ".csv) or arrays (.npz, .safetensors).",
)
def occlude(
    shown: Showing,
    images: Pictures,
    patch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N or H,W", help="Size of the patch (repeat); a seventh of the image's side."
        ),
    ] = None,
    stride: Annotated[
        str | None,
        typer.Option(metavar="N or H,W", help="Pixels between positions; for some 28 a side."),
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(
            metavar="FILE or channels",
            help="Hide, instead of patches, the parts of this picture, one grey or colour each.",
        ),
    ] = None,
    fill: Annotated[
        str,
        typer.Option(
            help="gray, black, mean (of the data set), image-mean, local-mean, blur, noise, "
            "#rrggbb, or a number in the network's input space."
        ),
    ] = "gray",
    target: Targets = None,
    layer: Annotated[
        str | None, typer.Option(help="A layer whose feature map is watched too.")
    ] = None,
    channel: Annotated[
        int | None, typer.Option(help="That map; by default the most strongly activated.")
    ] = None,
    method: Annotated[str, typer.Option(help="exact, full or adaptive.")] = "exact",
    positions: Annotated[
        int | None,
        typer.Option(help="For adaptive: how many positions to compute; by default a third."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="SECONDS", help="For adaptive: compute positions for so long."),
    ] = None,
    precision: Annotated[str, typer.Option(help="float32, or for adaptive bfloat16.")] = "float32",
    scale: Annotated[
        str, typer.Option(help="tile: each map on its own scale; shared: all on one.")
    ] = "tile",
    rule: Annotated[
        str, typer.Option(help="Of the watched map's projection: deconvnet, guided, ...")
    ] = "deconvnet",
    memory: Memory = "1GB",
) -> dict[str, Any]:
    """Slide a patch over images and show where the network's answer hangs on them.

    Ctrl-C stops; what is done by then is written, marked as partial.
    """
    from convscope.display import Display
    from convscope.figures.occlude import check_fits
    from convscope.figures.style import style

    Display(scale)
    sizes = [_size(text, "--patch") for text in patch] if patch else [None]
    if shown.drawn:
        maps = len(images) * len(sizes) * len(target or [""])
        check_fits(maps, style(shown.width, shown.caption))
    return {
        "patch": None,
        "patches": sizes,
        "stride": None if stride is None else _size(stride, "--stride"),
        "fill": _fill(fill),
        "target": one_or_all(target),
    }


def _size(text: str, option: str) -> int | tuple[int, int]:
    """Return a size given as ``N`` or ``H,W``."""
    numbers = numbers_of(text, option, "a number of pixels or two as 16,24", int, counts=(1, 2))
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def _fill(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
