"""Plates: channels of layers, each as its strongest patches beside what drives it there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from convscope.errors import UnitError, check_known, near_matches
from convscope.methods import budget
from convscope.methods.pictures import channel_names
from convscope.methods.rules import chosen_rule, rule_notes
from convscope.methods.scanning.result import LayerScan, Scan
from convscope.methods.scanning.strongest import COMPARED, NO_IMAGE
from convscope.methods.scanning.tiles import EntryTile, Picture, TileShape, drawn_tiles
from convscope.network.layers import LayerName, listed
from convscope.outputs import finite
from convscope.results import Result

CHOICES = {
    "consistent": "those whose strongest patches are most alike and stand out most",
    "random": "drawn at random",
}
"""The ways to choose channels, and what a picture says of each."""
MOST_LAYERS = 6
MOST_SHARED = 3
"""Channels that share more of their nine images look for much the same thing."""

Channels = Sequence[int] | Mapping[str, Sequence[int]]


@dataclass(frozen=True, eq=False, repr=False)
class AtlasUnit(Result):
    """One channel of an atlas: its statistics, and its n strongest entries, the strongest first.

    Attributes:
        patches, projections: uint8 [n, H, W, 3].
        image: [n], numbers of the images.
        peak: [n], the channel's highest activation in each...
        position: [n, 2], and where in the map.
        window: [n, 4], top, left, bottom, right of what the unit reads there.
        limit: [n], the value that a projection shows as white.
        clipped: [n], share of its values beyond that.
        titles: what the images are called.
        network: the network's name.
        layer: the convolution's name.
        read_at: where the activation is read.
        channel: its number, and...
        name: ...what it is called: a class's channel by that.
        receptive_field: height and width of what a unit reads.
        enlarged: pixels of a tile a pixel of the image; a whole number where it is above 1.
        statistics: those of the pages, by name.
        rule: of the projections.
        images: how many were scanned.
        data: what they are called.
    """

    patches: Tensor
    projections: Tensor
    image: Tensor
    peak: Tensor
    position: Tensor
    window: Tensor
    limit: Tensor
    clipped: Tensor
    titles: tuple[str, ...]
    network: str
    layer: str
    read_at: str
    channel: int
    name: str
    receptive_field: tuple[int, int]
    enlarged: float
    statistics: dict[str, Any]
    rule: str
    images: int
    data: str

    figure: ClassVar[str] = "unit"

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return all but the pictures, fit for JSON."""
        return {**self.facts(), "entries": self.table()}

    def table(self) -> list[dict[str, Any]]:
        """Return a row an entry."""
        rows = zip(
            self.titles, self.image.tolist(), self.peak.tolist(), self.position.tolist(),
            self.window.tolist(), strict=True,
        )  # fmt: skip
        return [
            {
                "title": title, "image": image, "peak": peak, "row": row, "column": column,
                **dict(zip(("top", "left", "bottom", "right"), window, strict=True)),
            }
            for title, image, peak, (row, column), window in rows
        ]  # fmt: skip

    def summary(self) -> str:
        """Return which channel this is, and a line an entry."""
        lines = [
            f"  {e['title']}: peak {e['peak']:.4g} at row {e['row']}, column {e['column']}"
            for e in self.table()
        ]
        head = f"{self.network}, {self.layer}, {self.name}"
        return "\n".join([head, *lines]) if lines else f"{head}: never active"


