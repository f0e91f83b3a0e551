"""Sprites: many tiles in one image file, so that a page loads few files."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convscope.methods.scanning.tiles import Picture, Tile, TileShape, hatched
from convscope.outputs import written_beside

ACROSS = 3
SMALL = 32
"""Side of a tile in the grid of channels, where nine make a square."""

GAP = 1
SHOWN_IN_GRID = ACROSS * ACROSS
MOSAIC = ACROSS * SMALL + (ACROSS - 1) * GAP
CELLS_ACROSS, CELLS_DOWN = 4, 8
CELLS = CELLS_ACROSS * CELLS_DOWN
EMPTY = (0xE6, 0xE6, 0xE6)


class GridSheets:
    """The sheets of a layer's grid: of each channel its patches and its projections, 3 by 3."""

    def __init__(self, channels: int) -> None:
        self._sheets = [
            np.full((CELLS_DOWN * MOSAIC, CELLS_ACROSS * 2 * MOSAIC, 3), EMPTY, dtype=np.uint8)
            for _ in range(-(-channels // CELLS))
        ]

    def put(self, channel: int, rank: int, tile: Tile) -> None:
        """Put a tile at its place, as far as nine."""
        if rank >= SHOWN_IN_GRID:
            return
        sheet, (top, left) = self._sheets[channel // CELLS], cell(channel)
        row, column = divmod(rank, ACROSS)
        top += row * (SMALL + GAP)
        left += column * (SMALL + GAP)
        for shown, offset in ((tile.patch, 0), (tile.projection, MOSAIC)):
            small = Image.fromarray(shown).resize((SMALL, SMALL), Image.Resampling.BOX)
            sheet[top : top + SMALL, left + offset : left + offset + SMALL] = np.asarray(small)

    def save(self, folder: Path) -> list[str]:
        """Write the sheets; return their names."""
        names = []
        for number, sheet in enumerate(self._sheets):
            names.append(f"sheet-{number}.jpg")
            save_picture(folder / names[-1], sheet, quality=82)
        return names


def cell(channel: int) -> tuple[int, int]:
    """Return the top and left of a channel's cell in its sheet.

    >>> cell(0), cell(5)
    ((0, 0), (98, 196))
    """
    row, column = divmod(channel % CELLS, CELLS_ACROSS)
    return row * MOSAIC, column * 2 * MOSAIC


def empty_cells(entries: int) -> list[tuple[int, int]]:
    """Return the left and top of the tiles of a channel's cell that hold nothing.

    >>> empty_cells(7)
    [(33, 66), (66, 66)]
    """
    step = SMALL + GAP
    ranks = range(entries, SHOWN_IN_GRID)
    return [(rank % ACROSS * step, rank // ACROSS * step) for rank in ranks]


def strip(tiles: dict[int, Tile], top: int, shape: TileShape) -> Picture:
    """Return a channel's tiles: its patches in one row, its projections in the next."""
    empty = hatched(shape.height, shape.width)
    patches = [tiles[rank].patch if rank in tiles else empty for rank in range(top)]
    projections = [tiles[rank].projection if rank in tiles else empty for rank in range(top)]
    return np.vstack([np.hstack(patches), np.hstack(projections)])


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
