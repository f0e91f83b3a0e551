"""A diagnosis drawn: a row of bars a layer, what was found, and the first layer's filters."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from matplotlib.patches import Rectangle

from convscope.display import display_scale, presentable, to_display
from convscope.errors import OutputError
from convscope.figures.lettering import DOTS_AN_INCH, one_line, shortened, wrapped
from convscope.figures.sheet import (
    FOOT_POINTS,
    LINE_SPACING,
    MARGIN,
    MOST_PIXELS,
    NOTE_POINTS,
    WARNING,
    Sheet,
    number,
)
from convscope.methods.diagnosis.result import Diagnosis, LayerDiagnosis
from convscope.wording import counted

NAMES, COLUMN, GAP, ROW = 1.7, 1.15, 0.22, 0.19
HEAD, AXIS = 0.62, 0.3
TILE, TILE_GAP = 0.5, 0.08
ACROSS = 14
MOST_FILTERS = 64
FOUND_SPACE = 0.1
BAR, STRIDE = "#4878a8", "#ffd800"


@dataclass(frozen=True)
class _Column:
    """A column of bars: its title in lines, and each layer's share 0..1; None is not measured."""

    title: str
    share: Callable[[LayerDiagnosis], float | None]
    kinds: tuple[str, ...] = ()
    missing: str = "not measured"


COLUMNS = (
    _Column("dead or almost dead\nshare of the units", lambda row: row.dead_share, ("dead units",)),
    _Column(
        "duplicates\nshare of the units", lambda row: row.duplicate_share, ("duplicate filters",)
    ),
    _Column(
        "answers changed with\nits mean map instead",
        lambda row: None if row.without is None else 1 - row.without,
    ),
    _Column(
        "answers changed with\nits input instead",
        lambda row: None if row.skipped is None else 1 - row.skipped,
        ("unneeded layer",),
        "other shape, or not measured",
    ),
    _Column(
        "receptive field, sides:\neffective / theoretical",
        lambda row: row.field_ratio,
        ("receptive field",),
    ),
)


def diagnosis_figure(found: Diagnosis) -> Sheet:
    """Draw a diagnosis.

    Args:
        found: the diagnosis.

    Raises:
        OutputError: if the network has too many layers for a picture.

    """
    width = 2 * MARGIN + NAMES + len(COLUMNS) * (COLUMN + GAP)
    lines = _finding_lines(found, width - 2 * MARGIN)
    bars = HEAD + len(found.layers) * ROW + AXIS
    text = FOUND_SPACE + sum(points for _, points, _ in lines) * LINE_SPACING / 72
    rows = -(-min(len(found.filters), MOST_FILTERS) // ACROSS)
    pictures = rows * (2 * TILE + 3 * TILE_GAP) + (0.35 if rows else 0)
    height = MARGIN + bars + text + pictures
    if height * DOTS_AN_INCH > MOST_PIXELS:
        raise OutputError(
            f"{len(found.layers)} layers are too many for one picture: write .safetensors"
        )
    sheet = Sheet.made_for(width, height, _caption(found), "; ".join(found.notes))
    _draw_bars(sheet, found)
    top = MARGIN + bars + FOUND_SPACE
    for line, points, warns in lines:
        sheet.write(line, MARGIN, top, points, ha="left", va="top", warns=warns)
        top += points * LINE_SPACING / 72
    if rows:
        _draw_filters(sheet, found, MARGIN + bars + text)
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


def _draw_bars(sheet: Sheet, found: Diagnosis) -> None:
    """Draw the columns of bars, red where they are of a finding."""
    title = f"{one_line(found.network)}: diagnosis over {counted(found.images, 'image')}"
    width = sheet.figure.get_size_inches()[0] - 2 * MARGIN
    sheet.write(
        shortened(title, width, NOTE_POINTS), MARGIN, MARGIN, NOTE_POINTS, ha="left", va="top",
        warns=False,
    )  # fmt: skip
    top, count = MARGIN + HEAD, len(found.layers)
    for place, row in enumerate(found.layers):
        name = shortened(one_line(row.name), NAMES - 0.1, FOOT_POINTS)
        sheet.write(
            name, MARGIN + NAMES - 0.08, top + (place + 0.5) * ROW, FOOT_POINTS, ha="right",
            va="center", warns=any(f.layer == row.name for f in found.findings),
        )  # fmt: skip
    for place, column in enumerate(COLUMNS):
        left = MARGIN + NAMES + place * (COLUMN + GAP)
        sheet.write(
            column.title, left, top - 0.06, FOOT_POINTS, ha="left", va="bottom", warns=False
        )
        shares = [column.share(row) for row in found.layers]
        bad = {f.layer for f in found.findings if f.kind in column.kinds}
        colours = [WARNING if row.name in bad else BAR for row in found.layers]
        axes = sheet.axes(left, top, COLUMN, count * ROW)
        axes.barh(
            np.arange(count), [0.0 if s is None else s for s in shares], color=colours, height=0.7
        )
        for height, share in enumerate(shares):
            if share is None:
                axes.text(0.02, height, column.missing, fontsize=FOOT_POINTS - 1.5, color="#777777",
                          va="center")  # fmt: skip
        axes.set_xlim(0, 1)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_yticks([])
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.tick_params(labelsize=FOOT_POINTS - 0.5, length=2, pad=1)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)


def _draw_filters(sheet: Sheet, found: Diagnosis, top: float) -> None:
    """Draw the first layer's filters, below each what it passes of the images."""
    first = next(row for row in found.layers if row.aliased is not None)
    sheet.write(
        f"{one_line(first.name)}: filters, and what each passes of the images", MARGIN, top + 0.05,
        NOTE_POINTS, ha="left", va="top", warns=False,
    )  # fmt: skip
    top += 0.3
    side = found.spectra.shape[1]
    half = [side / step / 2 for step in found.stride]
    for channel in range(min(len(found.filters), MOST_FILTERS)):
        row, column = divmod(channel, ACROSS)
        left = MARGIN + column * (TILE + TILE_GAP)
        high = top + row * (2 * TILE + 3 * TILE_GAP)
        shown = presentable(found.filters[channel].double())
        axes = sheet.axes(left, high, TILE)
        axes.imshow(to_display(shown, display_scale(shown)), interpolation="nearest")
        axes.set_axis_off()
        axes = sheet.axes(left, high + TILE + TILE_GAP / 2, TILE)
        spectrum = found.spectra[channel].numpy()
        axes.imshow(
            np.sqrt(spectrum / max(float(spectrum.max()), 1e-30)), cmap="gray", vmin=0, vmax=1,
            interpolation="nearest",
        )  # fmt: skip
        axes.set_axis_off()
        if max(found.stride) > 1:
            axes.add_patch(
                Rectangle(
                    (side / 2 - half[1] - 0.5, side / 2 - half[0] - 0.5), 2 * half[1], 2 * half[0],
                    fill=False, edgecolor=STRIDE, linewidth=0.8,
                )
            )  # fmt: skip


def _caption(found: Diagnosis) -> Sequence[str]:
    limits = found.thresholds
    lines = [
        f"Images: {one_line(found.data)}, {found.images:,}; activations compared on "
        f"{found.sampled:,}; answered with each layer taken out: {found.answered:,}. Red: a "
        f"finding. The mean map of a layer that everything passes through leaves one answer for "
        f"all images, whatever the layer does. Effective receptive field: pixels whose effect on "
        f"the middle unit is above 4.55 % of the largest (Luo et al., arXiv 1701.04128).",
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
