"""One walk up that shows maps as they are made, and keeps none of them."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from convscope.network.graph import Graph
from convscope.network.ops import BatchNorm, Convolution

Visitor = Callable[[int, Tensor], None]


@torch.no_grad()
def visit(graph: Graph, images: Tensor, wanted: Collection[int], visitor: Visitor) -> None:
    """Run the network on *images*, and show the output of each wanted step to *visitor* once.

    Args:
        graph: the network; where it is not batched, *images* must be a single one.
        images: [N, C, H, W].
        wanted: the steps to show, in the order they run.
        visitor: called with the step's index and its output, which it must not change.

    """
    needed = graph.needed_for(wanted)
    last_reader = {source: index for index in needed for source in graph.steps[index].inputs}
    values = {0: images.contiguous(memory_format=torch.channels_last)}
    for index in needed:
        step = graph.steps[index]
        assert step.call is not None
        if _runs_in_place(graph, index, wanted):
            values[index] = values[step.inputs[0]].relu_()
        else:
            values[index] = step.call.run([values[source] for source in step.inputs], len(images))
        for source in set(step.inputs):
            if last_reader[source] == index:
                del values[source]
        if index in wanted:
            visitor(index, values[index])
        if index not in last_reader:
            del values[index]


def _runs_in_place(graph: Graph, index: int, wanted: Collection[int]) -> bool:
    """Return whether a ReLU may write over its input: a fresh map that nobody else looks at.

    Large maps are spared the fresh memory, which costs more than the ReLU.
    """
    call = graph.steps[index].call
    if call is None or call.target is not torch.ops.aten.relu.default:
        return False
    (source,) = graph.steps[index].inputs
    fresh = isinstance(graph.steps[source].operation, Convolution | BatchNorm)
    return fresh and len(graph.readers[source]) == 1 and source not in wanted
