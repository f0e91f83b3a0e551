"""Evolution drawn: one row a layer, moments as columns (Zeiler & Fergus fig. 4), and curves."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from convscope.display import DisplayScale, display_scale, presentable, to_display
from convscope.errors import OutputError
from convscope.figures.lettering import DOTS_AN_INCH, shortened, wrapped
from convscope.figures.sheet import (
    FOOT_POINTS,
    INK,
    MARGIN,
    MOST_PIXELS,
    NOTE_POINTS,
    Sheet,
    frame_tile,
    line_of,
    number,
    picture_of,
)
from convscope.network.rules import RULES
from convscope.study.evolve import Evolution, FilterEvolution
from convscope.wording import counted

TILE = 0.95
GAP = 0.07
FOOT = 0.3
LABEL = 1.15
HEAD = 0.5
ROW = 2 * TILE + GAP + FOOT
CURVES = 2.6
AXIS = 0.55
NAMES = 1.8
SAME, CHANGED = "#8c8c8c", "#d62728"


def evolution_figure(evolution: Evolution, title: str) -> Sheet:
    """Draw each filter's strongest patch and projection at every moment, and the curves.

    Args:
        evolution: what :func:`convscope.evolve` returned.
        title: whose training it is.

    Raises:
        OutputError: if the figure would be too large to draw.

    """
    count = len(evolution.steps)
    width = 2 * MARGIN + LABEL + count * (TILE + GAP)
    width = max(width, 7.5)
    rows = MARGIN + HEAD + len(evolution.filters) * ROW
    height = rows + CURVES + AXIS
    if max(width, height) * DOTS_AN_INCH > MOST_PIXELS:
        raise OutputError("too many layers or moments for one figure: follow fewer layers")
    scales = [
        [display_scale(p) for p in shown_projections(evolution, f)] for f in evolution.filters
    ]
    sheet = Sheet.made_for(width, height, caption(evolution, title, scales), "")
    for moment, heading in enumerate(headings(evolution)):
        middle = MARGIN + LABEL + moment * (TILE + GAP) + TILE / 2
        sheet.write(
            heading,
            middle,
            MARGIN + HEAD - 0.05,
            FOOT_POINTS,
            ha="center",
            va="bottom",
            warns=False,
        )
    for place, (followed, own) in enumerate(zip(evolution.filters, scales, strict=True)):
        _draw_filter(sheet, evolution, followed, own, MARGIN + HEAD + place * ROW)
    across = width - 2 * MARGIN - LABEL
    draw_distances(sheet, evolution, (MARGIN + LABEL, rows), (across, CURVES))
    return sheet


def shown_projections(evolution: Evolution, followed: FilterEvolution) -> list[Tensor]:
    """Return each moment's projection in pixel units, cropped to its receptive field."""
    pixels = presentable(evolution.preprocess.difference_to_pixels(followed.pixels.cpu()))
    windows = followed.window.tolist()
    return [
        values[:, top:bottom, left:right]
        for values, (top, left, bottom, right) in zip(pixels, windows, strict=True)
    ]


def shown_patches(evolution: Evolution, followed: FilterEvolution) -> list[npt.NDArray[np.float64]]:
    """Return each moment's patch of its strongest image, [h, w, 3] in 0..1."""
    pixels = evolution.preprocess.to_pixels(evolution.images[followed.image].cpu())
    windows = followed.window.tolist()
    return [
        picture[top:bottom, left:right]
        for picture, (top, left, bottom, right) in zip(picture_of(pixels), windows, strict=True)
    ]


def headings(evolution: Evolution) -> list[str]:
    """Return each moment in words, one line or two."""
    if evolution.epochs is None:
        return [f"step {step}" for step in evolution.steps]
    return [
        f"epoch {number(epoch)}\nstep {step}"
        for epoch, step in zip(evolution.epochs, evolution.steps, strict=True)
    ]


