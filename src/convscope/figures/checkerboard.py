"""Grids drawn: the projection from each layer, deepest first, and the numbers of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor
from torch.nn import functional

from convscope.display import DisplayScale, display_scale, presentable, to_display
from convscope.figures.lettering import DOTS_AN_INCH, one_line, shortened
from convscope.figures.pieces import Piece, in_lines, picture, sheet_of, space, stack, words
from convscope.figures.sheet import Sheet, frame_box, number, picture_of
from convscope.figures.style import FOOT_POINTS, FRAME_POINTS, LETTERS, Style
from convscope.figures.tile import own_scales
from convscope.methods.gridding.result import Checkerboard
from convscope.methods.gridding.structure import Alternative, StridedLayer
from convscope.methods.projection import shown_values
from convscope.methods.ranking import RANKS
from convscope.network.rules import RULES
from convscope.wording import times

SMALLEST, LARGEST = 1.73, 4.08
"""Inches that a tile's longer side takes at least, where there is room, and at most."""
CLOSE = 32
"""Pixels of the image that a close-up shows, each way."""
MOST_CLOSE = 1.5
"""Inches that a close-up takes each way, so that a page holds two lines of tiles."""
ENOUGH = 0.027
"""Inches a pixel from which a grid is seen without a close-up."""
NARROWEST = 1.75
APART = 0.16
ROW = 0.15
TABLE_COLUMNS = (0.0, 1.5, 2.65, 3.9, 4.4, 5.2, 6.05)
NARROW_COLUMNS = (0.0, 1.15, 2.35, 2.75)
NARROW_SHOWN = (0, 2, 3, 6)
"""Of the table's columns, those that find room in a narrow figure."""
NARROW = 6.5
"""Inches below which two tiles stand side by side."""
FRAME_COLOUR = "#d62728"


