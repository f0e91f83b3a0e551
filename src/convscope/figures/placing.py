"""A network's drawing placed on paper: boxes, lines and texts in inches; nothing is painted here.

The trunk of the network runs from left to right along an axis, and on in the next row where one is
full. What runs in parallel lies in lanes above and below the axis; what skips others passes above
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from convscope.figures.lettering import shortened, width_of
from convscope.network.outline import Block, Group, narrow, outline
from convscope.network.volumes import INPUT, Volume

TALLEST = 1.55
"""Height of the box of the largest maps, in inches."""
WIDEST = 0.3
"""Width of the box of the most channels among maps, in inches."""
LONGEST = 0.9
SMALLEST = 0.045
DEPTH = 0.32
"""How far a box goes back, each way, as a share of what its columns would be in height."""
SIGN = 0.17
ARROW = 0.2
ROW = 11.4
"""A row's width in inches where no single block is wider."""
POINTS, TITLE_POINTS = 6.0, 7.0
LINE, TITLE_LINE = 1.35 * POINTS / 72, 1.35 * TITLE_POINTS / 72
PAD = 0.08
NAME = 0.82
"""Width that a name in a lane may have before its middle is left out."""
PITCH = 2 * LINE + 0.05
LANE_GAP = 0.1
ROW_GAP = 0.26
MOST_LANES, MOST_LEVELS, MOST_VOLUMES = 10, 5, 40
SIGNS = frozenset({"add", "product"})
WORDS = {
    "average pool": "avg",
    "max pool": "max",
    "transposed convolution": "up",
    "upsampling": "up",
    "concatenation": "joined",
}

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A volume as a box in oblique projection, or as a circle for a sum or product.

    Attributes:
        volume: what it stands for.
        left, middle: where its front is: its left edge, and the height of its centre (y goes up).
        width, height: of its front.
        depth: how far its back is shifted, to the right and up.

    """

    volume: Volume
    left: float
    middle: float
    width: float
    height: float
    depth: float

    @property
    def right(self) -> float:
        """The right end of its back."""
        return self.left + self.width + self.depth

    @property
    def top(self) -> float:
        """The upper end of its back."""
        return self.middle + self.height / 2 + self.depth

    @property
    def bottom(self) -> float:
        """The lower end of its front."""
        return self.middle - self.height / 2

    @property
    def centre(self) -> float:
        """The middle of its front, from left to right."""
        return self.left + self.width / 2

    @property
    def is_sign(self) -> bool:
        """Whether it is drawn as a circle."""
        return self.volume.kind in SIGNS


@dataclass(frozen=True)
class Text:
    """Text at a place: *x* is its centre, *y* its upper end; *turned* reads upwards."""

    lines: tuple[str, ...]
    x: float
    y: float
    points: float
    turned: bool = False
    weight: str = "normal"

    @property
    def size(self) -> tuple[float, float]:
        """Width and height on paper."""
        wide = max(width_of(line, self.points, self.weight) for line in self.lines)
        high = len(self.lines) * 1.35 * self.points / 72
        return (high, wide) if self.turned else (wide, high)


@dataclass(frozen=True)
class Line:
    """A line through points, with or without an arrow's head at its end."""

    points: tuple[Point, ...]
    arrow: bool = True


@dataclass(frozen=True)
class Panel:
    """The ground behind a block with branches: left, bottom, right, top."""

    edges: tuple[float, float, float, float]
    summary: bool = False


