"""``convscope checkerboard``: the grids that strides leave in projections."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import (
    ARRAYS,
    PICTURES,
    AsJson,
    Memory,
)
from convscope.cli.printing import print_json, print_line, progress_bar

if TYPE_CHECKING:
    from torch import Tensor

    from convscope.methods.gridding.result import Checkerboard
    from convscope.methods.gridding.structure import GridFinding
    from convscope.network import Network


@network_options()
def checkerboard(
    network: NamedNetwork,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Pictures; the first one is shown.")
    ],
    layer: Annotated[
        list[str] | None,
        typer.Option(help="A layer (repeat for more); by default one a convolution or block."),
    ] = None,
    channel: Annotated[
        int | None, typer.Option(help="A feature map of every layer; by default the strongest.")
    ] = None,
    top: Annotated[
        int, typer.Option(help="How many of the strongest feature maps are measured.")
    ] = 8,
    rule: Annotated[str, typer.Option(help="deconvnet, guided or gradient.")] = "deconvnet",
    budget: Annotated[
        str | None,
        typer.Option(metavar="SECONDS", help="Begin no projection after this long, such as 60."),
    ] = None,
    memory: Memory = "1GB",
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .png, .svg, .pdf or .npz file.")
    ] = Path("checkerboard.png"),
    as_json: AsJson = False,
) -> None:
    """Show the projection from each layer, and measure the grids that strides leave in them.

    Names the layers whose kernel and stride leave a grid, and kernels or strides that would not.
    Ctrl-C stops; what is done by then is written, marked as partial.
    """
    from convscope.methods.budget import Deadline, parse_bytes
    from convscope.methods.checkerboard import checkerboard as look_for_grids
    from convscope.network.rules import rule_named
    from convscope.outputs import check_output

    check_output(output, PICTURES + ARRAYS)
    rule_named(rule)
    parse_bytes(memory)
    Deadline(budget)
    net = network.load()
    if output.suffix.lower() in PICTURES:
        _check_fits(net, layer)
    batch = net.preprocess.batch(images)
    with progress_bar("projecting") as advance:
        found = look_for_grids(
            net, batch, layer, channel, units=top, rule=rule, budget=budget, memory=memory,
            progress=advance,
        )  # fmt: skip
    _write(net, found, batch[0], images[0].name, output)
    if as_json:
        names = [str(image) for image in images]
        print_json({"output": str(output), "files": names, **found.to_dict()})
        return
    print_line(str(output))
    _print_found(found)


def _check_fits(net: "Network", layer: list[str] | None) -> None:
    from convscope.figures.checkerboard import check_checkerboard_fits
    from convscope.network.blocks import feature_maps

    count = len(layer) if layer else len(feature_maps(net.graph))
    check_checkerboard_fits((net.input_shape[1], net.input_shape[2]), count)


def _write(
    net: "Network", found: "Checkerboard", image: "Tensor", title: str, output: Path
) -> None:
    """Write the figure, or the arrays, by the name of the file."""
    from convscope.outputs import written_beside

    if output.suffix.lower() in ARRAYS:
        with written_beside(output) as beside:
            _write_arrays(beside, found)
        return
    from convscope.figures.checkerboard import checkerboard_figure

    drawn = checkerboard_figure(found, image, net.preprocess, title)
    with written_beside(output) as beside:
        drawn.save(beside)


def _write_arrays(path: Path, found: "Checkerboard") -> None:
    """Write every tensor by name, and all facts as one text of JSON."""
    import numpy as np

    arrays: dict[str, Any] = {name: value.numpy() for name, value in found.arrays().items()}
    arrays["facts"] = np.array(json.dumps(found.facts()))
    np.savez_compressed(path, **arrays)


def _print_found(found: "Checkerboard") -> None:
    for place, name in enumerate(found.layers):
        source = found.strongest_source(place)
        cause = f"; most from {', '.join(source.layers)}" if source else ""
        observed, times = found.observed[place].item(), found.over_image[place].item()
        seen = f"seen {observed:.3f}, {times:.3g} times the image"
        if math.isnan(observed):
            seen = "no stride to measure"
        print_line(
            f"  {name}  channel {int(found.channels[place, 0, 0])}: strides alone "
            f"{found.structural[place]:.3f}, overlapping pools too {found.with_pools[place]:.3f}; "
            f"{seen}{cause}"
        )
    if not found.findings:
        print_line("no layer leaves a grid of its own, whatever the weights")
    for finding in found.findings:
        _print_finding(finding)
    if found.partial:
        print_line(f"partial: {found.notes[-1]}")


def _print_finding(finding: "GridFinding") -> None:
    own = finding.layer
    where = "at the output" if own.forwards else "at the pixels"
    reached = "" if own.reached is None else f", {own.reached:.3f} {where}"
    print_line(
        f"{own.name} leaves a grid: {own.op}, {_words(own.kernel, own.stride)}: "
        f"{own.alone:.3f}{reached}"
    )
    for other in finding.alternatives:
        reached = "" if other.reached is None else f", {other.reached:.3f} {where}"
        print_line(
            f"  {_words(other.kernel, other.stride)}: {other.alone:.3f}{reached}; "
            f"{other.weights:.2f} times the weights"
        )


def _words(kernel: tuple[int, int], stride: tuple[int, int]) -> str:
    return f"kernel {kernel[0]}x{kernel[1]}, stride {stride[0]}x{stride[1]}"
