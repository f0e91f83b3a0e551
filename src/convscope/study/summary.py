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

    def above(self, other: "Summary") -> tuple[float, float | None]:
        """Return how much larger the mean is than another, and the standard error of that.

        The error is sqrt(std1² / n1 + std2² / n2), and None where a spread is unknown.

        >>> Summary(4, 3.0, 3.0).above(Summary(4, 1.0, 4.0))
        (2.0, 2.5)
        """
        if self.std is None or other.std is None:
            return self.mean - other.mean, None
        error = (self.std**2 / self.n + other.std**2 / other.n) ** 0.5
        return self.mean - other.mean, error

    def percent(self, digits: int = 2) -> str:
        """Return a share as a percentage, with its spread and the number of measurements.

        >>> Summary(3, 0.81234, 0.004).percent(), Summary(1, 0.5, None).percent(0)
        ('81.23% ± 0.40 (3)', '50% (1)')
        """
        spread = "" if self.std is None else f" ± {100 * self.std:.{digits}f}"
        return f"{100 * self.mean:.{digits}f}%{spread} ({self.n})"

    def to_dict(self) -> dict[str, Any]:
        """Return it fit for JSON."""
        return asdict(self)
