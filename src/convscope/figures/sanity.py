"""Sanity checks drawn: the pictures as they are and with something taken away, and the curves."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from convscope.display import display_scale, presentable, to_display
from convscope.figures.lettering import one_line, shortened
from convscope.figures.pieces import (
    GAP,
    Piece,
    chart,
    fitting,
    in_lines,
    key,
    level,
    picture,
    row,
    sheet_of,
    space,
    stack,
    words,
)
from convscope.figures.sheet import Sheet, number, picture_of
from convscope.figures.style import INK, LETTERS, NOTE_POINTS, PALE, Style
from convscope.figures.tile import own_scales
from convscope.methods.projection import shown_values
from convscope.methods.sanity_result import ALL_RANDOM, ONE_RANDOM, SIGNAL, Sanity
from convscope.methods.similarity import MEASURES
from convscope.network.rules import RULES

SIDE = 0.68
"""Inches beside the tiles for the rule's name."""
SMALLEST, LARGEST = 1.0, 1.5
"""Inches of a tile, at least and at most."""
TOP_TILE = 1.45
BESIDE = 6.5
"""Inches of width from which the words stand beside the image instead of below it."""
NARROW = 5.0
"""Inches below which only what differs most is drawn, so that it stays a page high."""
CHART, FOUR_FROM = 1.5, 9.0
"""Inches of a chart's height, and of the width from which four stand side by side, not two."""
CURVES = (
    ("#0b5cad", "-"), ("#d2691e", (0, (5, 2))), ("#2a7f3f", (0, (1.5, 1.5))), ("#7b3294", "-."),
)  # fmt: skip
"""Colours and dashes of the rules, in their order; from the fifth on, other pairs of them."""
THIN = "thin: noise"


def figure(found: Sanity, style: Style) -> Sheet:
    """Draw the image and its edges, the projections that are compared, and the curves."""
    columns = [*range(len(found.columns))]
    measures: tuple[str, ...] = MEASURES
    if style.width < NARROW:
        measures = MEASURES[:2]
        # Between the picture as it is and what has all layers random lies less of a change.
        last = next((n for n in columns if found.columns[n] in (ALL_RANDOM, ONE_RANDOM)), 0)
        columns = [0, *(n for n in columns[1:] if n >= last and found.columns[n] != SIGNAL)]
    across, side = fitting(style.room - SIDE, SMALLEST, len(columns), widest=LARGEST)
    charts = 4 if style.width >= FOUR_FROM else 2
    curves = [
        _chart(found, style.room / charts, n % charts == 0, style.width < NARROW, measure)
        for n, measure in enumerate(measures)
    ]
    blocks = [
        _head(found, style),
        *(_tiles(found, side, columns[n : n + across]) for n in range(0, len(columns), across)),
        *in_lines(curves, charts, 0.0),
    ]
    names = [
        *((rule, _line(rule)) for rule in found.rules),
        (THIN, {"color": PALE, "linewidth": 0.9}),
    ]
    blocks.append(key(names, style.room))
    return sheet_of(style, blocks, _caption(found), found.notes)


def _head(found: Sanity, style: Style) -> Piece:
    top, left, bottom, right = found.window
    image = picture_of(found.preprocess.to_pixels(found.image[None]))[0][top:bottom, left:right]
    steep = found.edge_map.numpy()
    edges = f"edges, 0 to {number(float(steep.max()))} a pixel"
    pictures = row(
        [
            stack(
                words(name, TOP_TILE, LETTERS), picture(own, TOP_TILE, cmap="gray", vmin=0), line=1
            )
            for name, own in ((found.title, image), (edges, steep))
        ]
    )
    beside = style.width >= BESIDE
    room = style.room - pictures.width - 2 * GAP if beside else style.room
    heading = words(f"{found.network}: {found.unit}", room, NOTE_POINTS, wrap=True, bold=True)
    told = (words(found.brief(rule), room, LETTERS, wrap=True) for rule in found.rules)
    said = stack(heading, *told, gap=0.02)
    return row([pictures, said], 2 * GAP) if beside else stack(pictures, said, gap=GAP)


def _tiles(found: Sanity, side: float, columns: Sequence[int]) -> Piece:
    """Return some of the columns of projections, a row a rule."""
    rows = []
    high = side * min(1.0, found.pictures.shape[-2] / found.pictures.shape[-1])
    for rule_row, rule in enumerate(found.rules):
        beside = level(words(rule, SIDE - GAP, LETTERS, wrap=True), high)
        tiles = [beside, *(_tile(found, rule_row, column, side) for column in columns)]
        rows.append(row(tiles))
    return stack(*rows)


def _tile(found: Sanity, rule_row: int, column: int, side: float) -> Piece:
    """Return a projection, in the first row below its column's name, with its numbers below."""
    pixels = found.pictures[rule_row, column]
    shown = presentable(shown_values(found.preprocess, found.rules[rule_row], pixels))
    scale = display_scale(shown)
    feet = [(f"±{number(scale.limit)}" if scale.limit else "nothing arrives", INK)]
    alike, noise = found.alike[rule_row, column].tolist()
    if not math.isnan(alike):
        colour = INK if alike > noise else PALE
        feet += [(f"{alike:.2f} alike", colour), (f"noise {noise:.2f}", colour)]
    below, colours = zip(*feet, strict=True)
    foot = words("\n".join(below), side, middle=True, colour=colours)
    heading = "" if rule_row else shortened(one_line(found.columns[column]), 2.5 * side, LETTERS)
    above = words(heading, side, LETTERS, middle=True, wrap=True) if heading else space()
    return stack(above, picture(to_display(shown, scale), side), foot, line=1)


