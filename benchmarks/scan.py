"""What scanning costs: VGG16 at 224x224 beside its plain forward pass, and memory over many images.

    python benchmarks/scan.py [--images 16] [--rounds 5] [--skip-memory]

Scan and forward pass take turns on the same images, which lie decoded in memory. The plain pass is
the module itself in channels_last, the faster layout, in batches of the scan's size and under
inference mode, on all threads, and also as the scan runs it, one batch a thread; the scan is
compared with the faster of the two. There are two turns of scanning. In the first every image
enters the strongest nine of every channel, as it does at the start only; in the later one none
does, as few do in a large data set: after 1,000 images one in a hundred. The preparation (a hash of
the weights) is not part of a turn.
"""

import argparse
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

import convscope as cs
from convscope.methods.scan import scan_facts
from convscope.methods.scanning.image_pass import (
    ImagePass,
    batch_size,
    batches_at_once,
    single_threads,
)
from convscope.methods.scanning.sources import images_of
from convscope.methods.scanning.tally import Tally
from convscope.methods.scanning.units import scanned_layers

MEMORY = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=16, help="images a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--resident-after", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.resident_after:
        print(resident_after(options.resident_after))
        return
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
          f"torch {torch.__version__}")  # fmt: skip
    speed(options.images, options.rounds)
    if not options.skip_memory:
        memory()


def speed(count: int, rounds: int) -> None:
    net = cs.load("vgg16", weights="random")
    images = torch.randn(count, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    size = batch_size(net, MEMORY)
    workers = batches_at_once(net, size, MEMORY)
    module = net.module.eval().to(memory_format=torch.channels_last)
    source = images_of(list(images), net)
    facts, numbers = scan_facts(net, source, scanned_layers(net), 9, size), np.arange(count)

    def scan(full: bool) -> object:
        tally = Tally.empty(facts)
        for layer in tally.layers.values():
            if full:
                layer.strongest.peak[:] = np.inf
        return list(ImagePass(net, source, scanned_layers(net), size, tally).run(numbers, MEMORY))

    tasks: dict[str, Callable[[], object]] = {
        "forward, all threads": lambda: forward(module, images, size),
        "forward, a batch a thread": lambda: side_by_side(module, images, size, workers),
        "scan, later images": lambda: scan(full=True),
        "scan, first images": lambda: scan(full=False),
    }
    for task in tasks.values():
        task()
    elapsed: dict[str, list[float]] = {name: [] for name in tasks}
    worked: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            began, began_work = time.perf_counter(), time.process_time()
            task()
            elapsed[name].append(1e3 * (time.perf_counter() - began) / count)
            worked[name].append(1e3 * (time.process_time() - began_work) / count)
    for kind, times in (("time", elapsed), ("processor time", worked)):
        report(kind, times)


def report(kind: str, times: dict[str, list[float]]) -> None:
    """Print milliseconds an image, and those of the scans as shares of the forward pass."""
    for name, taken in times.items():
        print(f"{kind}, {name}: median {statistics.median(taken):.1f} ms an image "
              f"({min(taken):.1f}-{max(taken):.1f})")  # fmt: skip
    forwards = [taken for name, taken in times.items() if name.startswith("forward")]
    plain = [min(both) for both in zip(*forwards, strict=True)]
    for name in ("scan, later images", "scan, first images"):
        ratios = [own / other for own, other in zip(times[name], plain, strict=True)]
        print(f"{kind}, {name} / forward: median {statistics.median(ratios):.3f} "
              f"({min(ratios):.3f}-{max(ratios):.3f})")  # fmt: skip


def forward(module: nn.Module, images: Tensor, size: int) -> None:
    with torch.inference_mode():
        for batch in images.split(size):
            module(batch.contiguous(memory_format=torch.channels_last))


def side_by_side(module: nn.Module, images: Tensor, size: int, workers: int) -> None:
    with single_threads(workers) as pool:
        list(pool.map(lambda batch: forward(module, batch, size), images.split(size)))


class Noise:
    """So many small images, made when asked for."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Tensor:
        if number >= self.count:
            raise IndexError(number)
        return torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(number))


def resident_after(count: int) -> float:
    """Return the highest resident memory of this process after scanning images, in MB."""
    module = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU())
    cs.scan(cs.Network(module, torch.zeros(1, 3, 32, 32)), Noise(count), memory="256MB")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory() -> None:
    found = {}
    for count in (1_000, 10_000):
        command = [sys.executable, __file__, "--resident-after", str(count)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[count] = float(done.stdout)
        print(f"highest resident memory over {count:6,} images: {found[count]:.0f} MB")
    print(f"difference: {found[10_000] - found[1_000]:.0f} MB")


if __name__ == "__main__":
    main()
