"""How telling a channel's strongest entries are: whether they are alike, and stand out."""

import numpy as np

from convscope.methods.scanning.strongest import Doubles, Halves, Integers, witnesses

COMPARED = 9
"""So many of the strongest entries are compared."""


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
