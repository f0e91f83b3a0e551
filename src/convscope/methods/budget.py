"""Budgets: memory as a person writes it, such as ``2GB``, and time."""

import inspect
import math
import re
import time
from collections.abc import Callable, Iterable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from convscope.errors import ConvscopeError
from convscope.network import freed

Given = ParamSpec("Given")
Found = TypeVar("Found")

Progress = Callable[[int, int], None]
"""Called with how much of some work is done, and how much there is in all."""

DEFAULT = 2**30
REUSED_BLOCK = 32 * 2**20
"""The C library hands blocks up to this size back to the next tensor of a walk without asking the
system for fresh pages, which would cost more than the arithmetic on the widest maps."""

UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def parse_bytes(memory: int | str) -> int:
    """Return a memory budget in bytes.

    Args:
        memory: a number of bytes, or a text such as ``"512MB"`` or ``"2 GiB"`` (powers of 1024).

    Raises:
        ConvscopeError: if it is neither, or not positive.

    >>> parse_bytes("1.5 GB") == parse_bytes("1536MiB") == 3 * 2**29
    True
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", str(memory), re.IGNORECASE)
    if match is None or not float(match[1]):
        raise ConvscopeError(f"memory {memory!r} is not an amount such as 512MB or 2GB")
    return int(float(match[1]) * 2 ** UNITS[match[2].lower()])


def holding(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """Return *function* as one that hands freed memory back above its option ``memory``."""
    default = inspect.signature(function).parameters["memory"].default

    @wraps(function)
    def call(*arguments: Given.args, **options: Given.kwargs) -> Found:
        memory: int | str = options.get("memory", default)  # type: ignore[assignment]
        with freed.held(parse_bytes(memory)):
            return function(*arguments, **options)

    return call


def tensor_limit(memory: int, device: torch.device) -> int:
    """Return how many bytes one tensor of a walk may take, which holds several at once."""
    share = memory // 8
    return min(share, REUSED_BLOCK) if device.type == "cpu" else share


NO_SECONDS = "the budget {!r} is not a number of seconds such as 90"


def parse_seconds(budget: float | str | None) -> float | None:
    """Return a time budget in seconds.

    Args:
        budget: a number, or a text such as ``"90"`` or ``"90s"``; None or ``"none"`` for no limit.

    Raises:
        ConvscopeError: if it is none of these, or negative.

    >>> parse_seconds("90 s"), parse_seconds("none")
    (90.0, None)
    """
    if budget in (None, "none"):
        return None
    try:
        seconds = float(str(budget).strip().removesuffix("s"))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConvscopeError(NO_SECONDS.format(budget))
    return seconds


class Deadline:
    """When work has to stop.

    Args:
        budget: see :func:`parse_seconds`.
        or_zero: whether there may be no time at all.

    Raises:
        ConvscopeError: if it is neither, or not positive.

    >>> Deadline(None).passed, Deadline("90 s").passed, Deadline(0, or_zero=True).passed
    (False, False, True)
    """

    def __init__(self, budget: float | str | None, *, or_zero: bool = False) -> None:
        self.seconds, self.began = parse_seconds(budget), time.monotonic()
        if self.seconds == 0 and not or_zero:
            raise ConvscopeError(NO_SECONDS.format(budget))

    @property
    def passed(self) -> bool:
        """Whether it is time to stop."""
        return self.seconds is not None and time.monotonic() - self.began >= self.seconds

    def share(self, jobs: int) -> float | None:
        """Return the seconds of the next of so many *jobs*, which share what is left alike."""
        if self.seconds is None:
            return None
        return max(0.0, self.seconds - (time.monotonic() - self.began)) / jobs


def as_share(left_out: Iterable[str]) -> tuple[str, ...]:
    """Return what was left out of a part of some work, whose budget is not the one that was given.

    >>> as_share(["importance of conv1: the budget of 6.9 s was spent"])
    ('importance of conv1: its share of the budget, 6.9 s, was spent',)
    """
    given, own = r"the budget of (\S+) s was spent", r"its share of the budget, \1 s, was spent"
    return tuple(re.sub(given, own, text) for text in left_out)


def evenly(count: int, most: int) -> list[int]:
    """Return which of *count* things, or all, stand for them where there is room for *most*.

    >>> evenly(4, 9), evenly(12, 5)
    ([0, 1, 2, 3], [0, 3, 6, 8, 11])
    """
    room = min(count, most)
    return [round(n * (count - 1) / max(1, room - 1)) for n in range(room)]


def far_apart(count: int) -> list[int]:
    """Return 0 to count - 1 in another order: both ends, then again and again what lies halfway.

    Work that is stopped early then covers the whole range coarsely.

    >>> far_apart(6)
    [5, 0, 2, 1, 3, 4]
    """
    order = [count - 1, 0][: min(count, 2)]
    spans = [(0, count - 1)]
    for low, high in spans:  # which grows as it is walked
        middle = (low + high) // 2
        if low < middle:
            order.append(middle)
            spans += [(low, middle), (middle, high)]
    return order
