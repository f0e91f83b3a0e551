"""The figure of an ablation: what all channels cost, and of the costliest each class's share."""

from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from convscope.figures.lettering import one_line, shortened
from convscope.figures.pieces import RIGHT, Piece, chart, row, sheet_of
from convscope.figures.sheet import Sheet, number
from convscope.figures.style import FOOT_POINTS, INK, PALE, Style
from convscope.methods.ablate import Ablation
from convscope.wording import counted

CHART, AXIS = 1.1, 0.4
ROW, COLUMN = 0.19, 0.34
CHANNELS = 16
"""Rows of the table, at most."""

FEW = 10
"""Images of a class below which its column is pale: so few say little."""

COST = "#b2182b"
NAME, BARS = 0.95, 0.2
"""Inches of a row's name, and the share of the figure that its bar takes."""

FALL = "fall of the mean logit"
HALF = 0.5
"""Points of accuracy below which a cell says so by a dot."""

LABELS = 0.85
SLANT = 40


def figure(found: Ablation, style: Style) -> Sheet:
    """Draw the cost of all channels, and class by class that of those that cost most."""
    rows = found.order[:CHANNELS]
    wide = BARS * style.width
    room = style.room - NAME - wide - 0.15 - 0.45
    columns = _columns(found, rows, max(1, int(room / COLUMN)))
    high = len(rows) * ROW
    curve = chart(
        style.room, CHART, partial(_draw_curve, found, len(rows)),
        f"all {len(found.channels)} channels of {found.layer}", "channels, the costliest first",
        FALL, side=0.6,
    )  # fmt: skip
    bars = chart(
        NAME + wide + RIGHT, high, partial(_draw_bars, found, rows), across=FALL,
        side=NAME,
    )  # fmt: skip

    def draw_cells(sheet: Sheet, left: float, top: float) -> None:
        axes = sheet.axes(left, top, len(columns) * COLUMN, high)
        _draw_cells(axes, found, rows, columns)

    cells = Piece(len(columns) * COLUMN, LABELS, high + AXIS, draw_cells)
    pieces = [curve, row([bars, cells], 0.03)]
    return sheet_of(style, pieces, _caption(found, len(rows), len(columns)), found.notes)


def _draw_curve(found: Ablation, shown: int, axes: Axes) -> None:
    places = range(1, len(found.channels) + 1)
    ranked = found.cost[found.order].numpy()
    axes.axhline(0, color=PALE, linewidth=0.6)
    axes.bar(places, ranked, 1.0, color=[COST if p <= shown else PALE for p in places])
    axes.set_xlim(0.5, len(ranked) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _columns(found: Ablation, rows: Tensor, most: int) -> Tensor:
    """Return the classes to show: those that the rows cost most, in their own order."""
    hit = found.score[rows].abs().amax(0)
    return hit.argsort(descending=True, stable=True)[:most].sort().values


def _draw_bars(found: Ablation, rows: Tensor, axes: Axes) -> None:
    places = range(len(rows))
    errors = found.error[rows].nan_to_num(0).numpy()
    axes.barh(places, found.cost[rows].numpy(), 0.7, color=COST, xerr=errors,
              error_kw={"linewidth": 0.8, "ecolor": INK}, capsize=1.5)  # fmt: skip
    names = [
        shortened(one_line(found.channels[c]), NAME - 0.08, FOOT_POINTS) for c in rows.tolist()
    ]
    axes.set_yticks(places, names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.axvline(0, color=INK, linewidth=0.6)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(2))


def _draw_cells(axes: Axes, found: Ablation, rows: Tensor, columns: Tensor) -> None:
    values = found.score[rows][:, columns].numpy()
    limit = float(np.abs(values[np.isfinite(values)]).max(initial=0)) or 1.0
    axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    # From their left on: few cells are narrower than the words, which would meet the bars' numbers.
    axes.set_xlabel(f"darkest: {number(limit)}", fontsize=FOOT_POINTS, color=INK, x=0, ha="left")
    axes.set_yticks([])
    axes.tick_params(axis="x", top=True, bottom=False, labeltop=True, labelbottom=False, length=0)
    counts = found.counts[columns].tolist()
    names = [f"{found.classes[k]} ({n})" for k, n in zip(columns.tolist(), counts, strict=True)]
    axes.set_xticks(
        range(len(columns)), [shortened(one_line(name), 1.1, FOOT_POINTS) for name in names],
        rotation=SLANT, ha="left", rotation_mode="anchor", fontsize=FOOT_POINTS,
    )  # fmt: skip
    for label, count in zip(axes.get_xticklabels(), counts, strict=True):
        label.set_color(PALE if count < FEW else INK)
    for y, channel in enumerate(rows.tolist()):
        for x, column in enumerate(columns.tolist()):
            points = 100 * float(found.accuracy[channel, column])
            dark = abs(float(values[y, x])) > 0.6 * limit
            axes.text(x, y, number(round(points)) if abs(points) >= HALF else "·", ha="center",
                      va="center", fontsize=FOOT_POINTS,
                      color="white" if dark else INK)  # fmt: skip
    axes.spines[:].set_visible(False)


def _caption(found: Ablation, rows: int, columns: int) -> list[str]:
    images, labelled = int(found.counts.sum()), found.labelled
    right = float((found.clean * found.counts).sum() / images)
    own = "its label" if labelled == images else "what the whole network takes it for"
    others = ", grey the others" * (rows < len(found.channels))
    if 0 < labelled < images:
        own = f"its label, as {labelled:,} have, or {own}"
    return [
        f"{found.network}, {one_line(found.layer)}: what each channel costs when it is off, over "
        f"{counted(images, 'image')} of {one_line(found.data)}. Bars: red the {rows} costliest"
        f"{others}; below with standard errors. Cells: red where a class's mean logit falls, blue "
        f"where it rises; the points of accuracy that it loses, · below {HALF:g}.",
        f"An image counts for its class, {own}; {right:.1%} are right with all channels on. A fall "
        f"is of the mean logit of a class over its images, whose number stands behind its name; "
        f"pale below {FEW}. Standard errors are over images. Shown are the {rows} "
        f"costliest of {len(found.channels)} channels and {columns} of {len(found.classes)} "
        f"classes, those hit most (cf. Zeiler & Fergus, arXiv 1311.2901, table 3). The network was "
        f"not trained anew, and the falls of two channels do not add up.",
    ]
