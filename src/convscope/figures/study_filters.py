"""A study's filters, the variants side by side: all of layer 1, and what drives the strongest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from matplotlib.axes import Axes
from torch import Tensor

from convscope.display import Display, display_scale, to_display
from convscope.figures.sheet import NOTE_POINTS, Sheet, number, picture_of
from convscope.figures.style import MARGIN, Style
from convscope.figures.tile import Tile
from convscope.network.rules import RULES
from convscope.study.filters import StrongestFilters
from convscope.study.study_result import Study, VariantResult

GAP, BLOCK_GAP, FOOT, HEAD = 0.06, 0.24, 0.2, 0.62
NARROWEST = 1.4
"""Inches that a variant takes at least."""

LARGEST_TILE, SMALL_TILE = 0.98, 0.235
QUIET, STRUCK = "#8c8c8c", "#d62728"

Shown = tuple[Tile, npt.NDArray[Any]]
"""A tile, and which of its pictures is drawn."""


@dataclass(frozen=True)
class _Blocks:
    """Where the variants stand: as many side by side as find room.

    Attributes:
        across: how many.
        width: of each, in inches.
        height: of each.
    """

    across: int
    width: float
    height: float

    @classmethod
    def width_of(cls, found: Study, style: Style) -> tuple[int, float]:
        """Return how many variants find room side by side, and how wide each is."""
        room = style.width - 2 * MARGIN + BLOCK_GAP
        across = max(1, min(len(found.results), int(room / (NARROWEST + BLOCK_GAP))))
        return across, room / across - BLOCK_GAP

    def sheet(self, found: Study, style: Style, caption: Sequence[str]) -> Sheet:
        """Return a sheet with room for all of them."""
        lines = -(-len(found.results) // self.across)
        cuts = [MARGIN + line * self.height for line in range(1, lines)]
        return Sheet.made_for(style, MARGIN + lines * self.height, caption, found.notes, cuts)

    def headed(self, sheet: Sheet, found: Study) -> Iterator[tuple[VariantResult, float, float]]:
        """Write what each variant is; yield it with the left and the top of its block."""
        for place, result in enumerate(found.results):
            line, column = divmod(place, self.across)
            left, top = MARGIN + column * (self.width + BLOCK_GAP), MARGIN + line * self.height
            words = f"{result.variant.norm_words}\n{result.variant.padding_words}"
            sheet.write(words, left, top, NOTE_POINTS)
            yield result, left, top


def weights(found: Study, style: Style) -> Sheet:
    """Draw all filters of the first layer as colour tiles, strongest first."""
    across, wide = _Blocks.width_of(found, style)
    columns = int((wide + GAP) / (SMALL_TILE + GAP))
    lines = -(-len(found.results[0].shown.weights.weights) // columns)
    pitch, head = SMALL_TILE + GAP, HEAD - 0.2
    blocks = _Blocks(across, wide, head + lines * pitch + 0.1)
    sheet = blocks.sheet(found, style, _weights_caption(found))
    for result, left, top in blocks.headed(sheet, found):
        own = result.shown.weights
        for n, (values, dead) in enumerate(zip(own.weights, own.dead.tolist(), strict=True)):
            line, column = divmod(n, columns)
            corner = left + column * pitch, top + head + line * pitch
            axes = _draw(sheet, corner, SMALL_TILE, _weights_tile(values))
            if dead:
                axes.plot([0, 1], [0, 1], color=STRUCK, transform=axes.transAxes)
    return sheet


def first(found: Study, style: Style) -> Sheet:
    """Draw the first layer's strongest filters: weights, image patch and projection."""
    rows = [
        [
            [_weights_tile(weights), *tiles]
            for weights, tiles in zip(
                result.shown.weights.weights,
                _patch_and_projection(result.shown.first),
                strict=False,
            )
        ]
        for result in found.results
    ]
    own = [result.shown.first for result in found.results]
    return _strongest(found, style, own, rows, ("weights", "patch", "projection"), 1)


def last(found: Study, style: Style) -> Sheet:
    """Draw the last convolution's strongest filters: image patch and projection."""
    own = [result.shown.last for result in found.results]
    rows = [_patch_and_projection(one) for one in own]
    return _strongest(found, style, own, rows, ("patch", "projection"), len(found.layers))


