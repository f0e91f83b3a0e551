"""Correspondence drawn: the images with their parts, and how differently their features change."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

from convscope.errors import OutputError
from convscope.figures.lettering import DOTS_AN_INCH, one_line, shortened
from convscope.figures.sheet import (
    FOOT_POINTS,
    FRAME_POINTS,
    INK,
    MARGIN,
    MOST_PIXELS,
    Sheet,
    picture_of,
)
from convscope.images import Preprocess
from convscope.methods.correspondence_result import Correspondence

TILE, GAP = 1.5, 0.14
TITLE = 0.22
A_LINE = 6
CHART, CHART_SIDE, HEAD, AXIS = 2.0, 0.55, 0.35, 0.36
LEGEND = 0.3
LETTERS = 7.5
PART_COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#17becf")
BARS = (("the part", "#0b5cad"), ("random places", "#d2691e"), ("one random place", "#9a9a9a"))


def check_images_fit(count: int) -> None:
    """Refuse more images than a figure can hold, before the work for them.

    Raises:
        OutputError: if there are.

    """
    if -(-count // A_LINE) * (TILE + TITLE + GAP) * DOTS_AN_INCH > MOST_PIXELS / 2:
        raise OutputError(f"{count} images are too many for one figure: -o FILE.safetensors")


def correspondence_figure(
    record: Correspondence, images: Tensor, preprocess: Preprocess, names: Sequence[str]
) -> Sheet:
    """Draw the images with the parts that were hidden, and one chart a layer.

    Args:
        record: the numbers.
        images: [N, C, H, W] in the network's input space.
        preprocess: takes inputs back to pixels.
        names: what the images are.

    """
    check_images_fit(len(images))
    lines = -(-len(images) // A_LINE)
    width = 2 * MARGIN + A_LINE * (TILE + GAP)
    above = MARGIN + lines * (TILE + TITLE + GAP)
    height = above + LEGEND + HEAD + CHART + AXIS
    sheet = Sheet.made_for(width, height, _caption(record), "; ".join(record.notes))
    pictures = picture_of(preprocess.to_pixels(images.cpu()))
    for n, (name, picture) in enumerate(zip(names, pictures, strict=True)):
        line, column = divmod(n, A_LINE)
        left, top = MARGIN + column * (TILE + GAP), MARGIN + line * (TILE + TITLE + GAP) + TITLE
        axes = sheet.axes(left, top, TILE)
        axes.imshow(picture, interpolation="nearest")
        axes.set_axis_off()
        _frame_parts(axes, record, n)
        text = shortened(one_line(name), TILE, LETTERS)
        sheet.write(text, left, top - 0.04, LETTERS, ha="left", va="bottom", warns=False)
    _draw_legend(sheet, record, above)
    room = (width - 2 * MARGIN) / len(record.layers)
    for at, layer in enumerate(record.layers):
        left = MARGIN + at * room + CHART_SIDE
        axes = sheet.axes(left, above + LEGEND + HEAD, room - CHART_SIDE - 0.1, CHART)
        _draw_bars(axes, record, at)
        title = shortened(one_line(layer), room - CHART_SIDE, LETTERS + 0.5)
        axes.set_title(title, fontsize=LETTERS + 0.5, loc="left", color=INK, parse_math=False)
        if not at:
            axes.set_ylabel("share of features with another sign", fontsize=LETTERS, color=INK)
    return sheet


def _frame_parts(axes: Axes, record: Correspondence, image: int) -> None:
    for own, part, top, left, bottom, right in record.boxes:
        if own == image:
            axes.add_patch(
                Rectangle(
                    (left - 0.5, top - 0.5), right - left, bottom - top, fill=False,
                    edgecolor=_colour(part), linewidth=FRAME_POINTS,
                )
            )  # fmt: skip


def _colour(part: int) -> str:
    return PART_COLOURS[part % len(PART_COLOURS)]


def _draw_legend(sheet: Sheet, record: Correspondence, top: float) -> None:
    handles: list[Patch] = [
        Patch(facecolor="none", edgecolor=_colour(p), linewidth=FRAME_POINTS, label=one_line(name))
        for p, name in enumerate(record.parts)
    ]
    handles += [Patch(facecolor=colour, label=f"hidden: {name}") for name, colour in BARS]
    _, whole = sheet.figure.get_size_inches()
    sheet.figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.005, 1 - top / whole),
        ncols=len(handles), fontsize=FOOT_POINTS, frameon=False, handlelength=1.2,
        columnspacing=1.2,
    )  # fmt: skip


def _draw_bars(axes: Axes, record: Correspondence, at: int) -> None:
    """Draw, for each part, its difference beside those of the two kinds of random boxes."""
    random, random_error = record.control("random")
    same, same_error = record.control("same_place")
    columns = (
        (record.difference, record.error), (random, random_error), (same, same_error)
    )  # fmt: skip
    places = np.arange(len(record.parts))
    for place, ((values, errors), (_, colour)) in enumerate(zip(columns, BARS, strict=True)):
        where = places + (place - 1) * 0.27
        # What is NaN is not known, and matplotlib draws neither a bar nor a whisker for it.
        axes.bar(
            where, values[:, at].numpy(), 0.24, color=colour, yerr=errors[:, at].numpy(),
            capsize=2, error_kw={"linewidth": 0.9, "ecolor": INK},
        )  # fmt: skip
    axes.set_xticks(places, [shortened(one_line(name), 0.9, LETTERS) for name in record.parts])
    axes.tick_params(labelsize=LETTERS, colors=INK)
    axes.grid(axis="y", color="#e6e6e6")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _caption(record: Correspondence) -> list[str]:
    repeats = record.random.shape[2]
    return [
        f"{record.network}: one part of each image is hidden ({record.fill}); bars: the share of a "
        f"layer's features whose change has another sign (up, down, none) in one image than in "
        f"another, mean over all pairs of images (Zeiler & Fergus, arXiv 1311.2901, sec. 4.3, "
        f"table 1: Delta, by pairs and by features). Lower than for random places: the layer "
        f"treats the part alike across images.",
        f"Whiskers: standard error, for the parts by leaving out one image after the other, for "
        f"the random boxes over {repeats} draws (seed {record.seed}). Random boxes have the part's "
        f"size: 'random places' lie elsewhere in each image; 'one random place' is the same in "
        f"all, and tells how far sharing the place alone lowers the share.{_unknown(record)}",
    ]


def _unknown(record: Correspondence) -> str:
    """Return why some bars have no whisker, after a space, or nothing where all have one."""
    pairs = [one_line(n) for n, c in zip(record.parts, record.counts, strict=True) if c == 2]
    reasons = [f"from two images ({', '.join(pairs)})"] if pairs else []
    if record.random.shape[2] == 1:
        reasons.append("from one draw")
    return f" No whisker: there is no error {' nor '.join(reasons)}." if reasons else ""
