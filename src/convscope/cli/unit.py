"""``convscope unit``: one channel of an atlas as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.options import PICTURES, AsJson
from convscope.cli.printing import print_json, print_line

if TYPE_CHECKING:
    from convscope.atlas.atlas import Atlas, AtlasUnit
    from convscope.figures.sheet import Sheet


def unit(
    atlas: Annotated[Path, typer.Argument(metavar="ATLAS", help="A folder that `scan` made.")],
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="A convolutional layer's name.")],
    channel: Annotated[int, typer.Argument(metavar="CHANNEL", help="A channel's number.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .png, .svg or .pdf file.")
    ] = Path("unit.png"),
    as_json: AsJson = False,
) -> None:
    """Draw the strongest patches of one channel beside what drives it in each."""
    from convscope.outputs import check_output, written_beside

    check_output(output, PICTURES)
    from convscope.atlas.atlas import Atlas

    opened = Atlas(atlas)
    found = opened.unit(layer, channel)
    with written_beside(output) as beside:
        _figure(opened, found).save(beside)
    if as_json:
        print_json({"output": str(output), "layer": found.layer, "channel": channel, **found.facts})
        return
    print_line(str(output))
    for number, peak, row, column, *_ in found.facts["entries"]:
        title = found.titles[str(number)]
        print_line(f"  {title}: peak {peak:.4g} at row {row}, column {column}")


def _figure(atlas: "Atlas", found: "AtlasUnit") -> "Sheet":
    from convscope.figures.lettering import one_line
    from convscope.figures.unit import Shown, unit_figure
    from convscope.network.rules import rule_named
    from convscope.wording import counted

    entries = [
        Shown(patch, projection, found.titles[str(entry[0])], entry[1], entry[8])
        for patch, projection, entry in zip(
            found.patches, found.projections, found.facts["entries"], strict=True
        )
    ]
    rule = rule_named(atlas.facts["rule"])
    clipped = max((entry[9] for entry in found.facts["entries"]), default=0.0)
    images = counted(atlas.facts["images_counted"], "image")
    caption = [
        f"What in each image drives the unit, given the switches; the {len(entries)} strongest of "
        f"{images} of {one_line(atlas.facts['data']['name'])}. Rule: {rule.name} ({rule.source}).",
        "Zero is mid-grey, each tile on its own scale: ± the 99.9% quantile of |value|, given "
        f"below each projection in units of pixel brightness (0 to 1); at most "
        f"{clipped:.2%} of a tile's values are clipped. Hatched: beyond the image.",
    ]
    title = f"{atlas.facts['network']}, {found.layer['name']}, channel {found.channel}"
    return unit_figure(title, entries, caption, atlas.facts["notes"])
