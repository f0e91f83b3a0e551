"""``convscope evolve``: one filter a layer through a training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.options import FILMS, PICTURES, AsJson
from convscope.cli.printing import print_json, print_line, progress_bar
from convscope.errors import ConvscopeError

if TYPE_CHECKING:
    from convscope.study.evolve import Evolution


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
    device: Annotated[str, typer.Option(help="Where to run, such as cpu or cuda.")] = "cpu",
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .png, .svg, .pdf, .gif or .mp4 file.")
    ] = Path("evolution.png"),
    as_json: AsJson = False,
) -> None:
    """Show how one filter of each layer forms during training (Zeiler & Fergus, fig. 4)."""
    from convscope.outputs import check_output

    check_output(output, PICTURES + FILMS)
    channels = _chosen(layer, channel)
    if images < 1:
        raise ConvscopeError(f"--images must be at least 1, not {images}")
    if output.suffix.lower() == ".mp4":
        from convscope.figures.film import mp4_encoder

        mp4_encoder()
    from convscope.study.evolve import evolve as evolve_run

    with progress_bar("checkpoints") as advance:
        evolution = evolve_run(
            run, data, channels=channels, count=images, rule=rule, device=device, progress=advance
        )
    _save(evolution, run.resolve().name, output)
    if as_json:
        print_json({"output": str(output), **evolution.to_dict()})
        return
    print_line(str(output))
    for followed in evolution.filters:
        print_line(
            f"  {followed.layer}  channel {followed.channel}  activation "
            f"{followed.activation[0].item():.3g} at first, {followed.activation[-1].item():.3g} "
            f"at the end; the strongest image changed {int(followed.changed.sum())} times"
        )


def _save(evolution: "Evolution", title: str, output: Path) -> None:
    """Write the figure or the film, as the output's ending says."""
    from convscope.outputs import written_beside

    if output.suffix.lower() in FILMS:
        from convscope.figures.evolution_film import evolution_film

        with written_beside(output) as beside, progress_bar("frames") as advance:
            evolution_film(evolution, title).save(beside, advance)
        return
    from convscope.figures.evolution import evolution_figure

    with written_beside(output) as beside:
        evolution_figure(evolution, title).save(beside)


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
