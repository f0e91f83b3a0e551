"""A study's charts: accuracies at the end and on the way, and dead filters."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from convscope.errors import OutputError, check_known
from convscope.figures import study_filters
from convscope.figures.lettering import wrapped
from convscope.figures.pieces import (
    RIGHT,
    SIDE,
    TICKS,
    chart,
    in_lines,
    inches_across,
    key,
    sheet_of,
)
from convscope.figures.sheet import Sheet
from convscope.figures.style import FOOT_POINTS, INK, Style
from convscope.study.study_result import Study, VariantResult

CHART = 2.3
LINE, EPOCH = 0.14, 0.4
BESIDE = 6.0
"""Inches from which on two charts stand beside each other."""

NORM_COLOURS = {True: "#0b5cad", False: "#d2691e"}
LINES = {"same": "-", "valid": (0, (4, 2))}
FACES = {"same": True, "valid": False}  # filled or hollow, so that no colour is needed to tell


def figure(found: Study, style: Style, shown: str = "accuracy") -> Sheet:
    """Draw of a study one of :data:`SHOWN`.

    These are ``"accuracy"``; ``"dead"``, the share of dead filters; ``"weights"``, all filters of
    the first layer; ``"first"`` and ``"last"``, what drives that layer's strongest filters.
    """
    check_known("figure of a study", shown, SHOWN, OutputError)
    return SHOWN[shown](found, style)


def _accuracy(found: Study, style: Style) -> Sheet:
    n, across = found.seeds, 2 if style.width >= BESIDE else 1
    wide = style.room / across
    names = _names(found, wide - SIDE - RIGHT)
    ticks = TICKS + LINE * max(name.count("\n") for name in names)
    spread = "mean ± sample standard deviation" if n > 1 else "one seed each, so without a spread"
    caption = [
        f"Accuracy of the four variants, n = {n} each: at the end on the test images, and in "
        f"training on held-out ones.",
        f"Test accuracy: dots: one a seed; bar: mean; whiskers: {spread}. In training: accuracy on "
        f"the {found.held_out:,} held-out images after each epoch: {spread}. Neither axis starts "
        f"at zero.",
    ]
    ends = chart(wide, CHART, partial(_draw_ends, found, names), "Test accuracy", ticks=ticks)
    title = "Held-out accuracy in training"
    curves = chart(wide, CHART, partial(_draw_curves, found), title, "epoch")
    variants = key(((result.variant.name, _line(result)) for result in found.results), style.room)
    pieces = [*in_lines([ends, curves], across, 0.0), variants]
    return sheet_of(style, pieces, caption, found.notes)


def _dead(found: Study, style: Style) -> Sheet:
    caption = [
        "Share of a layer's filters that are dead, in each of the four variants.",
        f"Dead: zero behind the ReLU at every place of each of the {found.held_out:,} held-out "
        f"images. Bar: mean of n = {found.seeds}; dots: one a seed.",
    ]
    bars = chart(style.room, CHART, partial(_draw_dead, found), "Dead filters")
    variants = key(
        (
            (result.variant.name, {**_line(result), "linestyle": "none", "marker": "s"})
            for result in found.results
        ),
        style.room,
    )
    return sheet_of(style, [bars, variants], caption, found.notes)


def _draw_dead(found: Study, axes: Axes) -> None:
    step = 0.8 / len(found.results)
    for place, result in enumerate(found.results):
        shift = (place - (len(found.results) - 1) / 2) * step
        colour, full = _colour(result), FACES[result.variant.padding]
        for number, layer in enumerate(found.layers, start=1):
            axes.bar(
                number + shift, result.dead_share(layer).mean, 0.85 * step, edgecolor=colour,
                facecolor=colour if full else "white",
            )  # fmt: skip
            shares = [count / result.filters[layer] for count in result.dead[layer]]
            axes.plot([number + shift] * found.seeds, shares, "o", color=INK, markersize=2.5)
    layers = range(1, len(found.layers) + 1)
    axes.set_xticks(layers, [f"layer {number}" for number in layers])
    axes.set_ylim(0, max(0.05, 1.1 * axes.get_ylim()[1]))
    _in_percent(axes)


def _line(result: VariantResult) -> dict[str, Any]:
    colour, padding = _colour(result), result.variant.padding
    return {
        "color": colour, "linestyle": LINES[padding], "marker": "o", "markersize": 4,
        "markerfacecolor": colour if FACES[padding] else "white",
    }  # fmt: skip


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


def _draw_ends(found: Study, names: list[str], axes: Axes) -> None:
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
            f"{summary.mean:.1%}", (place, top), xytext=(0, 6), textcoords="offset points",
            ha="center", fontsize=FOOT_POINTS, color=INK,
        )  # fmt: skip
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.margins(y=0.12)
    _in_percent(axes)


def _draw_curves(found: Study, axes: Axes) -> None:
    for result in found.results:
        epochs, colour = result.epochs, _colour(result)
        means = np.array([summary.mean for summary in result.curve])
        spread = np.array([summary.std or 0.0 for summary in result.curve])
        low, high = means - spread, means + spread
        axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(epochs, means, **_line(result))
    most = min(8, max(2, int(inches_across(axes) / EPOCH)))
    axes.xaxis.set_major_locator(MaxNLocator(most, integer=found.config.epochs >= 2))
    if len(epochs) == 1:
        axes.set_xticks(epochs)
    _in_percent(axes)


def _in_percent(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))
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
