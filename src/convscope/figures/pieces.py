"""Pieces: what figures are made of, each of a known size, and drawn where the sheet has room.

A piece is a box as typesetters know it: so wide, and so high above and below a line of its own. A
row sets its pieces on one line, so that pictures stand level whatever is written over them. A
figure says of which pieces it is made; their heights are added up here, and nowhere else.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, inf
from typing import Any

import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from convscope.figures.lettering import DOTS_AN_INCH, one_line, shortened, width_of, wrapped
from convscope.figures.sheet import MOST_PIXELS, Bare, Sheet
from convscope.figures.style import (
    FOOT_POINTS,
    INK,
    LETTERS,
    LINE_SPACING,
    MARGIN,
    NOTE_POINTS,
    Style,
)

GAP = 0.12
"""Inches between two pieces of a sheet."""

TITLE, SIDE, RIGHT, TICKS, LABEL = 0.26, 0.48, 0.12, 0.2, 0.17
"""Inches around a chart: for its title, what stands at its left, half a number at its right, the
numbers below it, and what they are of."""

TEXT_SPACING, BASELINE, PAD = 1.2, 0.84, 0.045
"""From a line of text to the next, and from its top to what letters stand on, as shares of the
letters' size; and inches above and below all lines."""

MARK, APART = 0.3, 0.16
"""Inches of the mark before a name in a key, and from a name to the next mark."""


@dataclass(frozen=True)
class Piece:
    """Something that is drawn on a sheet, of a known size, in inches.

    Attributes:
        width: how wide it is.
        above, below: how far it reaches above its line and below it.
        draw: draws it on a sheet, given its left and its line, in inches from the sheet's corner.
    """

    width: float
    above: float
    below: float
    draw: Callable[[Sheet, float, float], object]

    @property
    def height(self) -> float:
        """How high it is."""
        return self.above + self.below


def space(width: float = 0.0, height: float = 0.0) -> Piece:
    """Return a piece of nothing."""
    return Piece(width, 0.0, height, lambda *_: None)


def row(pieces: Sequence[Piece], gap: float = GAP) -> Piece:
    """Return pieces side by side, their lines on one height."""

    def draw(sheet: Sheet, left: float, line: float) -> None:
        for piece in pieces:
            piece.draw(sheet, left, line)
            left += piece.width + gap

    width = sum(piece.width + gap for piece in pieces) - gap
    return Piece(width, max(b.above for b in pieces), max(b.below for b in pieces), draw)


def stack(*pieces: Piece, gap: float = 0.0, line: int = 0) -> Piece:
    """Return pieces below each other; the line of one of them, by its place, is that of all."""
    tops = list(accumulate((piece.height + gap for piece in pieces), initial=0.0))
    above = tops[line] + (pieces[line].above if pieces else 0.0)

    def draw(sheet: Sheet, left: float, middle: float) -> None:
        for piece, top in zip(pieces, tops, strict=False):
            piece.draw(sheet, left, middle - above + top + piece.above)

    return Piece(
        max((piece.width for piece in pieces), default=0.0), above, tops[-1] - gap - above, draw
    )


def in_lines(pieces: Sequence[Piece], across: int, gap: float = GAP) -> list[Piece]:
    """Return pieces in rows of so many; between two rows a page can be cut."""
    return [row(pieces[n : n + across], gap) for n in range(0, len(pieces), across)]


def fitting(
    room: float, narrowest: float, count: int, gap: float = GAP, widest: float = inf
) -> tuple[int, float]:
    """Return how many of *count* pieces stand side by side for even lines, and how wide each is.

    >>> fitting(7.0, 2.0, 5, gap=0.0), fitting(7.0, 2.0, 4, gap=0.0, widest=3.0)
    ((3, 2.3333333333333335), (2, 3.0))
    """
    most = max(1, int((room + gap) / (narrowest + gap) + 1e-9))
    across = ceil(count / ceil(count / most))
    return across, min(widest, (room + gap) / across - gap)


def words(
    text: str, room: float, points: float = FOOT_POINTS, *, middle: bool = False,
    wrap: bool = False, bold: bool = False, warns: bool = False, spare: float = 0.0,
    colour: str | Sequence[str] | None = None,
) -> Piece:  # fmt: skip
    """Return lines of text, each cut to the room and *spare* inches, or wrapped to that.

    What *warns* is bold and red. The colour is that of all letters, or of each line's.
    """
    lines = list(map(one_line, text.split("\n")))
    weight = "bold" if bold or warns else "normal"
    if wrap:
        lines = [part for line in lines for part in wrapped(line, room + spare, points, weight)]
    lines = [shortened(line, room + spare, points, weight) for line in lines]
    high = points * TEXT_SPACING / 72
    parts: list[tuple[str, str | None]]
    if not isinstance(colour, str | None):
        parts = list(zip(lines, colour, strict=True))
    else:
        parts = [(part, colour) for part in (lines if wrap else ["\n".join(lines)])]

    def draw(sheet: Sheet, left: float, top: float) -> None:
        at = left + room / 2 if middle else left
        baseline = top + PAD + BASELINE * points / 72
        for part, own in parts:
            # Of several lines matplotlib takes the last one's baseline, that of all their letters.
            sheet.write(
                part, at, baseline + part.count("\n") * high, points,
                ha="center" if middle else "left", va="baseline", bold=bold, warns=warns,
                colour=own,
            )  # fmt: skip
            baseline += high

    return Piece(room, 0.0, len(lines) * high + 2 * PAD, draw)


