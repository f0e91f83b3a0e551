"""Projections drawn: each image, the patch that each unit reads, and what drives it there."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from convscope.display import DisplayScale, display_scale, to_display
from convscope.errors import ConvscopeError, OutputError, near_matches
from convscope.figures.lettering import DOTS_AN_INCH, one_line, shortened
from convscope.figures.sheet import (
    FOOT_POINTS,
    FRAME_POINTS,
    MARGIN,
    MOST_PIXELS,
    NOTE_POINTS,
    Sheet,
    beyond,
    frame_tile,
    line_of,
    number,
    picture_of,
    presentable,
)
from convscope.images import Preprocess
from convscope.network.rules import RULES
from convscope.records import Projection
from convscope.wording import counted

SCALES = ("tile", "shared")

# Everything is placed in inches, so that no text meets another whatever the number of tiles.
GAP = 0.14
TITLE = 0.42
FOOT = 0.24

TITLE_POINTS = 7.5


@dataclass(frozen=True)
class _Layout:
    """How large everything is drawn.

    Attributes:
        tile: side of a tile, in inches.
        image: side of the image, in inches.
        across: tiles a line.

    """

    tile: float
    image: float
    across: int

    @property
    def line(self) -> float:
        """Height of a line of tiles."""
        return TITLE + 2 * self.tile + FOOT / 2 + FOOT

    def lines(self, tiles: int) -> int:
        return -(-tiles // self.across)

    def width(self, tiles: int) -> float:
        return 2 * MARGIN + self.image + min(tiles, self.across) * (self.tile + GAP)


SCREEN_LAYOUT = _Layout(1.75, 3.62, 6)
PAPER_LAYOUT = _Layout(1.25, 2.62, 4)


@dataclass(frozen=True)
class ProjectionFigure:
    """A drawn figure with the scales that its tiles were shown on.

    Attributes:
        sheet: what it is drawn on.
        scales: one an image and tile, in the order drawn; all the same where the scale is shared.

    """

    sheet: Sheet
    scales: list[list[DisplayScale]]

    @property
    def figure(self) -> Figure:
        """The matplotlib figure."""
        return self.sheet.figure

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the figure; see :meth:`.Sheet.save`."""
        self.sheet.save(path)


@dataclass(frozen=True)
class _Tile:
    """One unit in one image: the patch it reads and its projection, cropped to that patch.

    ``frame`` is the patch as it would be if the image went on beyond its borders.
    """

    layer: str
    unit: str
    active: bool
    window: tuple[int, int, int, int]
    frame: tuple[int, int, int, int]
    projection: Tensor


def check_scale(scale: str) -> None:
    """Refuse a display scale that does not exist.

    Raises:
        ConvscopeError: if there is none of that name.

    """
    if scale not in SCALES:
        raise ConvscopeError(
            f"the scale is 'tile' or 'shared', not {scale!r}{near_matches(scale, SCALES)}"
        )


def check_figure_fits(images: int, tiles: int) -> None:
    """Refuse a figure that would be too high to draw, before the work for it.

    Args:
        images: how many images it shows.
        tiles: how many units it shows of each.

    Raises:
        OutputError: if it is too high.

    """
    inches = images * SCREEN_LAYOUT.lines(tiles) * SCREEN_LAYOUT.line
    if inches * DOTS_AN_INCH > MOST_PIXELS:
        raise OutputError(
            f"{counted(images, 'image')} with {counted(tiles, 'tile')} each are too many for one "
            f"figure: take fewer, or -o FILE.npz for the numbers alone"
        )


def projection_scales(
    projections: Sequence[Projection], preprocess: Preprocess, scale: str = "tile"
) -> list[list[DisplayScale]]:
    """Return the scale on which each unit is shown, one an image and tile.

    Args and errors are those of :func:`projection_figure`.
    """
    check_scale(scale)
    images = len(projections[0].pixels)
    return _scales([_tiles(projections, preprocess, n) for n in range(images)], scale)


