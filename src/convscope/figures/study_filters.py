"""A study's filters, the variants side by side: all of layer 1, and what drives the strongest."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
from matplotlib.axes import Axes
from torch import Tensor

from convscope.display import Display
from convscope.figures.pieces import Piece, fitting, in_lines, row, sheet_of, stack, words
from convscope.figures.sheet import Sheet, number, picture_of
from convscope.figures.style import NOTE_POINTS, Style
from convscope.figures.tile import HATCHED, FieldTile, own_scales
from convscope.network.rules import RULES
from convscope.study.filters import StrongestFilters
from convscope.study.study_result import Study, VariantResult
from convscope.wording import times

BETWEEN, APART = 0.06, 0.24
NARROWEST = 1.4
"""Inches that a variant takes at least."""

LARGEST_TILE, SMALL_TILE = 0.98, 0.235
QUIET, STRUCK = "#8c8c8c", "#d62728"

Shown = tuple[FieldTile, npt.NDArray[Any]]
"""A tile, and which of its pictures is drawn."""


def weights(found: Study, style: Style) -> Sheet:
    """Draw all filters of the first layer as colour tiles, strongest first."""
    across, wide = fitting(style.room, NARROWEST, len(found.results), APART)
    columns = int((wide + BETWEEN) / (SMALL_TILE + BETWEEN))
    variants = []
    for result in found.results:
        own = result.weights
        tiles = [
            _piece(_weights_tile(values), SMALL_TILE, struck=dead)
            for values, dead in zip(own.weights, own.dead.tolist(), strict=True)
        ]
        lines = in_lines(tiles, columns, BETWEEN)
        variants.append(stack(_heading(result, wide), stack(*lines, gap=BETWEEN), gap=0.06))
    dead = any(bool(result.weights.dead.any()) for result in found.results)
    caption = [
        f"All filters of layer 1, strongest first.{' Struck through: dead.' if dead else ''}",
        "By the mean peak over the held-out images, of the run with seed "
        f"{found.results[0].runs[0].config.seed} of each variant: red, green and blue weights "
        "around mid-grey, each tile on its own scale (± its largest weight).",
    ]
    return sheet_of(style, in_lines(variants, across, APART), caption, found.notes)


def first(found: Study, style: Style) -> Sheet:
    """Draw the first layer's strongest filters: weights, image patch and projection."""
    own = [result.first for result in found.results]
    rows = [
        [
            [_weights_tile(weights), *tiles]
            for weights, tiles in zip(
                result.weights.weights, _patch_and_projection(one), strict=False
            )
        ]
        for result, one in zip(found.results, own, strict=True)
    ]
    return _strongest(found, style, own, rows, ("weights", "patch", "projection"), 1)


def last(found: Study, style: Style) -> Sheet:
    """Draw the last convolution's strongest filters: image patch and projection."""
    own = [result.last for result in found.results]
    rows = [_patch_and_projection(one) for one in own]
    return _strongest(found, style, own, rows, ("patch", "projection"), len(found.layers))


def _strongest(
    found: Study,
    style: Style,
    filters: Sequence[StrongestFilters],
    rows: Sequence[Sequence[Sequence[Shown]]],
    heads: Sequence[str],
    layer_number: int,
) -> Sheet:
    """Draw a filter a row, variant beside variant."""
    across, wide = fitting(style.room, NARROWEST, len(found.results), APART)
    _, side = fitting(wide, SMALL_TILE, len(heads), BETWEEN, LARGEST_TILE)
    variants = []
    for result, one, own in zip(found.results, filters, rows, strict=True):
        above = [words(head, side, middle=True, spare=BETWEEN) for head in heads]
        pieces = [row(above, BETWEEN)]
        for k, shown in enumerate(own):
            foot = f"channel {one.channels[k]}, peak {number(one.strength[k].item())}"
            pieces += [row([_piece(tile, side) for tile in shown], BETWEEN), words(foot, wide)]
        variants.append(stack(_heading(result, wide), *pieces, gap=0.02))
    tiles = [tile for own in rows for shown in own for tile in shown]
    caption = _caption(found, filters[0], tiles, layer_number)
    return sheet_of(style, in_lines(variants, across, APART), caption, found.notes)


def _heading(result: VariantResult, wide: float) -> Piece:
    return words(f"{result.variant.norm_words}\n{result.variant.padding_words}", wide, NOTE_POINTS)


def _piece(tile: Shown, side: float, struck: bool = False) -> Piece:
    def paint(axes: Axes) -> None:
        axes.spines[:].set_linewidth(0.6)
        if struck:
            axes.plot([0, 1], [0, 1], color=STRUCK, transform=axes.transAxes)

    return tile[0].piece(tile[1], side, (QUIET, "solid"), paint=paint)


def _weights_tile(weights: Tensor) -> Shown:
    tile = FieldTile.of_weights(weights)
    return tile, tile.projection


def _patch_and_projection(found: StrongestFilters) -> list[list[Shown]]:
    pictures = picture_of(found.projection.preprocess.to_pixels(found.projection.images.cpu()))
    tiles = [
        FieldTile.of_projection(found.projection, k, 0, picture, Display())
        for k, picture in enumerate(pictures)
    ]
    return [[(tile, tile.patch), (tile, tile.projection)] for tile in tiles]


def _caption(
    found: Study, filters: StrongestFilters, tiles: Sequence[Shown], layer_number: int
) -> list[str]:
    rule, clipped = RULES[filters.projection.rule], (tile.scale.clipped for tile, _ in tiles)
    lines = [
        f"The strongest filters of layer {layer_number}, and what in a held-out image drives each.",
        f"Strongest first, by the mean over {found.held_out:,} held-out images of the peak, of the "
        f"run with seed {found.results[0].runs[0].config.seed} of each variant. Patch: the "
        f"receptive field ({times(filters.projection.receptive_field)} pixels) of the filter's "
        f"highest activation; projection: what in this patch drives the filter, given the "
        f"switches.",
        f"Rule: {rule.name} ({rule.source}). {own_scales(clipped)} Activations of two nets "
        f"have no common scale: compare mean peaks within a column only.",
    ]
    if any(tile.frame != tile.window for tile, _ in tiles):
        lines.append(HATCHED)
    return lines
