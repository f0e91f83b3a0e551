"""From a scan to an atlas folder: tables first, then pictures layer by layer, then pages."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from convscope.atlas import place
from convscope.atlas.commands import ModelNames, project_command, unit_command
from convscope.atlas.overview import overview_page
from convscope.atlas.similar import chained, neighbours, weight_similarity
from convscope.atlas.sprites import GridSheets, save_picture, strip, strip_suffix
from convscope.atlas.tables import top_class, windows, write_facts, write_tables
from convscope.atlas.tiles import Tile, TileShape, layer_tiles, picture
from convscope.errors import OutputError
from convscope.methods.project import chosen_rule
from convscope.methods.scanning.result import LayerScan, Scan, bin_name
from convscope.methods.scanning.sources import Images
from convscope.network import Network
from convscope.outputs import written_beside
from convscope.pages import render
from convscope.records import provenance

Progress = Callable[[int, int], None]
"""Called with the channels drawn so far and the channels in all."""

CACHED_BYTES = 2**28
SMALL_IMAGE = 64
CLASSES_SHOWN = 5
CALL = "convscopeLayer("


def write_atlas(
    net: Network,
    scan: Scan,
    images: Images,
    folder: str | os.PathLike[str],
    *,
    rule: str = "deconvnet",
    model: ModelNames | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write an atlas: tables, pictures and pages that open from the folder, with no server.

    Layers whose pictures are there already, of the same entries, are not drawn again.

    Args:
        net: the network.
        scan: what :func:`.scan` found.
        images: the images that it scanned.
        folder: where to write, made if missing.
        rule: ``"deconvnet"``, ``"guided"`` or ``"gradient"``.
        model: how the command line names the network and the images, for the commands on the pages.
        progress: called with the channels drawn and the channels in all.

    Returns:
        the first page.

    Raises:
        OutputError: if the folder cannot be written.
        RuleError: if the rule does not exist, or means nothing here.

    """
    chosen_rule(net, rule)
    folder = Path(folder)
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        place.layers_folder(folder).mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder}: {error.strerror}") from error
    write_tables(net, scan, images, folder)
    drawing = _Drawing(net, scan, images, folder, rule, model)
    total = sum(layer.shape[0] for layer in scan.layers.values())
    done = 0
    for number, layer in enumerate(scan.layers.values()):
        drawing.layer(number, layer)
        done += layer.shape[0]
        if progress:
            progress(done, total)
    facts = _facts(net, scan, rule, model)
    with written_beside(folder / place.OVERVIEW) as beside:
        beside.write_text(overview_page(net, scan, facts), "utf-8")
    write_facts(folder / place.FACTS, facts)
    return folder / place.OVERVIEW


