"""What the benchmarks share: a clock, a rate to take counted floors at, and a table's place."""

import time
from collections.abc import Callable
from pathlib import Path

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


def put(page: str, name: str, table: str) -> None:
    """Put a table in the place of that name in a page of docs."""
    path = Path(__file__).parents[1] / "docs" / page
    before, rest = path.read_text().split(f"<!-- {name} -->\n")
    _, after = rest.split(f"<!-- /{name} -->")
    path.write_text(f"{before}<!-- {name} -->\n\n{table}\n\n<!-- /{name} -->{after}")
