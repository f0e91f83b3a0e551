"""Sprites: many tiles in one image file, so that a page loads few files."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convscope.methods.scanning.tiles import (
    Picture,
    TileShape,
    fitted,
    hatched,
)
from convscope.outputs import written_beside

ACROSS = 3
SMALLEST = 48
"""Least side of a tile in the grid of channels, where nine make a square."""

GAP = 1
SHOWN_IN_GRID = ACROSS * ACROSS
CELLS_ACROSS, CELLS_DOWN = 4, 8
CELLS = CELLS_ACROSS * CELLS_DOWN
GROUND = (0x80, 0x80, 0x80)

Pairs = dict[int, tuple[Picture, Picture]]
"""Rank -> patch and projection of one of a channel's strongest entries."""


def grid_side(shape: TileShape) -> int:
    """Return the side of a layer's tiles in the grid: pixels are enlarged by whole numbers only.

    >>> grid_side(TileShape(96, 96, 0.4)), grid_side(TileShape(66, 66, 22))
    (48, 48)
    >>> grid_side(TileShape(80, 80, 2))
    80
    """
    longest = max(shape.height, shape.width) // max(1, int(shape.factor))
    return SMALLEST if longest > SMALLEST else -(-SMALLEST // longest) * longest


def mosaic(side: int) -> int:
    """Return the side of nine tiles.

    >>> mosaic(48)
    146
    """
    return ACROSS * side + (ACROSS - 1) * GAP


def sheet_name(number: int) -> str:
    """Return what the sheet of the channels from 32 * *number* on is called."""
    return f"sheet-{number}.jpg"


def grid_sheet(tiles: dict[int, Pairs], first: int, shape: TileShape) -> Picture:
    """Return the sheet of the channels from *first* on: their patches and projections, 3 by 3."""
    side = grid_side(shape)
    whole = mosaic(side)
    sheet = np.full((CELLS_DOWN * whole, CELLS_ACROSS * 2 * whole, 3), GROUND, dtype=np.uint8)
    for channel in range(first, first + CELLS):
        for rank, (patch, projection) in tiles.get(channel, {}).items():
            if rank >= SHOWN_IN_GRID:
                continue
            top, left = cell(channel, side)
            row, column = divmod(rank, ACROSS)
            top, left = top + row * (side + GAP), left + column * (side + GAP)
            for shown, offset in ((patch, 0), (projection, whole)):
                small = fitted(shown, shape.factor, side, signed=offset > 0)
                # In the middle of a square, whose ground is around it.
                y, x = (
                    begin + (side - own) // 2
                    for begin, own in zip((top, left + offset), small.shape[:2], strict=True)
                )
                sheet[y : y + small.shape[0], x : x + small.shape[1]] = small
    return sheet


def cell(channel: int, side: int) -> tuple[int, int]:
    """Return the top and left of a channel's cell in its sheet of tiles of that side.

    >>> cell(0, 48), cell(5, 48)
    ((0, 0), (146, 292))
    """
    row, column = divmod(channel % CELLS, CELLS_ACROSS)
    return row * mosaic(side), column * 2 * mosaic(side)


def strip(tiles: Pairs, top: int, shape: TileShape) -> Picture:
    """Return a channel's tiles: its patches in one row, its projections in the next."""
    empty = hatched(shape.height, shape.width)
    pairs = [tiles.get(rank, (empty, empty)) for rank in range(top)]
    return np.vstack([np.hstack(row) for row in zip(*pairs, strict=True)])


def strip_suffix(shape: TileShape) -> str:
    """Return the format of a layer's strips: enlarged pixels stay sharp, and small, as PNG."""
    return ".png" if shape.factor > 1 else ".jpg"


def save_picture(path: str | os.PathLike[str], shown: Picture, quality: int = 92) -> None:
    """Write a picture, of the kind that its ending names."""
    options: dict[str, Any] = (
        {"quality": quality, "subsampling": 0} if Path(path).suffix == ".jpg" else {}
    )
    with written_beside(path) as beside:
        Image.fromarray(shown).save(beside, **options)
