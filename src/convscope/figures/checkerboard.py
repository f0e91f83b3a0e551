"""Grids drawn: the projection from each layer, deepest first, and the numbers of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from torch import Tensor
from torch.nn import functional

from convscope.display import DisplayScale, display_scale, presentable, to_display
from convscope.figures.lettering import DOTS_AN_INCH, one_line, shortened
from convscope.figures.sheet import (
    FOOT_POINTS,
    FRAME_POINTS,
    Bare,
    Sheet,
    frame_box,
    number,
    picture_of,
)
from convscope.figures.style import MARGIN, Style
from convscope.methods.gridding.result import Checkerboard
from convscope.methods.gridding.structure import Alternative, StridedLayer
from convscope.methods.projection import shown_values
from convscope.methods.ranking import RANKS
from convscope.network.rules import RULES

SMALLEST, LARGEST = 190, 448
"""Dots that a tile's longer side takes at least and at most."""
CLOSE = 32
"""Pixels of the image that a close-up shows, each way."""
MOST_CLOSE = 1.5
"""Inches that a close-up takes each way, so that a page holds two lines of tiles."""
ENOUGH_DOTS = 3
"""Dots a pixel from which a grid is seen without a close-up."""
NARROWEST = 1.75
GAP = 0.16
TITLE = 0.34
LINE = 0.13
FOOT_LINES = 4
ROW = 0.15
TABLE_COLUMNS = (0.0, 1.5, 2.65, 3.9, 4.4, 5.2, 6.05)
NARROW_COLUMNS = (0.0, 1.15, 2.35, 2.75)
NARROW_SHOWN = (0, 2, 3, 6)
"""Of the table's columns, those that find room in a narrow figure."""
NARROW = 6.5
FRAME_COLOUR = "#d62728"


