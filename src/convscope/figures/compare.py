"""Two networks side by side: how alike their channels answer, and what drives those that do."""

import math

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from convscope.display import Display, display_scale, to_display
from convscope.figures.lettering import one_line, shortened, width_of, wrapped
from convscope.figures.sheet import (
    FOOT_POINTS,
    INK,
    LINE_SPACING,
    PALE,
    Bare,
    Sheet,
    frame_tile,
    number,
    picture_of,
)
from convscope.figures.style import MARGIN, Style
from convscope.figures.tile import Tile
from convscope.methods.compare_matching import LayerMatch
from convscope.methods.compare_result import Comparison, MatchedPairs
from convscope.methods.projection import Projection
from convscope.network.rules import RULES

SIDES = ("#0b5cad", "#d2691e")
CHANCE = "#e4e4e4"
LINE = FOOT_POINTS * LINE_SPACING / 72
CHART, CHART_SIDE, CHART_HEAD, CHART_FOOT = 1.7, 0.42, 0.1, 0.16
WIDEST_NAME = 0.95
SPREAD = 0.32
"""Half of the width over which the dots of a layer are spread, where 1 leads to the next layer."""

TILE, TILE_GAP, PAIRS_APART = 1.15, 0.04, 0.24
NARROWEST_PAIR = 3.0
PAIR_HEAD, PAIR_FOOT = 2 * LINE + 0.06, LINE + 0.1
FILTER, FILTER_GAP, FILTER_FOOT = 0.42, 0.2, 0.22
NARROWEST_FILTERS = 1.04
"""Inches that the two numbers and the correlation below a pair of filters need."""
MOST_FILTERS = 60


def figure(found: Comparison, style: Style) -> Sheet:
    """Draw how alike the channels of each pair of layers answer, and the best pairs."""
    room = style.width - 2 * MARGIN
    layout = _Pairs(room)
    # A line of pairs a pair of layers; the page shows more of them.
    lines = [(shown, layout.across) for shown in found.shown]
    sides = _side_lines(found, room)
    chart = MARGIN + len(sides) * LINE + CHART_HEAD
    step, names = _names(found, room - CHART_SIDE)
    pairs = chart + CHART + CHART_FOOT + (1 + names[0].count("\n")) * LINE + 0.1
    caption = [
        "Channels that answer alike: each dot a channel with its best partner; grey: no better "
        "than chance.",
        *_chart_caption(found),
        *(_pairs_caption(found, found.shown) if found.shown else []),
    ]
    cuts = [pairs + n * layout.height for n in range(len(lines))]
    sheet = Sheet.made_for(style, pairs + len(lines) * layout.height, caption, found.notes, cuts)
    for place, (line, colour) in enumerate(sides):
        top = MARGIN + place * LINE
        sheet.write(line, MARGIN, top, colour=colour)
    axes = sheet.chart(MARGIN + CHART_SIDE, chart, room - CHART_SIDE, CHART, up="correlation")
    _draw_chart(axes, found)
    axes.set_xticks(range(0, step * len(names), step), names, fontsize=FOOT_POINTS)
    for place, (shown, count) in enumerate(lines):
        _draw_pairs(sheet, found, shown, pairs + place * layout.height, layout, count)
    return sheet


def _side_lines(found: Comparison, room: float) -> list[tuple[str, str]]:
    """Return what each network is, in lines with their colour."""
    return [
        (line, colour)
        for name, side, colour in zip(found.names, found.sides, SIDES, strict=True)
        for line in wrapped(one_line(f"{name}: {side.line()}"), room, FOOT_POINTS)
    ]


def _draw_chart(axes: Axes, found: Comparison) -> None:
    """Draw every channel's correlation with its partner, and below which noise reaches it."""
    for place, match in enumerate(found.matches):
        for side, own in enumerate((match.first, match.second)):
            middle = place + (2 * side - 1) * SPREAD / 2
            _draw_channels(axes, own.correlation, own.chance_level, middle, SIDES[side])
    axes.set_xlim(-0.5, len(found.matches) - 0.5)
    lowest = min(
        0.0, *(float(own.correlation.nan_to_num(0.0).min()) for m in found.matches for own in
               (m.first, m.second)),
    )  # fmt: skip
    axes.set_ylim(lowest - 0.03, 1.03)


