"""The demo: the study of 2018 on one page, its figures made on the spot and in its order."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from matplotlib.colors import Normalize, to_hex
from PIL import Image
from torch import Tensor
from torch.nn.functional import max_pool2d, max_unpool2d

from convscope.display import Display, display_scale, presentable, to_display
from convscope.figures.checkerboard import CLOSE, busiest
from convscope.figures.draw import figure as architecture_figure
from convscope.figures.occlude import VALUES, panels
from convscope.figures.occlude_panel import OPAQUE, OcclusionPanel
from convscope.figures.sheet import number, picture_of
from convscope.figures.style import Style, line_of
from convscope.figures.tile import FieldTile
from convscope.loading import load
from convscope.methods.checkerboard import checkerboard
from convscope.methods.draw import draw
from convscope.methods.gridding.result import Checkerboard
from convscope.methods.gridding.ties import ties
from convscope.methods.occlude import occlude
from convscope.methods.project import project
from convscope.methods.projection import Projection
from convscope.methods.targets import answer_of, answers
from convscope.models.bundled import bundle_facts
from convscope.network import Network
from convscope.network.shield import shielded
from convscope.network.walk import ascend
from convscope.outputs import claim_folder, write_text, written_beside
from convscope.pages.renderer import drawn_inline, image_source, png, render, small_picture
from convscope.samples import SAMPLES
from convscope.study.data import CLASSES
from convscope.study.record import StudyRecord
from convscope.study.variants import VARIANTS, Variant

FOLDER = Path("convscope-demo")
KIND, PAGE = "demo", "index.html"
VGG16, CLASSIFIER = "vgg16_features", "squeezenet1_1"
WIDE, NARROW = 8.9, 3.7
"""Inches of the architecture's drawing on wide screens and on narrow ones."""
POOL, CELLS = "features.9", 4
"""The pool that the deconvnet is explained at, and how many of its values each way."""
EYE, PATCH, STRIDE = ("features.22", 433), 24, 16
CLASS_PATCH, CLASS_STRIDE = 32, 8
MAPS_MEASURED = 2

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Demo:
    """What was made.

    Attributes:
        page: the page.
        seconds: how long each part of it took.
        numbers: what was measured, by the page's sections, fit for JSON.
    """

    page: Path
    seconds: dict[str, float]
    numbers: dict[str, Any]

    def summary(self) -> str:
        """Return where the page lies, and how long each part took."""
        took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())
        return (
            f"{self.page}\n  {took}\nOpen the page in a browser. Then try:\n"
            f"  convscope project {VGG16} {self.page.parent / SAMPLES[0].file}\n"
            "  convscope project mine.py:build photo.jpg   # your own network and picture"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything, fit for JSON."""
        return {"page": str(self.page), "seconds": self.seconds, **self.numbers}


@shielded
def demo(output: str | Path = FOLDER, *, progress: Progress | None = None) -> Demo:
    """Make one page of what convscope does, without a download: the study of 2018, alive.

    The architecture of VGG16; the deconvnet explained; what drives the strongest feature map of
    each block in four pictures; the projection from every layer, deepest first, and what strides
    and ties explain of its grid; four networks of the study on CIFAR-10; and a grey patch that
    slides over a picture. Takes half a minute on two cores.

    Args:
        output: the folder for the page and the pictures that it is about, made if missing.
        progress: called with the parts done and the parts in all.

    Returns:
        where the page lies, and its numbers.

    Raises:
        OutputError: the folder cannot be written, or holds other files.
        ModelError: a bundled network is missing or damaged.
    """
    folder = claim_folder(output, KIND)
    for sample in SAMPLES:
        with written_beside(folder / sample.file) as beside:
            beside.write_bytes(sample.content())
    work = _Page(folder, progress)
    with work.part("loading the networks"):
        vgg, classifier = load(VGG16), load(CLASSIFIER)
    cat = vgg.preprocess(folder / SAMPLES[0].file)
    values: dict[str, Any] = {"samples": SAMPLES, "names": paper_names(vgg), "folder": folder}
    with work.part("architecture"):
        values["architecture"] = _architecture(vgg)
    with work.part("deconvnet"):
        values["deconvnet"] = _deconvnet(vgg, cat)
    with work.part("blocks"):
        values["blocks"] = work.blocks(vgg)
    with work.part("checkerboard"):
        values["checkerboard"] = work.grids(vgg, cat)
    with work.part("study"):
        values["study"] = work.study(StudyRecord.bundled(), folder)
    with work.part("occlusion"):
        values["occlusions"] = work.occlusions(vgg, classifier)
    page = folder / PAGE
    html = render("demo.html", title="What a network sees", seconds=work.seconds, **values)
    write_text(page, html)
    return Demo(page, work.seconds, work.numbers)


def paper_names(net: Network) -> dict[str, str]:
    """Return what papers call the rectified maps of a VGG, by the names of their layers.

    >>> paper_names(load("vgg16_features", weights="random"))["features.22"]
    'conv4_3'
    """
    names, block, place = {}, 1, 0
    for name, layer in net.layers.items():
        if layer.op == "rectifier":
            place += 1
            names[name] = f"conv{block}_{place}"
        elif layer.op == "max pool":
            names[name] = f"pool{block}"
            block, place = block + 1, 0
    return names


PARTS = 7


@dataclass
class _Page:
    """What has been done: seconds by part, and the numbers behind the pictures."""

    folder: Path
    progress: Progress | None
    seconds: dict[str, float] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Do one part of the work, and note how long it took."""
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begun, 2)
        if self.progress:
            self.progress(len(self.seconds), PARTS)

    def blocks(self, net: Network) -> list[dict[str, Any]]:
        """Show what drives the strongest feature map of each block in the pictures."""
        files = [self.folder / sample.file for sample in SAMPLES]
        found = project(net, files)
        self.numbers["blocks"] = found.to_dict()
        pictures = picture_of(found.preprocess.to_pixels(found.images))
        return [
            {
                "sample": sample,
                "picture": small_picture(_bytes(pictures[n])),
                "units": _units(found, n),
            }
            for n, sample in enumerate(SAMPLES)
        ]

    def grids(self, net: Network, image: Tensor) -> dict[str, Any]:
        """Show the projection from each layer, deepest first, and what explains its grid."""
        found = checkerboard(net, image, top=MAPS_MEASURED, titles=[SAMPLES[0].file])
        owed = ties(net, image, found.layers[0], int(found.channels[0, 0, 0]))
        self.numbers["checkerboard"] = {
            "layers": found.table(),
            "ties": [asdict(one) for one in owed],
        }
        return {
            "tiles": _layers(found),
            "strides": max(found.structural),
            "seen": found.observed.nan_to_num(0).max().item(),
            "ties": owed,
            "deepest": found.layers[0],
        }

    def study(self, record: StudyRecord, folder: Path) -> dict[str, Any]:
        """Show the four networks trained on CIFAR-10, and what they say of the samples."""
        known = [sample for sample in SAMPLES if sample.known]
        variants = []
        for variant in VARIANTS:
            net, facts = record.network(variant), record.variant(variant)
            images = net.preprocess.batch([folder / sample.file for sample in known])
            chances, best = answer_of(net).probabilities(answers(net, images)).max(1)
            variants.append(
                {
                    "variant": variant,
                    "accuracy": facts["test_accuracy"]["mean"],
                    "curve": [moment["mean"] for moment in facts["curve"]],
                    "multiply_adds": facts["multiply_adds"],
                    "strongest": [
                        (layer, _strongest_tiles(record, variant, layer))
                        for layer in facts["strongest"]
                    ],
                    "answers": [
                        (sample, CLASSES[number], share, CLASSES[number] == sample.known)
                        for sample, number, share in zip(
                            known, best.tolist(), chances.tolist(), strict=True
                        )
                    ],
                }
            )
        base, epochs = bundle_facts("base"), record.facts["config"]["epochs"]
        self.numbers["study"] = {"base": base["test_accuracy"], **record.facts}
        return {
            "variants": variants,
            "known": known,
            "base": base["test_accuracy"],
            "longer": base["config"]["epochs"] / epochs,
            "epochs": epochs,
            "held_out": record.facts["held_out"],
            "evolution": _evolution(record),
        }

    def occlusions(self, vgg: Network, classifier: Network) -> list[dict[str, Any]]:
        """Slide a grey patch over the cat: before a unit of VGG16, and before a classifier."""
        file = self.folder / SAMPLES[0].file
        unit = occlude(vgg, file, PATCH, STRIDE, layer=EYE[0], channel=EYE[1])
        answer = occlude(classifier, file, CLASS_PATCH, CLASS_STRIDE)
        self.numbers["occlusion"] = {"unit": unit.to_dict(), "class": answer.to_dict()}
        return [{"found": o, "panels": [_panel(one) for one in panels(o)]} for o in (unit, answer)]


