"""Pieces: that they stand where their sizes say, and nothing meets another."""

import numpy as np
import pytest
from matplotlib.lines import Line2D

from convscope.errors import OutputError
from convscope.figures.pieces import (
    GAP,
    Piece,
    in_lines,
    key,
    level,
    picture,
    row,
    sheet_of,
    space,
    stack,
    words,
)
from convscope.figures.style import MARGIN, Style

SHOWN = np.zeros((2, 2))


def drawn(*pieces: Piece, gap: float = GAP):
    """Return a sheet of pieces, and the left and top of each of its pictures, in inches."""
    sheet = sheet_of(Style(5.0), pieces, [], [], gap, dots=100)
    width, height = sheet.figure.get_size_inches()
    places = [axes.get_position() for axes in sheet.figure.axes]
    return sheet, [(box.x0 * width, height - box.y1 * height) for box in places]


def test_pictures_of_a_row_are_level_whatever_is_written_above_them():
    one = stack(words("one line", 1.0), picture(SHOWN, 1.0), line=1)
    two = stack(words("two\nlines", 1.0), picture(SHOWN, 1.0), words("below", 1.0), line=1)
    whole = row([one, two], 0.5)
    assert (whole.above, whole.below) == (two.above, two.below)
    assert whole.width == 2.5
    _, places = drawn(whole)
    tops = MARGIN + two.above
    assert places == [pytest.approx((MARGIN + x, tops), abs=0.01) for x in (0.0, 1.5)]


def test_a_sheet_is_as_high_as_its_pieces_and_can_be_cut_between_them():
    lines = in_lines([picture(SHOWN, 1.0)] * 5, 2, gap=0.5)
    sheet, places = drawn(*lines, gap=0.25)
    rows = [MARGIN, MARGIN + 1.25, MARGIN + 2.5]
    assert sheet.cuts == pytest.approx(rows[1:])
    assert places == [
        pytest.approx((MARGIN + 1.5 * (n % 2), rows[n // 2]), abs=0.01) for n in range(5)
    ]
    assert sheet.figure.get_figheight() == pytest.approx(rows[-1] + 1.0 + 2 * MARGIN, abs=0.02)


def test_what_stands_beside_a_picture_is_in_its_middle():
    beside = level(picture(SHOWN, 0.5), 2.0)
    _, places = drawn(row([beside, picture(SHOWN, 2.0)], 0.0))
    assert places[0] == pytest.approx((MARGIN, MARGIN + 0.75), abs=0.01)


def test_a_wide_picture_leaves_no_blank_above_and_below():
    wide, tall = picture(np.zeros((10, 40)), 2.0), picture(np.zeros((40, 10, 3)), 2.0)
    assert (wide.height, tall.height, picture(np.zeros((10, 40)), 2.0, 2.0).height) == (0.5, 2, 2)
    sheet, _ = drawn(wide)
    box = sheet.figure.axes[0].get_window_extent()
    assert (box.width, box.height) == pytest.approx((200, 50))


def test_words_are_cut_to_their_room_or_wrapped_in_it():
    cut, wrapped = words("word " * 40, 1.0), words("word " * 40, 1.0, wrap=True)
    assert wrapped.height > 5 * cut.height
    sheet, _ = drawn(cut, wrapped)
    texts = [text.get_text() for text in sheet.figure.texts]
    assert "\u2026" in texts[0]
    assert " ".join(texts[1:]) == ("word " * 40).strip()
    sheet, _ = drawn(words("one\ntwo", 1.0, colour=["#111111", "#222222"]))
    assert [text.get_color() for text in sheet.figure.texts] == ["#111111", "#222222"]


def test_a_key_goes_on_in_the_next_line_where_a_name_finds_no_room():
    entries = [(f"name {n}", {"color": "#d62728"}) for n in range(5)]
    one, two = key(entries, 9.0), key(entries, 2.5)
    assert two.height == pytest.approx(3 * one.height)
    assert two.width <= 2.5
    sheet, _ = drawn(two)
    assert [text.get_text() for text in sheet.figure.texts] == [name for name, _ in entries]
    marks = sheet.figure.findobj(Line2D)
    assert [mark.get_color() for mark in marks] == ["#d62728"] * 5
    assert key([], 2.5).height == 0


def test_a_sheet_too_high_for_viewers_is_refused():
    with pytest.raises(OutputError, match="1000 inches high: take fewer images"):
        sheet_of(Style(5.0), [space(height=1000 - 2 * MARGIN)], [], [])
