"""What every command takes of memory at two settings of --memory, beside what it takes at rest.

    python benchmarks/memory.py [--network squeezenet1_1] [--settings 64MB 1GB] [--images 32]
        [--only NAME...]

Each runs in a process of its own, as the library call that the command makes. At rest is what the
process holds once torch is imported, the network is loaded and has answered one image: library,
weights and graph, which no setting can change. What is printed is the highest resident memory from
then on less that (/proc/self/status, so Linux only). The images are photographs of 256 x 256
pixels, of noise, and one of 4000 x 3000.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import convscope as cs

MEGABYTE = 2**20


def project(net: cs.Network, images: Path, memory: str, out: Path) -> None:
    batch = net.preprocess.batch(sorted(images.iterdir())[:4])
    cs.project(net, batch, deepest(net), top=64, memory=memory)


def occlude(net: cs.Network, images: Path, memory: str, out: Path) -> None:
    cs.occlude(net, first(net, images), patch=32, stride=8, memory=memory)


def scan(net: cs.Network, images: Path, memory: str, out: Path) -> None:
    cs.scan(net, images, memory=memory)


def atlas(net: cs.Network, images: Path, memory: str, out: Path) -> None:
    found = cs.scan(net, images, top=2, memory=memory)
    found.save(out, memory=memory)


def diagnose(net: cs.Network, images: Path, memory: str, out: Path) -> None:
    cs.diagnose(net, images, memory=memory)


def checkerboard(net: cs.Network, images: Path, memory: str, out: Path) -> None:
    cs.checkerboard(net, first(net, images), memory=memory)


def sanity(net: cs.Network, images: Path, memory: str, out: Path) -> None:
    cs.sanity(net, first(net, images), memory=memory, budget=60)


def invariance(net: cs.Network, images: Path, memory: str, out: Path) -> None:
    cs.invariance(net, first(net, images), memory=memory)


def compare(net: cs.Network, images: Path, memory: str, out: Path) -> None:
    cs.compare(net, net, images, memory=memory, budget=60)


def report(net: cs.Network, images: Path, memory: str, out: Path) -> None:
    cs.report(net, images, folder=out, memory=memory, budget=120).save(out)


Command = Callable[[cs.Network, Path, str, Path], None]
COMMANDS: dict[str, Command] = {
    command.__name__: command
    for command in (
        project, occlude, scan, atlas, diagnose, checkerboard, sanity, invariance, compare, report,
    )
}  # fmt: skip


def deepest(net: cs.Network) -> str:
    return list(net.layers)[-3]


def first(net: cs.Network, images: Path) -> torch.Tensor:
    return net.preprocess(min(images.iterdir()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="squeezenet1_1")
    parser.add_argument("--settings", nargs=2, default=["64MB", "1GB"])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--only", nargs="+", choices=list(COMMANDS), default=list(COMMANDS))
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.network, *options.measure)
        return
    print(f"{options.network}, {options.images} images, {torch.get_num_threads()} threads, "
          f"torch {torch.__version__}")  # fmt: skip
    print(f"| command | at rest | {' | '.join(f'work at {s}' for s in options.settings)} |")
    print("| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        write_images(images, options.images)
        for name in options.only:
            found = [measured(name, options.network, images, s) for s in options.settings]
            cells = [f"{found[0][0]:.0f} MB", *(f"{work:.0f} MB" for _, work in found)]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def write_images(folder: Path, count: int) -> None:
    """Write pictures of noise, the first of them large."""
    folder.mkdir()
    chance = np.random.default_rng(0)
    for number in range(count):
        size = (3000, 4000, 3) if number == 0 else (256, 256, 3)
        pixels = chance.integers(0, 256, size, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04}.jpg")


def measured(name: str, network: str, images: Path, memory: str) -> tuple[float, float]:
    """Return megabytes at rest, and what a command takes more in a process of its own."""
    command = [sys.executable, __file__, "--network", network, "--measure", name, memory, images]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rest, work = done.stdout.split()[-2:]
    return float(rest), float(work)


def measure(network: str, name: str, memory: str, images: str) -> None:
    net = cs.load(network, weights="random" if network != "base" else "default")
    net(torch.zeros(1, *net.input_shape))
    rest = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest begins anew
    with tempfile.TemporaryDirectory() as folder:
        COMMANDS[name](net, Path(images), memory, Path(folder) / "out")
    print(f"{rest:.0f} {max(0.0, resident('VmHWM') - rest):.0f}")


def resident(field: str) -> float:
    """Return resident memory in megabytes, now (VmRSS) or at its highest (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return float(line.split()[1]) * 1024 / MEGABYTE
    raise RuntimeError(f"{field} is not known here")


if __name__ == "__main__":
    main()
