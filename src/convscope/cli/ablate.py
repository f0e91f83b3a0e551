"""``convscope ablate``: what each channel of a layer costs each class when it is off."""

from typing import Annotated

import typer

from convscope.cli.calls import method
from convscope.cli.options import Memory, PictureFolder


@method("convscope.methods.ablate:ablate", "switching off", "ablation.png")
def ablate(
    images: PictureFolder,
    layer: Annotated[str, typer.Option(help="A layer.")],
    sample: Annotated[int, typer.Option(help="How many images are looked at, at most.")] = 500,
    memory: Memory = "1GB",
) -> None:
    """Switch off each channel of a layer by itself, and see what that costs each class."""
