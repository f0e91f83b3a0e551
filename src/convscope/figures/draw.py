"""The architecture as a figure, as papers draw it: volumes, and what flows between them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, FancyBboxPatch, Polygon
from matplotlib.typing import ColorType

from convscope.figures.drawing import ARROW, SIGNS, Box, Drawing, Ground, Line, Point, Text
from convscope.figures.lettering import one_line
from convscope.figures.pieces import Piece, key, sheet_of
from convscope.figures.placing import place
from convscope.figures.sheet import Sheet
from convscope.figures.style import INK, MARGIN, Style
from convscope.methods.draw import Architecture
from convscope.network.volumes import Volume
from convscope.wording import times

COLOURS = {
    "input": "#e4e4df",
    "outputs": "#c9c9c2",
    "convolution": "#f3c657",
    "transposed convolution": "#c9a0dc",
    "max pool": "#d9605a",
    "average pool": "#e79a94",
    "linear": "#6fa8dc",
    "concatenation": "#8cc08a",
    "upsampling": "#dcc5ea",
    "add": "#ffffff",
    "product": "#ffffff",
}
OTHER = "#b9b9b3"
RECTIFIER, NORM = "#c4561c", "#5b6770"
EDGE, GROUND, GROUND_EDGE = "#3d3d3a", "#f4f4f0", "#d4d4cc"
STRIPE = 0.05
"""The widest stripe of what is folded into a box, in inches."""
HEAD, HALF_HEAD = 0.07, 0.028


def figure(found: Architecture, style: Style) -> Sheet:
    """Draw a network's architecture.

    Letters keep their size, so that a block that finds no room in a row makes the figure wider.
    """
    drawing = place(found.volumes, style.room - ARROW)
    style = Style(max(style.width, drawing.right + 2 * MARGIN), style.caption)
    whole = Piece(drawing.right, drawing.top, -drawing.bottom, partial(_paint, drawing))
    names = key(_legend(found.volumes), style.room)
    return sheet_of(style, [whole, names], _caption(found), found.notes)


def _caption(found: Architecture) -> list[str]:
    shape = times(found.input_shape)
    return [
        f"{one_line(found.network)}: input {shape}, {found.parameters:,} parameters, "
        f"{found.multiply_adds:,} multiply-adds an image.",
        "Below each box: its layer, its window (/ stride) and its channels; in bold: height × "
        "width of the maps. Height, depth and width of a box grow with the square roots of rows, "
        "columns and channels; vectors are cut off at a largest width. No weights are shown.",
    ]


def _paint(drawing: Drawing, sheet: Sheet, left: float, line: float) -> None:
    """Paint a drawing from a left on, with its axis at a line: grounds, lines, boxes, texts."""
    width, height = sheet.figure.get_size_inches()
    axes = sheet.figure.add_axes((0.0, 0.0, 1.0, 1.0))
    # Over the whole sheet, and in the drawing's inches.
    axes.set(xlim=(-left, width - left), ylim=(line - height, line))
    axes.set_axis_off()
    for ground in drawing.grounds:
        _paint_ground(axes, ground)
    for connection in drawing.lines:
        _paint_line(axes, connection)
    # What is further to the right stands before what is on its left.
    for order, box in enumerate(sorted(drawing.boxes, key=lambda box: box.left), start=4):
        _paint_box(axes, box, order)
    for text in drawing.texts:
        _paint_text(axes, text)


def _paint_ground(axes: Axes, ground: Ground) -> None:
    left, bottom, right, top = ground.edges
    axes.add_patch(
        FancyBboxPatch(
            (left, bottom), right - left, top - bottom,
            boxstyle="round,pad=0,rounding_size=0.05",
            facecolor="white" if ground.summary else GROUND, edgecolor=GROUND_EDGE,
            linewidth=0.7, linestyle="--" if ground.summary else "-", zorder=1,
        )
    )  # fmt: skip


def _paint_line(axes: Axes, line: Line) -> None:
    xs, ys = zip(*line.points, strict=True)
    axes.plot(xs, ys, color=EDGE, linewidth=0.8, zorder=2, solid_joinstyle="round")
    if line.arrow:
        head = _head(line.points[-2], line.points[-1])
        axes.add_patch(Polygon(head, facecolor=EDGE, edgecolor="none", zorder=3))


def _paint_text(axes: Axes, text: Text) -> None:
    wide, high = text.size
    for number, line in enumerate(text.lines):
        share = (number + 0.5) / len(text.lines)
        x, y = text.x, text.y - share * high
        if text.turned:
            x, y = text.x + (share - 0.5) * wide, text.y
        axes.text(
            x, y, line, fontsize=text.points, color=INK, weight=text.weight, ha="center",
            va="top" if text.turned else "center", rotation=90 if text.turned else 0,
            parse_math=False, zorder=10_000,
        )  # fmt: skip


def _paint_box(axes: Axes, box: Box, order: float) -> None:
    left, low, volume = box.left, box.bottom, box.volume
    wide, high, deep = box.width, box.height, box.depth
    colour = COLOURS.get(volume.kind, OTHER)
    if volume.kind in SIGNS:
        _paint_sign(axes, volume, left + wide / 2, low + high / 2, wide / 2, order)
        return
    right, top = left + wide, low + high
    side = [(right, low), (right + deep, low + deep), (right + deep, top + deep), (right, top)]
    front, roof = _slab(left, right, low, top, deep)
    _face(axes, side, _mixed(colour, "black", 0.16), order)
    _face(axes, roof, _mixed(colour, "white", 0.45), order)
    _face(axes, front, to_rgb(colour), order)
    stripe = min(STRIPE, 0.3 * wide)
    for number, own in enumerate(reversed(_stripes(volume))):
        end = right - number * stripe
        face, over = _slab(end - stripe, end, low, top, deep)
        _face(axes, face, to_rgb(own), order + 0.1, edge="none")
        _face(axes, over, _mixed(own, "white", 0.25), order + 0.1, edge="none")
    for outline in (side, roof, front):
        _face(axes, outline, "none", order + 0.2)


def _slab(
    left: float, right: float, low: float, top: float, deep: float
) -> tuple[list[Point], list[Point]]:
    """Return the front and the roof of a box."""
    front = [(left, low), (right, low), (right, top), (left, top)]
    roof = [(left, top), (right, top), (right + deep, top + deep), (left + deep, top + deep)]
    return front, roof


def _face(
    axes: Axes, corners: list[Point], colour: ColorType, order: float, edge: str = EDGE
) -> None:
    axes.add_patch(
        Polygon(
            corners, facecolor=colour, edgecolor=edge, linewidth=0.5, joinstyle="round",
            zorder=order,
        )
    )  # fmt: skip


def _stripes(volume: Volume) -> list[str]:
    """Return the colours of the stripes on a volume: its normalisation, its rectifier."""
    folded = {*volume.before, *volume.after}
    found = [NORM] if folded & {"batch norm", "layer norm"} else []
    return found + ([RECTIFIER] if "rectifier" in folded else [])


def _paint_sign(
    axes: Axes, volume: Volume, x: float, y: float, radius: float, order: float
) -> None:
    rectified = "rectifier" in volume.after
    axes.add_patch(
        Circle(
            (x, y), radius, facecolor="white", edgecolor=RECTIFIER if rectified else EDGE,
            linewidth=1.8 if rectified else 0.9, zorder=order,
        )
    )  # fmt: skip
    arm = radius * 0.55
    across = [((-1.0, 0.0), (1.0, 0.0)), ((0.0, -1.0), (0.0, 1.0))]
    if volume.kind == "product":
        across = [((-0.7, -0.7), (0.7, 0.7)), ((-0.7, 0.7), (0.7, -0.7))]
    for (x0, y0), (x1, y1) in across:
        axes.plot(
            [x + arm * x0, x + arm * x1], [y + arm * y0, y + arm * y1],
            color=EDGE, linewidth=1.1, zorder=order + 0.1,
        )  # fmt: skip


def _head(before: Point, end: Point) -> list[Point]:
    """Return an arrow's head: a triangle with its tip at *end*."""
    length = ((end[0] - before[0]) ** 2 + (end[1] - before[1]) ** 2) ** 0.5 or 1.0
    along = ((end[0] - before[0]) / length, (end[1] - before[1]) / length)
    back = (end[0] - HEAD * along[0], end[1] - HEAD * along[1])
    aside = (-HALF_HEAD * along[1], HALF_HEAD * along[0])
    return [end, (back[0] + aside[0], back[1] + aside[1]), (back[0] - aside[0], back[1] - aside[1])]


