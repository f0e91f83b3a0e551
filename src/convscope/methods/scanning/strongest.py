"""The strongest entries of every channel, in an order that does not depend on when they came."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NO_IMAGE = -1
MOST_WITNESSES = 512
"""Of a layer of more channels, so many evenly spaced ones tell how alike two places are."""

COMPARED = 9
"""So many of the strongest entries are compared."""

LAST = np.iinfo(np.int64).max

Booleans = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
Halves = npt.NDArray[np.float16]
Doubles = npt.NDArray[np.float64]


def witnesses(channels: int) -> Integers:
    """Return the channels of a layer whose activations are kept wherever another one peaks.

    >>> witnesses(3), len(witnesses(1000))
    (array([0, 1, 2]), 512)
    """
    count = min(channels, MOST_WITNESSES)
    return np.arange(count) * channels // count


@dataclass
class Strongest:
    """Of every channel the images with the strongest peaks, at most one entry an image.

    The order is by peak, strongest first, and of equal peaks by image.

    Attributes:
        peak: [C, top], float32; *floor* where there is no entry.
        image: [C, top], int64, the image's number in the data set; -1 where there is no entry.
        position: [C, top], int64, row * width + column of the peak; of equal values the first.
        company: [C, top, W], float16, what the :func:`witnesses` do at the peak's place, over the
            largest of them; 0 where there is no entry.
        floor: only peaks above it have an entry: 0 where no value is ever below, as a unit that is
            off is no strongest one, and -inf elsewhere.
    """

    peak: npt.NDArray[np.float32]
    image: Integers
    position: Integers
    company: Halves
    floor: float

    @classmethod
    def none(cls, channels: int, top: int, floor: float) -> "Strongest":
        """Return room for *top* entries a channel, with none in it."""
        shape = (channels, top)
        empty = np.full(shape, NO_IMAGE, dtype=np.int64)
        peak = np.full(shape, floor, dtype=np.float32)
        company = np.zeros((*shape, len(witnesses(channels))), dtype=np.float16)
        return cls(peak, empty, np.zeros(shape, dtype=np.int64), company, floor)

    def entering(self, peaks: npt.NDArray[np.float32], images: Integers) -> Booleans:
        """Return which of peaks [N, C] of *images*, [N], would have an entry: [N, C]."""
        stronger = peaks > self.peak[:, -1]
        level = (peaks == self.peak[:, -1]) & (images[:, None] < self.image[:, -1])
        entering: Booleans = stronger | level
        top = self.peak.shape[1]
        crowded = np.flatnonzero(entering.sum(axis=0) > top)
        if len(crowded):
            # More of this batch than there is room for: only its own strongest can stay.
            # The same order as in :meth:`_keep`, or equal peaks would depend on the batches.
            own = np.where(entering[:, crowded], peaks[:, crowded], -np.inf)
            by_image = np.argsort(images, kind="stable")
            order = np.argsort(-own[by_image], axis=0, kind="stable")
            kept = np.zeros_like(own, dtype=bool)
            np.put_along_axis(kept, by_image[order[:top]], True, axis=0)
            entering[:, crowded] &= kept
        return entering

    def enter(
        self,
        peaks: npt.NDArray[np.float32],
        images: Integers,
        entering: Booleans,
        positions: Integers,
        company: Halves,
    ) -> None:
        """Take in what :meth:`entering` found of peaks [N, C] of *images*, [N].

        Positions, [M], and company, [M, W], are in the order of the true values of *entering*.
        """
        channels = np.flatnonzero(entering.any(axis=0))
        if not len(channels):
            return
        chosen = entering[:, channels]
        places, rows = np.zeros((2, *entering.shape), dtype=np.int64)
        places[entering], rows[entering] = positions, np.arange(len(positions))
        self._keep(
            channels,
            np.where(chosen, peaks[:, channels], np.float32(self.floor)).T,
            np.where(chosen, images[:, None], NO_IMAGE).T,
            places[:, channels].T,
            rows[:, channels].T,
            company,
        )

    def merge(self, other: "Strongest") -> None:
        """Take in the entries of other images."""
        channels, rows = np.arange(len(self.peak)), np.arange(other.image.size)
        company = other.company.reshape(other.image.size, -1)
        own = rows.reshape(other.image.shape)
        self._keep(channels, other.peak, other.image, other.position, own, company)

    def _keep(
        self,
        channels: Integers,
        peaks: npt.NDArray[np.float32],
        images: Integers,
        positions: Integers,
        rows: Integers,
        company: Halves,
    ) -> None:
        """Keep the strongest of what is there and of more entries [len(channels), M].

        *rows* says where in *company* each of them has its own.
        """
        peak = np.concatenate([self.peak[channels], peaks], axis=1)
        image = np.concatenate([self.image[channels], images], axis=1)
        position = np.concatenate([self.position[channels], positions], axis=1)
        # First by image, then stably by peak: of equal peaks the lower number stays in front,
        # whenever it came. Room without an entry goes behind all.
        by_image = np.where(image == NO_IMAGE, LAST, image).argsort(axis=1, kind="stable")
        by_peak = (-np.take_along_axis(peak, by_image, 1)).argsort(axis=1, kind="stable")
        order = np.take_along_axis(by_image, by_peak, 1)[:, : self.peak.shape[1]]
        self.peak[channels] = np.take_along_axis(peak, order, 1)
        self.image[channels] = np.take_along_axis(image, order, 1)
        self.position[channels] = np.take_along_axis(position, order, 1)
        # Company is far too wide to be sorted with the rest: each entry's row is followed by its
        # number through the sorting, and gathered once.
        kept = self.company[channels]
        there = np.arange(kept.shape[0] * kept.shape[1]).reshape(kept.shape[:2])
        every = np.concatenate([kept.reshape(there.size, -1), company])
        row = np.take_along_axis(np.concatenate([there, rows + there.size], axis=1), order, 1)
        self.company[channels] = every[row] * (self.image[channels] != NO_IMAGE)[..., None]


def consistency(company: Halves, image: Integers, peak_mean: Doubles) -> Doubles:
    """Return how alike the strongest entries are to all channels but their own, [C].

    That is the mean cosine over pairs of them of what the :func:`.witnesses` do where each peaks,
    each witness over its own typical peak: towards 1 where the same channels answer in the same
    proportions, as they do where one sees the same thing. The channel itself is left out, for it
    is strong in all of them.

    Args:
        company: [C, top, W], what the witnesses do.
        image: [C, top], -1 where there is no entry.
        peak_mean: [C].

    Returns:
        [C]; NaN for a channel of fewer than two entries.

    >>> company = np.array([[[1, 1.0], [1, 0.5]], [[0.2, 1], [0, 0]]], dtype=np.float16)
    >>> consistency(company, np.array([[0, 1], [1, -1]]), np.ones(2))
    array([ 1., nan])
    """
    own = witnesses(len(image))
    typical = peak_mean[own]
    weights = np.divide(1, typical, out=np.zeros_like(typical), where=typical > 0)
    there = image[:, :COMPARED] >= 0
    seen = company[:, :COMPARED] * (weights * there[..., None])
    seen[own, :, np.arange(len(own))] = 0
    lengths = np.linalg.norm(seen, axis=2, keepdims=True)
    units = np.divide(seen, lengths, out=np.zeros_like(seen), where=lengths > 0)
    count = there.sum(axis=1)
    # The square of a sum has each pair twice, and each unit's own square, which is 1.
    both = np.square(units.sum(axis=1)).sum(axis=1) - np.square(units).sum(axis=(1, 2))
    found = np.full(len(image), np.nan)
    np.divide(both, count * (count - 1), out=found, where=count > 1)
    return found
