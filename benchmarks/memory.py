"""What every command takes of memory at two settings of --memory, beside what it takes at rest.

    python benchmarks/memory.py [--networks base vgg16] [--settings 256MB 1GB] [--only NAME...]
        [--cifar FOLDER] [--jobs N] [--write docs/memory.md]

Each command runs in a process of its own, of which the system tells the highest resident memory
(getrusage). Printed is what that is beyond the same process at rest: `convscope layers`, which
imports all, loads the network and traces it, but sees no image. The images are of noise, 256 x 256
pixels but for one of 4000 x 3000.
"""

# No torch here: a process that is started counts the memory of the one that started it.
from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

IMAGES = 16
PARTS = "image,part,left,top,right,bottom\n" + "".join(
    f"images/{number:04}.jpg,nose,40,40,120,120\n" for number in range(1, 4)
)
IMPORTS = "import torch, matplotlib.figure, convscope.cli, convscope.network, convscope.loading"
MODELS = {"base": "base", "vgg16": "vgg16 --weights random", "squeezenet1_1": "squeezenet1_1"}

WITH_MEMORY = {
    "project": "project MODEL images/0000.jpg images/0001.jpg",
    "project, one layer": "project MODEL images/0000.jpg --layer DEEP --top 64",
    "occlude": "occlude MODEL images/0000.jpg",
    "occlude, in full": "occlude MODEL images/0000.jpg --method full --patch 40% --stride 20%",
    "checkerboard": "checkerboard MODEL images/0000.jpg --budget 30",
    "sanity": "sanity MODEL images/0000.jpg --seeds 1 --budget 30",
    "invariance": "invariance MODEL images/0000.jpg images/0001.jpg --steps 3 --budget 30",
    "scan": "scan MODEL images --layer MIDDLE --top 2",
    "diagnose": "diagnose MODEL images --budget 20",
    "compare": "compare MODEL MODEL images --budget 20",
    "report": "report MODEL images --budget 30",
    "attribute": "attribute MODEL images/0001.jpg",
    "attribute, along a path": "attribute MODEL images/0001.jpg --method integrated-gradients",
    "trace-unit": "trace-unit MODEL images/0001.jpg --layer DEEP --channel 1",
    "visualize": "visualize MODEL --layer MIDDLE --channel 0 --channel 1 --steps 8",
    "ablate": "ablate MODEL images --layer MIDDLE",
    "probe": "probe MODEL classes --layer MIDDLE",
    "explore, as files": "explore MODEL images/0001.jpg --top 4 --export OUT",
}
"""Commands by what they are called in the table, with words that stand for the network's own."""

