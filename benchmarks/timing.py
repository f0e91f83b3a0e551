"""What the benchmarks share: a clock, and the rate that the counted floors are taken at."""

import time
from collections.abc import Callable

import torch


def clock(work: Callable[[], object]) -> float:
    """Return the seconds that *work* takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def arithmetic_rate() -> float:
    """Return the multiply-adds a second of the convolution that keeps this machine busiest."""
    maps = torch.randn(8, 256, 56, 56).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(256, 256, 3, 3)
    work = lambda: torch.nn.functional.conv2d(maps, weight, padding=1)  # noqa: E731
    with torch.inference_mode():
        work()
        best = min(clock(work) for _ in range(7))
    return 8 * 256 * 256 * 9 * 56 * 56 / best
