"""``convscope project``: what in an image drives feature maps."""

from pathlib import Path

from convscope.cli.calls import method
from convscope.cli.networks import NamedNetwork
from convscope.cli.options import Showing


@method("convscope.methods.project:project", "projecting", "projection.png")
def project(
    network: NamedNetwork,
    shown: Showing,
    images: list[Path],
    layer: list[str] | None = None,
    channel: list[int] | None = None,
    rule: str = "deconvnet",
    select: str = "peak",
    rank: str | None = None,
    reference: Path | None = None,
    top: int | None = None,
    scale: str = "tile",
    colour: str = "signed",
    contrast: str = "linear",
    memory: str = "1GB",
) -> None:
    """Show what in an image drives feature maps: the deconvnet and its sibling rules.

    With no layer, the strongest feature map of each block of the network; with a layer and no
    channel, its strongest few channels. Channels are taken of each layer named.

    Args:
        layer: A layer (repeat for more); by default one a block.
        channel: A channel (repeat for more); by default the strongest.
        select: peak: the strongest activation; map: the whole feature map.
        top: How many of the strongest channels, where none is named.
    """
    from convscope.display import Display
    from convscope.figures.project import check_fits
    from convscope.figures.style import style
    from convscope.methods.project import check_choices, layers_shown

    Display(scale, colour, contrast)
    check_choices(rule, select, layer, channel, top, rank)
    if shown.drawn:
        layers = layers_shown(network.loaded, layer, channel, top)
        check_fits(len(images), layers, select, style(shown.width, shown.caption))
