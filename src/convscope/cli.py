"""The command line: parse, one library call, print the path and the numbers."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope import __version__
from convscope.errors import ConvscopeError

if TYPE_CHECKING:
    from torch import Tensor

    from convscope.network import Layer, Network
    from convscope.records import Projection

app = typer.Typer(
    name="convscope",
    help="See what a convolutional network sees.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

BAR_AFTER_SECONDS = 2.0
PICTURES = (".png", ".svg", ".pdf")
ARRAYS = (".npz",)

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="vgg16, vgg16_bn, alexnet, squeezenet1_1, zfnet, torchvision:NAME, timm:NAME, "
        "file.py:factory or net.pt2",
    ),
]
Weights = Annotated[
    str,
    typer.Option(help="A .safetensors or .pth file, or 'random'; by default the published ones."),
]
Size = Annotated[str | None, typer.Option(metavar="C,H,W", help="Input size of the network.")]
Device = Annotated[str, typer.Option(help="Where to run, such as cpu or cuda.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")]
Memory = Annotated[str, typer.Option(help="Memory for the work besides the result.")]


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """See what a convolutional network sees."""
    if show:
        typer.echo(f"convscope {__version__}")
        raise typer.Exit


@app.command()
def layers(
    model: Model,
    weights: Weights = "random",
    size: Size = None,
    as_json: AsJson = False,
) -> None:
    """List the layers: shape, stride, padding offset, receptive field, parameters, cost."""
    net = _load(model, weights, size, "cpu")
    rows = list(net.layers.values())
    if as_json:
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(row) for row in rows], indent=1))
        return
    _print_layers(net, rows)


@app.command()
def project(
    model: Model,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Picture files.")],
    layer: Annotated[
        list[str] | None, typer.Option(help="A layer (repeat for more); by default one a block.")
    ] = None,
    channel: Annotated[
        list[int] | None,
        typer.Option(help="A channel (repeat for more); by default the strongest."),
    ] = None,
    rule: Annotated[str, typer.Option(help="deconvnet, guided or gradient.")] = "deconvnet",
    select: Annotated[
        str, typer.Option(help="peak: the strongest activation; map: the whole feature map.")
    ] = "peak",
    top: Annotated[
        int | None, typer.Option(help="How many of the strongest channels, where none is named.")
    ] = None,
    scale: Annotated[
        str, typer.Option(help="tile: each picture on its own scale; shared: all on one.")
    ] = "tile",
    weights: Weights = "default",
    size: Size = None,
    device: Device = "cpu",
    memory: Memory = "1GB",
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .png, .svg, .pdf or .npz file.")
    ] = Path("projection.png"),
    as_json: AsJson = False,
) -> None:
    """Show what in an image drives feature maps: the deconvnet and its sibling rules.

    With no layer, the strongest feature map of each block of the network; with a layer and no
    channel, its strongest few channels.
    """
    from convscope.outputs import check_output

    check_output(output, PICTURES + ARRAYS)
    if channel and not layer:
        raise ConvscopeError("--channel needs --layer: a channel number means nothing without one")
    net = _load(model, weights, size, device)
    batch = net.preprocess.batch(images)
    found = _projections(net, batch, layer, channel, rule, select, top, memory)
    titles = _titles(net, batch, images)
    limits = _save_projections(net, batch, found, titles, scale, output)
    if as_json:
        facts = {"images": [str(i) for i in images], "titles": titles, "display_limits": limits}
        records = [record.numbers() for record in found]
        typer.echo(json.dumps({"output": str(output), **facts, "projections": records}))
        return
    typer.echo(str(output))
    for n, title in enumerate(titles):
        typer.echo(title)
        for record in found:
            _print_units(record, n)


def _load(model: str, weights: str, size: str | None, device: str) -> "Network":
    from convscope.models import load

    return load(model, None if weights == "random" else weights, size=size, device=device)


def _projections(
    net: "Network",
    batch: "Tensor",
    layer: list[str] | None,
    channel: list[int] | None,
    rule: str,
    select: str,
    top: int | None,
    memory: str,
) -> "list[Projection]":
    from convscope.methods.project import project as project_units
    from convscope.methods.project import strongest_maps

    options: dict[str, Any] = {"rule": rule, "select": select, "memory": memory}
    with progress_bar("projecting") as advance:
        if not layer:
            return strongest_maps(net, batch, top=top or 1, progress=advance, **options)
        return [
            project_units(net, batch, name, channel, top=top or 6, progress=advance, **options)
            for name in layer
        ]


def _titles(net: "Network", batch: "Tensor", images: list[Path]) -> list[str]:
    """Return each file's name, with the most probable class where the network names classes."""
    names = [image.name for image in images]
    if not net.classes:
        return names
    best = net(batch).softmax(dim=1).max(dim=1)
    answers = zip(names, best.indices.tolist(), best.values.tolist(), strict=True)
    return [f"{name}: {net.classes[i]} ({p:.0%})" for name, i, p in answers]


