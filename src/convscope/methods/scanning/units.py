"""Which units a scan looks at: those of every convolution, behind its rectifier."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from convscope.errors import UnitError
from convscope.network import Network
from convscope.network.graph import Graph
from convscope.network.layers import listed
from convscope.network.ops import BatchNorm, Convolution, MaxPool, Rectifier

aten = torch.ops.aten

NORMS = frozenset({
    aten._native_batch_norm_legit.no_stats,  # by the batch's own statistics
    aten.group_norm.default, aten.native_group_norm.default, aten.instance_norm.default,
    aten.layer_norm.default, aten.native_layer_norm.default,
    aten.rms_norm.default,
})  # fmt: skip
# Layer norm wants the channels last, and some networks take them there and back for it.
PERMUTATIONS = frozenset({aten.permute.default, aten.transpose.int})


@dataclass(frozen=True)
class ScannedLayer:
    """A convolutional layer, and where its units are read.

    Attributes:
        name: the convolution's name.
        read_at: the layer whose output counts as the units' activation: the rectifier that follows
            the convolution, or its norm; else the convolution itself.
        rectified: whether that is a rectifier.
        never_negative: whether it is one, such as ReLU, that lets no value below zero through.
        convolution: the step of the convolution.
        step: the step of *read_at*.
        shape: channels, height and width of the map.
    """

    name: str
    read_at: str
    rectified: bool
    never_negative: bool
    convolution: int
    step: int
    shape: tuple[int, int, int]

    def facts(self) -> dict[str, Any]:
        """Return what is to be known of it without the network, fit for JSON."""
        own = {**asdict(self), "shape": list(self.shape)}
        return {name: own[name] for name in own if name not in ("convolution", "step")}


def scanned_layers(
    net: Network, layer: str | nn.Module | Sequence[str | nn.Module] | None = None
) -> list[ScannedLayer]:
    """Return the convolutional layers of a network, or those that are named, in the order they run.

    A unit's activation is what the rest of the network sees of it: the map behind the rectifier
    that follows the convolution, with at most a norm (batch, group, instance or layer norm) and a
    max pool in between and nothing else that reads them. Without such a rectifier it is the map
    behind the norm that follows at once, or else the convolution's own.

    Args:
        net: the network.
        layer: a name, or a module: of a convolution, or of where its units are read; several in a
            list; None for all.

    Raises:
        UnitError: if it has none, or *layer* is neither.

    >>> import torch
    >>> from torch import nn
    >>> module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))
    >>> net = Network(module, torch.zeros(1, 3, 8, 8))
    >>> [(layer.name, layer.read_at) for layer in scanned_layers(net)]
    [('0', '1'), ('2', '2')]
    >>> [found.name for found in scanned_layers(net, "1")]
    ['0']
    """
    found = _all_layers(net)
    if not found:
        raise UnitError(f"{net.name} has no convolutional layer to scan")
    if layer is None:
        return found
    names = {net.graph.steps[net.step(one)].name: one for one in listed(layer)}
    known = {name for own in found for name in (own.name, own.read_at)}
    for name, one in names.items():
        if name not in known:
            shown = one if isinstance(one, str) else name
            raise UnitError(f"{shown} of {net.name} is no convolution, nor what follows one")
    return [own for own in found if {own.name, own.read_at} & names.keys()]


def _all_layers(net: Network) -> list[ScannedLayer]:
    graph = net.graph
    whole = {changed: own for own, changed in graph.changed.items()}
    found = []
    for index in graph.needed_for([graph.output]):
        step = graph.steps[index]
        if not isinstance(step.operation, Convolution) or not graph.is_map(index):
            continue
        end = _end(graph, index)
        shape, made = graph.steps[end].shape, whole.get(end, end)
        call, operation = graph.steps[made].call, graph.steps[made].operation
        floored = isinstance(operation, Rectifier) and operation.never_negative(call)
        found.append(
            ScannedLayer(
                name=step.name,
                read_at=graph.steps[end].name,
                rectified=isinstance(operation, Rectifier),
                never_negative=floored and made == end,  # a factor may be
                convolution=index,
                step=end,
                shape=(shape[1], shape[2], shape[3]),
            )
        )
    return found


def _end(graph: Graph, index: int) -> int:
    """Return the rectifier behind a convolution; else the norm, or the convolution itself."""
    end = normed = convolved = graph.changed.get(index, index)
    while len(graph.readers[end]) == 1 and end != graph.output:
        (reader,) = graph.readers[end]
        step, end = graph.steps[reader], graph.changed.get(reader, reader)
        if isinstance(step.operation, Rectifier):
            # Behind a permutation it may not see the channels where the convolution has them.
            return end if _has_channels_of(graph, end, index) else normed
        target = None if step.made_by is None else step.call.target
        if isinstance(step.operation, BatchNorm) or target in NORMS:
            follows = step.inputs[0] == convolved and _has_channels_of(graph, end, index)
            normed = end if follows else normed
        elif not isinstance(step.operation, MaxPool) and target not in PERMUTATIONS:
            break
    return normed


def _has_channels_of(graph: Graph, index: int, convolution: int) -> bool:
    """Return whether a step gives maps of as many channels as the convolution's."""
    return graph.is_map(index) and graph.steps[index].shape[1] == graph.steps[convolution].shape[1]
