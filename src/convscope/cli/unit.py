"""``convscope unit``: one channel of an atlas as a picture."""

from pathlib import Path

from convscope.cli.calls import taking
from convscope.cli.options import Showing


@taking(output="unit.png")
def unit(shown: Showing, atlas: Path, layer: str, channel: int) -> None:
    """Draw the strongest patches of one channel beside what drives it in each.

    Args:
        layer (LAYER): A convolutional layer's name.
        channel (CHANNEL): A channel's number.
    """
    from convscope.atlas.atlas import Atlas
    from convscope.methods.plate import AtlasUnit

    shown.check(AtlasUnit)
    shown.finish(Atlas(atlas).unit(layer, channel))
