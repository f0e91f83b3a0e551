"""Sanity checks drawn: the pictures as they are and with something taken away, and the curves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from convscope.display import display_scale, presentable, to_display
from convscope.figures.lettering import one_line, wrapped
from convscope.figures.sheet import (
    FOOT_POINTS,
    INK,
    LETTERS,
    MARGIN,
    NOTE_POINTS,
    PALE,
    Sheet,
    number,
    picture_of,
)
from convscope.figures.style import Style
from convscope.methods.projection import shown_values
from convscope.methods.sanity_result import ALL_RANDOM, ONE_RANDOM, SIGNAL, Sanity
from convscope.methods.similarity import MEASURES
from convscope.network.rules import RULES

GAP = 0.12
SIDE = 0.68
"""Inches beside the tiles for the rule's name."""
SMALLEST, LARGEST = 1.0, 1.5
"""Inches of a tile, at least and at most."""
TITLE = 0.34
FOOT = 0.43
LINE = 0.125
TOP_TILE = 1.45
BESIDE = 6.5
"""Inches of width from which the words stand beside the image instead of below it."""
NARROW = 5.0
"""Inches below which only what differs most is drawn, so that it stays a page high."""
HEAD = 0.3
CHART, CHART_FOOT, CHART_SIDE = 1.5, 0.5, 0.46
CURVES = (
    ("#0b5cad", "-"), ("#d2691e", (0, (5, 2))), ("#2a7f3f", (0, (1.5, 1.5))), ("#7b3294", "-."),
)  # fmt: skip
"""Colours and dashes of the rules, in their order; from the fifth on, other pairs of them."""
FEW = 5
"""So many rules are named inside a chart; more above all of them."""
ACROSS, NAMED = 2.2, 0.16
"""Inches of width for a rule's name there, and of height for a line of them."""


