"""Walks over the graph: up from images to maps, down from a layer's signal to the images."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from convscope.network import freed
from convscope.network.graph import Graph
from convscope.network.ops import Operation, Saved
from convscope.network.ops.base import in_dtype
from convscope.network.relevance import sharing_graph
from convscope.network.rules import Rule
from convscope.network.visit import walk_up
from convscope.network.windows.placement import Placement


@dataclass(frozen=True)
class Ascent:
    """What a walk up left behind.

    Attributes:
        graph: what it went up, whose operations reverse as its rule says.
        maps: step -> its output, for the steps that were asked for; [N, ...].
        saved: step -> what its reverse wants, one row an image.
    """

    graph: Graph
    maps: dict[int, Tensor]
    saved: Mapping[int, Saved]

    @cached_property
    def _finite(self) -> dict[int, bool]:
        return {}

    def is_finite(self, step: int) -> bool:
        """Return whether the maps of a step are, which a look asks for again and again."""
        if step not in self._finite:
            self._finite[step] = bool(self.maps[step].isfinite().all())
        return self._finite[step]

    def remembering(self, rule: Rule, looked_at: Collection[int] = ()) -> "Ascent":
        """Return it as if it had gone up for a rule, if every map of one image was kept.

        What the reverse of a step wants is made of the maps once it is asked for.

        Args:
            rule: the rule.
            looked_at: the steps whose outputs are looked at.
        """
        graph = sharing_graph(self.graph, rule, looked_at)
        return Ascent(graph, self.maps, _Remembered(graph, self.maps, rule))


class _Remembered(dict[int, Saved]):
    """What the reverse of each step wants, made of the maps of one image when it is asked for."""

    def __init__(self, graph: Graph, maps: Mapping[int, Tensor], rule: Rule) -> None:
        super().__init__()
        self.graph, self.maps, self.rule = graph, maps, rule

    @torch.no_grad()
    def __missing__(self, index: int) -> Saved:
        step = self.graph.steps[index]
        inputs = [self.maps[source] for source in step.inputs]
        saved: Saved = tuple(inputs)
        # Operations with no more to remember than inputs have these at hand; only the others run
        # again.
        if type(step.operation).remember is not Operation.remember:
            _, saved = step.operation.remember(step.call, inputs, 1, self.rule)
        elif not step.operation.remembers_inputs:
            saved = ()
        self[index] = saved
        return saved


def ascend(graph: Graph, images: Tensor, keep: Iterable[int], rule: Rule | None = None) -> Ascent:
    """Run the network on *images* as far as the steps in *keep* need.

    Args:
        graph: the network.
        images: [N, C, H, W].
        keep: the steps whose outputs to return.
        rule: remember what this rule wants on the way down; None to remember nothing.
    """
    keep = list(keep)
    if rule is not None:
        graph = sharing_graph(graph, rule, keep)
    if graph.batched or len(images) == 1:
        return _ascend(graph, images, keep, rule)
    # Such a network takes a single image, or lets the images of a batch change each other.
    parts = [_ascend(graph, image[None], keep, rule) for image in images]
    return Ascent(
        graph,
        {index: torch.cat([part.maps[index] for part in parts]) for index in keep},
        {
            index: tuple(map(torch.cat, zip(*(part.saved[index] for part in parts), strict=True)))
            for index in parts[0].saved
        },
    )


def _ascend(graph: Graph, images: Tensor, keep: Sequence[int], rule: Rule | None) -> Ascent:
    maps, saved = {0: images}, dict[int, Saved]()

    def run(index: int, inputs: list[Tensor]) -> Tensor:
        step = graph.steps[index]
        if rule is None:
            return step.call.run(inputs, len(images))
        output, saved[index] = step.operation.remember(step.call, inputs, len(images), rule)
        return output

    def show(index: int, values: Tensor) -> None:
        if index in keep:
            maps[index] = values

    walk_up({0: images}, graph.needed_for(keep), lambda i: graph.steps[i].inputs, run, show)
    return Ascent(graph, {index: maps[index] for index in keep}, saved)


def anew(
    graph: Graph, changed: Collection[int], targets: Iterable[int]
) -> tuple[list[int], list[int]]:
    """Return the steps that run anew where the outputs of some others change.

    Args:
        graph: the network.
        changed: the steps whose outputs change.
        targets: the steps whose outputs are wanted.

    Returns:
        those steps, in order, and what else they read, which stays as it is.
    """
    again: list[int] = []
    for index in graph.needed_for(targets):
        # Steps run in the order of their numbers: what reads a changed one comes after it.
        if index not in changed and not {*changed, *again}.isdisjoint(graph.steps[index].inputs):
            again.append(index)
    read = {source for index in again for source in graph.steps[index].inputs}
    return again, sorted(read.difference(changed, again))


def resume(
    graph: Graph, maps: Mapping[int, Tensor], changed: Mapping[int, Tensor], targets: Iterable[int]
) -> dict[int, Tensor]:
    """Run what follows from maps that were changed by hand.

    Args:
        graph: the network.
        maps: the maps of some images by their steps, all that :func:`anew` names at least.
        changed: what takes the place of some of them.
        targets: the steps whose outputs are wanted.
    """
    targets, found = list(targets), dict(changed)
    again, others = anew(graph, changed, targets)
    step, values = next(iter(changed.items()))
    batch = len(values) // graph.steps[step].shape[0]

    def show(index: int, values: Tensor) -> None:
        if index in targets:
            found[index] = values

    walk_up(
        {**changed, **{index: maps[index] for index in others}}, again,
        lambda index: graph.steps[index].inputs,
        lambda index, inputs: graph.steps[index].call.run(inputs, batch), show,
    )  # fmt: skip
    return {index: found[index] if index in found else maps[index] for index in targets}


def descend(
    ascent: Ascent,
    start: int,
    signal: Tensor,
    owners: Tensor,
    rule: Rule,
    limit: int,
    channels: Tensor | None = None,
    stop: int = 0,
    more: Mapping[int, Tensor] | None = None,
) -> Tensor:
    """Bring a signal at a layer down to the images, or to a layer on the way.

    Args:
        ascent: the walk up, with the same rule.
        start: the step at whose output the signal starts.
        signal: [B, ...], the shape of that output.
        owners: [B], int64: which image of the ascent each signal belongs to.
        rule: how the signal passes each operation.
        limit: bytes that one signal tensor may take; a larger batch goes on in halves.
        channels: [B], int64, if each signal has one channel and is zero elsewhere: the first
            convolution then costs one channel's share.
        stop: the step at whose output the signal is wanted; 0 for the images.
        more: signals that start below at the same time, by their steps.

    Returns:
        [B, ...], the signal there: zero where none arrives.
    """
    graph = ascent.graph
    turned = graph.steps[stop] if stop in graph.shown.values() else None  # which nothing reads
    target = stop if turned is None else turned.inputs[0]
    steps = [i for i in graph.needed_for([start, *(more or {})]) if target < i <= start]
    descent = Descent(ascent=ascent, steps=steps[::-1], stop=target, rule=rule, limit=limit)
    descent.walk(Batch({start: signal, **(more or {})}, owners, channels))
    first, *others = descent.arrived
    found = torch.cat([first, *others]) if others else first
    return found if turned is None else turned.call.run([found], len(owners))


@dataclass
class Batch:
    """Signals on their way down.

    Attributes:
        pending: step -> the signals that wait at its output, as many rows for each signal.
        owners: [B]: the image that each signal belongs to.
        channels: [B]: the one channel of each signal, until a step mixes channels.
        begin: the number of the first of them.
        placements: step -> where they lie, if not in whole maps.
    """

    pending: dict[int, Tensor]
    owners: Tensor
    channels: Tensor | None = None
    begin: int = 0
    placements: dict[int, Placement] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of signals."""
        return len(self.owners)

    def part(self, part: slice) -> "Batch":
        """Return some of the signals, which lie as they did."""
        pending = {
            # An output may have several rows an image, and so has each signal: they stay together.
            index: value.reshape(len(self), -1, *value.shape[1:])[part].flatten(0, 1)
            for index, value in self.pending.items()
        }
        channels = None if self.channels is None else self.channels[part]
        begin = self.begin + (part.start or 0)
        placements = {index: lie.part(part) for index, lie in self.placements.items()}
        return Batch(pending, self.owners[part], channels, begin, placements)


