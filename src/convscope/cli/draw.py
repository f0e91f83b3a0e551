"""``convscope draw``: the architecture as a figure."""

from convscope.cli.calls import taking
from convscope.cli.networks import NamedNetwork
from convscope.cli.options import NotNeeded, Showing


@taking("weights", "device", output="architecture.png", says_notes=False)
def draw(
    network: NamedNetwork,
    shown: Showing,
    weights: NotNeeded = None,
) -> None:
    """Draw the architecture: a box for every layer, its maps' size and channels, and what skips."""
    from convscope.methods.draw import Architecture
    from convscope.methods.draw import draw as drawn

    shown.check(Architecture)
    net = network.shaped(weights)
    shown.finish(drawn(net))
