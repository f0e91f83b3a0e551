"""A study's charts: accuracies at the end and on the way, and dead filters."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from convscope.errors import OutputError, near_matches
from convscope.figures import study_filters
from convscope.figures.lettering import wrapped
from convscope.figures.sheet import FOOT_POINTS, INK, Sheet
from convscope.figures.style import MARGIN, Style
from convscope.study.study_result import Study, VariantResult

CHART, HEAD, AXIS, SIDE = 2.3, 0.3, 0.3, 0.45
"""Inches: a chart's height, and what stands above, below and on the left of it."""

LINE, LEGEND_LINE, LEGEND_ENTRY = 0.14, 0.16, 1.85
BESIDE = 6.0
"""Inches from which on two charts stand beside each other."""

NORM_COLOURS = {True: "#0b5cad", False: "#d2691e"}
LINES = {"same": "-", "valid": (0, (4, 2))}
FACES = {"same": True, "valid": False}  # filled or hollow, so that no colour is needed to tell


def figure(found: Study, style: Style, shown: str = "accuracy") -> Sheet:
    """Draw a study.

    Args:
        found: what to draw.
        style: how wide, and with which caption.
        shown: ``"accuracy"``; ``"dead"``, the share of dead filters; ``"weights"``, all filters of
            the first layer; ``"first"`` or ``"last"``, what drives that layer's strongest filters.

    Raises:
        OutputError: if there is no such figure, or it would be too large.
    """
    if shown not in SHOWN:
        names = ", ".join(map(repr, SHOWN))
        raise OutputError(f"a study shows {names}, not {shown!r}{near_matches(shown, SHOWN)}")
    return SHOWN[shown](found, style)


def _accuracy(found: Study, style: Style) -> Sheet:
    """Draw test accuracy by variant, and accuracy on the held-out images by epoch."""
    n, room = found.seeds, style.width - 2 * MARGIN
    beside = style.width >= BESIDE
    wide = (room - SIDE) / 2 - SIDE if beside else room - SIDE
    names = _names(found, wide)
    block = HEAD + CHART + AXIS + LINE * max(name.count("\n") for name in names)
    legend = _legend_height(found, room)
    top = MARGIN if beside else MARGIN + block
    spread = "mean ± sample standard deviation" if n > 1 else "one seed each, so without a spread"
    caption = [
        f"Accuracy of the four variants, n = {n} each: at the end on the test images, and in "
        f"training on held-out ones.",
        f"Test accuracy: dots: one a seed; bar: mean; whiskers: {spread}. In training: accuracy on "
        f"the {found.held_out:,} held-out images after each epoch: {spread}. Neither axis starts "
        f"at zero.",
    ]
    sheet = Sheet.made_for(style, top + block + legend, caption, found.notes)
    ends = sheet.chart(MARGIN + SIDE, MARGIN + HEAD, wide, CHART, "Test accuracy")
    left = MARGIN + (room + SIDE) / 2 + SIDE if beside else MARGIN + SIDE
    wide = style.width - MARGIN - left
    title = "Held-out accuracy in training"
    curves = sheet.chart(left, top + HEAD, wide, CHART, title, across="epoch")
    _draw_ends(ends, found, names)
    _draw_curves(curves, found)
    _in_percent(ends, curves)
    _write_legend(sheet, curves, top + block, room)
    return sheet


def _dead(found: Study, style: Style) -> Sheet:
    """Draw the share of dead filters by layer and variant."""
    room = style.width - 2 * MARGIN
    layers = range(1, len(found.layers) + 1)
    caption = [
        "Share of a layer's filters that are dead, in each of the four variants.",
        f"Dead: zero behind the ReLU at every place of each of the {found.held_out:,} held-out "
        f"images. Bar: mean of n = {found.seeds}; dots: one a seed.",
    ]
    block = MARGIN + HEAD + CHART + AXIS
    sheet = Sheet.made_for(style, block + _legend_height(found, room), caption, found.notes)
    axes = sheet.chart(MARGIN + SIDE, MARGIN + HEAD, room - SIDE, CHART, "Dead filters")
    step = 0.8 / len(found.results)
    for place, result in enumerate(found.results):
        shift = (place - (len(found.results) - 1) / 2) * step
        colour, full = _colour(result), FACES[result.variant.padding]
        for number, layer in enumerate(found.layers, start=1):
            axes.bar(
                number + shift, result.dead_share(layer).mean, 0.85 * step, edgecolor=colour,
                facecolor=colour if full else "white",
                label=result.variant.name if number == 1 else None,
            )  # fmt: skip
            shares = [count / result.filters[layer] for count in result.dead[layer]]
            axes.plot([number + shift] * found.seeds, shares, "o", color=INK, markersize=2.5)
    axes.set_xticks(layers, [f"layer {number}" for number in layers])
    axes.set_ylim(0, max(0.05, 1.1 * axes.get_ylim()[1]))
    _in_percent(axes)
    _write_legend(sheet, axes, block, room)
    return sheet


