"""Trees of channels drawn: the unit at the left, what feeds it to its right, and so on."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from convscope.display import Display
from convscope.figures.lettering import one_line, width_of
from convscope.figures.pieces import Piece, picture, row, sheet_of, stack, words
from convscope.figures.sheet import Bare, Sheet, frame_box, number, picture_of
from convscope.figures.style import COLOURS, FOOT_POINTS, NOTE_POINTS, Style
from convscope.methods.trace_unit import UnitTrace

HEAD, LINE, GAP = 0.24, 0.15, 0.06
GROWS = (1.0, 1.2, 2.0, 3.0)
"""How much larger nodes are, layer by layer up from the last one."""

LARGEST = (1.4, 0.8, 0.6, 0.42)
"""Inches of a node of the last layer at the most, by how many layers stand above it."""

APART, FARTHEST = 0.3, 1.5
"""Inches between two layers."""

THICKEST, THREAD = 3.0, "#9aa5ad"
PALE, AGAINST = 0.8, (0.1, 0.25, 0.65)
"""How pale a patch is where it has no relevance, and the colour of relevance below zero."""


class _Tree:
    """Where nodes are placed, in inches.

    Attributes:
        depth: which layer each node is of, the first one 0.
        sides: of a node of each layer.
        lefts: where each layer begins.
        rooms: how wide words below a node may be, of each layer.
        line: of the words below each node, two lines where one does not fit.
        feeders: the nodes that feed each node.
        places: the left and the top of each node.
        bottom: of all of them.
    """

    def __init__(self, found: UnitTrace, room: float, labels: Sequence[str]) -> None:
        self.levels = list(dict.fromkeys(found.layers))
        self.depth = [self.levels.index(layer) for layer in found.layers]
        self.feeders = [found.feeders(n) for n in range(len(self.depth))]
        self.last = len(self.levels) - 1
        strip = max(map(len, self.feeders)) if self.last > 1 else 1
        grows = np.array([GROWS[min(self.last - level, 3)] for level in range(self.last + 1)])
        whole, room = room, room - (strip - 1) * GAP
        side = (room - self.last * APART) / (grows.sum() + strip - 1)
        self.sides = grows * min(side, LARGEST[min(self.last, 3)])
        apart = (room - self.sides.sum() - (strip - 1) * self.sides[-1]) / max(self.last, 1)
        apart = min(apart, FARTHEST)
        self.lefts = np.cumsum([0, *self.sides[:-1] + apart])
        self.rooms = np.diff([*self.lefts, whole + GAP]) - GAP
        if self.last > 1:  # what stands in a row has others beside it
            self.rooms[-1] = self.sides[-1] + GAP / 2
        widths = [width_of(label, FOOT_POINTS) for label in labels]
        fits = all(wide <= self.rooms[d] for wide, d in zip(widths, self.depth, strict=True))
        self.line = LINE if fits else 2 * LINE
        self.places: dict[int, tuple[float, float]] = {}
        self.bottom = self._stack(0, 0.0)
        # The whole image stands above the unit's own node.
        down = max(0.0, self.sides[0] + HEAD - self.places[0][1])
        self.bottom += down
        self.places = {n: (left, top + down) for n, (left, top) in self.places.items()}

    def in_strip(self, node: int) -> bool:
        """Return whether what feeds a node stands in a row, as that of the last layer does."""
        return self.last > 1 and self.depth[node] == self.last - 1

    def _stack(self, node: int, top: float) -> float:
        """Place a node amid what feeds it; return where the next may begin."""
        side, bottom = self.sides[self.depth[node]], top
        for feeder in () if self.in_strip(node) else self.feeders[node]:
            bottom = self._stack(feeder, bottom)
        bottom = max(bottom, float(top + side + self.line + GAP))
        middle = (top + bottom - self.line - GAP) / 2
        self.places[node] = self.lefts[self.depth[node]], middle - side / 2
        for rank, feeder in enumerate(self.feeders[node] if self.in_strip(node) else ()):
            left = self.lefts[-1] + rank * (self.sides[-1] + GAP)
            self.places[feeder] = left, middle - self.sides[-1] / 2
        return bottom


def figure(found: UnitTrace, style: Style) -> Sheet:
    """Draw a tree."""
    labels = list(map(partial(_label, found), range(len(found.layers))))
    layout = _Tree(found, style.room, labels)
    image = picture_of(found.preprocess.to_pixels(found.images.cpu()))[0]
    frame = partial(frame_box, box=found.window[0, 0].tolist(), colour=COLOURS[0])
    smooth: dict[str, Any] = {"interpolation": "antialiased"}
    parts = [(0.0, 0.0, picture(image, layout.sides[0], paint=frame, **smooth))]
    for node, (left, top) in layout.places.items():
        depth, said = layout.depth[node], labels[node]
        if layout.line > LINE:
            said = "\n".join(said.rsplit(" ", 1))
        shown = picture(_lit(found, node, image), side := layout.sides[depth], side, **smooth)
        parts.append((left, top, stack(shown, words(said, layout.rooms[depth]))))

    def draw(sheet: Sheet, left: float, top: float) -> None:
        _threads(sheet, (left, top), layout, found.share.tolist())
        for x, y, part in parts:
            part.draw(sheet, left + x, top + y)

    tree = Piece(style.room, 0.0, layout.bottom, draw)
    beside = [*np.diff(layout.lefts), style.room - layout.lefts[-1]]
    heads = [
        words(layer, room - GAP, NOTE_POINTS, wrap=True)
        for layer, room in zip(layout.levels, beside, strict=True)
    ]
    pieces = [stack(row(heads, GAP), tree, gap=GAP)]
    return sheet_of(style, pieces, _caption(found), found.notes)


def _label(found: UnitTrace, node: int) -> str:
    """Return what stands below a node: its channel, and its share or the unit's activation."""
    name = one_line(found.names[0][node])
    if not node:
        return f"{name}: {number(float(found.activation[0, 0]))}"
    decimals = 0 if found.layers[node] == found.layers[-1] and len(set(found.layers)) > 2 else 1
    return f"{name.removeprefix('channel ')}: {float(found.share[node]):.{decimals}%}"


