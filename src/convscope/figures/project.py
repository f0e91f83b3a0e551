"""Projections drawn: each image, the patch that each unit reads, and what drives it there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from torch import Tensor

from convscope import display as displays
from convscope.display import Display
from convscope.figures.lettering import width_of
from convscope.figures.pieces import PAD, TEXT_SPACING, Piece, picture, row, sheet_of, stack, words
from convscope.figures.sheet import Sheet, frame_box, number, picture_of
from convscope.figures.style import COLOURS, FOOT_POINTS, LINES, NOTE_POINTS, Style, line_of
from convscope.figures.tile import HATCHED, FieldTile, filling
from convscope.methods import ranking
from convscope.methods.attribute import Attribution
from convscope.methods.projection import Projection

GAP = 0.09
TITLE_POINTS = 7.5
SMALLEST, LARGEST = 0.72, 1.9
"""Inches of a tile beside its patch at least, which its title needs, and at most."""
SMALLEST_MAP, LARGEST_MAP = 1.5, 3.0
"""The same of a whole feature map's projection, which is as large as the image."""
RANKS = "", "second strongest", "third strongest"
"""What stands above the image in each line of a grid but the first, which has its title."""


@dataclass(frozen=True)
class _Lines:
    """Where everything is drawn, in inches.

    The image takes two columns, beside a patch above its projection, or one beside whole maps. In a
    grid of layers by ranks every line begins with it, framed where the line's own units read.

    Attributes:
        tile: side of a tile.
        step: from a tile's left to that of the next.
        lines: of each line the units that are framed in the image that begins it, none where no
            image does, and the units beside that; all as numbers.
        pictures: 2 for a patch above its projection, 1 for the projection alone.
        ranks: how many units of each layer a grid has; 0 if it is none.
    """

    tile: float
    step: float
    lines: tuple[tuple[Sequence[int], Sequence[int]], ...]
    pictures: int
    ranks: int

    @classmethod
    def of(cls, room: float, layers: Sequence[str], select: str) -> "_Lines":
        """Return the layout of units, each of one of *layers*, in so many inches."""
        pictures = 1 if select == "map" else 2
        smallest, largest = (SMALLEST, LARGEST) if pictures == 2 else (SMALLEST_MAP, LARGEST_MAP)
        room += GAP
        units = len(layers)
        most = max(pictures, int(room / (smallest + GAP)))
        depth, ranks = len(dict.fromkeys(layers)), units // len(dict.fromkeys(layers))
        in_order = [layer for layer in dict.fromkeys(layers) for _ in range(ranks)]
        if min(depth, ranks) == 1 or list(layers) != in_order:
            ranks = 0
        every, none = range(units), range(0)
        if ranks and depth + pictures <= int(room / (SMALLEST + GAP)):
            columns = depth + pictures
            lines = [(every[rank::ranks], every[rank::ranks]) for rank in range(ranks)]
        elif ranks and ranks <= most:
            columns = max(ranks, pictures)
            lines = [(every, none), *((none, every[n : n + ranks]) for n in every[::ranks])]
        else:
            columns = -(-(units + pictures) // -(-(units + pictures) // most))
            ranks, first = 0, columns - pictures
            # Where the image fills a line there is no unit beside it.
            rest = [(none, every[n : n + columns]) for n in range(first, units, columns)]
            lines = [(every, every[:first]), *rest]
        tile = min(room / columns - GAP, largest)
        step = room / columns if pictures == 1 else tile + GAP
        return cls(tile, step, tuple(lines), pictures, ranks)

    @property
    def cell(self) -> float:
        """Height of a tile with its patch, and of the image."""
        return self.pictures * (self.tile + GAP) - GAP

    @property
    def height(self) -> float:
        """How high one image with its tiles is, about."""
        return len(self.lines) * (self.cell + 5 * FOOT_POINTS * TEXT_SPACING / 72 + 4 * PAD)


def figure(
    result: Projection,
    style: Style,
    scale: str = "tile",
    colour: str = "signed",
    contrast: str = "linear",
) -> Sheet:
    """Draw each image, the patch that each unit reads, and the unit's projection.

    Several channels of several layers make a grid, of layers by ranks. Whole feature maps are drawn
    without a patch, which would be the image once more.
    Scale, colour and contrast are those of :class:`~convscope.display.Display`.
    """
    display = Display(scale, colour, contrast)
    scales = result.scales(scale, colour, contrast)
    pixels = result.preprocess.to_pixels(result.images.cpu())
    pictures = picture_of(pixels)
    images, units = range(len(pictures)), range(len(result.layers))
    tiles = [
        [FieldTile.of_projection(result, n, k, pictures[n], display, scales[n][k]) for k in units]
        for n in images
    ]
    every = [tile for row in tiles for tile in row]
    layout = _Lines.of(style.room, result.layers, result.select)
    parts = [[foot_of(result, n, k, tiles[n][k]) for k in units] for n in images]
    room = layout.tile + GAP / 2
    in_one = all(
        width_of(", ".join(foot), FOOT_POINTS, "bold") <= room for row in parts for foot in row
    )
    feet = [[", ".join(foot) if in_one else "\n".join(foot) for foot in row] for row in parts]
    tile, dots = filling(layout.tile, [tile.size for tile in every])
    if layout.pictures == 1:  # all are as large as the image
        layout = replace(layout, tile=tile)
    drawn = [_image(layout, result, n, pictures[n], tiles[n], feet[n]) for n in images]
    caption = [*caption_of(result, display, every), *_oddities(every, pixels)]
    return sheet_of(style, drawn, caption, result.notes, dots=dots)


def check_fits(images: int, layers: Sequence[str], select: str, style: Style) -> None:
    """Refuse more images, or units of each by their layers, than can be drawn, before the work."""
    Sheet.check(images * _Lines.of(style.room, layers, select).height, style.width)


def _image(
    layout: _Lines,
    p: Projection,
    n: int,
    shown: npt.NDArray[np.float64],
    tiles: list[FieldTile],
    feet: list[str],
) -> Piece:
    kinds, high = _kinds(layout, len(tiles)), layout.cell
    if layout.pictures == 1:  # all are as flat as the image
        high *= min(1.0, shown.shape[0] / shown.shape[1])

    def image(units: Sequence[int], title: str) -> Piece:
        def frame(axes: Axes) -> None:
            seen = {tiles[unit].window for unit in units}
            if seen == {(0, 0, *shown.shape[:2])} or (len(seen) == 1 and p.select == "map"):
                return  # which of them had the frame that is drawn last would say nothing
            for unit in units:
                colour, style = kinds[unit]
                frame_box(axes, tiles[unit].window, colour, style=style)

        head = words(title, layout.cell, NOTE_POINTS, middle=True, wrap=True)
        whole = picture(shown, layout.cell, high, paint=frame, interpolation="antialiased")
        return stack(head, whole, line=1)

    def unit_piece(unit: int) -> Piece:
        tile, side = tiles[unit], layout.tile
        # A small patch and its projection stay together.
        both = [(tile.patch, 1.0), (tile.projection, 0.0)][2 - layout.pictures :]
        squares = [tile.piece(own, side, kinds[unit], down) for own, down in both]
        if layout.pictures == 1:
            squares = [replace(square, below=high) for square in squares]
        names = f"{p.layers[unit]}\n{p.names[n][unit]}"
        head = words(names, side, TITLE_POINTS, middle=True, spare=GAP / 2)
        odd = tile.scale.not_finite > 0
        foot = words(feet[unit], side, middle=True, wrap=True, warns=odd, spare=GAP / 2)
        return stack(head, stack(*squares, gap=GAP), foot, line=1)

    pieces = []
    for place, (framed, beside) in enumerate(layout.lines):
        line = [unit_piece(unit) for unit in beside]
        if framed:
            rank = RANKS[place] if place < len(RANKS) else f"rank {place + 1}"
            line.insert(0, image(framed, rank or p.titles[n]))
        pieces.append(row(line, layout.step - layout.tile))
    return stack(*pieces, gap=GAP)


def _kinds(layout: _Lines, units: int) -> list[tuple[str, str]]:
    """Return each unit's colour and kind of line: in a grid a colour a layer, and a line a rank."""
    ranks = layout.ranks
    if not ranks or ranks > len(LINES) or units // ranks > len(COLOURS):
        return [line_of(unit) for unit in range(units)]
    return [(COLOURS[unit // ranks], LINES[unit % ranks]) for unit in range(units)]


def foot_of(p: Projection, n: int, k: int, tile: FieldTile) -> tuple[str, ...]:
    """Return what stands below a tile: the peak, what it adds up to, and the value shown as white.

    Or why there is none.
    """
    if tile.scale.not_finite:
        return f"{tile.scale.not_finite} values", "not finite"
    peak = p.activation[n, k].item()
    shown = f"{'0 to ' if p.of_places else '±'}{number(tile.scale.limit)}"
    if not p.cropped(n, k).any():
        shown = "nothing arrives" if peak > 0 else "not active"
    relative = p.relative[n, k].item()
    times = "" if isnan(relative) else f" ({relative:.{1 if relative < 10 else 0}f}×)"
    return *filter(None, (f"{p.measure} {number(peak)}{times}", p.adds_up(n, k))), shown


def caption_of(p: Projection, display: Display, tiles: Sequence[FieldTile]) -> list[str]:
    """Return the short caption, and what else must be known to read the figure."""
    rule = p.how
    share, quantile = max(tile.scale.clipped for tile in tiles), tiles[0].scale.quantile
    part, shows = "the strongest activation", rule.shows
    shown = "Above, the patch of the receptive field; below, the projection cropped to it."
    if p.select == "map":
        part, shows = "the whole feature map", shows.replace("each unit", "each map")
        shown = "The projection of each map, as large as the image."
    if p.measure == "score":
        part, shown = "each class's score", "Each picture is as large as the image."
        if isinstance(p, Attribution) and p.baseline:
            shown += f" Compared with {p.baseline}."
    whose = "of a tile's values" if display.scale == "tile" else "of all values"
    colours, zero, sign = displays.COLOURS[display.colour], "mid-grey", "± "
    if p.images.shape[1] != 1 and len(p.cropped(0, 0)) == 1:
        colours = "white above zero, black below; the sum over the image's channels"
    elif p.images.shape[1] not in (1, 3):
        colours = "white above zero, black below; the mean over the image's channels"
    if p.of_places:
        shown = "The layer's map, enlarged to the image."
        colours, zero, sign = "dark to yellow, over the image in grey", "dark", "up to "
    words = [p.network, rule.name, *([ranking.RANKS[p.rank]] if p.rank else []), *display.words()]
    typical = (
        f" (×: over the channel's median peak in {p.reference}, or a tenth of the layer's median "
        f"where that is more)"
        if p.reference
        else ""
    )
    return [
        f"{', '.join(words)}: {shows}. {p.caution}".rstrip(),
        f"From {part}{typical}. Rule: {rule.name} ({rule.source}).",
        shown,
        f"Colours: {colours}; contrast: "
        f"{displays.CONTRASTS[display.contrast]}. Zero is {zero}, "
        f"{displays.SCALES[display.scale]}: {sign}the {quantile:.1%} quantile of |value|, given "
        f"below each tile beside the {p.measure}; at most {share:.2%} {whose} are clipped.",
    ]


def _oddities(tiles: Sequence[FieldTile], pixels: Tensor) -> list[str]:
    lines = []
    if any(tile.frame != tile.window for tile in tiles):
        lines.append(HATCHED)
    if pixels.shape[1] not in (1, 3):
        lines.append(f"The network takes {pixels.shape[1]} channels; their mean is shown.")
    # Rounding in the network's input space leaves pixels a little outside; that is nothing to tell.
    share = ((pixels < -1e-3) | (pixels > 1 + 1e-3)).double().mean().item()
    if share:
        lines.append(f"{share:.2%} of the image's values lie outside 0 to 1 and are clipped.")
    if any(tile.scale.not_finite for tile in tiles):
        lines.append("Magenta: values that are not finite.")
    return lines