@dataclass(frozen=True)
class _Grain:
    """How large tiles are drawn, so that no grid comes or goes by the drawing alone.

    Attributes:
        height, width: of a tile, in inches.
        block: pixels each way that are averaged for one dot, where the image is too large.
        close: pixels of a close-up each way; 0 where there is none.
    """

    height: float
    width: float
    block: int
    close: int

    @classmethod
    def of(cls, size: tuple[int, int], room: float) -> "_Grain":
        """Return how tiles of *size* pixels are drawn that have so many inches each."""
        longest, most = max(size), int(min(LARGEST, room) * DOTS_AN_INCH)
        dots, block = ceil(SMALLEST * DOTS_AN_INCH / longest), ceil(longest / most)
        if longest * dots > most:
            dots = max(1, most // longest)
        height, width = (side // block * dots / DOTS_AN_INCH for side in size)
        needed = dots / DOTS_AN_INCH < ENOUGH and min(size) > CLOSE
        return cls(height, width, block, CLOSE if needed else 0)


def figure(found: Checkerboard, style: Style) -> Sheet:
    """Draw the projection from each layer, deepest first, with its numbers, and what would help."""
    wide = style.width >= NARROW
    room = style.room if wide else (style.room - APART) / 2
    grain = _Grain.of((found.image.shape[-2], found.image.shape[-1]), room)
    cell = min(room, max(grain.width, NARROWEST))
    shown = presentable(shown_values(found.preprocess, found.rule, found.pixels))
    scales = [display_scale(tile) for tile in shown]
    image = picture_of(found.preprocess.to_pixels(found.image.cpu()[None]))[0]
    tiles = [
        stack(
            words(found.title, cell, LETTERS),
            picture(image, grain.width, grain.height, interpolation="antialiased"),
            line=1,
        ),
        *(
            _layer(grain, cell, found, place, tile, scale)
            for place, (tile, scale) in enumerate(zip(shown, scales, strict=True))
        ),
    ]
    columns = int((style.room + APART) / (cell + APART) + 1e-6)
    rows = _table(found, wide)

    def write(sheet: Sheet, left: float, top: float) -> None:
        for place, row in enumerate(rows):
            for column, text in zip(TABLE_COLUMNS if wide else NARROW_COLUMNS, row, strict=False):
                sheet.write(text, left + column, top + place * ROW)

    table = Piece(style.room, 0.0, len(rows) * ROW, write)
    pieces = [*in_lines(tiles, columns, APART), table]
    return sheet_of(style, pieces, _caption(found, grain, scales), found.notes)


def _layer(
    grain: _Grain, cell: float, found: Checkerboard, place: int, tile: Tensor, scale: DisplayScale
) -> Piece:
    """Return a layer's projection, and a part of it enlarged, with its numbers."""
    small = functional.avg_pool2d(tile[None], grain.block)[0] if grain.block > 1 else tile
    whole = small, (0, 0, tile.shape[1], tile.shape[2])
    if not (grain.close and tile.any()):
        pieces = [_part(*whole, scale, (grain.width, grain.height))]
    else:
        top, left = busiest(tile, grain.close)
        box = top, left, top + grain.close, left + grain.close

        def mark(axes: Axes) -> None:
            frame_box(axes, box, FRAME_COLOUR, 0.8)

        def frame(axes: Axes) -> None:
            axes.spines[:].set(edgecolor=FRAME_COLOUR, linewidth=FRAME_POINTS)
            axes.set_axis_on()
            axes.set(xticks=[], yticks=[])

        side = min(cell, MOST_CLOSE)
        pieces = [
            _part(*whole, scale, (grain.width, grain.height), mark),
            space(height=APART / 2),
            _part(tile[:, top : box[2], left : box[3]], box, scale, (side, side), frame),
        ]
    heading = f"{found.layers[place]}\nchannel {int(found.channels[place, 0, 0])}"
    numbers = "\n".join(_numbers(found, place, tile, scale))
    foot = words(numbers, cell + APART / 2, wrap=True)
    return stack(words(heading, cell, LETTERS), *pieces, replace(foot, width=cell), line=1)


def _part(
    tile: Tensor, box: tuple[int, int, int, int], scale: DisplayScale, size: tuple[float, float],
    paint: Callable[[Axes], object] = lambda _: None,
) -> Piece:  # fmt: skip
    """Return part of a projection; *box* is its top, left, bottom and right in the image."""
    top, left, bottom, right = box
    extent = (left - 0.5, right - 0.5, bottom - 0.5, top - 0.5)
    return picture(to_display(tile, scale), *size, paint=paint, extent=extent)


def busiest(tile: Tensor, side: int) -> tuple[int, int]:
    """Return the corner of the square in which most of a projection's energy lies."""
    energy = tile.square().sum(dim=0, keepdim=True)[None].double()
    sums = functional.avg_pool2d(energy, side, stride=1)[0, 0]
    return divmod(int(sums.argmax()), sums.shape[1])


def _numbers(found: Checkerboard, place: int, tile: Tensor, scale: DisplayScale) -> list[str]:
    if not tile.any():
        return ["nothing arrives: all zero"]
    structural, pools = found.structural[place], found.with_pools[place]
    lines = [f"±{number(scale.limit)}"]
    by_pools = "" if abs(pools - structural) < 5e-3 else f", with pools {pools:.2f}"
    lines.append(f"strides alone {structural:.2f}{by_pools}")
    observed, times = found.observed[place].item(), found.over_image[place].item()
    if np.isnan(observed):
        return [*lines, "seen: no stride to measure"]
    compared = f", {times:.3g} × the image" if np.isfinite(times) else ""
    lines.append(f"seen {observed:.2f}{compared}")
    source = found.strongest_source(place)
    if source is not None:
        lines.append(f"most at 1/{source.band.period[0]}: {', '.join(source.layers)}")
    return lines


def _table(found: Checkerboard, wide: bool) -> list[tuple[str, ...]]:
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
    if not rows:
        return [("No layer leaves a grid of its own, whatever the weights.",)]
    forwards = any(finding.layer.forwards for finding in found.findings)
    where = "where seen" if forwards else "at the pixels"
    heads = ("layer", "", "kernel, stride", "alone", where, "single units", "weights ×")
    whole = [heads, *rows]
    if wide:
        return whole
    return [tuple(row[place] for place in NARROW_SHOWN) for row in whole]


def _row(
    layer: StridedLayer | Alternative, name: str, what: str, seen: str, weights: str
) -> tuple[str, ...]:
    kernel, stride = (times(pair) for pair in (layer.kernel, layer.stride))
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


def _caption(found: Checkerboard, grain: _Grain, scales: Sequence[DisplayScale]) -> list[str]:
    rule = RULES[found.rule]
    pictures = (
        "this image" if found.images == 1 else f"{found.images} images, of which one is shown"
    )
    words = [found.network, rule.name, *([RANKS[found.rank]] if found.rank else [])]
    maps = int((found.channels >= 0).sum(dim=(1, 2)).max()) // found.images
    lines = [
        f"{', '.join(words)}: the projection of a feature map from each layer, deepest "
        f"first, and how uneven it is.",
        f"What in this image drives the map, given the switches. Rule: {rule.name} "
        f"({rule.source}). {own_scales(scale.clipped for scale in scales)}",
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
    if grain.close:
        lines.append(f"Framed: the {times([grain.close] * 2)} pixels with most energy, enlarged.")
    if grain.block > 1:
        lines.append(
            f"Whole tiles show the mean of every {times([grain.block] * 2)} pixels, which "
            f"hides fine grids; the close-ups show every pixel."
        )
    if found.findings:
        lines.append(
            "The table: layers that leave a grid whatever the weights and the image, and kernels "
            "or strides that would not ('at the pixels': through the layers between). Single "
            "units: the deviation seen in projections of single units of that layer."
        )
    return lines