def _threads(sheet: Sheet, corner: tuple[float, float], layout: _Tree, shares: list[float]) -> None:
    """Draw a line from each node to what feeds it, or to the row of that, as thick as its share."""
    width, height = sheet.figure.get_size_inches()
    axes = sheet.axes(0, 0, width, height, Bare)
    left, top = corner
    axes.set(xlim=(-left, width - left), ylim=(height - top, -top), zorder=-1)
    axes.set_axis_off()
    most = max(map(abs, shares[1:]), default=1.0)
    for node, feeders in enumerate(layout.feeders):
        left, top = layout.places[node]
        side = layout.sides[layout.depth[node]]
        begin = left + side, top + side / 2
        for feeder in feeders[:1] if layout.in_strip(node) else feeders:
            below = layout.places[feeder]
            end = below[0], below[1] + layout.sides[layout.depth[feeder]] / 2
            middle = (begin[0] + end[0]) / 2
            curve = Path([begin, (middle, begin[1]), (middle, end[1]), end], [1, 4, 4, 4])
            thick = THICKEST * abs(shares[feeder]) / most
            colour = THREAD if shares[feeder] > 0 else AGAINST
            axes.add_patch(
                PathPatch(curve, fill=False, edgecolor=colour, linewidth=max(thick, 0.3))
            )


def _lit(found: UnitTrace, node: int, picture: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return what a node reads, [h, w, 3], in its colours where it has relevance, or else pale."""
    top, left, bottom, right = found.window[0, node].tolist()
    patch, values = picture[top:bottom, left:right], found.cropped(0, node)[0].double().numpy()
    limit = Display().scale_of(values).limit or 1.0
    strength = np.sqrt(np.clip(np.abs(values) / limit, 0, 1))[..., None]
    pale = PALE + (1 - PALE) * patch.mean(2, keepdims=True)
    coloured = np.where(values[..., None] < 0, np.array(AGAINST), patch)
    lit: npt.NDArray[np.float64] = pale + strength * (coloured - pale)
    return lit


def _caption(found: UnitTrace) -> list[str]:
    rule = found.how
    return [
        f"{found.network}: the channels that feed a unit most, and what feeds them; with shares of "
        f"the relevance of the channel they feed. In colours: where a channel has relevance; pale: "
        f"where it has none.",
        f"Each in the window of its strongest place, its colours the root of relevance, on a scale "
        f"of its own. Concept relevance propagation (Achtibat et al. 2022, "
        f"arXiv 2206.03208), rule {rule.name} ({rule.source}); lines as thick as shares, "
        f"to a row as its first.",
    ]
