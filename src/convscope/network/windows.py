"""Windows: which rows (or columns) of a map one row of the next map reads, and which it touches.

Everything here is about one axis. A window is a pair ``(first, last)`` of row indices, both
included; ``None`` stands for "without end". A relation says, for a range of output rows, which
input rows the operation reads to make them, as if the maps had no borders; rows outside the map are
padding and are cut off by :func:`clip`. The receptive field of a unit is the composition of these
relations from its layer down to the image. Read the other way, a relation says which output rows
a range of input rows touches; from the image up that gives the projective field of a patch.
"""

from dataclasses import dataclass
from typing import Protocol

Range = tuple[int, int] | None


class Relation(Protocol):
    """How the rows of an operation's output depend on the rows of its input."""

    def reads(self, rows: Range) -> Range:
        """Return the input rows that the output rows *rows* depend on."""
        ...

    def touches(self, rows: Range) -> Range:
        """Return the output rows that depend on any of the input rows *rows*."""
        ...


def read_within(relation: Relation, rows: Range, size: int) -> tuple[int, int]:
    """Return the rows of a map of *size* rows that the output rows *rows* depend on.

    What lies wholly in the padding comes back empty, its last row before its first.

    >>> read_within(Sliding(kernel=3, padding=1), (0, 0), size=8)
    (0, 1)
    """
    if isinstance(relation, Padded):
        return relation.within(rows, size)
    return clip(relation.reads(rows), size)


def touched_within(relation: Relation, rows: Range, size: int, target: int) -> tuple[int, int]:
    """Return which of *target* output rows depend on the rows *rows* of a map of *size* rows.

    Where none does, the range comes back empty, its last row before its first.

    >>> touched_within(Sliding(kernel=3, padding=1), (0, 0), size=8, target=8)
    (0, 1)
    """
    if isinstance(relation, Padded):
        return relation.touched(rows, size, target)
    return clip(relation.touches(rows), target)


@dataclass(frozen=True)
class Sliding:
    """A kernel that slides over the input: convolution, pooling, padding, cropping.

    Output row ``i`` reads input rows ``i * stride - padding + t * dilation``, ``0 <= t < kernel``.

    >>> Sliding(kernel=3, stride=2, padding=1).reads((0, 1))
    (-1, 3)
    """

    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def reads(self, rows: Range) -> Range:
        """Return the input rows that the output rows *rows* depend on."""
        if rows is None:
            return None
        first, last = rows
        reach = self.dilation * (self.kernel - 1)
        return first * self.stride - self.padding, last * self.stride - self.padding + reach

    def touches(self, rows: Range) -> Range:
        """Return the output rows that depend on any of the input rows *rows*.

        >>> Sliding(kernel=3, stride=2, padding=1).touches((4, 4))
        (2, 2)
        """
        return Transposed(self.kernel, self.stride, self.padding, self.dilation).reads(rows)


@dataclass(frozen=True)
class Transposed:
    """A transposed convolution: a sliding kernel read the other way round.

    Input row ``i`` writes output rows ``i * stride - padding + t * dilation``.

    >>> Transposed(kernel=2, stride=2).reads((4, 5))
    (2, 2)
    """

    kernel: int
    stride: int
    padding: int = 0
    dilation: int = 1

    def reads(self, rows: Range) -> Range:
        """Return the input rows that the output rows *rows* depend on."""
        if rows is None:
            return None
        first, last = rows
        reach = self.dilation * (self.kernel - 1)
        # Rounded up for the first row and down for the last; -(-a // b) is the ceiling of a / b.
        return -(-(first + self.padding - reach) // self.stride), (
            last + self.padding
        ) // self.stride

    def touches(self, rows: Range) -> Range:
        """Return the output rows that depend on any of the input rows *rows*.

        >>> Transposed(kernel=2, stride=2).touches((2, 2))
        (4, 5)
        """
        return Sliding(self.kernel, self.stride, self.padding, self.dilation).reads(rows)


