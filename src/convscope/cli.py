"""The command line: parse, one library call, print the path and the numbers."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from convscope import __version__
from convscope.errors import ConvscopeError, near_matches

if TYPE_CHECKING:
    from torch import Tensor

    from convscope.images import DisplayScale
    from convscope.network import Layer, Network
    from convscope.records import Projection

app = typer.Typer(
    name="convscope",
    help="See what a convolutional network sees.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

BAR_AFTER_SECONDS = 2.0
STRONGEST_OF_A_LAYER = 6
STRONGEST_OF_A_BLOCK = 1
INTERRUPTED = 130
OUT_OF_MEMORY = (
    "there is not enough memory: try a smaller --memory, a smaller --size or fewer images"
)
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
def without_command(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """See what a convolutional network sees."""
    if version:
        typer.echo(f"convscope {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def layers(
    model: Model,
    weights: Annotated[
        str | None, typer.Option(help="A .safetensors or .pth file; the table needs none.")
    ] = None,
    size: Size = None,
    as_json: AsJson = False,
) -> None:
    """List the layers: shape, stride, padding offset, receptive field, parameters, cost."""
    # An exported program brings its weights; for all else random ones save a download.
    own = "default" if model.endswith(".pt2") else "random"
    net = _load(model, weights or own, size, "cpu")
    rows = list(net.layers.values())
    if as_json:
        from dataclasses import asdict

        _print_json([asdict(row) for row in rows])
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
    channel, its strongest few channels. Channels are taken of each layer named.
    """
    from convscope.outputs import check_output

    check_output(output, PICTURES + ARRAYS)
    _check_choices(layer, channel, top)
    _check_words(rule, select, scale, memory)
    net = _load(model, weights, size, device)
    tiles = _tiles_an_image(net, layer, channel, top)
    if output.suffix.lower() in PICTURES:
        from convscope.figures.projection import check_figure_fits

        check_figure_fits(len(images), tiles)
    batch = net.preprocess.batch(images)
    found = _projections(net, batch, layer, channel, rule, select, top, memory)
    titles = _titles(net, batch, images)
    scales = _save_projections(net, batch, found, titles, scale, output)
    if as_json:
        _print_json(
            {
                "output": str(output),
                "images": [str(image) for image in images],
                "titles": titles,
                "display": _display_facts(scale, scales),
                "projections": [record.numbers() for record in found],
            }
        )
        return
    _print(str(output))
    for n, title in enumerate(titles):
        _print(title)
        shown = iter(scales[n])
        for record in found:
            _print_units(record, n, shown)


def _check_choices(layer: list[str] | None, channel: list[int] | None, top: int | None) -> None:
    """Refuse choices of layers and channels that mean nothing whatever the network."""
    if channel and not layer:
        raise ConvscopeError("--channel needs --layer: a channel number means nothing without one")
    if channel and top is not None:
        raise ConvscopeError(
            "--top takes the strongest channels where none is named: leave out --top or --channel"
        )
    if top is not None and top < 1:
        raise ConvscopeError(f"--top must be at least 1, not {top}")
    for option, values in (("--layer", layer or []), ("--channel", channel or [])):
        for value in values:
            if values.count(value) > 1:  # type: ignore[arg-type]
                raise ConvscopeError(f"{option} {value} is given twice")


def _check_words(rule: str, select: str, scale: str, memory: str) -> None:
    """Refuse unknown words before a network is loaded for them."""
    from convscope.figures.projection import check_scale
    from convscope.methods.budget import parse_bytes
    from convscope.methods.project import SELECTIONS
    from convscope.network.rules import rule_named

    rule_named(rule)
    if select not in SELECTIONS:
        hint = near_matches(select, SELECTIONS)
        raise ConvscopeError(f"--select is 'peak' or 'map', not {select!r}{hint}")
    check_scale(scale)
    parse_bytes(memory)


def _load(model: str, weights: str, size: str | None, device: str) -> "Network":
    from convscope.models import load

    # A factory's file may print; standard output is for the answer alone.
    with redirect_stdout(sys.stderr):
        return load(model, None if weights == "random" else weights, size=size, device=device)


def _tiles_an_image(
    net: "Network", layer: list[str] | None, channel: list[int] | None, top: int | None
) -> int:
    """Return how many units will be shown of each image.

    Raises:
        ConvscopeError: if two of the names stand for one layer.

    """
    from convscope.network.blocks import block_ends

    places = [net.step(name) for name in layer] if layer else block_ends(net.graph)
    for place in places:
        if places.count(place) > 1:
            names = [name for name in layer or () if net.step(name) == place]
            raise ConvscopeError(f"{' and '.join(map(repr, names))} are the same layer")
    wanted = top or (STRONGEST_OF_A_LAYER if layer else STRONGEST_OF_A_BLOCK)
    if channel:
        return len(places) * len(channel)
    return sum(min([wanted, *net.graph.steps[place].shape[1:2]]) for place in places)


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
        options["progress"] = advance
        if not layer:
            return strongest_maps(net, batch, top=top or STRONGEST_OF_A_BLOCK, **options)
        options["top"] = top or STRONGEST_OF_A_LAYER
        return [project_units(net, batch, name, channel, **options) for name in layer]


