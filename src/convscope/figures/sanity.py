"""Sanity checks drawn: the pictures as they are and with something taken away, and the curves."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from convscope.display import display_scale, presentable, to_display
from convscope.figures.lettering import one_line, shortened, wrapped
from convscope.figures.sheet import (
    FOOT_POINTS,
    INK,
    MARGIN,
    NOTE_POINTS,
    PAPER,
    Sheet,
    number,
    picture_of,
)
from convscope.images import Preprocess
from convscope.methods.sanity import similarities
from convscope.methods.sanity_result import MEASURES, Sanity
from convscope.network.rules import RULES

TILE, GAP = 1.3, 0.12
SIDE = 0.85
TITLE = 0.34
FOOT = 0.2
TOP_TILE = 1.75
WORDS = MARGIN + 2 * (TOP_TILE + GAP) + 0.1
HEAD = 0.3
PAPER_COLUMNS = 5
CHART, CHART_FOOT, CHART_SIDE = 1.9, 0.5, 0.42
LETTERS = 7.5
COLOURS = {"deconvnet": "#0b5cad", "guided": "#d2691e", "gradient": "#2a7f3f"}
DASHES = {"deconvnet": "-", "guided": (0, (5, 2)), "gradient": (0, (1.5, 1.5))}


def sanity_figure(
    record: Sanity, image: Tensor, preprocess: Preprocess, title: str, *, paper: bool = False
) -> Sheet:
    """Draw the image and its edges, the projections that are compared, and the similarity curves.

    Args:
        record: the numbers and pictures.
        image: [C, H, W] in the network's input space.
        preprocess: takes inputs back to pixels.
        title: what the image is.
        paper: whether to draw it as narrow as a printed page wants it, the projections in two rows
            or more.

    """
    columns = len(record.columns)
    across = min(columns, PAPER_COLUMNS) if paper else columns
    width = PAPER if paper else 2 * MARGIN + max(SIDE + columns * (TILE + GAP), 4 * 2.4)
    grid = len(record.rules) * (TILE + FOOT) + TITLE
    words = _words(record, width - MARGIN - WORDS)
    above = MARGIN + HEAD + max(TOP_TILE, sum(high for _, high in words)) + 0.2
    charts = above + -(-columns // across) * grid + 0.1
    whole = charts + HEAD + CHART + CHART_FOOT
    sheet = Sheet.made_for(
        width, whole, _caption(record), "; ".join(record.notes), [above, charts]
    )  # fmt: skip
    _draw_top(sheet, record, image, preprocess, one_line(title), words)
    for line, first in enumerate(range(0, columns, across)):
        _draw_tiles(sheet, record, preprocess, above + line * grid, range(columns)[first:][:across])
    _draw_charts(sheet, record, charts, width)
    return sheet


def _words(record: Sanity, room: float) -> list[tuple[str, float]]:
    """Return what comes out in words, the heading first, wrapped, and how high each of it is."""
    heading = wrapped(f"{record.network}: {record.unit}", room, NOTE_POINTS, "bold")
    words = [("\n".join(heading), 0.19 * len(heading) + 0.05)]
    for sentence in record.verdicts().values():
        lines = wrapped(sentence, room, LETTERS + 0.5)
        words.append(("\n".join(lines), 0.145 * len(lines) + 0.07))
    return words


def _draw_top(
    sheet: Sheet,
    record: Sanity,
    image: Tensor,
    preprocess: Preprocess,
    title: str,
    words: list[tuple[str, float]],
) -> None:
    """Draw the image, its edges, and what comes out in words."""
    top, left, bottom, right = record.window
    picture = picture_of(preprocess.to_pixels(image[None].cpu()))[0][top:bottom, left:right]
    steep = record.edge_map.numpy()
    heading = MARGIN + HEAD
    for place, (name, shown) in enumerate(
        ((title, picture), (f"edges (Sobel), 0 to {number(float(steep.max()))} a pixel", steep))
    ):
        corner = MARGIN + place * (TOP_TILE + GAP)
        axes = sheet.axes(corner, heading, TOP_TILE)
        axes.imshow(shown, cmap="gray", vmin=0, interpolation="nearest")
        axes.set_axis_off()
        text = shortened(name, TOP_TILE, LETTERS)
        sheet.write(text, corner, heading - 0.05, LETTERS, ha="left", va="bottom", warns=False)
    (name, high), *sentences = words
    width, whole = sheet.figure.get_size_inches()
    sheet.figure.text(
        WORDS / width, 1 - heading / whole, name,
        fontsize=NOTE_POINTS, weight="bold", va="top", color=INK, parse_math=False,
    )  # fmt: skip
    at = heading + high
    for sentence, high in sentences:
        sheet.write(sentence, WORDS, at, LETTERS + 0.5, ha="left", va="top", warns=False)
        at += high


def _draw_tiles(
    sheet: Sheet, record: Sanity, preprocess: Preprocess, above: float, columns: range
) -> None:
    """Draw some of the columns of projections, a row a rule."""
    for place, column in enumerate(columns):
        name = record.columns[column]
        middle = MARGIN + SIDE + place * (TILE + GAP) + TILE / 2
        lines = [
            shortened(line, TILE + 0.08, LETTERS) for line in wrapped(name, TILE + 0.08, LETTERS)
        ][-2:]
        low = above + TITLE - 0.04
        sheet.write("\n".join(lines), middle, low, LETTERS, ha="center", va="bottom", warns=False)
    for row, rule in enumerate(record.rules):
        top = above + TITLE + row * (TILE + FOOT)
        sheet.write(rule, MARGIN, top + TILE / 2, NOTE_POINTS, ha="left", va="center", warns=False)
        for place, column in enumerate(columns):
            pixels = record.pictures[row, column]
            corner = MARGIN + SIDE + place * (TILE + GAP)
            shown = presentable(preprocess.difference_to_pixels(pixels))
            scale = display_scale(shown)
            axes = sheet.axes(corner, top, TILE)
            axes.imshow(to_display(shown, scale), interpolation="nearest")
            axes.set_axis_off()
            foot = f"±{number(scale.limit)}" if scale.limit else "nothing arrives"
            if column and scale.limit:
                alike = float(similarities(record.pictures[row, 0], pixels)[0])
                foot = f"{alike:.2f} alike; {foot}" if not math.isnan(alike) else foot
            sheet.write(
                foot, corner + TILE / 2, top + TILE + 0.03, FOOT_POINTS, ha="center", va="top",
                warns=False,
            )  # fmt: skip


def _draw_charts(sheet: Sheet, record: Sanity, top: float, width: float) -> None:
    room = (width - 2 * MARGIN) / len(MEASURES)
    low = min(-0.25, float(record.randomised.nan_to_num(0.0).min()) - 0.05)
    for place, measure in enumerate(MEASURES):
        corner = MARGIN + place * room + CHART_SIDE
        axes = sheet.axes(corner, top + HEAD, room - CHART_SIDE - 0.12, CHART)
        for rule in record.rules:
            _draw_curve(axes, record, rule, measure)
        axes.axhline(0, color="#888888", linewidth=0.8)
        axes.set_ylim(low, 1.05)
        axes.set_xlim(0, len(record.layers))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_title(
            f"{measure}{'' if 'signed' in measure else ', |projection|'}",
            fontsize=LETTERS + 0.5, loc="left", color=INK,
        )  # fmt: skip
        axes.set_xlabel("layers re-initialised, from the top", fontsize=LETTERS, color=INK)
        if not place:
            axes.set_ylabel("1: the same picture", fontsize=LETTERS, color=INK)
            axes.legend(fontsize=FOOT_POINTS, frameon=False, loc="lower left", handlelength=2.4)
        axes.tick_params(labelsize=LETTERS, colors=INK)
        axes.grid(axis="y", color="#e6e6e6")
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)


def _draw_curve(axes: Axes, record: Sanity, rule: str, measure: str) -> None:
    mean, deviation = (values.numpy() for values in record.curve(rule, measure))
    known = np.isfinite(mean)
    stages = np.arange(1, len(mean) + 1)[known]
    mean, deviation = mean[known], deviation[known]
    colour = COLOURS[rule]
    several = np.isfinite(deviation)
    low, high = mean - deviation, mean + deviation
    axes.fill_between(stages, low, high, several, color=colour, alpha=0.18, linewidth=0)
    # A band needs two points beside each other.
    alone = several & (np.convolve(several, np.ones(3), "same") == 1)
    axes.vlines(stages[alone], low[alone], high[alone], color=colour, alpha=0.18, linewidth=4)
    # With nothing re-initialised a picture is itself.
    x, y = np.concatenate([[0], stages]), np.concatenate([[1.0], mean])
    marker = "." if record.partial else ""  # lines span what was not computed
    axes.plot(x, y, color=colour, linestyle=DASHES[rule], label=rule, linewidth=1.5, marker=marker)


def _spread(record: Sanity) -> str:
    """Return of how many seeds the curves' points are; a seed may have been stopped halfway."""
    counts = (~record.randomised.isnan()).sum(2)
    found = counts[counts > 0].tolist()
    fewest, most = min(found, default=1), max(found, default=1)
    words = "one seed"
    if fewest == most > 1:
        words = f"mean of {most} seeds, shaded: ± sample standard deviation"
    elif most > 1:
        words = (
            f"mean of {fewest} to {most} seeds, shaded where there are several: ± sample standard "
            f"deviation"
        )
    return f"{words}, dots: computed" if record.partial else words


