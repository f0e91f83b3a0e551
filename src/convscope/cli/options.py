"""The options that commands share, each under one name everywhere."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from convscope.cli.printing import print_json
from convscope.errors import ConvscopeError

if TYPE_CHECKING:
    from convscope.figures.style import Style
    from convscope.methods.scanning.sources import Images
    from convscope.network import Network
    from convscope.results import Result

SHARED = """
    as_json: Print the numbers as JSON.
    atlas (ATLAS): A folder that `scan` made.
    budget (SECONDS): Stop after so many seconds.
    colour: Of the projections: signed, luminance or normalised.
    contrast: linear; root: the square root, which shows what is faint.
    data: CIFAR-10's folder; see `convscope data`.
    epochs: Passes over the training images.
    images (IMAGE...): Picture files.
    memory: Memory for the work besides the result.
    precision: auto, float32 or bfloat16.
    rank: What makes a channel strong: relative, its peak over its typical peak (where that is
        known); raw, its peak alone.
    reference (ATLAS): An atlas of the network, which tells typical peaks.
    rule: How the signal comes down, as `convscope rules` lists.
    scale: tile: each picture on its own scale; shared: all on one.
    target: A class, by number or name; 281-282, a difference; 3@10,20,40,60, class 3 in a box
        (TOP,LEFT,BOTTOM,RIGHT); 4,8399, one of the numbers (repeat for more); by default the
        most probable class.
"""
"""What options mean that several commands have, where a command does not say it of its own."""


@dataclass(frozen=True)
class Showing:
    """Where and how a command shows its result.

    Attributes:
        width: Of the figure: column, text, slide, or inches; letters stay legible.
        caption: Below the figure: none, short or full.
        output: A figure (.png, .svg, .pdf), numbers (.json, .csv) or arrays (.npz, .safetensors).
    """

    width: str = "text"
    caption: str = "short"
    output: Path = Path()
    as_json: bool = False

    def check(self, kind: "type[Result]", images: Path | None = None) -> "Style":
        """Refuse, before any work, what a kind of result cannot be written or drawn as."""
        from convscope.figures.style import style

        kind.check(self.output, images)
        return style(self.width, self.caption)

    @property
    def drawn(self) -> bool:
        """Whether a figure is written."""
        from convscope.results import FIGURES

        return self.output.suffix.lower() in FIGURES

    def finish(self, found: "Result", **options: Any) -> None:
        """Write a result; print its numbers as JSON, or its file, or first page, and a summary."""
        found.save(self.output, width=self.width, caption=self.caption, **options)
        if self.as_json:
            print_json({"output": str(self.output), **found.to_dict(**options)})
            return
        page = self.output / "index.html"
        typer.echo(str(page if page.exists() else self.output))
        typer.echo(found.summary())


def numbers_of(
    text: str, option: str, wanted: str, kind: type[float] = float, counts: Iterable[int] = ()
) -> list[Any]:
    """Return the numbers that commas part in what an option was given.

    Anything else, or another count of them, is refused with what is *wanted*, in words.
    """
    try:
        found = [kind(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or (counts and len(found) not in counts):
        raise ConvscopeError(f"{option} is {wanted}, not {text!r}")
    return found


def one_or_all(names: list[str] | None) -> str | list[str] | None:
    """Return what an option was given: nothing, one name for all, or several."""
    return names[0] if names and len(names) == 1 else names or None


def open_images(images: Path, net: "Network") -> "Images":
    """Return the images of a folder: pictures, or CIFAR-10's test images."""
    from convscope.methods.scanning.sources import images_of
    from convscope.study.data import FILES, FOLDER, load_cifar10

    for folder in (images, images / FOLDER):
        if (folder / FILES["test"][0]).exists():
            return images_of(load_cifar10(folder, "test"), net)
    return images_of(images, net)
