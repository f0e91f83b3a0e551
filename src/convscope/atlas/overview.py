"""The first page: the network as blocks, each layer a link to its page."""

from collections.abc import Collection
from math import log2
from typing import Any

import numpy as np

from convscope.atlas.sprites import CELLS, SHOWN_IN_GRID, cell, grid_side, sheet_name
from convscope.methods.scanning.result import LayerScan, Scan
from convscope.methods.scanning.tiles import TileShape
from convscope.network import Network
from convscope.pages import render
from convscope.wording import quoted

LOWEST, HIGHEST = 14, 84
NARROWEST, WIDEST = 6, 40


def overview_page(
    net: Network,
    scan: Scan,
    facts: dict[str, Any],
    drawn: Collection[str],
    progress: tuple[float, str] | None,
) -> str:
    """Return the first page's HTML, where the *drawn* layers have pages that it leads to.

    *progress* is the share of the drawing that is done, and how long the rest takes, in words.
    """
    layers, image = list(scan.layers.values()), (net.input_shape[1], net.input_shape[2])
    cards = [
        _card(layer, own, layers, image, layer.name in drawn)
        for layer, own in zip(layers, facts["layers"], strict=True)
    ]
    return render(
        "atlas_overview.html",
        title=f"Atlas of {scan.network}",
        network=scan.network,
        input_shape=net.input_shape,
        cards=cards,
        channels=sum(layer.shape[0] for layer in layers),
        dead=sum(int(layer.dead.sum()) for layer in layers),
        layers=len(layers),
        images=scan.images,
        data=quoted(facts["data"]["name"]),
        classes=scan.classes,
        bad=facts["bad"],
        top=min(facts["top"], scan.images),
        notes=(*facts["notes"], *facts["scan_notes"]),
        rule=facts["rule"],
        progress=progress,
    )


def _card(
    layer: LayerScan,
    facts: dict[str, Any],
    layers: list[LayerScan],
    image: tuple[int, int],
    drawn: bool,
) -> dict[str, Any]:
    """Return a layer as it stands on the first page; sizes in CSS pixels."""
    largest = max(max(other.shape[1:]) for other in layers)
    widest = max(other.shape[0] for other in layers)
    # Of the channel whose strongest patches are most alike and stand out most.
    example = int(np.nan_to_num(layer.consistency * layer.rise, nan=-1).argmax())
    side = grid_side(TileShape.of(tuple(facts["receptive_field"]), image))
    top, left = cell(example, side)
    return {
        "name": layer.name,
        "slug": facts["slug"],
        "channels": layer.shape[0],
        "dead": facts["dead"],
        "field": tuple(facts["receptive_field"]),
        "map": (layer.shape[1], layer.shape[2]),
        "height": _scaled(max(layer.shape[1:]), largest, LOWEST, HIGHEST),
        "width": _scaled(layer.shape[0], widest, NARROWEST, WIDEST),
        "example": example,
        "sheet": sheet_name(example // CELLS),
        "entries": min(SHOWN_IN_GRID, int((layer.image[example] >= 0).sum())),
        "side": side,
        "left": left,
        "top": top,
        "drawn": drawn,
    }


def _scaled(value: int, largest: int, low: int, high: int) -> int:
    """Return a length that grows with the logarithm of a number."""
    return round(low + (high - low) * log2(1 + value) / log2(1 + largest))
