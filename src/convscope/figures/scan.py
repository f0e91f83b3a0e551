"""A scan drawn: the strongest channels of one layer, each with its strongest patches."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from convscope.errors import UnitError, near_matches
from convscope.figures.sheet import Sheet
from convscope.figures.style import Style
from convscope.figures.tiles import LayerTiles, drawn_tiles
from convscope.figures.unit import Entry, Unit, caption, units_sheet
from convscope.methods.budget import DEFAULT
from convscope.methods.pictures import channel_names
from convscope.methods.project import chosen_rule
from convscope.methods.scanning.result import LayerScan, Scan
from convscope.methods.scanning.strongest import NO_IMAGE

UNITS, ENTRIES = 6, 9


def figure(
    found: Scan, style: Style, layer: str | None = None, channels: Sequence[int] | None = None,
    rule: str = "deconvnet",
) -> Sheet:  # fmt: skip
    """Draw channels of a layer: nine patches of each, and what drives it there.

    Args:
        found: the scan, with its network and images at hand.
        style: how wide, and with which caption.
        layer: a convolution's name; None for the last one that was scanned.
        channels: which; None for the six whose strongest peak is furthest above their mean peak.
        rule: ``"deconvnet"``, ``"guided"`` or ``"gradient"``.

    Raises:
        OutputError: if the network and images are not at hand.
        UnitError: if there is no such layer or channel in the scan.

    """
    net, images = found.with_pictures()
    own = _layer(found, layer)
    chosen = _strongest(own) if channels is None else [int(c) for c in channels]
    if wrong := [c for c in chosen if not 0 <= c < own.shape[0]]:
        raise UnitError(f"{own.name} has channels 0 to {own.shape[0] - 1}, not {wrong[0]}")

    def load(number: int) -> Tensor:
        return images.load(number)[0].to(net.dtype)

    tiles: LayerTiles = {}
    wanted = _only(own, chosen)
    for _, channel, rank, tile in drawn_tiles(net, [wanted], load, chosen_rule(net, rule), DEFAULT):
        tiles.setdefault(channel, {})[rank] = tile
    names = channel_names(net, [net.step(own.read_at)] * len(chosen), chosen)
    units = [
        Unit(
            f"{own.name}, {name}",
            [
                Entry(
                    tile.patch, tile.projection, images.title(int(own.image[channel, rank])),
                    float(own.peak[channel, rank]), tile.scale.limit,
                )
                for rank, tile in sorted(tiles.get(channel, {}).items())
            ],
        )
        for channel, name in zip(chosen, names, strict=True)
    ]  # fmt: skip
    every = [tile.scale.clipped for ranks in tiles.values() for tile in ranks.values()]
    words = caption(wanted.image.shape[1], found.images, found.data, rule, max(every, default=0.0))
    words[0] = f"{found.network}: {words[0][0].lower()}{words[0][1:]}"
    return units_sheet(units, style, words, found.notes)


def _layer(found: Scan, name: str | None) -> LayerScan:
    if name is None:
        return list(found.layers.values())[-1]
    for own in found.layers.values():
        if name in (own.name, own.read_at):
            return own
    raise UnitError(f"the scan has no layer {name!r}{near_matches(name, found.layers)}")


def _strongest(layer: LayerScan) -> list[int]:
    """Return the channels that a few images drive furthest above the rest, the furthest first."""
    contrast = np.zeros(layer.shape[0])
    np.divide(layer.peak[:, 0], layer.peak_mean, out=contrast, where=layer.peak_mean > 0)
    order: list[int] = np.argsort(-contrast, kind="stable")[:UNITS].tolist()
    return order


def _only(layer: LayerScan, channels: Sequence[int]) -> LayerScan:
    """Return the layer with no entries but the first nine of some channels."""
    image = layer.image[:, :ENTRIES].copy()
    image[np.setdiff1d(np.arange(len(image)), channels)] = NO_IMAGE
    return replace(layer, image=image)
