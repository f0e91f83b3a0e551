"""What each channel typically reaches at its peak, which its peak in an image is measured by."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.network.graph import Graph
from convscope.network.ops import MaxPool, Rectifier
from convscope.network.ops.arrangement import Concatenation

LEAST = 0.1
"""Share of the layer's median below which no channel's typical peak counts: what is silent in most
images would be outstanding wherever it says anything."""


@dataclass(frozen=True, eq=False)
class TypicalPeaks:
    """The median over a data set's images of each channel's peak, by layer.

    Attributes:
        over: the images, in words.
        peaks: the name of a layer -> [C].
    """

    over: str
    peaks: Mapping[str, Tensor]

    def of(self, graph: Graph, index: int) -> Tensor | None:
        """Return the typical peak of each channel of a step, [C], above zero; None if unknown.

        A max pool passes the peaks on, a concatenation puts them side by side, and where a
        rectifier alone reads a map, the map's peaks are the rectifier's.
        """
        known = self._of(graph, index)
        if known is None or not (known > 0).any():
            return None
        return known.clamp(min=LEAST * float(known[known > 0].median()))

    def _of(self, graph: Graph, index: int) -> Tensor | None:
        step = graph.steps[index]
        if step.name in self.peaks:
            return self.peaks[step.name]
        readers = graph.readers[index]
        if len(readers) == 1 and isinstance(graph.steps[readers[0]].operation, Rectifier):
            return self.peaks.get(graph.steps[readers[0]].name)
        if isinstance(step.operation, MaxPool):
            return self._of(graph, step.inputs[0])
        if isinstance(step.operation, Concatenation) and len(step.shape) == 4:
            parts = [self._of(graph, part) for part in step.inputs]
            together = [part for part in parts if part is not None]
            if len(together) == len(parts) and sum(map(len, together)) == step.shape[1]:
                return torch.cat(together)
        return None
