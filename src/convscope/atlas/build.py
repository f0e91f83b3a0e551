"""From a scan to an atlas folder: tables first, then pictures layer by layer, then pages."""

import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from convscope.atlas import place
from convscope.atlas.commands import ModelNames, project_command, unit_command
from convscope.atlas.overview import overview_page
from convscope.atlas.similar import chained, chance, neighbours
from convscope.atlas.sprites import (
    CELLS,
    SHOWN_IN_GRID,
    Pairs,
    grid_sheet,
    grid_side,
    save_picture,
    sheet_name,
    strip,
    strip_suffix,
)
from convscope.atlas.tables import windows, write_tables
from convscope.display import DisplayScale
from convscope.methods import budget
from convscope.methods.kernels import cosines, kernels_of
from convscope.methods.pictures import channel_names
from convscope.methods.rules import chosen_rule, rule_notes
from convscope.methods.scanning.result import LayerScan, Scan
from convscope.methods.scanning.tally import bin_edges
from convscope.methods.scanning.tiles import EntryTile, TileShape, drawn_tiles, picture
from convscope.methods.scanning.units import scanned_layers
from convscope.network import Network
from convscope.network.ops import Convolution
from convscope.outputs import claim_folder, made_folder, write_text
from convscope.pages import render
from convscope.results import provenance
from convscope.wording import counted

PAINTING = 1e8
"""Multiply-adds that take as long as painting a tile."""

TOLD_EVERY = 2.0
"""Seconds between two first pages that say how far the drawing is."""

SOON, LATER = 1 / 4, 2
"""Tiles that wait on disk for their layers to be whole, as shares of the memory: few at first, so
that there is something to see soon; then many, since images go up again for each band of layers."""

SMALL_IMAGE = 64
CLASSES_SHOWN = 5
CALL = "convscopeLayer("


@budget.holding
def write_atlas(
    scan: Scan,
    folder: str | os.PathLike[str],
    *,
    rule: str = "deconvnet",
    model: ModelNames | None = None,
    memory: int | str = budget.DEFAULT,
    progress: budget.Progress | None = None,
) -> Path:
    """Write an atlas: tables, pictures and pages that open from the folder, with no server.

    Layers whose pictures are there already, of the same entries, are not drawn again.

    Args:
        scan: what :func:`.scan` found, with its network and images at hand.
        folder: where to write, made if missing.
        rule: a name in :data:`convscope.network.rules.RULES`.
        model: how the command line names the network and the images, for the commands on the pages.
        memory: bytes, or a text such as ``"2GB"``: a quarter for the walks, as much for filters
            made ready for them, an eighth for images. One image's maps are held whatever it is.
            Twice as much of tiles waits in a file in the folder, which is gone at the end.
        progress: called with the entries drawn and the entries in all.

    Returns:
        the first page.

    Raises:
        OutputError: if the folder cannot be written, lies among the images, or holds other files;
            or the network and images are not at hand.
        RuleError: if the rule does not exist, or means nothing here.
    """
    net, images = scan.with_pictures()
    chosen_rule(net, rule)
    folder = claim_folder(folder, place.KIND, getattr(images, "folder", None))
    made_folder(folder / "images")
    made_folder(place.layers_folder(folder))
    scan.tally.save(folder / place.TALLY)
    write_tables(net, scan, images, folder)
    room, facts = budget.parse_bytes(memory), _facts(net, scan, rule, model)
    _Drawing(scan, folder, rule, model, room, facts).draw(progress)
    write_text(folder / place.FACTS, json.dumps(facts, indent=2) + "\n")
    return folder / place.OVERVIEW


