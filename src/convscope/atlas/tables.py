"""The tables of an atlas: what the pages show, for pandas, DuckDB and other programs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from convscope.atlas import place
from convscope.methods.scanning.result import LayerScan, Scan
from convscope.methods.scanning.sources import Images
from convscope.network import Network
from convscope.outputs import write_text
from convscope.packing import save_tensors
from convscope.results import csv_of


def write_tables(net: Network, scan: Scan, images: Images, folder: Path) -> None:
    """Write units.csv, strongest.csv and arrays.safetensors."""
    layers = scan.layers.values()
    entries = [row for layer in layers for row in _entry_rows(net, layer, images)]
    for name, rows in ((place.UNITS, scan.table()), (place.STRONGEST, entries)):
        cells = [{key: _cell(value) for key, value in row.items()} for row in rows]
        write_text(folder / name, csv_of(cells))
    read = {f"{layer.name}/window": torch.from_numpy(windows(net, layer)) for layer in layers}
    save_tensors(folder / place.ARRAYS, {**scan.arrays(), **read}, {})


def windows(net: Network, layer: LayerScan) -> npt.NDArray[np.int64]:
    """Return [C, top, 4]: top, left, bottom, right of what each entry's unit reads; 0 for none."""
    step = net.step(layer.read_at)
    found = np.zeros((*layer.image.shape, 4), dtype=np.int64)
    for channel, rank in zip(*(layer.image >= 0).nonzero(), strict=True):
        row, column = layer.position[channel, rank].tolist()
        found[channel, rank] = net.receptive_fields.window(step, row, column)
    return found


def _entry_rows(net: Network, layer: LayerScan, images: Images) -> Iterator[dict[str, Any]]:
    found = windows(net, layer)
    for channel, rank in zip(*(layer.image >= 0).nonzero(), strict=True):
        number = int(layer.image[channel, rank])
        row, column = layer.position[channel, rank].tolist()
        sides = zip(("top", "left", "bottom", "right"), found[channel, rank].tolist(), strict=True)
        yield {
            "layer": layer.name,
            "channel": int(channel),
            "rank": int(rank) + 1,
            "image": number,
            "title": images.title(number),
            "peak": float(layer.peak[channel, rank]),
            "row": row,
            "column": column,
            **dict(sides),
        }


def _cell(value: Any) -> Any:
    """Return a value as a cell: of numbers the digits that do not hang on how images were shared.

    NaN is an empty cell.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.9g}"
    return value
