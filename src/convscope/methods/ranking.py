"""Which feature maps answer most in an image: by their peaks, raw or over the typical ones."""

import os
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from convscope.errors import UnitError, check_known
from convscope.methods.scanning.result import Scan
from convscope.methods.scanning.tally import bin_edges
from convscope.network import Network
from convscope.network.graph import Graph
from convscope.network.ops import Rectifier
from convscope.network.typical import TypicalPeaks
from convscope.wording import counted

RANKS = {"relative": "ranked by peak over typical peak", "raw": "ranked by peak"}
"""The ways to rank, and what a picture says of each."""

Reference: TypeAlias = Scan | str | os.PathLike[str]


def check_rank(rank: str | None) -> None:
    """Refuse a way to rank that does not exist."""
    if rank is not None:
        check_known("rank", rank, RANKS, UnitError)


def typical_peaks(net: Network, reference: Reference | None) -> TypicalPeaks | None:
    """Return the typical peaks that a scan tells, or else those that came with the network.

    The scan may also be the path of its atlas, or of the file that it was saved to.
    """
    if reference is None:
        return net.typical
    if not isinstance(reference, Scan):
        path = Path(reference)
        reference = Scan.load(path / "scan.safetensors" if path.is_dir() else path)
    reference.check_weights(net)
    peaks = {own.read_at: medians(own.histogram) for own in reference.layers.values()}
    return TypicalPeaks(f"{counted(reference.images, 'image')} of {reference.data}", peaks)


def medians(histogram: np.ndarray) -> Tensor:
    """Return the median of each channel's peaks, [C], from a scan's histogram, [C, bins].

    Within its bin of a quarter of an octave, in proportion; 0 where it is not above zero.
    """
    edges, below = bin_edges().astype(np.float64), histogram.cumsum(axis=1)
    half = below[:, -1] / 2
    bins = (below >= half[:, None]).argmax(axis=1)
    inside = histogram[np.arange(len(bins)), bins]
    # How far into its bin the median lies: 0 at the lower edge. Edges are powers of two, so in
    # between the logarithm is in proportion, not the value.
    share = 1 - (below[np.arange(len(bins)), bins] - half) / np.maximum(inside, 1)
    low, high = edges[bins - 1], edges[np.minimum(bins, len(edges) - 1)]
    positive = (bins > 0) & (low > 0)
    found = np.where(positive, low, 1) * (high / np.where(positive, low, 1)) ** share
    return torch.from_numpy(np.where(positive, found, 0).astype(np.float32))


def chosen_rank(
    graph: Graph, steps: list[int], rank: str | None, typical: TypicalPeaks | None
) -> str:
    """Return how maps are ranked: as asked for, else relative where all typical peaks are known."""
    missing = [i for i in steps if typical is None or typical.of(graph, i) is None]
    if rank == "relative" and missing:
        raise UnitError(
            f"what the channels of {graph.steps[missing[0]].name!r} typically reach is not known: "
            f"give a reference, an atlas of the same network that has this layer, or rank 'raw'"
        )
    return rank or ("raw" if missing else "relative")


def clamped(graph: Graph, index: int) -> int:
    """Return the step whose values rank a step's: those before a clamp, as ReLU6's, make no ties.

    The largest of them are where the largest clamped ones are.
    """
    step = graph.steps[index]
    if not isinstance(step.operation, Rectifier) or step.call is None:
        return index
    limits = [step.call.arguments.get(name) for name in ("max", "max_val")]
    return step.inputs[0] if step.call.name == "relu6" or any(limits) else index


def strongest(peaks: Tensor, unclamped: Tensor, typical: Tensor | None, count: int) -> Tensor:
    """Return the channels of the largest peaks, [N, count], the largest first.

    Args:
        peaks: [N, C].
        unclamped: [N, C], the peaks before a clamp, which part equal ones.
        typical: [C], what to divide peaks by; None to take them as they are.
        count: how many.
    """
    keys = peaks if typical is None else peaks / typical.to(peaks)
    # Sorted by the lesser key first and stably by the greater: equal peaks keep the order of the
    # lesser.
    order = unclamped.argsort(dim=1, descending=True, stable=True)
    best = keys.gather(1, order).argsort(dim=1, descending=True, stable=True)
    return order.gather(1, best[:, :count])