def _facts(net: Network, scan: Scan, rule: str, model: ModelNames | None) -> dict[str, Any]:
    steps = [net.step(layer.read_at) for layer in scan.layers.values()]
    return {
        **{k: v for k, v in scan.tally.facts.items() if k != "layers"},
        "images_counted": scan.images,
        "bad": scan.bad,
        "scan_notes": list(scan.notes[len(net.notes) :]),
        "notes": [*net.notes, *rule_notes(net, chosen_rule(net, rule), steps)],
        "rule": rule,
        "model": None if model is None else asdict(model),
        "layers": [
            {
                "name": layer.name,
                "read_at": layer.read_at,
                "slug": place.layer_slug(number, layer.name),
                "channels": layer.shape[0],
                "map": list(layer.shape[1:]),
                "receptive_field": list(net.receptive_fields.size(net.step(layer.read_at))),
                "dead": int(layer.dead.sum()),
            }
            for number, layer in enumerate(scan.layers.values())
        ],
        "made_with": provenance(),
    }


class _Waiting:
    """Tiles of some layers that wait in a file until all of a layer's are drawn.

    Args:
        folder: where the file is, without a name: it goes with the process.
        shapes: how large each layer's tiles are.
    """

    def __init__(self, folder: Path, shapes: dict[str, TileShape]) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 -- closed by __exit__
        self._shapes = shapes
        self._places: dict[str, dict[int, dict[int, int]]] = {name: {} for name in shapes}
        self._lock = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def put(self, name: str, channel: int, rank: int, tile: EntryTile) -> None:
        self._places[name].setdefault(channel, {})[rank] = self._file.tell()
        self._file.write(tile.patch.tobytes() + tile.projection.tobytes())

    def of(self, name: str, channels: range) -> dict[int, Pairs]:
        """Return some channels' tiles, after the last was put."""
        shape = self._shapes[name]
        both = (2, shape.height, shape.width, 3)
        found: dict[int, Pairs] = {}
        for channel in channels:
            for rank, first in self._places[name].get(channel, {}).items():
                with self._lock:
                    self._file.seek(first)
                    read = self._file.read(math.prod(both))
                patch, projection = np.frombuffer(read, np.uint8).reshape(both)
                found.setdefault(channel, {})[rank] = (patch, projection)
        return found


class _Watch:
    """How far a drawing is, and how long it will go on.

    Args:
        net: the network.
        bands: the layers to draw, those together whose images go up once for all.
    """

    def __init__(self, net: Network, bands: list[list[LayerScan]]) -> None:
        self._work: dict[str, float] = {}
        for band in bands:
            up = _walks_up(net, band) / max(1, sum(map(_entries, band)))
            self._work |= {layer.name: up + _work(net, layer) for layer in band}
        self._all = sum(self._work[each.name] * _entries(each) for band in bands for each in band)
        self._done = 0.0
        self._began = self._told = time.monotonic()

    def count(self, layer: LayerScan) -> bool:
        """Count an entry; return whether it is time to tell."""
        self._done += self._work[layer.name]
        due = time.monotonic() - self._told > TOLD_EVERY
        self._told = time.monotonic() if due else self._told
        return due

    def words(self) -> tuple[float, str]:
        """Return the share of the work that is done, and how long the rest will take."""
        share = self._done / self._all if self._all else 0.0
        if not share:
            return share, "just begun"
        left = (time.monotonic() - self._began) * (1 - share) / share
        minutes = round(left / 60)
        about = f"about {counted(minutes, 'minute')}" if minutes else "under a minute"
        return share, f"{about} left"


def _walks_up(net: Network, band: list[LayerScan]) -> float:
    """Return about how many multiply-adds it takes until the images of a band are up."""
    numbers = np.unique(np.concatenate([layer.image[layer.image >= 0] for layer in band]))
    needed = net.graph.needed_for([net.step(layer.read_at) for layer in band])
    steps = (net.graph.steps[index].name for index in needed)
    return len(numbers) * sum(
        net.layers[name].multiply_adds for name in steps if name in net.layers
    )


