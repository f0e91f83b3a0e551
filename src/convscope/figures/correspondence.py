"""Correspondence drawn: the images with their parts, and how differently their features change."""

from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from convscope.figures.lettering import one_line, shortened
from convscope.figures.pieces import (
    Piece,
    chart,
    fitting,
    in_lines,
    inches_across,
    key,
    picture,
    sheet_of,
    stack,
    words,
)
from convscope.figures.sheet import Sheet, frame_box, picture_of
from convscope.figures.style import FOOT_POINTS, FRAME_POINTS, INK, LETTERS, PALE, Style, line_of
from convscope.methods.correspondence import Correspondence
from convscope.wording import counted, fill_word

SMALLEST, LARGEST = 1.3, 1.6
"""Inches of an image, at least and at most."""
CHART, CHART_ROOM = 1.7, 2.2
PART = "#0b5cad"
BARS = (("the part", PART), ("random places", "#d2691e"), ("one random place", "#ecb98a"))
NO_BETTER = "the part, no better than chance"


def figure(found: Correspondence, style: Style) -> Sheet:
    """Draw the images with the parts that were hidden, and one chart a layer."""
    across, side = fitting(style.room, SMALLEST, len(found.titles), widest=LARGEST)
    pictures = picture_of(found.preprocess.to_pixels(found.images))
    images = [
        stack(
            words(name, side, LETTERS),
            picture(own, side, paint=partial(_frame_parts, found, n)),
            line=1,
        )
        for n, (name, own) in enumerate(zip(found.titles, pictures, strict=True))
    ]
    charts, room = fitting(style.room, CHART_ROOM, len(found.layers), gap=0.0)
    bars = [
        chart(
            room, CHART, partial(_draw_bars, found, at), layer,
            up="" if at % charts else "share with another sign",
        )
        for at, layer in enumerate(found.layers)
    ]  # fmt: skip
    blocks = [*in_lines(images, across), _key(found, style.room), *in_lines(bars, charts, 0.0)]
    return sheet_of(style, blocks, _caption(found), found.notes)


def _frame_parts(found: Correspondence, image: int, axes: Axes) -> None:
    for own, part, *box in found.boxes:
        if own == image:
            frame_box(axes, box, line_of(part)[0])


def _key(found: Correspondence, room: float) -> Piece:
    """Return the key: the parts' frames, and what the bars are of."""
    frames: list[tuple[str, dict[str, Any]]] = [
        (name, {"color": line_of(part)[0], "fillstyle": "none", "markeredgewidth": FRAME_POINTS})
        for part, name in enumerate(found.parts)
    ]
    bars = [*BARS] if bool(found.corresponds.any()) else [*BARS[1:]]
    if not bool(found.corresponds.all()):
        bars.append((NO_BETTER, PALE))
    entries = [*frames, *((f"hidden: {name}", {"color": colour}) for name, colour in bars)]
    return key(((name, {"marker": "s", "linestyle": "none", **how}) for name, how in entries), room)


def _draw_bars(found: Correspondence, at: int, axes: Axes) -> None:
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
    room = inches_across(axes) / len(places)
    axes.set_xticks(places, [shortened(one_line(p), room - 0.04, FOOT_POINTS) for p in found.parts])


def _caption(found: Correspondence) -> list[str]:
    repeats = found.random.shape[2]
    return [
        f"{found.network}: do features change alike when the same part is hidden "
        f"({fill_word(found.fill)})? Lower: more alike, over "
        f"{counted(len(found.titles), 'image')}.",
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
