"""The strongest filters of the four variants side by side, and the first layer's filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from convscope.display import DisplayScale, beyond, display_scale, to_display
from convscope.figures.sheet import (
    FOOT_POINTS,
    MARGIN,
    NOTE_POINTS,
    Sheet,
    frame_tile,
    number,
    picture_of,
)
from convscope.images import Preprocess
from convscope.network.rules import RULES
from convscope.study.comparison import Comparison, VariantResult
from convscope.study.filters import StrongestFilters

GAP = 0.06
BLOCK_GAP = 0.3
HEAD = 0.62
FOOT = 0.2
QUIET = "#8c8c8c"
FIRST_TILE = 0.64
LAST_TILE = 0.98
SMALL_TILE = 0.235
SMALL_COLUMNS = 8
Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.float64]
Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Tile:
    """One picture and where it lies in the image that it was cut from.

    Attributes:
        shown: [h, w, 3].
        window: top, left, bottom, right of what is shown.
        frame: the same of the whole receptive field, which may reach beyond the image.
        clipped: share of the values beyond the scale.

    """

    shown: Pixels
    window: Window
    frame: Window
    clipped: float = 0.0


def first_layer_figure(comparison: Comparison) -> Sheet:
    """Draw the first layer's strongest filters: weights, image patch and projection."""
    rows = [
        [
            [_weights_tile(weights), *tiles]
            for weights, tiles in zip(
                result.shown.weights.weights,
                _patch_and_projection(result.shown.first, comparison.preprocess),
                strict=False,
            )
        ]
        for result in comparison.results
    ]
    found = [result.shown.first for result in comparison.results]
    words = ("weights", "patch", "projection")
    return _side_by_side(comparison, found, rows, words, FIRST_TILE, 1)


def last_layer_figure(comparison: Comparison) -> Sheet:
    """Draw the last convolution's strongest filters: image patch and projection."""
    found = [result.shown.last for result in comparison.results]
    rows = [_patch_and_projection(one, comparison.preprocess) for one in found]
    words = ("patch", "projection")
    return _side_by_side(comparison, found, rows, words, LAST_TILE, len(comparison.layers))


