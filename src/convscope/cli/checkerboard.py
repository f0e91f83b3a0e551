"""``convscope checkerboard``: the grids that strides leave in projections."""

from pathlib import Path

from convscope.cli.calls import method


@method("convscope.methods.checkerboard:checkerboard", "projecting", "checkerboard.png")
def checkerboard(
    images: list[Path],
    layer: list[str] | None = None,
    channel: int | None = None,
    rank: str | None = None,
    reference: Path | None = None,
    top: int = 8,
    rule: str = "deconvnet",
    budget: str | None = None,
    memory: str = "1GB",
) -> None:
    """Show the projection from each layer, and measure the grids that strides leave in them.

    Names the layers whose kernel and stride leave a grid, and kernels or strides that would not.
    Ctrl-C stops; what is done by then is written, marked as partial.

    Args:
        images (IMAGE...): Pictures; the first one is shown.
        layer: A layer (repeat for more); by default one a convolution or block.
        channel: A feature map of every layer; by default the strongest.
        top: How many of the strongest feature maps are measured.
        budget (SECONDS): Begin no projection after this long, such as 60.
    """
