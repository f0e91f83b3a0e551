"""Evolution as a film: one frame a moment, with the filters' tiles and the curves up to then."""

from collections.abc import Iterator

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from convscope.figures.evolve import (
    AXIS,
    GAP,
    LINE,
    SIDE,
    Row,
    caption,
    draw_distances,
    draw_pair,
    name_lines,
)
from convscope.figures.film import Film, Frame
from convscope.figures.lettering import any_letters, shortened
from convscope.figures.sheet import NOTE_POINTS, Sheet, number
from convscope.figures.style import MARGIN, Style
from convscope.study.evolve import Evolution

TILES_A_LINE = 8
TILE = 1.15
TITLE, HEAD, FOOT = 0.4, 0.5, 0.34
TILES = TITLE + 2 * TILE + GAP + FOOT
CURVES = 1.9
NARROWEST = 7.5
HEAD_POINTS = 13.0

HELD_SECONDS, LAST_HELD_SECONDS = 1.2, 3.0


def film(found: Evolution) -> Film:
    """Return every moment of an evolution as one frame of a film."""
    rows = [Row.of(found, own, range(len(found.steps))) for own in found.filters]

    def frames() -> Iterator[Frame]:
        for moment in range(len(found.steps)):
            yield _painted(_frame(found, rows, moment))

    held = [HELD_SECONDS] * (len(found.steps) - 1)
    return Film(frames, (*held, LAST_HELD_SECONDS))


def _frame(found: Evolution, rows: list[Row], moment: int) -> Sheet:
    """Draw one moment."""
    columns = min(len(rows), TILES_A_LINE)
    lines = -(-len(rows) // TILES_A_LINE)
    width = max(2 * MARGIN + columns * (TILE + GAP) - GAP, NARROWEST)
    curves = MARGIN + HEAD + lines * TILES + 0.1
    room = width - 2 * MARGIN - SIDE
    names = len(name_lines(found, room)) * LINE
    sheet = Sheet.made_for(
        Style(width), curves + CURVES + AXIS + names, caption(found, rows), found.notes
    )
    words = _moment_words(found, moment)
    sheet.write(words, MARGIN, MARGIN, HEAD_POINTS)
    for place, row in enumerate(rows):
        line, column = divmod(place, TILES_A_LINE)
        corner = (MARGIN + column * (TILE + GAP), MARGIN + HEAD + line * TILES + TITLE)
        _draw_row(sheet, row, moment, corner)
    every = range(len(found.steps))
    draw_distances(sheet, found, (MARGIN + SIDE, curves), (room, CURVES), every, moment)
    return sheet


def _moment_words(found: Evolution, moment: int) -> str:
    """Return a moment in words, such as "after 0.25 epochs (22 steps)"."""
    step = found.steps[moment]
    if step == 0:
        return "before training"
    steps = f"{step} step" if step == 1 else f"{step:,} steps"
    if found.epochs is None:
        return f"after {steps}"
    epochs = number(found.epochs[moment])
    return f"after {epochs} epoch{'' if epochs == '1' else 's'} ({steps})"


def _draw_row(sheet: Sheet, row: Row, moment: int, corner: tuple[float, float]) -> None:
    left, top = corner
    middle = left + TILE / 2
    name = f"{shortened(row.layer, TILE, NOTE_POINTS)}\nchannel {row.channel}"
    sheet.write(name, middle, top - 0.05, NOTE_POINTS, ha="center", va="bottom")
    draw_pair(sheet, corner, TILE, row, moment)
    foot = f"{number(row.activations[moment])}, ±{number(row.scales[moment].limit)}"
    foot += "\nnew image" if row.changed[moment] else ""
    sheet.write(foot, middle, top + 2 * TILE + GAP, ha="center")


def _painted(sheet: Sheet) -> Frame:
    canvas = FigureCanvasAgg(sheet.figure)
    with any_letters():
        canvas.draw()  # type: ignore[no-untyped-call]
    return np.array(canvas.buffer_rgba(), dtype=np.uint8)[..., :3]  # type: ignore[no-untyped-call]
