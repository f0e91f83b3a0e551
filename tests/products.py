"""Parameters too many for the quick suite: what it takes of them; `make slow` runs the rest."""

from collections.abc import Collection, Iterable, Sequence
from itertools import product
from typing import Any

import pytest

import convscope as cs


def some(quick: Collection, items: Iterable) -> list[Any]:
    """Return *items* as parameters, slow but for those that are *quick*."""
    return [one if one in quick else pytest.param(one, marks=pytest.mark.slow) for one in items]


def endings(result: type[cs.Result]) -> list[str]:
    """Return what a result is saved to, of pictures the first: what draws one draws the others.

    Films have tests of their own, and every figure's PDF is read by test_letters.py.
    """
    other = (".svg", ".pdf", ".gif", ".mp4")
    return [e for e in result.endings() if e.startswith(".") and e not in other]


def each_once(names: str, *values: Sequence, apart: Collection = ()) -> pytest.MarkDecorator:
    """Return the product of *values* as parameters, slow but for a set in which each value occurs.

    Args:
        names: of the parameters, with commas between them.
        values: of each parameter. In the quick suite each goes with the next of the others.
        apart: values that are always slow.
    """
    few = [[one for one in own if one not in apart] for own in values]
    quick = [tuple(own[n % len(own)] for own in few) for n in range(max(map(len, few)))]
    combined = [
        pytest.param(*one, marks=() if one in quick else pytest.mark.slow)
        for one in product(*values)
    ]
    return pytest.mark.parametrize(names, combined)