@dataclass(frozen=True, eq=False, repr=False)
class Plate(Result):
    """Channels of several layers, each with its nine strongest entries (Zeiler & Fergus, fig. 2).

    Attributes:
        units: the U channels, layer by layer.
        consistency: [U], how alike the strongest entries of each are to the other channels.
        rise: [U], how many times its typical peak its strongest ones are.
        chosen: how they were chosen, a name in :data:`CHOICES`; empty where they were named.
    """

    units: tuple[AtlasUnit, ...]
    consistency: Tensor
    rise: Tensor
    chosen: str = ""

    figure: ClassVar[str] = "plate"

    @classmethod
    def of(cls, units: Sequence[AtlasUnit], layers: Sequence[LayerScan], chosen: str) -> "Plate":
        """Return the plate of *units*, each of its own layer."""
        numbers = [unit.channel for unit in units]
        consistency, rise = (
            torch.tensor([of[n] for of, n in zip(found, numbers, strict=True)])
            for found in ([x.consistency for x in layers], [x.rise for x in layers])
        )
        return cls(tuple(units), consistency, rise, chosen, notes=units[0].notes)

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return all but the pictures, fit for JSON."""
        return {
            **self.facts(),
            "units": [unit.to_dict() for unit in self.units],
            "channels": self.table(),
        }

    def table(self) -> list[dict[str, Any]]:
        """Return a row a channel."""
        rows = zip(self.units, self.consistency.tolist(), self.rise.tolist(), strict=True)
        return [
            {
                "layer": unit.layer, "channel": unit.channel, "name": unit.name,
                "consistency": finite(consistency), "rise": finite(rise),
                "strongest": float(unit.peak[0]) if len(unit.peak) else 0.0,
                "entries": len(unit.peak),
            }
            for unit, consistency, rise in rows
        ]  # fmt: skip

    def summary(self) -> str:
        """Return a line a layer: its channels with their consistency and rise."""
        lines: dict[str, list[str]] = {}
        for row in self.table():
            known = row["consistency"] is not None and row["rise"] is not None
            text = f"{row['channel']}"
            text += f" ({row['consistency']:.2f} × {row['rise']:.1f})" if known else ""
            lines.setdefault(row["layer"], []).append(text)
        head = "layer: channels (consistency × rise)"
        return "\n".join([head, *(f"{layer}: {', '.join(own)}" for layer, own in lines.items())])


def drawn(
    scan: Scan,
    layer: LayerName | Sequence[LayerName] | None,
    channels: Channels | None,
    count: int,
    choose: str,
    seed: int,
    rule: str,
    memory: int | str,
) -> Plate:
    """Return the plate of a scan whose network and images are at hand; see :meth:`.Scan.plate`."""
    net, images = scan.with_pictures()
    own_rule, room = chosen_rule(net, rule), budget.parse_bytes(memory)
    chosen = chosen_channels(scan, layer, channels, count, choose, seed)
    by_layer: dict[str, list[int]] = {}
    for own, channel in chosen:
        by_layer.setdefault(own.name, []).append(channel)
    wanted = [_only(scan.layers[name], numbers) for name, numbers in by_layer.items()]

    def load(number: int) -> Tensor:
        return images.load(number)[0].to(net.dtype)

    tiles: dict[tuple[str, int], dict[int, EntryTile]] = {}
    for name, channel, rank, tile in drawn_tiles(net, wanted, load, own_rule, room):
        tiles.setdefault((name, channel), {})[rank] = tile
    statistics = {(row["layer"], row["channel"]): row for row in scan.table()}
    steps = [net.step(own.read_at) for own in wanted]
    notes = (*scan.notes, *rule_notes(net, own_rule, steps))
    units = [
        _unit(scan, own, channel, tiles.get((own.name, channel), {}), rule, statistics, notes)
        for own, channel in chosen
    ]
    return Plate.of(units, [own for own, _ in chosen], choose if channels is None else "")


def _only(layer: LayerScan, channels: Sequence[int]) -> LayerScan:
    """Return the layer with no entries but the first nine of some channels."""
    image = layer.image[:, :COMPARED].copy()
    image[np.setdiff1d(np.arange(len(image)), channels)] = NO_IMAGE
    return replace(layer, image=image)


def _unit(
    scan: Scan,
    layer: LayerScan,
    channel: int,
    tiles: dict[int, EntryTile],
    rule: str,
    statistics: dict[tuple[str, int], dict[str, Any]],
    notes: tuple[str, ...],
) -> AtlasUnit:
    net, images = scan.with_pictures()
    step = net.step(layer.read_at)
    field = net.receptive_fields.size(step)
    shape = TileShape.of(field, (net.input_shape[1], net.input_shape[2]))
    ranks, (name,) = sorted(tiles), channel_names(net, [step], [channel])
    found = [tiles[rank] for rank in ranks]
    numbers = layer.image[channel, ranks]
    return AtlasUnit(
        patches=_stacked([tile.patch for tile in found], shape),
        projections=_stacked([tile.projection for tile in found], shape),
        image=torch.from_numpy(numbers),
        peak=torch.from_numpy(layer.peak[channel, ranks]).double(),
        position=torch.from_numpy(layer.position[channel, ranks]),
        window=torch.tensor([tile.window for tile in found]).view(-1, 4),
        limit=torch.tensor([tile.scale.limit for tile in found], dtype=torch.float64),
        clipped=torch.tensor([tile.scale.clipped for tile in found], dtype=torch.float64),
        titles=tuple(images.title(number) for number in numbers.tolist()),
        network=scan.network,
        layer=layer.name,
        read_at=layer.read_at,
        channel=channel,
        name=name,
        receptive_field=field,
        enlarged=shape.factor,
        statistics=statistics[layer.name, channel],
        rule=rule,
        images=scan.images,
        data=scan.data,
        notes=notes,
    )


def _stacked(pictures: list[Picture], shape: TileShape) -> Tensor:
    """Return pictures as [n, H, W, 3]."""
    return torch.from_numpy(np.array(pictures, np.uint8).reshape(-1, shape.height, shape.width, 3))


def chosen_channels(
    scan: Scan,
    layer: LayerName | Sequence[LayerName] | None = None,
    channels: Channels | None = None,
    count: int = 6,
    choose: str = "consistent",
    seed: int = 0,
) -> list[tuple[LayerScan, int]]:
    """Return channels of several layers, as :meth:`.Scan.plate` says."""
    check_known("way to choose", choose, CHOICES, UnitError)
    if count < 1:
        raise UnitError(f"the number of channels a layer must be at least 1, not {count}")
    if isinstance(channels, Mapping):
        if layer is not None:
            raise UnitError("the layers are named twice: by layer, and with their channels")
        layer = list(channels)
    layers = _layers(scan, layer)
    if channels is None:
        draw = np.random.default_rng(seed)
        found = [(own, c) for own in layers for c in _chosen(own, count, choose, draw)]
        if not found:
            raise UnitError("no channel of these layers is ever active")
        return found
    if not isinstance(channels, Mapping):
        if len(layers) != 1 or layer is None:
            raise UnitError("channels by their numbers are of one layer: name it")
        channels = {layers[0].name: channels}
    found = []
    for own, numbers in zip(layers, channels.values(), strict=True):
        for channel in numbers:
            if not 0 <= channel < own.shape[0]:
                raise UnitError(f"{own.name} has channels 0 to {own.shape[0] - 1}, not {channel}")
            found.append((own, int(channel)))
    return found


def _layers(scan: Scan, layer: LayerName | Sequence[LayerName] | None) -> list[LayerScan]:
    """Return the layers named, or of each size of maps the last."""
    if layer is None:
        last = {own.shape[1:]: own for own in scan.layers.values()}
        found = list(last.values())
        return [found[place] for place in budget.evenly(len(found), MOST_LAYERS)]
    named = [_name(scan, one) for one in listed(layer)]
    by_name = {own.read_at: own for own in scan.layers.values()} | scan.layers
    for name in named:
        if name not in by_name:
            raise UnitError(f"the scan has no layer {name!r}{near_matches(name, scan.layers)}")
    return [by_name[name] for name in named]


def _name(scan: Scan, layer: LayerName) -> str:
    if isinstance(layer, str):
        return layer
    net, _ = scan.with_pictures()
    return net.graph.steps[net.step(layer)].name


def _chosen(layer: LayerScan, count: int, choose: str, draw: np.random.Generator) -> list[int]:
    """Return *count* channels of a layer, those that answer to something."""
    live = np.flatnonzero(layer.image[:, 0] >= 0)
    if choose == "random":
        return sorted(draw.permutation(live)[:count].tolist())
    score = np.nan_to_num(layer.consistency * layer.rise, nan=-np.inf)[live]
    images = [set(own[own >= 0].tolist()) for own in layer.image[:, :COMPARED]]
    chosen: list[int] = []
    again: list[int] = []
    for channel in live[np.argsort(-score, kind="stable")].tolist():
        known = any(len(images[channel] & images[other]) > MOST_SHARED for other in chosen)
        (again if known else chosen).append(channel)
    return [*chosen, *again][:count]
