"""A diagnosis drawn: a row of bars a layer, what was found, and the first layer's filters."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from convscope.display import display_scale, presentable, to_display
from convscope.figures.lettering import one_line, shortened
from convscope.figures.pieces import (
    RIGHT,
    Piece,
    chart,
    fitting,
    in_lines,
    picture,
    row,
    sheet_of,
    stack,
    words,
)
from convscope.figures.sheet import Sheet, frame_box, number
from convscope.figures.style import FOOT_POINTS, NOTE_POINTS, WARNING, Style
from convscope.figures.tile import own_scales
from convscope.methods.diagnosis.result import Diagnosis, LayerDiagnosis
from convscope.wording import counted, times

NARROWEST_NAMES, WIDEST_NAMES, NAMES_SHARE = 0.95, 1.7, 0.2
NARROWEST_COLUMN, APART, ROW = 0.92, 0.16, 0.17
ACROSS, LARGEST_TILE, BETWEEN = 12, 0.5, 0.06
MOST_FILTERS = 64
BAR, STRIDE, MISSING = "#4878a8", "#ffd800", "#777777"


@dataclass(frozen=True)
class _Column:
    """A column of bars: its title in lines, each layer's share 0..1, None where it is not measured.

    Where every share is 0 there are no bars, but words: what is in no layer.
    """

    title: str
    share: Callable[[LayerDiagnosis], float | None]
    none: str
    kinds: tuple[str, ...] = ()


COLUMNS = (
    _Column(
        "dead or almost:\nshare of\nthe units",
        lambda row: row.dead_share,
        "units that are dead or almost",
        ("dead units",),
    ),
    _Column(
        "duplicates:\nshare of\nthe units",
        lambda row: row.duplicate_share,
        "duplicates",
        ("duplicate filters",),
    ),
    _Column(
        "answers changed\nby its mean map\nin its place",
        lambda row: None if row.without is None else 1 - row.without,
        "answers changed by its mean map in its place",
    ),
    _Column(
        "answers changed\nby its input\nin its place",
        lambda row: None if row.skipped is None else 1 - row.skipped,
        "answers changed by its input in its place",
        ("unneeded layer",),
    ),
    _Column(
        "receptive field:\neffective side /\ntheoretical",
        lambda row: row.field_ratio,
        "an effective receptive field",
        ("receptive field",),
    ),
)


def figure(found: Diagnosis, style: Style) -> Sheet:
    """Draw a row of bars a layer, the findings in words, and the first layer's filters."""
    title = f"{found.network} over {counted(found.images, 'image')}: diagnosis"
    pieces = [
        words(title, style.room, NOTE_POINTS),
        *_bars(found, style.room),
        *_findings(found, style.room),
    ]
    if len(found.filters):
        pieces += _filters(found, style.room)
    return sheet_of(style, pieces, _caption(found), found.notes)


def _bars(found: Diagnosis, room: float) -> list[Piece]:
    """Return the columns of bars side by side behind the layers' names, in bands where need be.

    Below them stands in words what no layer has.
    """
    names = min(WIDEST_NAMES, max(NARROWEST_NAMES, NAMES_SHARE * room))
    measured = [c for c in COLUMNS if any(c.share(row) is not None for row in found.layers)]
    columns = [c for c in measured if any(map(c.share, found.layers))]
    count = max(1, len(columns))
    across, wide = fitting(room - names, NARROWEST_COLUMN, count, APART)
    drawn = [_column(found, column, wide) for column in columns]
    head = Piece(names - APART, 0.0, len(found.layers) * ROW, partial(_write_names, found, names))
    bands = [row([head, *drawn[n : n + across]], APART) for n in range(0, len(drawn), across)]
    absent = "; ".join(column.none for column in measured if column not in columns)
    return [*bands, words(f"In no layer: {absent}.", room, wrap=True)] if absent else bands


def _write_names(found: Diagnosis, room: float, sheet: Sheet, left: float, top: float) -> None:
    """Write the layers' names, red where something was found."""
    faulty = {finding.layer for finding in found.findings}
    for place, layer in enumerate(found.layers):
        right, warns, middle = left + room - 0.08, layer.name in faulty, (place + 0.5) * ROW
        weight = "bold" if warns else "normal"
        name = shortened(one_line(layer.name), room - 0.1, FOOT_POINTS, weight)
        sheet.write(name, right, top + middle, ha="right", va="center", warns=warns)


