"""Blocks: the stretches of a network between two changes of resolution."""

from collections import Counter
from dataclasses import dataclass

from convscope.network.graph import Graph, Step, passed_by_all
from convscope.network.ops import BatchNorm, Convolution, Generated, Rectifier
from convscope.network.relevance import has_weights
from convscope.network.windows.fields import ReceptiveFields


@dataclass(frozen=True)
class Path:
    """A way from the image to the output.

    Attributes:
        steps: all steps on it and on its branches, in order; the first is where it begins.
        narrow: those of them through which everything on it passes, in order.
    """

    steps: list[int]
    narrow: list[int]


def narrow_steps(graph: Graph) -> list[int]:
    """Return the steps through which everything passes: no branch or skip goes around them."""
    return _narrow(graph, _needed(graph))


def main_paths(graph: Graph) -> list[Path]:
    """Return the ways on which the network's blocks lie one after another.

    Most networks have one. Networks side by side, which look at the same image and meet only in
    their answers, are one each.
    """
    needed = _needed(graph)
    narrow = _narrow(graph, needed)
    maps = [index for index in narrow if graph.is_map(index)]
    fork = maps[-1] if maps else 0
    if any(_is_convolution(graph.steps[index]) for index in needed if index <= fork):
        return [Path(list(range(len(graph.steps))), narrow)]
    ways = [
        (reader, _behind(graph, reader, needed))
        for reader in needed
        if fork in graph.steps[reader].inputs
    ]
    counts = Counter(index for _, way in ways for index in way)
    paths = []
    for _, way in ways:
        own = [fork, *(index for index in way if counts[index] == 1)]
        if any(_is_convolution(graph.steps[index]) for index in own):
            paths.append(Path(own, _narrow(graph, own)))
    return paths or [Path(list(range(len(graph.steps))), narrow)]


def _needed(graph: Graph) -> list[int]:
    """Return the steps that the output is made of, without constants, which come from nowhere."""
    return [
        index
        for index in (0, *graph.needed_for([graph.output]))
        if not isinstance(graph.steps[index].operation, Generated)
    ]


def _narrow(graph: Graph, path: list[int]) -> list[int]:
    """Return the steps of *path* that no other step of it goes around."""
    # Other outputs go around what follows them: only readers on the path count.
    return passed_by_all(path, lambda index: graph.steps[index].inputs)


def _behind(graph: Graph, first: int, steps: list[int]) -> list[int]:
    """Return those of *steps*, in order, that are made of *first*, itself included."""
    found = {first}
    for index in steps:
        if not found.isdisjoint(graph.steps[index].inputs):
            found.add(index)
    return sorted(found)


def block_ends(graph: Graph) -> list[int]:
    """Return, for each block of the network, the step that makes its last feature maps.

    A block is what lies between two changes of resolution and holds a convolution; for VGG16 these
    are the five stacks between the max pools, and the steps returned are relu1_2, ..., relu5_3.

    Where the network pools before it normalises and rectifies, a block's last convolution is no
    feature map yet: its channels are not comparable. The block then ends at the rectifier before.
    """
    fields = ReceptiveFields(graph)
    return [end for path in main_paths(graph) for end in _ends_on(graph, fields, path)]


def _ends_on(graph: Graph, fields: ReceptiveFields, path: Path) -> list[int]:
    """Return the steps that end the blocks on one path."""
    ends: list[int] = []
    stride, begins, previous = None, path.steps[0], path.steps[0]
    for index in path.narrow:
        if not graph.is_map(index) or max(graph.steps[index].shape[2:]) == 1:
            continue
        here = _resolution(graph, fields, index)
        if here != stride:
            # What shrank the maps may lie on branches since the step before.
            stride, begins = here, previous
        previous = index
        within = [graph.steps[step] for step in path.steps if begins < step <= index]
        if graph.steps[index].is_layer and any(map(_is_convolution, within)):
            if ends and ends[-1] > begins:
                before = graph.steps[ends[-1]].operation
                if isinstance(before, Rectifier) and _is_raw(graph.steps[index]):
                    continue
                ends.pop()
            ends.append(index)
    return ends


def feeds(graph: Graph, below: int, above: int) -> bool:
    """Return whether a layer with weights lies on a way from one step up to another."""
    below = graph.steps[below].inputs[0] if below in graph.shown.values() else below
    needed = graph.needed_for([above])
    return below in needed and any(has_weights(graph.steps[i]) for i in needed if below < i)


def feature_maps(graph: Graph) -> list[int]:
    """Return the steps that make the network's feature maps, one a stage of its main paths.

    A stage begins with a convolution, or with the branches that hold some, and ends before the next
    one. Of each the last rectifier is taken, or what comes last before a pool where there is none;
    maps of a single value are left out.
    """
    stages = [stage for path in main_paths(graph) for stage in _stages_on(graph, path)]
    return [_feature_map(graph, stage) for stage in stages if stage]


def _stages_on(graph: Graph, path: Path) -> list[list[int]]:
    """Return the steps of each stage on one path that may be its feature maps."""
    stages: list[list[int]] = []
    previous = path.steps[0]
    for index in path.narrow:
        if index == path.steps[0] or not graph.is_map(index):
            continue
        within = [graph.steps[step] for step in path.steps if previous < step <= index]
        if any(map(_is_convolution, within)):
            stages.append([])
        previous = index
        if stages and graph.steps[index].is_layer and max(graph.steps[index].shape[2:]) > 1:
            stages[-1].append(index)
    return stages


def _feature_map(graph: Graph, stage: list[int]) -> int:
    """Return the step of a stage that makes its feature maps."""
    rectified = [index for index in stage if isinstance(graph.steps[index].operation, Rectifier)]
    if rectified:
        return graph.changed.get(rectified[-1], rectified[-1])
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
