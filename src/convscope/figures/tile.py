"""One tile: the patch that a unit reads in an image, and what drives it there."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from torch import Tensor

from convscope.display import (
    LUMINANCE,
    NOT_FINITE_COLOUR,
    Display,
    DisplayScale,
    as_array,
    beyond,
    display_scale,
    to_display,
)
from convscope.figures.lettering import DOTS_AN_INCH, FINE_DOTS
from convscope.figures.pieces import Piece
from convscope.figures.sheet import Bare, Sheet, frame_tile
from convscope.methods.projection import Projection

Box = tuple[int, int, int, int]
Pixels = npt.NDArray[Any]

PLACES, OPAQUE = "inferno", 0.6
"""Colours of a map over its image, which is in grey, and how much of the map covers it."""
HATCHED = "Hatched: beyond the image."
ENOUGH = 0.85
"""How much of its room a tile should fill."""
OVER = 1.04
"""A tile may be so much larger than its room, which ends in a gap, rather than lose pixels."""


@dataclass(frozen=True)
class FieldTile:
    """One unit in one image: the patch it reads and its projection, cropped to that patch.

    Attributes:
        patch: [h, w, 3], bytes or 0..1.
        projection: uint8 [h, w, 3], as it is painted.
        window: top, left, bottom, right of both in the image.
        frame: the window as it would be if the image went on beyond its borders.
        scale: on which the projection is painted.
    """

    patch: Pixels
    projection: Pixels
    window: Box
    frame: Box
    scale: DisplayScale

    @classmethod
    def of(
        cls,
        picture: Pixels,
        values: Tensor,
        window: Box,
        field: tuple[int, int],
        scale: DisplayScale | None = None,
    ) -> "FieldTile":
        """Return the tile of a unit in a picture [H, W, 3].

        The values [1 or 3, h, w], in units of pixels, are its projection in the window (top, left,
        bottom, right); the field is the size of its receptive field, borders apart; by default the
        scale is the tile's own.
        """
        top, left, bottom, right = window
        rows = beyond(top, bottom, picture.shape[0], field[0])
        columns = beyond(left, right, picture.shape[1], field[1])
        scale = Display().scale_of(values) if scale is None else scale
        frame = rows[0], columns[0], rows[1], columns[1]
        patch = picture[top:bottom, left:right]
        return cls(patch, to_display(values, scale), window, frame, scale)

    @classmethod
    def of_projection(
        cls,
        p: Projection,
        n: int,
        k: int,
        picture: Pixels,
        display: Display,
        scale: DisplayScale | None = None,
    ) -> "FieldTile":
        """Return the tile of unit *k* of image *n*, whose picture is [H, W, 3]."""
        top, left, bottom, right = p.window[n, k].tolist()
        values = p.shown(n, k, display)
        scale = display.scale_of(values) if scale is None else scale
        tile = cls.of(picture, values, (top, left, bottom, right), p.receptive_fields[k], scale)
        return replace(tile, projection=over(picture, values, scale)) if p.of_places else tile

    @classmethod
    def of_weights(cls, weights: Tensor) -> "FieldTile":
        """Return the tile of a filter [1 or 3, h, w], which is its patch and projection alike."""
        scale, window = display_scale(weights, 1.0), (0, 0, weights.shape[1], weights.shape[2])
        painted = to_display(weights, scale)
        return cls(painted, painted, window, window, scale)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frame, in pixels."""
        return self.frame[2] - self.frame[0], self.frame[3] - self.frame[1]

    def piece(
        self, shown: Pixels, side: float, line: tuple[str, str], down: float = 0.5,
        paint: Callable[[Axes], object] = lambda _: None,
    ) -> Piece:  # fmt: skip
        """Return the patch or the projection in a square, each pixel as a square of whole dots.

        The line is the colour and kind of the frame's. A smaller tile stands at the top of the
        square where *down* is 0, at its bottom where it is 1. *paint* paints over it.
        """

        def draw(sheet: Sheet, left: float, top: float) -> None:
            dots = sheet.figure.dpi
            high, wide = fitted(side, self.size, dots)
            at = top + (side - high) * (down if high < side else 0.5)
            axes = sheet.axes(left + (side - wide) / 2, at, wide, high, Bare)
            first_row, first_column, end_row, end_column = self.window
            axes.imshow(
                shown,
                interpolation="nearest"
                if whole_factor(side * dots, max(self.size))
                else "antialiased",
                # The window's rows and columns keep their numbers: the frame can reach beyond them.
                extent=(first_column - 0.5, end_column - 0.5, end_row - 0.5, first_row - 0.5),
                aspect="auto",
            )
            frame_tile(axes, self.frame, *line)
            paint(axes)

        return Piece(side, 0.0, side, draw)

    def framed(self, shown: Pixels) -> npt.NDArray[np.uint8]:
        """Return the patch or the projection at the frame's size, transparent beyond the image."""
        top, left, bottom, right = self.window
        framed = np.zeros((*self.size, 4), np.uint8)
        rows, columns = (
            slice(a - o, b - o)
            for a, b, o in ((top, bottom, self.frame[0]), (left, right, self.frame[1]))
        )
        framed[rows, columns, :3] = shown if shown.dtype == np.uint8 else np.rint(255 * shown)
        framed[rows, columns, 3] = 255
        return framed


