"""``convscope evolve``: one filter a layer through a training."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.options import PICTURES, AsJson
from convscope.cli.printing import print_json, print_line, progress_bar
from convscope.errors import ConvscopeError


def evolve(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder that `train` made.")],
    data: Annotated[Path, typer.Option(help="CIFAR-10's folder; see `convscope data`.")],
    layer: Annotated[
        list[str] | None, typer.Option(help="A layer (repeat for more); by default all rectifiers.")
    ] = None,
    channel: Annotated[
        list[int] | None,
        typer.Option(help="One a layer, in the same order; by default the strongest."),
    ] = None,
    rule: Annotated[str, typer.Option(help="deconvnet, guided or gradient.")] = "deconvnet",
    images: Annotated[int, typer.Option(help="How many training images to look at.")] = 1_000,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .png, .svg or .pdf file.")
    ] = Path("evolution.png"),
    as_json: AsJson = False,
) -> None:
    """Show how one filter of each layer forms during training (Zeiler & Fergus, fig. 4)."""
    from convscope.outputs import check_output, written_beside

    check_output(output, PICTURES)
    channels = _chosen(layer, channel)
    if images < 1:
        raise ConvscopeError(f"--images must be at least 1, not {images}")
    from convscope.figures.evolution import evolution_figure
    from convscope.study.evolve import evolve as evolve_run

    with progress_bar("checkpoints") as advance:
        evolution = evolve_run(
            run, data, channels=channels, count=images, rule=rule, progress=advance
        )
    sheet = evolution_figure(evolution, run.resolve().name)
    with written_beside(output) as beside:
        sheet.save(beside)
    if as_json:
        print_json({"output": str(output), **evolution.numbers()})
        return
    print_line(str(output))
    for followed in evolution.filters:
        print_line(
            f"  {followed.layer}  channel {followed.channel}  activation "
            f"{followed.activation[0].item():.3g} at first, {followed.activation[-1].item():.3g} "
            f"at the end; the strongest image changed {int(followed.changed.sum())} times"
        )


def _chosen(layer: list[str] | None, channel: list[int] | None) -> dict[str, int | None] | None:
    """Return the channel to follow of each layer named."""
    if not layer:
        if channel:
            raise ConvscopeError("--channel needs --layer: a channel number means nothing alone")
        return None
    if channel and len(channel) != len(layer):
        raise ConvscopeError(f"{len(layer)} layers need as many channels, not {len(channel)}")
    own: list[int | None] = [*channel] if channel else [None] * len(layer)
    return dict(zip(layer, own, strict=True))
