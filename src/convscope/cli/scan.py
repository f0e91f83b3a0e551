"""``convscope scan``: an atlas of what every channel of a network looks for."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.arguments import misshapen
from convscope.cli.calls import taking
from convscope.cli.networks import NamedNetwork
from convscope.cli.options import Showing, open_images
from convscope.cli.printing import progress_bar
from convscope.errors import ConvscopeError, DataError, OutputError

if TYPE_CHECKING:
    from convscope.atlas.commands import ModelNames
    from convscope.methods.scanning.result import Scan
    from convscope.methods.scanning.sources import Images
    from convscope.network import Network


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
    from convscope.figures.style import style
    from convscope.methods.budget import parse_bytes
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
    room = parse_bytes(memory)
    share = _part(part)
    _check(output, images, resume)
    network = replace(network, model=model)
    net = network.load()
    chosen_rule(net, rule)
    source = open_images(images, net)
    names = ModelNames(network.model, network.given(), str(images))
    began = time.monotonic()
    with _made(output):
        found = _scanned(net, source, layer, output, top, share, room, resume)
    if found is None:
        return
    scanned = time.monotonic()
    _write(found, shown, rule, names, memory)
    if not (output.suffix or shown.as_json):
        drawing = time.monotonic() - scanned
        typer.echo(f"scanning took {scanned - began:,.0f} s, drawing {drawing:,.0f} s")


def _write(
    found: "Scan", shown: Showing, rule: str, names: "ModelNames", memory: int | str
) -> None:
    """Write an atlas, or a file."""
    options: dict[str, Any] = {"rule": rule} if shown.drawn else {}
    with progress_bar("drawing") as advance:
        if not shown.output.suffix:
            options = {"rule": rule, "model": names, "memory": memory, "progress": advance}
        shown.finish(found, **options)


def _part(part: str | None) -> tuple[int, int]:
    """Return which part of how many to scan."""
    try:
        number, count = map(int, ("1/1" if part is None else part).split("/"))
    except ValueError:
        raise ConvscopeError(f"--part is K/N, such as 2/4, not {part!r}") from None
    if not 1 <= number <= count:
        raise ConvscopeError(f"--part is K/N with K from 1 to N, not {part!r}")
    return number, count


def _check(output: Path, images: Path, resume: bool) -> None:
    """Refuse to write over another atlas, among somebody's files, or among the pictures."""
    from convscope.atlas.place import KIND, TALLY
    from convscope.methods.scanning.result import Scan
    from convscope.outputs import check_folder

    if output.suffix:
        Scan.check(output)
        return

    if (output / TALLY).exists() and not resume:
        raise OutputError(f"{output} holds a scan already: --resume it, or name another folder")
    check_folder(output, KIND, images)


@contextmanager
def _made(output: Path) -> Iterator[None]:
    """Make the folder; a mistake that leaves nothing in it takes it away again."""
    from convscope.atlas.place import KIND
    from convscope.outputs import MARK, claim_folder

    if output.suffix:
        yield
        return
    there = output.exists()
    claim_folder(output, KIND)
    try:
        yield
    except ConvscopeError:
        if not there:
            with suppress(OSError):  # other processes may have written there
                (output / MARK).unlink()
                output.rmdir()
        raise


def _scanned(
    net: "Network",
    source: "Images",
    layer: list[str] | None,
    output: Path,
    top: int,
    part: tuple[int, int],
    memory: int,
    resume: bool,
) -> "Scan | None":
    """Scan this process's share; return the scan of all of them, in the first process only."""
    from convscope.atlas.place import TALLY, rank_tally
    from convscope.methods.scan import merge, scan
    from convscope.methods.scanning.result import Scan

    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    numbers = range(len(source))[part[0] - 1 :: part[1]]
    own = numbers[rank::ranks]
    if not own:
        raise DataError(f"{len(numbers)} images cannot be shared by {ranks} processes")
    if ranks > 1 and output.suffix:
        raise ConvscopeError(f"several processes write an atlas, not {output}: name a folder")
    name = None if output.suffix else output / (TALLY if ranks == 1 else rank_tally(rank, ranks))
    with progress_bar("scanning") as advance:
        found = scan(
            net, source, layer, top=top, only=own, memory=memory, state=name, resume=resume,
            progress=advance if rank == 0 else None,
        )  # fmt: skip
    if ranks == 1:
        return found
    from convscope.study.devices import make_fabric

    make_fabric(net.device.type, "float32").barrier()
    if rank:
        return None
    parts = [output / rank_tally(other, ranks) for other in range(ranks)]
    whole = merge(Scan.load(path, net, source) for path in parts)
    whole.save(output / TALLY)
    for path in parts:
        path.unlink()
    return whole


def _merge(parts: list[Path], shown: Showing) -> None:
    """Merge atlases, drawing the pictures from the images that they were made of."""
    from convscope.atlas.atlas import Atlas
    from convscope.atlas.commands import ModelNames
    from convscope.atlas.place import TALLY
    from convscope.methods.budget import DEFAULT
    from convscope.methods.scan import merge
    from convscope.methods.scanning.result import Scan
    from convscope.network.rules import rule_named

    atlases = [Atlas(part) for part in parts]
    whole = merge(Scan.load(part / TALLY) for part in parts)
    facts = atlases[0].facts
    if facts["model"] is None:
        raise DataError(f"{parts[0]} does not say what network it is of: merge it in Python")
    rule_named(facts["rule"])
    if wrong := misshapen(facts["model"], {"model": str, "options": dict, "images": str}):
        raise DataError(f"{parts[0]} does not say rightly what network it is of: {wrong}")
    names = ModelNames(**facts["model"])
    _check(shown.output, Path(names.images), resume=False)
    net = NamedNetwork(names.model, **names.options).load()
    source = open_images(Path(names.images), net)
    if source.fingerprint() != facts["data"]["fingerprint"]:
        raise DataError(f"{names.images} has changed since it was scanned")
    whole = replace(whole, net=net, source=source)
    with _made(shown.output):
        _write(whole, shown, facts["rule"], names, DEFAULT)
