"""Measure the letters of every figure in its PDF: `python tests/letters.py` prints the table.

The sizes are read from the page that was written, with all that scales it, so that nothing on the
way there goes unseen.
"""

import copy
import math
import re
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import torch

import convscope as cs
from convscope import samples
from convscope.figures.style import WIDTHS
from whole_study_worker import compared

SMALLEST = 7.0

NET = cs.load("base")


def pictures() -> list[Path]:
    """Return the files of the bundled pictures."""
    return [Path(samples.__file__).with_name(sample.file) for sample in samples.SAMPLES]


def images() -> torch.Tensor:
    """Return the bundled pictures as inputs."""
    return NET.preprocess.batch(pictures())


def atlas(ask: Callable[[cs.Atlas], cs.Result]) -> cs.Result:
    """Return what a small atlas answers."""
    with tempfile.TemporaryDirectory() as folder:
        cs.scan(NET, images(), "features.conv2").save(folder)
        return ask(cs.Atlas(Path(folder)))


def evolution() -> cs.Evolution:
    """Return the evolution of a network's filters over a few steps."""
    module = copy.deepcopy(NET.module)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        with cs.Tracker(folder, module, steps_per_epoch=2) as tracker:
            for _ in range(4):
                module.features.conv1.weight.neg_()
                tracker.step()
        return cs.evolve(folder, images(), module=module, layer="features.relu1")


def study() -> cs.Study:
    """Return a study of one seed."""
    with tempfile.TemporaryDirectory() as folder:
        return compared(Path(folder, "study"), seeds=1)


RESULTS: dict[str, Callable[[], cs.Result]] = {
    "Architecture": lambda: cs.draw(NET),
    "AtlasUnit": lambda: atlas(lambda found: found.unit("features.conv2", 3)),
    "Checkerboard": lambda: cs.checkerboard(NET, pictures()),
    "Correspondence": lambda: cs.correspondence(
        NET, [cs.Part(image, name, (4, left, 12, left + 8)) for image in range(4)
              for name, left in (("left eye", 4), ("right eye", 18))], pictures(),
    ),
    "Ablation": lambda: cs.ablate(NET, images(), "features.relu7", sample=2),
    "Attribution": lambda: cs.attribute(NET, pictures(), ["cat", 3]),
    "Diagnosis": lambda: cs.diagnose(NET, images()),
    "Evolution": evolution,
    "Invariance": lambda: cs.invariance(NET, pictures(), steps=5),
    "Comparison": lambda: cs.compare(NET, cs.load("base", "random"), images()),
    "Occlusion": lambda: cs.occlude(NET, pictures()[0], layer="features.conv2"),
    "Occlusions": lambda: cs.occlude_all(NET, pictures(), [8, 12]),
    "Plate": lambda: atlas(lambda found: found.plate()),
    "Probe": lambda: cs.probe(NET, images(), labels=[0, 1] * 2, folds=2),
    "Projection": lambda: cs.project(NET, pictures()),
    "Sanity": lambda: cs.sanity(NET, pictures()[0], seeds=1, others=2),
    "Scan": lambda: cs.scan(NET, images()),
    "Study": study,
    "UnitTrace": lambda: cs.trace_unit(NET, pictures()[0], "features.conv3", 0, top=2),
    "Visualization": lambda: cs.visualize(
        NET, "features.conv2", [0, 1], steps=1, atlas=cs.scan(NET, images(), "features.conv2")
    ),
}  # fmt: skip
"""How a result of each kind is made, as small as it may be and with all that its figure shows."""


def drawn() -> list[str]:
    """Return the public results that have a figure."""
    public = ((name, getattr(cs, name)) for name in cs.__all__)
    return [n for n, c in public if isinstance(c, type) and getattr(c, "figure", "")
            and issubclass(c, cs.Result)]  # fmt: skip


def letters(pdf: Path) -> tuple[float, float]:
    """Return the smallest letters of a PDF, in points, and the width of its page, in inches."""
    content = pdf.read_bytes()
    width = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", content)
    page = re.search(rb"/Contents (\d+) 0 R", content)
    assert width is not None
    assert page is not None
    begin = content.index(b"stream\n", content.index(b"\n%s 0 obj\n" % page[1])) + len(b"stream\n")
    # What follows the stream is no part of it, and is not read.
    sizes = _sizes(zlib.decompressobj().decompress(content[begin:]))
    assert sizes, f"{pdf} has no letters"
    return min(sizes), float(width[1]) / 72


def _sizes(drawing: bytes) -> list[float]:
    """Return the size of each piece of text that a page's instructions draw."""
    # What is written stands in brackets, and may look like an instruction.
    drawing = re.sub(rb"\((?:\\.|[^\\()])*\)", b"", drawing, flags=re.DOTALL)
    sizes, outer = [], []
    page = line = 1.0  # how much a unit of the page, and of a line of text, is enlarged
    size = 0.0
    for font, matrix, scales, word in _INSTRUCTION.findall(drawing):
        if font:
            size = float(font)
        elif matrix:
            a, b, c, d = map(float, matrix.split()[:4])
            scale = math.sqrt(abs(a * d - b * c))
            page, line = (page * scale, line) if scales == b"cm" else (page, scale)
        elif word == b"q":
            outer.append(page)
        elif word == b"Q":
            page = outer.pop()
        elif word == b"BT":
            line = 1.0
        else:
            sizes.append(size * line * page)
    return sizes


_INSTRUCTION = re.compile(
    rb"/F[\w.+-]+ ([\d.]+) Tf|((?:-?[\d.]+\s+){6})(cm|Tm)\b|\b(q|Q|BT|TJ|Tj)\b"
)


def kinds_of_fonts(pdf: Path) -> set[str]:
    """Return the types of the fonts in a PDF, as ``pdffonts`` calls them."""
    told = subprocess.run(["pdffonts", str(pdf)], check=True, capture_output=True, text=True).stdout
    _, rule, *lines = told.splitlines()
    begin = rule.index(" ") + 1
    return {line[begin : begin + 17].strip() for line in lines}


def main() -> None:
    """Print the smallest letters of every figure at each width, and its kinds of fonts."""
    print(f"| figure | {' | '.join(WIDTHS)} | fonts |")
    print("| --- |" + " --- |" * (len(WIDTHS) + 1))
    smallest = []
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or drawn():
            result, found = RESULTS[name](), []
            for width in WIDTHS:
                result.save(Path(folder, "it.pdf"), width=width)
                found.append(letters(Path(folder, "it.pdf"))[0])
            smallest += found
            fonts = ", ".join(sorted(kinds_of_fonts(Path(folder, "it.pdf"))))
            print(f"| {name} | {' | '.join(f'{points:.1f}' for points in found)} | {fonts} |")
    print(f"the smallest: {min(smallest):.1f} points")


if __name__ == "__main__":
    main()
