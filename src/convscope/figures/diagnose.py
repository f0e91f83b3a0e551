"""A diagnosis drawn: a row of bars a layer, what was found, and the first layer's filters."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from convscope.display import display_scale, presentable, to_display
from convscope.figures.lettering import one_line, shortened, wrapped
from convscope.figures.sheet import (
    FOOT_POINTS,
    LINE_SPACING,
    NOTE_POINTS,
    WARNING,
    Sheet,
    frame_box,
    number,
)
from convscope.figures.style import MARGIN, Style
from convscope.methods.diagnosis.result import Diagnosis, LayerDiagnosis
from convscope.wording import counted

NARROWEST_NAMES, WIDEST_NAMES, NAMES_SHARE = 0.95, 1.7, 0.2
NARROWEST_COLUMN, GAP, ROW = 0.92, 0.16, 0.17
TITLE, HEAD, AXIS = 0.25, 0.44, 0.34
ACROSS, LARGEST_TILE, TILE_GAP = 12, 0.5, 0.06
MOST_FILTERS = 64
FOUND_SPACE = 0.1
BAR, STRIDE, MISSING = "#4878a8", "#ffd800", "#777777"


@dataclass(frozen=True)
class _Column:
    """A column of bars: its title in lines, and each layer's share 0..1; None is not measured."""

    title: str
    share: Callable[[LayerDiagnosis], float | None]
    kinds: tuple[str, ...] = ()


COLUMNS = (
    _Column("dead or almost:\nshare of\nthe units", lambda row: row.dead_share, ("dead units",)),
    _Column(
        "duplicates:\nshare of\nthe units", lambda row: row.duplicate_share, ("duplicate filters",)
    ),
    _Column(
        "answers changed\nby its mean map\nin its place",
        lambda row: None if row.without is None else 1 - row.without,
    ),
    _Column(
        "answers changed\nby its input\nin its place",
        lambda row: None if row.skipped is None else 1 - row.skipped,
        ("unneeded layer",),
    ),
    _Column(
        "receptive field:\neffective side /\ntheoretical",
        lambda row: row.field_ratio,
        ("receptive field",),
    ),
)


@dataclass(frozen=True)
class _Layout:
    """Where the columns of bars stand, in inches: side by side, or in bands where room is scarce.

    Attributes:
        room: of the figure between its margins.
        names: of the layers' names.
        column: of a column of bars.
        across: columns in a band.
        band: height of a band.
        tile: of a filter.
        tiles: filters side by side.
    """

    room: float
    names: float
    column: float
    across: int
    band: float
    tile: float
    tiles: int

    @classmethod
    def of(cls, width: float, columns: int, layers: int) -> "_Layout":
        """Return the layout of *columns* of bars for *layers* in a figure so many inches wide."""
        room = width - 2 * MARGIN
        names = min(WIDEST_NAMES, max(NARROWEST_NAMES, NAMES_SHARE * room))
        across = max(1, min(columns, int((room - names + GAP) / (NARROWEST_COLUMN + GAP))))
        column = (room - names + GAP) / across - GAP
        tile = min(LARGEST_TILE, (room + TILE_GAP) / ACROSS - TILE_GAP)
        tiles = int((room + TILE_GAP) / (tile + TILE_GAP) + 1e-6)
        return cls(room, names, column, across, HEAD + layers * ROW + AXIS, tile, tiles)


