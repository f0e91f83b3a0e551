"""One walk up that shows maps as they are made, and keeps none of them."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from convscope.network.graph import Graph
from convscope.network.ops import BatchNorm, Convolution

Visitor = Callable[[int, Tensor], None]


@torch.no_grad()
def visit(
    graph: Graph,
    images: Tensor,
    wanted: Collection[int],
    visitor: Visitor,
    rectifying: Visitor | None = None,
) -> None:
    """Run the network on *images*, and show the output of each wanted step to *visitor* once.

    Args:
        graph: the network; where it is not batched, *images* must be a single one.
        images: [N, C, H, W].
        wanted: the steps to show, in the order they run.
        visitor: called with the step's index and its output, which it must not change.
        rectifying: called in its place for a ReLU that may write over its input, with this input,
            which it must rectify where it lies: while it reads the map, so that a large one
            comes from memory once instead of twice. By default nothing is left to it.

    """
    needed = graph.needed_for(wanted)
    last_reader = {source: index for index in needed for source in graph.steps[index].inputs}
    values = {0: images.contiguous(memory_format=torch.channels_last)}
    for index in needed:
        step = graph.steps[index]
        assert step.call is not None
        in_place = _runs_in_place(graph, index, wanted)
        left = in_place and index in wanted and rectifying is not None
        if in_place:
            maps = values[step.inputs[0]]
            values[index] = maps if left else maps.relu_()
        else:
            values[index] = step.call.run([values[source] for source in step.inputs], len(images))
        for source in set(step.inputs):
            if last_reader[source] == index:
                del values[source]
        if left and rectifying is not None:
            rectifying(index, values[index])
        elif index in wanted:
            visitor(index, values[index])
        if index not in last_reader:
            del values[index]


@torch.no_grad()
def first_not_finite(graph: Graph, image: Tensor, targets: Collection[int]) -> str | None:
    """Return the layer where NaN or infinity comes up that is found at one of *targets*.

    Values may be infinite on purpose, as before a softmax that masks by them; so this goes back
    from the target to the step that makes them of finite ones.

    Args:
        graph: the network.
        image: [1, C, H, W], finite.
        targets: the steps to look at.

    Returns:
        the name of a layer; None if all is finite at the targets.

    """
    bad: set[int] = set()

    def look(index: int, values: Tensor) -> None:
        if values.is_floating_point() and not values.isfinite().all():
            bad.add(index)

    visit(graph, image, graph.needed_for(targets), look)
    found = min((index for index in targets if index in bad), default=None)
    while found is not None and (behind := bad.intersection(graph.steps[found].inputs)):
        found = min(behind)
    return None if found is None else graph.steps[found].name


def _runs_in_place(graph: Graph, index: int, wanted: Collection[int]) -> bool:
    """Return whether a ReLU may write over its input: a fresh map that nobody else looks at.

    Large maps are spared the fresh memory, which costs more than the ReLU.
    """
    call = graph.steps[index].call
    if call is None or call.target is not torch.ops.aten.relu.default:
        return False
    (source,) = graph.steps[index].inputs
    fresh = isinstance(graph.steps[source].operation, Convolution | BatchNorm)
    shown = {source, graph.shown.get(source)}
    return fresh and len(graph.readers[source]) == 1 and shown.isdisjoint(wanted)


@torch.no_grad()
def answer_with(
    graph: Graph,
    output: int,
    images: Tensor,
    step: int,
    source: int,
    stand_in: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return the output of a step for *images* with another map in the place of one step's.

    Args:
        graph: the network.
        output: the step whose output is wanted.
        images: [N, C, H, W].
        step: the step whose output is replaced.
        source: an earlier step, whose output decides what by.
        stand_in: makes the replacement from the source's output; of the shape of the step's.

    """
    needed = _needed_around(graph, output, step, source)
    last_reader = {used: index for index in needed for used in _read(graph, index, step, source)}
    values = {0: images.contiguous(memory_format=torch.channels_last)}
    for index in needed:
        call = graph.steps[index].call
        assert call is not None
        inputs = _read(graph, index, step, source)
        if index == step:
            values[index] = stand_in(values[source])
        else:
            values[index] = call.run([values[used] for used in inputs], len(images))
        for used in set(inputs):
            if last_reader[used] == index:
                del values[used]
    return values[output]


def _read(graph: Graph, index: int, step: int, source: int) -> tuple[int, ...]:
    """Return what a step reads where *step* is made from *source* instead."""
    return (source,) if index == step else graph.steps[index].inputs


def _needed_around(graph: Graph, output: int, step: int, source: int) -> list[int]:
    """Return the steps that *output* needs where *step* is made from *source* instead."""
    wanted = {output}
    for index in range(output, 0, -1):
        if index in wanted:
            wanted.update(_read(graph, index, step, source))
    return sorted(wanted - {0})
