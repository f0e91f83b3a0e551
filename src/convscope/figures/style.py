"""Styles: how wide a figure is drawn, which words stand below it, its letters and colours."""

from dataclasses import dataclass

from convscope.errors import OutputError, check_known, near_matches

WIDTHS = {"column": 3.4, "text": 7.0, "slide": 10.0}
"""Inches: a column of a page set in two, a page's text, and a slide."""

INK = "#222222"
WARNING = "#b00020"
PALE = "#6e6e6e"
"""For numbers that tell nothing, as those no better than chance."""
FRAME_POINTS = 1.6
FOOT_POINTS, LETTERS = 7.0, 7.5
NOTE_POINTS = 8.5
LINE_SPACING = 1.4
COLOURS = (
    "#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#17becf",
    "#8c564b", "#e377c2", "#bcbd22",
)  # fmt: skip
LINES = ("solid", "dashed", "dotted")

MARGIN = 0.12
"""Inches around all that is drawn."""

NARROWEST, WIDEST = 2.5, 50.0
CAPTIONS = ("none", "short", "full")


@dataclass(frozen=True)
class Style:
    """How wide a figure is, in inches, and which caption it has."""

    width: float = WIDTHS["text"]
    caption: str = "short"

    @property
    def room(self) -> float:
        """Inches between the margins."""
        return self.width - 2 * MARGIN


def style(width: str | float, caption: str) -> Style:
    """Return the style of a width, a name in :data:`WIDTHS` or inches, and a caption.

    >>> style("column", "none"), style("4.5", "full").width
    (Style(width=3.4, caption='none'), 4.5)
    """
    check_known("caption", caption, CAPTIONS, OutputError)
    if str(width) in WIDTHS:
        return Style(WIDTHS[str(width)], caption)
    try:
        inches = float(width)
    except (TypeError, ValueError):
        inches = 0.0
    if not NARROWEST <= inches <= WIDEST:
        raise OutputError(
            f"the width is 'column', 'text', 'slide' or inches from {NARROWEST} to {WIDEST:g}, not "
            f"{width!r}{near_matches(width, WIDTHS)}"
        )
    return Style(inches, caption)


def line_of(place: int) -> tuple[str, str]:
    """Return a colour and a kind of line, by which each of up to 27 things is known.

    >>> line_of(0), line_of(9), len({line_of(place) for place in range(27)})
    (('#d62728', 'solid'), ('#d62728', 'dashed'), 27)
    """
    return COLOURS[place % len(COLOURS)], LINES[place // len(COLOURS) % len(LINES)]