WITHOUT = {
    "correspondence": "correspondence MODEL parts.csv --repeats 2",
    "draw": "draw MODEL",
    "plate": "plate ATLAS",
}
ALONE = {
    "demo": "demo",
    "train": "train --data CIFAR --preset tiny --epochs 0.2",
    "evolve": "evolve RUN --data CIFAR",
}
LAYERS = {
    "base": ("features.relu7", "features.conv6", 8, 4),
    "vgg16": ("features.29", "features.19", 64, 32),
    "squeezenet1_1": ("features.12", "features.10.expand3x3", 64, 32),
}
"""A deep layer, one in the middle, and the patch and the stride of full occlusion, in pixels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=list(MODELS), default=["base", "vgg16"])
    parser.add_argument("--settings", nargs=2, default=["256MB", "1GB"])
    parser.add_argument("--only", nargs="+", help="commands by their names in the table")
    parser.add_argument("--jobs", type=int, default=1, help="commands side by side")
    parser.add_argument("--cifar", type=whole, help="CIFAR-10's files, for train and evolve")
    parser.add_argument(
        "--write", type=whole, help="a page whose table this one takes the place of"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_images(Path("images"))
        Path("parts.csv").write_text(PARTS)
        for name in ("cat", "dog"):
            write_images(Path("classes") / name)
        rows = [row for network in options.networks for row in rows_of(network, options)]
        rows += rows_alone(options)
    text = table(rows, options)
    print(text)
    if options.write:
        page = options.write.read_text("utf-8")
        start, end = "<!-- benchmarks/memory.py -->\n", "<!-- end -->"
        before, _, rest = page.partition(start)
        options.write.write_text(f"{before}{start}{text}{end}{rest.partition(end)[2]}", "utf-8")


def whole(path: str) -> Path:
    """Return a path as it is from any folder."""
    return Path(path).resolve()


def write_images(folder: Path) -> None:
    folder.mkdir(parents=True)
    chance = np.random.default_rng(0)
    for number in range(IMAGES):
        size = (3000, 4000, 3) if number == 0 else (256, 256, 3)
        pixels = chance.integers(0, 256, size, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04}.jpg")


def rows_of(network: str, options: argparse.Namespace) -> list[list[str]]:
    rest = megabytes(["layers", *MODELS[network].split()])
    deep, middle, patch, stride = LAYERS[network]
    own, *weights = MODELS[network].split()
    twice = " ".join([own, own, *weights, *weights])
    words = {"MODEL MODEL": twice, "MODEL": MODELS[network]}
    words |= {"DEEP": deep, "MIDDLE": middle, "40%": str(patch), "20%": str(stride)}
    words |= {"ATLAS": f"{network}-scan-{options.settings[-1]}"}

    def row(line: tuple[str, str]) -> list[str]:
        name, command = line
        settings = options.settings if name in WITH_MEMORY else [None]
        places = [f"{network}-{name}-{setting}".replace(" ", "-") for setting in settings]
        found = [
            megabytes(given(said(command, words | {"OUT": place}), setting, place)) - rest
            for setting, place in zip(settings, places, strict=True)
        ]
        row = [network, name, f"{rest:.0f}", *(f"{max(0, work):.0f}" for work in found)]
        print(*row, file=sys.stderr, flush=True)
        return row

    rows = []
    for commands in (WITH_MEMORY, WITHOUT):  # of which the second may read what the first wrote
        chosen = [line for line in commands.items() if line[0] in (options.only or commands)]
        with ThreadPoolExecutor(options.jobs) as workers:
            rows += workers.map(row, chosen)
    return rows


def rows_alone(options: argparse.Namespace) -> list[list[str]]:
    """Return rows of the commands that are given no network."""
    rest, rows = megabytes([]), []
    for name, line in ALONE.items():
        if ("CIFAR" in line and not options.cifar) or (options.only and name not in options.only):
            continue
        words = {"CIFAR": str(options.cifar), "RUN": "train"}
        work = megabytes(given(said(line, words), None, name)) - rest
        rows.append(["", name, f"{rest:.0f}", f"{work:.0f}"])
        print(*rows[-1], file=sys.stderr, flush=True)
    return rows


def said(line: str, words: dict[str, str]) -> str:
    """Return a command with what its words stand for."""
    for word, meant in words.items():
        line = line.replace(word, meant)
    return line


def given(line: str, memory: str | None, place: str) -> list[str]:
    """Return the arguments of a command, with a place of its own for what it writes."""
    command = line.split(maxsplit=1)[0]
    if command not in ("scan", "compare", "report", "train"):
        place += "" if command == "demo" else ".png"
    where = [] if command == "explore" else ["-o", place]
    return [*line.split(), *where, *(["--memory", memory] if memory else [])]


def megabytes(arguments: list[str]) -> float:
    """Return the highest resident memory of a command; without arguments, of what it imports."""
    how = ["-m", "convscope", *arguments] if arguments else ["-c", IMPORTS]
    process = subprocess.Popen(
        [sys.executable, *how], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"convscope {' '.join(arguments)}: {said}")
    return usage.ru_maxrss / 1024


def table(rows: list[list[str]], options: argparse.Namespace) -> str:
    threads = os.environ.get("OMP_NUM_THREADS", os.cpu_count())
    small, large = options.settings
    torch = version("torch").partition("+")[0]
    lines = [
        f"{IMAGES} images, {threads} threads, torch {torch}, in MB:",
        "",
        f"| network | command | at rest | work at `{small}` | work at `{large}` |",
        "| --- | --- | --- | --- | --- |",
    ]
    for network, name, rest, *work in rows:
        cells = work if len(work) == 2 else [f"{work[0]} (has no `--memory`)", ""]
        lines.append(f"| {network} | {name} | {rest} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