def _draw_channels(
    axes: Axes, correlation: Tensor, level: float, middle: float, colour: str
) -> None:
    known = correlation[~correlation.isnan()].numpy()
    if not len(known):
        return
    half = 0.42 * SPREAD
    if not math.isnan(level):
        axes.fill_between([middle - half, middle + half], -1, level, color=CHANCE, linewidth=0)
    # Spread by their order, which is the same in every drawing.
    places = middle + half * (2 * ((np.arange(len(known)) * 0.618) % 1) - 1) * 0.85
    colours = np.where(known > level, colour, PALE)
    axes.scatter(places, known, s=3, c=colours, linewidths=0, alpha=0.75, rasterized=True)
    axes.hlines(np.median(known), middle - half, middle + half, color=colour, linewidth=1.6)


def _names(found: Comparison, room: float) -> tuple[int, list[str]]:
    """Return how far apart the pairs of layers are that are named below the chart, and as what.

    By both layers' names; where there is no room for all of them, some by A's alone.
    """
    each = room / len(found.matches)
    pairs = [tuple(map(one_line, match.layers)) for match in found.matches]
    if max(width_of(name, FOOT_POINTS) for names in pairs for name in names) < each - 0.04:
        return 1, ["\n".join(names) for names in pairs]
    widest = min(WIDEST_NAME, max(width_of(names[0], FOOT_POINTS) for names in pairs))
    step = math.ceil((widest + 0.06) / each)
    names = [shortened(names[0], widest, FOOT_POINTS) for names in pairs[::step]]
    # The last one may not leave the figure.
    fits = (len(pairs) - (len(names) - 1) * step - 0.5) * each + MARGIN >= widest / 2
    return step, names if fits else names[:-1]


def _chart_caption(found: Comparison) -> list[str]:
    first, second = (one_line(name) for name in found.names)
    return [
        f"Pearson's correlation over {found.images:,} images of {one_line(found.data)} and "
        f"positions, of {first}'s channels (blue) with their best partners in {second}, and of "
        f"{second}'s (orange) in {first}. Bars: the median. Grey ground: what 19 of 20 channels "
        f"reach with noise in the partners' place that has their support and envelope."
    ]


class _Pairs:
    """How large pairs of units are drawn, in inches."""

    def __init__(self, room: float) -> None:
        self.across = max(1, int((room + PAIRS_APART) / (NARROWEST_PAIR + PAIRS_APART)))
        self.wide = (room + PAIRS_APART) / self.across - PAIRS_APART
        self.tile = min(TILE, (self.wide - 5 * TILE_GAP) / 4)
        self.height = PAIR_HEAD + self.tile + PAIR_FOOT