@dataclass(frozen=True)
class _Layout:
    """How large everything is drawn, in inches.

    Attributes:
        width: of the whole figure.
        tile: side of a projection.
        across: projections a line.
        charts: charts a line.
        columns: the projections that are drawn.
        measures: the measures that have a chart.
    """

    width: float
    tile: float
    across: int
    charts: int
    columns: tuple[int, ...]
    measures: tuple[str, ...]

    @classmethod
    def of(cls, width: float, found: Sanity) -> "_Layout":
        """Return the layout of a figure of some width."""
        shown = tuple(range(len(found.columns)))
        measures: tuple[str, ...] = MEASURES
        if width < NARROW:
            measures = MEASURES[:2]
            # Between the picture as it is and what has all layers random lies less of a change.
            last = next((n for n in shown if found.columns[n] in (ALL_RANDOM, ONE_RANDOM)), 0)
            shown = (0, *(n for n in shown[1:] if n >= last and found.columns[n] != SIGNAL))
        columns, room = len(shown), width - 2 * MARGIN - SIDE
        most = max(1, int((room + GAP) / (SMALLEST + GAP)))
        across = -(-columns // -(-columns // most))
        tile = min(LARGEST, (room + GAP) / across - GAP)
        charts = 4 if width >= 9 else 2
        return cls(width, tile, across, charts, shown, measures)

    @property
    def lines(self) -> int:
        """How many lines of projections there are."""
        return -(-len(self.columns) // self.across)

    def legend(self, rules: int) -> tuple[int, float]:
        """Return how many names lie side by side above the charts, and how high they are."""
        across = int((self.width - 2 * MARGIN) / ACROSS)
        return across, 0.0 if rules <= FEW else NAMED * -(-(rules + 1) // across) + 0.1

    @property
    def words(self) -> tuple[float, float]:
        """Where the words begin, from the left, and how wide they may be."""
        left = MARGIN
        if self.width >= BESIDE:
            left += 2 * (TOP_TILE + GAP) + 0.05
        return left, self.width - MARGIN - left


def figure(found: Sanity, style: Style) -> Sheet:
    """Draw the image and its edges, the projections that are compared, and the curves."""
    layout = _Layout.of(style.width, found)
    grid = len(found.rules) * (layout.tile + FOOT) + TITLE
    words = _words(found, layout.words[1])
    high, spoken = TOP_TILE, sum(height for _, height in words)
    top = max(high, spoken) if layout.width >= BESIDE else high + 0.1 + spoken
    above = MARGIN + HEAD + top + 0.2
    charts = above + layout.lines * grid + 0.1 + layout.legend(len(found.rules))[1]
    lines = -(-len(layout.measures) // layout.charts)
    cuts = [above, charts]
    sheet = Sheet.made_for(
        style, charts + lines * (HEAD + CHART + CHART_FOOT), _caption(found), found.notes, cuts
    )
    _draw_top(sheet, found, layout, words)
    for line in range(layout.lines):
        shown = layout.columns[line * layout.across :][: layout.across]
        _draw_tiles(sheet, found, layout.tile, above + line * grid, shown)
    _draw_charts(sheet, found, charts, layout)
    return sheet


def _words(found: Sanity, room: float) -> list[tuple[str, float]]:
    """Return what comes out in words, the heading first, wrapped, and how high each of it is."""
    heading = wrapped(one_line(f"{found.network}: {found.unit}"), room, NOTE_POINTS, "bold")
    words = [("\n".join(heading), 0.19 * len(heading) + 0.05)]
    for sentence in map(found.brief, found.rules):
        lines = wrapped(one_line(sentence), room, LETTERS)
        words.append(("\n".join(lines), 0.135 * len(lines) + 0.06))
    return words


def _draw_top(sheet: Sheet, found: Sanity, layout: _Layout, words: list[tuple[str, float]]) -> None:
    """Draw the image, its edges, and what comes out in words."""
    top, left, bottom, right = found.window
    picture = picture_of(found.preprocess.to_pixels(found.image[None]))[0][top:bottom, left:right]
    steep = found.edge_map.numpy()
    heading = MARGIN + HEAD
    edges = f"edges, 0 to {number(float(steep.max()))} a pixel"
    for place, (name, shown) in enumerate(((found.title, picture), (edges, steep))):
        corner = MARGIN + place * (TOP_TILE + GAP)
        sheet.picture(shown, corner, heading, TOP_TILE, name, cmap="gray", vmin=0)
    begin = layout.words[0]
    at = heading if layout.width >= BESIDE else heading + TOP_TILE + 0.1
    (name, high), *sentences = words
    width, whole = sheet.figure.get_size_inches()
    sheet.figure.text(
        begin / width, 1 - at / whole, name,
        fontsize=NOTE_POINTS, weight="bold", va="top", color=INK, parse_math=False,
    )  # fmt: skip
    at += high
    for sentence, high in sentences:
        sheet.write(sentence, begin, at, LETTERS)
        at += high


def _draw_tiles(
    sheet: Sheet, found: Sanity, tile: float, above: float, columns: Sequence[int]
) -> None:
    """Draw some of the columns of projections, a row a rule."""
    for place, column in enumerate(columns):
        middle = MARGIN + SIDE + place * (tile + GAP) + tile / 2
        wide = tile + GAP - 0.04
        lines = wrapped(one_line(found.columns[column]), wide, LETTERS)[-2:]
        low = above + TITLE - 0.04
        sheet.write("\n".join(lines), middle, low, LETTERS, ha="center", va="bottom")
    for row, rule in enumerate(found.rules):
        top = above + TITLE + row * (tile + FOOT)
        name = "\n".join(wrapped(rule.replace("-", "- "), SIDE - 0.05, LETTERS))
        sheet.write(name.replace("- ", "-"), MARGIN, top + tile / 2, LETTERS, va="center")
        for place, column in enumerate(columns):
            pixels = found.pictures[row, column]
            corner = MARGIN + SIDE + place * (tile + GAP)
            shown = presentable(shown_values(found.preprocess, rule, pixels))
            scale = display_scale(shown)
            sheet.picture(to_display(shown, scale), corner, top, tile)
            foot = [(f"±{number(scale.limit)}" if scale.limit else "nothing arrives", INK)]
            alike, noise = found.alike[row, column].tolist()
            if not math.isnan(alike):
                colour = INK if alike > noise else PALE
                foot += [(f"{alike:.2f} alike", colour), (f"noise {noise:.2f}", colour)]
            for line, (text, colour) in enumerate(foot):
                at = top + tile + 0.03 + line * LINE
                middle = corner + tile / 2
                sheet.write(text, middle, at, ha="center", colour=colour)


def _draw_charts(sheet: Sheet, found: Sanity, top: float, layout: _Layout) -> None:
    room = (layout.width - 2 * MARGIN) / layout.charts
    narrow = layout.width < NARROW
    low = min(-0.25, float(found.randomised.nan_to_num(0.0).min()) - 0.05)
    for place, measure in enumerate(layout.measures):
        line, column = divmod(place, layout.charts)
        corner = MARGIN + column * room + CHART_SIDE
        above = top + line * (HEAD + CHART + CHART_FOOT) + HEAD
        axes = sheet.chart(
            corner, above, room - CHART_SIDE - 0.12, CHART,
            measure if narrow or "signed" in measure else f"{measure}, |projection|",
            "layers random" if narrow else "layers re-initialised, from the top",
            "" if column else "1: the same picture",
        )  # fmt: skip
        for rule in found.rules:
            _draw_curve(axes, found, rule, measure)
        axes.axhline(0, color="#888888", linewidth=0.8)
        axes.set_ylim(low, 1.05)
        axes.set_xlim(0, len(found.layers))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if place == 1:  # between curves that stay at one and at zero
            _draw_legend(sheet, axes, top, layout, len(found.rules))


def _draw_legend(sheet: Sheet, axes: Axes, top: float, layout: _Layout, rules: int) -> None:
    """Name the curves of a chart inside it, or above all charts."""
    across, high = layout.legend(rules)
    if not high:
        axes.legend(
            fontsize=FOOT_POINTS, loc="center left", handlelength=1.8, facecolor="white",
            edgecolor="none", borderaxespad=0.2,
        )  # fmt: skip
        return
    width, whole = sheet.figure.get_size_inches()
    sheet.figure.legend(
        *axes.get_legend_handles_labels(), fontsize=FOOT_POINTS, loc="upper left", ncols=across,
        bbox_to_anchor=(MARGIN / width, 1 - (top - high) / whole), handlelength=2.4,
        edgecolor="none", borderaxespad=0, borderpad=0, labelspacing=0.3,
    )  # fmt: skip


def _draw_curve(axes: Axes, found: Sanity, rule: str, measure: str) -> None:
    mean, deviation = (values.numpy() for values in found.curve(rule, measure))
    known = np.isfinite(mean)
    stages = np.arange(1, len(mean) + 1)[known]
    mean, deviation = mean[known], deviation[known]
    place = list(RULES).index(rule)
    colour, _ = CURVES[place % len(CURVES)]
    _, dashes = CURVES[(place + place // len(CURVES)) % len(CURVES)]
    several = np.isfinite(deviation)
    low, high = mean - deviation, mean + deviation
    axes.fill_between(stages, low, high, several, color=colour, alpha=0.18, linewidth=0)
    # A band needs two points beside each other.
    alone = several & (np.convolve(np.pad(several, 1), np.ones(3), "valid") == 1)
    axes.vlines(stages[alone], low[alone], high[alone], color=colour, alpha=0.18, linewidth=4)
    # With nothing re-initialised a picture is itself.
    x, y = np.concatenate([[0], stages]), np.concatenate([[1.0], mean])
    marker = "." if found.partial else ""  # lines span what was not computed
    axes.plot(x, y, color=colour, linestyle=dashes, label=rule, linewidth=1.5, marker=marker)
    noise = found.noise(rule, measure).numpy()
    label = "thin: noise" if rule == found.rules[-1] else None
    axes.plot(
        stages, noise[known], color=colour, alpha=0.45, linewidth=0.9, linestyle=dashes,
        label=label,
    )  # fmt: skip


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
    """Return the short caption, and what else must be known to read the figure."""
    how = {
        "centred": "a normal draw with each tensor's standard deviation, kernels with mean zero",
        "draw": "a normal draw with each tensor's own mean and standard deviation",
        "permute": "each tensor's own values in another order",
    }[found.init]
    sources = "; ".join(f"{rule}: {RULES[rule].source}" for rule in found.rules)
    scales = [display_scale(pixels) for row in found.pictures for pixels in row]
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
    share = max(scale.clipped for scale in scales)
    lines.append(
        f"Zero is mid-grey, each tile on its own scale: ± the {scales[0].quantile:.1%} quantile of "
        f"|value|, given below it; at most {share:.2%} of a tile's values are clipped. {sources}."
    )
    lines += found.verdicts().values()
    return lines
