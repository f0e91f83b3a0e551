"""The constants of a graph: which of them were learned, and the same graph with others."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from convscope.errors import TraceError
from convscope.network.calls import Call
from convscope.network.graph import Graph, Step

if TYPE_CHECKING:
    from convscope.network.network import Network

STATISTICS = ("running_mean", "running_var")
"""Arguments of batch norm that were counted, not learned."""


def learned_constants(step: Step) -> dict[str, Tensor]:
    """Return the learned tensors of a step by the names of its operation's arguments.

    A weight that is computed from others, as with weight norm, counts as the step reads it. The
    running statistics of batch norm were not learned, and do not count.
    """
    if step.made_by is None or not step.parameters:
        return {}
    return {
        name: value
        for name, value in step.call.arguments.items()
        if isinstance(value, Tensor) and value.is_floating_point() and name not in STATISTICS
    }


def with_constants(graph: Graph, replaced: Mapping[Tensor, Tensor]) -> Graph:
    """Return a graph that computes with other constants; *graph* stays as it is.

    Only the list of steps is new: what is not replaced is shared. A tensor that several steps read
    is replaced in all of them.

    Args:
        graph: the graph.
        replaced: tensor of the graph -> what takes its place, of the same shape.

    Raises:
        TraceError: if a replacement has another shape, or a tensor is none of the graph's.
    """
    for old, new in replaced.items():
        if old.shape != new.shape:
            raise TraceError(
                f"a constant of shape {list(old.shape)} cannot become one of shape "
                f"{list(new.shape)}"
            )
    met: set[int] = set()
    steps = tuple(_step_with(step, replaced, met) for step in graph.steps)
    if len(met) < len(replaced):
        raise TraceError(
            f"{len(replaced) - len(met)} of the tensors to replace are not the graph's"
        )
    return replace(graph, steps=steps)


def replaced_constants(graph: Graph, original: Graph) -> Iterator[tuple[str, Tensor]]:
    """Yield what :func:`with_constants` put into a graph in the place of other values.

    Args:
        graph: the graph.
        original: the graph that it was made of.

    Yields:
        the constant's place, which is the same in any graph made of *original*, and its value.
    """
    for index, steps in enumerate(zip(graph.steps, original.steps, strict=True)):
        new, old = (_held(step) for step in steps)
        for place, (value, before) in enumerate(zip(new, old, strict=True)):
            if value is before or not isinstance(value, Tensor):
                continue
            if not torch.equal(value, before):
                yield f"{index}/{place}", value


def _held(step: Step) -> list[Any]:
    """Return all that a step's arguments hold, in a fixed order."""
    if step.made_by is None:
        return []
    return pytree.tree_leaves(dict(step.call.arguments))


def _step_with(step: Step, replaced: Mapping[Tensor, Tensor], met: set[int]) -> Step:
    """Return *step* with other constants, and add the ids of those it read to *met*."""
    if step.made_by is None:
        return step

    def other(value: object) -> object:
        if not isinstance(value, Tensor) or value not in replaced:
            return value
        met.add(id(value))
        return replaced[value].to(value)

    if not any(isinstance(value, Tensor) and value in replaced for value in _held(step)):
        return step
    arguments = pytree.tree_map(other, dict(step.call.arguments))
    call: Call = replace(step.call, arguments=arguments)
    return replace(step, made_by=call)


def weights_hash(net: "Network") -> str:
    """Return a text that differs for other weights."""
    digest = hashlib.sha256()
    state: Any = net.module.state_dict  # a program's is a dictionary, a module's a method
    own = sorted((state() if callable(state) else state).items())
    for name, tensor in (*own, *replaced_constants(net.graph, net.traced)):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
