"""Units as pairs of small pictures: the patch of the image that each reads, and its projection.

A picture has as many pixels as the receptive field; the page enlarges it, without smoothing. Where
the receptive field reaches beyond the image, the picture is transparent.
"""

from dataclasses import dataclass

from convscope.display import Display, DisplayScale
from convscope.figures.sheet import picture_of
from convscope.figures.tile import Box, FieldTile
from convscope.methods.projection import Projection
from convscope.pages.renderer import image_source, png


@dataclass(frozen=True)
class UnitTiles:
    """One unit in one image, ready for a page.

    Attributes:
        channel: its channel.
        activation: its strongest activation.
        window: top, left, bottom, right of what it reads of the image.
        scale: on which scale the projection is shown.
        patch, projection: sources for ``img``.
    """

    channel: int
    activation: float
    window: Box
    scale: DisplayScale
    patch: str
    projection: str


def unit_tiles(found: Projection, n: int) -> list[UnitTiles]:
    """Return the tiles of every unit of image *n*."""
    picture = picture_of(found.preprocess.to_pixels(found.images[n : n + 1].cpu()))[0]
    units = []
    for k, channel in enumerate(found.channels[n].tolist()):
        tile = FieldTile.of_projection(found, n, k, picture, Display())
        shown = (image_source(png(tile.framed(one))) for one in (tile.patch, tile.projection))
        activation = found.activation[n, k].item()
        units.append(UnitTiles(channel, activation, tile.window, tile.scale, *shown))
    return units
