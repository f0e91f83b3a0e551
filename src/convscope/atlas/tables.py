"""The tables of an atlas: what the pages show, for pandas, DuckDB and other programs."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file

from convscope.atlas import place
from convscope.methods.scanning.result import LayerScan, Scan
from convscope.methods.scanning.sources import Images
from convscope.network import Network
from convscope.outputs import written_beside

STRONGEST_COLUMNS = (
    "layer", "channel", "rank", "image", "title", "peak", "row", "column",
    "top", "left", "bottom", "right",
)  # fmt: skip


def write_tables(net: Network, scan: Scan, images: Images, folder: Path) -> None:
    """Write units.csv, strongest.csv and arrays.safetensors."""
    units = scan.table()
    _write_csv(folder / place.UNITS, list(units[0]), (list(row.values()) for row in units))
    layers = scan.layers.values()
    entries = (row for layer in layers for row in _entry_rows(net, layer, images))
    _write_csv(folder / place.STRONGEST, STRONGEST_COLUMNS, entries)
    read = {f"{layer.name}/window": torch.from_numpy(windows(net, layer)) for layer in layers}
    with written_beside(folder / place.ARRAYS) as beside:
        save_file({**scan.arrays(), **read}, beside)


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Write atlas.json."""
    with written_beside(path) as beside:
        beside.write_text(json.dumps(facts, indent=2) + "\n", "utf-8")


def windows(net: Network, layer: LayerScan) -> npt.NDArray[np.int64]:
    """Return [C, top, 4]: top, left, bottom, right of what each entry's unit reads; 0 for none."""
    step = net.step(layer.read_at)
    found = np.zeros((*layer.image.shape, 4), dtype=np.int64)
    for channel, rank in zip(*(layer.image >= 0).nonzero(), strict=True):
        row, column = layer.position[channel, rank].tolist()
        found[channel, rank] = net.receptive_fields.window(step, row, column)
    return found


def _entry_rows(net: Network, layer: LayerScan, images: Images) -> Iterable[list[Any]]:
    found = windows(net, layer)
    for channel, rank in zip(*(layer.image >= 0).nonzero(), strict=True):
        number = int(layer.image[channel, rank])
        yield [
            layer.name,
            int(channel),
            int(rank) + 1,
            number,
            images.title(number),
            float(layer.peak[channel, rank]),
            *layer.position[channel, rank].tolist(),
            *found[channel, rank].tolist(),
        ]


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[list[Any]]) -> None:
    with written_beside(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_cell(value) for value in row])


def _cell(value: Any) -> Any:
    """Return a value as a cell: nothing for NaN, and text without bytes that are no letters."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.9g}"
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
