"""Evolution as a film: one frame a moment, with the filters' tiles and the curves up to then."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg

from convscope.display import DisplayScale, display_scale
from convscope.figures.evolution import (
    CHANGED,
    SAME,
    caption,
    draw_distances,
    draw_pair,
    shown_patches,
    shown_projections,
)
from convscope.figures.film import Film, Frame
from convscope.figures.lettering import any_letters, one_line, shortened
from convscope.figures.sheet import FOOT_POINTS, MARGIN, NOTE_POINTS, Sheet, number
from convscope.study.evolve import Evolution

TILES_A_LINE = 8
TILE = 1.15
GAP = 0.1
TITLE = 0.4
HEAD = 0.5
FOOT = 0.34
LINE = TITLE + 2 * TILE + GAP + FOOT
CURVES = 1.9
AXIS = 0.42
AXIS_LABEL = 0.75
NARROWEST = 7.5
HEAD_POINTS = 13.0

HELD_SECONDS, LAST_HELD_SECONDS = 1.2, 3.0


@dataclass(frozen=True)
class _Row:
    """What is shown of one filter, one entry a moment."""

    name: str
    unit: str
    patches: list[npt.NDArray[np.float64]]
    projections: list[npt.NDArray[np.float64]]
    scales: list[DisplayScale]
    activations: list[float]
    changed: list[bool]


def evolution_film(evolution: Evolution, title: str) -> Film:
    """Draw every moment of an evolution as one frame of a film.

    Args:
        evolution: what :func:`convscope.evolve` returned.
        title: whose training it is.

    """
    rows = _rows(evolution)
    notes = caption(evolution, title, [row.scales for row in rows])

    def frames() -> Iterator[Frame]:
        for moment in range(len(evolution.steps)):
            yield _painted(_frame(evolution, rows, notes, moment))

    held = [HELD_SECONDS] * (len(evolution.steps) - 1)
    return Film(frames, (*held, LAST_HELD_SECONDS))


def _rows(evolution: Evolution) -> list[_Row]:
    rows = []
    for followed in evolution.filters:
        projections = shown_projections(evolution, followed)
        rows.append(
            _Row(
                name=shortened(one_line(followed.layer), TILE, NOTE_POINTS),
                unit=f"channel {followed.channel}",
                patches=shown_patches(evolution, followed),
                projections=[values.double().numpy() for values in projections],
                scales=[display_scale(values) for values in projections],
                activations=followed.activation.tolist(),
                changed=followed.changed.tolist(),
            )
        )
    return rows


def _frame(evolution: Evolution, rows: list[_Row], notes: list[str], moment: int) -> Sheet:
    """Draw one moment."""
    columns = min(len(rows), TILES_A_LINE)
    lines = -(-len(rows) // TILES_A_LINE)
    width = max(2 * MARGIN + columns * (TILE + GAP) - GAP, NARROWEST)
    curves = MARGIN + HEAD + lines * LINE
    sheet = Sheet.made_for(width, curves + CURVES + AXIS, notes, "")
    moment_words = _moment_words(evolution, moment)
    sheet.write(moment_words, MARGIN, MARGIN, HEAD_POINTS, ha="left", va="top", warns=False)
    for place, row in enumerate(rows):
        line, column = divmod(place, TILES_A_LINE)
        corner = (MARGIN + column * (TILE + GAP), MARGIN + HEAD + line * LINE + TITLE)
        _draw_row(sheet, row, moment, corner)
    across = width - 2 * MARGIN - AXIS_LABEL
    draw_distances(sheet, evolution, (MARGIN + AXIS_LABEL, curves), (across, CURVES), moment)
    return sheet


def _moment_words(evolution: Evolution, moment: int) -> str:
    """Return a moment in words, such as "after 0.25 epochs (22 steps)"."""
    step = evolution.steps[moment]
    if step == 0:
        return "before training"
    steps = f"{step} step" if step == 1 else f"{step:,} steps"
    if evolution.epochs is None:
        return f"after {steps}"
    epochs = number(evolution.epochs[moment])
    return f"after {epochs} epoch{'' if epochs == '1' else 's'} ({steps})"


def _draw_row(sheet: Sheet, row: _Row, moment: int, corner: tuple[float, float]) -> None:
    left, top = corner
    middle = left + TILE / 2
    name = f"{row.name}\n{row.unit}"
    sheet.write(name, middle, top - 0.05, NOTE_POINTS, ha="center", va="bottom", warns=False)
    colour = CHANGED if row.changed[moment] else SAME
    draw_pair(
        sheet,
        corner,
        TILE,
        row.patches[moment],
        row.projections[moment],
        row.scales[moment],
        colour,
    )
    foot = f"{number(row.activations[moment])}, ±{number(row.scales[moment].limit)}"
    foot += "\nnew image" if row.changed[moment] else ""
    low = top + 2 * TILE + GAP
    sheet.write(foot, middle, low, FOOT_POINTS, ha="center", va="top", warns=False)


def _painted(sheet: Sheet) -> Frame:
    canvas = FigureCanvasAgg(sheet.figure)
    with any_letters():
        canvas.draw()  # type: ignore[no-untyped-call]
    return np.array(canvas.buffer_rgba(), dtype=np.uint8)[..., :3]  # type: ignore[no-untyped-call]