@dataclass(frozen=True, kw_only=True)
class Descent:
    """A walk down with whole maps: the one loop that every walk down goes by.

    Attributes:
        ascent: the walk up, with the same rule.
        steps: those that signals pass, in that order.
        stop: the step at whose output they arrive.
        rule: how a signal passes each.
        limit: bytes that one tensor of signals may take.
        arrived: what has arrived, in order.
    """

    ascent: Ascent
    steps: list[int]
    stop: int
    rule: Rule
    limit: int
    arrived: list[Tensor] = field(default_factory=list)

    @property
    def graph(self) -> Graph:
        """What the ascent went up."""
        return self.ascent.graph

    @torch.no_grad()
    def walk(self, batch: Batch, position: int = 0) -> None:
        """Go on from ``steps[position]`` with the signals of *batch*."""
        for place in range(position, len(self.steps)):
            index = self.steps[place]
            if index not in batch.pending:
                continue
            if len(batch) > 1 and self.splits(index, batch):
                # The maps grow on the way down: a batch that filled the memory well near the top is
                # too large further down, so each half goes on alone.
                middle = len(batch) // 2
                for half in (slice(middle), slice(middle, len(batch))):
                    self.walk(self.part(batch, half), place)
                return
            freed.look(batch.pending[index])
            self.reverse(index, batch)
        self.arrive(batch)

    def splits(self, index: int, batch: Batch) -> bool:
        """Return whether a batch is better halved before it passes a step."""
        step = self.graph.steps[index]
        elements = max(math.prod(shape) for shape in (step.shape, *step.call.input_shapes))
        return len(batch) * elements * batch.pending[index].element_size() > self.limit

    def part(self, batch: Batch, part: slice) -> Batch:
        """Return some of the signals of a batch."""
        return batch.part(part)

    def reverse(self, index: int, batch: Batch) -> None:
        """Bring the signals at a step's output down to what it reads."""
        step, signal, channels = self.graph.steps[index], batch.pending.pop(index), batch.channels
        saved = tuple(self.for_signals(value, batch) for value in self.ascent.saved[index])
        # What keeps channels reads one input: the way down to here had no branches, and what waits
        # has the one channel still.
        if not step.operation.keeps_channels:
            batch.channels = None
            if channels is not None:
                own = signal[torch.arange(len(channels), device=signal.device), channels]
                found = step.operation.reverse_channels(step.call, own[:, None], channels, saved)
                if found is not None:
                    batch.pending[step.inputs[0]] = found
                    return
        signals = step.operation.reverse(step.call, signal, saved, self.rule)
        for source, part in zip(step.inputs, signals, strict=True):
            if part is not None:
                self.add(source, part, batch)

    def add(self, source: int, part: Tensor, batch: Batch) -> None:
        """Let a signal wait at the output of step *source*, with what waits there already."""
        found = in_dtype(part, self.graph.steps[source].dtype)
        if found is not None:
            earlier = batch.pending.get(source)
            batch.pending[source] = found if earlier is None else earlier + found

    def arrive(self, batch: Batch) -> None:
        """Take in what has come down: zeros where nothing has."""
        found = batch.pending.get(self.stop)
        if found is None:
            step, device = self.graph.steps[self.stop], batch.owners.device
            rows, *shape = step.shape
            found = torch.zeros(len(batch) * rows, *shape, dtype=step.dtype, device=device)
        self.arrived.append(found)

    def for_signals(self, value: Tensor, batch: Batch) -> Tensor:
        """Return *value*, one row an image, with one row a signal; a single row stays alone."""
        if len(value) == 1:
            return value
        value = value.to_dense()  # a sparse one has no rows to choose from
        index, maps = next(iter(self.ascent.maps.items()))
        # What is remembered may have another number of rows an image than maps have, so the images
        # are counted by a map.
        images = len(maps) // self.graph.steps[index].shape[0]
        per_image = value.reshape(images, -1, *value.shape[1:])
        return per_image.index_select(0, batch.owners).flatten(0, 1)
