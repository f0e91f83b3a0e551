"""The slow way to what noise reaches: each draw drawn and measured by itself."""

from collections.abc import Callable

import torch
from torch import Tensor

from convscope.methods.chance import DRAWS, Chance, noise_like


def by_chance(
    similarity: Callable[[Tensor, Tensor], Tensor],
    one: Tensor,
    other: Tensor,
    seed: int = 0,
    draws: int = DRAWS,
) -> Chance:
    """Return how alike two pictures would be if either were noise of its support and envelope.

    Args:
        similarity: measures two pictures, and returns a tensor of any shape.
        one: [..., C, H, W], finite.
        other: the same shape; it and *one* take turns in being noise.
        seed: of the noise.
        draws: how many times.

    >>> picture = torch.zeros(1, 8, 8)
    >>> picture[:, 2:5, 2:5] = torch.randn(1, 3, 3)
    >>> by_chance(lambda a, b: ((a != 0) == (b != 0)).all(), picture, picture).mean.item()
    1.0

    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    for n in range(draws):
        if n % 2:
            found.append(similarity(noise_like(one, generator), other))
        else:
            found.append(similarity(one, noise_like(other, generator)))
    return Chance(torch.stack(found, -1).double())
