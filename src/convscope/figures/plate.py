"""Plates drawn: nine patches and nine projections a channel, as many channels as find room."""

import numpy as np

from convscope.figures.lettering import one_line
from convscope.figures.sheet import NOTE_POINTS, Bare, Sheet
from convscope.figures.style import MARGIN, Style
from convscope.methods.plate import Plate
from convscope.methods.scanning.tiles import fitted
from convscope.methods.scanning.unit import AtlasUnit
from convscope.network.rules import rule_named
from convscope.wording import counted

DOTS = 240
"""Pixels an inch: tiles are small, and printed."""

ACROSS, SHOWN = 3, 9
NARROWEST, WIDEST = 1.45, 3.2
"""Inches of a channel's block."""

GAP, HALVES, APART = 2, 10, 30
"""Pixels between two tiles, between patches and projections, and between two channels."""

HEAD, FOOT, REST = 0.22, 0.19, 0.1


def figure(found: Plate, style: Style) -> Sheet:
    """Draw a plate: a row or more of channels a layer."""
    layers: dict[str, list[AtlasUnit]] = {}
    for unit in found.units:
        layers.setdefault(unit.layer, []).append(unit)
    room = style.width - 2 * MARGIN
    apart = APART / DOTS
    most = max(map(len, layers.values()))
    lines = -(-most // int((room + apart) / (NARROWEST + apart)))
    across = -(-most // lines)
    block = min(WIDEST, (room + apart) / across - apart)
    side = int((block * DOTS - HALVES - 4 * GAP) / (2 * ACROSS))
    rows = -(-min(SHOWN, max(1, *(len(unit.peak) for unit in found.units))) // ACROSS)
    high = (rows * (side + GAP) - GAP) / DOTS
    tops, top = {}, MARGIN
    for name, units in layers.items():
        tops[name], top = top, top + HEAD + -(-len(units) // across) * (high + FOOT) + REST
    sheet = Sheet.made_for(
        style, top, _caption(found), found.notes, [*tops.values()][1:], dots=DOTS
    )
    for name, units in layers.items():
        height, width = units[0].receptive_field
        title = f"{name}, reads {height} × {width} pixels"
        sheet.write(title, MARGIN, tops[name], NOTE_POINTS, room=room)
        for place, unit in enumerate(units):
            line, column = divmod(place, across)
            left = MARGIN + column * (block + apart)
            _draw(sheet, unit, left, tops[name] + HEAD + line * (high + FOOT), side, rows)
    return sheet


def _draw(sheet: Sheet, unit: AtlasUnit, left: float, top: float, side: int, rows: int) -> None:
    """Draw a channel's block and its name."""
    half = ACROSS * (side + GAP) - GAP
    wide, high = 2 * half + HALVES, rows * (side + GAP) - GAP
    if not len(unit.peak):
        sheet.write("never active", left, top, warns=True)
    mosaic = np.full((high, wide, 3), 255, dtype=np.uint8)
    for rank in range(min(SHOWN, len(unit.peak))):
        row, column = divmod(rank, ACROSS)
        for tiles, start in ((unit.patches, 0), (unit.projections, half + HALVES)):
            y, x = row * (side + GAP), start + column * (side + GAP)
            mosaic[y : y + side, x : x + side] = fitted(
                tiles[rank].numpy(), unit.enlarged, side, signed=start > 0
            )
    axes = sheet.axes(left, top, wide / DOTS, high / DOTS, Bare)
    axes.imshow(mosaic, interpolation="none", aspect="auto")
    axes.set_axis_off()
    sheet.write(unit.name, left, top + high / DOTS + 0.03, room=wide / DOTS)


def _caption(found: Plate) -> list[str]:
    """Return what must be known to read the figure; the first line is the short one."""
    unit = found.units[0]
    rule = rule_named(unit.rule)
    images = counted(unit.images, "image")
    clipped = max((float(x.clipped.max()) for x in found.units if len(x.peak)), default=0.0)
    return [
        f"{unit.network}: of each channel the strongest patches of {images}, and what "
        f"drives it there.",
        f"What in each image drives the unit, given the switches, over {one_line(unit.data)}. "
        f"Rule: {rule.name} ({rule.source}). Zero is mid-grey, each tile on its own scale: ± the "
        f"99.9% quantile of |value|; at most {clipped:.2%} of a tile's values are clipped.",
    ]