@dataclass(frozen=True)
class _Layout:
    """How large tiles are drawn, so that no grid comes or goes by the drawing alone.

    Attributes:
        height: of a tile, in inches.
        width: of a tile, in inches.
        dots: screen dots that a pixel takes each way.
        block: pixels each way that are averaged for one dot, where the image is too large.
        close: pixels of a close-up each way; 0 where there is none.
        side: of a close-up, in inches.
        columns: tiles a line, at most.
    """

    height: float
    width: float
    dots: int
    block: int
    close: int
    side: float
    columns: int

    @classmethod
    def of(cls, size: tuple[int, int], room: float) -> "_Layout":
        """Return the layout of tiles of *size* pixels in a figure that is *room* inches wide."""
        longest, most = max(size), min(LARGEST, int((room - 2 * MARGIN) * DOTS_AN_INCH))
        dots, block = max(1, -(-SMALLEST // longest)), -(-longest // most)
        if longest * dots > most:
            dots = max(1, most // longest)
        height, width = (side // block * dots / DOTS_AN_INCH for side in size)
        close = CLOSE if dots < ENOUGH_DOTS and min(size) > CLOSE else 0
        across = max(width, NARROWEST)
        columns = max(1, int((room - 2 * MARGIN + GAP) // (across + GAP)))
        return cls(height, width, dots, block, close, min(across, MOST_CLOSE), columns)

    @property
    def across(self) -> float:
        """Width of a tile with all that stands below it."""
        return max(self.width, NARROWEST)

    @property
    def line(self) -> float:
        """Height of a line of tiles."""
        close = self.side + GAP / 2 if self.close else 0.0
        return TITLE + self.height + close + FOOT_LINES * LINE + GAP


def figure(found: Checkerboard, style: Style) -> Sheet:
    """Draw the projection from each layer, deepest first, with its numbers, and what would help."""
    layout = _Layout.of((found.image.shape[-2], found.image.shape[-1]), style.width)
    shown = presentable(shown_values(found.preprocess, found.rule, found.pixels))
    scales = [display_scale(tile) for tile in shown]
    table = _table(found, style.width)
    lines = -(-(len(found.layers) + 1) // layout.columns)
    top = MARGIN + lines * layout.line
    height = top + (len(table) + 1) * ROW
    cuts = [MARGIN + line * layout.line for line in range(1, lines + 1)]
    sheet = Sheet.made_for(style, height, _caption(found, layout, scales), found.notes, cuts)
    picture = picture_of(found.preprocess.to_pixels(found.image.cpu()[None]))[0]
    _draw_image(sheet, layout, picture, found.title)
    for place in range(len(found.layers)):
        line, column = divmod(place + 1, layout.columns)
        corner = (MARGIN + column * (layout.across + GAP), MARGIN + line * layout.line + TITLE)
        _draw_layer(sheet, layout, corner, found, place, shown[place], scales[place])
    _draw_table(sheet, top + ROW / 2, table, style.width)
    return sheet


def _draw_image(
    sheet: Sheet, layout: _Layout, picture: npt.NDArray[np.float64], title: str
) -> None:
    axes = sheet.axes(MARGIN, MARGIN + TITLE, layout.width, layout.height)
    axes.set_axis_off()
    axes.imshow(picture, interpolation="antialiased")
    top = MARGIN + TITLE - 0.05
    sheet.write(title, MARGIN, top, FOOT_POINTS + 0.5, room=layout.across, va="bottom")


def _draw_layer(
    sheet: Sheet,
    layout: _Layout,
    corner: tuple[float, float],
    found: Checkerboard,
    place: int,
    tile: Tensor,
    scale: DisplayScale,
) -> None:
    left, top = corner
    axes = sheet.axes(left, top, layout.width, layout.height)
    small = functional.avg_pool2d(tile[None], layout.block)[0] if layout.block > 1 else tile
    _show(axes, small, scale, (0, 0, tile.shape[1], tile.shape[2]))
    below = top + layout.height
    if layout.close and tile.any():
        row, column = busiest(tile, layout.close)
        end = row + layout.close, column + layout.close
        frame_box(axes, (row, column, *end), FRAME_COLOUR, 0.8)
        close = sheet.axes(left, below + GAP / 2, layout.side, kind=Bare)
        _show(close, tile[:, row : end[0], column : end[1]], scale, (row, column, *end))
        for spine in close.spines.values():
            spine.set(edgecolor=FRAME_COLOUR, linewidth=FRAME_POINTS)
        close.set_axis_on()
        close.set_xticks([])
        close.set_yticks([])
    if layout.close:
        below += layout.side + GAP / 2
    channel = int(found.channels[place, 0, 0])
    name = shortened(one_line(found.layers[place]), layout.across, FOOT_POINTS + 0.5)
    heading = f"{name}\nchannel {channel}"
    sheet.write(heading, left, top - 0.05, FOOT_POINTS + 0.5, va="bottom")
    for line, text in enumerate(_numbers(found, place, tile, scale)):
        sheet.write(text, left, below + 0.05 + line * LINE, room=layout.across + GAP / 2)


def _show(axes: Axes, tile: Tensor, scale: DisplayScale, place: tuple[int, int, int, int]) -> None:
    """Show part of a projection; *place* is its top, left, bottom and right in the image."""
    top, left, bottom, right = place
    extent = (left - 0.5, right - 0.5, bottom - 0.5, top - 0.5)
    axes.imshow(to_display(tile, scale), interpolation="nearest", extent=extent)
    axes.set_axis_off()


def busiest(tile: Tensor, side: int) -> tuple[int, int]:
    """Return the corner of the square in which most of a projection's energy lies."""
    energy = tile.square().sum(dim=0, keepdim=True)[None].double()
    sums = functional.avg_pool2d(energy, side, stride=1)[0, 0]
    return divmod(int(sums.argmax()), sums.shape[1])


def _numbers(found: Checkerboard, place: int, tile: Tensor, scale: DisplayScale) -> list[str]:
    """Return the lines that stand below a tile."""
    if not tile.any():
        return ["nothing arrives: all zero"]
    structural, pools = found.structural[place], found.with_pools[place]
    lines = [f"±{number(scale.limit)}"]
    by_pools = "" if abs(pools - structural) < 5e-3 else f", with pools {pools:.2f}"
    lines.append(f"strides alone {structural:.2f}{by_pools}")
    observed, times = found.observed[place].item(), found.over_image[place].item()
    if np.isnan(observed):
        return [*lines, "seen: no stride to measure"]
    lines.append(f"seen {observed:.2f}, {times:.3g} × the image")
    source = found.strongest_source(place)
    if source is not None:
        lines.append(f"most at 1/{source.band.period[0]}: {', '.join(source.layers)}")
    return lines


def _table(found: Checkerboard, width: float) -> list[tuple[str, ...]]:
    """Return the rows of the table: each layer that leaves a grid, and what would change it."""
    rows: list[tuple[str, ...]] = []
    for finding in found.findings:
        layer, seen = finding.layer, _of_units(found, finding.layer.name)
        rows.append(
            _row(
                layer, layer.name, layer.op, "as it is" if seen is None else f"seen {seen:.2f}", "1"
            )
        )
        rows += [
            _row(other, "", "  instead", "", f"{other.weights:.2f}")
            for other in finding.alternatives
        ]
    for layer in found.strided:
        if not layer.fixed and layer.alone > 0:
            rows.append(_row(layer, layer.name, "overlapping pool", "varies with the image", ""))
    heads = ("layer", "", "kernel, stride", "alone", _where(found), "single units", "weights ×")
    if not rows:
        return [("No layer leaves a grid of its own, whatever the weights.",)]
    whole = [heads, *rows]
    if width >= NARROW:
        return whole
    return [tuple(row[place] for place in NARROW_SHOWN) for row in whole]


def _where(found: Checkerboard) -> str:
    forwards = any(finding.layer.forwards for finding in found.findings)
    return "where seen" if forwards else "at the pixels"


def _row(
    layer: StridedLayer | Alternative, name: str, what: str, seen: str, weights: str
) -> tuple[str, ...]:
    kernel, stride = ("x".join(map(str, pair)) for pair in (layer.kernel, layer.stride))
    reached = "" if layer.reached is None else f"{layer.reached:.3f}"
    return (
        shortened(one_line(name), NARROW_COLUMNS[1] - 0.1, FOOT_POINTS),
        what, f"{kernel}, stride {stride}", f"{layer.alone:.3f}", reached, seen, weights,
    )  # fmt: skip


def _of_units(found: Checkerboard, name: str) -> float | None:
    for place, source in enumerate(found.sources):
        if name in source.layers and not found.of_units[place].isnan():
            return float(found.of_units[place])
    return None


def _draw_table(sheet: Sheet, top: float, rows: Sequence[tuple[str, ...]], width: float) -> None:
    columns = TABLE_COLUMNS if width >= NARROW else NARROW_COLUMNS
    for place, row in enumerate(rows):
        for left, text in zip(columns, row, strict=False):
            height = top + place * ROW
            sheet.write(text, MARGIN + left, height)


def _caption(found: Checkerboard, layout: _Layout, scales: Sequence[DisplayScale]) -> list[str]:
    rule = RULES[found.rule]
    share = max(scale.clipped for scale in scales)
    pictures = (
        "this image" if found.images == 1 else f"{found.images} images, of which one is shown"
    )
    words = [found.network, rule.name, *([RANKS[found.rank]] if found.rank else [])]
    maps = int((found.channels >= 0).sum(dim=(1, 2)).max()) // found.images
    lines = [
        f"{', '.join(words)}: the projection of a feature map from each layer, deepest "
        f"first, and how uneven it is.",
        f"What in this image drives the map, given the switches. Rule: {rule.name} "
        f"({rule.source}). Zero is mid-grey, each tile on its own scale: ± the "
        f"{scales[0].quantile:.1%} quantile of |value|; at most {share:.2%} of a tile's values are "
        f"clipped.",
        "Strides alone: how unevenly all ones from the layer's output arrive at the pixels, by "
        "kernel, stride, padding and dilation: standard deviation between the phases of the "
        "strides over their mean, 0 if even (Odena, Dumoulin & Olah 2016). Pools count as even; "
        "'with pools': where they overlap, as if every place of a pool won equally often.",
        f"Seen: the same deviation of the projections' energy, over {pictures} and up to {maps} "
        f"feature maps each, beyond what neighbouring frequencies make expected. 'Most at 1/n': "
        f"the cycles a pixel at which most of it lies, and the layers that they belong to; '× the "
        f"image': the energy there over that beside it, over the same of the image (about 1: no "
        f"grid).",
    ]
    if layout.close:
        lines.append(
            f"Framed: the {layout.close} x {layout.close} pixels with most energy, enlarged."
        )
    if layout.block > 1:
        lines.append(
            f"Whole tiles show the mean of every {layout.block} x {layout.block} pixels, which "
            f"hides fine grids; the close-ups show every pixel."
        )
    if found.findings:
        lines.append(
            "The table: layers that leave a grid whatever the weights and the image, and kernels "
            "or strides that would not ('at the pixels': through the layers between). Single "
            "units: the deviation seen in projections of single units of that layer."
        )
    return lines