def _strongest(
    found: Study,
    style: Style,
    filters: Sequence[StrongestFilters],
    rows: Sequence[Sequence[Sequence[Shown]]],
    words: Sequence[str],
    layer_number: int,
) -> Sheet:
    """Draw a filter a row, in a block for each variant."""
    across, wide = _Blocks.width_of(found, style)
    tile = min(LARGEST_TILE, (wide + GAP) / len(words) - GAP)
    blocks = _Blocks(across, wide, HEAD + max(map(len, rows)) * (tile + FOOT) + 0.1)
    tiles = [one for block_rows in rows for row in block_rows for one in row]
    sheet = blocks.sheet(found, style, _caption(found, filters[0], tiles, layer_number))
    each = zip(blocks.headed(sheet, found), filters, rows, strict=True)
    for (_, left, top), one, block_rows in each:
        for column, word in enumerate(words):
            middle = left + column * (tile + GAP) + tile / 2
            sheet.write(word, middle, top + HEAD - 0.06, ha="center", va="bottom")
        for k, row in enumerate(block_rows):
            above = top + HEAD + k * (tile + FOOT)
            for column, shown in enumerate(row):
                _draw(sheet, (left + column * (tile + GAP), above), tile, shown)
            foot = f"channel {one.channels[k]}, peak {number(one.strength[k].item())}"
            sheet.write(foot, left, above + tile + 0.03, room=wide)
    return sheet


def _draw(sheet: Sheet, corner: tuple[float, float], side: float, shown: Shown) -> Axes:
    tile, picture = shown
    axes = tile.draw(sheet, picture, (*corner, side), (QUIET, "solid"))
    axes.spines[:].set_linewidth(0.6)
    return axes


def _weights_tile(weights: Tensor) -> Shown:
    """Return a filter [3, h, w] as colours around mid-grey, on its own scale."""
    scale = display_scale(weights, 1.0)
    window, painted = (0, 0, *weights.shape[1:]), to_display(weights, scale)
    return Tile(painted, painted, window, window, scale), painted


def _patch_and_projection(found: StrongestFilters) -> list[list[Shown]]:
    """Return for each filter the image patch of its peak and the projection beside it."""
    pictures = picture_of(found.projection.preprocess.to_pixels(found.images.cpu()))
    tiles = [
        Tile.of_projection(found.projection, k, 0, picture, Display())
        for k, picture in enumerate(pictures)
    ]
    return [[(tile, tile.patch), (tile, tile.projection)] for tile in tiles]


def _caption(
    found: Study, filters: StrongestFilters, tiles: Sequence[Shown], layer_number: int
) -> list[str]:
    rule = RULES[filters.projection.rule]
    height, width = filters.projection.receptive_field
    share = max(tile.scale.clipped for tile, _ in tiles)
    lines = [
        f"The strongest filters of layer {layer_number}, and what in a held-out image drives each.",
        f"Strongest first, by the mean over {found.held_out:,} held-out images of the peak, of the "
        f"run with seed {found.results[0].runs[0].config.seed} of each variant. Patch: the "
        f"receptive field ({height} x {width} pixels) of the filter's highest activation; "
        f"projection: what in this patch drives the filter, given the switches.",
        f"Rule: {rule.name} ({rule.source}). Zero is mid-grey, each tile on its own scale; at most "
        f"{share:.2%} of a projection's values are clipped. Activations of two nets have no common "
        f"scale: compare mean peaks within a column only.",
    ]
    if any(tile.frame != tile.window for tile, _ in tiles):
        lines.append("Hatched: the receptive field reaches beyond the image.")
    return lines


def _weights_caption(found: Study) -> list[str]:
    dead = any(bool(result.shown.weights.dead.any()) for result in found.results)
    marked = " Struck through: dead." if dead else ""
    return [
        f"All filters of layer 1, strongest first.{marked}",
        "By the mean peak over the held-out images, of the run with seed "
        f"{found.results[0].runs[0].config.seed} of each variant: red, green and blue weights "
        "around mid-grey, each tile on its own scale (± its largest weight).",
    ]
