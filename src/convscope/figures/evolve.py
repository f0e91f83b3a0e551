"""Evolution drawn: one row a layer, moments as columns (Zeiler & Fergus fig. 4), and curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from convscope.display import presentable
from convscope.figures.lettering import one_line
from convscope.figures.pieces import (
    RIGHT,
    SIDE,
    Piece,
    chart,
    key,
    row,
    sheet_of,
    space,
    stack,
    words,
)
from convscope.figures.sheet import Sheet, number, picture_of
from convscope.figures.style import Style, line_of
from convscope.figures.tile import HATCHED, FieldTile, own_scales
from convscope.methods.budget import evenly
from convscope.methods.projection import shown_values
from convscope.network.rules import RULES
from convscope.study.evolve import Evolution, FilterEvolution
from convscope.wording import counted

NARROWEST, LARGEST_TILE, BETWEEN = 0.58, 1.15, 0.07
"""Inches: the narrowest column under which numbers find room, the largest tile, between two."""

CURVES = 1.9
SAME, CHANGED = "#8c8c8c", "#d62728"


@dataclass(frozen=True)
class Row:
    """What is shown of one filter, of its strongest image at each of some moments."""

    layer: str
    channel: int
    tiles: list[FieldTile]
    activations: list[float]
    changed: list[bool]
    """Whether the image is another than at the entry before."""

    @classmethod
    def of(cls, found: Evolution, own: FilterEvolution, moments: Sequence[int]) -> "Row":
        """Return what is shown of a filter at some moments."""
        at = list(moments)
        pictures = picture_of(found.preprocess.to_pixels(own.images[at].cpu()))
        pixels = presentable(shown_values(found.preprocess, found.rule, own.pixels[at].cpu()))
        tiles = [
            FieldTile.of(picture, values[:, top:bottom, left:right], (top, left, bottom, right),
                    own.receptive_field)
            for picture, values, (top, left, bottom, right) in zip(
                pictures, pixels, own.window[at].tolist(), strict=True
            )
        ]  # fmt: skip
        numbers = own.number[at].tolist()
        changed = [False, *(a != b for a, b in pairwise(numbers))]
        layer, activations = one_line(own.layer), own.activation[at].tolist()
        return cls(layer, own.channel, tiles, activations, changed)


def figure(found: Evolution, style: Style) -> Sheet:
    """Draw each filter's strongest patch and projection at every moment, and the curves below.

    Where there is no room for every moment, some are shown, the first and the last among them.
    """
    room = style.room - SIDE
    moments = evenly(len(found.steps), max(2, int(room / NARROWEST)))
    pitch = room / len(moments)
    rows = [Row.of(found, own, moments) for own in found.filters]
    times = [("step", [f"{found.steps[m]:,}" for m in moments])]
    if found.epochs is not None:
        times.insert(0, ("epoch", [number(found.epochs[m]) for m in moments]))
    pieces = [
        _lines(times, pitch),
        *(_filter(own, pitch) for own in rows),
        distances(found, style.room, moments),
    ]
    return sheet_of(style, pieces, caption(found, rows), found.notes)


def _lines(lines: Sequence[tuple[str, Sequence[str]]], pitch: float) -> Piece:
    """Return a column of texts a moment, behind what each of their lines is."""
    what, texts = zip(*lines, strict=True)
    columns = ("\n".join(column) for column in zip(*texts, strict=True))
    return row(
        [words("\n".join(what), SIDE), *(words(one, pitch, middle=True) for one in columns)], 0.0
    )


def _filter(own: Row, pitch: float) -> Piece:
    side = min(LARGEST_TILE, pitch - BETWEEN)
    apart = pitch - side
    pairs = [pair(own, moment, side) for moment in range(len(own.tiles))]
    return stack(
        words(f"{own.layer}, channel {own.channel}", SIDE + len(pairs) * pitch),
        row([space(SIDE - apart / 2), *pairs], apart),
        _lines(
            [
                ("peak", [number(peak) for peak in own.activations]),
                ("scale ±", [number(tile.scale.limit) for tile in own.tiles]),
            ],
            pitch,
        ),
    )


def pair(own: Row, moment: int, side: float) -> Piece:
    """Return a patch and, below it, its projection, each *side* inches wide and framed."""
    tile, line = own.tiles[moment], (CHANGED if own.changed[moment] else SAME, "solid")
    tiles = [tile.piece(shown, side, line) for shown in (tile.patch, tile.projection)]
    return stack(*tiles, gap=BETWEEN / 2)


def distances(
    found: Evolution, room: float, moments: Sequence[int], until: int | None = None
) -> Piece:
    """Return how far every layer's filters still are from the final ones, and the curves' names.

    Some moments are named, each in the middle of a column of its own; the axes are the same
    whichever moment the curves are drawn *until*.
    """
    # Not from the first, red, which says of a frame that the image changed.
    lines = [line_of(place + 1) for place in range(len(found.distance))]
    kinds: list[dict[str, Any]] = [{"color": colour, "linestyle": style} for colour, style in lines]
    # What is not named lies between its neighbours that are.
    places = np.interp(range(len(found.steps)), moments, range(len(moments)))
    drawn = len(found.steps) if until is None else until + 1

    def paint(axes: Axes) -> None:
        for kind, own in zip(kinds, found.distance.values(), strict=True):
            axes.plot(places[:drawn], own.tolist()[:drawn], marker="o", markersize=3, **kind)
        times = found.steps if found.epochs is None else found.epochs
        texts = [f"{times[m]:,}" if found.epochs is None else number(times[m]) for m in moments]
        axes.set_xticks(range(len(moments)), texts)
        axes.set_xlim(-0.5, len(moments) - 0.5)
        farthest = max((float(d.nan_to_num(0).max()) for d in found.distance.values()), default=0.0)
        axes.set_ylim(0, 1.05 * farthest or 1)

    title = "distance from the final filters, share of their norm"
    across = "step" if found.epochs is None else "epoch"
    # As wide as the columns of tiles above it, to the right end.
    curves = chart(room + RIGHT, CURVES, paint, title, across)
    names = [name.removesuffix(".weight") for name in found.distance]
    return stack(curves, key(zip(names, kinds, strict=True), room))


def caption(found: Evolution, rows: Sequence[Row]) -> list[str]:
    """Return the short caption, and what else must be known to read the pictures."""
    rule = RULES[found.rule]
    clipped = (tile.scale.clipped for row in rows for tile in row.tiles)
    count = len(rows[0].tiles) if rows else 0
    some = "" if count == len(found.steps) else f"{count} of {len(found.steps)} moments. "
    images = counted(found.images, "training image")
    return [
        f"{one_line(found.network)}: what drives one filter a layer during training, given the "
        f"switches. Red: another image than before.",
        f"{some}Above, the patch of the receptive field of the filter's strongest activation over "
        f"{images}; below, the projection: what in this image drives the unit, given the switches. "
        f"Rule: {rule.name} ({rule.source}). {own_scales(clipped)} "
        f"{HATCHED}",
        "Curves: norm of a layer's filters minus its final ones, over the norm of the final ones.",
    ]
