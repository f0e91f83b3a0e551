"""One unit drawn: its strongest patches beside what drives it in each (Zeiler & Fergus, fig. 2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convscope.figures.lettering import one_line, shortened
from convscope.figures.sheet import FOOT_POINTS, MARGIN, NOTE_POINTS, Sheet, number

ACROSS = 3
TILE, GAP, FOOT, HEAD = 1.05, 0.06, 0.28, 0.5
HALVES_APART = 0.3

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Shown:
    """One entry: two pictures, the image's name, the unit's peak, and the value shown as white."""

    patch: Picture
    projection: Picture
    image: str
    peak: float
    limit: float


def unit_figure(
    title: str, entries: Sequence[Shown], caption: Sequence[str], notes: Sequence[str]
) -> Sheet:
    """Draw a unit's strongest patches on the left and their projections on the right.

    Args:
        title: the unit's name.
        entries: the strongest first; three in a row.
        caption: what must be known to read the figure.
        notes: what the picture must say, such as random weights.

    """
    rows = max(1, -(-len(entries) // ACROSS))
    half = ACROSS * (TILE + GAP) - GAP
    height = MARGIN + HEAD + rows * (TILE + FOOT + GAP)
    width = 2 * MARGIN + 2 * half + HALVES_APART
    sheet = Sheet.made_for(width, height, caption, "; ".join(notes))
    line = shortened(one_line(title), width - 2 * MARGIN, NOTE_POINTS)
    sheet.write(line, width / 2, MARGIN, NOTE_POINTS, ha="center", va="top", warns=False)
    right = MARGIN + half + HALVES_APART
    for left, text in ((MARGIN, "strongest patches"), (right, "what drives the unit there")):
        sheet.write(
            text, left + half / 2, MARGIN + HEAD - 0.06, FOOT_POINTS, ha="center", va="bottom",
            warns=False,
        )  # fmt: skip
    for place, entry in enumerate(entries):
        row, column = divmod(place, ACROSS)
        top = MARGIN + HEAD + row * (TILE + FOOT + GAP)
        foot = f"±{number(entry.limit)}" if entry.limit else "nothing arrives"
        image = shortened(one_line(entry.image), TILE, FOOT_POINTS)
        for start, shown, below in (
            (MARGIN, entry.patch, f"{image}\npeak {number(entry.peak)}"),
            (right, entry.projection, foot),
        ):
            left = start + column * (TILE + GAP)
            axes = sheet.axes(left, top, TILE)
            axes.imshow(shown, interpolation="nearest")
            axes.set_axis_off()
            sheet.write(
                below, left + TILE / 2, top + TILE + 0.02, FOOT_POINTS, ha="center", va="top",
                warns=False,
            )  # fmt: skip
    if not entries:
        text = "never active: there is nothing to show"
        sheet.write(
            text, width / 2, MARGIN + HEAD + TILE / 2, NOTE_POINTS, ha="center", va="center",
            warns=True,
        )  # fmt: skip
    return sheet