def _caption(record: Sanity) -> list[str]:
    how = {
        "centred": "a normal draw with each tensor's standard deviation, kernels with mean zero",
        "draw": "a normal draw with each tensor's own mean and standard deviation",
        "permute": "each tensor's own values in another order",
    }[record.initialisation]
    sources = "; ".join(f"{rule}: {RULES[rule].source}" for rule in record.rules)
    scales = [display_scale(pixels) for row in record.pictures for pixels in row]
    lines = [
        "What in this image drives the unit, given the switches, as it is and with something "
        "taken away. A picture that claims to show what the network learned must change with the "
        "weights (Adebayo et al., arXiv 1810.03292) and with the unit (Mahendran & Vedaldi 2016), "
        "and must not merely be the image's edges (Nie et al., arXiv 1805.07039).",
        f"'random', 'down to': layers re-initialised from the top ({record.layers[0]}) down to "
        f"there, of {len(record.layers)} in all; {how}. Curves: {_spread(record)}; the pictures "
        f"are of the first seed. The signal is one at the unit, whatever the weights.",
    ]
    if record.other is not None:
        lines.append(
            f"'other switches': the max pools' switches are those of {record.other}; rectifiers "
            f"keep the masks of this image."
        )
    lines.append(
        "'alike' and the sentences: Spearman's rank correlation of |projection| with the picture "
        "as it is. It is 1 for the same picture; pictures of one image that are unrelated "
        "otherwise can reach 0.3 to 0.5, as all live where the image has structure. SSIM: of "
        "pictures scaled as shown."
    )
    share = max(scale.clipped for scale in scales)
    lines.append(
        f"Zero is mid-grey, each tile on its own scale: ± the {scales[0].quantile:.1%} quantile of "
        f"|value|, given below it; at most {share:.2%} of a tile's values are clipped. {sources}."
    )
    return lines
