"""Sets of units drawn at random, together: beside each alone, and torch's derivative in float64.

    python benchmarks/units.py [--cases 2000] [--seed 0] [--data FOLDER]

Each case is a network (drawn: convolutions of any geometry, pools, upsampling, skips, joins, gates;
or trained: base, SqueezeNet 1.1, VGG16's features), one to three images of 16 to 224 pixels, a
layer, units anywhere in its maps in any order, a rule and a memory. It fails where any projection
differs from that of the unit alone, or from torch's own derivative with the rectifiers of the
tests' oracle, by more than 1e-9 of its largest pixel.
"""

import argparse
import collections
import itertools
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from drawn import Case, drawn_case, drawn_network, trained

DRAWN_SIZES = [16, 16, 24, 32, 32, 48, 64, 96]
TRAINED_SIZES = {
    "base": [16, 32, 48],
    "squeezenet1_1": [32, 64, 96, 224],
    "vgg16-features": [32, 64, 224],
}
TRAINED = [(name, size) for name, sizes in TRAINED_SIZES.items() for size in sizes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--show", type=int, default=0, help="failures to print")
    options = parser.parse_args()
    began, done, failed = time.monotonic(), collections.Counter(), collections.Counter()
    units, shown = 0, 0
    for case in cases(random.Random(options.seed), options.cases, options.data):
        name = case.traced.name
        wrong = case.failures()
        done[name] += 1
        failed[name] += bool(wrong)
        units += len(case.places)
        if not done.total() % 100:
            print(f"  {done.total()} cases, {failed.total()} wrong", flush=True)
        if wrong and shown < options.show:
            shown += 1
            print(f"  {name} {list(case.images.shape)} {case.layer} {case.rule} {case.way} "
                  f"memory {case.memory}: {wrong[0]} (of {len(wrong)})", flush=True)  # fmt: skip
    for name in done:
        print(f"{name:24} {done[name]:5} cases, {failed[name]:4} wrong")
    print(f"{'all':24} {done.total():5} cases of {units} units, {failed.total():4} wrong, "
          f"{time.monotonic() - began:.0f} s, seed {options.seed}")  # fmt: skip


def cases(rng: random.Random, count: int, data: Path) -> Iterator[Case]:
    """Yield cases: most on drawn networks, the others on every trained one in turn."""
    made, turns = 0, itertools.cycle(rng.sample(TRAINED, len(TRAINED)))
    while made < count:
        traced = trained(*next(turns), data) if rng.random() < 0.3 else None
        while traced is None:
            size = (rng.choice(DRAWN_SIZES), rng.choice(DRAWN_SIZES))
            traced = drawn_network(rng, size)
        large = traced.net.input_shape[1] > 100 and traced.name != "drawn"
        at_once = 16 if traced.name == "drawn" else 2 if large else 8
        for _ in range(min(at_once, count - made)):
            yield drawn_case(rng, traced, 3 if large else 12)
            made += 1


if __name__ == "__main__":
    main()