def level(piece: Piece, height: float) -> Piece:
    """Return a piece in the middle of so many inches below its line."""
    down = (height - piece.height) / 2 + piece.above
    return Piece(
        piece.width, 0.0, height, lambda sheet, left, line: piece.draw(sheet, left, line + down)
    )


def picture(
    shown: npt.NDArray[Any], width: float, height: float | None = None,
    paint: Callable[[Axes], object] = lambda _: None, **options: Any,
) -> Piece:  # fmt: skip
    """Return a picture; *paint* paints over it.

    Unless a height is given it is as high as its width makes it, but no higher than wide. Its line
    is its upper edge. The options are those of :meth:`matplotlib.axes.Axes.imshow`.
    """
    rows, columns = shown.shape[:2]
    high = width * min(1.0, rows / columns) if height is None else height

    def draw(sheet: Sheet, left: float, top: float) -> None:
        axes = sheet.axes(left, top, width, high, Bare)
        axes.imshow(shown, **{"interpolation": "nearest", **options})
        axes.set_axis_off()
        paint(axes)

    return Piece(width, 0.0, high, draw)


def chart(
    width: float, height: float, paint: Callable[[Axes], object], title: str = "",
    across: str = "", up: str = "", *, side: float = SIDE, ticks: float = TICKS,
) -> Piece:  # fmt: skip
    """Return a chart that *paint* draws, whose line is its upper edge.

    The width is that of all, the height that of the axes. *across* and *up* tell what its numbers
    are; those have *ticks* inches below the axes, or names have, these *side* inches at the left.
    """

    def draw(sheet: Sheet, left: float, top: float) -> None:
        axes = sheet.axes(left + side, top, width - side - RIGHT, height)
        short = shortened(one_line(title), inches_across(axes), LETTERS)
        axes.set_title(short, fontsize=LETTERS, loc="left", color=INK, parse_math=False)
        axes.set_xlabel(across, fontsize=FOOT_POINTS, color=INK)
        axes.set_ylabel(up, fontsize=FOOT_POINTS, color=INK)
        axes.tick_params(labelsize=FOOT_POINTS, colors=INK, length=2)
        axes.grid(axis="y", color="#e6e6e6")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        paint(axes)

    above = TITLE if title else 0.06
    return Piece(width, above, height + ticks + (LABEL if across else 0.0), draw)


def inches_across(axes: Axes) -> float:
    """Return how wide axes are."""
    return axes.bbox.width / axes.figure.dpi


def key(
    entries: Iterable[tuple[str, dict[str, Any]]], room: float, points: float = FOOT_POINTS
) -> Piece:
    """Return the key of a chart: each name behind its mark, in as many lines as they need.

    Marks, lines or markers alone, are given as :class:`matplotlib.lines.Line2D` takes them.
    """
    lines: list[list[Piece]] = [[]]
    for name, mark in entries:
        entry = _entry(name, mark, room, points)
        if lines[-1] and sum(one.width + APART for one in (*lines[-1], entry)) - APART > room:
            lines.append([])
        lines[-1].append(entry)
    return stack(*(row(line, APART) for line in lines if line))


def _entry(name: str, mark: dict[str, Any], room: float, points: float) -> Piece:
    """Return a name of a key behind its mark, a marker alone or in the middle of a line."""
    wide = MARK / 2 if mark.get("linestyle") == "none" else MARK
    shown = shortened(one_line(name), room - wide - 0.06, points)
    high = points * LINE_SPACING / 72 + 0.02

    def draw(sheet: Sheet, left: float, top: float) -> None:
        up = sheet.figure.get_figheight() - top - high / 2
        ends = (left, left + wide / 2, left + wide)
        line = Line2D(ends, [up] * 3, markevery=[1], **mark)
        line.set_transform(sheet.figure.dpi_scale_trans)
        sheet.figure.add_artist(line)
        sheet.write(shown, left + wide + 0.06, top + high / 2, points, va="center")

    return Piece(wide + 0.06 + width_of(shown, points), 0.0, high, draw)


def sheet_of(
    style: Style, pieces: Sequence[Piece], caption: Sequence[str], notes: Iterable[str],
    gap: float = GAP, dots: int = DOTS_AN_INCH,
) -> Sheet:  # fmt: skip
    """Return a sheet with pieces below each other, between which pages can be cut.

    The first of the caption's paragraphs is the short one; the notes are what a picture must say
    whatever the caption. It has fewer dots an inch where it would be too high for so many, and is
    refused where it is too high for renderers and viewers.
    """
    said = "; ".join(map(one_line, notes))
    shown = {"none": [], "short": caption[:1], "full": caption}[style.caption]
    texts = [words(said, style.room, NOTE_POINTS, wrap=True, warns=True)] if said else []
    texts += [words(one_line(sentence), style.room, wrap=True) for sentence in shown]
    *tops, end = accumulate((piece.height + gap for piece in pieces), initial=MARGIN)
    below = end - gap + MARGIN
    high = below + sum(piece.height for piece in texts) + MARGIN
    Sheet.check(high, style.width)
    dots = min(dots, int(MOST_PIXELS / max(style.width, high)))
    size = style.width, ceil(high * dots) / dots
    first, *rest = map(one_line, caption or [""])
    about = " ".join(filter(None, (f"{said}." if said else "", first))), " ".join(rest)
    sheet = Sheet(Figure(figsize=size, dpi=dots, facecolor="white"), tuple(tops[1:]), about)
    for piece, top in zip((*pieces, stack(*texts)), (*tops, below), strict=True):
        piece.draw(sheet, MARGIN, top + piece.above)
    return sheet
