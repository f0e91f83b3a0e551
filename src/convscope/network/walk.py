"""Walks over the graph: up from images to maps, down from a layer's signal to the images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.network.graph import Graph
from convscope.network.ops import Saved
from convscope.network.rules import RULES, Rule

PLAIN = RULES["deconvnet"]  # remembers the least


@dataclass(frozen=True)
class Ascent:
    """What a walk up left behind.

    Attributes:
        maps: step -> its output, for the steps that were asked for; [N, ...].
        saved: step -> what its reverse wants, one row an image.

    """

    maps: dict[int, Tensor]
    saved: dict[int, Saved]


def ascend(graph: Graph, images: Tensor, keep: Iterable[int], rule: Rule | None = None) -> Ascent:
    """Run the network on *images* as far as the steps in *keep* need.

    Args:
        graph: the network.
        images: [N, C, H, W].
        keep: the steps whose outputs to return.
        rule: remember what this rule wants on the way down; None to remember nothing.

    """
    keep = list(keep)
    if graph.batched or len(images) == 1:
        return _ascend(graph, images, keep, rule)
    parts = [_ascend(graph, image[None], keep, rule) for image in images]
    return Ascent(
        {index: torch.cat([part.maps[index] for part in parts]) for index in keep},
        {
            index: tuple(map(torch.cat, zip(*(part.saved[index] for part in parts), strict=True)))
            for index in parts[0].saved
        },
    )


@torch.no_grad()
def _ascend(graph: Graph, images: Tensor, keep: Sequence[int], rule: Rule | None) -> Ascent:
    needed = graph.needed_for(keep)
    last_reader = {source: index for index in needed for source in graph.steps[index].inputs}
    values = {0: images.contiguous(memory_format=torch.channels_last)}
    saved: dict[int, Saved] = {}
    for index in needed:
        step = graph.steps[index]
        assert step.call is not None
        inputs = [values[source] for source in step.inputs]
        if rule is None:
            values[index] = step.call.run(inputs, len(images))
        else:
            values[index], saved[index] = step.operation.remember(
                step.call, inputs, len(images), rule
            )
        del inputs
        for source in set(step.inputs):
            if last_reader[source] == index and source not in keep:
                del values[source]
    return Ascent({index: values[index] for index in keep}, saved)


def descend(
    graph: Graph,
    ascent: Ascent,
    start: int,
    signal: Tensor,
    owners: Tensor,
    rule: Rule,
    limit: int,
) -> Tensor:
    """Bring a signal at a layer down to the images.

    Args:
        graph: the network.
        ascent: the walk up, with the same rule.
        start: the step at whose output the signal starts.
        signal: [B, ...], the shape of that output.
        owners: [B], int64: which image of the ascent each signal belongs to.
        rule: what happens at the rectifiers.
        limit: bytes that one signal tensor may take; a larger batch goes on in halves.

    Returns:
        [B, C, H, W], the signal at the images.

    """
    steps = [start, *reversed([i for i in graph.needed_for([start]) if i != start])]
    return _Descent(graph, ascent, steps, rule, limit).walk({start: signal}, owners, 0)


@dataclass(frozen=True)
class _Descent:
    graph: Graph
    ascent: Ascent
    steps: list[int]
    rule: Rule
    limit: int

    @torch.no_grad()
    def walk(self, pending: dict[int, Tensor], owners: Tensor, position: int) -> Tensor:
        """Go on from ``steps[position]`` with the signals that wait at the steps of *pending*."""
        for place in range(position, len(self.steps)):
            index = self.steps[place]
            if index not in pending:
                continue
            if len(owners) > 1 and self._too_large(index, len(owners)):
                half = len(owners) // 2
                # The maps grow on the way down: a batch that filled the memory well near the top is
                # too large further down, so each half goes on alone.
                return torch.cat(
                    [
                        self.walk(_rows(pending, part, len(owners)), owners[part], place)
                        for part in (slice(0, half), slice(half, None))
                    ]
                )
            self._reverse(index, pending, owners)
        if 0 in pending:
            return pending[0]
        return torch.zeros(len(owners), *self.graph.steps[0].shape[1:])

    def _too_large(self, index: int, signals: int) -> bool:
        step = self.graph.steps[index]
        assert step.call is not None
        elements = max(torch.Size(shape).numel() for shape in (step.shape, *step.call.input_shapes))
        return signals * elements * 4 > self.limit

    def _reverse(self, index: int, pending: dict[int, Tensor], owners: Tensor) -> None:
        step = self.graph.steps[index]
        assert step.call is not None
        saved = tuple(self._for_signals(value, owners) for value in self.ascent.saved[index])
        signals = step.operation.reverse(step.call, pending.pop(index), saved, self.rule)
        for source, signal in zip(step.inputs, signals, strict=True):
            if signal is not None:
                pending[source] = pending[source] + signal if source in pending else signal

    def _for_signals(self, value: Tensor, owners: Tensor) -> Tensor:
        """Return *value*, one row an image, with one row a signal instead."""
        images = self.images
        if images == 1:
            if len(value) == 1:
                return value.expand(len(owners), *value.shape[1:])
            return value.repeat(len(owners), *(1,) * (value.dim() - 1))
        per_image = value.reshape(images, -1, *value.shape[1:])
        return per_image.index_select(0, owners).flatten(0, 1)

    @property
    def images(self) -> int:
        """The number of images that the ascent ran on."""
        index, value = next(iter(self.ascent.maps.items()))
        return len(value) // self.graph.steps[index].shape[0]


def _rows(pending: dict[int, Tensor], part: slice, signals: int) -> dict[int, Tensor]:
    """Return the signals of *part*; each tensor holds the same number of rows for each signal."""
    return {
        index: value.reshape(signals, -1, *value.shape[1:])[part].flatten(0, 1)
        for index, value in pending.items()
    }
