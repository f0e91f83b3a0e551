"""Blocks: the stretches of a network between two changes of resolution."""

from convscope.network.graph import Graph, Step
from convscope.network.layers import ReceptiveFields
from convscope.network.ops import BatchNorm, Convolution, Generated, Rectifier


def narrow_steps(graph: Graph) -> list[int]:
    """Return the steps through which everything passes: no branch or skip goes around them."""
    # Other outputs go around what follows them, and constants come from nowhere: neither counts.
    path = [
        index
        for index in (0, *graph.needed_for([graph.output]))
        if not isinstance(graph.steps[index].operation, Generated)
    ]
    last_reader = {source: index for index in path for source in graph.steps[index].inputs}
    open_until = 0
    found = []
    for index in path:
        if open_until <= index:
            found.append(index)
        open_until = max(open_until, last_reader.get(index, index))
    return found


def block_ends(graph: Graph) -> list[int]:
    """Return, for each block of the network, the step that makes its last feature maps.

    A block is what lies between two changes of resolution and holds a convolution; for VGG16 these
    are the five stacks between the max pools, and the steps returned are relu1_2, ..., relu5_3.

    Where the network pools before it normalises and rectifies, a block's last convolution is no
    feature map yet: its channels are not comparable. The block then ends at the rectifier before.
    """
    fields = ReceptiveFields(graph)
    ends: list[int] = []
    stride, begins, previous = None, 0, 0
    for index in narrow_steps(graph):
        if not graph.is_map(index) or max(graph.steps[index].shape[2:]) == 1:
            continue
        here = _resolution(graph, fields, index)
        if here != stride:
            # What shrank the maps may lie on branches since the step before.
            stride, begins = here, previous
        previous = index
        within = graph.steps[begins + 1 : index + 1]
        if graph.steps[index].operation.is_layer and any(map(_is_convolution, within)):
            if ends and ends[-1] > begins:
                before = graph.steps[ends[-1]].operation
                if isinstance(before, Rectifier) and _is_raw(graph.steps[index]):
                    continue
                ends.pop()
            ends.append(index)
    return ends


def feature_maps(graph: Graph) -> list[int]:
    """Return the steps that make the network's feature maps, one a stage of the main path.

    A stage begins with a convolution, or with the branches that hold some, and ends before the next
    one. Of each the last rectifier is taken, or what comes last before a pool where there is none;
    maps of a single value are left out.
    """
    stages: list[list[int]] = []
    previous = 0
    for index in narrow_steps(graph):
        if not index or not graph.is_map(index):
            continue
        if any(map(_is_convolution, graph.steps[previous + 1 : index + 1])):
            stages.append([])
        previous = index
        if (
            stages
            and graph.steps[index].operation.is_layer
            and max(graph.steps[index].shape[2:]) > 1
        ):
            stages[-1].append(index)
    return [_feature_map(graph, stage) for stage in stages if stage]


def _feature_map(graph: Graph, stage: list[int]) -> int:
    """Return the step of a stage that makes its feature maps."""
    rectified = [index for index in stage if isinstance(graph.steps[index].operation, Rectifier)]
    if rectified:
        return rectified[-1]
    same = [i for i in stage if graph.steps[i].shape[2:] == graph.steps[stage[0]].shape[2:]]
    return same[-1]


def _resolution(graph: Graph, fields: ReceptiveFields, index: int) -> tuple[float, float]:
    """Return the image pixels between neighbouring units, rows and columns."""
    rows, columns = fields.along(index, 0), fields.along(index, 1)
    if rows and columns:
        return rows[0], columns[0]
    # Above a gate that reads the whole map (squeeze and excitation) no stride is left; the size of
    # the map still tells where the resolution changes.
    height, width = (
        image / size
        for image, size in zip(fields.image_size, graph.steps[index].shape[2:], strict=True)
    )
    return round(height), round(width)


def _is_convolution(step: Step) -> bool:
    return isinstance(step.operation, Convolution)


def _is_raw(step: Step) -> bool:
    """Tell whether a step's values are on their way to being feature maps."""
    return isinstance(step.operation, Convolution | BatchNorm)
