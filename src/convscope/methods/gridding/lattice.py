"""Lattices: how evenly strided windows cover a map, counted over one period of it.

The transposed pass of all ones through a layer counts, at each position, the taps that write there.
Where the stride does not divide the kernel, the counts differ between the phases of the stride and
repeat without end (Odena, Dumoulin & Olah 2016, "Deconvolution and checkerboard artifacts",
https://distill.pub/2016/deconv-checkerboard). One period holds all there is to know of the interior
of a map; borders are left out.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convscope.network.windows.relations import Padded, Relation, Resized, Sliding, Transposed

Floats = npt.NDArray[np.float64]
Steps = Sliding | Transposed


@dataclass(frozen=True, eq=False)
class Lattice:
    """One period of a map that repeats without end.

    Attributes:
        period: [rows, columns], float64; its mean stays what it was whatever it passes.
    """

    period: Floats

    @classmethod
    def even(cls) -> "Lattice":
        """Return all ones."""
        return cls(np.ones((1, 1)))

    @property
    def variation(self) -> float:
        """The coefficient of variation: standard deviation between the phases over their mean.

        >>> Lattice(np.array([[2.0, 1.0]])).variation  # a third above and below 1.5
        0.3333333333333333
        """
        return float(self.period.std() / abs(self.period.mean()))

    def plus(self, other: "Lattice") -> "Lattice":
        """Return the sum of two maps that lie over each other."""
        rows, columns = (
            math.lcm(self.period.shape[axis], other.period.shape[axis]) for axis in (0, 1)
        )
        parts = [
            np.tile(own, (rows // own.shape[0], columns // own.shape[1]))
            for own in (self.period, other.period)
        ]
        return Lattice(parts[0] + parts[1])

    def spread(self, steps: Steps, axis: int) -> "Lattice":
        """Return what each value makes where it is written to all taps of its window.

        >>> Lattice.even().spread(Sliding(kernel=3, stride=2), axis=1).period
        array([[1.33333333, 0.66666667]])
        """
        period = np.moveaxis(self.period, axis, 0)
        apart = np.zeros((len(period) * steps.stride, *period.shape[1:]))
        apart[:: steps.stride] = period
        written = np.zeros_like(apart)
        for offset in _offsets(steps):
            written += np.roll(apart, offset, axis=0)
        return Lattice(np.moveaxis(written * (steps.stride / steps.kernel), 0, axis))

    def gathered(self, steps: Steps, axis: int) -> "Lattice":
        """Return the mean over the taps of each window: the transpose of :meth:`spread`.

        >>> Lattice(np.array([[1.0, 0.0]])).gathered(Sliding(kernel=3, stride=2), axis=1).period
        array([[0.66666667]])
        """
        period = np.moveaxis(self.period, axis, 0)
        # Windows a stride apart meet the same phase of the period again after so many.
        count = len(period) // math.gcd(len(period), steps.stride)
        starts = np.arange(count) * steps.stride
        read = np.zeros((count, *period.shape[1:]))
        for offset in _offsets(steps):
            read += period[(starts + offset) % len(period)]
        return Lattice(np.moveaxis(read / steps.kernel, 0, axis))


def _offsets(steps: Steps) -> list[int]:
    """Return where the taps of the first window lie."""
    return [tap * steps.dilation - steps.padding for tap in range(steps.kernel)]


def steps_of(relation: Relation) -> Steps | None:
    """Return the strided window of a relation; None where no window of fixed size strides.

    Resizing by a whole number copies or averages blocks; resizing by another number, and
    interpolation, count as even.

    >>> steps_of(Resized(source=4, target=8))
    Transposed(kernel=2, stride=2, padding=0, dilation=1)
    """
    if isinstance(relation, Sliding | Transposed):
        return relation
    if isinstance(relation, Padded):
        return Sliding(padding=relation.before)
    if isinstance(relation, Resized):
        if relation.target % relation.source == 0:
            factor = relation.target // relation.source
            return Transposed(factor, factor)
        if relation.source % relation.target == 0:
            factor = relation.source // relation.target
            return Sliding(factor, factor)
    return None


def unevenness(rows: Steps, columns: Steps) -> float:
    """Return the coefficient of variation between phases that one layer alone makes.

    0 where the stride divides the kernel. Along one axis, k taps at stride s without dilation fall
    on m = k mod s phases once more than on the others, and the number is sqrt(m (s - m)) / k; for
    two axes, 1 + v^2 is the product of the two. Padding moves phases, and changes nothing.

    >>> round(unevenness(Sliding(11, stride=4), Sliding(11, stride=4)), 4)  # AlexNet's first layer
    0.2241
    """
    return Lattice.even().spread(rows, 0).spread(columns, 1).variation
