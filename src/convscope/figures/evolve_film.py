"""Evolution as a film: one frame a moment, with the filters' tiles and the curves up to then."""

from collections.abc import Iterator

from convscope.figures.evolve import BETWEEN, LARGEST_TILE, Row, caption, distances, pair
from convscope.figures.film import Film, Frame
from convscope.figures.lettering import FEWEST_DOTS
from convscope.figures.pieces import Piece, in_lines, sheet_of, stack, words
from convscope.figures.sheet import Sheet, number
from convscope.figures.style import MARGIN, NOTE_POINTS, Style
from convscope.study.evolve import Evolution

TILES_A_LINE = 8
NARROWEST = 7.5
HEAD_POINTS = 13.0

HELD_SECONDS, LAST_HELD_SECONDS = 1.2, 3.0


def film(found: Evolution) -> Film:
    """Return every moment of an evolution as one frame of a film."""
    rows = [Row.of(found, own, range(len(found.steps))) for own in found.filters]

    def frames() -> Iterator[Frame]:
        for moment in range(len(found.steps)):
            yield _frame(found, rows, moment).painted()

    held = [HELD_SECONDS] * (len(found.steps) - 1)
    return Film(frames, (*held, LAST_HELD_SECONDS))


def _frame(found: Evolution, rows: list[Row], moment: int) -> Sheet:
    columns = min(len(rows), TILES_A_LINE)
    style = Style(max(2 * MARGIN + columns * (LARGEST_TILE + BETWEEN) - BETWEEN, NARROWEST))
    pieces = [
        words(_moment_words(found, moment), style.room, HEAD_POINTS),
        *in_lines([_column(own, moment) for own in rows], TILES_A_LINE, BETWEEN),
        distances(found, style.room, range(len(found.steps)), moment),
    ]
    return sheet_of(style, pieces, caption(found, rows), found.notes, dots=FEWEST_DOTS)


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


def _column(own: Row, moment: int) -> Piece:
    """Return a filter's patch and projection below its name; as high in every frame."""
    foot = f"{number(own.activations[moment])}, ±{number(own.tiles[moment].scale.limit)}"
    foot += "\nnew image" if own.changed[moment] else "\n"
    side = LARGEST_TILE
    name = words(f"{own.layer}\nchannel {own.channel}", side, NOTE_POINTS, middle=True)
    return stack(name, pair(own, moment, side), words(foot, side, middle=True), line=1)
