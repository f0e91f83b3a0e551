"""Lanes: the parts of a network that run beside each other, up to where they meet."""

from collections.abc import Sequence
from dataclasses import replace

from convscope.figures.drawing import (
    ARROW,
    LINE,
    PAD,
    POINTS,
    SIGNS,
    Box,
    Drawing,
    Ground,
    Line,
    Measures,
    Point,
    Text,
    content,
)
from convscope.figures.lettering import shortened
from convscope.network.volumes import Volume

NAME = 0.82
"""Width that a name in a lane may have before its middle is left out, in inches."""
LANE_GAP = 0.1
MOST_LANES, MOST_LEVELS, MOST_VOLUMES = 10, 5, 40


def summary(volumes: Sequence[Volume], places: Sequence[int]) -> Drawing:
    """Return a part whose connections are too many to draw, as its contents in words."""
    kinds = [volumes[place_].kind for place_ in places]
    lines = tuple(f"{kinds.count(kind)} × {kind}" for kind in dict.fromkeys(kinds))
    connections = sum(len(volumes[place_].inputs) for place_ in places)
    lines += (f"{connections} connections", f"{volumes[places[-1]].channels:,} channels")
    text = Text(lines, 0.0, len(lines) * LINE / 2, POINTS)
    wide, high = text.size
    drawing = Drawing(enter=0.0, leave=wide + 2 * PAD)
    drawing.add_text(replace(text, x=PAD + wide / 2))
    drawing.grounds.append(
        Ground((0.0, -high / 2 - PAD, wide + 2 * PAD, high / 2 + PAD), summary=True)
    )
    drawing.reach(wide + 2 * PAD, high / 2 + PAD, -high / 2 - PAD)
    return drawing


