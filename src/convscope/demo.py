"""The demo: one page of what the bundled network sees in four pictures, made from nothing."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from convscope.errors import OutputError
from convscope.figures.sheet import picture_of
from convscope.methods.project import project
from convscope.methods.targets import taken_for
from convscope.models import load
from convscope.models.bundled import bundle_facts
from convscope.network import Network
from convscope.network.shield import shielded
from convscope.outputs import written_beside
from convscope.pages import image_source, png, render, unit_tiles
from convscope.pages.tiles import UnitTiles
from convscope.samples import SAMPLES, Sample

NETWORK = "base"
UNITS_A_BLOCK = 3
ANSWERS = 3
PAGE = "index.html"


@dataclass(frozen=True)
class Block:
    """The strongest feature maps at the end of a block of the network, in one picture.

    Attributes:
        number: which block, from 1.
        layer: the block's last layer.
        field: height and width in pixels of what one value of it reads.
        units: the maps, strongest first.

    """

    number: int
    layer: str
    field: tuple[int, int]
    units: list[UnitTiles]


@dataclass(frozen=True)
class Shown:
    """What the page shows of one picture.

    Attributes:
        sample: the picture.
        file: where a copy of it was written.
        command: what shows the same on the command line.
        source: the picture, for ``img``.
        seen: the same as the network gets it.
        answers: the most probable classes with their probabilities in 0..1, best first.
        blocks: the strongest feature maps, block by block.

    """

    sample: Sample
    file: Path
    command: str
    source: str
    seen: str
    answers: list[tuple[str, float]]
    blocks: list[Block]

    def to_dict(self) -> dict[str, Any]:
        """Return all but the pictures, fit for JSON."""
        return {
            "file": str(self.file),
            "answers": dict(self.answers),
            "blocks": [
                {
                    "layer": block.layer,
                    "channels": [unit.channel for unit in block.units],
                    "activations": [unit.activation for unit in block.units],
                    "windows": [unit.window for unit in block.units],
                    "scales": [asdict(unit.scale) for unit in block.units],
                }
                for block in self.blocks
            ],
        }


@dataclass(frozen=True)
class Demo:
    """What was made: the page, and what it shows of each picture."""

    page: Path
    pictures: list[Shown]


@shielded
def make_demo(folder: Path, progress: Callable[[int, int], None] | None = None) -> Demo:
    """Write the page and the pictures it is about into a folder, made if missing.

    Args:
        folder: where to.
        progress: called with the pictures done and the pictures in all.

    Raises:
        OutputError: the folder cannot be written.
        ModelError: the bundled network is missing or damaged.

    """
    _make(folder)
    net = load(NETWORK)
    pictures = []
    for done, sample in enumerate(SAMPLES, start=1):
        pictures.append(_shown(net, sample, folder))
        if progress:
            progress(done, len(SAMPLES))
    page = folder / PAGE
    with written_beside(page) as beside:
        beside.write_text(_html(net, pictures), "utf-8")
    return Demo(page, pictures)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror or error}") from error


def _shown(net: Network, sample: Sample, folder: Path) -> Shown:
    content = sample.content()
    file = folder / sample.file
    with written_beside(file) as beside:
        beside.write_bytes(content)
    images = net.preprocess(file)
    found = project(net, images, top=UNITS_A_BLOCK, titles=[file.name])
    tiles = unit_tiles(found, 0)
    output = f"{file.stem}-projection.png"
    command = f"convscope project {NETWORK} {shlex.quote(str(file))} --top {UNITS_A_BLOCK}"
    kind = "jpeg" if file.suffix == ".jpg" else "png"
    return Shown(
        sample=sample,
        file=file,
        command=f"{command} -o {output}",
        source=image_source(content, kind),
        seen=image_source(png(_seen(net, images))),
        answers=_answers(net, images),
        blocks=[
            Block(
                number + 1,
                found.layers[first],
                found.receptive_fields[first],
                tiles[first : first + UNITS_A_BLOCK],
            )
            for number, first in enumerate(range(0, len(tiles), UNITS_A_BLOCK))
        ],
    )


def _seen(net: Network, images: Tensor) -> npt.NDArray[np.uint8]:
    picture = 255 * picture_of(net.preprocess.to_pixels(images))[0]
    return np.asarray(np.rint(picture), np.uint8)


def _answers(net: Network, images: Tensor) -> list[tuple[str, float]]:
    return taken_for(net, images, ANSWERS)[0]


def _html(net: Network, pictures: list[Shown]) -> str:
    facts = bundle_facts(NETWORK)
    return render(
        "demo.html",
        title="What a network sees",
        network=NETWORK,
        parameters=f"{sum(layer.parameters for layer in net.layers.values()) / 1e6:.2f}",
        accuracy=f"{facts['test_accuracy']:.1%}",
        classes=net.classes,
        side=facts["side"],
        pictures=pictures,
        clipped=f"{max(_clipped(pictures)):.2%}",
        quantile=f"{pictures[0].blocks[0].units[0].scale.quantile:.1%}",
    )


def _clipped(pictures: list[Shown]) -> list[float]:
    blocks = [block for shown in pictures for block in shown.blocks]
    return [unit.scale.clipped for block in blocks for unit in block.units]