def _work(net: Network, layer: LayerScan) -> float:
    """Return about how many multiply-adds one unit's way down takes, the painting included."""
    own = net.layers[layer.read_at].receptive_field
    total = PAINTING
    for index in net.graph.needed_for([net.step(layer.read_at)]):
        step = net.graph.steps[index]
        if not isinstance(step.operation, Convolution) or step.name not in net.layers:
            continue
        below = net.layers[step.name]
        reach = [
            max(0, (wide - field) / stride + 1)
            for wide, field, stride in zip(
                own, below.receptive_field, below.stride or (1, 1), strict=True
            )
        ]
        total += below.multiply_adds * math.prod(
            min(1.0, rows / size) for rows, size in zip(reach, step.shape[2:], strict=True)
        )
    return total


class _Drawing:
    def __init__(
        self, scan: Scan, folder: Path, rule: str, model: ModelNames | None, memory: int,
        facts: dict[str, Any],
    ) -> None:  # fmt: skip
        self._net, self._images = scan.with_pictures()
        self._scan, self._folder, self._model, self._memory = scan, folder, model, memory
        self._rule, self._facts = chosen_rule(self._net, rule), facts
        self._slugs = {own["name"]: own["slug"] for own in facts["layers"]}
        self._ready: set[str] = set()
        self._scales: dict[tuple[str, int, int], DisplayScale] = {}
        self._image_suffix = ".png" if max(self._net.input_shape[1:]) <= SMALL_IMAGE else ".jpg"
        bytes_an_image = 4 * int(np.prod(self._net.input_shape))
        self._load = lru_cache(max(1, memory // 8 // bytes_an_image))(self._loaded)

    def _loaded(self, number: int) -> Tensor:
        return self._images.load(number)[0].to(self._net.dtype)

    def draw(self, progress: budget.Progress | None) -> None:
        """Write the layers' sprites, data and pages; what is there already is not drawn again."""
        layers = list(self._scan.layers.values())
        left = [layer for layer in layers if not self._is_drawn(layer)]
        for layer in layers:
            if layer not in left:
                self._page(layer)
                self._ready.add(layer.name)
        total = sum(_entries(layer) for layer in layers)
        done = total - sum(_entries(layer) for layer in left)
        bands = list(self._bands(left))
        watch = _Watch(self._net, bands)
        for band in bands:
            self._first_page(watch)
            for layer in self._draw(band):
                done += 1
                if progress:
                    progress(done, total)
                if watch.count(layer):
                    self._first_page(watch)
        self._first_page(None)

    def _first_page(self, watch: _Watch | None) -> None:
        """Write the first page, with how far the drawing is; None where nothing is left to do."""
        page = overview_page(
            self._net, self._scan, self._facts, self._ready,
            None if watch is None else watch.words(),
        )  # fmt: skip
        write_text(self._folder / place.OVERVIEW, page)

    def _place(self, layer: LayerScan, suffix: str = "") -> Path:
        """Return the folder of a layer's pictures, or the file of that suffix beside it."""
        return place.layers_folder(self._folder) / f"{self._slugs[layer.name]}{suffix}"

    def _is_drawn(self, layer: LayerScan) -> bool:
        data = self._place(layer, ".js")
        return data.exists() and self._stamp(layer) in data.read_text("utf-8")

    def _stamp(self, layer: LayerScan) -> str:
        """Return what differs where the pictures must be drawn again."""
        digest = hashlib.sha256(
            self._rule.name.encode() + layer.peak.tobytes() + layer.image.tobytes()
        )
        return digest.hexdigest()[:20]

    def _shape(self, layer: LayerScan) -> TileShape:
        field = self._net.receptive_fields.size(self._net.step(layer.read_at))
        return TileShape.of(field, (self._net.input_shape[1], self._net.input_shape[2]))

    def _bands(self, layers: list[LayerScan]) -> Iterator[list[LayerScan]]:
        """Yield layers that are drawn together; an image goes up once for each band."""
        band: list[LayerScan] = []
        taken, limit = 0, SOON * self._memory
        for layer in layers:
            shape = self._shape(layer)
            own = _entries(layer) * 2 * 3 * shape.height * shape.width
            if taken and taken + own > limit:
                yield band
                band, taken, limit = [], 0, LATER * self._memory
            taken += own
            band.append(layer)
        if band:
            yield band

    def _draw(self, band: list[LayerScan]) -> Iterator[LayerScan]:
        """Write the sprites, the data and the pages of a band.

        Yields the layer of each entry that is drawn.
        """
        shapes = {layer.name: self._shape(layer) for layer in band}
        with (
            _Waiting(self._folder, shapes) as waiting,
            ThreadPoolExecutor(torch.get_num_threads()) as writers,
        ):
            for name, channel, rank, tile in drawn_tiles(
                self._net, band, self._load, self._rule, self._memory // 2
            ):
                waiting.put(name, channel, rank, tile)
                self._scales[name, channel, rank] = tile.scale
                yield self._scan.layers[name]
            for layer in band:
                self._write_sprites(layer, waiting, writers)
                self._write_data(layer)
                self._ready.add(layer.name)

    def _write_sprites(
        self, layer: LayerScan, waiting: _Waiting, writers: ThreadPoolExecutor
    ) -> None:
        folder, shape = self._place(layer), self._shape(layer)
        made_folder(folder)

        def write(first: int) -> None:
            tiles = waiting.of(layer.name, range(first, first + CELLS))
            for channel, own in tiles.items():
                path = folder / f"unit-{channel}{strip_suffix(shape)}"
                save_picture(path, strip(own, layer.image.shape[1], shape))
            sheet = grid_sheet(tiles, first, shape)
            save_picture(folder / sheet_name(first // CELLS), sheet, quality=82)

        list(writers.map(write, range(0, len(layer.image), CELLS)))

    def _write_data(self, layer: LayerScan) -> None:
        self._save_images(layer)
        shape = self._shape(layer)
        values = {
            "stamp": self._stamp(layer),
            "slug": self._slugs[layer.name],
            "tile": [shape.width, shape.height],
            "enlarged": shape.factor,
            "side": grid_side(shape),
            "suffix": strip_suffix(shape),
            "imageSuffix": self._image_suffix,
            "size": [self._net.input_shape[2], self._net.input_shape[1]],
            "top": layer.image.shape[1],
            "sheets": [sheet_name(n) for n in range(-(-layer.shape[0] // CELLS))],
            "chain": chained(layer.similarity, int(layer.peak[:, 0].argmax())),
            **self._channels(layer),
        }
        text = json.dumps(values, separators=(",", ":"), allow_nan=False)
        text = text.replace("<", "\\u003c")  # no file's name may end a script early
        write_text(self._place(layer, ".js"), f"{CALL}{text});\n")
        self._page(layer)

    def _save_images(self, layer: LayerScan) -> None:
        for number in np.unique(layer.image[layer.image >= 0]).tolist():
            path = self._folder / place.image_name(number, self._image_suffix)
            if not path.exists():
                shown = picture(self._net.preprocess, self._load(number))
                save_picture(path, shown, quality=85)

    def _channels(self, layer: LayerScan) -> dict[str, Any]:
        (scanned,) = scanned_layers(self._net, layer.name)
        kernels, found = kernels_of(self._net, scanned).rows, windows(self._net, layer)
        by_weight, others = cosines(kernels), len(kernels) - 1
        edges = [None, *map(_rounded, bin_edges()), None]
        titles: dict[int, str] = {}
        channels = []
        every = range(layer.shape[0])
        names = channel_names(self._net, [self._net.step(layer.read_at)] * len(every), every)
        for channel in every:
            ranks = np.flatnonzero(layer.image[channel] >= 0).tolist()
            numbers = [int(layer.image[channel, rank]) for rank in ranks]
            titles |= {number: _text(self._images.title(number)) for number in numbers}
            channels.append(
                {
                    "name": names[channel],
                    "dead": bool(layer.dead[channel]),
                    "peak": _rounded(layer.peak[channel, 0]),
                    "peakMean": _rounded(layer.peak_mean[channel]),
                    "mean": _rounded(layer.mean[channel]),
                    "std": _rounded(layer.std[channel]),
                    "images": _rounded(layer.active_images[channel]),
                    "positions": _rounded(layer.active_positions[channel]),
                    "selectivity": _rounded(layer.selectivity[channel]),
                    "class": layer.top_class(channel, self._scan.classes),
                    "classes": self._classes(layer, channel),
                    "bins": [
                        [edges[n], edges[n + 1], int(layer.histogram[channel, n])]
                        for n in layer.histogram[channel].nonzero()[0]
                    ],
                    "entries": [
                        [
                            numbers[k],
                            _rounded(layer.peak[channel, rank]),
                            *layer.position[channel, rank].tolist(),
                            *found[channel, rank].tolist(),
                            _rounded(self._scales[layer.name, channel, rank].limit),
                            _rounded(self._scales[layer.name, channel, rank].clipped),
                        ]
                        for k, rank in enumerate(ranks)
                    ],
                    "byWeight": neighbours(by_weight, channel),
                    "byActivation": neighbours(layer.similarity, channel),
                    "again": self._command(layer, channel, numbers),
                }
            )
        lengths = kernels.shape[1], self._scan.images - 1
        by_chance = [_rounded(chance(length, others)) for length in lengths]
        return {"channels": channels, "titles": titles, "chance": by_chance}

    def _command(self, layer: LayerScan, channel: int, numbers: list[int]) -> list[str]:
        commands = [unit_command(self._folder, layer.name, channel)]
        path = self._images.path(numbers[0]) if numbers else None
        if numbers and path is None:
            path = self._folder / place.image_name(numbers[0], self._image_suffix)
        if path is not None and self._model is not None:
            commands.append(
                project_command(self._model, path, layer.read_at, channel, self._rule.name)
            )
        return commands

    def _classes(self, layer: LayerScan, channel: int) -> list[list[Any]]:
        """Return the classes that drive a channel most, with their mean peak."""
        if not self._scan.classes or not layer.active_images[channel]:
            return []
        means = layer.class_peaks[channel]
        order = np.argsort(-np.nan_to_num(means, nan=-1.0), kind="stable")[:CLASSES_SHOWN]
        return [[self._scan.classes[k], _rounded(means[k])] for k in order.tolist()]

    def _page(self, layer: LayerScan) -> None:
        pages = [(slug, name) for name, slug in self._slugs.items()]
        number, step = list(self._slugs).index(layer.name), self._net.step(layer.read_at)
        page = render(
            "atlas_layer.html",
            title=f"{layer.name} · {self._scan.network}",
            network=self._scan.network,
            layer=layer,
            slug=self._slugs[layer.name],
            field=self._net.receptive_fields.size(step),
            dead=int(layer.dead.sum()),
            images=self._scan.images,
            shown=min(SHOWN_IN_GRID, layer.image.shape[1], self._scan.images),
            classes=len(self._scan.classes),
            rule=self._rule,
            notes=(*self._net.notes, *rule_notes(self._net, self._rule, [step])),
            before=pages[number - 1] if number else None,
            after=pages[number + 1] if number + 1 < len(pages) else None,
        )
        write_text(self._place(layer, ".html"), page)


def _entries(layer: LayerScan) -> int:
    return int((layer.image >= 0).sum())


def _rounded(value: Any) -> float | None:
    """Return a number as the pages show it; None where there is none."""
    number = float(value)
    return float(f"{number:.4g}") if np.isfinite(number) else None


def _text(text: str) -> str:
    """Return a file's name with question marks for bytes that are no letters."""
    return text.encode("utf-8", "replace").decode()