@dataclass
class Drawing:
    """Things in their places, from x = 0 on, around the axis at y = 0.

    Attributes:
        enter, leave: where the axis meets the first of them, and comes out of the last.
        begun: whether the axis comes from somewhere, so that an arrow leads to what follows.
        right, top, bottom: the ends of what is there.

    """

    boxes: list[Box] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    enter: float = 0.0
    leave: float = 0.0
    begun: bool = False
    right: float = 0.0
    top: float = 0.0
    bottom: float = 0.0

    def reach(self, right: float, top: float, bottom: float) -> None:
        """Grow to hold what ends there."""
        self.right = max(self.right, right)
        self.top, self.bottom = max(self.top, top), min(self.bottom, bottom)

    def add_box(self, box: Box) -> None:
        """Put a box in its place."""
        self.boxes.append(box)
        self.reach(box.right, box.top, box.bottom)

    def add_text(self, text: Text) -> None:
        """Put a text in its place."""
        self.texts.append(text)
        wide, high = text.size
        self.reach(text.x + wide / 2, text.y, text.y - high)

    def append(self, other: Drawing) -> None:
        """Put another drawing behind this one, with an arrow from this to that."""
        left = self.right + ARROW
        if self.begun:
            self.lines.append(Line(((self.leave, 0.0), (left + other.enter, 0.0)), other.takes))
        else:
            self.enter = left + other.enter
        self.add(other, left)
        self.leave, self.begun = left + other.leave, True

    @property
    def takes(self) -> bool:
        """Whether something is drawn where the axis enters, for an arrow to point at."""
        return any(box.left == self.enter and box.middle == 0 for box in self.boxes) or any(
            panel.summary and panel.edges[0] == self.enter for panel in self.panels
        )

    def add(self, other: Drawing, right: float, up: float = 0.0) -> None:
        """Put another drawing in, moved to the right and up."""
        self.boxes += [replace(b, left=b.left + right, middle=b.middle + up) for b in other.boxes]
        self.texts += [replace(t, x=t.x + right, y=t.y + up) for t in other.texts]
        self.lines += [
            replace(line, points=tuple((x + right, y + up) for x, y in line.points))
            for line in other.lines
        ]
        for panel in other.panels:
            left, bottom, far, top = panel.edges
            edges = (left + right, bottom + up, far + right, top + up)
            self.panels.append(replace(panel, edges=edges))
        self.reach(other.right + right, other.top + up, other.bottom + up)


@dataclass(frozen=True)
class Measures:
    """Sizes of boxes: their edges grow with the square roots of what they stand for.

    Attributes:
        side: rows or columns of the largest maps.
        channels: the most channels among the maps.
        tallest: inches that the largest maps are high.

    """

    side: int
    channels: int
    tallest: float = TALLEST

    @classmethod
    def of(cls, volumes: Sequence[Volume], tallest: float = TALLEST) -> Measures:
        """Return the sizes that suit a network."""
        maps = [v for v in volumes if max(v.size) > 1] or list(volumes)
        return cls(max(max(v.size) for v in maps), max(v.channels for v in maps), tallest)

    def box(self, volume: Volume, left: float, middle: float) -> Box:
        """Return a volume's box there."""
        if volume.kind in SIGNS:
            return Box(volume, left, middle, SIGN, SIGN, 0.0)
        high, back = (
            max(SMALLEST, self.tallest * (size / self.side) ** 0.5) for size in volume.size
        )
        wide = WIDEST * (volume.channels / self.channels) ** 0.5
        return Box(volume, left, middle, min(LONGEST, max(SMALLEST, wide)), high, DEPTH * back)


def place(volumes: Sequence[Volume], row: float = ROW) -> Drawing:
    """Return a network's drawing, its rows below each other.

    Args:
        volumes: what :func:`~convscope.network.volumes.volumes_of` returned.
        row: inches that a row is wide; one block that is wider makes its row wider.

    """
    whole, above = Drawing(), 0.0
    rows = _rows(_Placing(volumes).stretches(), row)
    for number, drawing in enumerate(rows):
        axis = above - drawing.top
        whole.add(drawing, 0.0, axis)
        if number < len(rows) - 1:
            end = drawing.right + ARROW
            whole.lines.append(Line(((drawing.leave, axis), (end, axis))))
            whole.reach(end, axis, axis)
        above += drawing.bottom - drawing.top - ROW_GAP
    return whole


def _rows(stretches: list[Drawing], row: float) -> list[Drawing]:
    """Return the stretches one after the other, in rows."""
    found: list[Drawing] = []
    for stretch in stretches:
        if not found or found[-1].right + ARROW + stretch.right > row:
            # The first row begins at the left end; an arrow leads into every other.
            goes_on = bool(found)
            found.append(Drawing(right=ARROW if goes_on else -ARROW, begun=goes_on))
        found[-1].append(stretch)
    return found


