"""Visualizations drawn: each channel's picture, beside its strongest real patches."""

import numpy as np

from convscope.figures.lettering import one_line
from convscope.figures.pieces import fitting, in_lines, picture, row, sheet_of, stack, words
from convscope.figures.plate import strongest
from convscope.figures.sheet import Sheet, number, picture_of
from convscope.figures.style import Style
from convscope.methods.visualize import Visualization

SIDE, APART, BETWEEN = 1.55, 0.04, 0.16
"""Inches of a picture at least, to the patches beside it, and between two channels."""


def figure(found: Visualization, style: Style) -> Sheet:
    """Draw a visualization."""
    halves = 2 if found.strongest else 1
    across, wide = fitting(style.room, halves * SIDE, len(found.channels), BETWEEN)
    side = min((wide - APART * (halves - 1)) / halves, 2 * SIDE)
    channels = []
    for place, (told, shown) in enumerate(
        zip(found.table(), picture_of(found.pixels), strict=True)
    ):
        below = f"optimised {number(told['activation'])}"
        if np.isfinite(told["typical"]):
            below += f", {told['activation'] / told['typical']:.0f} × typical"
        pictures = [picture(shown, side, interpolation="none")]
        if found.strongest:
            unit = found.strongest[place]
            pictures.append(strongest(unit, unit.patches, side))
            if told["real"] is not None:
                below += f"\nstrongest real {number(told['real'])}"
        parts = words(told["name"], wide), row(pictures, APART), words(below, wide)
        channels.append(stack(*parts, line=1))
    lines = in_lines(channels, across, BETWEEN)
    return sheet_of(style, lines, _caption(found), found.notes)


def _caption(found: Visualization) -> list[str]:
    what = "one unit" if found.select == "peak" else "the mean of a feature map"
    beside = (
        f"the strongest patches of {one_line(found.strongest[0].data)} beside them"
        if found.strongest
        else "none is real, and an atlas puts real patches beside them"
    )
    where = f"{found.network}, {one_line(found.layer)}"
    return [
        f"{where}: pictures optimised to drive {what} each; {beside}.",
        f"Typical: the median of a channel's peaks in real pictures. Gradient ascent of "
        f"{found.steps} steps on {found.frequencies} frequencies (Olah et al. 2017), seed "
        f"{found.seed}; each picture is moved, turned and scaled a little before every step.",
    ]