@dataclass(frozen=True)
class Resized:
    """Adaptive pooling or interpolation from *source* to *target* rows.

    ``margin`` is the number of neighbours that the interpolation reads beyond the covered rows.

    >>> Resized(source=7, target=3).reads((1, 1))
    (2, 4)
    """

    source: int
    target: int
    margin: int = 0

    def reads(self, rows: Range) -> Range:
        """Return the input rows that the output rows *rows* depend on."""
        if rows is None:
            return None
        first, last = rows
        start = first * self.source // self.target
        end = -(-(last + 1) * self.source // self.target) - 1
        return start - self.margin, end + self.margin

    def touches(self, rows: Range) -> Range:
        """Return the output rows that depend on any of the input rows *rows*.

        >>> Resized(source=7, target=3).touches((2, 2))
        (0, 1)
        """
        if rows is None:
            return None
        first, last = rows[0] - self.margin, rows[1] + self.margin
        return first * self.target // self.source, -(-(last + 1) * self.target // self.source) - 1


@dataclass(frozen=True)
class Padded:
    """Padding by *before* rows on top, and some below, with zeros or with rows of the map itself.

    *mode* is torch's word for what the padding holds: ``"constant"``, ``"reflect"``,
    ``"replicate"`` or ``"circular"``.

    >>> Padded(before=2, mode="reflect").within((0, 1), size=8)
    (1, 2)
    """

    before: int
    mode: str = "constant"

    def reads(self, rows: Range) -> Range:
        """Return the input rows that the output rows *rows* depend on, borders apart."""
        return Sliding(padding=self.before).reads(rows)

    def touches(self, rows: Range) -> Range:
        """Return the output rows that depend on any of the input rows *rows*, borders apart."""
        return Sliding(padding=self.before).touches(rows)

    def within(self, rows: Range, size: int) -> tuple[int, int]:
        """Return the rows of a map of *size* rows that the output rows *rows* depend on."""
        shifted = self.reads(rows)
        if self.mode == "constant" or shifted is None:
            return clip(shifted, size)
        found = [self._source(row, size) for row in range(shifted[0], shifted[1] + 1)]
        return min(found), max(found)

    def touched(self, rows: Range, size: int, target: int) -> tuple[int, int]:
        """Return which of *target* output rows depend on the rows *rows* of a map of *size*."""
        if self.mode == "constant" or rows is None:
            return clip(self.touches(rows), target)
        first, last = rows
        found = [
            row for row in range(target) if first <= self._source(row - self.before, size) <= last
        ]
        return (found[0], found[-1]) if found else (0, -1)

    def _source(self, row: int, size: int) -> int:
        if self.mode == "circular":
            return row % size
        if self.mode == "replicate":
            return min(max(row, 0), size - 1)
        return size - 1 - abs(size - 1 - abs(row))


@dataclass(frozen=True)
class Whole:
    """Every output row depends on every input row.

    >>> Whole().reads((3, 3)) is None
    True
    """

    def reads(self, rows: Range) -> Range:
        """Return the input rows that the output rows *rows* depend on: all of them."""
        return None

    def touches(self, rows: Range) -> Range:
        """Return the output rows that depend on any of the input rows *rows*: all of them."""
        return None


def union(one: Range, other: Range) -> Range:
    """Return the smallest range that holds both.

    >>> union((0, 2), (5, 6))
    (0, 6)
    """
    if one is None or other is None:
        return None
    return min(one[0], other[0]), max(one[1], other[1])


def clip(rows: Range, size: int) -> tuple[int, int]:
    """Return the part of *rows* that lies in a map of *size* rows.

    A range that lies wholly in the padding comes back empty, its last row before its first.

    >>> clip((-2, 3), 8), clip(None, 8)
    ((0, 3), (0, 7))
    """
    if rows is None:
        return 0, size - 1
    return max(rows[0], 0), min(rows[1], size - 1)
