"""Means, variances and correlations of channels as their values stream by, in float64.

Sums of squares cancel where a channel's mean is large beside its deviation. Here what is added are
sums of squared deviations from each part's own mean, brought together by the formula of Chan, Golub
& LeVeque, Updating formulae and a pairwise algorithm for computing sample variances (1979).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

CONSTANT = 1e-6
"""A channel that deviates by no more than this share of its mean is constant but for rounding."""


@dataclass
class Moments:
    """Mean and squared deviations of C channels.

    Args:
        channels: how many there are.
        count: how many values of each were added.
        mean: [C], float64.
        squares: [C], float64, the sums of the squared deviations from it.

    >>> moments = Moments.none(1)
    >>> for values in ([[1e8], [1e8 + 1]], [[1e8 + 2], [1e8 + 3]]):
    ...     moments.merge(Moments.of(torch.tensor(values, dtype=torch.float64)))
    >>> moments.mean.item() - 1e8, moments.variance.item()
    (1.5, 1.25)
    """

    count: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def none(cls, channels: int) -> "Moments":
        """Return the moments of no value."""
        return cls(0, *torch.zeros(2, channels, dtype=torch.float64))

    @classmethod
    def of(cls, rows: Tensor) -> "Moments":
        """Return the moments of values [N, C], N of each channel."""
        rows = rows.double().cpu()
        mean = rows.mean(0)
        return cls(len(rows), mean, (rows - mean).square().sum(0))

    @property
    def variance(self) -> Tensor:
        """[C], of the values as a population; 0 where there are none."""
        return self.squares / max(self.count, 1)

    @property
    def deviation(self) -> Tensor:
        """[C], the standard deviation; 0 for a channel that is constant but for rounding."""
        found = self.variance.sqrt()
        return found.where(found > CONSTANT * self.mean.abs(), 0.0)

    def merge(self, other: "Moments") -> None:
        """Add what was counted of other values."""
        count = self.count + other.count
        if not other.count:
            return
        # Chan et al.: parts of n and m values whose means are d apart add n * m / (n + m) * d^2 to
        # the squares. Of one value each, 0 and 2, both squares are 0; around 1 they are 2 together.
        apart = other.mean - self.mean
        self.mean = self.mean + apart * (other.count / count)
        self.squares = self.squares + other.squares
        self.squares = self.squares + apart.square() * (self.count * other.count / count)
        self.count = count


def pooled(counts: Tensor, means: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the squared deviations of parts together.

    Args:
        counts: [P], how many values each part has.
        means: [..., P, C], each part's mean.
        squares: [..., P, C], the sums of the squared deviations from it.

    Returns:
        [..., C] each, float64.

    >>> pooled(torch.tensor([1, 3]), torch.tensor([[4.0], [0.0]]), torch.zeros(2, 1))
    (tensor([1.], dtype=torch.float64), tensor([12.], dtype=torch.float64))
    """
    weights = counts.double()[:, None]
    means = means.double()
    # Around one of the parts, as the sum of large means would round.
    apart = means - means[..., :1, :]
    whole = (weights * apart).sum(-2) / weights.sum()
    spread = (weights * (apart - whole[..., None, :]).square()).sum(-2)
    return means[..., 0, :] + whole, squares.double().sum(-2) + spread


@dataclass
class PairMoments:
    """How the channels of two sets go together: the moments of both, and of each pair.

    Args:
        first: of the C channels of one.
        second: of the D channels of the other, over as many values.
        products: [C, D], float64, the sums of the products of their deviations.

    >>> pairs = PairMoments.none(2, 1)
    >>> pairs.add(torch.tensor([[1.0, 5], [2, 5], [3, 5]]), torch.tensor([[30.0], [20], [10]]))
    >>> pairs.correlation()
    tensor([[-1.],
            [nan]], dtype=torch.float64)
    """

    first: Moments
    second: Moments
    products: Tensor

    @classmethod
    def none(cls, first: int, second: int) -> "PairMoments":
        """Return the moments of no value."""
        products = torch.zeros(first, second, dtype=torch.float64)
        return cls(Moments.none(first), Moments.none(second), products)

    @property
    def count(self) -> int:
        """How many values of each channel were added."""
        return self.first.count

    def add(self, first: Tensor, second: Tensor) -> None:
        """Add values of both, [N, C] and [N, D], which belong together row by row."""
        if not len(first):
            return
        rows = [values.double().cpu() for values in (first, second)]
        own = [Moments.of(values) for values in rows]
        apart = [own[0].mean - self.first.mean, own[1].mean - self.second.mean]
        # What lies between the two parts' means (Chan et al.) goes in as one more row, so that a
        # single product of matrices adds it, over all pairs of channels, together with the rest.
        weight = (self.count * len(first) / (self.count + len(first))) ** 0.5
        deviations = [
            torch.cat([values - part.mean, weight * between[None]])
            for values, part, between in zip(rows, own, apart, strict=True)
        ]
        self.products.addmm_(deviations[0].T, deviations[1])
        self.first.merge(own[0])
        self.second.merge(own[1])

    def merge(self, other: "PairMoments") -> None:
        """Add what was counted of other values."""
        if not other.count:
            return
        apart = other.first.mean - self.first.mean, other.second.mean - self.second.mean
        weight = self.count * other.count / (self.count + other.count)
        self.products += other.products
        self.products.addr_(*apart, alpha=weight)
        self.first.merge(other.first)
        self.second.merge(other.second)

    def correlation(self) -> Tensor:
        """Return Pearson's correlation, [C, D], float64, -1..1; NaN for a constant channel."""
        scale = torch.outer(self.first.deviation, self.second.deviation)
        found = self.products / max(self.count, 1) / scale
        return found.where(scale > 0, torch.nan).clamp(-1, 1)