def _facts(net: Network, scan: Scan, rule: str, model: ModelNames | None) -> dict[str, Any]:
    return {
        **{k: v for k, v in scan.tally.facts.items() if k != "layers"},
        "images_counted": scan.images,
        "bad_images": [[number, reason] for number, reason in scan.bad.items()],
        "rule": rule,
        "model": None if model is None else model.as_dict(),
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


class _Drawing:
    """Draws the layers of one atlas."""

    def __init__(
        self,
        net: Network,
        scan: Scan,
        images: Images,
        folder: Path,
        rule: str,
        model: ModelNames | None,
    ) -> None:
        self._net = net
        self._scan = scan
        self._images = images
        self._folder = folder
        self._rule = rule
        self._model = model
        self._image_suffix = ".png" if max(net.input_shape[1:]) <= SMALL_IMAGE else ".jpg"
        bytes_an_image = 4 * int(np.prod(net.input_shape))
        self._load = lru_cache(max(1, CACHED_BYTES // bytes_an_image))(self._loaded)

    def _loaded(self, number: int) -> Tensor:
        return self._images.load(number)[0].to(self._net.dtype)

    def layer(self, number: int, layer: LayerScan) -> None:
        """Write a layer's sprites, data and page, unless they are there."""
        slug = place.layer_slug(number, layer.name)
        data = place.layers_folder(self._folder) / f"{slug}.js"
        stamp = self._stamp(layer)
        if not data.exists() or stamp not in data.read_text("utf-8"):
            found = self._draw(slug, layer)
            text = json.dumps({"stamp": stamp, **found}, separators=(",", ":"), allow_nan=False)
            with written_beside(data) as beside:
                beside.write_text(f"{CALL}{_script_safe(text)});\n", "utf-8")
        self._page(number, slug, layer)

    def _stamp(self, layer: LayerScan) -> str:
        """Return what differs where the pictures must be drawn again."""
        digest = hashlib.sha256(self._rule.encode() + layer.peak.tobytes() + layer.image.tobytes())
        return digest.hexdigest()[:20]

    def _draw(self, slug: str, layer: LayerScan) -> dict[str, Any]:
        """Write the sprites of a layer; return what its page shows."""
        folder = place.layers_folder(self._folder) / slug
        folder.mkdir(exist_ok=True)
        channels, top = layer.image.shape
        size = (self._net.input_shape[1], self._net.input_shape[2])
        field = self._net.receptive_fields.size(self._net.step(layer.read_at))
        shape, sheets = TileShape.of(field, size), GridSheets(channels)
        tiles: dict[int, dict[int, Tile]] = {}
        scales: dict[tuple[int, int], list[float]] = {}
        for channel, rank, tile in layer_tiles(self._net, layer, self._load, self._rule):
            sheets.put(channel, rank, tile)
            scales[channel, rank] = [tile.scale.limit, tile.scale.clipped]
            tiles.setdefault(channel, {})[rank] = tile
        for channel, own in tiles.items():
            path = folder / f"unit-{channel}{strip_suffix(shape)}"
            save_picture(path, strip(own, top, shape))
        self._save_images(layer)
        return {
            "slug": slug,
            "tile": [shape.width, shape.height],
            "suffix": strip_suffix(shape),
            "imageSuffix": self._image_suffix,
            "size": [self._net.input_shape[2], self._net.input_shape[1]],
            "top": top,
            "sheets": sheets.save(folder),
            "chain": chained(layer.similarity, int(layer.peak[:, 0].argmax())),
            **self._channels(layer, scales),
        }

    def _save_images(self, layer: LayerScan) -> None:
        for number in np.unique(layer.image[layer.image >= 0]).tolist():
            path = self._folder / place.image_name(number, self._image_suffix)
            if not path.exists():
                shown = picture(self._net.preprocess, self._load(number))
                save_picture(path, shown, quality=85)

    def _channels(
        self, layer: LayerScan, scales: dict[tuple[int, int], list[float]]
    ) -> dict[str, Any]:
        by_weight, found = weight_similarity(self._net, layer), windows(self._net, layer)
        titles: dict[int, str] = {}
        channels = []
        for channel in range(layer.shape[0]):
            ranks = np.flatnonzero(layer.image[channel] >= 0).tolist()
            numbers = [int(layer.image[channel, rank]) for rank in ranks]
            titles |= {number: _text(self._images.title(number)) for number in numbers}
            channels.append(
                {
                    "peak": _rounded(layer.peak[channel, 0]),
                    "peakMean": _rounded(layer.peak_mean[channel]),
                    "mean": _rounded(layer.mean[channel]),
                    "std": _rounded(layer.std[channel]),
                    "images": _rounded(layer.active_images[channel]),
                    "positions": _rounded(layer.active_positions[channel]),
                    "selectivity": _rounded(layer.selectivity[channel]),
                    "class": top_class(layer, channel, self._scan.classes),
                    "classes": self._classes(layer, channel),
                    "bins": _bins(layer, channel),
                    "entries": [
                        [
                            numbers[k],
                            _rounded(layer.peak[channel, rank]),
                            *layer.position[channel, rank].tolist(),
                            *found[channel, rank].tolist(),
                            *map(_rounded, scales[channel, rank]),
                        ]
                        for k, rank in enumerate(ranks)
                    ],
                    "byWeight": _rounded_pairs(neighbours(by_weight, channel)),
                    "byActivation": _rounded_pairs(neighbours(layer.similarity, channel)),
                    "again": self._command(layer, channel, numbers),
                }
            )
        return {"channels": channels, "titles": titles}

    def _command(self, layer: LayerScan, channel: int, numbers: list[int]) -> list[str]:
        commands = [unit_command(self._folder, layer.name, channel)]
        path = self._images.path(numbers[0]) if numbers else None
        if numbers and path is None:
            path = self._folder / place.image_name(numbers[0], self._image_suffix)
        if path is not None and self._model is not None:
            commands.append(project_command(self._model, path, layer.read_at, channel, self._rule))
        return commands

    def _classes(self, layer: LayerScan, channel: int) -> list[list[Any]]:
        """Return the classes that drive a channel most, with their mean peak."""
        if not self._scan.classes or layer.dead[channel]:
            return []
        means = layer.class_peaks[channel]
        order = np.argsort(-np.nan_to_num(means, nan=-1.0), kind="stable")[:CLASSES_SHOWN]
        return [[self._scan.classes[k], _rounded(means[k])] for k in order.tolist()]

    def _page(self, number: int, slug: str, layer: LayerScan) -> None:
        names = list(self._scan.layers)
        slugs = [place.layer_slug(n, name) for n, name in enumerate(names)]
        page = render(
            "atlas_layer.html",
            title=f"{layer.name} · {self._scan.network}",
            network=self._scan.network,
            layer=layer,
            slug=slug,
            field=self._net.receptive_fields.size(self._net.step(layer.read_at)),
            dead=int(layer.dead.sum()),
            images=self._scan.images,
            classes=len(self._scan.classes),
            rule=chosen_rule(self._net, self._rule),
            notes=self._net.notes,
            before=(slugs[number - 1], names[number - 1]) if number else None,
            after=(slugs[number + 1], names[number + 1]) if number + 1 < len(names) else None,
        )
        with written_beside(place.layers_folder(self._folder) / f"{slug}.html") as beside:
            beside.write_text(page, "utf-8")


def _bins(layer: LayerScan, channel: int) -> list[list[float | None]]:
    """Return the histogram's bins in use: lower edge, upper edge, images; None for endless."""
    used = np.flatnonzero(layer.histogram[channel]).tolist()
    return [
        [*(_rounded(edge) for edge in bin_name(n)), int(layer.histogram[channel, n])] for n in used
    ]


def _rounded(value: Any) -> float | None:
    """Return a number as the pages show it; None where there is none."""
    number = float(value)
    return float(f"{number:.4g}") if np.isfinite(number) else None


def _rounded_pairs(pairs: list[tuple[int, float]]) -> list[list[float]]:
    return [[channel, round(value, 3)] for channel, value in pairs]


def _text(text: str) -> str:
    """Return a file's name with question marks for bytes that are no letters."""
    return text.encode("utf-8", "replace").decode()


def _script_safe(text: str) -> str:
    """Return JSON that cannot end a script early, whatever a file is called."""
    return text.replace("<", "\\u003c")