def _draw_filter(
    sheet: Sheet,
    evolution: Evolution,
    followed: FilterEvolution,
    scales: Sequence[DisplayScale],
    top: float,
) -> None:
    # Whole, in lines: the names of layers may differ in their middles only.
    label = "\n".join(wrapped(followed.layer, LABEL - 0.1, NOTE_POINTS))
    sheet.write(
        f"{label}\nchannel {followed.channel}",
        MARGIN, top + TILE, NOTE_POINTS, ha="left", va="center", warns=False,
    )  # fmt: skip
    patches = shown_patches(evolution, followed)
    projections = shown_projections(evolution, followed)
    for moment, scale in enumerate(scales):
        left = MARGIN + LABEL + moment * (TILE + GAP)
        colour = CHANGED if followed.changed[moment] else SAME
        draw_pair(sheet, (left, top), TILE, patches[moment], projections[moment], scale, colour)
        foot = f"{number(followed.activation[moment].item())}\n±{number(scale.limit)}"
        sheet.write(
            foot, left + TILE / 2, top + 2 * TILE + GAP, FOOT_POINTS, ha="center", va="top",
            warns=False,
        )  # fmt: skip


def draw_pair(
    sheet: Sheet,
    corner: tuple[float, float],
    side: float,
    patch: npt.NDArray[np.float64],
    projection: Tensor | npt.NDArray[np.float64],
    scale: DisplayScale,
    colour: str,
) -> None:
    """Draw a patch and, below it, its projection, each *side* inches wide and framed."""
    left, top = corner
    for place, shown in ((top, patch), (top + side + GAP / 2, to_display(projection, scale))):
        axes = sheet.axes(left, place, side)
        axes.imshow(shown, interpolation="nearest")
        frame_tile(axes, (0, 0, *patch.shape[:2]), colour)


def draw_distances(
    sheet: Sheet,
    evolution: Evolution,
    corner: tuple[float, float],
    size: tuple[float, float],
    until: int | None = None,
) -> None:
    """Draw how far every layer's filters still are from the final ones.

    Args:
        sheet: what to draw on.
        evolution: what to draw.
        corner: left and top, in inches.
        size: width, with the names on the right, and height, in inches.
        until: the last moment drawn; the axes are the same whichever it is. By default all.

    """
    axes = sheet.axes(*corner, size[0] - NAMES, size[1])
    positions = range(len(evolution.steps))
    drawn = len(evolution.steps) if until is None else until + 1
    for place, (name, distance) in enumerate(evolution.distance.items()):
        # Not from the first, red, which says of a frame that the image changed.
        colour, style = line_of(place + 1)
        # The line's own sample takes the rest of the room.
        label = shortened(name.removesuffix(".weight"), NAMES - 0.65, FOOT_POINTS - 1)
        axes.plot(
            positions[:drawn], distance.tolist()[:drawn], marker="o", markersize=3, label=label,
            color=colour, linestyle=style,
        )  # fmt: skip
    axes.set_xticks(list(positions), headings(evolution), fontsize=FOOT_POINTS - 1)
    axes.set_xlim(-0.3, len(positions) - 0.7)
    farthest = max(float(values.nan_to_num(0).max()) for values in evolution.distance.values())
    axes.set_ylim(0, 1.05 * farthest or 1)
    axes.set_ylabel("distance from the final filters\n(share of their norm)", fontsize=FOOT_POINTS)
    axes.tick_params(labelsize=FOOT_POINTS - 1, colors=INK)
    axes.grid(axis="y", color="#e6e6e6")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        fontsize=FOOT_POINTS - 1,
        frameon=False,
        handlelength=4.5,  # long enough that dashes show
    )


def caption(
    evolution: Evolution, title: str, scales: Sequence[Sequence[DisplayScale]]
) -> list[str]:
    """Return what must be known to read the pictures, a sentence or two a paragraph."""
    rule = RULES[evolution.rule]
    every = [scale for row in scales for scale in row]
    share = max(scale.clipped for scale in every)
    images = counted(len(evolution.images), "training image")
    return [
        f"{title}: one filter a layer during training. Above, the patch of the receptive field of "
        f"its strongest activation over {images}; below, the "
        f"projection; the numbers are the activation and the projection's scale. Red frame: the "
        f"strongest image changed.",
        f"What in this image drives the unit, given the switches. Rule: {rule.name} "
        f"({rule.source}). Zero is mid-grey, each tile on its own scale: ± the "
        f"{every[0].quantile:.1%} quantile of |value|; at most {share:.2%} of a tile's values "
        f"are clipped.",
        "Curves: norm of a layer's filters minus its final ones, over the norm of the final ones.",
    ]