def _mixed(colour: str, other: str, share: float) -> ColorType:
    """Return a colour with so much of another in it, 0 to 1."""
    pairs = zip(to_rgb(colour), to_rgb(other), strict=True)
    red, green, blue = (own + share * (its - own) for own, its in pairs)
    return red, green, blue


def _legend(volumes: Sequence[Volume]) -> list[tuple[str, dict[str, Any]]]:
    kinds = {volume.kind for volume in volumes}
    found = {kind: colour for kind, colour in COLOURS.items() if kind in kinds}
    if kinds - set(COLOURS):
        found["other"] = OTHER
    folded = {kind for volume in volumes for kind in (*volume.before, *volume.after)}
    if folded & {"batch norm", "layer norm"}:
        found["normalisation, on its layer"] = NORM
    if "rectifier" in folded:
        found["rectifier, on its layer"] = RECTIFIER
    signs = {"add": r"$\oplus$", "product": r"$\otimes$"}
    square = {"markersize": 9, "linestyle": "none", "markeredgecolor": EDGE, "markeredgewidth": 0.5}
    sign = {**square, "markersize": 10, "markeredgewidth": 0, "color": EDGE}
    return [
        (name, {**sign, "marker": signs[name]} if name in signs else
         {**square, "marker": "s", "color": colour})
        for name, colour in found.items()
    ]  # fmt: skip
