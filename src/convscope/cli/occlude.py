"""``convscope occlude``: where the answer hangs on the image."""

from pathlib import Path
from typing import Any

from convscope.cli.calls import method
from convscope.cli.options import Showing, numbers_of, one_or_all


@method("convscope.methods.occlude:occlude_all", "occluding", "occlusion.png")
def occlude(
    shown: Showing,
    images: list[Path],
    patch: list[str] | None = None,
    stride: str | None = None,
    masks: str | None = None,
    fill: str = "gray",
    target: list[str] | None = None,
    layer: str | None = None,
    channel: int | None = None,
    method: str = "exact",
    positions: int | None = None,
    budget: str | None = None,
    precision: str = "float32",
    scale: str = "tile",
    rule: str = "deconvnet",
    memory: str = "1GB",
) -> dict[str, Any]:
    """Slide a patch over images and show where the network's answer hangs on them.

    Ctrl-C stops; what is done by then is written, marked as partial.

    Args:
        patch (N or H,W): Size of the patch (repeat); a seventh of the image's side.
        stride (N or H,W): Pixels between positions; for some 28 a side.
        masks (FILE or channels): Hide, instead of patches, the parts of this picture, one grey or
            colour each.
        fill: gray, black, mean (of the data set), image-mean, local-mean, blur, noise, #rrggbb, or
            a number in the network's input space.
        layer: A layer whose feature map is watched too.
        channel: That map; by default the most strongly activated.
        method: exact, full or adaptive.
        positions: For adaptive: how many positions to compute; by default a third.
        budget (SECONDS): For adaptive: compute positions for so long.
        precision: float32, or for adaptive bfloat16.
        scale: tile: each map on its own scale; shared: all on one.
        rule: Of the watched map's projection: deconvnet, guided, ...
        output: A figure (.png, .svg, .pdf), a film of the patch (.gif, .mp4), numbers (.json, .csv)
            or arrays (.npz, .safetensors).
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