def figure(found: Diagnosis, style: Style) -> Sheet:
    """Draw a row of bars a layer, the findings in words, and the first layer's filters.

    Raises:
        OutputError: if the network has too many layers for a picture.
    """
    columns = [c for c in COLUMNS if any(c.share(row) is not None for row in found.layers)]
    layout = _Layout.of(style.width, len(columns), len(found.layers))
    lines = _finding_lines(found, layout.room)
    bands = -(-len(columns) // layout.across)
    bars = MARGIN + TITLE + bands * layout.band
    text = bars + FOUND_SPACE + sum(points for _, points, _ in lines) * LINE_SPACING / 72
    rows = -(-min(len(found.filters), MOST_FILTERS) // layout.tiles)
    height = text + (rows * (2 * layout.tile + 3 * TILE_GAP) + 0.35 if rows else 0)
    cuts = [MARGIN + TITLE + band * layout.band for band in range(1, bands + 1)]
    sheet = Sheet.made_for(style, height, _caption(found), found.notes, cuts)
    title = f"{found.network} over {counted(found.images, 'image')}: diagnosis"
    sheet.write(title, MARGIN, MARGIN, NOTE_POINTS, room=layout.room)
    for place, column in enumerate(columns):
        _draw_column(sheet, layout, found, place, column)
    top = bars + FOUND_SPACE
    for line, points, warns in lines:
        sheet.write(line, MARGIN, top, points, warns=warns)
        top += points * LINE_SPACING / 72
    if rows:
        _draw_filters(sheet, layout, found, text)
    return sheet


def _finding_lines(found: Diagnosis, width: float) -> list[tuple[str, float, bool]]:
    """Return the findings in lines, each with its size and whether it warns."""
    if found.healthy:
        return [("Nothing is wrong by these thresholds.", NOTE_POINTS, False)]
    lines = []
    for place, finding in enumerate(found.findings, start=1):
        head = f"{place}. {one_line(finding.layer)}: {finding.kind}"
        lines.append((shortened(head, width, NOTE_POINTS), NOTE_POINTS, True))
        rest = " ".join((finding.evidence, *finding.consequences, finding.suggestion))
        lines += [
            (line, FOOT_POINTS, False) for line in wrapped(one_line(rest), width, FOOT_POINTS)
        ]
    return lines


def _draw_column(
    sheet: Sheet, layout: _Layout, found: Diagnosis, place: int, column: _Column
) -> None:
    """Draw a column of bars, red where they are of a finding, and the names that begin its band."""
    band, across = divmod(place, layout.across)
    count, top = len(found.layers), MARGIN + TITLE + band * layout.band + HEAD
    left = MARGIN + layout.names + across * (layout.column + GAP)
    for row, layer in enumerate(found.layers if not across else ()):
        sheet.write(
            layer.name, left - 0.08, top + (row + 0.5) * ROW, room=layout.names - 0.1,
            ha="right", va="center", warns=any(f.layer == layer.name for f in found.findings),
        )  # fmt: skip
    sheet.write(column.title, left, top - 0.05, va="bottom")
    shares = [column.share(layer) for layer in found.layers]
    bad = {f.layer for f in found.findings if f.kind in column.kinds}
    colours = [WARNING if layer.name in bad else BAR for layer in found.layers]
    axes = sheet.axes(left, top, layout.column, count * ROW)
    axes.barh(range(count), [share or 0.0 for share in shares], color=colours, height=0.7)
    for row, share in enumerate(shares):
        if share is None:
            axes.text(0.02, row, "–", fontsize=FOOT_POINTS, color=MISSING, va="center")
    axes.set_xlim(0, 1)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.tick_params(labelsize=FOOT_POINTS, length=2, pad=1)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_filters(sheet: Sheet, layout: _Layout, found: Diagnosis, top: float) -> None:
    """Draw the first layer's filters, below each what it passes of the images."""
    first = next(row for row in found.layers if row.aliased is not None)
    title = f"{first.name}: filters, and below what each passes"
    sheet.write(title, MARGIN, top + 0.05, NOTE_POINTS, room=layout.room)
    top += 0.3
    side = found.spectra.shape[1]
    half = [side / step / 2 for step in found.stride]
    for channel in range(min(len(found.filters), MOST_FILTERS)):
        row, column = divmod(channel, layout.tiles)
        left = MARGIN + column * (layout.tile + TILE_GAP)
        high = top + row * (2 * layout.tile + 3 * TILE_GAP)
        shown = presentable(found.filters[channel].double())
        sheet.picture(to_display(shown, display_scale(shown)), left, high, layout.tile)
        spectrum = found.spectra[channel].numpy()
        shares = np.sqrt(spectrum / max(float(spectrum.max()), 1e-30))
        below = high + layout.tile + TILE_GAP / 2
        axes = sheet.picture(shares, left, below, layout.tile, cmap="gray", vmin=0, vmax=1)
        if max(found.stride) > 1:
            box = [side / 2 + sign * own for sign in (-1, 1) for own in half]
            frame_box(axes, box, STRIDE, 0.8)


def _caption(found: Diagnosis) -> Sequence[str]:
    limits = found.thresholds
    square = "; yellow: what the stride carries" if max(found.stride) > 1 else ""
    lines = [
        f"Red: a finding; –: not measured{square}.",
        f"Images: {one_line(found.data)}, {found.images:,}; activations compared on "
        f"{found.sampled:,}; answered with each layer taken out: {found.answered:,}. Its input can "
        f"stand in a layer's place where the shapes agree. The mean map of a layer that everything "
        f"passes through leaves one answer for all images, whatever the layer does. Effective "
        f"receptive field: pixels whose effect on the middle unit is above 4.55 % of the largest "
        f"(Luo et al., arXiv 1701.04128).",
    ]
    if len(found.filters):
        shown = min(len(found.filters), MOST_FILTERS)
        which = "" if shown == len(found.filters) else f" (the first {shown})"
        square = (
            f" Yellow: what the stride {found.stride[0]}x{found.stride[1]} can carry; what lies "
            f"outside is folded back (aliasing)."
            if max(found.stride) > 1
            else ""
        )
        lines.append(
            f"Filters{which}: zero is mid-grey, each on its own scale, {_scales(found)}. Below "
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
    limits = [number(limit(scale.limit for scale in scales)) for limit in (min, max)]
    share = max(scale.clipped for scale in scales)
    return (
        f"± the {scales[0].quantile:.1%} quantile of |weight|, ±{limits[0]} to ±{limits[1]}; at "
        f"most {share:.2%} of a filter's values are clipped"
    )