def _legend_height(found: Study, room: float) -> float:
    return len(found.results) / _columns(room) * LEGEND_LINE


def _columns(room: float) -> int:
    """Return in how many columns a legend of four stands: 1, 2 or 4."""
    return max(count for count in (1, 2, 4) if count == 1 or count * LEGEND_ENTRY <= room)


def _write_legend(sheet: Sheet, axes: Axes, top: float, room: float) -> None:
    """Write the legend of *axes* below them, in as many columns as find room."""
    width, height = sheet.figure.get_size_inches()
    sheet.figure.legend(
        *axes.get_legend_handles_labels(), fontsize=FOOT_POINTS, frameon=False, borderpad=0,
        ncols=_columns(room), loc="upper left", borderaxespad=0,
        bbox_to_anchor=(MARGIN / width, 1 - top / height), labelcolor=INK, labelspacing=0.4,
    )  # fmt: skip


def _names(found: Study, wide: float) -> list[str]:
    """Return what the variants are called below an axis of that width."""
    slot = wide / len(found.results) - 0.04
    return [
        "\n".join(
            line
            for words in (result.variant.norm_words, result.variant.padding_words)
            for line in wrapped(words, slot, FOOT_POINTS)
        )
        for result in found.results
    ]


def _draw_ends(axes: Axes, found: Study, names: list[str]) -> None:
    for place, result in enumerate(found.results):
        summary, colour = result.test_accuracy, _colour(result)
        face = colour if FACES[result.variant.padding] else "white"
        axes.plot(
            [place] * summary.n, result.test_accuracies, "o", markersize=5,
            markerfacecolor=face, markeredgecolor=colour, zorder=3,
        )  # fmt: skip
        axes.hlines(summary.mean, place - 0.22, place + 0.22, color=colour, linewidth=2)
        if summary.std is not None:
            axes.errorbar(
                place, summary.mean, yerr=summary.std, color=colour, capsize=5, linewidth=1
            )
        top = max(*result.test_accuracies, summary.mean + (summary.std or 0.0))
        axes.annotate(
            f"{100 * summary.mean:.1f} %", (place, top), xytext=(0, 6), textcoords="offset points",
            ha="center", fontsize=FOOT_POINTS, color=INK,
        )  # fmt: skip
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.margins(y=0.12)


def _draw_curves(axes: Axes, found: Study) -> None:
    for result in found.results:
        epochs, colour = result.epochs, _colour(result)
        means = [summary.mean for summary in result.curve]
        spread = [summary.std or 0.0 for summary in result.curve]
        low = [mean - std for mean, std in zip(means, spread, strict=True)]
        high = [mean + std for mean, std in zip(means, spread, strict=True)]
        axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            epochs, means, color=colour, linestyle=LINES[result.variant.padding], marker="o",
            markersize=4, markerfacecolor=colour if FACES[result.variant.padding] else "white",
            label=result.variant.name,
        )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=found.config.epochs >= 2))


def _in_percent(*charts: Axes) -> None:
    for axes in charts:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g} %"))
        axes.yaxis.set_major_locator(MaxNLocator(6))


def _colour(result: VariantResult) -> str:
    return NORM_COLOURS[result.variant.batch_norm]


SHOWN: dict[str, Callable[[Study, Style], Sheet]] = {
    "accuracy": _accuracy,
    "dead": _dead,
    "weights": study_filters.weights,
    "first": study_filters.first,
    "last": study_filters.last,
}
"""What can be drawn of a study, by name."""
