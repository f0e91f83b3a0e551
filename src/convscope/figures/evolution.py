"""Evolution drawn: one row a layer, moments as columns (Zeiler & Fergus fig. 4), and curves."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from torch import Tensor

from convscope.display import DisplayScale, display_scale, to_display
from convscope.errors import OutputError
from convscope.figures.lettering import DOTS_AN_INCH, shortened
from convscope.figures.sheet import (
    FOOT_POINTS,
    INK,
    MARGIN,
    MOST_PIXELS,
    NOTE_POINTS,
    Sheet,
    frame_tile,
    number,
    picture_of,
    presentable,
)
from convscope.network.rules import RULES
from convscope.study.evolve import Evolution, FilterEvolution

TILE = 0.95
GAP = 0.07
FOOT = 0.3
LABEL = 1.15
HEAD = 0.5
ROW = 2 * TILE + GAP + FOOT
CURVES = 2.6
AXIS = 0.55
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
    scales = [[display_scale(p) for p in _shown(evolution, f)] for f in evolution.filters]
    sheet = Sheet.made_for(width, height, _caption(evolution, title, scales), "")
    for moment, heading in enumerate(_headings(evolution)):
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
    _draw_distances(sheet, evolution, rows, width)
    return sheet


def _shown(evolution: Evolution, followed: FilterEvolution) -> list[Tensor]:
    """Return each moment's projection in pixel units, cropped to its receptive field."""
    pixels = presentable(evolution.preprocess.difference_to_pixels(followed.pixels.cpu()))
    windows = followed.window.tolist()
    return [
        values[:, top:bottom, left:right]
        for values, (top, left, bottom, right) in zip(pixels, windows, strict=True)
    ]


def _headings(evolution: Evolution) -> list[str]:
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
    label = shortened(followed.layer, LABEL - 0.1, NOTE_POINTS)
    sheet.write(
        f"{label}\nchannel {followed.channel}",
        MARGIN, top + TILE, NOTE_POINTS, ha="left", va="center", warns=False,
    )  # fmt: skip
    pictures = picture_of(evolution.preprocess.to_pixels(evolution.images[followed.image].cpu()))
    for moment, (projection, scale) in enumerate(
        zip(_shown(evolution, followed), scales, strict=True)
    ):
        left = MARGIN + LABEL + moment * (TILE + GAP)
        first_row, first_column, end_row, end_column = followed.window[moment].tolist()
        patch = pictures[moment][first_row:end_row, first_column:end_column]
        colour = CHANGED if followed.changed[moment] else SAME
        frame = (0, 0, *patch.shape[:2])
        for place, shown in ((top, patch), (top + TILE + GAP / 2, to_display(projection, scale))):
            axes = sheet.axes(left, place, TILE)
            axes.imshow(shown, interpolation="nearest")
            frame_tile(axes, frame, colour)
        foot = f"{number(followed.activation[moment].item())}"
        sheet.write(
            foot, left + TILE / 2, top + 2 * TILE + GAP, FOOT_POINTS, ha="center", va="top",
            warns=False,
        )  # fmt: skip


def _draw_distances(sheet: Sheet, evolution: Evolution, top: float, width: float) -> None:
    """Draw how far every layer's filters still are from the final ones."""
    axes = sheet.axes(MARGIN + LABEL, top, width - 2 * MARGIN - LABEL - 1.6, CURVES)
    positions = range(len(evolution.steps))
    for name, distance in evolution.distance.items():
        axes.plot(positions, distance.tolist(), marker="o", markersize=3, label=name)
    axes.set_xticks(list(positions), _headings(evolution), fontsize=FOOT_POINTS - 1)
    axes.set_ylabel("distance from the final filters\n(share of their norm)", fontsize=FOOT_POINTS)
    _style(axes)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=FOOT_POINTS - 1, frameon=False
    )


def _style(axes: Axes) -> None:
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=FOOT_POINTS - 1, colors=INK)
    axes.grid(axis="y", color="#e6e6e6")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _caption(
    evolution: Evolution, title: str, scales: Sequence[Sequence[DisplayScale]]
) -> list[str]:
    rule = RULES[evolution.rule]
    every = [scale for row in scales for scale in row]
    share = max(scale.clipped for scale in every)
    return [
        f"{title}: one filter a layer during training. Above, the patch of the receptive field of "
        f"its strongest activation over {len(evolution.images)} training images; below, the "
        f"projection; the number is the activation. Red frame: the strongest image changed.",
        f"What in this image drives the unit, given the switches. Rule: {rule.name} "
        f"({rule.source}). Zero is mid-grey, each tile on its own scale: ± the "
        f"{every[0].quantile:.1%} quantile of |value|; at most {share:.2%} of a tile's values "
        f"are clipped.",
        "Curves: norm of a layer's filters minus its final ones, over the norm of the final ones.",
    ]
