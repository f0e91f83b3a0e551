"""How many of a scan's labelled images are answered rightly, and whether that beats chance."""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from convscope.methods.scanning.strongest import Integers

ENOUGH = 20
"""Labelled images below which a share of right answers says little."""

LITTLE = 0.1
"""How far from chance, 0, to always right, 1, answers must be to be better than chance..."""

DEVIATIONS = 2
"""... and by how many of chance's standard deviations."""

SUSPECTS = (
    "Suspect the preprocessing first (mean and std, size, order of the colours), then the order of "
    "the classes and the weights."
)


@dataclass
class RightAnswers:
    """Right answers, and what the labels and the answers are, each counted by itself.

    Attributes:
        right: how many labelled images are answered rightly.
        labels: [K], how many have this right answer.
        given: [K], how many of them get this answer.
    """

    right: int
    labels: Integers
    given: Integers

    @classmethod
    def none(cls, count: int) -> "RightAnswers":
        """Return no answer yet, of *count* that there can be."""
        return cls(0, *np.zeros((2, count), dtype=np.int64))

    def add(self, given: Integers, labels: Integers) -> None:
        """Count answers [N] beside the right ones [N]; -1 for an image that has none."""
        known = labels >= 0
        self.right += int((given == labels)[known].sum())
        self.labels += np.bincount(labels[known], minlength=len(self.labels))
        self.given += np.bincount(given[known], minlength=len(self.given))

    def merge(self, other: "RightAnswers") -> None:
        """Add those to other images."""
        self.right += other.right
        self.labels += other.labels
        self.given += other.given

    @property
    def count(self) -> int:
        """How many images have a label that the network can give."""
        return int(self.labels.sum())

    @property
    def accuracy(self) -> float | None:
        """The share of them that is answered rightly; None if there is none."""
        return self.right / self.count if self.count else None

    @property
    def chance(self) -> float:
        """The share that would be right if answers had nothing to do with labels (Cohen 1960)."""
        return float(self.labels @ self.given) / max(1, self.count) ** 2

    def doubt(self) -> str:
        """Return in words that the answers are hardly better than chance; else, or if few, "".

        >>> labels = np.arange(100) % 10
        >>> answers = RightAnswers.none(10)
        >>> answers.add(np.roll(labels, 1), labels)
        >>> answers.doubt()
        '0.0% of 100 labelled images are answered rightly, and chance alone would give 10.0%.'
        >>> answers.add(labels, labels)
        >>> answers.doubt()
        ''
        """
        right, chance = self.accuracy, self.chance
        if right is None or self.count < ENOUGH or (self.labels > 0).sum() < 2:
            return ""
        spread = DEVIATIONS * sqrt(chance * (1 - chance) / self.count)
        if right > max(chance + spread, chance + LITTLE * (1 - chance)):
            return ""
        return (
            f"{right:.1%} of {self.count:,} labelled images are answered rightly, and chance alone "
            f"would give {chance:.1%}."
        )
