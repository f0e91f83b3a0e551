"""``convscope occlude``: where the answer hangs on the image."""

import json
from dataclasses import dataclass
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
from convscope.errors import ConvscopeError, RuleError

if TYPE_CHECKING:
    from torch import Tensor

    from convscope.methods.occlusion import Occlusion
    from convscope.network import Network

ANIMATIONS = (".gif",)


@network_options()
def occlude(
    network: NamedNetwork,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Picture files.")],
    patch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N or H,W", help="Size of the patch (repeat); a seventh of the image's side."
        ),
    ] = None,
    stride: Annotated[
        str | None,
        typer.Option(metavar="N or H,W", help="Pixels between positions; for some 28 a side."),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="A picture of the image's parts, one grey or colour each, to hide."),
    ] = None,
    fill: Annotated[
        str,
        typer.Option(
            help="gray, black, mean (of the data set), image-mean, local-mean, blur, noise, "
            "#rrggbb, or a number in the network's input space."
        ),
    ] = "gray",
    target: Annotated[
        list[str] | None,
        typer.Option(help="A class, by number or name (repeat for more); the most probable one."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="A layer whose feature map is watched too.")
    ] = None,
    channel: Annotated[
        int | None, typer.Option(help="That map; by default the most strongly activated.")
    ] = None,
    method: Annotated[str, typer.Option(help="exact, full or adaptive.")] = "exact",
    budget: Annotated[
        str | None,
        typer.Option(metavar="N or SECONDSs", help="For adaptive: positions, or a time as 20s."),
    ] = None,
    precision: Annotated[str, typer.Option(help="float32, or for adaptive bfloat16.")] = "float32",
    scale: Annotated[
        str, typer.Option(help="tile: each map on its own scale; shared: all on one.")
    ] = "tile",
    animate: Annotated[
        Path | None, typer.Option(help="Also a .gif of the patch sliding over the first image.")
    ] = None,
    memory: Memory = "1GB",
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .png, .svg, .pdf or .npz file.")
    ] = Path("occlusion.png"),
    as_json: AsJson = False,
) -> None:
    """Slide a patch over images and show where the network's answer hangs on them.

    Ctrl-C stops; what is done by then is written, marked as partial.
    """
    from convscope.figures.occlusion import check_occlusion_fits
    from convscope.methods.occlude import occlude_sizes
    from convscope.methods.patches import label_map
    from convscope.methods.projection import check_scale
    from convscope.outputs import check_output

    check_output(output, PICTURES + ARRAYS)
    if animate:
        check_output(animate, ANIMATIONS)
    check_scale(scale)
    sizes = [_size(text, "--patch") for text in patch] if patch else [None]
    steps = None if stride is None else _size(stride, "--stride")
    targets = None if not target else target[0] if len(target) == 1 else target
    if output.suffix.lower() in PICTURES:
        check_occlusion_fits(len(images) * len(sizes) * len(target or [""]))
    net = network.load()
    batch = net.preprocess.batch(images)
    hidden = _fill(fill)
    masks = None if mask is None else label_map(mask)
    options: dict[str, Any] = {
        "masks": masks, "method": method, "budget": budget, "precision": precision,
        "memory": memory,
    }  # fmt: skip
    found: list[_Found] = []
    for path, image in zip(images, batch, strict=True):
        with progress_bar(f"occluding {path.name}") as advance:
            records = occlude_sizes(
                net, image[None], sizes, steps, hidden, targets, layer, channel,
                progress=advance, **options,
            )  # fmt: skip
        for record in records:
            found += [_found(net, path, image, one) for one in record.singles()]
        if records[-1].partial:
            break
    _write(net, found, hidden, scale, output)
    if animate:
        _animate(net, found, batch[0], hidden, animate)
    if as_json:
        facts = [{**one.facts(), **one.record.to_dict()} for one in found]
        print_json({"output": str(output), "occlusions": facts})
        return
    print_line(str(output))
    for one in found:
        _print_record(one)


@dataclass(frozen=True)
class _Found:
    """One map: of one image, patch size and target."""

    path: Path
    image: "Tensor"
    record: "Occlusion"
    projection: "Tensor | None"
    agreement: float | None

    def facts(self) -> dict[str, Any]:
        """Return what is known of the map besides its record."""
        return {"image": str(self.path), "projection_correlation": self.agreement}


