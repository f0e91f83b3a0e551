"""Blocks: the stretches of a network between two changes of resolution."""

from convscope.network.graph import Graph
from convscope.network.layers import ReceptiveFields
from convscope.network.ops import Convolution


def narrow_steps(graph: Graph) -> list[int]:
    """Return the steps through which everything passes: no branch or skip goes around them."""
    last_reader = {source: i for i, step in enumerate(graph.steps) for source in step.inputs}
    open_until = 0
    found = []
    for index in range(graph.output + 1):
        if open_until <= index:
            found.append(index)
        open_until = max(open_until, last_reader.get(index, index))
    return found


def block_ends(graph: Graph) -> list[int]:
    """Return, for each block of the network, the step that makes its last feature maps.

    A block is what lies between two changes of resolution and holds a convolution; for VGG16 these
    are the five stacks between the max pools, and the steps returned are relu1_2, ..., relu5_3.
    """
    fields = ReceptiveFields(graph)
    ends: list[int] = []
    begins, stride = 0, None
    for index in narrow_steps(graph):
        if not graph.is_map(index) or index == 0:
            continue
        found = (fields.along(index, 0), fields.along(index, 1))
        if found[0] is None or found[1] is None:
            continue  # units that read the whole image show no pattern of their own
        here = (found[0][0], found[1][0])
        holds_convolution = any(
            isinstance(step.operation, Convolution) for step in graph.steps[begins + 1 : index + 1]
        )
        if here == stride and ends and ends[-1] > begins:
            ends[-1] = index
        elif holds_convolution:
            ends.append(index)
        if here != stride:
            begins, stride = index - 1, here
    return ends
