"""Projections drawn: each image, the patch that each unit reads, and what drives it there."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.patches import Rectangle
from torch import Tensor

from convscope.display import DisplayScale, presentable, to_display
from convscope.figures.lettering import one_line, shortened
from convscope.figures.sheet import (
    FOOT_POINTS,
    FRAME_POINTS,
    MARGIN,
    NOTE_POINTS,
    Sheet,
    beyond,
    frame_tile,
    line_of,
    number,
    picture_of,
)
from convscope.figures.style import Style
from convscope.methods.projection import Projection
from convscope.network.rules import RULES

# Everything is placed in inches, so that no text meets another whatever the number of tiles.
GAP = 0.12
TITLE = 0.42
FOOT = 0.24

TITLE_POINTS = 7.5
SMALLEST_TILE = 0.95
"""Inches that a tile's title needs at the size of its letters."""

ABOVE_BELOW = 5.0
"""Inches of width below which the image stands above its tiles instead of beside them."""


@dataclass(frozen=True)
class _Layout:
    """How large everything is drawn, in inches.

    Attributes:
        width: of the whole figure.
        image: side of the image.
        tile: side of a tile.
        across: tiles a line.
        beside: whether the tiles stand beside the image, or else below it.

    """

    width: float
    image: float
    tile: float
    across: int
    beside: bool

    @classmethod
    def of(cls, width: float, tiles: int) -> "_Layout":
        """Return the layout of *tiles* tiles an image in a figure of some width."""
        room = width - 2 * MARGIN
        beside = width >= ABOVE_BELOW
        if beside:
            image = 0.3 * room
            across = _balanced(tiles, int((room - image) / (SMALLEST_TILE + GAP)))
            tile = min((room - image) / across - GAP, 1.75)
            return cls(width, image, tile, across, beside)
        across = _balanced(tiles, int((room + GAP) / (SMALLEST_TILE + GAP)))
        tile = min((room + GAP) / across - GAP, 1.5)
        return cls(width, min(room, 1.7), tile, across, beside)

    @property
    def line(self) -> float:
        """Height of a line of tiles."""
        return TITLE + 2 * self.tile + FOOT / 2 + FOOT

    def height(self, tiles: int) -> float:
        """Return how high one image with its tiles is."""
        lines = -(-tiles // self.across) * self.line
        image = TITLE + self.image + FOOT / 2
        return max(lines, image) if self.beside else image + lines

    def corner(self, place: int) -> tuple[float, float]:
        """Return the left and the top of a tile, from the image's own corner."""
        line, column = divmod(place, self.across)
        left, top = column * (self.tile + GAP), line * self.line
        if self.beside:
            return left + self.image + GAP, top
        return left, top + TITLE + self.image + FOOT / 2


def _balanced(tiles: int, most: int) -> int:
    """Return how many tiles stand in a line, so that the lines are as even as they can be."""
    lines = -(-tiles // max(1, most))
    return -(-tiles // lines)


@dataclass(frozen=True)
class _Tile:
    """One unit in one image: the patch it reads and its projection, cropped to that patch.

    ``frame`` is the patch as it would be if the image went on beyond its borders.
    """

    layer: str
    unit: str
    peak: float
    window: tuple[int, int, int, int]
    frame: tuple[int, int, int, int]
    projection: Tensor


def figure(result: Projection, style: Style, scale: str = "tile") -> Sheet:
    """Draw each image, the patch that each unit reads, and the unit's projection.

    Args:
        result: what to draw.
        style: how wide, and with which caption.
        scale: ``"tile"``, each projection on a scale of its own, or ``"shared"``, all on one.

    Raises:
        ConvscopeError: if there is no such scale.
        OutputError: if the figure would be too high to draw.

    """
    scales = result.scales(scale)
    tiles = [_tiles(result, n) for n in range(len(result.images))]
    pixels = result.preprocess.to_pixels(result.images.cpu())
    caption = [*_caption(result, scale, scales), *_oddities(tiles, pixels)]
    layout = _Layout.of(style.width, len(tiles[0]))
    own = layout.height(len(tiles[0]))
    cuts = [MARGIN + n * own for n in range(1, len(tiles) + 1)]
    notes = one_line("; ".join(result.notes))
    sheet = Sheet.made_for(
        style.width, MARGIN + len(tiles) * own, caption, notes, cuts, style.caption
    )
    pictures = picture_of(pixels)
    for n, title in enumerate(result.titles):
        top = MARGIN + n * own
        _draw_image(sheet, top + TITLE, layout.image, pictures[n], tiles[n], title)
        for place, (tile, own_scale) in enumerate(zip(tiles[n], scales[n], strict=True)):
            left, below = layout.corner(place)
            square = (MARGIN + left, top + below + TITLE, layout.tile)
            _draw_tile(sheet, square, pictures[n], tile, own_scale, line_of(place))
    return sheet


def check_fits(images: int, units: int, style: Style) -> None:
    """Refuse a figure that would be too high to draw, before the work for it.

    Raises:
        OutputError: if it is too high.

    """
    Sheet.check(images * _Layout.of(style.width, units).height(units), style.width)


def _tiles(p: Projection, n: int) -> list[_Tile]:
    tiles = []
    height, width = p.pixels.shape[-2:]
    for k, (layer, field) in enumerate(zip(p.layers, p.receptive_fields, strict=True)):
        top, left, bottom, right = p.window[n, k].tolist()
        first_row, end_row = beyond(top, bottom, height, field[0])
        first_column, end_column = beyond(left, right, width, field[1])
        activation = p.activation[n, k].item()
        tiles.append(
            _Tile(
                layer=one_line(layer),
                unit=one_line(p.names[n][k]),
                peak=activation,
                window=(top, left, bottom, right),
                frame=(first_row, first_column, end_row, end_column),
                projection=presentable(p.cropped(n, k)),
            )
        )
    return tiles


def _draw_image(
    sheet: Sheet,
    top: float,
    side: float,
    picture: npt.NDArray[np.float64],
    tiles: list[_Tile],
    title: str,
) -> None:
    axes = sheet.axes(MARGIN, top, side)
    axes.imshow(picture, interpolation="nearest")
    axes.set_axis_off()
    for place, tile in enumerate(tiles):
        first_row, first_column, end_row, end_column = tile.window
        colour, style = line_of(place)
        axes.add_patch(
            Rectangle(
                # Half a pixel outwards: a pixel's centre lies on its whole-numbered coordinates.
                (first_column - 0.5, first_row - 0.5),
                end_column - first_column,
                end_row - first_row,
                fill=False,
                edgecolor=colour,
                linestyle=style,
                linewidth=FRAME_POINTS,
            )
        )
    text = shortened(one_line(title), side, NOTE_POINTS)
    middle = MARGIN + side / 2
    sheet.write(text, middle, top - 0.05, NOTE_POINTS, ha="center", va="bottom", warns=False)


def _draw_tile(
    sheet: Sheet,
    square: tuple[float, float, float],
    picture: npt.NDArray[np.float64],
    tile: _Tile,
    scale: DisplayScale,
    line: tuple[str, str],
) -> None:
    left, top, side = square
    first_row, first_column, end_row, end_column = tile.window
    low = top + side + FOOT / 2
    # The window's rows and columns keep their numbers, so that the frame can reach beyond them.
    place = (first_column - 0.5, end_column - 0.5, end_row - 0.5, first_row - 0.5)
    for above, shown in (
        (top, picture[first_row:end_row, first_column:end_column]),
        (low, to_display(tile.projection, scale)),
    ):
        axes = sheet.axes(left, above, side)
        axes.imshow(shown, interpolation="nearest", extent=place)
        frame_tile(axes, tile.frame, *line)
    title = "\n".join(shortened(line, side + GAP, TITLE_POINTS) for line in (tile.layer, tile.unit))
    middle = left + side / 2
    sheet.write(title, middle, top - 0.05, TITLE_POINTS, ha="center", va="bottom", warns=False)
    foot = _foot(tile, scale)
    odd = scale.not_finite > 0
    sheet.write(foot, middle, low + side + 0.05, FOOT_POINTS, ha="center", va="top", warns=odd)


def _foot(tile: _Tile, scale: DisplayScale) -> str:
    """Return what stands below a tile: the peak and the value shown as white, or why neither."""
    if scale.not_finite:
        return f"{scale.not_finite} values not finite"
    if tile.projection.any():
        return f"peak {number(tile.peak)}, ±{number(scale.limit)}"
    return f"peak {number(tile.peak)}: " + ("nothing arrives" if tile.peak > 0 else "not active")


def _caption(p: Projection, scale: str, scales: list[list[DisplayScale]]) -> list[str]:
    """Return the short caption, and what else must be known to read the figure."""
    rule = RULES[p.rule]
    every = [s for row in scales for s in row]
    share = max(s.clipped for s in every)
    part = "the strongest activation" if p.select == "peak" else "the whole feature map"
    of = "each tile on its own scale" if scale == "tile" else "all tiles on one scale"
    whose = "of a tile's values" if scale == "tile" else "of all values"
    return [
        f"{p.network}, {rule.name}: what in this image drives each unit, given the switches.",
        f"From {part}. Rule: {rule.name} ({rule.source}).",
        "Above, the patch of the receptive field; below, the projection cropped to it.",
        f"Zero is mid-grey, {of}: ± the {every[0].quantile:.1%} quantile of |value|, given below "
        f"each tile beside the peak; at most {share:.2%} {whose} are clipped.",
    ]


def _oddities(tiles: list[list[_Tile]], pixels: Tensor) -> list[str]:
    """Return what else must be known to read this very figure."""
    lines = []
    if any(tile.frame != tile.window for row in tiles for tile in row):
        lines.append("Hatched: the receptive field reaches beyond the image.")
    if pixels.shape[1] not in (1, 3):
        lines.append(f"The network takes {pixels.shape[1]} channels; their mean is shown.")
    # Rounding in the network's input space leaves pixels a little outside; that is nothing to tell.
    share = ((pixels < -1e-3) | (pixels > 1 + 1e-3)).double().mean().item()
    if share:
        lines.append(f"{share:.2%} of the image's values lie outside 0 to 1 and are clipped.")
    if any(not tile.projection.isfinite().all() for row in tiles for tile in row):
        lines.append("Magenta: values that are not finite.")
    return lines
