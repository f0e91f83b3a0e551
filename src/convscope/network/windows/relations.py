"""Windows: which rows (or columns) of a map one row of the next map reads, and which it touches.

Everything here is about one axis. A window is a pair ``(first, last)`` of row indices, both
included; ``None`` stands for "without end". A relation says, for a range of output rows, which
input rows the operation reads to make them, as if the maps had no borders; rows outside the map are
padding and are cut off by :func:`clip`. The receptive field of a unit is the composition of these
relations from its layer down to the image, by :func:`read_by` row by row where a dilated kernel
leaves rows out. Read the other way, a relation says which output rows a range of input rows
touches; from the image up that gives the projective field of a patch.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Range = tuple[int, int] | None
Array = NDArray[np.int64]
Rows = Range | Array
"""Rows that are read: a range, or those that are, in order, where some between them are not."""
NO_ROWS = (0, -1)


class Relation:
    """How the rows of an operation's output depend on the rows of its input."""

    @property
    def pace(self) -> Fraction:
        """How many rows of the input further the next row of the output reads, on average."""
        return Fraction(1)

    def reads(self, rows: Range) -> Range:
        """Return a range that holds the input rows that the output rows *rows* depend on."""
        return None if rows is None else self._reads(*rows)

    def touches(self, rows: Range) -> Range:
        """Return a range that holds the output rows that depend on any of the rows *rows*."""
        return None if rows is None else self._touches(*rows)

    def touched(self, rows: Range, size: int, target: int) -> tuple[int, int]:
        """Return which of *target* output rows depend on the rows *rows* of a map of *size* rows.

        Where none does, the range comes back empty, its last row before its first.

        >>> Sliding(kernel=3, padding=1).touched((0, 0), size=8, target=8)
        (0, 1)
        """
        return clip(self.touches(rows), target)

    def has_gaps(self, rows: tuple[int, int]) -> bool:
        """Return whether :meth:`reads` may hold rows that are not read."""
        return False

    def sources(self, rows: Array) -> Array:
        """Return exactly the input rows that some output rows depend on, borders apart."""
        raise NotImplementedError

    def inside(self, rows: Array, size: int) -> Array:
        """Return the rows of the map that stand for *rows*, some of which lie outside."""
        return rows

    def _reads(self, first: int, last: int) -> Range:
        raise NotImplementedError

    def _touches(self, first: int, last: int) -> Range:
        raise NotImplementedError


def read_by(relation: Relation, rows: Rows, size: int | None = None) -> Rows:
    """Return exactly the rows that the output rows *rows* depend on.

    Args:
        relation: what the operation reads.
        rows: rows of its output.
        size: how many rows its input has; None to take the map as endless.

    Returns:
        the rows; of those that lie wholly in the padding, none: a range that ends before it begins.

    >>> read_by(Sliding(kernel=3, padding=1), (0, 0), size=8)
    (0, 1)
    >>> read_by(Sliding(kernel=3, padding=1, dilation=2), (0, 0), size=8)
    array([1, 3])
    """
    if rows is None or isinstance(relation, Whole):
        return None if size is None else (0, size - 1)
    # At borders padding folds back onto rows inside; an endless map has nothing to mirror at.
    mirrored = size is not None and isinstance(relation, Padded)
    # Ranges without gaps stay ranges: listing all their rows would cost more than it tells.
    if isinstance(rows, tuple) and (rows[0] > rows[1] or not (mirrored or relation.has_gaps(rows))):
        found = NO_ROWS if rows[0] > rows[1] else relation.reads(rows)
        return found if size is None else clip(found, size)
    listed = np.arange(rows[0], rows[1] + 1) if isinstance(rows, tuple) else rows
    read = relation.sources(listed)
    if size is not None:
        read = relation.inside(read, size)
        read = read[(read >= 0) & (read < size)]
    return _packed(read)


def _packed(rows: Array) -> Rows:
    """Return rows in order, once each; as a range where none between them is missing."""
    rows = np.unique(rows)
    if not len(rows):
        return NO_ROWS
    first, last = int(rows[0]), int(rows[-1])
    return (first, last) if last - first + 1 == len(rows) else rows


def ends(rows: Rows) -> Range:
    """Return the smallest range that holds *rows*.

    >>> ends(np.array([1, 3]))
    (1, 3)
    """
    return (int(rows[0]), int(rows[-1])) if isinstance(rows, np.ndarray) else rows