def _column(found: Diagnosis, column: _Column, wide: float) -> Piece:
    """Return a column of bars below its title, red where they are of a finding."""
    shares = [column.share(layer) for layer in found.layers]
    bad = {f.layer for f in found.findings if f.kind in column.kinds}
    colours = [WARNING if layer.name in bad else BAR for layer in found.layers]
    count = len(shares)

    def paint(axes: Axes) -> None:
        axes.barh(range(count), [share or 0.0 for share in shares], color=colours, height=0.7)
        for place, share in enumerate(shares):
            if share is None:
                axes.text(0.02, place, "–", fontsize=FOOT_POINTS, color=MISSING, va="center")
        axes.set_xlim(0, 1)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_yticks([])
        axes.grid(axis="y", visible=False)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])

    bars = chart(wide + RIGHT, count * ROW, paint, side=0.0)
    bars = replace(bars, width=wide, above=0.0)
    return stack(words(column.title, wide, spare=APART), bars, line=1)


def _findings(found: Diagnosis, room: float) -> list[Piece]:
    if found.healthy:
        return [words("Nothing is wrong by these thresholds.", room, NOTE_POINTS)]
    pieces = []
    for place, finding in enumerate(found.findings, start=1):
        head = f"{place}. {one_line(finding.layer)}: {finding.kind}"
        rest = " ".join((finding.evidence, *finding.consequences, finding.suggestion))
        told = words(rest, room, wrap=True)
        pieces.append(stack(words(head, room, NOTE_POINTS, warns=True, wrap=True), told))
    return pieces


def _filters(found: Diagnosis, room: float) -> list[Piece]:
    first = next(layer for layer in found.layers if layer.aliased is not None)
    side = min(LARGEST_TILE, (room + BETWEEN) / ACROSS - BETWEEN)
    across = int((room + BETWEEN) / (side + BETWEEN) + 1e-6)
    size = found.spectra.shape[1]
    box = [size / 2 + sign * size / step / 2 for sign in (-1, 1) for step in found.stride]

    def mark(axes: Axes) -> None:
        if max(found.stride) > 1:
            frame_box(axes, box, STRIDE, 0.8)

    tiles = []
    for weights, passed in zip(found.filters[:MOST_FILTERS], found.spectra, strict=False):
        shown, spectrum = presentable(weights.double()), passed.numpy()
        shares = np.sqrt(spectrum / max(float(spectrum.max()), 1e-30))
        spectral = picture(shares, side, paint=mark, cmap="gray", vmin=0, vmax=1)
        weight = picture(to_display(shown, display_scale(shown)), side)
        tiles.append(stack(weight, spectral, gap=BETWEEN / 2))
    head, *rest = in_lines(tiles, across, BETWEEN)
    title = words(f"{first.name}: filters, and below what each passes", room, NOTE_POINTS)
    return [stack(title, head), *rest]


def _caption(found: Diagnosis) -> Sequence[str]:
    limits = found.thresholds
    square = "; yellow: what the stride carries" if max(found.stride) > 1 else ""
    lines = [
        f"Red: a finding; –: not measured{square}.",
        f"Images: {one_line(found.data)}, {found.images:,}; activations compared on "
        f"{found.sampled:,}; answered with each layer taken out: {found.answered:,}. Its input can "
        f"stand in a layer's place where the shapes agree. The mean map of a layer that everything "
        f"passes through leaves one answer for all images, whatever the layer does. Effective "
        f"receptive field: pixels whose effect on the middle unit is above 4.55% of the largest "
        f"(Luo et al., arXiv 1701.04128).",
    ]
    if len(found.filters):
        shown = min(len(found.filters), MOST_FILTERS)
        which = "" if shown == len(found.filters) else f" (the first {shown})"
        square = (
            f" Yellow: what the stride {times(found.stride)} can carry; what lies "
            f"outside is folded back (aliasing)."
            if max(found.stride) > 1
            else ""
        )
        lines.append(
            f"Filters{which}. {_scales(found)} Below "
            f"each, the square root of the power that it passes of these images, frequency zero in "
            f"the middle, half a cycle a pixel at the border, white is its own largest.{square}"
        )
    lines += [f"Left out: {one_line(text)}." for text in found.left_out]
    names = ", ".join(f"{name} {number(value)}" for name, value in asdict(limits).items())
    lines.append(f"Thresholds, as --threshold takes them: {names}.")
    return lines


def _scales(found: Diagnosis) -> str:
    """Return from where to where the scales of the drawn filters go."""
    scales = [
        display_scale(presentable(values.double())) for values in found.filters[:MOST_FILTERS]
    ]
    low, high = (number(limit(scale.limit for scale in scales)) for limit in (min, max))
    return own_scales((scale.clipped for scale in scales), f", from ±{low} to ±{high}")
