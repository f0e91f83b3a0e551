"""The walk up: every step once, and no map kept longer than it is read."""

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from convscope.network.graph import Graph
from convscope.network.ops import BatchNorm, Convolution

Visitor = Callable[[int, Tensor], None]


@torch.no_grad()
def walk_up(
    begun: Mapping[int, Tensor],
    needed: Sequence[int],
    reads: Callable[[int], Sequence[int]],
    run: Callable[[int, list[Tensor]], Tensor],
    show: Visitor,
) -> None:
    """Run steps one after the other: the one loop that every walk up goes by.

    Args:
        begun: step -> its output, where that is known: of step 0 the images, [N, C, H, W].
        needed: the other steps, in the order they run.
        reads: returns the steps whose outputs a step reads.
        run: makes a step's output from these.
        show: called with every step and its output.
    """
    last_reader = {source: index for index in needed for source in reads(index)}
    values = dict(begun)
    if 0 in values:
        values[0] = values[0].contiguous(memory_format=torch.channels_last)
    for index in needed:
        values[index] = run(index, [values[source] for source in reads(index)])
        for source in set(reads(index)):
            if last_reader[source] == index:
                del values[source]
        show(index, values[index])
        if index not in last_reader:
            del values[index]


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
    in_place = {i for i in graph.needed_for(wanted) if _runs_in_place(graph, i, wanted)}
    left = set() if rectifying is None else in_place.intersection(wanted)

    def run(index: int, inputs: list[Tensor]) -> Tensor:
        if index in in_place:
            return inputs[0] if index in left else inputs[0].relu_()
        return graph.steps[index].call.run(inputs, len(images))

    def show(index: int, values: Tensor) -> None:
        if index in left and rectifying is not None:
            rectifying(index, values)
        elif index in wanted:
            visitor(index, values)

    walk_up({0: images}, graph.needed_for(wanted), lambda i: graph.steps[i].inputs, run, show)


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
    call = graph.steps[index].made_by
    if call is None or call.target is not torch.ops.aten.relu.default:
        return False
    (source,) = graph.steps[index].inputs
    fresh = isinstance(graph.steps[source].operation, Convolution | BatchNorm)
    shown = {source, graph.shown.get(source)}
    return fresh and len(graph.readers[source]) == 1 and shown.isdisjoint(wanted)