def _save_projections(
    net: "Network",
    batch: "Tensor",
    found: "list[Projection]",
    titles: list[str],
    scale: str,
    output: Path,
) -> list[list[float]]:
    """Write the figure, or the arrays; return the display limit of each image and tile."""
    from convscope.figures import projection_figure
    from convscope.outputs import written_beside

    drawn = projection_figure(found, batch, net.preprocess, titles, scale)
    limits = [[tile.limit for tile in row] for row in drawn.scales]
    with written_beside(output) as beside:
        if output.suffix.lower() in ARRAYS:
            import numpy as np

            arrays = {
                f"{record.layer}/{name}": values.cpu().numpy()
                for record in found
                for name, values in record.arrays().items()
            }
            np.savez_compressed(beside, display_limits=np.asarray(limits), **arrays)  # type: ignore[arg-type]
        else:
            drawn.figure.savefig(beside)
    return limits


def _print_units(record: "Projection", n: int) -> None:
    for k, channel in enumerate(record.channels[n].tolist()):
        row, column = record.position[n, k].tolist()
        top, left, bottom, right = record.window[n, k].tolist()
        typer.echo(
            f"  {record.layer}  channel {channel}  peak {record.activation[n, k].item():.4g} at "
            f"row {row}, column {column}; reads rows {top}-{bottom - 1}, "
            f"columns {left}-{right - 1} of the image"
        )


def _print_layers(net: "Network", rows: "list[Layer]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{net.name}, input {'×'.join(map(str, net.input_shape))}", box=None)
    table.add_column("layer", overflow="fold")
    table.add_column("kind")
    for heading in ("output", "stride", "padding", "receptive field", "parameters", "mult-adds"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            row.op,
            "×".join(map(str, row.shape)),
            "whole" if row.stride is None else _both(row.stride),
            "" if row.stride is None else _both(row.padding),
            _both(row.receptive_field),
            f"{row.parameters:,}" if row.parameters else "",
            f"{row.multiply_adds:,}" if row.multiply_adds else "",
        )
    table.add_section()
    parameters = sum(row.parameters for row in rows)
    cost = sum(row.multiply_adds for row in rows)
    table.add_row("total", "", "", "", "", "", f"{parameters:,}", f"{cost:,}")
    # A pipe has no width: give the table what it needs instead of cutting it at 80 columns.
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _both(values: tuple[float, float]) -> str:
    """Return one number for two equal ones."""
    shown = [f"{value:g}" for value in values]
    return shown[0] if shown[0] == shown[1] else "×".join(shown)


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a callback (done, total) that shows a bar with the time left once it pays."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    bar = Progress(
        TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )
    task = bar.add_task(label)
    began = time.monotonic()

    def advance(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        late = time.monotonic() - began > BAR_AFTER_SECONDS
        if late and console.is_terminal and not bar.live.is_started:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()


def main() -> None:
    """Run the command line; a user's mistake is one sentence and exit code 2."""
    try:
        app()
    except ConvscopeError as error:
        typer.echo(f"convscope: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("convscope: stopped", err=True)
        sys.exit(130)
