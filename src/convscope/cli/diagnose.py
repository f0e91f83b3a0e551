"""``convscope diagnose``: which layers are dead, drowned, doubled, aliased, and what to change."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import (
    PICTURES,
    AsJson,
    Memory,
    open_images,
    say_least,
)
from convscope.cli.printing import print_json, print_line, progress_bar
from convscope.errors import ConvscopeError

if TYPE_CHECKING:
    from convscope.methods.diagnosis.result import Diagnosis, LayerDiagnosis
    from convscope.methods.scanning.result import Scan
    from convscope.methods.scanning.sources import Images
    from convscope.network import Network

RECORDS = (".safetensors",)
BAD_SHOWN = 10


@network_options("random")
def diagnose(
    network: NamedNetwork,
    images: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGES",
            help="A folder of pictures, in class folders or not, CIFAR-10's (its test images), "
            "or an atlas that `convscope scan` wrote.",
        ),
    ],
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=NUMBER",
            help="From where on something is a fault (repeat for more); docs/diagnosis.md names "
            "them with their defaults.",
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option(help="On how many images activations are compared, at most.")
    ] = 1000,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="SECONDS",
            help="Time for effective receptive fields and what each layer matters; no limit.",
        ),
    ] = None,
    memory: Memory = "1GB",
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="A .png, .svg or .pdf file, or .safetensors for all."),
    ] = Path("diagnosis.png"),
    as_json: AsJson = False,
) -> None:
    """Find what is wrong with a network's layers, with the evidence and what to change.

    A healthy network gets no finding.
    """
    from convscope.methods.budget import Deadline
    from convscope.methods.diagnose import diagnose as examine
    from convscope.methods.diagnosis.thresholds import Thresholds
    from convscope.outputs import check_output

    check_output(output, PICTURES + RECORDS)
    limits = Thresholds.named(_numbers(threshold or []))
    Deadline(budget, or_zero=True)
    net = replace(network, random="freeze").load()  # randomness is a finding
    say_least(net, memory)
    given = _given(images, net)
    with progress_bar("diagnosing") as advance:
        found = examine(
            net, given.images, scanned=given.scan, thresholds=limits, sample=sample,
            budget=budget, memory=memory, progress=advance,
        )  # fmt: skip
    _write(found, output)
    if as_json:
        print_json({"output": str(output), **found.to_dict()})
        return
    print_line(str(output))
    _print_diagnosis(found)


@dataclass(frozen=True)
class _Given:
    """What is to be looked at."""

    images: "Images | Scan"
    scan: "Scan | None" = None


def _numbers(options: list[str]) -> dict[str, float]:
    """Return thresholds given as ``name=number``."""
    found = {}
    for text in options:
        name, _, value = text.partition("=")
        try:
            found[name.strip().replace("-", "_")] = float(value)
        except ValueError:
            raise ConvscopeError(
                f"--threshold is NAME=NUMBER, such as dead=0.2, not {text!r}"
            ) from None
    return found


def _given(images: Path, net: "Network") -> _Given:
    """Return the images, or an atlas's scan with the images that it was made of."""
    from convscope.atlas.atlas import Atlas
    from convscope.atlas.place import TALLY
    from convscope.methods.scanning.result import Scan

    if not (images / TALLY).exists():
        return _Given(open_images(images, net))
    names = Atlas(images).facts["model"]
    scan = Scan.load(images / TALLY)
    folder = None if names is None else Path(names["images"])
    if folder is None or not folder.is_dir():
        return _Given(scan)
    return _Given(open_images(folder, net), scan)


def _write(found: "Diagnosis", output: Path) -> None:
    if output.suffix.lower() in RECORDS:
        found.save(output)
        return
    from convscope.figures.diagnosis import diagnosis_figure
    from convscope.outputs import written_beside

    drawn = diagnosis_figure(found)
    with written_beside(output) as beside:
        drawn.save(beside)


def _print_diagnosis(found: "Diagnosis") -> None:
    from convscope.wording import counted

    right = "" if found.accuracy is None else f", {found.accuracy:.1%} of a sample answered rightly"
    images = counted(found.images, "image")
    print_line(f"{found.network} over {images} of {found.data}{right}")
    for layer in found.layers:
        print_line(f"  {layer.name}: {_measures(layer)}")
    if found.healthy:
        print_line("nothing is wrong by these thresholds")
    for place, finding in enumerate(found.findings, start=1):
        print_line(f"{place}. {finding.sentence}")
    for text in found.left_out:
        print_line(f"left out: {text}")
    if found.bad:
        print_line(f"{counted(len(found.bad), 'image')} left out:")
        for title, reason in list(found.bad.items())[:BAD_SHOWN]:
            print_line(f"  {title}: {reason}")
        if len(found.bad) > BAD_SHOWN:
            print_line(f"  and {len(found.bad) - BAD_SHOWN} more; --json names them all")


def _which(channels: tuple[int, ...]) -> str:
    """Return how many channels these are, and which."""
    from convscope.methods.diagnosis.finding import named

    return f"{len(channels)} ({named(channels)})" if channels else "0"


def _measures(layer: "LayerDiagnosis") -> str:
    """Return a layer's numbers in a line."""
    spare = sum(len(group) - 1 for group in layer.duplicates)
    parts = [
        f"{layer.shape[0]} units, {_which(layer.dead)} dead, {_which(layer.almost_dead)} almost, "
        f"{spare} copies",
        f"largest {layer.largest_weights:.2g}x (weights), {layer.largest_activation:.2g}x "
        f"(activations)",
    ]
    if layer.saturated is not None:
        parts.append(f"{layer.saturated:.0%} saturated")
    if layer.aliased is not None and not math.isnan(layer.aliased):
        parts.append(f"{layer.aliased:.0%} aliased")
    if layer.field_ratio is not None:
        parts.append(f"effective / theoretical field {layer.field_ratio:.2f}")
    if layer.without is not None:
        parts.append(f"agreement with its mean {layer.without:.0%}")
    if layer.skipped is not None:
        parts.append(f"skipped {layer.skipped:.0%}")
    return "; ".join(parts)
