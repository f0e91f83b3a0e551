"""The kernels of a convolution as rows, and what the batch norm behind it makes of them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convscope.methods.scanning.strongest import Doubles
from convscope.methods.scanning.units import ScannedLayer
from convscope.network import Network
from convscope.network.calls import Call
from convscope.network.ops import BatchNorm


@dataclass(frozen=True, eq=False)
class Kernels:
    """The kernels of a convolution of C channels.

    Attributes:
        rows: [C, n], float64: every channel's weights.
        scale: [C]: what the batch norm between it and its rectifier multiplies by; 1 without one.
        offset: [C]: what is added to normalised maps, or the convolution's own bias; 0 without.
        spread: [C]: the standard deviation that batch norm gives the maps; NaN without one.
    """

    rows: Doubles
    scale: Doubles
    offset: Doubles
    spread: Doubles

    @property
    def strength(self) -> Doubles:
        """[C], the length of every channel's kernel, batch norm's scale included."""
        found: Doubles = np.linalg.norm(self.rows, axis=1) * np.abs(self.scale)
        return found


def kernels_of(net: Network, layer: ScannedLayer) -> Kernels:
    """Return the kernels of a scanned layer."""
    call = net.graph.steps[layer.convolution].call
    channels = call.shape[1]
    rows = channel_kernels(net, layer).flatten(1).numpy()
    norm = _norm_behind(net, layer)
    if norm is None:
        offset = _numbers(call.arguments.get("bias"), 0.0, channels)
        return Kernels(rows, np.ones(channels), offset, np.full(channels, np.nan))
    arguments = norm.arguments
    weight = _numbers(arguments["weight"], 1.0, channels)
    variance = _numbers(arguments["running_var"], 1.0, channels)
    return Kernels(
        rows,
        weight / np.sqrt(variance + arguments["eps"]),
        _numbers(arguments["bias"], 0.0, channels),
        np.abs(weight),
    )


def weight_tensor(net: Network, layer: ScannedLayer) -> Tensor:
    """Return a convolution's weights as they are, float64 on the CPU."""
    weight: Tensor = net.graph.steps[layer.convolution].call.arguments["weight"]
    return weight.detach().to("cpu", torch.float64)


def cosines(rows: Doubles) -> Doubles:
    """Return the cosine of the angle between any two rows; 0 with a row of zeros.

    >>> cosines(np.array([[3.0, 0.0], [1.0, 0.0], [0.0, 0.0]])).round(2).tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    found: Doubles = unit @ unit.T
    return found


def channel_kernels(net: Network, layer: ScannedLayer) -> Tensor:
    """Return the weights of a scanned layer, [C, inputs, height, width], float64 on the CPU.

    Of one in groups the inputs are those of a channel's own group.
    """
    call = net.graph.steps[layer.convolution].call
    weight = weight_tensor(net, layer)
    if len(weight) != call.shape[1]:  # of a transposed convolution: [inputs, outputs / groups, ...]
        groups = call.arguments["groups"]
        weight = weight.view(groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)
    return weight


def _norm_behind(net: Network, layer: ScannedLayer) -> Call | None:
    """Return the batch norm between a convolution and where its units are read."""
    graph = net.graph
    index = layer.step
    while index != layer.convolution:
        if isinstance(graph.steps[index].operation, BatchNorm):
            return graph.steps[index].call
        index = graph.steps[index].inputs[0]
    return None


def _numbers(values: Tensor | None, default: float, count: int) -> Doubles:
    if values is None:
        return np.full(count, default)
    found: Doubles = values.detach().to("cpu", torch.float64).numpy()
    return found
