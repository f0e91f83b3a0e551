"""Which units a scan looks at: those of every convolution, behind its rectifier."""

from dataclasses import dataclass

from convscope.errors import UnitError
from convscope.network import Network
from convscope.network.graph import Graph
from convscope.network.ops import BatchNorm, Convolution, MaxPool, Rectifier


@dataclass(frozen=True)
class ScannedLayer:
    """A convolutional layer, and where its units are read.

    Attributes:
        name: the convolution's name.
        read_at: the layer whose output counts as the units' activation: the rectifier that follows
            the convolution, or its batch norm; else the convolution itself.
        rectified: whether that is a rectifier.
        convolution: the step of the convolution.
        step: the step of *read_at*.
        shape: channels, height and width of the map.

    """

    name: str
    read_at: str
    rectified: bool
    convolution: int
    step: int
    shape: tuple[int, int, int]


def scanned_layers(net: Network) -> list[ScannedLayer]:
    """Return the convolutional layers of a network, in the order they run.

    A unit's activation is what the rest of the network sees of it: the map behind the rectifier
    that follows the convolution, with at most a batch norm and a max pool in between and nothing
    else that reads them. Without such a rectifier it is the map behind the batch norm that follows
    at once, or else the convolution's own.

    Raises:
        UnitError: if it has none.

    >>> import torch
    >>> from torch import nn
    >>> module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))
    >>> net = Network(module, torch.zeros(1, 3, 8, 8))
    >>> [(layer.name, layer.read_at) for layer in scanned_layers(net)]
    [('0', '1'), ('2', '2')]

    """
    graph = net.graph
    found = []
    for index in graph.needed_for([graph.output]):
        step = graph.steps[index]
        if not isinstance(step.operation, Convolution) or not graph.is_map(index):
            continue
        end = _end(graph, index)
        shape = graph.steps[end].shape
        found.append(
            ScannedLayer(
                name=step.name,
                read_at=graph.steps[end].name,
                rectified=isinstance(graph.steps[end].operation, Rectifier),
                convolution=index,
                step=end,
                shape=(shape[1], shape[2], shape[3]),
            )
        )
    if not found:
        raise UnitError(f"{net.name} has no convolutional layer to scan")
    return found


def _end(graph: Graph, index: int) -> int:
    """Return the rectifier behind a convolution; else the batch norm, or the convolution itself."""
    end, normed = index, index
    while len(graph.readers[end]) == 1 and end != graph.output:
        (end,) = graph.readers[end]
        operation = graph.steps[end].operation
        if isinstance(operation, Rectifier):
            return end
        if isinstance(operation, BatchNorm):
            follows = graph.steps[end].inputs[0] == index
            normed = end if follows else normed
        elif not isinstance(operation, MaxPool):
            break
    return normed