def _chart(found: Sanity, room: float, first: bool, narrow: bool, measure: str) -> Piece:
    low = min(-0.25, float(found.randomised.nan_to_num(0.0).min()) - 0.05)

    def paint(axes: Axes) -> None:
        for rule in found.rules:
            _draw_curve(axes, found, rule, measure)
        axes.axhline(0, color="#888888", linewidth=0.8)
        axes.set_ylim(low, 1.05)
        axes.set_xlim(0, len(found.layers))
        axes.xaxis.set_major_locator(MaxNLocator(3 if narrow else 6, integer=True))

    title = measure if "signed" in measure else f"{measure}, |projection|"
    if narrow:
        title = measure.replace("signed rank", "signed")
    across = "layers random" if narrow else "layers re-initialised, from the top"
    return chart(room, CHART, paint, title, across, "1: the same picture" if first else "")


def _line(rule: str) -> dict[str, Any]:
    """Return how a rule's curves are drawn: a pair of colour and dashes of its own."""
    place = list(RULES).index(rule)
    colour, _ = CURVES[place % len(CURVES)]
    _, dashes = CURVES[(place + place // len(CURVES)) % len(CURVES)]
    return {"color": colour, "linestyle": dashes}


def _draw_curve(axes: Axes, found: Sanity, rule: str, measure: str) -> None:
    mean, deviation = (values.numpy() for values in found.curve(rule, measure))
    known = np.isfinite(mean)
    if not known.any():
        return  # as where nothing arrives at the pixels
    stages = np.arange(1, len(mean) + 1)[known]
    mean, deviation = mean[known], deviation[known]
    line = _line(rule)
    colour = line["color"]
    several = np.isfinite(deviation)
    low, high = mean - deviation, mean + deviation
    axes.fill_between(stages, low, high, several, color=colour, alpha=0.18, linewidth=0)
    # A band needs two points beside each other.
    alone = several & (np.convolve(np.pad(several, 1), np.ones(3), "valid") == 1)
    axes.vlines(stages[alone], low[alone], high[alone], color=colour, alpha=0.18, linewidth=4)
    # With nothing re-initialised a picture is itself.
    x, y = np.concatenate([[0], stages]), np.concatenate([[1.0], mean])
    marker = "." if found.partial else ""  # lines span what was not computed
    axes.plot(x, y, linewidth=1.5, marker=marker, **line)
    noise = found.noise(rule, measure).numpy()
    axes.plot(stages, noise[known], alpha=0.45, linewidth=0.9, **line)


def _spread(found: Sanity) -> str:
    """Return of how many seeds the curves' points are; a seed may have been stopped halfway."""
    counts = (~found.randomised.isnan()).sum(2)
    known = counts[counts > 0].tolist()
    fewest, most = min(known, default=1), max(known, default=1)
    words = "one seed"
    if fewest == most > 1:
        words = f"mean of {most} seeds, shaded: ± sample standard deviation"
    elif most > 1:
        words = (
            f"mean of {fewest} to {most} seeds, shaded where there are several: ± sample standard "
            f"deviation"
        )
    return f"{words}, dots: computed" if found.partial else words


def _caption(found: Sanity) -> list[str]:
    how = {
        "centred": "a normal draw with each tensor's standard deviation, kernels with mean zero",
        "draw": "a normal draw with each tensor's own mean and standard deviation",
        "permute": "each tensor's own values in another order",
    }[found.init]
    sources = "; ".join(f"{rule}: {RULES[rule].source}" for rule in found.rules)
    lines = [
        "What drives the unit, as it is and with something taken away. Grey: no more alike than "
        "noise of the same support and envelope.",
        "A picture that claims to show what the network learned must change with the "
        "weights (Adebayo et al., arXiv 1810.03292) and with the unit (Mahendran & Vedaldi 2016), "
        "and must not merely be the image's edges (Nie et al., arXiv 1805.07039).",
        f"'random', 'down to': layers re-initialised from the top ({found.layers[0]}) down to "
        f"there, of {len(found.layers)} in all; {how}. Curves: {_spread(found)}; the pictures "
        f"are of the first seed. The signal is one at the unit, whatever the weights.",
    ]
    if found.other is not None:
        lines.append(
            f"'other switches': the max pools' switches are those of {found.other}; rectifiers "
            f"keep the masks of this image."
        )
    lines.append(
        "'alike' and 'places': Spearman's rank correlation of |projection| with the picture as it "
        "is; 1 is the same picture; 'signs': that of the projection with its signs. Noise: what "
        "one in twenty draws exceeds in which one of the two pictures has its pixels shuffled "
        "within three by three and its signs drawn. Kept: of the way from noise to the same "
        "picture, the mean of places and signs. SSIM: of pictures scaled as shown. Edges: Sobel."
    )
    clipped = (display_scale(pixels).clipped for row in found.pictures for pixels in row)
    lines.append(f"{own_scales(clipped, ', given below it')} {sources}.")
    lines += found.verdicts().values()
    return lines
