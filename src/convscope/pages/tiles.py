"""Units as pairs of small pictures: the patch of the image that each reads, and its projection.

A picture has as many pixels as the receptive field; the page enlarges it, without smoothing. Where
the receptive field reaches beyond the image, the picture is transparent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convscope.display import DisplayScale, beyond, display_scale, presentable, to_display
from convscope.figures.sheet import picture_of
from convscope.methods.projection import Projection
from convscope.pages.renderer import image_source, png

Box = tuple[int, int, int, int]


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
    tiles = []
    for k, channel in enumerate(found.channels[n].tolist()):
        top, left, bottom, right = window = tuple(found.window[n, k].tolist())
        frame = _frame(window, picture.shape[:2], found.receptive_fields[k])
        values = presentable(found.cropped(n, k))
        scale = display_scale(values)
        patch = np.rint(255 * picture[top:bottom, left:right]).astype(np.uint8)
        tiles.append(
            UnitTiles(
                channel=channel,
                activation=found.activation[n, k].item(),
                window=window,
                scale=scale,
                patch=image_source(png(_framed(patch, window, frame))),
                projection=image_source(png(_framed(to_display(values, scale), window, frame))),
            )
        )
    return tiles


def _frame(window: Box, size: tuple[int, int], field: tuple[int, int]) -> Box:
    """Return the window as it would be if the image did not end, up to the image's size."""
    top, left, bottom, right = window
    first_row, end_row = beyond(top, bottom, size[0], field[0])
    first_column, end_column = beyond(left, right, size[1], field[1])
    return first_row, first_column, end_row, end_column


def _framed(picture: npt.NDArray[np.uint8], window: Box, frame: Box) -> npt.NDArray[np.uint8]:
    """Return a picture [h, w, 3] as [h, w, 4] of the frame's size, transparent around the window.

    >>> _framed(np.full((1, 1, 3), 9, np.uint8), (0, 0, 1, 1), (0, -1, 1, 1)).tolist()
    [[[0, 0, 0, 0], [9, 9, 9, 255]]]
    """
    top, left, bottom, right = frame
    framed = np.zeros((bottom - top, right - left, 4), np.uint8)
    inside = framed[window[0] - top : window[2] - top, window[1] - left : window[3] - left]
    inside[..., :3] = picture
    inside[..., 3] = 255
    return framed
