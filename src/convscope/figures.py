"""Records to matplotlib figures. Every figure says its rule, its scale and what it cannot show."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from convscope.images import DisplayScale, Preprocess, display_scale, to_display
from convscope.network.rules import RULES
from convscope.records import Projection

SCALES = ("tile", "shared")
TILES_A_LINE = 6
COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#17becf")
INK = "#222222"
WARNING = "#b00020"

# Everything is placed in inches, so that no text meets another whatever the number of tiles.
TILE = 1.75
GAP = 0.12
TITLE = 0.42
FOOT = 0.22
MARGIN = 0.12
IMAGE = 2 * TILE + FOOT
LINE = TITLE + 2 * TILE + 2 * FOOT
CAPTION = 0.85


@dataclass(frozen=True)
class ProjectionFigure:
    """A drawn figure with the scales that its tiles were shown on.

    Attributes:
        figure: the matplotlib figure.
        scales: one an image and tile, in the order drawn; all the same where the scale is shared.

    """

    figure: Figure
    scales: list[list[DisplayScale]]


@dataclass(frozen=True)
class _Tile:
    """One unit in one image: the patch it reads and its projection, cropped to that patch."""

    title: str
    active: bool
    window: tuple[int, int, int, int]
    extent: tuple[int, int]
    projection: Tensor


def projection_figure(
    projections: Sequence[Projection],
    images: Tensor,
    preprocess: Preprocess,
    titles: Sequence[str],
    scale: str = "tile",
) -> ProjectionFigure:
    """Draw each image, the patch that each unit reads, and the unit's projection.

    Args:
        projections: one or more records over the same N images.
        images: [N, C, H, W], what they were made of, in the network's input space.
        preprocess: takes inputs back to pixels.
        titles: one an image.
        scale: ``"tile"``, each projection on a scale of its own, or ``"shared"``, all on one.

    Returns:
        the figure and its scales.

    """
    tiles = [_tiles(projections, preprocess, n) for n in range(len(images))]
    scales = _scales(tiles, scale)
    lines = -(-len(tiles[0]) // TILES_A_LINE)
    across = min(len(tiles[0]), TILES_A_LINE)
    # The caption wants some width, however few the tiles.
    width = max(2 * MARGIN + IMAGE + across * (TILE + GAP), 10.0)
    height = 2 * MARGIN + len(images) * lines * LINE + CAPTION
    figure = Figure(figsize=(width, height), dpi=120, facecolor="white")
    pictures = _picture(preprocess.to_pixels(images.cpu()))
    for n, title in enumerate(titles):
        top = MARGIN + n * lines * LINE
        _draw_image(_axes(figure, MARGIN, top + TITLE, IMAGE), pictures[n], tiles[n], title)
        for place, (tile, own_scale) in enumerate(zip(tiles[n], scales[n], strict=True)):
            line, column = divmod(place, TILES_A_LINE)
            corner = (MARGIN + IMAGE + GAP + column * (TILE + GAP), top + line * LINE + TITLE)
            _draw_tile(figure, corner, pictures[n], tile, own_scale, COLOURS[place % len(COLOURS)])
    _write_caption(figure, projections[0], scale, scales, images.shape[1])
    return ProjectionFigure(figure, scales)


def _axes(figure: Figure, left: float, top: float, side: float) -> Axes:
    """Return square axes at a place given in inches from the upper left corner."""
    width, height = figure.get_size_inches()
    return figure.add_axes((left / width, 1 - (top + side) / height, side / width, side / height))


def _tiles(projections: Sequence[Projection], preprocess: Preprocess, n: int) -> list[_Tile]:
    tiles = []
    for p in projections:
        shown = _presentable(preprocess.difference_to_pixels(p.pixels[n].cpu()))
        image = p.pixels.shape[-2:]
        extent = (min(p.receptive_field[0], image[0]), min(p.receptive_field[1], image[1]))
        for k, channel in enumerate(p.channels[n].tolist()):
            top, left, bottom, right = p.window[n, k].tolist()
            activation = p.activation[n, k].item()
            tiles.append(
                _Tile(
                    title=f"{_shortened(p.layer)}\nchannel {channel}, peak {activation:.3g}",
                    active=activation > 0,
                    window=(top, left, bottom, right),
                    extent=extent,
                    projection=shown[k, :, top:bottom, left:right],
                )
            )
    return tiles


def _shortened(name: str, length: int = 26) -> str:
    return name if len(name) <= length else "…" + name[1 - length :]


def _presentable(values: Tensor) -> Tensor:
    """Return values with one or three channels; others are shown as their mean over channels."""
    return values if values.shape[-3] in (1, 3) else values.mean(dim=-3, keepdim=True)


def _picture(pixels: Tensor) -> npt.NDArray[np.float64]:
    """Return pixels [N, C, H, W] as [N, H, W, 3] in 0..1."""
    shown: npt.NDArray[np.float64] = (
        _presentable(pixels).clamp(0, 1).movedim(1, -1).double().numpy()
    )
    return np.broadcast_to(shown, (*shown.shape[:-1], 3))


def _scales(tiles: list[list[_Tile]], scale: str) -> list[list[DisplayScale]]:
    if scale == "tile":
        return [[display_scale(tile.projection) for tile in row] for row in tiles]
    values = np.concatenate([tile.projection.double().flatten() for row in tiles for tile in row])
    shared = display_scale(values)
    return [[shared] * len(row) for row in tiles]


def _draw_image(
    axes: Axes, picture: npt.NDArray[np.float64], tiles: list[_Tile], title: str
) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(title, fontsize=9, color=INK)
    axes.set_axis_off()
    for place, tile in enumerate(tiles):
        top, left, bottom, right = tile.window
        # Half a pixel outwards: a pixel's centre lies on its whole-numbered coordinates.
        corner, colour = (left - 0.5, top - 0.5), COLOURS[place % len(COLOURS)]
        axes.add_patch(
            Rectangle(
                corner, right - left, bottom - top, fill=False, edgecolor=colour, linewidth=1.6
            )
        )


def _draw_tile(
    figure: Figure,
    corner: tuple[float, float],
    picture: npt.NDArray[np.float64],
    tile: _Tile,
    scale: DisplayScale,
    colour: str,
) -> None:
    left, top = corner
    first_row, first_column, end_row, end_column = tile.window
    patch = _axes(figure, left, top, TILE)
    patch.imshow(picture[first_row:end_row, first_column:end_column], interpolation="nearest")
    projection = _axes(figure, left, top + TILE + FOOT / 2, TILE)
    projection.imshow(to_display(tile.projection, scale), interpolation="nearest")
    width, height = figure.get_size_inches()
    middle = (left + TILE / 2) / width
    figure.text(
        middle,
        1 - (top - 0.05) / height,
        tile.title,
        fontsize=7.5,
        ha="center",
        va="bottom",
        color=INK,
    )
    foot = f"±{scale.limit:.2g}" if tile.active else "not active in this image"
    if scale.not_finite:
        foot += f"  {scale.not_finite} not finite (magenta)"
    low = top + 2 * TILE + FOOT / 2 + 0.05
    figure.text(middle, 1 - low / height, foot, fontsize=7, ha="center", va="top", color=INK)
    for axes in (patch, projection):
        _frame(axes, tile.window, tile.extent, colour)


def _frame(
    axes: Axes, window: tuple[int, int, int, int], extent: tuple[int, int], colour: str
) -> None:
    """Frame a tile at the size of a full receptive field, hatched where it leaves the image."""
    top, left, bottom, right = window
    missing = extent[0] - (bottom - top), extent[1] - (right - left)
    # A window is cut at the side where it meets the image's border.
    first_row, first_column = -(missing[0] if top == 0 else 0), -(missing[1] if left == 0 else 0)
    axes.set_ylim(first_row + extent[0] - 0.5, first_row - 0.5)
    axes.set_xlim(first_column - 0.5, first_column + extent[1] - 0.5)
    axes.patch.set(hatch="////", facecolor="#f4f4f4", edgecolor="#cccccc")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_edgecolor(colour)
        spine.set_linewidth(1.6)


def _write_caption(
    figure: Figure,
    projection: Projection,
    scale: str,
    scales: list[list[DisplayScale]],
    channels: int,
) -> None:
    rule = RULES[projection.rule]
    every = [s for row in scales for s in row]
    share = max(s.clipped for s in every)
    part = "the strongest activation" if projection.select == "peak" else "the whole feature map"
    of = "each tile on its own scale" if scale == "tile" else "all tiles on one scale"
    lines = [
        f"{projection.network}: what in this image drives the unit, given the switches; "
        f"from {part}. Rule: {rule.name} ({rule.source}).",
        "Above, the patch of the receptive field; below, the projection cropped to it, in units of "
        "pixel brightness (0 to 1).",
        f"Zero is mid-grey, {of}: ± the {every[0].quantile:.1%} quantile of |value|, given below "
        f"each tile; at most {share:.2%} of a tile's values are clipped.",
    ]
    if channels not in (1, 3):
        lines.append(f"The network takes {channels} channels; their mean is shown.")
    if projection.notes:
        note = "; ".join(projection.notes)
        figure.text(
            MARGIN / figure.get_figwidth(),
            (CAPTION - 0.02) / figure.get_figheight(),
            note,
            va="top",
            fontsize=8.5,
            weight="bold",
            color=WARNING,
        )
    at = MARGIN / figure.get_figwidth(), MARGIN / figure.get_figheight()
    figure.text(*at, "\n".join(lines), fontsize=7, va="bottom", linespacing=1.35, color=INK)
