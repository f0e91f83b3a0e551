"""Building modules with the same random weights every time."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Draw from torch's CPU generator as if freshly seeded, and leave it as it was.

    >>> state = torch.random.get_rng_state()
    >>> with seeded():
    ...     first = torch.rand(1)
    >>> with seeded():
    ...     print(bool(first == torch.rand(1)))
    True
    >>> torch.equal(state, torch.random.get_rng_state())
    True
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would reach the accelerators' generators too, which are not put back.
        torch.default_generator.manual_seed(seed)
        yield
