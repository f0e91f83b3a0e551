"""Plates drawn: nine patches and nine projections a channel, as many channels as find room."""

from dataclasses import replace

import numpy as np
from torch import Tensor

from convscope.figures.lettering import DOTS_AN_INCH, one_line
from convscope.figures.pieces import Piece, fitting, in_lines, picture, row, sheet_of, stack, words
from convscope.figures.sheet import Sheet
from convscope.figures.style import NOTE_POINTS, Style
from convscope.figures.tile import own_scales
from convscope.methods.plate import CHOICES, AtlasUnit, Plate
from convscope.methods.scanning.tiles import fitted
from convscope.network.rules import rule_named
from convscope.wording import counted, times

ACROSS, SHOWN = 3, 9
NARROWEST, WIDEST, APART = 1.45, 3.2, 0.125
"""Inches of a channel at least and at most, and between two."""

BETWEEN, HALVES = 2, 0.04
"""Pixels between two tiles, and inches between patches and projections."""


def figure(found: Plate, style: Style) -> Sheet:
    """Draw a plate: a row or more of channels a layer."""
    layers: dict[str, list[AtlasUnit]] = {}
    for unit in found.units:
        layers.setdefault(unit.layer, []).append(unit)
    most = max(map(len, layers.values()))
    across, wide = fitting(style.room, NARROWEST, most, APART, WIDEST)
    pieces = []
    for name, units in layers.items():
        title = f"{name}, reads {times(units[0].receptive_field)} pixels"
        rows = in_lines([_channel(unit, wide) for unit in units], across, APART)
        pieces.append(stack(words(title, style.room, NOTE_POINTS), *rows))
    return sheet_of(style, pieces, _caption(found), found.notes)


def _channel(unit: AtlasUnit, wide: float) -> Piece:
    half = (wide - HALVES) / 2
    halves = [strongest(unit, unit.patches, half)]
    if len(unit.peak):
        halves.append(strongest(unit, unit.projections, half, signed=True))
    return stack(row(halves, HALVES), words(unit.name, wide))


def strongest(unit: AtlasUnit, tiles: Tensor, room: float, signed: bool = False) -> Piece:
    """Return a channel's nine strongest patches, or its *signed* projections, three a row."""
    count = min(SHOWN, len(tiles))
    if not count:
        return words("never active", room, warns=True)
    side = (int(room * DOTS_AN_INCH) + BETWEEN) // ACROSS - BETWEEN
    shown = [fitted(own.numpy(), unit.enlarged, side, signed=signed) for own in tiles[:count]]
    high, wide, _ = shown[0].shape
    lines = -(-count // ACROSS)
    cells = np.full((lines, ACROSS, high + BETWEEN, wide + BETWEEN, 3), 255, np.uint8)
    for rank, own in enumerate(shown):
        cells[*divmod(rank, ACROSS), :high, :wide] = own
    mosaic = np.hstack([*np.hstack([*cells])])[:-BETWEEN, :-BETWEEN]
    high, wide = (dots / DOTS_AN_INCH for dots in mosaic.shape[:2])
    return replace(picture(mosaic, wide, high, interpolation="none", aspect="auto"), width=room)


def _caption(found: Plate) -> list[str]:
    unit = found.units[0]
    rule = rule_named(unit.rule)
    images = counted(unit.images, "image")
    chosen = f" Channels: {CHOICES[found.chosen]}." if found.chosen else ""
    return [
        f"{unit.network}, {rule.name}: of each channel the strongest patches of {images}, and what "
        f"in each drives the unit, given the switches; each on a scale of its own.{chosen}",
        f"Images: {one_line(unit.data)}. Rule: {rule.name} ({rule.source}). "
        f"{own_scales(float(x.clipped.max()) for x in found.units if len(x.peak))}",
    ]