def _titles(net: "Network", batch: "Tensor", images: list[Path]) -> list[str]:
    """Return each file's name, with the most probable class where the network names classes."""
    titles = []
    for image, pixels in zip(images, batch, strict=True):
        title = image.name
        if net.classes:
            answer = net(pixels[None])
            if answer.shape == (1, len(net.classes)):
                probability, best = answer.softmax(dim=1)[0].max(dim=0)
                title += f": {net.classes[int(best)]} ({probability:.0%})"
        titles.append(title)
    return titles


def _save_projections(
    net: "Network",
    batch: "Tensor",
    found: "list[Projection]",
    titles: list[str],
    scale: str,
    output: Path,
) -> "list[list[DisplayScale]]":
    """Write the figure, or the arrays; return the display scale of each image and tile."""
    from convscope.figures.projection import projection_figure, projection_scales
    from convscope.outputs import written_beside

    if output.suffix.lower() in ARRAYS:
        scales = projection_scales(found, net.preprocess, scale)
        with written_beside(output) as beside:
            _write_arrays(beside, found, titles, scales)
        return scales
    drawn = projection_figure(found, batch, net.preprocess, titles, scale)
    with written_beside(output) as beside:
        drawn.save(beside)
    return drawn.scales


def _write_arrays(
    path: Path, found: "list[Projection]", titles: list[str], scales: "list[list[DisplayScale]]"
) -> None:
    """Write every tensor as LAYER/NAME, the display limits, and all facts as one text of JSON."""
    import numpy as np

    arrays = {
        f"{record.layer}/{name}": values.cpu().numpy()
        for record in found
        for name, values in record.arrays().items()
    }
    facts = {"titles": titles, "projections": [record.facts() for record in found]}
    arrays["facts"] = np.array(json.dumps(facts))
    arrays["display_limits"] = np.array([[tile.limit for tile in row] for row in scales])
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def _display_facts(scale: str, scales: "list[list[DisplayScale]]") -> dict[str, Any]:
    """Return on what scales the tiles are shown, one a tile and image, fit for JSON."""
    return {
        "scale": scale,
        "quantile": scales[0][0].quantile,
        "limits": [[tile.limit for tile in row] for row in scales],
        "clipped": [[tile.clipped for tile in row] for row in scales],
    }


def _print(text: str) -> None:
    """Print a line; bytes of a file name that are no letters come out as question marks."""
    typer.echo(text.encode("utf-8", "replace").decode())


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(_finite(value), allow_nan=False))


def _finite(value: Any) -> Any:
    """Return *value* with null for NaN and infinities, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_units(record: "Projection", n: int, scales: "Iterator[DisplayScale]") -> None:
    for k, channel in enumerate(record.channels[n].tolist()):
        row, column = record.position[n, k].tolist()
        top, left, bottom, right = record.window[n, k].tolist()
        scale = next(scales)
        _print(
            f"  {record.layer}  channel {channel}  peak {record.activation[n, k].item():.4g} at "
            f"row {row}, column {column}; reads rows {top}-{bottom - 1}, "
            f"columns {left}-{right - 1} of the image; shown on ±{scale.limit:.3g}, "
            f"{scale.clipped:.2%} clipped"
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
        # Stopping a bar that was never shown would print an empty line.
        if bar.live.is_started:
            bar.stop()


def main() -> None:
    """Run the command line; a user's mistake is one sentence and exit code 2."""
    try:
        status = app(prog_name="convscope", standalone_mode=False)
    except ConvscopeError as error:
        _stop(str(error), 2)
    except MemoryError:
        _stop(OUT_OF_MEMORY, 2)
    except Exception as error:
        # What typer has against the arguments; its class has moved from version to version.
        complaint = getattr(error, "format_message", None)
        if complaint is None and not _is_out_of_memory(error):
            raise
        _stop(complaint() if complaint else OUT_OF_MEMORY, 2)
    if status == INTERRUPTED:
        _stop("stopped", INTERRUPTED)
    sys.exit(status or 0)


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether torch found no memory, for which it has several words and no class."""
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("out of memory", "can't allocate memory")
    )


def _stop(sentence: str, status: int) -> NoReturn:
    text = " ".join(sentence.split()).rstrip(".")
    typer.echo(f"convscope: {text}".encode("utf-8", "replace").decode(), err=True)
    sys.exit(status)