class Lanes:
    """One volume, or several in parallel: chains beside each other, up to where they meet.

    Where a sum or a product joins them, the longest chain is on the axis; otherwise they lie
    around it. The last of the volumes' places joins the others, and names inside need not repeat
    the block's title.
    """

    def __init__(
        self, volumes: Sequence[Volume], places: Sequence[int], title: str, measures: Measures
    ) -> None:
        self.volumes, self.places, self.measures = volumes, places, measures
        self.module = title.partition(":")[0]
        self.inside, self.exit = set(places), places[-1]
        self.lanes = chains(volumes, places)
        inner = chains(volumes, places[:-1])
        self.around = len(inner) > 1 and volumes[self.exit].kind not in SIGNS
        if self.around:
            self.lanes = [*sorted(inner), [self.exit]]
        self.lane = {place_: n for n, lane in enumerate(self.lanes) for place_ in lane}
        skips = [
            (source, target)
            for target in places
            for source in volumes[target].inputs
            if self._skips(source, target)
        ]
        self.level = dict(zip(skips, levels_of(skips), strict=True))

    def are_too_many(self) -> bool:
        """Return whether a drawing would show only that there is a lot of it."""
        levels = max(self.level.values(), default=0) + 1
        return (
            len(self.lanes) > MOST_LANES or levels > MOST_LEVELS or len(self.places) > MOST_VOLUMES
        )

    def _skips(self, source: int, target: int) -> bool:
        """Return whether a connection has to pass above what lies on its way."""
        lane = self.lanes[self.lane[target]]
        spot = lane.index(target)
        if source not in self.inside:
            return spot > 0 or (target == self.exit and len(self.places) > 1)
        if self.lane[source] == self.lane[target]:
            return spot == 0 or lane[spot - 1] != source
        return target == self.exit and self.lanes[self.lane[source]][-1] != source

    def drawing(self) -> Drawing:
        """Return the boxes with their labels and connections."""
        boxes = self._boxes()
        last = boxes[self.exit]
        drawing = Drawing(leave=last.left + last.width)
        for box in boxes.values():
            drawing.add_box(box)
            if not box.is_sign:
                drawing.add_text(self._text(box))
        if len(boxes) == 1:
            drawing.enter = last.left
        else:
            self._connect(drawing, boxes)
        return drawing

    def _text(self, box: Box) -> Text:
        name, words = box.volume.name, content(box.volume)
        if self.module and name.partition(":")[0] == self.module:
            lines: tuple[str, ...] = (words,)
        else:
            name = name.removeprefix(f"{self.module}.") if self.module else name
            lines = (shortened(name, NAME, POINTS), words)
        lines = tuple(shortened(line, NAME, POINTS) for line in lines)
        return Text(lines, box.centre, box.bottom - 0.03, POINTS)

    def _half(self, box: Box) -> float:
        """Return half the width of a box's front, or of its label if that is wider."""
        return max(box.width, 0.0 if box.is_sign else self._text(box).size[0]) / 2

    def _end(self, box: Box) -> float:
        return max(box.right, box.centre + self._half(box))

    def _boxes(self) -> dict[int, Box]:
        """Return where the boxes are: rows of lanes, each box behind all that it reads."""
        heights = self._heights()
        boxes: dict[int, Box] = {}
        free = [ARROW * 1.2 if len(self.places) > 1 else 0.0] * len(self.lanes)
        for place_ in self.places:
            lane = self.lane[place_]
            box = self.measures.box(self.volumes[place_], 0.0, heights[lane])
            begin = free[lane]
            for source in self.volumes[place_].inputs:
                if source in boxes:
                    apart = ARROW * (1.6 if self.lane[source] != lane else 1.0)
                    begin = max(begin, self._end(boxes[source]) + apart)
            box = replace(box, left=begin + self._half(box) - box.width / 2)
            boxes[place_] = box
            free[lane] = self._end(box) + ARROW
        return boxes

    def _heights(self) -> list[float]:
        lanes = self.lanes[:-1] if self.around else self.lanes
        above, below = [], []
        for lane in lanes:
            own = [self.measures.box(self.volumes[place_], 0.0, 0.0) for place_ in lane]
            above.append(max(box.top for box in own))
            labels = [0.0 if box.is_sign else self._text(box).size[1] + 0.03 for box in own]
            below.append(max(x - box.bottom for x, box in zip(labels, own, strict=True)))
        axes = [0.0]
        for lower, upper in zip(below, above[1:], strict=False):
            axes.append(axes[-1] - lower - upper - LANE_GAP)
        if not self.around:
            return axes
        middle = (above[0] + axes[-1] - below[-1]) / 2
        return [*(axis - middle for axis in axes), 0.0]

    def _connect(self, drawing: Drawing, boxes: dict[int, Box]) -> None:
        top = drawing.top + 0.07
        for target in self.places:
            for source in self.volumes[target].inputs:
                start, end = boxes.get(source), boxes[target]
                if (source, target) in self.level:
                    high = top + 0.09 * self.level[source, target]
                    drawing.lines.append(self._over(start, end, high))
                    drawing.reach(0.0, high, 0.0)
                else:
                    last = self.lanes[self.lane.get(source, 0)][-1] == source
                    drawing.lines.append(self._beside(start, end, late=last))

    def _beside(self, start: Box | None, end: Box, late: bool) -> Line:
        """Return a line along a lane, or from one to another; *late*: turning off at its end."""
        begin = (0.0, 0.0) if start is None else (start.left + start.width, start.middle)
        goal = (end.left, end.middle)
        if begin[1] == goal[1]:
            return Line((begin, goal))
        if start is None:
            turn = ARROW * 0.5
        elif late:
            turn = end.centre - self._half(end) - ARROW * 0.8
        else:
            turn = self._end(start) + ARROW * 0.4
        if end.is_sign and start is not None:
            # From below, into the circle.
            goal = (end.centre, end.middle - end.height / 2)
            return Line((begin, (end.centre, begin[1]), goal))
        return Line((begin, (turn, begin[1]), (turn, goal[1]), goal))

    def _over(self, start: Box | None, end: Box, high: float) -> Line:
        """Return a line that passes above the boxes between its ends."""
        begin, turn = (0.0, 0.0), ARROW * 0.5
        if start is not None:
            begin = (start.left + start.width, start.middle)
            turn = self._end(start) + ARROW * 0.4
        points: list[Point] = [begin, (turn, begin[1]), (turn, high)]
        if end.is_sign:
            points += [(end.centre, high), (end.centre, end.middle + end.height / 2)]
        else:
            x = end.centre - self._half(end) - ARROW * 0.4
            points += [(x, high), (x, end.middle), (end.left, end.middle)]
        return Line(tuple(points))


def chains(volumes: Sequence[Volume], places: Sequence[int]) -> list[list[int]]:
    """Return volumes as chains, the longest first, which ends in the last volume.

    >>> v = [Volume(str(n), "convolution", "", 1, 1, 1, i) for n, i in
    ...      enumerate([(), (0,), (0,), (2,), (1, 3)])]
    >>> chains(v, [1, 2, 3, 4])
    [[2, 3, 4], [1]]
    """
    left = list(places)
    found: list[list[int]] = []
    while left:
        longest: dict[int, list[int]] = {}
        for place_ in left:
            before = [longest[s] for s in volumes[place_].inputs if s in longest]
            longest[place_] = [*max(before, key=len, default=[]), place_]
        chain = longest[left[-1]] if not found else max(longest.values(), key=len)
        found.append(chain)
        left = [place_ for place_ in left if place_ not in chain]
    return found


def levels_of(spans: Sequence[tuple[int, int]]) -> list[int]:
    """Return for each span the lowest level on which no other is in its way, short ones below.

    >>> levels_of([(0, 9), (1, 3), (4, 8), (2, 6)])
    [2, 0, 0, 1]
    """
    levels: dict[int, int] = {}
    for number in sorted(range(len(spans)), key=lambda n: spans[n][1] - spans[n][0]):
        first, last = spans[number]
        taken = {
            level
            for other, level in levels.items()
            if spans[other][0] < last and first < spans[other][1]
        }
        levels[number] = next(n for n in range(len(spans) + 1) if n not in taken)
    return [levels[number] for number in range(len(spans))]