class _Placing:
    """Places the parts of one network."""

    def __init__(self, volumes: Sequence[Volume]) -> None:
        self.volumes = volumes
        self.trunk = set(narrow(volumes))
        self.groups = outline(volumes)
        branches = any(block.branches for group in self.groups for block in group.blocks)
        self.measures = Measures.of(volumes, TALLEST * (0.8 if branches else 1.0))

    def stretches(self) -> list[Drawing]:
        """Return the drawings that stay in one row each."""
        found: list[Drawing] = []
        run: list[Volume] = []
        for group in self.groups:
            if group.times == 1 and not any(block.branches for block in group.blocks):
                run += [self.volumes[place_] for b in group.blocks for place_ in b.volumes]
                continue
            found += [*_plain(run, self.measures), self._grouped(group)]
            run = []
        return found + _plain(run, self.measures)

    def _grouped(self, group: Group) -> Drawing:
        """Return a group of blocks on a ground of their own, under their name and size."""
        inside = Drawing(right=-ARROW)
        for block in group.blocks:
            for part in self._parts(block):
                inside.append(self._part(block, part))
        first, last = group.blocks[0].title, group.last
        heading = first if first == last else f"{first} to {last}"
        if group.times > 1:
            heading += f": {group.times} times"
        size = _title(self.volumes[group.blocks[-1].volumes[-1]].size)
        return _on_ground(inside, heading, size)

    def _parts(self, block: Block) -> list[tuple[int, ...]]:
        """Return a block's volumes, parted behind each that everything passes through."""
        parts: list[tuple[int, ...]] = [()]
        for place_ in block.volumes:
            parts[-1] += (place_,)
            if place_ in self.trunk:
                parts.append(())
        return parts[:-1]

    def _part(self, block: Block, places: tuple[int, ...]) -> Drawing:
        lanes = Lanes(self.volumes, places, block.title, self.measures)
        return _summary(self.volumes, places) if lanes.are_too_many() else lanes.drawing()


def _plain(run: Sequence[Volume], measures: Measures) -> list[Drawing]:
    """Return a chain of volumes as stretches of maps of one size, each under its size."""
    stretches: list[list[Volume]] = []
    for volume in run:
        if stretches and stretches[-1][-1].size == volume.size:
            stretches[-1].append(volume)
        else:
            stretches.append([volume])
    return [_stretch(volumes, measures) for volumes in stretches]


def _stretch(volumes: Sequence[Volume], measures: Measures) -> Drawing:
    drawing = Drawing()
    for volume in volumes:
        box = measures.box(volume, 0.0, 0.0)
        if drawing.boxes:
            before = drawing.boxes[-1]
            behind = before.left + before.width
            left = max(behind + 0.07, before.centre + PITCH - box.width / 2)
            drawing.lines.append(Line(((behind, 0.0), (left, 0.0)), arrow=False))
        else:
            left = drawing.enter = max(0.0, LINE - box.width / 2)
        box = replace(box, left=left)
        drawing.add_box(box)
        label = _label(volume, 10.0)
        drawing.add_text(Text(label, box.centre, box.bottom - 0.05, POINTS, turned=True))
        drawing.leave = box.left + box.width
    title = _title(volumes[0].size)
    middle = max((drawing.enter + drawing.right) / 2, width_of(title, TITLE_POINTS, "bold") / 2)
    above = drawing.top + 0.05 + TITLE_LINE
    drawing.add_text(Text((title,), middle, above, TITLE_POINTS, weight="bold"))
    return drawing


def _title(size: tuple[int, int]) -> str:
    return "1×1" if max(size) == 1 else f"{size[0]}×{size[1]}"


def _label(volume: Volume, room: float) -> tuple[str, ...]:
    """Return a volume's name, and its window and channels."""
    if volume.kind == INPUT:
        return ("input", str(volume.channels))
    name = volume.name
    return shortened(name, room, POINTS), shortened(_content(volume), room, POINTS)


def _content(volume: Volume) -> str:
    words = " ".join(word for word in (WORDS.get(volume.kind, ""), volume.detail) if word)
    return f"{words}, {volume.channels:,}" if words else f"{volume.channels:,}"


