"""``convscope ablate``: what each channel of a layer costs each class when it is off."""

from convscope.cli.calls import method
from convscope.cli.options import PictureFolder


@method("convscope.methods.ablate:ablate", "switching off", "ablation.png")
def ablate(images: PictureFolder, layer: str, sample: int = 500, memory: str = "1GB") -> None:
    """Switch off each channel of a layer by itself, and see what that costs each class.

    Args:
        layer: A layer.
        sample: How many images are looked at, at most.
    """
