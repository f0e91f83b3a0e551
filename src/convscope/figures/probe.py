"""The figure of a probe: accuracy against depth, with the intervals that so few images leave."""

from convscope.figures.lettering import one_line, shortened
from convscope.figures.sheet import FOOT_POINTS, PALE, Sheet, line_of
from convscope.figures.style import MARGIN, Style
from convscope.methods.probe import Probe

CHART, HEAD, SIDE, BELOW = 2.3, 0.3, 0.6, 0.75
LEGEND, LINE = 2.2, 0.17
"""Inches of an entry of the legend, and of a line of it."""

SLANT = 35


def figure(found: Probe, style: Style) -> Sheet:
    """Draw the accuracy at each layer of each network, the image at the left.

    Args:
        found: what to draw.
        style: how wide, and with which caption.
    """
    names, room = [*dict.fromkeys(found.networks)], style.width - 2 * MARGIN
    across = max(1, int(room / LEGEND))
    legend = MARGIN + HEAD + CHART + BELOW
    height = legend + -(-(len(names) + 1) // across) * LINE
    sheet = Sheet.made_for(style, height, _caption(found), found.notes)
    axes = sheet.chart(
        MARGIN + SIDE, MARGIN + HEAD, room - SIDE, CHART,
        f"linear classifiers, {found.classes} classes", up="accuracy",
    )  # fmt: skip
    longest: list[str] = []
    for place, network in enumerate(names):
        rows = [row for row, own in enumerate(found.networks) if own == network]
        colour, kind = line_of(place)
        low, high = found.interval[rows].T
        axes.fill_between(range(len(rows)), low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(
            range(len(rows)), found.accuracy[rows], color=colour, linestyle=kind, marker="o",
            markersize=3, label=one_line(network),
        )  # fmt: skip
        longest = max(longest, [found.layers[row] for row in rows], key=len)
    axes.axhline(found.commonest, color=PALE, linestyle="dotted", label="the commonest class")
    axes.set_ylim(0, 1)
    axes.set_xticks(
        range(len(longest)), [shortened(one_line(name), 0.95, FOOT_POINTS) for name in longest],
        rotation=SLANT, ha="right", rotation_mode="anchor", fontsize=FOOT_POINTS,
    )  # fmt: skip
    width, whole = sheet.figure.get_size_inches()
    sheet.figure.legend(
        loc="upper left", bbox_to_anchor=(MARGIN / width, 1 - legend / whole), ncols=across,
        fontsize=FOOT_POINTS, frameon=False, borderpad=0, borderaxespad=0,
    )  # fmt: skip
    return sheet


def _caption(found: Probe) -> list[str]:
    """Return the short caption, and what else must be known to read the figure."""
    return [
        f"How well a linear classifier tells {found.classes} classes apart by each layer: "
        f"{found.right.shape[1]:,} images of {one_line(found.data)}, bands 95 % (Wilson).",
        f"Logistic regression on the layer's maps, averaged to {found.grid} x {found.grid} places "
        f"or fewer, each image answered by a classifier that was trained on the other "
        f"{found.folds - 1} of {found.folds} parts (seed {found.seed}); cf. Zeiler & Fergus, arXiv "
        f"1311.2901, table 7. A probe says what can be read off a layer, not what the network "
        f"reads off it.",
    ]