def weights_figure(comparison: Comparison) -> Sheet:
    """Draw all filters of the first layer as colour tiles, strongest first."""
    count = len(comparison.results[0].shown.weights.weights)
    columns = min(SMALL_COLUMNS, count)
    lines = -(-count // columns)
    block = columns * (SMALL_TILE + GAP) - GAP
    width = _width(block, len(comparison.results))
    height = MARGIN + HEAD - 0.2 + lines * (SMALL_TILE + GAP)
    sheet = Sheet.made_for(width, height, _weights_caption(comparison), "")
    for place, result in enumerate(comparison.results):
        left = MARGIN + place * (block + BLOCK_GAP)
        _write_head(sheet, result, left + block / 2)
        weights = result.shown.weights
        for n, (values, dead) in enumerate(
            zip(weights.weights, weights.dead.tolist(), strict=True)
        ):
            line, column = divmod(n, columns)
            corner = (
                left + column * (SMALL_TILE + GAP),
                MARGIN + HEAD - 0.2 + line * (SMALL_TILE + GAP),
            )
            _draw(sheet, corner, SMALL_TILE, _weights_tile(values), QUIET)
            if dead:
                axes = sheet.figure.axes[-1]
                axes.plot([0, 1], [0, 1], color="#d62728", transform=axes.transAxes)
    return sheet


def _side_by_side(
    comparison: Comparison,
    found: Sequence[StrongestFilters],
    rows: Sequence[Sequence[Sequence[_Tile]]],
    words: Sequence[str],
    tile: float,
    layer_number: int,
) -> Sheet:
    """Draw one block of tiles a variant, a filter a row."""
    block = len(words) * (tile + GAP) - GAP
    width = _width(block, len(rows))
    height = MARGIN + HEAD + max(map(len, rows)) * (tile + FOOT)
    tiles = [one for block_rows in rows for row in block_rows for one in row]
    sheet = Sheet.made_for(width, height, _caption(comparison, found[0], tiles, layer_number), "")
    for place, (result, one, block_rows) in enumerate(
        zip(comparison.results, found, rows, strict=True)
    ):
        left = MARGIN + place * (block + BLOCK_GAP)
        _write_head(sheet, result, left + block / 2)
        for column, word in enumerate(words):
            middle = left + column * (tile + GAP) + tile / 2
            sheet.write(
                word, middle, MARGIN + HEAD - 0.06, FOOT_POINTS, ha="center", va="bottom",
                warns=False,
            )  # fmt: skip
        for k, row in enumerate(block_rows):
            top = MARGIN + HEAD + k * (tile + FOOT)
            for column, shown in enumerate(row):
                _draw(sheet, (left + column * (tile + GAP), top), tile, shown, QUIET)
            foot = f"channel {one.channels[k]}, mean peak {number(one.strength[k].item())}"
            sheet.write(
                foot, left + block / 2, top + tile + 0.03, FOOT_POINTS, ha="center", va="top",
                warns=False,
            )  # fmt: skip
    return sheet


def _width(block: float, blocks: int) -> float:
    return 2 * MARGIN + blocks * (block + BLOCK_GAP) - BLOCK_GAP


def _write_head(sheet: Sheet, result: VariantResult, middle: float) -> None:
    words = f"{result.variant.norm_words}\n{result.variant.padding_words}"
    sheet.write(words, middle, MARGIN, NOTE_POINTS, ha="center", va="top", warns=False)


def _draw(sheet: Sheet, corner: tuple[float, float], side: float, tile: _Tile, colour: str) -> None:
    axes = sheet.axes(*corner, side)
    top, left, bottom, right = tile.window
    axes.imshow(
        tile.shown,
        interpolation="nearest",
        extent=(left - 0.5, right - 0.5, bottom - 0.5, top - 0.5),
    )
    frame_tile(axes, tile.frame, colour)
    for spine in axes.spines.values():
        spine.set_linewidth(0.6)


def _weights_tile(weights: Tensor) -> _Tile:
    """Return a filter [3, h, w] as colours around mid-grey, on its own scale."""
    scale = display_scale(weights, 1.0)
    window = (0, 0, *weights.shape[1:])
    return _Tile(to_display(weights, scale), window, window)


def _patch_and_projection(found: StrongestFilters, preprocess: Preprocess) -> list[list[_Tile]]:
    """Return for each filter the image patch of its peak and the projection beside it."""
    p = found.projection
    pictures = picture_of(preprocess.to_pixels(found.images.cpu()))
    differences = preprocess.difference_to_pixels(p.pixels[:, 0].cpu())
    tiles = []
    for k, picture in enumerate(pictures):
        top, left, bottom, right = p.window[k, 0].tolist()
        height, width = picture.shape[:2]
        first_row, end_row = beyond(top, bottom, height, p.receptive_field[0])
        first_column, end_column = beyond(left, right, width, p.receptive_field[1])
        window = (top, left, bottom, right)
        frame = (first_row, first_column, end_row, end_column)
        values = differences[k, :, top:bottom, left:right]
        scale: DisplayScale = display_scale(values)
        tiles.append(
            [
                _Tile(picture[top:bottom, left:right], window, frame),
                _Tile(to_display(values, scale), window, frame, scale.clipped),
            ]
        )
    return tiles


def _caption(
    comparison: Comparison, found: StrongestFilters, tiles: Sequence[_Tile], layer_number: int
) -> list[str]:
    rule = RULES[found.projection.rule]
    height, width = found.projection.receptive_field
    share = max(tile.clipped for tile in tiles)
    lines = [
        f"Layer {layer_number}: the filters with the highest mean peak over "
        f"{comparison.held_out:,} held-out images, strongest first, of the run with seed "
        f"{comparison.results[0].runs[0].config.seed} of each variant. Patch: the receptive field "
        f"({height} x {width} pixels) of the filter's highest activation; projection: what in this "
        f"patch drives the filter, given the switches.",
        f"Rule: {rule.name} ({rule.source}). Zero is mid-grey, each tile on its own scale; at most "
        f"{share:.2%} of a projection's values are clipped. Activations of two nets have no common "
        f"scale: compare mean peaks within a column only.",
    ]
    if any(tile.frame != tile.window for tile in tiles):
        lines.append("Hatched: the receptive field reaches beyond the image.")
    return lines


def _weights_caption(comparison: Comparison) -> list[str]:
    dead = any(bool(result.shown.weights.dead.any()) for result in comparison.results)
    marked = " Struck through: dead." if dead else ""
    return [
        "All filters of layer 1, strongest first (by mean peak), of the run with seed "
        f"{comparison.results[0].runs[0].config.seed} of each variant: red, green and blue weights "
        f"around mid-grey, each tile on its own scale (± its largest weight).{marked}"
    ]