def _architecture(net: Network) -> dict[str, Any]:
    found = draw(net)
    wide, narrow = (
        drawn_inline(architecture_figure(found, Style(width, "none"))) for width in (WIDE, NARROW)
    )
    return {"wide": wide, "narrow": narrow, "facts": found}


def _deconvnet(net: Network, image: Tensor) -> dict[str, Any]:
    """Take one channel of a pool through the deconvnet, and cut out what a page can show."""
    pool = net.step(POOL)
    (before,) = net.graph.steps[pool].inputs
    maps = ascend(net.graph, image, [before, pool]).maps
    channel, row, column = _strongest(maps[pool][0])
    top, left = (max(0, place - CELLS // 2) for place in (row, column))
    pooled = maps[pool][0, channel, top : top + CELLS, left : left + CELLS]
    first, start = 2 * top, 2 * left
    behind = maps[before][0, channel, first : first + 2 * CELLS, start : start + 2 * CELLS]
    largest, places = max_pool2d(behind[None], 2, return_indices=True)
    switches = max_unpool2d(torch.ones_like(largest), places, (2, 2))[0].bool()
    fields = net.receptive_fields
    above, before_, _, _ = fields.window(before, first, start)
    _, _, below, after = fields.window(before, first + 2 * CELLS - 1, start + 2 * CELLS - 1)
    whole = project(net, image, POOL, [channel], select="map")
    pixels = presentable(whole.preprocess.difference_to_pixels(whole.pixels[0, 0]))
    picture = picture_of(net.preprocess.to_pixels(image))[0]
    window = slice(above, below), slice(before_, after)
    shown = pixels[:, window[0], window[1]]
    scale = display_scale(shown)
    low, high = 0.0, behind.max().item()
    return {
        "channel": channel,
        "others": maps[pool].shape[1] - 1,
        "patch": small_picture(_bytes(picture[window])),
        "pixels": small_picture(to_display(shown, scale)),
        "limit": scale.limit,
        "size": (below - above, after - before_),
        "map": _cells(behind, low, high, switches),
        "pooled": _cells(pooled, low, high, written=True),
        "unpooled": _cells(behind * switches, low, high, switches),
    }


def _strongest(maps: Tensor) -> tuple[int, int, int]:
    """Return channel, row and column of the strongest value of maps [K, H, W], borders apart."""
    edge = CELLS // 2
    inner = maps[:, edge : maps.shape[1] - edge, edge : maps.shape[2] - edge]
    place = np.unravel_index(int(inner.argmax()), tuple(inner.shape))
    return int(place[0]), int(place[1]) + edge, int(place[2]) + edge


def _cells(
    values: Tensor, low: float, high: float, marked: Tensor | None = None, written: bool = False
) -> list[list[dict[str, Any]]]:
    """Return a map as rows of cells: colour, whether it is a switch, and what is written in it."""
    norm, colours = Normalize(low, high), colormaps[VALUES]
    return [
        [
            {
                "colour": to_hex(colours(norm(value))),
                "switch": marked is not None and bool(marked[row, column]),
                "text": number(float(f"{value:.3g}")) if written else "",
                "dark": norm(value) < 0.6,
            }
            for column, value in enumerate(line)
        ]
        for row, line in enumerate(values.tolist())
    ]


def _units(found: Projection, n: int) -> list[dict[str, Any]]:
    """Return the tiles of an image's units, with their layers and the colours of their frames.

    A tile has as many pixels as the receptive field, and is transparent where that reaches beyond
    the image; the page enlarges it, without smoothing.
    """
    picture = picture_of(found.preprocess.to_pixels(found.images[n : n + 1].cpu()))[0]
    units = []
    for k, (layer, reads) in enumerate(zip(found.layers, found.receptive_fields, strict=True)):
        tile = FieldTile.of_projection(found, n, k, picture, Display())
        patch, projection = (
            image_source(png(tile.framed(own))) for own in (tile.patch, tile.projection)
        )
        units.append(
            {
                "patch": patch, "projection": projection, "channel": int(found.channels[n, k]),
                "layer": layer, "field": reads, "colour": line_of(k)[0],
                "limit": tile.scale.limit, "box": _box(tile.window),
            }
        )  # fmt: skip
    return units


def _box(window: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Return a window, given by its top, left, bottom and right, as left, top, width, height."""
    top, left, bottom, right = window
    return left, top, right - left, bottom - top


def _layers(found: Checkerboard) -> list[dict[str, Any]]:
    """Return each layer's projection as two tiles, whole and the part with most energy."""
    shown = presentable(found.preprocess.difference_to_pixels(found.pixels))
    entries = []
    for tile, row in zip(shown, found.table(), strict=True):
        scale = display_scale(tile)
        painted = to_display(tile, scale)
        top, left = busiest(tile, CLOSE)
        entries.append(
            {
                **row,
                "whole": small_picture(painted),
                "close": small_picture(painted[top : top + CLOSE, left : left + CLOSE]),
                "box": (left, top, CLOSE, CLOSE),
                "limit": scale.limit,
            }
        )
    return entries


def _strongest_tiles(record: StudyRecord, variant: Variant, layer: str) -> list[dict[str, Any]]:
    filters = record.variant(variant)["strongest"][layer]
    pixels = record.projections(variant, "strongest", layer)
    return [
        {"channel": one["channel"], "picture": _projection(own, one["window"])}
        for one, own in zip(filters, pixels, strict=True)
    ]


def _evolution(record: StudyRecord) -> dict[str, Any]:
    """Return the projections of one filter a layer at every moment that was kept."""
    variant = VARIANTS[0]
    facts = record.variant(variant)["evolution"]
    rows = []
    for followed in facts["filters"]:
        pixels = record.projections(variant, "evolution", followed["layer"])
        numbers = followed["number"]
        tiles = [
            {"picture": _projection(own, window), "changed": image != before}
            for own, window, image, before in zip(
                pixels, followed["window"], numbers, [numbers[0], *numbers[:-1]], strict=True
            )
        ]
        rows.append({"layer": followed["layer"], "channel": followed["channel"], "tiles": tiles})
    filters = [own for name, own in facts["distance"].items() if name.startswith("features.")]
    return {
        "epochs": facts["epochs"],
        "rows": rows,
        "images": facts["images"],
        "part": facts["epochs"][-2],
        "missing": [own[-2] for own in filters],
    }


def _projection(pixels: Tensor, window: Sequence[int]) -> str:
    """Return a projection [C, H, W] in its window, a square of the window's longer side."""
    top, left, bottom, right = window
    side = max(bottom - top, right - left)
    height, width = pixels.shape[1:]
    # Cut off at the image's edge, it is shown with its other neighbours there.
    top, left = min(top, height - side), min(left, width - side)
    inside = pixels[:, top : top + side, left : left + side]
    return small_picture(to_display(inside, display_scale(inside)))


def _panel(panel: OcclusionPanel) -> dict[str, Any]:
    """Return a panel of an occlusion's figure for the page: its picture, and its colours."""
    picture: npt.NDArray[Any] = panel.picture
    bar: dict[str, Any] | None = None
    if panel.colours is not None:
        colours, norm = colormaps[panel.colours], Normalize(*panel.limits)
        picture = colours(norm(picture))[..., :3]
        stops = ", ".join(to_hex(colours(share)) for share in np.linspace(0, 1, 9))
        low, high = panel.limits
        bar = {"stops": stops, "low": low, "high": high, "unit": panel.unit}
    painted = _bytes(picture[..., :3])
    if panel.under is not None:
        below = Image.fromarray(_bytes(panel.under))
        above = Image.fromarray(painted).resize(below.size, Image.Resampling.NEAREST)
        painted = np.asarray(Image.blend(below, above, OPAQUE))
    legend = [(name, to_hex(colour)) for name, colour in panel.legend]
    box = None if panel.frame is None else _box(panel.frame)
    return {
        "title": panel.title.replace("\n", " "), "picture": small_picture(painted), "bar": bar,
        "legend": legend, "box": box, "size": painted.shape[:2], "pale": panel.pale,
    }  # fmt: skip


def _bytes(picture: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return a picture in 0..1, or of bytes already, as bytes."""
    if picture.dtype == np.uint8:
        return picture
    return np.asarray(np.rint(255 * picture), np.uint8)
