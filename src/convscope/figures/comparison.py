"""The study's charts: accuracies at the end and on the way, and dead filters."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from convscope.figures.sheet import FOOT_POINTS, INK, MARGIN, NOTE_POINTS, Sheet
from convscope.study.comparison import Comparison, VariantResult

CHART = 2.9
HEAD = 0.3
AXIS = 0.42
LEGEND = 0.55
SIDE = 0.62
LETTERS = FOOT_POINTS + 1
NORM_COLOURS = {True: "#0b5cad", False: "#d2691e"}
LINES = {"same": "-", "valid": (0, (4, 2))}
FACES = {"same": True, "valid": False}  # filled or hollow, so that no colour is needed to tell


def accuracy_figure(comparison: Comparison) -> Sheet:
    """Draw test accuracy by variant, and accuracy on the held-out images by epoch."""
    width, left, right = 9.6, 4.75, 4.1
    n = comparison.seeds
    spread = (
        "mean ± sample standard deviation" if n > 1 else "one seed each, so that there is no spread"
    )
    caption = [
        f"Left: accuracy of the final weights on the test images; dots: one a seed; bar: mean; "
        f"whiskers: {spread} (n = {n} a variant). Right: accuracy on the "
        f"{comparison.held_out:,} held-out images after each epoch: {spread}. "
        f"Neither axis starts at zero."
    ]
    sheet = Sheet.made_for(width, MARGIN + HEAD + CHART + AXIS + LEGEND, caption, "")
    ends = sheet.axes(MARGIN + SIDE, MARGIN + HEAD, left - SIDE, CHART)
    curves = sheet.axes(width - MARGIN - right, MARGIN + HEAD, right, CHART)
    _draw_ends(ends, comparison)
    _draw_curves(curves, comparison)
    for axes, title in ((ends, "Test accuracy"), (curves, "Held-out accuracy in training")):
        axes.set_title(title, fontsize=NOTE_POINTS, color=INK, loc="left")
        axes.yaxis.set_major_formatter(FuncFormatter(_percent))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        _style(axes)
    return sheet


def dead_figure(comparison: Comparison) -> Sheet:
    """Draw the share of dead filters by layer and variant."""
    width = 9.6
    n = comparison.seeds
    caption = [
        f"Share of a layer's filters that are dead: zero behind the ReLU at every place of each of "
        f"the {comparison.held_out:,} held-out images. Bar: mean of n = {n}; dots: one a seed."
    ]
    sheet = Sheet.made_for(width, MARGIN + HEAD + CHART + AXIS, caption, "")
    axes = sheet.axes(MARGIN + SIDE, MARGIN + HEAD, width - 2 * MARGIN - SIDE, CHART)
    step = 0.8 / len(comparison.results)
    for place, result in enumerate(comparison.results):
        shift = (place - (len(comparison.results) - 1) / 2) * step
        colour, full = _colour(result), FACES[result.variant.padding]
        for number, layer in enumerate(comparison.layers, start=1):
            axes.bar(
                number + shift,
                result.dead_share(layer).mean,
                0.85 * step,
                facecolor=colour if full else "white",
                edgecolor=colour,
                label=result.variant.name if number == 1 else None,
            )
            shares = [count / result.filters[layer] for count in result.dead[layer]]
            axes.plot([number + shift] * n, shares, "o", color=INK, markersize=2.5)
    axes.set_xticks(
        range(1, len(comparison.layers) + 1),
        [f"layer {n + 1}" for n in range(len(comparison.layers))],
    )
    axes.set_title("Dead filters", fontsize=NOTE_POINTS, color=INK, loc="left")
    axes.yaxis.set_major_formatter(FuncFormatter(_percent))
    axes.set_ylim(0, max(0.05, 1.25 * axes.get_ylim()[1]))
    axes.legend(fontsize=LETTERS, frameon=False, ncols=2, loc="upper left")
    _style(axes)
    return sheet


def _draw_ends(axes: Axes, comparison: Comparison) -> None:
    for place, result in enumerate(comparison.results):
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
            ha="center", fontsize=LETTERS, color=INK,
        )  # fmt: skip
    names = [result.variant.name.replace(", ", "\n") for result in comparison.results]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.margins(y=0.12)


def _draw_curves(axes: Axes, comparison: Comparison) -> None:
    for result in comparison.results:
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
    axes.set_xlabel("epoch", fontsize=LETTERS, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=comparison.config.epochs >= 2))
    axes.legend(
        fontsize=LETTERS, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.13)
    )


def _colour(result: VariantResult) -> str:
    return NORM_COLOURS[result.variant.batch_norm]


def _percent(share: float, _place: object = None) -> str:
    return f"{100 * share:.3g} %"


def _style(axes: Axes) -> None:
    axes.tick_params(labelsize=LETTERS, colors=INK)
    axes.grid(axis="y", color="#e6e6e6")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
