"""Text cut and wrapped to a width, so that none of it meets its neighbour or leaves the figure."""

import logging
import warnings
from bisect import bisect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from itertools import accumulate

from matplotlib import rcParams
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties, get_font_names

DOTS_AN_INCH, FINE_DOTS, FEWEST_DOTS = 220, 330, 110
"""Of a figure; of one whose tiles are drawn pixel by pixel, where these fit so better; and of the
frames of a film and of what would else be too high, at least."""

ELLIPSIS = "…"

OTHER_SCRIPTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "PingFang SC", "Hiragino Sans GB", "Hiragino Sans",
    "Apple SD Gothic Neo", "Microsoft YaHei", "SimHei", "Yu Gothic", "Malgun Gothic",
    "Arial Unicode MS", "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai", "Nirmala UI",
)  # fmt: skip
"""Fonts of the usual systems for the letters that matplotlib's own lacks."""


@cache
def _fallbacks() -> tuple[str, ...]:
    logging.getLogger("matplotlib.font_manager").addFilter(_is_news)
    installed = set(get_font_names())
    return tuple(name for name in OTHER_SCRIPTS if name in installed)


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether a message is to be printed: not that one of these fonts has no bold letters.

    Matplotlib says it for every text, whether or not a letter of that font is in it.
    """
    said = record.getMessage()
    return "font weight" not in said or not any(name in said for name in OTHER_SCRIPTS)


def families() -> list[str]:
    """Return the fonts that letters are looked up in, one after the other."""
    return [*rcParams["font.family"], *_fallbacks()]


@contextmanager
def any_letters() -> Iterator[None]:
    """Let letters that no font has be drawn as boxes, without a warning about each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def one_line(text: str) -> str:
    r"""Return *text* fit to be drawn: on one line, and with ``?`` for bytes that are no letters.

    >>> one_line("two\nlines \udcff")
    'two lines ?'
    """
    return " ".join(text.encode("utf-8", "replace").decode().split())


@lru_cache(4096)
def width_of(text: str, points: float, weight: str = "normal") -> float:
    """Return how wide one line of text is drawn, in inches.

    >>> width_of("", 7) < width_of("conv1", 7) < width_of("conv1", 9)
    True
    """
    font = FontProperties(family=families(), size=points, weight=weight)
    widths = []
    with any_letters():
        # As it is painted: letters on whole pixels are wider or narrower than their outlines.
        for dots in (DOTS_AN_INCH, FINE_DOTS, FEWEST_DOTS):
            renderer = _renderer(dots)
            width, _, _ = renderer.get_text_width_height_descent(text, font, ismath=False)  # type: ignore[no-untyped-call]
            widths.append(float(width) / dots)
    return max(widths)


@cache
def _renderer(dots: int) -> RendererAgg:
    return RendererAgg(1, 1, dots)  # type: ignore[no-untyped-call]


def shortened(text: str, inches: float, points: float, weight: str = "normal") -> str:
    """Return *text*, its middle left out if it is wider than *inches*.

    >>> shortened("features.28", 2, 7)
    'features.28'
    >>> short = shortened("a" * 100 + ".conv1", 1, 7)
    >>> short[:2], short[-6:], width_of(short, 7) <= 1
    ('aa', '.conv1', True)
    """
    if width_of(text, points, weight) <= inches:
        return text

    def cut(kept: int) -> str:
        # The end says more than the beginning, both in file names and in layer names.
        head = kept // 3
        return text[:head] + ELLIPSIS + text[len(text) - (kept - head) :]

    return cut(
        bisect(range(1, len(text)), inches, key=lambda kept: width_of(cut(kept), points, weight))
    )


def wrapped(
    text: str,
    room: float,
    points: float,
    weight: str = "normal",
    width: Callable[[str, float, str], float] = width_of,
) -> list[str]:
    """Return *text* in lines no wider than *room*, broken at spaces, or in a name behind its marks.

    The room is in inches, or in what *width* returns of a text, its size and its weight.

    >>> wrapped("zero is mid-grey", 0.5, 7)
    ['zero is', 'mid-grey']
    >>> wrapped("down to features.9.squeeze", 0.7, 7)
    ['down to', 'features.9.', 'squeeze']
    """

    def fits(part: str) -> bool:
        return width(part, points, weight) <= room

    lines, words = [], text.split()
    # To measure letters takes long, so a line is guessed first, by what they take on average.
    letters = room / max(width(text, points, weight) / max(len(text), 1), 1e-9)
    while words:
        count = 1 + bisect(list(accumulate(len(word) + 1 for word in words)), letters)
        while count < len(words) and fits(" ".join(words[:count])):
            count += 1
        while count > 1 and not fits(" ".join(words[:count])):
            count -= 1
        line = " ".join(words[:count])
        if not fits(line) and len(line) > 1:  # one word, broken at a mark, or wherever it has to be
            cut = next((n for n in range(len(line) - 1, 1, -1) if fits(line[:n])), 1)
            cut = max(line.rfind(mark, cut // 3, cut) for mark in "./_-") + 1 or cut
            line, words[:1] = line[:cut], [line[:cut], line[cut:]]
        lines.append(line)
        del words[:count]
    return lines
