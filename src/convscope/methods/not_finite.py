"""What a network makes NaN or infinity of: said on results, refused, or left out."""

from collections.abc import Collection

from torch import Tensor

from convscope.errors import DataError
from convscope.network import Network
from convscope.network.visit import first_not_finite

NOT_FINITE = "the network's activations are not finite"
"""Why an image is left out; followed by the layer where that begins."""


def notes(net: Network, images: Tensor, steps: Collection[int]) -> tuple[str, ...]:
    """Return what must be said where some steps make NaN or infinity of images, [N, C, H, W]."""
    names = {first_not_finite(net.graph, image[None], steps) for image in images}
    return tuple(sorted(f"values are not finite from layer {name!r} on" for name in names if name))


def refuse(net: Network, images: Tensor, steps: Collection[int], name: str) -> None:
    """Refuse images, called *name*, of which some steps make NaN or infinity."""
    for note in notes(net, images, steps):
        raise DataError(f"{name}: {note}")


def why_left_out(net: Network, image: Tensor, steps: Collection[int]) -> str:
    """Return why one image, [C, H, W], of which some steps make NaN or infinity, is left out."""
    name = first_not_finite(net.graph, net.checked(image[None]), steps)
    return f"{NOT_FINITE} from {name} on" if name else NOT_FINITE
