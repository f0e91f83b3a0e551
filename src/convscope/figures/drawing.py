"""What a network's drawing is made of: boxes, texts and lines in inches, not yet painted."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from convscope.figures.lettering import shortened, width_of
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
PAD = 0.08
POINTS, TITLE_POINTS = 7.0, 7.5
LINE, TITLE_LINE = 1.35 * POINTS / 72, 1.35 * TITLE_POINTS / 72
SIGNS = frozenset({"add", "product"})
WORDS = {
    "average pool": "avg",
    "max pool": "max",
    "transposed convolution": "up",
    "upsampling": "up",
    "concatenation": "joined",
}

Point = tuple[float, float]
Edges = tuple[float, float, float, float]
"""Left, bottom, right, top."""


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
class Ground:
    """The ground behind a block with branches: left, bottom, right, top."""

    edges: Edges
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
    grounds: list[Ground] = field(default_factory=list)
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

    def append(self, other: "Drawing") -> None:
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
            ground.summary and ground.edges[0] == self.enter for ground in self.grounds
        )

    def add(self, other: "Drawing", right: float, up: float = 0.0) -> None:
        """Put another drawing in, moved to the right and up."""
        self.boxes += [replace(b, left=b.left + right, middle=b.middle + up) for b in other.boxes]
        self.texts += [replace(t, x=t.x + right, y=t.y + up) for t in other.texts]
        self.lines += [
            replace(line, points=tuple((x + right, y + up) for x, y in line.points))
            for line in other.lines
        ]
        for ground in other.grounds:
            left, bottom, far, top = ground.edges
            edges = (left + right, bottom + up, far + right, top + up)
            self.grounds.append(replace(ground, edges=edges))
        self.reach(other.right + right, other.top + up, other.bottom + up)


class Measures:
    """Sizes of a network's boxes: their edges grow with the square roots of what they stand for.

    The largest maps are *tallest* inches high.
    """

    def __init__(self, volumes: Sequence[Volume], tallest: float = TALLEST) -> None:
        maps = [v for v in volumes if max(v.size) > 1] or list(volumes)
        self.side, self.tallest = max(max(v.size) for v in maps), tallest
        self.channels = max(v.channels for v in maps)

    def box(self, volume: Volume, left: float, middle: float) -> Box:
        """Return a volume's box there."""
        if volume.kind in SIGNS:
            return Box(volume, left, middle, SIGN, SIGN, 0.0)
        high, back = (
            max(SMALLEST, self.tallest * (size / self.side) ** 0.5) for size in volume.size
        )
        wide = WIDEST * (volume.channels / self.channels) ** 0.5
        return Box(volume, left, middle, min(LONGEST, max(SMALLEST, wide)), high, DEPTH * back)


def label(volume: Volume, room: float) -> tuple[str, ...]:
    """Return a volume's name, and its window and channels."""
    if volume.kind == INPUT:
        return ("input", str(volume.channels))
    name = volume.name
    return shortened(name, room, POINTS), shortened(content(volume), room, POINTS)


def content(volume: Volume) -> str:
    """Return a volume's window and channels, as they stand below its name."""
    words = " ".join(word for word in (WORDS.get(volume.kind, ""), volume.detail) if word)
    return f"{words}, {volume.channels:,}" if words else f"{volume.channels:,}"
