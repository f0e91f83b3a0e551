"""``convscope ablate``: what each channel of a layer costs each class when it is off."""

from typing import Annotated

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import Memory, PictureFolder, Showing, open_images, result_options
from convscope.cli.printing import kept


@network_options()
@result_options("ablation.png")
def ablate(
    network: NamedNetwork,
    shown: Showing,
    images: PictureFolder,
    layer: Annotated[str, typer.Option(help="A layer.")],
    sample: Annotated[int, typer.Option(help="How many images are looked at, at most.")] = 500,
    memory: Memory = "1GB",
) -> None:
    """Switch off each channel of a layer by itself, and see what that costs each class."""
    from convscope.methods.ablate import Ablation
    from convscope.methods.ablate import ablate as measure

    shown.check(Ablation)
    net = network.load()
    found = kept(
        "switching off", measure, net, open_images(images, net), layer,
        sample=sample, memory=memory,
    )  # fmt: skip
    shown.finish(found)
