"""Units drawn: strongest patches beside what drives the unit there (Zeiler & Fergus, fig. 2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convscope.figures.lettering import one_line, shortened
from convscope.figures.sheet import FOOT_POINTS, NOTE_POINTS, Sheet, number
from convscope.figures.style import MARGIN, Style
from convscope.methods.scanning.unit import AtlasUnit
from convscope.network.rules import rule_named
from convscope.wording import counted

ACROSS = 3
LARGEST_TILE, NAMED_FROM = 1.3, 0.9
"""Inches: the widest tile, and the narrowest under which an image's name finds room."""
GAP, LINE, HEAD = 0.06, 0.13, 0.37
HALVES_APART, UNITS_APART = 0.2, 0.3
NARROWEST_UNIT = 3.0

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Entry:
    """One entry: two pictures, the image's name, the unit's peak, and the value shown as white."""

    patch: Picture
    projection: Picture
    image: str
    peak: float
    limit: float


@dataclass(frozen=True)
class Unit:
    """A unit's title and entries, the strongest first."""

    title: str
    entries: Sequence[Entry]


def figure(found: AtlasUnit, style: Style) -> Sheet:
    """Draw a channel of an atlas."""
    entries = [
        Entry(patch.numpy(), projection.numpy(), title, peak, limit)
        for patch, projection, title, peak, limit in zip(
            found.patches, found.projections, found.titles, found.peak.tolist(),
            found.limit.tolist(), strict=True,
        )
    ]  # fmt: skip
    unit = Unit(f"{found.network}, {found.layer}, {found.name}", entries)
    clipped = max(found.clipped.tolist(), default=0.0)
    lines = caption(len(entries), found.images, found.data, found.rule, clipped)
    return units_sheet([unit], style, lines, found.notes)


def caption(top: int, images: int, data: str, rule: str, clipped: float) -> list[str]:
    """Return what must be known to read the figure; the first line is the short one."""
    known = rule_named(rule)
    return [
        f"The strongest patches of {counted(images, 'image')}, and what drives the unit there.",
        f"What in each image drives the unit, given the switches; the {top} strongest of "
        f"{counted(images, 'image')} of {one_line(data)}. Rule: {known.name} ({known.source}).",
        "Zero is mid-grey, each tile on its own scale: ± the 99.9% quantile of |value|, given "
        f"below each projection in units of pixel brightness (0 to 1); at most {clipped:.2%} of a "
        f"tile's values are clipped. Hatched: beyond the image.",
    ]


def units_sheet(
    units: Sequence[Unit], style: Style, words: Sequence[str], notes: Sequence[str]
) -> Sheet:
    """Draw each unit's strongest patches on the left and their projections on the right.

    Args:
        units: as many side by side as find room, three entries in a row.
        style: how wide, and with which caption.
        words: the caption.
        notes: what the picture must say, such as random weights.
    """
    room = style.width - 2 * MARGIN
    across = max(1, min(len(units), int((room + UNITS_APART) / (NARROWEST_UNIT + UNITS_APART))))
    wide = (room + UNITS_APART) / across - UNITS_APART
    side = min(LARGEST_TILE, (wide - HALVES_APART - 4 * GAP) / (2 * ACROSS))
    foot = LINE * (2 if side >= NAMED_FROM else 1) + 0.04
    rows = -(-max(1, *(len(unit.entries) for unit in units)) // ACROSS)
    high = HEAD + rows * (side + foot) + MARGIN
    lines = -(-len(units) // across)
    cuts = [MARGIN + line * high for line in range(1, lines + 1)]
    sheet = Sheet.made_for(style, MARGIN + lines * high, words, notes, cuts)
    for place, unit in enumerate(units):
        line, column = divmod(place, across)
        corner = MARGIN + column * (wide + UNITS_APART), MARGIN + line * high
        _draw_unit(sheet, unit, corner, side, foot)
    return sheet


def _draw_unit(
    sheet: Sheet, unit: Unit, corner: tuple[float, float], side: float, foot: float
) -> None:
    left, top = corner
    half = ACROSS * (side + GAP) - GAP
    sheet.write(unit.title, left, top, NOTE_POINTS, room=2 * half + HALVES_APART)
    if not unit.entries:
        sheet.write("never active: there is nothing to show", left, top + HEAD, warns=True)
        return
    right = left + half + HALVES_APART
    for start, text in ((left, "strongest patches, peak"), (right, "what drives the unit there")):
        sheet.write(text, start, top + HEAD - 0.04, room=half, va="bottom")
    for place, entry in enumerate(unit.entries):
        row, column = divmod(place, ACROSS)
        across, high = column * (side + GAP), top + HEAD + row * (side + foot)
        for start, picture, below in (
            (left, entry.patch, _below_patch(entry, side)),
            (right, entry.projection, f"±{number(entry.limit)}" if entry.limit else "nothing"),
        ):
            sheet.picture(picture, start + across, high, side)
            middle = start + across + side / 2
            sheet.write(below, middle, high + side + 0.02, ha="center")


def _below_patch(entry: Entry, side: float) -> str:
    """Return the image's name, where it finds room, and the unit's peak."""
    peak = number(entry.peak)
    if side < NAMED_FROM:
        return peak
    return f"{shortened(one_line(entry.image), side, FOOT_POINTS)}\npeak {peak}"
