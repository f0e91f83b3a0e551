"""The options that commands share, each under one name everywhere."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.cli.printing import print_json
from convscope.errors import ConvscopeError

if TYPE_CHECKING:
    from convscope.figures.style import Style
    from convscope.methods.scanning.sources import Images
    from convscope.network import Network
    from convscope.results import Result

Pictures = Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Picture files.")]
PictureFolder = Annotated[
    Path,
    typer.Argument(
        metavar="IMAGES",
        help="A folder of pictures, in class folders or not, or CIFAR-10's (its test images).",
    ),
]
AtlasFolder = Annotated[Path, typer.Argument(metavar="ATLAS", help="A folder that `scan` made.")]
Cifar10 = Annotated[Path, typer.Option(help="CIFAR-10's folder; see `convscope data`.")]
Epochs = Annotated[float | None, typer.Option(help="Passes over the training images.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Precision = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
_TARGETS = (
    "A class, by number or name; 281-282, a difference; 3@10,20,40,60, class 3 in a box "
    "(TOP,LEFT,BOTTOM,RIGHT); 4,8399, one of the numbers{}; by default the most probable class."
)
Target = Annotated[str | None, typer.Option(help=_TARGETS.format(""))]
Targets = Annotated[list[str] | None, typer.Option(help=_TARGETS.format(" (repeat for more)"))]
DefaultLayers = Annotated[
    list[str] | None,
    typer.Option(help="A layer (repeat for more); the first block's, the middle's, the last."),
]
NotNeeded = Annotated[
    str | None, typer.Option(help="A .safetensors or .pth file; without, random ones do.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")]
Width = Annotated[
    str, typer.Option(help="Of the figure: column, text, slide, or inches; letters stay legible.")
]
Caption = Annotated[str, typer.Option(help="Below the figure: none, short or full.")]
Output = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        help="A figure (.png, .svg, .pdf), numbers (.json, .csv) or arrays (.npz, .safetensors).",
    ),
]
Scale = Annotated[
    str, typer.Option(help="tile: each picture on its own scale; shared: all on one.")
]
Colour = Annotated[str, typer.Option(help="Of the projections: signed, luminance or normalised.")]
Contrast = Annotated[
    str, typer.Option(help="linear; root: the square root, which shows what is faint.")
]
Rule = Annotated[
    str,
    typer.Option(help="How the signal comes down, as `convscope rules` lists."),
]
Rank = Annotated[
    str | None,
    typer.Option(
        help="What makes a channel strong: relative, its peak over its typical peak (where that is "
        "known); raw, its peak alone."
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option(metavar="ATLAS", help="An atlas of the network, which tells typical peaks."),
]
Budget = Annotated[str | None, typer.Option(metavar="SECONDS", help="Stop after so many seconds.")]
Memory = Annotated[str, typer.Option(help="Memory for the work besides the result.")]


@dataclass(frozen=True)
class Showing:
    """Where and how a command shows its result."""

    width: Width = "text"
    caption: Caption = "short"
    output: Output = Path()
    as_json: AsJson = False

    def check(self, kind: "type[Result]") -> "Style":
        """Refuse, before any work, what a kind of result cannot be written or drawn as."""
        from convscope.figures.style import style

        kind.check(self.output)
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

    Args:
        text: what was given.
        option: its name, for a message.
        wanted: what it should be, in words.
        kind: ``float`` or ``int``.
        counts: how many there may be; any number by default.

    Raises:
        ConvscopeError: if it is something else.
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