@dataclass(frozen=True)
class Sliding(Relation):
    """A kernel that slides over the input: convolution, pooling, padding, cropping.

    Output row ``i`` reads input rows ``i * stride - padding + t * dilation``, ``0 <= t < kernel``.

    >>> Sliding(kernel=3, stride=2, padding=1).reads((0, 1))
    (-1, 3)
    >>> Sliding(kernel=3, stride=2, padding=1).touches((4, 4))
    (2, 2)
    """

    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    @property
    def pace(self) -> Fraction:
        """Its stride."""
        return Fraction(self.stride)

    def _reads(self, first: int, last: int) -> tuple[int, int]:
        # From the first row's first tap to the last row's last one; dilation may leave rows out.
        reach = self.dilation * (self.kernel - 1)
        return first * self.stride - self.padding, last * self.stride - self.padding + reach

    def _touches(self, first: int, last: int) -> Range:
        # Sliding reads j = i * stride - padding + t * dilation; Transposed solves the same for i.
        other = Transposed(self.kernel, self.stride, self.padding, self.dilation)
        return other.reads((first, last))

    def has_gaps(self, rows: tuple[int, int]) -> bool:
        """Return whether it steps over rows."""
        # A long stride skips rows between two kernels, of which a single row has but one.
        apart = self.kernel < self.stride and rows[0] < rows[1]
        return apart or (self.dilation > 1 and self.kernel > 1)

    def sources(self, rows: Array) -> Array:
        """Return exactly the input rows that some output rows depend on, borders apart."""
        taps = np.arange(self.kernel) * self.dilation
        return ((rows * self.stride - self.padding)[:, None] + taps).ravel()


