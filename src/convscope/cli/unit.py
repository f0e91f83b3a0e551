"""``convscope unit``: one channel of an atlas as a picture."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.options import AsJson, Caption, Output, Width
from convscope.cli.printing import finish


def unit(
    atlas: Annotated[Path, typer.Argument(metavar="ATLAS", help="A folder that `scan` made.")],
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="A convolutional layer's name.")],
    channel: Annotated[int, typer.Argument(metavar="CHANNEL", help="A channel's number.")],
    width: Width = "text",
    caption: Caption = "short",
    output: Output = Path("unit.png"),
    as_json: AsJson = False,
) -> None:
    """Draw the strongest patches of one channel beside what drives it in each."""
    from convscope.atlas.atlas import Atlas
    from convscope.figures.style import style
    from convscope.methods.scanning.unit import AtlasUnit

    AtlasUnit.check(output)
    style(width, caption)
    finish(Atlas(atlas).unit(layer, channel), output, as_json, width, caption)