def _size(text: str, option: str) -> int | tuple[int, int]:
    """Return a size given as ``N`` or ``H,W``."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise ConvscopeError(f"{option} is a number of pixels or two as 16,24, not {text!r}")
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def _fill(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _found(net: "Network", path: Path, image: "Tensor", record: "Occlusion") -> _Found:
    """Return a map with the projection of its unit, if there is one, and how well they agree."""
    from convscope.methods.agreement import projection_agreement
    from convscope.methods.project import project

    if record.layer is None or record.channel is None:
        return _Found(path, image, record, None, None)
    unit = {
        "layer": record.layer,
        "channels": [record.channel],
        "select": "map",
        "titles": [path.name],
    }
    try:
        projection = project(net, image[None], **unit).pixels[0, 0]  # type: ignore[arg-type]
    except RuleError:  # no rectifier, and so no deconvnet
        return _Found(path, image, record, None, None)
    return _Found(path, image, record, projection, projection_agreement(projection, record))


def _write(
    net: "Network", found: list[_Found], fill: str | float, scale: str, output: Path
) -> None:
    """Write the maps as arrays or as a figure, by the name of the file."""
    from convscope.outputs import written_beside

    if output.suffix.lower() not in ARRAYS:
        _draw(net, found, fill, scale, output)
        return
    with written_beside(output) as beside:
        _write_arrays(beside, found)


def _draw(net: "Network", found: list[_Found], fill: str | float, scale: str, output: Path) -> None:
    from convscope.figures.occlusion import OccludedImage, occlusion_figure, telling
    from convscope.figures.sliding import patched
    from convscope.methods.patches import fill_for
    from convscope.outputs import written_beside

    rows = []
    for one in found:
        behind = fill_for(fill, one.image, net.preprocess, one.record.patch)
        shown = patched(one.record, telling(one.record), one.image, behind)
        rows.append(
            OccludedImage(one.record, one.image, shown, _title(one), one.projection, one.agreement)
        )
    drawn = occlusion_figure(rows, net.preprocess, scale)
    with written_beside(output) as beside:
        drawn.save(beside)


def _animate(
    net: "Network", found: list[_Found], image: "Tensor", fill: str | float, path: Path
) -> None:
    from convscope.figures.sliding import save_animation
    from convscope.methods.patches import fill_for
    from convscope.outputs import written_beside

    record = found[0].record
    behind = fill_for(fill, image, net.preprocess, record.patch)
    with written_beside(path) as beside:
        save_animation(beside, record, image, behind, net.preprocess, found[0].path.name)


def _title(one: _Found) -> str:
    """Return the file's name, with what the network takes the image for."""
    from convscope.figures.occlusion import class_name

    if one.record.predicted is None:
        return one.path.name
    return f"{one.path.name}: {class_name(one.record, one.record.clean['predicted'])}"


def _write_arrays(path: Path, found: list[_Found]) -> None:
    """Write every tensor and heat map as NUMBER/NAME, and all facts as one text of JSON."""
    import numpy as np

    from convscope.methods.occlusion import KINDS

    arrays: dict[str, Any] = {}
    facts = []
    for number, one in enumerate(found):
        kinds = [kind for kind in KINDS if getattr(one.record, kind) is not None]
        own = {**one.record.arrays(), **{f"heatmap_{k}": one.record.heatmap(k) for k in kinds}}
        if one.projection is not None:
            own["projection"] = one.projection
        arrays |= {f"{number}/{name}": values.cpu().numpy() for name, values in own.items()}
        facts.append({**one.facts(), **one.record.facts()})
    arrays["facts"] = np.array(json.dumps({"occlusions": facts}))
    np.savez_compressed(path, **arrays)


def _print_record(one: _Found) -> None:
    from convscope.figures.occlusion import class_name, telling

    o = one.record
    done = f"{int(o.computed.sum())} of {o.computed.numel()} positions"
    print_line(f"{_title(one)}; {o.part}, {done}")
    place = telling(o)
    top, left, bottom, right = o.positions.view(-1, 4)[place].tolist()
    where = f"hiding rows {top}-{bottom - 1}, columns {left}-{right - 1}"
    if o.output:
        print_line(f"  output: {o.output}")
    if o.number is not None:
        name, low = class_name(o, int(o.targets)), o.number.flatten()[place].item()  # type: ignore[arg-type]
        print_line(f"  {name} {o.clean['number']:.4g}; lowest {where}: {low:.4g}")
    if o.probability is not None:
        name = class_name(o, int(o.targets))  # type: ignore[arg-type]
        if o.targets != o.clean["predicted"]:
            taken = class_name(o, o.clean["predicted"])
            print_line(f"  the network takes this image for {taken}, not for {name}")
        low = o.probability.flatten()[place].item()
        print_line(f"  P({name}) {o.clean['probability']:.4f}; lowest logit {where}: P {low:.4f}")
    if o.activation is not None:
        drop = o.drop("activation")
        best = drop.nan_to_num(-float("inf")).max().item()
        agreement = "none (constant)" if one.agreement is None else f"{one.agreement:.3f}"
        print_line(
            f"  {o.layer} channel {o.channel}: sum {o.clean['activation']:.4g}, largest drop "
            f"{best:.4g}; correlation of |projection| with the drop: {agreement}"
        )
    if o.partial:
        print_line(f"  partial: {o.notes[-1]}")
