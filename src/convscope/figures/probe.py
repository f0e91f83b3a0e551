"""The figure of a probe: accuracy against depth, with the intervals that so few images leave."""

from functools import partial
from typing import Any

from matplotlib.axes import Axes

from convscope.figures.lettering import one_line, shortened
from convscope.figures.pieces import chart, key, sheet_of
from convscope.figures.sheet import Sheet
from convscope.figures.style import FOOT_POINTS, PALE, Style, line_of
from convscope.methods.probe import Probe

CHART, BELOW, SLANT = 2.3, 0.75, 35
"""Inches of the chart and of the names below it, and the degrees that these are turned."""

COMMONEST: dict[str, Any] = {"color": PALE, "linestyle": "dotted"}


def figure(found: Probe, style: Style) -> Sheet:
    """Draw the accuracy at each layer of each network, the image at the left."""
    lines: dict[str, dict[str, Any]] = {}
    for name in found.networks:
        colour, kind = line_of(len(lines))
        lines.setdefault(name, {"color": colour, "linestyle": kind, "marker": "o", "markersize": 3})
    title = f"linear classifiers, {found.classes} classes"
    paint = partial(_draw, found, lines)
    curves = chart(style.room, CHART, paint, title, up="accuracy", side=0.6, ticks=BELOW)
    names = key([*lines.items(), ("the commonest class", COMMONEST)], style.room)
    return sheet_of(style, [curves, names], _caption(found), found.notes)


def _draw(found: Probe, lines: dict[str, dict[str, Any]], axes: Axes) -> None:
    longest: list[str] = []
    for network, line in lines.items():
        rows = [row for row, own in enumerate(found.networks) if own == network]
        low, high = found.interval[rows].T
        axes.fill_between(range(len(rows)), low, high, color=line["color"], alpha=0.2, linewidth=0)
        axes.plot(range(len(rows)), found.accuracy[rows], **line)
        longest = max(longest, [found.layers[row] for row in rows], key=len)
    axes.axhline(found.commonest, **COMMONEST)
    axes.set_ylim(0, 1)
    axes.set_xticks(
        range(len(longest)), [shortened(one_line(name), 0.95, FOOT_POINTS) for name in longest],
        rotation=SLANT, ha="right", rotation_mode="anchor", fontsize=FOOT_POINTS,
    )  # fmt: skip


def _caption(found: Probe) -> list[str]:
    return [
        f"How well a linear classifier tells {found.classes} classes apart by each layer: "
        f"{found.right.shape[1]:,} images of {one_line(found.data)}, bands 95% (Wilson).",
        f"Logistic regression on the layer's maps, averaged to {found.grid}×{found.grid} places "
        f"or fewer, each image answered by a classifier that was trained on the other "
        f"{found.folds - 1} of {found.folds} parts (seed {found.seed}); cf. Zeiler & Fergus, arXiv "
        f"1311.2901, table 7. A probe says what can be read off a layer, not what the network "
        f"reads off it.",
    ]
