"""The options that commands share, each under one name everywhere."""

import sys
from contextlib import redirect_stdout
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.errors import ConvscopeError

if TYPE_CHECKING:
    from convscope.methods.scanning.sources import Images
    from convscope.network import Network

PICTURES = (".png", ".svg", ".pdf")
FILMS = (".gif", ".mp4")
ARRAYS = (".npz",)

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="base (comes with its weights), vgg16, vgg16_bn, alexnet, squeezenet1_1, zfnet, "
        "torchvision:NAME, timm:NAME, file.py:factory, net.pt2, or the folder of a training",
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        help="A .safetensors, .pth or .ckpt file (FILE#key: what is under one key of it), or "
        "'random'; by default the published ones."
    ),
]
Size = Annotated[str | None, typer.Option(metavar="C,H,W", help="Input size of the network.")]
Range = Annotated[
    str | None,
    typer.Option(
        metavar="LOW,HIGH",
        help="The values in the files of pictures that are black and white, such as 0,4095.",
    ),
]
Device = Annotated[str, typer.Option(help="Where to run, such as cpu or cuda.")]
Answer = Annotated[
    str | None,
    typer.Option(help="What the output is: classes, labels or number; by default its end tells."),
]
Head = Annotated[
    str | None, typer.Option(help="Which of several outputs: its number or name; the first.")
]
Random = Annotated[
    str,
    typer.Option(
        help="A network that is random in evaluation mode: refuse it, or freeze it, with dropout "
        "off and other values drawn once."
    ),
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
Memory = Annotated[str, typer.Option(help="Memory for the work besides the result.")]


def load_network(
    model: str,
    weights: str,
    size: str | None,
    device: str,
    answer: str | None = None,
    head: str | None = None,
    range: str | None = None,
    random: str = "refuse",
) -> "Network":
    """Load a network by name or RUN folder; ``random`` stands for random weights."""
    from convscope.models import load
    from convscope.study.network import is_run, network_of_run

    black_and_white = _range(range)
    if is_run(model):
        if weights not in ("default", "random"):
            raise ConvscopeError(f"{model} brings its own weights, which --weights cannot replace")
        net = network_of_run(model, trained=weights == "default", size=size, device=device)
        net = net.reading(answer, head)
    else:
        # A factory's file may print; standard output is for the answer alone.
        with redirect_stdout(sys.stderr):
            own = None if weights == "random" else weights
            net = load(
                model, own, size=size, device=device, answer=answer, head=head, random=random
            )
    if black_and_white is not None:
        net.preprocess = replace(net.preprocess, range=black_and_white)
    return net


def _range(text: str | None) -> tuple[float, float] | None:
    """Return the values that are black and white."""
    if text is None:
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = 0.0
    if not -inf < low < high < inf:
        raise ConvscopeError(f"--range is LOW,HIGH with LOW below HIGH, as 0,4095, not {text!r}")
    return low, high


def open_images(images: Path, net: "Network") -> "Images":
    """Return the images of a folder: pictures, or CIFAR-10's test images."""
    from convscope.methods.scanning.sources import images_of
    from convscope.study.data import FILES, FOLDER, CifarPictures

    for folder in (images, images / FOLDER):
        if (folder / FILES["test"][0]).exists():
            return CifarPictures(folder, net.preprocess)
    return images_of(images, net)
