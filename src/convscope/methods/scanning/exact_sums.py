"""Sums of floats that are exact, and so the same in whatever order the values come."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

DIGIT_BITS = 24
LOWEST_EXPONENT = -172
"""The smallest float32 above zero is 2**-149: 24 bits of it begin no lower than 2**-172."""

MANTISSA_BITS = 24
ADDITIONS_BEFORE_CARRY = 2**13
"""One addition is below 2**48, so this many stay far below the 2**63 of an integer."""

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class ExactSums:
    """An array of sums of float32 values, without any rounding.

    Adding floats rounds, and so the order of the values would decide the last digits of a sum. Here
    each value is split into an integer times a power of two, and the integers are added as digits
    of a number to the base 2**24; a digit is kept only where some sum has used it.

    Args:
        shape: the shape of the array.

    >>> sums = ExactSums((1,))
    >>> for value in (1e30, 1.0, -1e30):
    ...     sums.add(np.array([[value]], dtype=np.float32))
    >>> sums.values()
    array([1.])

    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._digits: dict[int, Integers] = {}
        self._additions = 0

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Add finite float32 values [N, *shape], N of them to each sum."""
        for begin in range(0, len(values), ADDITIONS_BEFORE_CARRY // 2):
            self._add(values[begin : begin + ADDITIONS_BEFORE_CARRY // 2])

    def _add(self, values: npt.NDArray[np.float32]) -> None:
        if self._additions + len(values) > ADDITIONS_BEFORE_CARRY:
            self._carry()
        self._additions += len(values)
        for digit, parts in _split(values):
            self._digit(digit).__iadd__(parts.sum(axis=0))

    def add_at(self, rows: Integers, values: npt.NDArray[np.float32]) -> None:
        """Add values [N, ...] to the sums at *rows*, [N], of the first dimension."""
        if self._additions + len(values) > ADDITIONS_BEFORE_CARRY:
            self._carry()
        self._additions += len(values)
        for digit, parts in _split(values):
            np.add.at(self._digit(digit), rows, parts)

    def merge(self, other: "ExactSums") -> None:
        """Add the sums of *other*."""
        self._carry()
        other._carry()
        for digit, parts in other._digits.items():
            self._digit(digit).__iadd__(parts)
        self._carry()

    def values(self) -> npt.NDArray[np.float64]:
        """Return the sums, rounded once they are whole."""
        self._carry()
        total = np.zeros(self.shape)
        for digit in sorted(self._digits):
            total += np.ldexp(self._digits[digit].astype(np.float64), _exponent(digit))
        return total

    def digits(self) -> dict[int, Integers]:
        """Return the digits: for equal sums, equal ones."""
        self._carry()
        return {digit: parts for digit, parts in sorted(self._digits.items()) if parts.any()}

    @classmethod
    def from_digits(cls, shape: tuple[int, ...], digits: Mapping[int, Integers]) -> "ExactSums":
        """Return the sums that :meth:`digits` gave."""
        sums = cls(shape)
        sums._digits = {digit: parts.copy() for digit, parts in digits.items()}
        return sums

    def _digit(self, digit: int) -> Integers:
        if digit not in self._digits:
            self._digits[digit] = np.zeros(self.shape, dtype=np.int64)
        return self._digits[digit]

    def _carry(self) -> None:
        """Bring every digit back into -2**23 .. 2**23 - 1, which leaves one way to write a sum."""
        self._additions = 0
        half = 1 << (DIGIT_BITS - 1)
        digit = min(self._digits, default=0)
        while self._digits and digit <= max(self._digits):
            parts = self._digits.get(digit)
            if parts is not None:
                carried = (parts + half) >> DIGIT_BITS
                if carried.any():
                    parts -= carried << DIGIT_BITS
                    self._digit(digit + 1).__iadd__(carried)
            digit += 1


def _split(values: npt.NDArray[np.float32]) -> list[tuple[int, Integers]]:
    """Return the digits that the values touch, each with what is to be added to it."""
    fractions, exponents = np.frexp(values.astype(np.float64))
    whole = np.ldexp(fractions, MANTISSA_BITS).astype(np.int64)
    places = exponents.astype(np.int64) - MANTISSA_BITS - LOWEST_EXPONENT
    digits = places // DIGIT_BITS
    shifted = whole << (places - digits * DIGIT_BITS)
    used = np.flatnonzero(np.bincount(digits[whole != 0]))
    if len(used) == 1:  # what is zero adds nothing to any digit
        return [(int(used[0]), shifted)]
    return [(int(digit), np.where(digits == digit, shifted, 0)) for digit in used]


def _exponent(digit: int) -> int:
    return digit * DIGIT_BITS + LOWEST_EXPONENT