def pairs_figure(found: Comparison, shown: MatchedPairs, style: Style) -> Sheet:
    """Draw the best pairs of channels of two layers: each one's patch and projection.

    Args:
        found: the comparison.
        shown: one of its :attr:`~.Comparison.shown`.
        style: how wide, and with which caption.
    """
    layout = _Pairs(style.width - 2 * MARGIN)
    count = len(shown.units[0].channels)
    lines = -(-count // layout.across)
    sheet = Sheet.made_for(
        style, MARGIN + lines * layout.height, _pairs_caption(found, [shown]), found.notes
    )
    _draw_pairs(sheet, found, shown, MARGIN, layout, count)
    return sheet


def _pairs_caption(
    found: Comparison, shown: list[MatchedPairs] | tuple[MatchedPairs, ...]
) -> list[str]:
    first, second = (one_line(name) for name in found.names)
    rule = RULES[shown[0].units[0].rule]
    return [
        f"Pairs of channels that are each other's partner, blue of {first}, orange of {second}: "
        f"the patch that drives each most, and what in it does.",
        f"{rule.shows[0].upper()}{rule.shows[1:]}. Rule: {rule.name} ({rule.source}). Zero is "
        f"mid-grey, each tile on a symmetric scale of its own, which is below it. Hatched: beyond "
        f"the image.",
    ]


def _draw_pairs(
    sheet: Sheet, found: Comparison, shown: MatchedPairs, top: float, layout: _Pairs,
    most: int,
) -> None:  # fmt: skip
    match = found.matches[shown.match]
    for place in range(min(most, len(shown.units[0].channels))):
        line, column = divmod(place, layout.across)
        left = MARGIN + column * (layout.wide + PAIRS_APART)
        above = top + line * layout.height
        r = float(match.first.correlation[int(shown.units[0].channels[place, 0])])
        sheet.write(f"r {r:.2f}, by chance {match.first.chance_level:.2f}", left, above)
        for side, units in enumerate(shown.units):
            start = left + side * (2 * layout.tile + 3 * TILE_GAP)
            _draw_unit(sheet, units, place, (start, above + PAIR_HEAD), layout.tile, SIDES[side])


def _draw_unit(
    sheet: Sheet, p: Projection, k: int, corner: tuple[float, float], side: float, colour: str
) -> None:
    """Draw the patch of a unit and, beside it, what drives it there."""
    left, top = corner
    picture = picture_of(p.preprocess.to_pixels(p.images[k : k + 1].cpu()))[0]
    tile = Tile.of_projection(p, k, 0, picture, Display())
    for place, shown in enumerate((tile.patch, tile.projection)):
        tile.draw(sheet, shown, (left + place * (side + TILE_GAP), top, side), (colour, "solid"))
    wide = 2 * side + TILE_GAP
    title = f"{p.layers[0]}, {p.names[k][0]}"
    sheet.write(title, left, top - 0.04, room=wide, va="bottom", colour=colour)
    foot = f"peak {number(float(p.activation[k, 0]))}, ±{number(tile.scale.limit)}"
    # A long file name gives way, never a number; where little is left of it, all of it.
    room = wide - width_of(f"{foot}; ", FOOT_POINTS)
    if room > 0.7:
        foot = f"{foot}; {shortened(one_line(p.titles[k]), room, FOOT_POINTS)}"
    sheet.write(foot, left, top + side + 0.04)


def filters_figure(found: Comparison, style: Style) -> Sheet:
    """Draw every first filter of one network beside its partner in the other."""
    match, names = found.matches[0], found.names
    first = match.first
    order = sorted(
        range(len(first.partner)),
        key=lambda channel: (-float(first.correlation[channel].nan_to_num(-2.0)), channel),
    )[:MOST_FILTERS]
    hidden = len(first.partner) - len(order)
    room = style.width - 2 * MARGIN
    across = max(1, int((room + FILTER_GAP) / NARROWEST_FILTERS))
    cell = (room + FILTER_GAP) / across
    rows = -(-len(order) // across)
    caption = [
        f"Blue frame: filters of {one_line(names[0])}, {match.layers[0]}; orange: the filter "
        f"of {one_line(names[1])}, {match.layers[1]}, that answers most like it; below: their "
        f"channels and the correlation, grey where it is no better than chance "
        f"({first.chance_level:.2f}).",
        "Weights: zero is mid-grey, each filter on a symmetric scale of its own."
        + (f" {hidden} more are not shown." if hidden else ""),
    ]
    sheet = Sheet.made_for(style, MARGIN + rows * (FILTER + FILTER_FOOT), caption, found.notes)
    for place, channel in enumerate(order):
        row, column = divmod(place, across)
        corner = MARGIN + column * cell, MARGIN + row * (FILTER + FILTER_FOOT)
        _draw_filters(sheet, found, match, channel, corner)
    return sheet


def _draw_filters(
    sheet: Sheet, found: Comparison, match: LayerMatch, channel: int,
    corner: tuple[float, float],
) -> None:  # fmt: skip
    """Draw a filter, its partner and their correlation."""
    left, top = corner
    partner = int(match.first.partner[channel])
    _draw_filter(sheet, found.filters[0][channel], left, top, SIDES[0])
    text = f"{channel}: constant"
    if partner >= 0:
        _draw_filter(sheet, found.filters[1][partner], left + FILTER + 0.03, top, SIDES[1])
        text = f"{channel}, {partner}: {float(match.first.correlation[channel]):.2f}"
    colour = INK if bool(match.first.beyond_chance[channel]) else PALE
    sheet.write(text, left, top + FILTER + 0.04, colour=colour)


def _draw_filter(sheet: Sheet, weights: Tensor, left: float, top: float, colour: str) -> None:
    axes = sheet.axes(left, top, FILTER, kind=Bare)
    axes.imshow(to_display(weights, display_scale(weights, 1.0)), interpolation="nearest")
    height, width = weights.shape[1:]
    frame_tile(axes, (0, 0, height, width), colour)