@dataclass(frozen=True)
class Transposed(Relation):
    """A transposed convolution: a sliding kernel read the other way round.

    Input row ``i`` writes output rows ``i * stride - padding + t * dilation``.

    >>> Transposed(kernel=2, stride=2).reads((4, 5))
    (2, 2)
    >>> Transposed(kernel=2, stride=2).touches((2, 2))
    (4, 5)
    """

    kernel: int
    stride: int
    padding: int = 0
    dilation: int = 1

    @property
    def pace(self) -> Fraction:
        """One over its stride."""
        return Fraction(1, self.stride)

    def _reads(self, first: int, last: int) -> tuple[int, int]:
        first, last = first + self.padding, last + self.padding
        # Kernel 3, stride 2: row 4 is written from rows 1 (2 + 2) and 2 (4 + 0). These are (4 - 2)
        # / 2 rounded up, and 4 / 2 rounded down. Where the stride exceeds the kernel, some rows are
        # written by none, and come out with the last before the first.
        # Rounded up for the first row and down for the last; -(-a // b) is the ceiling of a / b.
        return -(-(first - self.dilation * (self.kernel - 1)) // self.stride), last // self.stride

    def _touches(self, first: int, last: int) -> Range:
        other = Sliding(self.kernel, self.stride, self.padding, self.dilation)
        return other.reads((first, last))

    def has_gaps(self, rows: tuple[int, int]) -> bool:
        """Return whether some of what lies within its reach writes elsewhere."""
        # Without dilation the rows that write a range are neighbours, whatever the stride.
        return self.dilation > 1 and self.kernel > 1

    def sources(self, rows: Array) -> Array:
        """Return exactly the input rows that some output rows depend on, borders apart."""
        taps = np.arange(self.kernel) * self.dilation
        starts: Array = ((rows + self.padding)[:, None] - taps).ravel()
        # A tap that leads between two multiples of the stride leads to no input row.
        written: Array = starts[starts % self.stride == 0] // self.stride
        return written


@dataclass(frozen=True)
class Resized(Relation):
    """Adaptive pooling from *source* to *target* rows, or copies of each row.

    >>> Resized(source=7, target=3).reads((1, 1))
    (2, 4)
    >>> Resized(source=7, target=3).touches((2, 2))
    (0, 1)
    """

    source: int
    target: int

    @property
    def pace(self) -> Fraction:
        """Rows of the source a row of the target."""
        return Fraction(self.source, self.target)

    def _reads(self, first: int, last: int) -> tuple[int, int]:
        # As PyTorch pools: row i spans i * source / target to (i + 1) * source / target, both
        # rounded outward. For 7 to 3, row 1 spans 2.33 to 4.67: rows 2, 3 and 4.
        return first * self.source // self.target, -(-(last + 1) * self.source // self.target) - 1

    def _touches(self, first: int, last: int) -> Range:
        # Whether two spans overlap is the same seen from either side, with the sizes exchanged.
        return Resized(self.target, self.source).reads((first, last))

    def sources(self, rows: Array) -> Array:
        """Return exactly the input rows that some output rows depend on."""
        ranges = [self._reads(row, row) for row in rows.tolist()]
        return np.concatenate([np.arange(first, last + 1) for first, last in ranges])


@dataclass(frozen=True)
class Interpolated(Relation):
    """Interpolation between rows: output row ``i`` lies at ``begin + i * step`` of the input.

    It reads the row at or before that place, and from there *before* to *after* rows further; where
    it lies on a row, that one alone. Beyond the borders the outermost row goes on.

    >>> linear = Interpolated(4, 8, begin=Fraction(-1, 4), step=Fraction(1, 2))
    >>> linear.reads((2, 2)), read_by(linear, (0, 0), size=4)
    ((0, 1), (0, 0))
    """

    source: int
    target: int
    begin: Fraction
    step: Fraction
    before: int = 0
    after: int = 1

    @property
    def pace(self) -> Fraction:
        """Its step."""
        return self.step

    def _reads(self, first: int, last: int) -> Range:
        found = self.sources(np.arange(first, last + 1))
        return int(found.min()), int(found.max())

    def _touches(self, first: int, last: int) -> Range:
        # Row i reads floor(begin + i * step) + before to the same + after: solved for i and rounded
        # outward. At a border there is no end, as rows beyond it read the outermost; a step of
        # zero, from a map of one row, has none at all.
        low = (first - self.after - self.begin) / self.step if self.step and first > 0 else 0
        above = last < self.source - 1 and self.step
        high = (last + 1 - self.before - self.begin) / self.step if above else self.target - 1
        return max(0, int(low)), min(self.target - 1, int(high) + 1)

    def has_gaps(self, rows: tuple[int, int]) -> bool:
        """Return whether rows may be left out."""
        # Between places more than a row apart they are, and a place on a row reads that one alone.
        return True

    def sources(self, rows: Array) -> Array:
        """Return exactly the input rows that some output rows depend on, borders apart."""
        # In whole numbers: in floats a place exactly on a row may come out beside it, and read two.
        parts = self.step.denominator * self.begin.denominator
        begin, step = int(self.begin * parts), int(self.step * parts)
        at, rest = np.divmod(begin + step * rows, parts)
        if self.before == self.after:
            return at
        taps = np.arange(self.before, self.after + 1)
        return np.concatenate([at[rest == 0], (at[rest > 0][:, None] + taps).ravel()])

    def inside(self, rows: Array, size: int) -> Array:
        """Return the rows of the map that stand for *rows*, some of which lie outside."""
        return rows.clip(0, size - 1)


@dataclass(frozen=True)
class Flipped(Relation):
    """The *size* rows of a map in the opposite order.

    >>> Flipped(5).reads((0, 1))
    (3, 4)
    """

    size: int

    def _reads(self, first: int, last: int) -> Range:
        return self.size - 1 - last, self.size - 1 - first

    _touches = _reads

    def sources(self, rows: Array) -> Array:
        """Return exactly the input rows that some output rows are."""
        return self.size - 1 - rows


@dataclass(frozen=True)
class Padded(Relation):
    """Padding by *before* rows on top, and some below, with rows of the map itself.

    *mode* is torch's word for which: ``"reflect"``, ``"replicate"`` or ``"circular"``. Padding with
    a constant reads nothing: it is a :class:`Sliding` by one row.

    >>> read_by(Padded(before=2, mode="reflect"), (0, 1), size=8)
    (1, 2)
    """

    before: int
    mode: str

    def _reads(self, first: int, last: int) -> Range:
        return first - self.before, last - self.before

    def _touches(self, first: int, last: int) -> Range:
        return first + self.before, last + self.before

    def sources(self, rows: Array) -> Array:
        """Return exactly the input rows that some output rows depend on, borders apart."""
        return rows - self.before

    def inside(self, rows: Array, size: int) -> Array:
        """Return the rows of the map that stand for *rows*, some of which lie outside."""
        return np.array([self._source(row, size) for row in rows.tolist()], np.int64)

    def touched(self, rows: Range, size: int, target: int) -> tuple[int, int]:
        """Return which of *target* output rows depend on the rows *rows* of a map of *size*."""
        if rows is None:
            return 0, target - 1
        first, last = rows
        # One by one: a row near a border is read inside the map and by the padding beyond it, so
        # what it touches is no single shifted range.
        found = [
            row for row in range(target) if first <= self._source(row - self.before, size) <= last
        ]
        return (found[0], found[-1]) if found else (0, -1)

    def _source(self, row: int, size: int) -> int:
        if self.mode == "circular":
            return row % size
        if self.mode == "replicate":
            return min(max(row, 0), size - 1)
        # Folded at the first row, then at the last: of 8 rows, -2 is 2 and 9 is 7 - |7 - 9| = 5.
        return size - 1 - abs(size - 1 - abs(row))


@dataclass(frozen=True)
class Whole(Relation):
    """Every output row depends on every input row.

    >>> Whole().reads((3, 3)) is None
    True
    """

    @property
    def pace(self) -> Fraction:
        """Zero: all rows read the same."""
        return Fraction(0)

    def _reads(self, first: int, last: int) -> Range:
        return None

    _touches = _reads


def union(one: Rows, other: Rows) -> Rows:
    """Return the rows that are in either.

    >>> union((0, 2), (3, 6)), union((0, 0), (2, 2))
    ((0, 6), array([0, 2]))
    """
    if one is None or other is None:
        return None
    if isinstance(one, tuple) and isinstance(other, tuple):
        (first, last), (begin, end) = one, other
        if max(first, begin) <= min(last, end) + 1:
            return min(first, begin), max(last, end)
    listed = [
        np.arange(rows[0], rows[1] + 1) if isinstance(rows, tuple) else rows
        for rows in (one, other)
    ]
    return _packed(np.concatenate(listed))


def clip(rows: Range, size: int) -> tuple[int, int]:
    """Return the part of *rows* that lies in a map of *size* rows.

    Of a range that lies wholly in the padding there is none: its last row comes before its first.

    >>> clip((-2, 3), 8), clip(None, 8)
    ((0, 3), (0, 7))
    """
    if rows is None:
        return 0, size - 1
    return max(rows[0], 0), min(rows[1], size - 1)
