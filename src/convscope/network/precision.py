"""Which devices compute faster in half the precision."""

import time
from functools import cache
from typing import Any

import torch
from torch.nn import functional

WORTH = 1.2
"""How many times as fast halves must be, for what they lose to be worth it."""

ROUNDS = 5


def halves_are_fast(kind: str) -> bool:
    """Tell whether a kind of device multiplies bfloat16 numbers faster than single ones.

    Having instructions for it says little of a processor: one maker's convolve twice as fast by
    them, another's, where it lacks the larger matrix instructions too, half as fast. It is timed,
    once a process, which takes some hundredths of a second.

    Args:
        kind: as ``torch.device.type``, or ``"auto"`` for the best there is.

    """
    if kind in ("auto", "cuda") and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    if kind == "mps" or (kind == "auto" and torch.backends.mps.is_available()):
        return False
    # Newer than the oldest PyTorch that this package takes.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    told = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return told and _speedup_by_halves() > WORTH


@cache
def _speedup_by_halves() -> float:
    """Return how many times as fast this processor convolves bfloat16 numbers as single ones.

    The fastest of a few rounds of each, in turn, so that other work on the machine hardly matters.
    """
    fastest = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
    with torch.no_grad():
        for number in range(ROUNDS + 1):
            for precision in fastest:
                maps = torch.ones(8, 64, 32, 32, dtype=precision)
                maps = maps.contiguous(memory_format=torch.channels_last)
                filters = torch.ones(64, 64, 3, 3, dtype=precision)
                began = time.perf_counter()
                functional.conv2d(maps, filters, padding=1)
                if number:  # at first the library compiles its loops
                    seconds = time.perf_counter() - began
                    fastest[precision] = min(fastest[precision], seconds)
    return fastest[torch.float32] / fastest[torch.bfloat16]
