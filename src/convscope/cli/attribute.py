"""``convscope attribute``: what a class's score hangs on."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import AsJson, Caption, Colour, Contrast, Memory, Output, Scale, Width
from convscope.cli.printing import finish, progress_bar


@network_options()
def attribute(
    network: NamedNetwork,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Picture files.")],
    target: Annotated[
        list[str] | None,
        typer.Option(help="A class, by number or name (repeat for more); the most probable one."),
    ] = None,
    method: Annotated[str, typer.Option(help="As `convscope rules` lists.")] = "grad-cam",
    layer: Annotated[
        str | None, typer.Option(help="Of a class activation map; the last feature maps.")
    ] = None,
    baseline: Annotated[
        list[Path] | None,
        typer.Option(help="Picture that paths start from (repeat for more); the mean colour."),
    ] = None,
    steps: Annotated[int, typer.Option(help="Points on a path, or noisy images.")] = 50,
    noise: Annotated[float, typer.Option(help="Of smoothgrad, as a share of the range.")] = 0.15,
    seed: Annotated[int, typer.Option(help="Of noise, and of what is drawn.")] = 0,
    scale: Scale = "tile",
    colour: Colour = "signed",
    contrast: Contrast = "linear",
    memory: Memory = "1GB",
    width: Width = "text",
    caption: Caption = "short",
    output: Output = Path("attribution.png"),
    as_json: AsJson = False,
) -> None:
    """Show what a class's score hangs on: class activation maps, paths, rules."""
    from convscope.display import Display
    from convscope.figures.style import style
    from convscope.methods.attribute import attribute as measure
    from convscope.methods.attribution import Attribution, method_named

    Attribution.check(output)
    method_named(method)
    style(width, caption)
    Display(scale, colour, contrast)
    net = network.load()
    with progress_bar("attributing") as advance:
        found = measure(
            net, images, target or None, method=method, layer=layer, baseline=baseline or None,
            steps=steps, noise=noise, seed=seed, memory=memory, progress=advance,
        )  # fmt: skip
    finish(
        found, output, as_json, width=width, caption=caption, scale=scale, colour=colour,
        contrast=contrast,
    )  # fmt: skip
