"""``convscope invariance``: images moved, enlarged and turned, and what becomes of the features."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import (
    PICTURES,
    AsJson,
    Memory,
)
from convscope.cli.printing import print_json, print_line, progress_bar

if TYPE_CHECKING:
    from convscope.methods.invariance_result import Invariance

TENSORS = (".safetensors",)


@network_options()
def invariance(
    network: NamedNetwork,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Picture files.")],
    layer: Annotated[
        list[str] | None,
        typer.Option(help="A layer (repeat for more); the first block's, the middle's, the last."),
    ] = None,
    transform: Annotated[
        list[str] | None,
        typer.Option(help="translation, scale or rotation (repeat for more); all three."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="A class, by number or name, one for all or one an image; the answer."),
    ] = None,
    steps: Annotated[int, typer.Option(help="How many amounts of each transformation.")] = 25,
    fill: Annotated[
        str, typer.Option(help="Beyond the image: reflect, gray, black, mean, image-mean, #rrggbb.")
    ] = "reflect",
    budget: Annotated[
        str | None, typer.Option(metavar="SECONDS", help="Stop after so many seconds.")
    ] = None,
    memory: Memory = "1GB",
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .png, .svg, .pdf or .safetensors file.")
    ] = Path("invariance.png"),
    as_json: AsJson = False,
) -> None:
    """Move, enlarge and turn images, and show how far features and answer follow.

    Ctrl-C stops; what is done by then is written, marked as partial.
    """
    from convscope.figures.invariance import check_images_fit, invariance_figure
    from convscope.methods.invariance import invariance as measure
    from convscope.methods.transformations import SOURCES
    from convscope.outputs import check_output, written_beside

    check_output(output, PICTURES + TENSORS)
    if output.suffix.lower() in PICTURES:
        check_images_fit(len(images))
    net = network.load()
    batch = net.preprocess.batch(images)
    targets = target * len(images) if target and len(target) == 1 else target
    with progress_bar(f"transforming {len(images)} image{'s' if len(images) > 1 else ''}") as bar:
        found = measure(
            net, batch, layer, transform or tuple(SOURCES), targets, steps=steps, fill=fill,
            memory=memory, budget=budget, progress=bar,
        )  # fmt: skip
    if output.suffix.lower() in TENSORS:
        found.save(output)
    else:
        figure = invariance_figure(found, batch, net.preprocess, [path.name for path in images])
        with written_beside(output) as beside:
            figure.save(beside)
    if as_json:
        names = [str(path) for path in images]
        print_json({"output": str(output), "images": names, **found.to_dict()})
        return
    print_line(str(output))
    _print(found, images)


def _print(found: "Invariance", images: list[Path]) -> None:
    """Print, for each transformation, how far the features get on the median, and the answers."""
    for k, (kind, unit) in enumerate(zip(found.kinds, found.units, strict=True)):
        known = found.amounts[k][~found.amounts[k].isnan()]
        low, high = float(known.min()), float(known.max())
        print_line(f"{kind}, {low:g} to {high:g} {unit}:")
        for name, median in zip(found.layers, found.medians(k), strict=True):
            how_far = f"median distance {median:.3f} of the features' length"
            print_line(f"  {name}: {'not measured' if math.isnan(median) else how_far}")
        share = found.kept(k)
        if not math.isnan(share):
            print_line(f"  the target is the answer for {share:.0%} of the transformed images")
    if found.partial:
        print_line(f"partial: {found.notes[-1]}")
    for path, number, chance in zip(images, found.targets, found.clean, strict=False):
        name = found.classes.get(str(number), f"class {number}")
        print_line(f"{path.name}: P({name}) {chance:.3f} as it is")
