"""``convscope scan``: an atlas of what every channel of a network looks for."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.cli.calls import taking
from convscope.cli.networks import NamedNetwork
from convscope.cli.options import Showing, open_images
from convscope.cli.printing import progress_bar
from convscope.errors import ConvscopeError

if TYPE_CHECKING:
    from convscope.atlas.commands import ModelNames
    from convscope.methods.scanning.result import Scan


@taking("model", output="atlas")
def scan(
    network: NamedNetwork,
    shown: Showing,
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="As for `convscope project`.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Argument(
            metavar="IMAGES",
            help="A folder of pictures, in class folders or not, or CIFAR-10's (its test images).",
        ),
    ] = None,
    layer: list[str] | None = None,
    top: int = 9,
    part: str | None = None,
    merge: list[Path] | None = None,
    rule: str = "deconvnet",
    resume: bool = False,
    memory: str = "1GB",
) -> None:
    """Find the images that drive every channel most, and show what in them does.

    One pass over the images; the result is a folder of tables, pictures and pages: open its
    index.html. Stopped by Ctrl-C, it goes on with --resume. With --merge, the parts' own network
    and images are used again.

    Args:
        layer: A convolution (repeat for more); by default all.
        top: How many images to keep of each channel.
        part (K/N): Scan the K-th of N parts only; see --merge.
        merge (ATLAS...): Merge atlases of parts: --merge A B -o C.
        resume: Go on with a scan.
        output: The folder to write; or a figure of the last layer's strongest channels (.png, .svg,
            .pdf), numbers (.json, .csv) or arrays (.npz, .safetensors).
    """
    from convscope.atlas.commands import ModelNames
    from convscope.atlas.scans import check_place, made, scanned
    from convscope.figures.style import style
    from convscope.methods.rules import chosen_rule
    from convscope.network.rules import rule_named

    style(shown.width, shown.caption)
    output = shown.output
    if merge:
        # The parser gives --merge one value; the others stand where MODEL and IMAGES do.
        more = [Path(name) for name in (model, images) if name is not None]
        _merge([*merge, *more], shown)
        return
    if model is None or images is None:
        raise ConvscopeError("a scan needs a MODEL and IMAGES: `scan vgg16 photos -o atlas`")
    rule_named(rule)
    share = _part(part)
    check_place(output, images, resume)
    net = replace(network, model=model).load()
    chosen_rule(net, rule)
    source = open_images(images, net)
    began = time.monotonic()
    with made(output), progress_bar("scanning") as advance:
        found = scanned(
            net, source, layer, output, top=top, part=share, memory=memory, resume=resume,
            progress=advance,
        )  # fmt: skip
    if found is None:
        return
    scanned_at = time.monotonic()
    _write(found, shown, rule, ModelNames(model, network.given(), str(images)), memory)
    if not (output.suffix or shown.as_json):
        drawing = time.monotonic() - scanned_at
        typer.echo(f"scanning took {scanned_at - began:,.0f} s, drawing {drawing:,.0f} s")


def _merge(parts: list[Path], shown: Showing) -> None:
    """Merge atlases, drawing the pictures from the images that they were made of."""
    from convscope.atlas.scans import check_place, drawable, made, merged
    from convscope.methods.budget import DEFAULT
    from convscope.network.rules import rule_named

    whole, names, rule = merged(parts)
    rule_named(rule)
    images = Path(names.images)
    check_place(shown.output, images, resume=False)
    net = NamedNetwork(names.model, **names.options).load()
    whole = drawable(whole, net, open_images(images, net))
    with made(shown.output):
        _write(whole, shown, rule, names, DEFAULT)


def _write(
    found: "Scan", shown: Showing, rule: str, names: "ModelNames", memory: int | str
) -> None:
    options: dict[str, Any] = {"rule": rule} if shown.drawn else {}
    with progress_bar("drawing") as advance:
        if not shown.output.suffix:
            options = {"rule": rule, "model": names, "memory": memory, "progress": advance}
        shown.finish(found, **options)


def _part(part: str | None) -> tuple[int, int]:
    number, _, count = ("1/1" if part is None else part).partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ConvscopeError(f"--part is K/N with K from 1 to N, such as 2/4, not {part!r}")
    return int(number), int(count)
