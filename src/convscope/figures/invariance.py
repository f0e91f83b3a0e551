"""Invariance drawn as fig. 5 of Zeiler & Fergus: examples, distances, probabilities."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from convscope.errors import OutputError
from convscope.figures.lettering import one_line
from convscope.figures.sheet import (
    LETTERS,
    MARGIN,
    NOTE_POINTS,
    Sheet,
    picture_of,
)
from convscope.figures.style import Style
from convscope.methods.invariance_result import Invariance
from convscope.methods.transformations import NEUTRAL, REFLECT, transformed

EXAMPLES, EXAMPLE, GAP = 5, 0.82, 0.05
CHART_ROOM, CHART_SIDE = 2.1, 0.5
NARROW = 5.0
"""Inches of width below which charts stand two a line, and are lower."""
HEAD, AXIS = 0.3, 0.46
LINE = 0.17
COLOURS = [colormaps["tab10"](i) for i in range(10)]


@dataclass(frozen=True)
class _Layout:
    """Where the examples and charts of one transformation stand, in inches.

    Attributes:
        width: of the whole figure.
        example: side of an example.
        across: charts a line.
        lines: lines of charts.
        chart: height of a chart.
    """

    width: float
    example: float
    across: int
    lines: int
    chart: float

    @classmethod
    def of(cls, width: float, charts: int) -> "_Layout":
        """Return the layout of so many charts a transformation in a figure of some width."""
        room = width - 2 * MARGIN
        most = max(2, int(room / CHART_ROOM))
        lines = -(-charts // most)
        example = min(EXAMPLE, (room + GAP) / EXAMPLES - GAP)
        return cls(width, example, -(-charts // lines), lines, 1.0 if width < NARROW else 1.2)

    @property
    def above(self) -> float:
        """Height of the examples with all that belongs to them."""
        return HEAD + self.example + 0.25

    @property
    def line(self) -> float:
        """Height of a line of charts."""
        return HEAD + self.chart + AXIS

    @property
    def row(self) -> float:
        """Height of all there is of one transformation."""
        return self.above + self.lines * self.line

    @property
    def room(self) -> float:
        """Width of a chart with its labels."""
        return min((self.width - 2 * MARGIN) / self.across, 2 * CHART_ROOM)


def check_fits(images: int) -> None:
    """Refuse more images than there are colours, before the work for them.

    Raises:
        OutputError: if there are.
    """
    if images > len(COLOURS):
        raise OutputError(
            f"{images} images are too many for one figure: take up to {len(COLOURS)}, or a .csv "
            f"or .safetensors file"
        )


def figure(found: Invariance, style: Style) -> Sheet:
    """Draw of each transformation examples, the distance at each layer, and the probability.

    Raises:
        OutputError: if there are more than ten images, or the figure would be too high to draw.
    """
    check_fits(len(found.images))
    charts = len(found.layers) + (found.probability is not None)
    layout = _Layout.of(style.width, charts)
    rows = len(found.transforms) * layout.row
    cuts = [MARGIN + k * layout.row for k in range(1, len(found.transforms))]
    sheet = Sheet.made_for(
        style, MARGIN + rows + LINE * (len(found.titles) + 1), _caption(found), found.notes, cuts
    )
    for k in range(len(found.transforms)):
        top = MARGIN + k * layout.row
        _draw_examples(sheet, found, k, layout.example, top + HEAD)
        _draw_charts(sheet, found, k, layout, top + layout.above)
    _draw_names(sheet, found, MARGIN + rows)
    return sheet


def _draw_charts(sheet: Sheet, found: Invariance, k: int, layout: _Layout, top: float) -> None:
    known = np.isfinite(found.amounts[k].numpy())
    amounts = found.amounts[k].numpy()[known]
    narrow = layout.width < NARROW
    panels = [
        (
            layer if narrow else f"distance at {layer}",
            found.distance[k, at].numpy()[:, known],
            _reach(found, at),
        )
        for at, layer in enumerate(found.layers)
    ]
    if found.probability is not None:
        panels.append(("P(class)", found.probability[k].numpy()[:, known], 0.0))
    for place, (title, values, reach) in enumerate(panels):
        line, column = divmod(place, layout.across)
        left = MARGIN + column * layout.room + CHART_SIDE
        above = top + line * layout.line + HEAD
        axes = sheet.chart(
            left, above, layout.room - CHART_SIDE - 0.12, layout.chart, title,
            found.units[k].split()[0] if narrow else f"{found.transforms[k]}, {found.units[k]}",
            "of the length" if reach else "probability",
        )  # fmt: skip
        _draw_lines(axes, amounts, values, NEUTRAL[found.transforms[k]])
        axes.set_ylim(0, 1.06 * reach if reach else 1.04)


def _reach(found: Invariance, layer: int) -> float:
    """Return the largest distance at a layer: all rows have one scale."""
    return max(1e-3, float(found.distance[:, layer].nan_to_num(0.0).max()))


def _draw_examples(sheet: Sheet, found: Invariance, k: int, side: float, low: float) -> None:
    amounts = [a for a in found.amounts[k].tolist() if np.isfinite(a)]
    name, preprocess = found.transforms[k], found.preprocess
    places = np.linspace(0, len(amounts) - 1, EXAMPLES).round().astype(int)
    chosen = [amounts[place] for place in np.unique(places)]
    image = found.images[0]
    shown = [transformed(image, name, amount, found.fill, preprocess) for amount in chosen]
    pictures = picture_of(preprocess.to_pixels(torch.stack(shown)))
    title = f"{name}, {found.units[k]}"
    sheet.write(title, MARGIN, low - 0.06, NOTE_POINTS, va="bottom")
    for place, (amount, picture) in enumerate(zip(chosen, pictures, strict=True)):
        left = MARGIN + place * (side + GAP)
        sheet.picture(picture, left, low, side)
        middle = left + side / 2
        sheet.write(f"{amount:.3g}", middle, low + side + 0.04, ha="center")


def _draw_lines(
    axes: Axes, amounts: npt.NDArray[np.float64], values: npt.NDArray[np.float64], neutral: float
) -> None:
    axes.axvline(neutral, color="#999999", linewidth=0.8, linestyle=(0, (3, 2)))
    for own, colour in zip(values, COLOURS, strict=False):
        known = np.isfinite(own)
        axes.plot(amounts[known], own[known], color=colour, linewidth=1.3, marker=".", markersize=3)


def _draw_names(sheet: Sheet, found: Invariance, top: float) -> None:
    """Name the lines: each image with its class."""
    width, height = sheet.figure.get_size_inches()
    for n, name in enumerate(found.titles):
        at = top + LINE * (n + 0.7)
        text = name
        if found.targets:
            text = f"{name}: P({found.class_name(n)}) {found.clean[n]:.3f} as it is"
        sheet.figure.add_artist(
            Line2D(
                [MARGIN / width, (MARGIN + 0.3) / width],
                [1 - at / height] * 2,
                color=COLOURS[n],
                linewidth=2,
            )
        )
        room = width - 2 * MARGIN - 0.4
        sheet.write(text, MARGIN + 0.4, at, LETTERS, room=room, va="center")


def _caption(found: Invariance) -> list[str]:
    """Return the short caption, and what else must be known to read the figure."""
    beyond = "the image mirrored at its borders" if found.fill == REFLECT else found.fill
    lines = [
        f"{found.network}: how far features move when the image is moved, enlarged and turned.",
        "Zeiler & Fergus, arXiv 1311.2901, fig. 5. Distance: Euclidean, between a layer's features "
        "of the transformed and of the plain image, divided by the length of the plain ones: 0 is "
        "no change, 1.41 features of equal length without any overlap. One scale a layer.",
        f"Examples: {one_line(found.titles[0])}. Beyond the image: {beyond}; bilinear "
        f"interpolation, which blurs a little unless the amount is a whole pixel or a quarter "
        f"turn. Dashed: the image as it is; the translation is vertical, down where positive.",
    ]
    if found.probability is not None:
        lines.append("P(class): of the class named beside the line's colour, each image's own.")
    return lines
