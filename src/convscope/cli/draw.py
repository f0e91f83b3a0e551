"""``convscope draw``: the architecture as a figure."""

from convscope.cli.calls import taking
from convscope.cli.networks import NamedNetwork
from convscope.cli.options import Showing


@taking("weights", "device", output="architecture.png", says_notes=False)
def draw(network: NamedNetwork, shown: Showing, weights: str | None = None) -> None:
    """Draw the architecture: a box for every layer, its maps' size and channels, and what skips.

    Args:
        weights: A .safetensors or .pth file; without, random ones do.
    """
    from convscope.methods.draw import Architecture
    from convscope.methods.draw import draw as drawn

    shown.check(Architecture)
    net = network.shaped(weights)
    shown.finish(drawn(net))
