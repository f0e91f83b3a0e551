"""A summary of a few measurements: how many, their mean, and how far they spread."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any


@dataclass(frozen=True)
class Summary:
    """Mean and spread of a number that was measured *n* times.

    Attributes:
        n: how often.
        mean: the mean.
        std: the sample's standard deviation (over n - 1); None of a single measurement.
    """

    n: int
    mean: float
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        """Summarise at least one value.

        >>> Summary.of([1.0, 2.0, 3.0])
        Summary(n=3, mean=2.0, std=1.0)
        >>> Summary.of([4.0])
        Summary(n=1, mean=4.0, std=None)
        """
        return cls(len(values), fmean(values), stdev(values) if len(values) > 1 else None)

    def percent(self, digits: int = 2) -> str:
        """Return a share as a percentage, with its spread and the number of measurements.

        >>> Summary(3, 0.81234, 0.004).percent(), Summary(1, 0.5, None).percent(0)
        ('81.23 % ± 0.40 (3)', '50 % (1)')
        """
        spread = "" if self.std is None else f" ± {100 * self.std:.{digits}f}"
        return f"{100 * self.mean:.{digits}f} %{spread} ({self.n})"

    def to_dict(self) -> dict[str, Any]:
        """Return it fit for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """How much larger one mean is than another.

    Attributes:
        value: the difference of the means.
        error: its standard error, sqrt(std1² / n1 + std2² / n2); None where a spread is unknown.
    """

    value: float
    error: float | None

    @classmethod
    def between(cls, one: Summary, other: Summary) -> "Difference":
        """Return *one* minus *other*.

        >>> Difference.between(Summary(4, 3.0, 1.0), Summary(4, 1.0, 1.0)).value
        2.0
        """
        value = one.mean - other.mean
        if one.std is None or other.std is None:
            return cls(value, None)
        return cls(value, (one.std**2 / one.n + other.std**2 / other.n) ** 0.5)

    @property
    def is_clear(self) -> bool:
        """Whether it is larger than twice its standard error, which must be known.

        >>> Difference(0.02, 0.005).is_clear, Difference(0.02, 0.02).is_clear
        (True, False)
        >>> Difference(0.02, None).is_clear
        False
        """
        return self.error is not None and abs(self.value) > 2 * self.error
