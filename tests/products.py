"""Products of parameters, too many for the quick suite."""

from collections.abc import Sequence
from itertools import product

import pytest


def each_once(names: str, *values: Sequence) -> pytest.MarkDecorator:
    """Return a test's product of parameters, slow but for a set in which every value occurs.

    Args:
        names: of the parameters, with commas between them.
        values: of each parameter. In the quick suite each goes with the next of the others.
    """
    combined = list(product(*values))
    quick = [tuple(own[n % len(own)] for own in values) for n in range(max(map(len, values)))]
    slow = [() if one in quick else pytest.mark.slow for one in combined]
    parameters = zip(combined, slow, strict=True)
    return pytest.mark.parametrize(names, [pytest.param(*one, marks=m) for one, m in parameters])
