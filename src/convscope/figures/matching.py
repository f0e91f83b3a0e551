"""Two networks' channels that answer alike, side by side: first filters, and what drives units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from torch import Tensor

from convscope.display import display_scale, presentable, to_display
from convscope.figures.lettering import one_line, shortened, width_of
from convscope.figures.sheet import (
    FOOT_POINTS,
    MARGIN,
    Sheet,
    beyond,
    frame_tile,
    number,
    picture_of,
)
from convscope.images import Preprocess
from convscope.methods.matching import LayerMatch
from convscope.methods.projection import Projection

SIDES = ("#0b5cad", "#d2691e")
FILTER, FILTER_GAP, FILTER_FOOT = 0.42, 0.2, 0.2
FILTERS_A_ROW = 10
MOST_FILTERS = 60
UNIT, UNIT_GAP = 1.15, 0.12
UNIT_HEAD, UNIT_FOOT = 0.3, 0.2
WIDTH = 10.6


def filters_figure(
    names: tuple[str, str],
    weights: tuple[Tensor, Tensor],
    match: LayerMatch,
    notes: Sequence[str] = (),
) -> Sheet:
    """Draw every first filter of one network beside its partner in the other.

    Args:
        names: of the networks.
        weights: their filters, [K, C, h, w] with C of 1 or 3.
        match: of these two layers.
        notes: what the picture must say, and of which network.

    """
    first = match.first
    order = sorted(
        range(len(first.partner)),
        key=lambda channel: (-float(first.correlation[channel].nan_to_num(-2.0)), channel),
    )[:MOST_FILTERS]
    hidden = len(first.partner) - len(order)
    rows = -(-len(order) // FILTERS_A_ROW)
    cell = 2 * FILTER + FILTER_GAP
    sheet = Sheet.made_for(
        2 * MARGIN + FILTERS_A_ROW * cell,
        MARGIN + rows * (FILTER + FILTER_FOOT),
        [
            f"Blue frame: filters of {one_line(names[0])}, {match.layers[0]}; orange: the filter "
            f"of {one_line(names[1])}, {match.layers[1]}, that answers most like it; below: their "
            f"channels and the correlation of the activations. Weights: zero is mid-grey, each "
            f"filter on a symmetric scale of its own."
            + (f" {hidden} more are not shown." if hidden else ""),
        ],
        one_line("; ".join(notes)),
    )  # fmt: skip
    for place, channel in enumerate(order):
        row, column = divmod(place, FILTERS_A_ROW)
        left, top = MARGIN + column * cell, MARGIN + row * (FILTER + FILTER_FOOT)
        partner = int(first.partner[channel])
        _filter(sheet, weights[0][channel], left, top, SIDES[0])
        text = f"{channel}: constant"
        if partner >= 0:
            _filter(sheet, weights[1][partner], left + FILTER + 0.03, top, SIDES[1])
            text = f"{channel}, {partner}: {float(first.correlation[channel]):.2f}"
        sheet.write(
            text, left, top + FILTER + 0.02, FOOT_POINTS - 0.5, ha="left", va="top", warns=False
        )
    return sheet


def _filter(sheet: Sheet, weights: Tensor, left: float, top: float, colour: str) -> None:
    axes = sheet.axes(left, top, FILTER)
    axes.imshow(to_display(weights, display_scale(weights, 1.0)), interpolation="nearest")
    _frame(axes, colour)


def _frame(axes: Axes, colour: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_edgecolor(colour)
        spine.set_linewidth(1.2)


@dataclass(frozen=True)
class MatchedUnit:
    """One side of a pair of units: what drives it in the image in which it is strongest.

    Attributes:
        image: [1, C, H, W], that image, in the network's input space.
        projection: of the unit, in this image.
        preprocess: takes inputs back to pixels.
        title: what the image is.

    """

    image: Tensor
    projection: Projection
    preprocess: Preprocess
    title: str


@dataclass(frozen=True)
class MatchedPair:
    """Two units that answer alike."""

    correlation: float
    units: tuple[MatchedUnit, MatchedUnit]


def units_figure(names: tuple[str, str], pairs: Sequence[MatchedPair]) -> Sheet:
    """Draw pairs of units that answer alike: each one's patch and projection, two pairs a row."""
    cell = (WIDTH - 2 * MARGIN) / 2
    high = UNIT_HEAD + UNIT + UNIT_FOOT
    rows = -(-len(pairs) // 2)
    notes = dict.fromkeys(
        f"{name}: {note}"
        for side, name in enumerate(names)
        for pair in pairs
        for note in pair.units[side].projection.notes
    )
    rule = pairs[0].units[0].projection.rule
    sheet = Sheet.made_for(
        WIDTH,
        MARGIN + rows * high,
        [
            f"Pairs of channels that are each other's partner, with their correlation r. Blue: "
            f"{one_line(names[0])}; orange: {one_line(names[1])}. Of each: the patch of the image "
            f"that drives it most, and what in it does ({rule}): what in this image drives this "
            f"unit, given the switches. Zero is mid-grey, each tile on a symmetric scale of its "
            f"own, which is below it. Hatched: beyond the image.",
        ],
        one_line("; ".join(notes)),
    )
    for place, pair in enumerate(pairs):
        row, column = divmod(place, 2)
        left, top = MARGIN + column * cell, MARGIN + row * high
        for side, unit in enumerate(pair.units):
            start = left + side * (2 * UNIT + 2 * UNIT_GAP)
            _unit(sheet, unit, start, top + UNIT_HEAD, SIDES[side], pair if not side else None)
    return sheet


def _unit(
    sheet: Sheet, unit: MatchedUnit, left: float, top: float, colour: str, pair: MatchedPair | None
) -> None:
    p = unit.projection
    first, begin, last, end = window = tuple(p.window[0, 0].tolist())
    picture = picture_of(unit.preprocess.to_pixels(unit.image.cpu()))[0]
    values = presentable(unit.preprocess.difference_to_pixels(p.pixels[0, 0].cpu()[None]))[0]
    values = values[:, first:last, begin:end]
    scale = display_scale(values)
    rows = beyond(first, last, picture.shape[0], p.receptive_field[0])
    columns = beyond(begin, end, picture.shape[1], p.receptive_field[1])
    frame = (rows[0], columns[0], rows[1], columns[1])
    tiles: tuple[npt.NDArray[np.generic], ...] = (
        picture[first:last, begin:end], to_display(values, scale),
    )  # fmt: skip
    for place, tile in enumerate(tiles):
        axes = sheet.axes(left + place * (UNIT + 0.04), top, UNIT)
        axes.imshow(
            tile, interpolation="nearest",
            extent=(window[1] - 0.5, window[3] - 0.5, window[2] - 0.5, window[0] - 0.5),
        )  # fmt: skip
        frame_tile(axes, frame, colour)
    channel = int(p.channels[0, 0])
    lines = [
        f"{p.layer}, channel {channel}",
        ("" if pair is None else f"r = {pair.correlation:.2f}"),
    ]
    text = shortened(one_line(", ".join(filter(None, lines))), 2 * UNIT, FOOT_POINTS)
    sheet.write(text, left, top - 0.05, FOOT_POINTS, ha="left", va="bottom", warns=False)
    foot = f"peak {number(float(p.activation[0, 0]))}, ±{number(scale.limit)}; "
    # A long file name gives way, never a number.
    room = 2 * UNIT - width_of(foot, FOOT_POINTS)
    sheet.write(
        foot + shortened(one_line(unit.title), room, FOOT_POINTS), left, top + UNIT + 0.04,
        FOOT_POINTS, ha="left", va="top", warns=False,
    )  # fmt: skip
