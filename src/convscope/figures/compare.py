"""Two networks side by side: how alike their channels answer, and what drives those that do."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from convscope.display import Display
from convscope.figures.lettering import one_line, shortened, width_of
from convscope.figures.pieces import (
    RIGHT,
    SIDE,
    TICKS,
    Piece,
    chart,
    fitting,
    in_lines,
    row,
    sheet_of,
    stack,
    words,
)
from convscope.figures.project import caption_of, foot_of
from convscope.figures.sheet import Sheet, number, picture_of
from convscope.figures.style import FOOT_POINTS, INK, LINE_SPACING, MARGIN, PALE, Style
from convscope.figures.tile import HATCHED, FieldTile, filling
from convscope.methods.compare_matching import LayerMatch
from convscope.methods.compare_result import Comparison, MatchedPairs
from convscope.methods.projection import Projection
from convscope.network.rules import RULES

SIDES = ("#0b5cad", "#d2691e")
CHANCE = "#e4e4e4"
LINE = FOOT_POINTS * LINE_SPACING / 72
CHART = 1.7
WIDEST_NAME = 0.95
SPREAD = 0.32
"""Half of the width over which the dots of a layer are spread, where 1 leads to the next layer."""

TILE, SMALLEST_TILE, BETWEEN, PAIRS_APART = 1.15, 0.3, 0.04, 0.24
NARROWEST_PAIR = 3.0
FILTER, FILTERS_APART = 0.42, 0.2
NARROWEST_FILTERS = 0.84
"""Inches that the two numbers and the correlation below a pair of filters need."""
MOST_FILTERS = 60


def figure(found: Comparison, style: Style) -> Sheet:
    """Draw how alike the channels of each pair of layers answer, and the best pairs."""
    sides = [
        words(f"{name}: {side.line()}", style.room, wrap=True, colour=colour)
        for name, side, colour in zip(found.names, found.sides, SIDES, strict=True)
    ]
    step, names = _names(found, style.room - SIDE - RIGHT)
    ticks = TICKS + names[0].count("\n") * LINE
    paint = partial(_draw_chart, found, step, names)
    curves = chart(style.room, CHART, paint, up="correlation", ticks=ticks)
    # A line of pairs a pair of layers; the page shows more of them.
    pairs = [_pairs(found, shown, style)[0] for shown in found.shown]
    first, second = map(one_line, found.names)
    caption = [
        "Channels that answer alike: each dot a channel with its best partner; grey: no better "
        "than chance.",
        f"Pearson's correlation over {found.images:,} images of {one_line(found.data)} and "
        f"positions, of {first}'s channels (blue) with their best partners in {second}, and of "
        f"{second}'s (orange) in {first}. Bars: the median. Grey ground: what 19 of 20 channels "
        f"reach with noise in the partners' place that has their support and envelope.",
        *(_pairs_caption(found, found.shown) if found.shown else []),
    ]
    return sheet_of(style, [stack(*sides), curves, *pairs], caption, found.notes)


def _draw_chart(found: Comparison, step: int, names: list[str], axes: Axes) -> None:
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
    axes.set_xticks(range(0, step * len(names), step), names, fontsize=FOOT_POINTS)


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


def pairs_figure(found: Comparison, shown: MatchedPairs, style: Style) -> Sheet:
    """Draw the best pairs of channels of two layers: each one's patch and projection."""
    caption = _pairs_caption(found, [shown])
    return sheet_of(style, _pairs(found, shown, style), caption, found.notes)


def _pairs_caption(
    found: Comparison, shown: list[MatchedPairs] | tuple[MatchedPairs, ...]
) -> list[str]:
    first, second = (one_line(name) for name in found.names)
    rule = RULES[shown[0].units[0].rule]
    return [
        f"Pairs of channels that are each other's partner, blue of {first}, orange of {second}: "
        f"the patch that drives each most, and what in it does.",
        f"{rule.shows[0].upper()}{rule.shows[1:]}. Rule: {rule.name} ({rule.source}). Zero is "
        f"mid-grey, each tile on a symmetric scale of its own, which is below it. {HATCHED}",
    ]


def _pairs(found: Comparison, shown: MatchedPairs, style: Style) -> list[Piece]:
    """Return the best pairs of channels of two layers, in lines."""
    count = len(shown.units[0].channels)
    across = max(1, int((style.room + PAIRS_APART) / (NARROWEST_PAIR + PAIRS_APART)))
    wide = (style.room + PAIRS_APART) / across - PAIRS_APART
    _, side = fitting(wide - 2 * BETWEEN, SMALLEST_TILE, 4, BETWEEN, TILE)
    match = found.matches[shown.match]
    pairs = []
    for k in range(count):
        r = float(match.first.correlation[int(shown.units[0].channels[k, 0])])
        told = words(f"r {r:.2f}, by chance {match.first.chance_level:.2f}", wide)
        units = (_unit(p, k, side, colour) for p, colour in zip(shown.units, SIDES, strict=True))
        pairs.append(stack(told, row([*units], 3 * BETWEEN)))
    return in_lines(pairs, across, PAIRS_APART)