def _on_ground(inside: Drawing, heading: str, size: str) -> Drawing:
    """Return a drawing on a ground of its own, under a heading."""
    tail = f"   {size}" if heading else size
    room = max(inside.right, 1.4) - width_of(tail, TITLE_POINTS, "bold")
    # Bold letters are wider than those that the text is shortened by.
    text = (shortened(heading, 0.9 * room, TITLE_POINTS) if heading else "") + tail
    wide = max(inside.right, width_of(text, TITLE_POINTS, "bold"))
    shift = PAD + (wide - inside.right) / 2
    drawing = Drawing(enter=0.0, leave=wide + 2 * PAD)
    drawing.add(inside, shift)
    top = inside.top + 0.05 + TITLE_LINE
    drawing.add_text(Text((text,), PAD + wide / 2, top, TITLE_POINTS, weight="bold"))
    drawing.panels.insert(0, Panel((0.0, inside.bottom - PAD, wide + 2 * PAD, top + PAD / 2)))
    drawing.lines += [
        Line(((0.0, 0.0), (shift + inside.enter, 0.0)), arrow=inside.takes),
        Line(((shift + inside.leave, 0.0), (wide + 2 * PAD, 0.0)), arrow=False),
    ]
    drawing.reach(wide + 2 * PAD, top + PAD / 2, inside.bottom - PAD)
    return drawing


def _summary(volumes: Sequence[Volume], places: Sequence[int]) -> Drawing:
    """Return a part whose connections are too many to draw, as its contents in words."""
    kinds = [volumes[place_].kind for place_ in places]
    lines = tuple(f"{kinds.count(kind)} × {kind}" for kind in dict.fromkeys(kinds))
    connections = sum(len(volumes[place_].inputs) for place_ in places)
    lines += (f"{connections} connections", f"{volumes[places[-1]].channels:,} channels")
    text = Text(lines, 0.0, len(lines) * LINE / 2, POINTS)
    wide, high = text.size
    drawing = Drawing(enter=0.0, leave=wide + 2 * PAD)
    drawing.add_text(replace(text, x=PAD + wide / 2))
    drawing.panels.append(
        Panel((0.0, -high / 2 - PAD, wide + 2 * PAD, high / 2 + PAD), summary=True)
    )
    drawing.reach(wide + 2 * PAD, high / 2 + PAD, -high / 2 - PAD)
    return drawing


class Lanes:
    """One volume, or several in parallel: chains beside each other, up to where they meet.

    Where a sum or a product joins them, the longest chain is on the axis; otherwise they lie
    around it.

    Args:
        volumes: the network's.
        places: those of the part, the last of which joins the others.
        title: the name of the block, which names inside need not repeat.
        measures: how large the boxes are.

    """

    def __init__(
        self, volumes: Sequence[Volume], places: Sequence[int], title: str, measures: Measures
    ) -> None:
        self.volumes, self.places, self.measures = volumes, places, measures
        self.module = title.partition(":")[0]
        self.inside, self.exit = set(places), places[-1]
        self.lanes = _chains(volumes, places)
        inner = _chains(volumes, places[:-1])
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
        self.level = dict(zip(skips, _levels(skips), strict=True))

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
        name, content = box.volume.name, _content(box.volume)
        if self.module and name.partition(":")[0] == self.module:
            lines: tuple[str, ...] = (content,)
        else:
            name = name.removeprefix(f"{self.module}.") if self.module else name
            lines = (shortened(name, NAME, POINTS), content)
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
        """Return the height of each lane's axis."""
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


def _chains(volumes: Sequence[Volume], places: Sequence[int]) -> list[list[int]]:
    """Return volumes as chains, the longest first, which ends in the last volume.

    >>> v = [Volume(str(n), "convolution", "", 1, 1, 1, i) for n, i in
    ...      enumerate([(), (0,), (0,), (2,), (1, 3)])]
    >>> _chains(v, [1, 2, 3, 4])
    [[2, 3, 4], [1]]
    """
    left = list(places)
    chains: list[list[int]] = []
    while left:
        longest: dict[int, list[int]] = {}
        for place_ in left:
            before = [longest[s] for s in volumes[place_].inputs if s in longest]
            longest[place_] = [*max(before, key=len, default=[]), place_]
        chain = longest[left[-1]] if not chains else max(longest.values(), key=len)
        chains.append(chain)
        left = [place_ for place_ in left if place_ not in chain]
    return chains


def _levels(spans: Sequence[tuple[int, int]]) -> list[int]:
    """Return for each span the lowest level on which no other is in its way, short ones below.

    >>> _levels([(0, 9), (1, 3), (4, 8), (2, 6)])
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


def texts_of(drawing: Drawing) -> Iterable[tuple[Text, tuple[float, float, float, float]]]:
    """Yield the texts with their edges: left, bottom, right, top."""
    for text in drawing.texts:
        wide, high = text.size
        yield text, (text.x - wide / 2, text.y - high, text.x + wide / 2, text.y)
