"""``convscope ablate``: what each channel of a layer costs each class when it is off."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import AsJson, Caption, Memory, Output, Width, open_images
from convscope.cli.printing import finish, progress_bar


@network_options()
def ablate(
    network: NamedNetwork,
    images: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGES",
            help="A folder of pictures, in class folders or not, or CIFAR-10's (its test images).",
        ),
    ],
    layer: Annotated[str, typer.Option(help="A layer.")],
    sample: Annotated[int, typer.Option(help="How many images are looked at, at most.")] = 500,
    memory: Memory = "1GB",
    width: Width = "text",
    caption: Caption = "short",
    output: Output = Path("ablation.png"),
    as_json: AsJson = False,
) -> None:
    """Switch off each channel of a layer by itself, and see what that costs each class."""
    from convscope.figures.style import style
    from convscope.methods.ablate import Ablation
    from convscope.methods.ablate import ablate as measure

    Ablation.check(output)
    style(width, caption)
    net = network.load()
    with progress_bar("switching off") as advance:
        found = measure(
            net, open_images(images, net), layer, sample=sample, memory=memory, progress=advance
        )
    finish(found, output, as_json, width, caption)
