"""Correspondence drawn: the images with their parts, and how differently their features change."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from convscope.figures.lettering import one_line, shortened, width_of
from convscope.figures.sheet import (
    FOOT_POINTS,
    FRAME_POINTS,
    INK,
    MARGIN,
    PALE,
    Sheet,
    frame_box,
    picture_of,
)
from convscope.figures.style import Style
from convscope.methods.correspondence_result import Correspondence

GAP = 0.14
SMALLEST, LARGEST = 1.3, 1.6
"""Inches of an image, at least and at most."""
TITLE = 0.22
CHART, CHART_SIDE, CHART_ROOM = 1.7, 0.5, 2.2
HEAD, AXIS = 0.35, 0.36
LEGEND_LINE = 0.17
PART_COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#17becf")
PART = "#0b5cad"
BARS = (("the part", PART), ("random places", "#d2691e"), ("one random place", "#ecb98a"))
NO_BETTER = "the part, no better than chance"


@dataclass(frozen=True)
class _Layout:
    """How large everything is drawn, in inches.

    Attributes:
        width: of the whole figure.
        tile: side of an image.
        across: images a line.
        charts: charts a line.
        handles: entries of the legend a line.
    """

    width: float
    tile: float
    across: int
    charts: int
    handles: int

    @classmethod
    def of(cls, width: float, found: Correspondence) -> "_Layout":
        """Return the layout of a figure of some width."""
        room = width - 2 * MARGIN
        across = min(len(found.titles), max(1, int((room + GAP) / (SMALLEST + GAP))))
        tile = min(LARGEST, (room + GAP) / across - GAP)
        charts = min(len(found.layers), max(1, int(room / CHART_ROOM)))
        words = [*found.parts, *(f"hidden: {name}" for name in (NO_BETTER, "random places"))]
        widest = max(width_of(one_line(word), FOOT_POINTS) for word in words) + 0.35
        return cls(width, tile, across, charts, max(1, int(room / widest)))


def figure(found: Correspondence, style: Style) -> Sheet:
    """Draw the images with the parts that were hidden, and one chart a layer."""
    layout = _Layout.of(style.width, found)
    high = layout.tile + TITLE + GAP
    above = MARGIN + -(-len(found.titles) // layout.across) * high
    handles = _handles(found)
    charts = above + -(-len(handles) // layout.handles) * LEGEND_LINE + 0.1
    lines = -(-len(found.layers) // layout.charts)
    sheet = Sheet.made_for(
        style, charts + lines * (HEAD + CHART + AXIS), _caption(found), found.notes
    )
    pictures = picture_of(found.preprocess.to_pixels(found.images))
    for n, (name, picture) in enumerate(zip(found.titles, pictures, strict=True)):
        line, column = divmod(n, layout.across)
        left, top = MARGIN + column * (layout.tile + GAP), MARGIN + line * high + TITLE
        _frame_parts(sheet.picture(picture, left, top, layout.tile, name), found, n)
    _draw_legend(sheet, handles, above, layout)
    _draw_charts(sheet, found, charts, layout)
    return sheet


def _draw_charts(sheet: Sheet, found: Correspondence, top: float, layout: _Layout) -> None:
    room = (layout.width - 2 * MARGIN) / layout.charts
    for at, layer in enumerate(found.layers):
        line, column = divmod(at, layout.charts)
        left = MARGIN + column * room + CHART_SIDE
        wide = room - CHART_SIDE - 0.1
        axes = sheet.chart(
            left, top + line * (HEAD + CHART + AXIS) + HEAD, wide, CHART, layer,
            up="" if column else "share with another sign",
        )  # fmt: skip
        _draw_bars(axes, found, at, wide / len(found.parts))


def _frame_parts(axes: Axes, found: Correspondence, image: int) -> None:
    for own, part, *box in found.boxes:
        if own == image:
            frame_box(axes, box, _colour(part))


def _colour(part: int) -> str:
    return PART_COLOURS[part % len(PART_COLOURS)]


def _handles(found: Correspondence) -> list[Patch]:
    """Return the legend's entries: the parts' frames, and what the bars are of."""
    frames = [
        Patch(facecolor="none", edgecolor=_colour(p), linewidth=FRAME_POINTS, label=one_line(name))
        for p, name in enumerate(found.parts)
    ]
    bars = [*BARS] if bool(found.corresponds.any()) else [*BARS[1:]]
    if not bool(found.corresponds.all()):
        bars.append((NO_BETTER, PALE))
    return [*frames, *(Patch(facecolor=colour, label=f"hidden: {name}") for name, colour in bars)]


def _draw_legend(sheet: Sheet, handles: list[Patch], top: float, layout: _Layout) -> None:
    """Draw the legend, line by line."""
    width, whole = sheet.figure.get_size_inches()
    for line in range(-(-len(handles) // layout.handles)):
        own = handles[line * layout.handles :][: layout.handles]
        at = top + line * LEGEND_LINE
        sheet.figure.legend(
            handles=own, loc="upper left", bbox_to_anchor=(MARGIN / width / 2, 1 - at / whole),
            ncols=len(own), fontsize=FOOT_POINTS, frameon=False, handlelength=1.2,
            columnspacing=1.2, borderpad=0.0,
        )  # fmt: skip


def _draw_bars(axes: Axes, found: Correspondence, at: int, room: float) -> None:
    """Draw, for each part, its difference beside those of the two kinds of random boxes."""
    columns = (
        (found.difference, found.error), found.control("random"), found.control("same_place")
    )  # fmt: skip
    places = np.arange(len(found.parts))
    parts = [PART if better else PALE for better in found.corresponds[:, at].tolist()]
    for place, ((values, errors), (_, colour)) in enumerate(zip(columns, BARS, strict=True)):
        where = places + (place - 1) * 0.27
        # What is NaN is not known, and matplotlib draws neither a bar nor a whisker for it.
        axes.bar(
            where, values[:, at].numpy(), 0.24, color=colour if place else parts,
            yerr=errors[:, at].numpy(), capsize=2, error_kw={"linewidth": 0.9, "ecolor": INK},
        )  # fmt: skip
    axes.set_xticks(places, [shortened(one_line(p), room - 0.04, FOOT_POINTS) for p in found.parts])


def _caption(found: Correspondence) -> list[str]:
    """Return the short caption, and what else must be known to read the figure."""
    repeats = found.random.shape[2]
    return [
        f"{found.network}: do features change alike when the same part is hidden ({found.fill})?",
        "Bars: the share of a layer's features whose change has another sign (up, down, none) in "
        "one image than in another, mean over all pairs of images (Zeiler & Fergus, arXiv "
        "1311.2901, sec. 4.3, table 1: Delta, by pairs and by features). Lower than with every box "
        "at random places, and at one place where the part's boxes overlap between images: the "
        "layer treats the part alike across images; else the bar is grey.",
        f"Whiskers: standard error, for the parts by leaving out one image after the other, for "
        f"the random boxes over {repeats} draws (seed {found.seed}). Random boxes have the part's "
        f"size: 'random places' lie elsewhere in each image; 'one random place' is the same in "
        f"all, and tells how far sharing the place alone lowers the share.{_unknown(found)}",
    ]


def _unknown(found: Correspondence) -> str:
    """Return why some bars have no whisker, after a space, or nothing where all have one."""
    pairs = [one_line(n) for n, c in zip(found.parts, found.counts, strict=True) if c == 2]
    reasons = [f"from two images ({', '.join(pairs)})"] if pairs else []
    if found.random.shape[2] == 1:
        reasons.append("from one draw")
    return f" No whisker: there is no error {' nor '.join(reasons)}." if reasons else ""