def _unit(p: Projection, k: int, side: float, colour: str) -> Piece:
    image = picture_of(p.preprocess.to_pixels(p.images[k : k + 1].cpu()))[0]
    tile = FieldTile.of_projection(p, k, 0, image, Display())
    tiles = [tile.piece(own, side, (colour, "solid")) for own in (tile.patch, tile.projection)]
    pair = row(tiles, BETWEEN)
    foot = f"peak {number(float(p.activation[k, 0]))}, ±{number(tile.scale.limit)}"
    # A long file name gives way, never a number; where little is left of it, all of it.
    room = pair.width - width_of(f"{foot}; ", FOOT_POINTS)
    if room > 0.7:
        foot = f"{foot}; {shortened(one_line(p.titles[k]), room, FOOT_POINTS)}"
    title = words(f"{p.layers[0]}, {p.names[k][0]}", pair.width, colour=colour)
    return stack(title, pair, words(foot, pair.width))


def attributions_figure(found: Comparison, style: Style) -> Sheet:
    """Draw what both networks' answers hang on, a row an image."""
    both, names = found.attributions, [one_line(name) for name in found.names]
    seen = [picture_of(p.preprocess.to_pixels(p.images.cpu())) for p in both]
    # Networks that read an image at other sizes are each beside what they read.
    alike = seen[0].shape == seen[1].shape and np.allclose(seen[0], seen[1], atol=1e-3)
    side = (style.room + BETWEEN) / (3 if alike else 4) - BETWEEN
    # Heads are right above maps.
    side, dots = filling(side, [(p.images.shape[2], p.images.shape[3]) for p in both])
    rows, tiles = [], []
    for n in range(len(seen[0])):
        line: list[Piece] = []
        for p, shown, colour in zip(both, seen, SIDES, strict=True):
            tile = FieldTile.of_projection(p, n, 0, shown[n], Display())
            tiles.append(tile)
            if not line or not alike:
                line.append(tile.piece(shown[n], side, (INK, "solid")))
            head = words(p.titles[n], side, wrap=True, colour=colour)
            told = "\n".join(foot_of(p, n, 0, tile))
            foot = words(f"{p.names[n][0]}: {told}", side, wrap=True)
            drawn = tile.piece(tile.projection, side, (colour, "solid"))
            line.append(stack(head, drawn, foot, line=1))
        rows.append(row(line, BETWEEN))
    first = replace(both[0], network=" and ".join(names))
    caption = [
        f"What the most probable class hangs on: for {names[0]} (blue) and {names[1]} (orange).",
        *caption_of(first, Display(), tiles),
    ]
    return sheet_of(style, rows, caption, found.notes, dots=dots)


def filters_figure(found: Comparison, style: Style) -> Sheet:
    """Draw every first filter of one network beside its partner in the other."""
    match, names = found.matches[0], found.names
    first = match.first
    order = sorted(
        range(len(first.partner)),
        key=lambda channel: (-float(first.correlation[channel].nan_to_num(-2.0)), channel),
    )[:MOST_FILTERS]
    hidden = len(first.partner) - len(order)
    caption = [
        f"Blue frame: filters of {one_line(names[0])}, {match.layers[0]}; orange: the filter "
        f"of {one_line(names[1])}, {match.layers[1]}, that answers most like it; below: their "
        f"channels and the correlation, grey where it is no better than chance "
        f"({first.chance_level:.2f}).",
        "Weights: zero is mid-grey, each filter on a symmetric scale of its own."
        + (f" {hidden} more are not shown." if hidden else ""),
    ]
    across, wide = fitting(style.room, NARROWEST_FILTERS, len(order), FILTERS_APART)
    filters = [_filters(found, match, channel, wide) for channel in order]
    return sheet_of(style, in_lines(filters, across, FILTERS_APART), caption, found.notes, gap=0.05)


def _filters(found: Comparison, match: LayerMatch, channel: int, wide: float) -> Piece:
    partner = int(match.first.partner[channel])
    pair = [FieldTile.of_weights(found.filters[0][channel])]
    text = f"{channel}: constant"
    if partner >= 0:
        pair.append(FieldTile.of_weights(found.filters[1][partner]))
        text = f"{channel}, {partner}: {float(match.first.correlation[channel]):.2f}"
    colour = INK if bool(match.first.beyond_chance[channel]) else PALE
    drawn = [
        tile.piece(tile.projection, FILTER, (side, "solid"))
        for tile, side in zip(pair, SIDES, strict=False)
    ]
    return stack(row(drawn, 0.05), words(text, wide, colour=colour, spare=FILTERS_APART / 2))
