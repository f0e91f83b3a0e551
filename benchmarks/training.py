"""What Winograd's method saves of a training's step on a CPU, beside PyTorch's convolutions.

    python benchmarks/training.py [--presets tiny base best] [--rounds 5]

Both take turns, step by step, on batches of random bytes, at every size of images that the preset
trains on; a whole training is the mean over its steps. The floor counts the multiply-adds of plain
convolutions, forwards, back to the maps and back to the filters, at the rate that this machine
reaches on one convolution alone; Winograd's method can go below it. Everything is in single
precision on all threads. Where a preset is of several networks side by side, each of them learns in
threads of its own, and a third takes its turn in which all threads share the work of one network
after the other.
"""

import argparse
import platform
import statistics
from contextlib import nullcontext
from dataclasses import replace
from unittest.mock import patch

import torch
from torch import nn

from convscope.models.plain import multiply_adds
from convscope.study import learner as learner_module
from convscope.study.config import TrainConfig, preset
from convscope.study.data import CLASSES, ImageSet
from convscope.study.devices import make_fabric
from convscope.study.feed import Feed
from convscope.study.learner import Learner
from convscope.study.memory import keep_freed_memory
from timing import arithmetic_rate, clock

FULL = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=["tiny", "base", "best"])
    parser.add_argument("--rounds", type=int, default=5, help="each times both once a size")
    arguments = parser.parse_args()
    keep_freed_memory()
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
          f"torch {torch.__version__}")  # fmt: skip
    rate = arithmetic_rate()
    print(f"arithmetic: {rate / 1e9:.0f} billion multiply-adds a second, on conv3 at 56x56")
    for name in arguments.presets:
        measure(name, preset(name), arguments.rounds, rate)


def measure(name: str, config: TrainConfig, rounds: int, rate: float) -> None:
    """Time steps of one preset at all its sizes, and print them."""
    tiled, plain = learner(config, tiled=True), learner(config, tiled=False)
    in_turn = learner(config, tiled=True, threads=False) if config.net.towers > 1 else None
    whole = {"ours": 0.0, "theirs": 0.0, "floor": 0.0}
    for share, side in shares(config):
        feed = Feed(images(), replace(config, sides=((1.0, side),)), torch.device("cpu"))
        rows = [(step(tiled, feed, n), step(plain, feed, n)) for n in range(rounds + 1)]
        pairs = rows[1:]  # the first step of each also takes its memory
        ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratios = [their / our for our, their in pairs]
        floor = 3 * config.batch_size * multiply_adds(config.net, side) / rate
        print(
            f"{name} at {side} pixels, {share:.0%} of the steps: "
            f"ours {ours:.3f} s, plain {theirs:.3f} s, ratio {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}); "
            f"ours/floor {ours / floor:.2f}, plain/floor {theirs / floor:.2f}"
        )
        for key, seconds in (("ours", ours), ("theirs", theirs), ("floor", floor)):
            whole[key] += share * seconds
        if in_turn is not None:
            print(f"    one network after the other: {compared(tiled, in_turn, feed, rounds)}")
    print(
        f"{name}, mean step of a whole training: "
        f"ours {whole['ours']:.3f} s, plain {whole['theirs']:.3f} s, "
        f"ratio {whole['theirs'] / whole['ours']:.2f}; "
        f"ours/floor {whole['ours'] / whole['floor']:.2f}"
    )


def compared(first: Learner, second: Learner, feed: Feed, rounds: int) -> str:
    """Time two learners in turn and tell how many times as long the second takes."""
    rows = [(step(first, feed, n), step(second, feed, n)) for n in range(rounds + 1)][1:]
    ratios = [other / one for one, other in rows]
    return f"{statistics.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f})"


def shares(config: TrainConfig) -> list[tuple[float, int]]:
    """Return pairs (share of the steps, images' side)."""
    found, before = [], 0.0
    for until, side in (*config.sides, (1.0, FULL)):
        found.append((until - before, side))
        before = until
    return found


def learner(config: TrainConfig, *, tiled: bool, threads: bool = True) -> Learner:
    """Return a network in training, with Winograd's method or without."""
    with (
        nullcontext() if tiled else patch.object(learner_module, "with_tiles", as_it_is),
        nullcontext() if threads else patch.object(learner_module, "_threads_for", no_threads),
    ):
        return Learner(config, make_fabric("cpu", "float32"))


def as_it_is(network: nn.Module) -> nn.Module:
    return network


def no_threads(towers: int) -> None:
    return None


def images() -> ImageSet:
    """Return images of random bytes."""
    chance = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (5_000, 3, FULL, FULL), dtype=torch.uint8, generator=chance)
    labels = torch.randint(0, len(CLASSES), (5_000,), generator=chance)
    return ImageSet(pixels, labels, CLASSES)


def step(trained: Learner, feed: Feed, number: int) -> float:
    """Return the seconds of one step."""
    return clock(lambda: float(trained.step(*feed.batch(number), 0.1)[0]))


if __name__ == "__main__":
    main()
