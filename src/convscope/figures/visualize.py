"""Visualizations drawn: each channel's picture, beside its strongest real patches."""

import numpy as np

from convscope.figures.lettering import one_line, shortened
from convscope.figures.sheet import FOOT_POINTS, Sheet, number, picture_of
from convscope.figures.style import MARGIN, Style
from convscope.methods.scanning.tiles import fitted
from convscope.methods.visualization import Visualization

DOTS = 240
"""Pixels an inch: real patches are small, and printed."""

SIDE, ACROSS, GAP = 1.55, 3, 2
"""Inches of a picture at the smallest; patches across beside it, and pixels between two of them."""

HEAD, FOOT, BETWEEN = 0.2, 0.34, 0.16


def figure(found: Visualization, style: Style) -> Sheet:
    """Draw a visualization."""
    halves = 2 if found.strongest else 1
    room = style.width - 2 * MARGIN
    across = max(1, min(len(found.channels), int((room + BETWEEN) / (halves * SIDE + BETWEEN))))
    block = min(room, (room + BETWEEN) / across - BETWEEN)
    side = min(block / halves, 2 * SIDE) - (0.02 if found.strongest else 0)
    lines = -(-len(found.channels) // across)
    high = HEAD + side + FOOT
    cuts = [MARGIN + k * high for k in range(1, lines)]
    sheet = Sheet.made_for(
        style, MARGIN + lines * high, _caption(found), found.notes, cuts, dots=DOTS
    )
    pictures = picture_of(found.pixels)
    for place, row in enumerate(found.table()):
        line, column = divmod(place, across)
        left, top = MARGIN + column * (block + BETWEEN), MARGIN + line * high
        sheet.write(row["name"], left, top + 0.04, room=block)
        top += HEAD
        axes = sheet.axes(left, top, side)
        axes.imshow(pictures[place], interpolation="none", aspect="auto")
        axes.set_axis_off()
        below = [f"optimised {number(row['activation'])}"]
        if np.isfinite(row["typical"]):
            below[0] += f", {row['activation'] / row['typical']:.0f} × typical"
        if found.strongest:
            _draw_patches(sheet, found, place, left + side + 0.04, top, side)
            if row["real"] is not None:
                below.append(f"strongest real {number(row['real'])}")
        text = "\n".join(shortened(one, block, FOOT_POINTS) for one in below)
        sheet.write(text, left, top + side + 0.03)
    return sheet


def _draw_patches(
    sheet: Sheet, found: Visualization, place: int, left: float, top: float, side: float
) -> None:
    """Draw the nine strongest real patches of a channel in a square."""
    unit = found.strongest[place]
    if not len(unit.peak):
        sheet.write("never active", left, top, warns=True)
        return
    dots = int(side * DOTS)
    small = (dots - (ACROSS - 1) * GAP) // ACROSS
    mosaic = np.full((dots, dots, 3), 255, dtype=np.uint8)
    for rank in range(min(ACROSS**2, len(unit.peak))):
        row, column = (at * (small + GAP) for at in divmod(rank, ACROSS))
        mosaic[row : row + small, column : column + small] = fitted(
            unit.patches[rank].numpy(), unit.enlarged, small, signed=False
        )
    axes = sheet.axes(left, top, side)
    axes.imshow(mosaic, interpolation="none", aspect="auto")
    axes.set_axis_off()


def _caption(found: Visualization) -> list[str]:
    """Return what must be known to read the figure; the first line is the short one."""
    what = "one unit" if found.select == "peak" else "the mean of a feature map"
    beside = (
        f"the strongest patches of {one_line(found.strongest[0].data)} beside them"
        if found.strongest
        else "not a real picture: give an atlas to see real ones beside it"
    )
    where = f"{found.network}, {one_line(found.layer)}"
    return [
        f"{where}: pictures optimised to drive {what} each; {beside}.",
        f"Typical: the median of a channel's peaks in real pictures. Gradient ascent of "
        f"{found.steps} steps on {found.frequencies} frequencies (Olah et al. 2017), seed "
        f"{found.seed}; each picture is moved, turned and scaled a little before every step.",
    ]
