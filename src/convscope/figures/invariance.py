"""Invariance drawn as fig. 5 of Zeiler & Fergus: examples, distances, probabilities."""

from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes

from convscope.errors import OutputError
from convscope.figures.lettering import one_line
from convscope.figures.pieces import (
    Piece,
    chart,
    fitting,
    in_lines,
    key,
    picture,
    row,
    sheet_of,
    stack,
    words,
)
from convscope.figures.sheet import Sheet, number, picture_of
from convscope.figures.style import LETTERS, NOTE_POINTS, Style
from convscope.methods.budget import evenly
from convscope.methods.invariance import Invariance
from convscope.methods.transformations import NEUTRAL, REFLECT, transformed
from convscope.wording import fill_word

EXAMPLES, EXAMPLE, BETWEEN = 5, 0.82, 0.05
"""How many examples there are, and the inches of each at the most and between two."""
NARROWEST, WIDEST = 2.1, 4.2
"""Inches of a chart at least and at most."""
NARROW = 5.0
"""Inches of width below which charts stand two a line, and are lower."""
COLOURS = [colormaps["tab10"](i) for i in range(10)]


def check_fits(images: int) -> None:
    """Refuse more images than there are colours, before the work for them."""
    if images > len(COLOURS):
        raise OutputError(
            f"{images} images are too many for one figure: take up to {len(COLOURS)}, or a .csv "
            f"or .safetensors file"
        )


def figure(found: Invariance, style: Style) -> Sheet:
    """Draw of each transformation examples, the distance at each layer, and the probability."""
    check_fits(len(found.images))
    blocks: list[Piece] = []
    for k in range(len(found.transforms)):
        title = words(f"{found.transforms[k]}, {found.units[k]}", style.room, NOTE_POINTS)
        first, *others = _charts(found, k, style)
        blocks += [stack(title, _examples(found, k, style.room), first), *others]
    lines = [
        key([(name, {"color": colour, "linewidth": 2})], style.room, LETTERS)
        for name, colour in zip(_names(found), COLOURS, strict=False)
    ]
    return sheet_of(style, [*blocks, stack(*lines)], _caption(found), found.notes, gap=0.2)


def _charts(found: Invariance, k: int, style: Style) -> list[Piece]:
    known = np.isfinite(found.amounts[k].numpy())
    narrow = style.width < NARROW
    shown = [
        (
            layer if narrow else f"distance at {layer}",
            found.distance[k, at].numpy()[:, known],
            # All rows have one scale.
            max(1e-3, float(found.distance[:, at].nan_to_num(0.0).max())),
        )
        for at, layer in enumerate(found.layers)
    ]
    if found.probability is not None:
        shown.append(("P(class)", found.probability[k].numpy()[:, known], 0.0))
    narrowest = style.room / 2 if narrow else NARROWEST
    across, room = fitting(style.room, narrowest, len(shown), 0.0, WIDEST)
    amounts = found.units[k].split()[0] if narrow else f"{found.transforms[k]}, {found.units[k]}"
    charts = [
        chart(
            room, 1.0 if narrow else 1.2, partial(_draw_lines, found, k, known, values, reach),
            title, amounts, "of the length" if reach else "probability",
        )
        for title, values, reach in shown
    ]  # fmt: skip
    return in_lines(charts, across, 0.0)


def _examples(found: Invariance, k: int, room: float) -> Piece:
    """Return some of the first image's transformations, with their amounts below."""
    amounts = [a for a in found.amounts[k].tolist() if np.isfinite(a)]
    chosen = [amounts[place] for place in evenly(len(amounts), EXAMPLES)]
    shown = [
        transformed(found.images[0], found.transforms[k], amount, found.fill, found.preprocess)
        for amount in chosen
    ]
    _, side = fitting(room, EXAMPLE / 2, EXAMPLES, BETWEEN, EXAMPLE)
    pictures = picture_of(found.preprocess.to_pixels(torch.stack(shown)))
    return row(
        [
            stack(picture(own, side), words(number(amount), side, middle=True))
            for own, amount in zip(pictures, chosen, strict=True)
        ],
        BETWEEN,
    )


def _draw_lines(
    found: Invariance, k: int, known: npt.NDArray[np.bool_], values: npt.NDArray[np.float64],
    reach: float, axes: Axes,
) -> None:  # fmt: skip
    """Draw a line an image over the amounts; *reach* is the largest value where it is known."""
    amounts = found.amounts[k].numpy()[known]
    neutral = NEUTRAL[found.transforms[k]]
    axes.axvline(neutral, color="#999999", linewidth=0.8, linestyle=(0, (3, 2)))
    for own, colour in zip(values, COLOURS, strict=False):
        there = np.isfinite(own)
        axes.plot(amounts[there], own[there], color=colour, linewidth=1.3, marker=".", markersize=3)
    axes.set_ylim(0, 1.06 * reach if reach else 1.04)


def _names(found: Invariance) -> list[str]:
    if not found.targets:
        return list(found.titles)
    return [
        f"{name}: P({found.class_name(n)}) {found.clean[n]:.3f} as it is"
        for n, name in enumerate(found.titles)
    ]


def _caption(found: Invariance) -> list[str]:
    beyond = "the image mirrored at its borders" if found.fill == REFLECT else fill_word(found.fill)
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
