"""The options that commands share, each under one name everywhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from convscope.methods.scanning.sources import Images
    from convscope.network import Network

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


def open_images(images: Path, net: "Network") -> "Images":
    """Return the images of a folder: pictures, or CIFAR-10's test images."""
    from convscope.methods.scanning.sources import images_of
    from convscope.study.data import FILES, FOLDER, cifar_pictures

    for folder in (images, images / FOLDER):
        if (folder / FILES["test"][0]).exists():
            return cifar_pictures(folder, net.preprocess)
    return images_of(images, net)
