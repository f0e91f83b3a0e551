"""Channels of a layer switched off or scaled: by how much, and the graph in which they are."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from convscope.network.calls import Call, Input
from convscope.network.constants import with_constants
from convscope.network.graph import Graph
from convscope.network.ops import operation_for

LISTED = 8
"""Channels that are named one by one where it is said what was done to them."""


def factors_of(
    count: int, off: Iterable[int], scale: Mapping[int, float], only: Iterable[int] | None
) -> Tensor:
    """Return what each of *count* channels is multiplied by, float64.

    Args:
        count: how many channels there are.
        off: those to switch off.
        scale: channel -> its factor.
        only: those to keep, where all others are off; None for all.

    >>> factors_of(4, [1], {2: 0.5}, None).tolist(), factors_of(3, (), {}, [2]).tolist()
    ([1.0, 0.0, 0.5, 1.0], [0.0, 0.0, 1.0])
    """
    kept = range(count) if only is None else {*only}
    found = [float(channel in kept) * scale.get(channel, 1.0) for channel in range(count)]
    for channel in off:
        found[channel] = 0.0
    return torch.tensor(found, dtype=torch.float64)


def told(layer: str, factors: Tensor) -> str:
    """Return what a picture must say of the channels of a layer that are off or scaled.

    >>> told("conv1", torch.tensor([1.0, 0.0, 0.5, 1.0]))
    'conv1: channel 1 off, 2 times 0.5'
    >>> told("conv1", torch.arange(100.0).clamp(max=1).roll(3))
    'conv1: channel 3 off'
    >>> told("conv1", torch.eye(100)[3])
    'conv1: 99 of 100 channels off'
    """
    off = (factors == 0).nonzero().flatten().tolist()
    words = [f"channel{'s' * (len(off) > 1)} {', '.join(map(str, off))} off"] if off else []
    if len(off) > LISTED:
        words = [f"{len(off)} of {len(factors)} channels off"]
    scaled = [c for c in range(len(factors)) if factors[c] not in (0, 1)]
    words += [f"{c} times {float(factors[c]):g}" for c in scaled[:LISTED]]
    words += [f"{len(scaled) - LISTED} more scaled"] if len(scaled) > LISTED else []
    return f"{layer}: {', '.join(words) or 'all channels as they are'}"


def along_channels(graph: Graph, step: int, factors: Tensor) -> tuple[int, int, Tensor]:
    """Return the step that makes a layer's maps, which dimension of its output the channels are.

    And *factors* shaped to multiply that output.

    Args:
        graph: the network.
        step: the layer, as :meth:`.Network.step` finds it.
        factors: [C].
    """
    made = {shown: own for own, shown in graph.shown.items()}.get(step, step)
    shape, axes = graph.steps[made].shape, graph.axes[made]
    dimension = 1 if made == step or axes is None else ({1, 2, 3} - {*axes}).pop()
    lies = [-1 if d == dimension else 1 for d in range(len(shape))]
    return made, dimension, factors.to(graph.steps[made].dtype).view(lies)


def with_factors(graph: Graph, step: int, factors: Tensor) -> Graph:
    """Return a graph in which the channels of a step are multiplied by *factors*.

    All that read the step, and what the network calls it, go by the product.

    Args:
        graph: the network.
        step: the step that makes the layer's maps.
        factors: shaped to multiply its output; see :func:`along_channels`.
    """
    if step in graph.changed.values():
        before = graph.steps[step].call.arguments["other"]
        return with_constants(graph, {before: before * factors})

    def made(index: int) -> int:
        return index + (index > step)

    def read(index: int) -> int:
        return index + (index >= step)

    own = graph.steps[step]
    call = Call(
        torch.ops.aten.mul.Tensor, {"self": Input(0), "other": factors}, (own.shape,), own.shape
    )
    steps = [replace(one, inputs=tuple(map(read, one.inputs))) for one in graph.steps]
    product = replace(own, made_by=call, operation=operation_for(call), inputs=(step,))
    steps.insert(step + 1, replace(product, parameters=()))
    return replace(
        graph.renumbered(steps, read),
        shown={read(index): made(shown) for index, shown in graph.shown.items()},
        changed={step: step + 1} | {made(i): made(j) for i, j in graph.changed.items()},
    )