def own_scales(clipped: Iterable[float], given: str = "", quantile: float = 0.999) -> str:
    """Return how signed tiles on scales of their own are shown, of which shares are clipped."""
    return (
        f"Zero is mid-grey, each tile on its own scale: ± the {quantile:.1%} quantile of "
        f"|value|{given}; at most {max(clipped, default=0.0):.2%} of a tile's values are clipped."
    )


def over(picture: Pixels, values: Tensor, scale: DisplayScale) -> Pixels:
    """Paint values [1, H, W] from zero up over a picture [H, W, 3] in grey, as bytes [H, W, 3]."""
    shares = (to_display(values, scale)[..., 0] / 127.5 - 1).clip(0)
    colours = colormaps[PLACES](shares)[..., :3]
    grey = (picture @ LUMINANCE)[..., None]
    painted: Pixels = np.rint(255 * (OPAQUE * colours + (1 - OPAQUE) * grey))
    painted[~np.isfinite(as_array(values[0]))] = NOT_FINITE_COLOUR
    return np.asarray(painted, np.uint8)


def whole_factor(room: float, pixels: int) -> int:
    """Return how many dots of a room wide each pixel has; 0 if they have to be averaged.

    >>> whole_factor(195, 5), whole_factor(195, 92), whole_factor(195, 196), whole_factor(195, 224)
    (40, 2, 1, 0)
    """
    return int(OVER * room / pixels)


def fitted(room: float, size: tuple[int, int], dots: float) -> tuple[float, float]:
    """Return the height and width, in inches, of a picture of so many pixels in a room's square."""
    inches = whole_factor(room * dots, max(size)) / dots or room / max(size)
    return size[0] * inches, size[1] * inches


def filling(room: float, sizes: Sequence[tuple[int, int]]) -> tuple[float, int]:
    """Return what pictures of so many pixels fill of a room, and at how many dots an inch best.

    >>> filling(0.9, [(5, 5), (40, 92), (196, 196)]), filling(0.73, [(92, 92), (196, 196)])[1]
    ((0.9, 220), 330)
    """

    def filled(dots: int) -> float:
        return min(
            whole_factor(room * dots, max(size)) * max(size) / (room * dots) for size in sizes
        )

    enough = filled(DOTS_AN_INCH) >= min(ENOUGH, filled(FINE_DOTS))
    dots = DOTS_AN_INCH if enough else FINE_DOTS
    return min(room, max(max(fitted(room, size, dots)) for size in sizes)), dots
