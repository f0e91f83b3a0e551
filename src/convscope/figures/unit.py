"""Units drawn: strongest patches beside what drives the unit there (Zeiler & Fergus, fig. 2)."""

from torch import Tensor

from convscope.figures.lettering import one_line
from convscope.figures.pieces import Piece, fitting, in_lines, picture, row, sheet_of, stack, words
from convscope.figures.sheet import Sheet, number
from convscope.figures.style import NOTE_POINTS, Style
from convscope.figures.tile import HATCHED, own_scales
from convscope.methods.plate import AtlasUnit
from convscope.network.rules import rule_named
from convscope.wording import counted

ACROSS = 3
SMALLEST, LARGEST, NAMED_FROM = 0.3, 1.3, 0.9
"""Inches of a tile at least and at most, and from which an image's name finds room below it."""
BETWEEN, HALVES_APART = 0.06, 0.2


def figure(found: AtlasUnit, style: Style) -> Sheet:
    """Draw a channel of an atlas: its strongest patches, and beside them what drives it there."""
    _, side = fitting((style.room - HALVES_APART) / 2, SMALLEST, ACROSS, BETWEEN, LARGEST)
    named = side >= NAMED_FROM
    patches, projections = [], []
    for n, (image, peak, limit) in enumerate(
        zip(found.titles, map(number, found.peak.tolist()), found.limit.tolist(), strict=True)
    ):
        patches.append(_tile(found.patches[n], side, f"{image}\npeak {peak}" if named else peak))
        scale = f"±{number(limit)}" if limit else "nothing"
        projections.append(_tile(found.projections[n], side, scale + "\n" * named))
    pieces = [words(f"{found.network}, {found.layer}, {found.name}", style.room, NOTE_POINTS)]
    if not patches:
        pieces.append(words("never active: there is nothing to show", style.room, warns=True))
    else:
        half = ACROSS * (side + BETWEEN) - BETWEEN
        halves = [
            stack(words(head, half), *in_lines(tiles, ACROSS, BETWEEN))
            for head, tiles in (
                ("strongest patches, peak", patches), ("what drives the unit there", projections)
            )
        ]  # fmt: skip
        pieces.append(row(halves, HALVES_APART))
    return sheet_of(style, pieces, _caption(found), found.notes, gap=0.02)


def _tile(shown: Tensor, side: float, below: str) -> Piece:
    return stack(picture(shown.numpy(), side), words(below, side, middle=True))


def _caption(found: AtlasUnit) -> list[str]:
    rule, images = rule_named(found.rule), counted(found.images, "image")
    given = ", given below each projection"
    return [
        f"The strongest patches of {images}, and what in each drives the unit, given the switches.",
        f"The {len(found.peak)} strongest of {images} of {one_line(found.data)}. Rule: {rule.name} "
        f"({rule.source}).",
        f"{own_scales(found.clipped.tolist(), given)} {HATCHED}",
    ]
