"""Freed memory, handed back to the system where a call would hold more than it may.

The C library keeps freed blocks for the next tensor, which spares fresh pages. Of one that torch
wanted aligned it cannot make another of the same size, though: a walk down comes to hold twice
what it needs. Handing back costs time, and so waits until the process has grown by what was given.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

WORTH = 2**20
"""Bytes of a tensor from which it is worth to look how much there is."""

SHARE = 3 / 4
"""What may be resident before anything is handed back, as a part of what was given: the rest is
for what one step takes."""


@dataclass(
    eq=False
)  # calls within calls may be given as much from as much, and are two all the same
class _Allowance:
    """Bytes resident from which freed memory is handed back: at first, and now."""

    first: int
    now: int
    step: int


_allowances: list[_Allowance] = []


@contextmanager
def held(memory: int) -> Iterator[None]:
    """Let the process grow by about *memory* bytes, where what it frees is all that it needs."""
    if _trim() is None:
        yield
        return
    before = _resident()
    first = before + int(SHARE * memory)
    own = _Allowance(first, first, memory // 8)
    _allowances.append(own)
    try:
        yield
    finally:
        _allowances.remove(own)
        if not _allowances and _resident() > before + own.step:
            hand_back()


def look(made: Tensor) -> None:
    """Hand freed memory back where there is too much; after each step, with what it made."""
    if not _allowances or made.layout is not torch.strided or made.nbytes < WORTH:
        return  # what is sparse has no size of its own to be asked for
    if _resident() > min(own.now for own in tuple(_allowances)):
        hand_back()
        # What is still there is in use: looking at every step would not change it.
        resident = _resident()
        for own in tuple(_allowances):
            own.now = max(own.first, resident + own.step)


def hand_back() -> None:
    """Give freed memory back to the system, of which the C library keeps gigabytes in pieces."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    """Return the C library's function for it: only glibc, the usual one on Linux, has one."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def _resident() -> int:
    """Return the bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
