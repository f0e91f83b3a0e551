"""The walk up: every step once, and no map kept longer than it is read."""

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from convscope.network.graph import Graph
from convscope.network.ops import BatchNorm, Convolution

Visitor = Callable[[int, Tensor], None]


@torch.no_grad()
def walk_up(
    images: Tensor,
    needed: Sequence[int],
    reads: Callable[[int], Sequence[int]],
    run: Callable[[int, list[Tensor]], Tensor],
    show: Visitor,
) -> None:
    """Run steps one after the other: the one loop that every walk up goes by.

    Args:
        images: [N, C, H, W], the output of step 0.
        needed: the steps, in the order they run.
        reads: returns the steps whose outputs a step reads.
        run: makes a step's output from these.
        show: called with every step and its output.

    """
    last_reader = {source: index for index in needed for source in reads(index)}
    values = {0: images.contiguous(memory_format=torch.channels_last)}
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

    walk_up(images, graph.needed_for(wanted), lambda i: graph.steps[i].inputs, run, show)


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

    def reads(index: int) -> tuple[int, ...]:
        return (source,) if index == step else graph.steps[index].inputs

    def run(index: int, inputs: list[Tensor]) -> Tensor:
        if index == step:
            return stand_in(inputs[0])
        return graph.steps[index].call.run(inputs, len(images))

    needed = {output}
    for index in range(output, 0, -1):
        if index in needed:
            needed.update(reads(index))
    found = []
    walk_up(
        images, sorted(needed - {0}), reads, run,
        lambda index, values: found.append(values) if index == output else None,
    )  # fmt: skip
    return found[0]
