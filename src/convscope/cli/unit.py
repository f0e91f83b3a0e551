"""``convscope unit``: one channel of an atlas as a picture."""

from typing import Annotated

import typer

from convscope.cli.calls import taking
from convscope.cli.options import AtlasFolder, Showing


@taking(output="unit.png")
def unit(
    shown: Showing,
    atlas: AtlasFolder,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="A convolutional layer's name.")],
    channel: Annotated[int, typer.Argument(metavar="CHANNEL", help="A channel's number.")],
) -> None:
    """Draw the strongest patches of one channel beside what drives it in each."""
    from convscope.atlas.atlas import Atlas
    from convscope.methods.plate import AtlasUnit

    shown.check(AtlasUnit)
    shown.finish(Atlas(atlas).unit(layer, channel))
