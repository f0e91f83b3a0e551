"""``convscope project``: what in an image drives feature maps."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.cli.options import (
    ARRAYS,
    PICTURES,
    Answer,
    AsJson,
    Device,
    Head,
    Memory,
    Model,
    Range,
    Size,
    Weights,
    load_network,
)
from convscope.cli.printing import print_json, print_line, progress_bar
from convscope.errors import ConvscopeError, near_matches

if TYPE_CHECKING:
    from torch import Tensor

    from convscope.display import DisplayScale
    from convscope.network import Network
    from convscope.records import Projection

STRONGEST_OF_A_LAYER = 6
STRONGEST_OF_A_BLOCK = 1


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
    answer: Answer = None,
    head: Head = None,
    range: Range = None,
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
    net = load_network(model, weights, size, device, answer, head, range)
    tiles = _tiles_an_image(net, layer, channel, top)
    if output.suffix.lower() in PICTURES:
        from convscope.figures.projection import check_figure_fits

        check_figure_fits(len(images), tiles)
    batch = net.preprocess.batch(images)
    found = _projections(net, batch, layer, channel, rule, select, top, memory)
    titles = _titles(net, batch, images)
    scales = _save_projections(net, batch, found, titles, scale, output)
    if as_json:
        print_json(
            {
                "output": str(output),
                "images": [str(image) for image in images],
                "titles": titles,
                "display": _display_facts(scale, scales),
                "projections": [record.numbers() for record in found],
            }
        )
        return
    print_line(str(output))
    for n, title in enumerate(titles):
        print_line(title)
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
    from convscope.methods.targets import picture_titles

    return list(picture_titles(net, batch, [image.name for image in images]))


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


def _print_units(record: "Projection", n: int, scales: "Iterator[DisplayScale]") -> None:
    for k, channel in enumerate(record.channels[n].tolist()):
        row, column = record.position[n, k].tolist()
        top, left, bottom, right = record.window[n, k].tolist()
        scale = next(scales)
        print_line(
            f"  {record.layer}  channel {channel}  peak {record.activation[n, k].item():.4g} at "
            f"row {row}, column {column}; reads rows {top}-{bottom - 1}, "
            f"columns {left}-{right - 1} of the image; shown on ±{scale.limit:.3g}, "
            f"{scale.clipped:.2%} clipped"
        )
