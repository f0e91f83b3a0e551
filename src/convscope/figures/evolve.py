"""Evolution drawn: one row a layer, moments as columns (Zeiler & Fergus fig. 4), and curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from convscope.display import DisplayScale, presentable
from convscope.figures.lettering import one_line, shortened, width_of
from convscope.figures.sheet import (
    FOOT_POINTS,
    LINE_SPACING,
    Bare,
    Sheet,
    line_of,
    number,
    picture_of,
)
from convscope.figures.style import MARGIN, Style
from convscope.figures.tile import Tile
from convscope.methods.projection import shown_values
from convscope.network.rules import RULES
from convscope.study.evolve import Evolution, FilterEvolution
from convscope.wording import counted

LINE = FOOT_POINTS * LINE_SPACING / 72
SIDE = 0.46
"""Inches left of the columns, for what the numbers in their lines are."""

NARROWEST, LARGEST_TILE = 0.58, 1.15
"""Inches: the narrowest column under which numbers find room, and the largest tile."""

GAP = 0.07
HEAD, ROW_HEAD, ROW_FOOT = 2 * LINE + 0.1, LINE + 0.02, 2 * LINE + 0.14
CURVES, AXIS = 1.9, 2 * LINE + 0.16
SAMPLE, NAMES_APART = 0.45, 0.15
SAME, CHANGED = "#8c8c8c", "#d62728"


@dataclass(frozen=True)
class Row:
    """What is shown of one filter, an entry for each of some moments.

    Attributes:
        layer: its name.
        channel: the filter's.
        tiles: what it reads of its strongest image, and what drives it there.
        activations: the strongest.
        changed: whether the image is another than at the entry before.
    """

    layer: str
    channel: int
    tiles: list[Tile]
    activations: list[float]
    changed: list[bool]

    @property
    def scales(self) -> list[DisplayScale]:
        """The scale of each projection."""
        return [tile.scale for tile in self.tiles]

    @classmethod
    def of(cls, found: Evolution, own: FilterEvolution, moments: Sequence[int]) -> "Row":
        """Return what is shown of a filter at some moments."""
        at = list(moments)
        pictures = picture_of(found.preprocess.to_pixels(own.images[at].cpu()))
        pixels = presentable(shown_values(found.preprocess, found.rule, own.pixels[at].cpu()))
        tiles = [
            Tile.of(picture, values[:, top:bottom, left:right], (top, left, bottom, right),
                    own.receptive_field)
            for picture, values, (top, left, bottom, right) in zip(
                pictures, pixels, own.window[at].tolist(), strict=True
            )
        ]  # fmt: skip
        numbers = own.number[at].tolist()
        changed = [False, *(a != b for a, b in pairwise(numbers))]
        layer, activations = one_line(own.layer), own.activation[at].tolist()
        return cls(layer, own.channel, tiles, activations, changed)


def figure(found: Evolution, style: Style) -> Sheet:
    """Draw each filter's strongest patch and projection at every moment, and the curves below.

    Where there is no room for every moment, some are shown, the first and the last among them.
    """
    room = style.width - 2 * MARGIN - SIDE
    moments = _shown(len(found.steps), int(room / NARROWEST))
    pitch = room / len(moments)
    tile = min(LARGEST_TILE, pitch - GAP)
    rows = [Row.of(found, own, moments) for own in found.filters]
    high = ROW_HEAD + 2 * tile + GAP / 2 + ROW_FOOT
    curves = MARGIN + HEAD + len(rows) * high + 0.1
    names = name_lines(found, room)
    cuts = [MARGIN + HEAD + n * high for n in range(1, len(rows) + 1)]
    sheet = Sheet.made_for(
        style, curves + CURVES + AXIS + len(names) * LINE, caption(found, rows), found.notes, cuts
    )
    middles = [MARGIN + SIDE + (place + 0.5) * pitch for place in range(len(moments))]
    lines = [[f"{step:,}" for step in found.steps]]
    if found.epochs is not None:
        lines.insert(0, list(map(number, found.epochs)))
    top = MARGIN + HEAD - 0.1 - len(lines) * LINE
    for place, (what, own) in enumerate(zip(("epoch", "step")[-len(lines) :], lines, strict=True)):
        at = top + place * LINE
        sheet.write(what, MARGIN, at)
        for middle, moment in zip(middles, moments, strict=True):
            sheet.write(own[moment], middle, at, ha="center")
    for place, row in enumerate(rows):
        _draw_row(sheet, row, MARGIN + HEAD + place * high, middles, tile)
    draw_distances(sheet, found, (MARGIN + SIDE, curves), (room, CURVES), moments)
    return sheet


def _shown(count: int, most: int) -> list[int]:
    """Return which of *count* moments are shown where there is room for *most*.

    >>> _shown(4, 9), _shown(12, 5)
    ([0, 1, 2, 3], [0, 3, 6, 8, 11])
    """
    fitting = min(count, max(2, most))
    return [round(n * (count - 1) / max(1, fitting - 1)) for n in range(fitting)]


def _draw_row(sheet: Sheet, row: Row, top: float, middles: Sequence[float], tile: float) -> None:
    room = middles[-1] + tile / 2 - MARGIN
    sheet.write(f"{row.layer}, channel {row.channel}", MARGIN, top, room=room)
    below = top + ROW_HEAD + 2 * tile + GAP / 2 + 0.05
    for place, what in enumerate(("peak", "scale ±")):
        sheet.write(what, MARGIN, below + place * LINE)
    for moment, middle in enumerate(middles):
        draw_pair(sheet, (middle - tile / 2, top + ROW_HEAD), tile, row, moment)
        numbers = (row.activations[moment], row.scales[moment].limit)
        for place, value in enumerate(numbers):
            at = below + place * LINE
            sheet.write(number(value), middle, at, ha="center")


def draw_pair(
    sheet: Sheet, corner: tuple[float, float], side: float, row: Row, moment: int
) -> None:
    """Draw a patch and, below it, its projection, each *side* inches wide and framed."""
    left, top = corner
    tile, colour = row.tiles[moment], CHANGED if row.changed[moment] else SAME
    tile.draw(sheet, tile.patch, (left, top, side), (colour, "solid"))
    below = top + side + GAP / 2
    tile.draw(sheet, tile.projection, (left, below, side), (colour, "solid"))


def name_lines(found: Evolution, room: float) -> list[list[tuple[int, str]]]:
    """Return the curves, by place and name, in as many lines as they need below the chart."""
    lines: list[list[tuple[int, str]]] = [[]]
    used = 0.0
    for place, name in enumerate(found.distance):
        text = shortened(one_line(name.removesuffix(".weight")), room - SAMPLE, FOOT_POINTS)
        wide = SAMPLE + width_of(text, FOOT_POINTS) + NAMES_APART
        if lines[-1] and used + wide > room:
            lines.append([])
            used = 0.0
        lines[-1].append((place, text))
        used += wide
    return lines


def draw_distances(
    sheet: Sheet, found: Evolution, corner: tuple[float, float], size: tuple[float, float],
    ticks: Sequence[int], until: int | None = None,
) -> None:  # fmt: skip
    """Draw how far every layer's filters still are from the final ones, and name the curves below.

    Args:
        sheet: what to draw on.
        found: what to draw.
        corner: left and top, in inches.
        size: width and height of the chart, in inches.
        ticks: the moments that are named on the axis, each in the middle of a column of its own.
        until: the last moment drawn; the axes are the same whichever it is. By default all.
    """
    title = "distance from the final filters, share of their norm"
    axes = sheet.chart(*corner, *size, title, "step" if found.epochs is None else "epoch")
    # What is not named lies between its neighbours that are.
    places = np.interp(range(len(found.steps)), ticks, range(len(ticks)))
    drawn = len(found.steps) if until is None else until + 1
    for place, distance in enumerate(found.distance.values()):
        # Not from the first, red, which says of a frame that the image changed.
        colour, style = line_of(place + 1)
        axes.plot(
            places[:drawn], distance.tolist()[:drawn], marker="o", markersize=3, color=colour,
            linestyle=style,
        )  # fmt: skip
    words = [f"{found.steps[moment]:,}" for moment in ticks]
    if found.epochs is not None:
        words = [number(found.epochs[moment]) for moment in ticks]
    axes.set_xticks(range(len(ticks)), words)
    axes.set_xlim(-0.5, len(ticks) - 0.5)
    farthest = max((float(d.nan_to_num(0).max()) for d in found.distance.values()), default=0.0)
    axes.set_ylim(0, 1.05 * farthest or 1)
    _name_curves(sheet, found, corner[0], corner[1] + size[1] + AXIS, size[0])


def _name_curves(sheet: Sheet, found: Evolution, left: float, top: float, room: float) -> None:
    for place, line in enumerate(name_lines(found, room)):
        at, across = top + (place + 0.5) * LINE, left
        for curve, name in line:
            colour, style = line_of(curve + 1)
            axes = sheet.axes(across, at - 0.03, SAMPLE - 0.08, 0.06, Bare)
            axes.plot([0, 1], [0, 0], color=colour, linestyle=style)
            axes.set_axis_off()
            sheet.write(name, across + SAMPLE, at, va="center")
            across += SAMPLE + width_of(name, FOOT_POINTS) + NAMES_APART


def caption(found: Evolution, rows: Sequence[Row]) -> list[str]:
    """Return the short caption, and what else must be known to read the pictures."""
    rule = RULES[found.rule]
    every = [scale for row in rows for scale in row.scales]
    count = len(rows[0].scales) if rows else 0
    some = "" if count == len(found.steps) else f"{count} of {len(found.steps)} moments. "
    share = max((scale.clipped for scale in every), default=0.0)
    images = counted(found.images, "training image")
    return [
        f"{one_line(found.network)}: what drives one filter a layer during training. Red: another "
        f"image than before.",
        f"{some}Above, the patch of the receptive field of the filter's strongest activation over "
        f"{images}; below, the projection: what in this image drives the unit, given the switches. "
        f"Rule: {rule.name} ({rule.source}). Zero is mid-grey, each tile on its own scale: ± the "
        f"{every[0].quantile if every else 0:.1%} quantile of |value|; at most {share:.2%} of a "
        f"tile's values are clipped. Hatched: beyond the image.",
        "Curves: norm of a layer's filters minus its final ones, over the norm of the final ones.",
    ]