def projection_figure(
    projections: Sequence[Projection],
    images: Tensor,
    preprocess: Preprocess,
    titles: Sequence[str],
    scale: str = "tile",
    *,
    paper: bool = False,
) -> ProjectionFigure:
    """Draw each image, the patch that each unit reads, and the unit's projection.

    Args:
        projections: one or more records over the same N images.
        images: [N, C, H, W], what they were made of, in the network's input space.
        preprocess: takes inputs back to pixels.
        titles: one an image.
        scale: ``"tile"``, each projection on a scale of its own, or ``"shared"``, all on one.
        paper: whether to draw it as narrow as a printed page wants it.

    Returns:
        the figure and its scales.

    Raises:
        ConvscopeError: if there is no such scale.
        OutputError: if the figure would be too high to draw.

    """
    check_scale(scale)
    tiles = [_tiles(projections, preprocess, n) for n in range(len(images))]
    check_figure_fits(len(images), len(tiles[0]))
    scales = _scales(tiles, scale)
    pixels = preprocess.to_pixels(images.cpu())
    caption = [*_caption(projections[0], scale, scales), *_oddities(tiles, pixels)]
    notes = _together(note for projection in projections for note in projection.notes)
    layout = PAPER_LAYOUT if paper else SCREEN_LAYOUT
    lines = layout.lines(len(tiles[0]))
    height = MARGIN + len(images) * lines * layout.line
    cuts = [MARGIN + line * layout.line for line in range(1, len(images) * lines + 1)]
    sheet = Sheet.made_for(layout.width(len(tiles[0])), height, caption, notes, cuts)
    pictures = picture_of(pixels)
    for n, title in enumerate(titles):
        top = MARGIN + n * lines * layout.line
        _draw_image(sheet, top + TITLE, layout.image, pictures[n], tiles[n], title)
        for place, (tile, own_scale) in enumerate(zip(tiles[n], scales[n], strict=True)):
            line, column = divmod(place, layout.across)
            left = MARGIN + layout.image + GAP + column * (layout.tile + GAP)
            square = (left, top + line * layout.line + TITLE, layout.tile)
            _draw_tile(sheet, square, pictures[n], tile, own_scale, line_of(place))
    return ProjectionFigure(sheet, scales)


def _together(notes: Iterable[str]) -> str:
    """Return notes as one line, each once."""
    return one_line("; ".join(dict.fromkeys(notes)))


def _tiles(projections: Sequence[Projection], preprocess: Preprocess, n: int) -> list[_Tile]:
    tiles = []
    for p in projections:
        shown = presentable(preprocess.difference_to_pixels(p.pixels[n].cpu()))
        for k, channel in enumerate(p.channels[n].tolist()):
            top, left, bottom, right = p.window[n, k].tolist()
            height, width = p.pixels.shape[-2:]
            first_row, end_row = beyond(top, bottom, height, p.receptive_field[0])
            first_column, end_column = beyond(left, right, width, p.receptive_field[1])
            activation = p.activation[n, k].item()
            tiles.append(
                _Tile(
                    layer=one_line(p.layer),
                    unit=f"channel {channel}, peak {number(activation)}",
                    active=activation > 0,
                    window=(top, left, bottom, right),
                    frame=(first_row, first_column, end_row, end_column),
                    projection=shown[k, :, top:bottom, left:right],
                )
            )
    return tiles


def _scales(tiles: list[list[_Tile]], scale: str) -> list[list[DisplayScale]]:
    if scale == "tile":
        return [[display_scale(tile.projection) for tile in row] for row in tiles]
    values = np.concatenate([tile.projection.double().flatten() for row in tiles for tile in row])
    shared = display_scale(values)
    return [[shared] * len(row) for row in tiles]


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
    title = f"{shortened(tile.layer, side, TITLE_POINTS)}\n{tile.unit}"
    middle = left + side / 2
    sheet.write(title, middle, top - 0.05, TITLE_POINTS, ha="center", va="bottom", warns=False)
    foot = _foot(tile, scale)
    odd = scale.not_finite > 0
    sheet.write(foot, middle, low + side + 0.05, FOOT_POINTS, ha="center", va="top", warns=odd)


def _foot(tile: _Tile, scale: DisplayScale) -> str:
    """Return what stands below a tile: the value shown as white, or why there is none."""
    if scale.not_finite:
        return f"±{number(scale.limit)}, {scale.not_finite} not finite"
    if tile.projection.any():
        return f"±{number(scale.limit)}" + ("" if tile.active else ", peak not above 0")
    return "nothing arrives: all zero" if tile.active else "not active in this image"


def _caption(projection: Projection, scale: str, scales: list[list[DisplayScale]]) -> list[str]:
    """Return what must be known to read the figure, a sentence or two a paragraph."""
    rule = RULES[projection.rule]
    every = [s for row in scales for s in row]
    share = max(s.clipped for s in every)
    part = "the strongest activation" if projection.select == "peak" else "the whole feature map"
    of = "each tile on its own scale" if scale == "tile" else "all tiles on one scale"
    whose = "of a tile's values" if scale == "tile" else "of all values"
    return [
        f"{projection.network}: what in this image drives the unit, given the switches; "
        f"from {part}. Rule: {rule.name} ({rule.source}).",
        "Above, the patch of the receptive field; below, the projection cropped to it, in units of "
        "pixel brightness (0 to 1).",
        f"Zero is mid-grey, {of}: ± the {every[0].quantile:.1%} quantile of |value|, given below "
        f"each tile; at most {share:.2%} {whose} are clipped.",
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
