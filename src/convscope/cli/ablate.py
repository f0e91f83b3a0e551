"""``convscope ablate``: what each channel of a layer costs each class when it is off."""

from pathlib import Path

from convscope.cli.calls import method


@method("convscope.methods.ablate:ablate", "switching off", "ablation.png")
def ablate(images: Path, layer: str, sample: int = 500, memory: str = "1GB") -> None:
    """Switch off each channel of a layer by itself, and see what that costs each class.

    Args:
        images (IMAGES): A folder of pictures, in class folders or not, or CIFAR-10's (its test
            images).
        layer: A layer.
        sample: How many images are looked at, at most.
    """
