"""Invariance drawn as fig. 5 of Zeiler & Fergus: examples, distances, probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor

from convscope.errors import OutputError
from convscope.figures.lettering import one_line, shortened
from convscope.figures.sheet import (
    FOOT_POINTS,
    INK,
    MARGIN,
    NOTE_POINTS,
    PAPER,
    Sheet,
    picture_of,
)
from convscope.images import Preprocess
from convscope.methods.invariance_result import Invariance
from convscope.methods.transformations import NEUTRAL, REFLECT, transformed

EXAMPLES, EXAMPLE, GAP = 5, 0.82, 0.05
CHART, CHART_ROOM, CHART_SIDE = 1.45, 2.35, 0.5
CHARTS_ON_PAPER = 4
HEAD, AXIS = 0.3, 0.46
LETTERS = 7.5
LINE = 0.17
COLOURS = [colormaps["tab10"](i) for i in range(10)]


def check_images_fit(count: int) -> None:
    """Refuse more images than there are colours, before the work for them.

    Raises:
        OutputError: if there are.

    """
    if count > len(COLOURS):
        raise OutputError(
            f"{count} images are too many for one figure: take up to {len(COLOURS)}, or "
            f"-o FILE.safetensors"
        )


def invariance_figure(
    record: Invariance,
    images: Tensor,
    preprocess: Preprocess,
    names: Sequence[str],
    *,
    paper: bool = False,
) -> Sheet:
    """Draw one row a transformation: examples, the distance at each layer, the probability.

    Args:
        record: the numbers.
        images: [N, C, H, W] in the network's input space.
        preprocess: takes inputs back to pixels.
        names: what the images are.
        paper: whether to draw it as narrow as a printed page wants it, the charts below the
            examples.

    Raises:
        OutputError: if there are more than ten images.

    """
    check_images_fit(len(images))
    layout = _Layout.of(len(record.layers) + (record.probability is not None), paper)
    rows = len(record.kinds) * layout.row
    sheet = Sheet.made_for(
        layout.width, MARGIN + rows + LINE * (len(names) + 1), _caption(record, names[0]),
        "; ".join(record.notes), [MARGIN + k * layout.row for k in range(1, len(record.kinds))],
    )  # fmt: skip
    for k, kind in enumerate(record.kinds):
        top = MARGIN + k * layout.row
        _draw_examples(sheet, record, k, images[0].cpu(), preprocess, top + layout.examples)
        known = np.isfinite(record.amounts[k].numpy())
        amounts = record.amounts[k].numpy()[known]
        panels = [
            (f"distance at {layer}", record.distance[k, at].numpy()[:, known], False)
            for at, layer in enumerate(record.layers)
        ]
        if record.probability is not None:
            panels.append(("P(class)", record.probability[k].numpy()[:, known], True))
        for place, (title, values, chance) in enumerate(panels):
            line, column = divmod(place, layout.across)
            left = MARGIN + layout.left + column * layout.room + CHART_SIDE
            high = top + layout.above + line * (HEAD + CHART + AXIS) + HEAD
            axes = sheet.axes(left, high, layout.room - CHART_SIDE - 0.08, CHART)
            _draw_lines(axes, amounts, values, NEUTRAL[kind])
            short = shortened(one_line(title), layout.room - CHART_SIDE, LETTERS + 0.5)
            axes.set_title(short, fontsize=LETTERS + 0.5, loc="left", color=INK, parse_math=False)
            axes.set_xlabel(f"{kind}, {record.units[k]}", fontsize=LETTERS, color=INK)
            label = "probability" if chance else "of the features' length"
            axes.set_ylabel(label, fontsize=LETTERS, color=INK)
            axes.set_ylim(0, 1.04 if chance else max(1e-3, 1.06 * _reach(record, place)))
    _draw_names(sheet, record, names, MARGIN + rows)
    return sheet


@dataclass(frozen=True)
class _Layout:
    """Where the examples and charts of one transformation stand, in inches.

    Attributes:
        width: of the figure.
        row: height of all there is of one transformation.
        examples: from its top to the examples.
        left: from the margin to the charts.
        above: from its top to the charts.
        room: that a chart takes across.
        across: charts a line.

    """

    width: float
    row: float
    examples: float
    left: float
    above: float
    room: float
    across: int

    @classmethod
    def of(cls, charts: int, paper: bool) -> "_Layout":
        strip = EXAMPLES * (EXAMPLE + GAP)
        line = HEAD + CHART + AXIS
        if not paper:
            width = 2 * MARGIN + strip + charts * CHART_ROOM + 0.1
            middle = HEAD + (CHART - EXAMPLE) / 2
            return cls(width, line, middle, strip, 0.0, CHART_ROOM, charts)
        across = min(charts, CHARTS_ON_PAPER)
        above = HEAD + EXAMPLE + 0.25
        return cls(
            PAPER, above + -(-charts // across) * line, HEAD, 0.0, above,
            (PAPER - 2 * MARGIN) / across, across,
        )  # fmt: skip


def _reach(record: Invariance, layer: int) -> float:
    """Return the largest distance at a layer: all rows have one scale."""
    return float(record.distance[:, layer].nan_to_num(0.0).max())


def _draw_examples(
    sheet: Sheet, record: Invariance, k: int, image: Tensor, preprocess: Preprocess, low: float
) -> None:
    amounts = [a for a in record.amounts[k].tolist() if np.isfinite(a)]
    kind = record.kinds[k]
    places = np.linspace(0, len(amounts) - 1, EXAMPLES).round().astype(int)
    chosen = [amounts[place] for place in np.unique(places)]
    shown = [transformed(image, kind, amount, record.fill, preprocess) for amount in chosen]
    pictures = picture_of(preprocess.to_pixels(torch.stack(shown)))
    title = f"{kind}, {record.units[k]}"
    sheet.write(title, MARGIN, low - 0.06, NOTE_POINTS, ha="left", va="bottom", warns=False)
    for place, (amount, picture) in enumerate(zip(chosen, pictures, strict=True)):
        left = MARGIN + place * (EXAMPLE + GAP)
        axes = sheet.axes(left, low, EXAMPLE)
        axes.imshow(picture, interpolation="nearest")
        axes.set_axis_off()
        sheet.write(
            f"{amount:.3g}", left + EXAMPLE / 2, low + EXAMPLE + 0.04, FOOT_POINTS, ha="center",
            va="top", warns=False,
        )  # fmt: skip


def _draw_lines(
    axes: Axes, amounts: npt.NDArray[np.float64], values: npt.NDArray[np.float64], neutral: float
) -> None:
    axes.axvline(neutral, color="#999999", linewidth=0.8, linestyle=(0, (3, 2)))
    for own, colour in zip(values, COLOURS, strict=False):
        known = np.isfinite(own)
        axes.plot(amounts[known], own[known], color=colour, linewidth=1.3, marker=".", markersize=3)
    axes.tick_params(labelsize=LETTERS, colors=INK)
    axes.grid(axis="y", color="#e6e6e6")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_names(sheet: Sheet, record: Invariance, names: Sequence[str], top: float) -> None:
    """Name the lines: each image with its class."""
    width, height = sheet.figure.get_size_inches()
    for n, name in enumerate(names):
        at = top + LINE * (n + 0.7)
        text = name
        if record.targets:
            own = record.classes.get(str(record.targets[n]), f"class {record.targets[n]}")
            text = f"{name}: P({own}) {record.clean[n]:.3f} as it is"
        sheet.figure.add_artist(
            Line2D(
                [MARGIN / width, (MARGIN + 0.3) / width],
                [1 - at / height] * 2,
                color=COLOURS[n],
                linewidth=2,
            )
        )
        room = width - 2 * MARGIN - 0.4
        sheet.write(
            shortened(one_line(text), room, LETTERS), MARGIN + 0.4, at, LETTERS, ha="left",
            va="center", warns=False,
        )  # fmt: skip


def _caption(record: Invariance, first: str) -> list[str]:
    beyond = "the image mirrored at its borders" if record.fill == REFLECT else record.fill
    lines = [
        f"{record.network}: features of moved, enlarged and turned images (Zeiler & Fergus, arXiv "
        f"1311.2901, fig. 5). Distance: Euclidean, between a layer's features of the transformed "
        f"and of the plain image, divided by the length of the plain ones: 0 is no change, 1.41 "
        f"features of equal length without any overlap. One scale a layer.",
        f"Examples: {one_line(first)}. Beyond the image: {beyond}; bilinear interpolation, which "
        f"blurs a little unless the amount is a whole pixel or a quarter turn. Dashed: the image "
        f"as it is; the translation is vertical, down where positive.",
    ]
    if record.probability is not None:
        lines.append("P(class): of the class named beside the line's colour, each image's own.")
    return lines
