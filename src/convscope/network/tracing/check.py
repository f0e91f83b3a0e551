"""Whether a graph answers as the module does that it was traced from."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from convscope.errors import TraceError
from convscope.network.graph import Graph
from convscope.network.tracing.export import TRACING, evaluation_mode, quiet, undisturbed
from convscope.network.tracing.inputs import Inputs
from convscope.network.tracing.randomness import KEPT, RandomUse
from convscope.network.tracing.trace import dotted
from convscope.network.walk import ascend

NUDGED = 4
"""Roundings by which an image is changed to see how much of a difference is rounding."""

PLAIN = {"torch", "torchvision", "convscope"}
"""Whose modules draw through torch alone, which a program tells, and count nothing."""

LEEWAY = 10
"""Graph and module may differ by so many times what a nudge changes."""


def check_answers(module: nn.Module, inputs: Inputs, graph: Graph, name: str) -> list[RandomUse]:
    """Ask the graph and the module for one image of noise.

    What a module counts, or draws from a generator of its own, leaves no trace in a program, but
    the value that it had: the next call differs, and that is returned. It costs two passes, which
    plain modules are spared.

    Raises:
        TraceError: if the module answers alike, and the graph otherwise.
    """
    if {type(part).__module__.partition(".")[0] for part in module.modules()} <= PLAIN:
        return []
    chance = torch.Generator().manual_seed(0)
    image = torch.rand(inputs.image.shape, generator=chance, device="cpu").to(inputs.image)
    # Of the coarsest values on the way: parts of a network in float64 may compute in float32.
    floats = {step.dtype for step in graph.steps if step.dtype.is_floating_point}
    eps = max(torch.finfo(dtype).eps for dtype in floats)

    def rounding(_: str, one: Tensor) -> float:
        return float(one.abs().max()) * math.sqrt(eps)

    def answers(image: Tensor) -> dict[str, Tensor]:
        own = inputs.with_image(image.clone())  # over which a module may write
        return _by_path(module(*own.args, **own.kwargs))

    with (
        TRACING,
        _buffers_kept(module),
        evaluation_mode(module),
        quiet(),
        undisturbed(),
        torch.no_grad(),
    ):
        try:
            first = answers(image)
        except Exception:  # on values, unlike shapes, it may fail as it likes
            return []
        maps = ascend(graph, image, set(graph.outputs.values())).maps
        found = {path: maps[step] for path, step in graph.outputs.items()}
        if not _differ(found, first, rounding):
            return []
        if _differ(answers(image), first, rounding):
            return [RandomUse(KEPT, name, "")]
        nudged = answers(image * (1 + NUDGED * eps))
        if _differ(found, first, lambda path, one: LEEWAY * _distance(nudged[path], one)):
            raise TraceError(
                f"{name} answers otherwise than what was traced of it; please report it"
            )
        return []


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """Put back what is written into a module's buffers: it is left as it was."""
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in module.named_buffers():
                if not torch.equal(buffer, before[name]):
                    buffer.copy_(before[name])


def _by_path(outputs: Any) -> dict[str, Tensor]:
    """Return the tensors of real numbers that a module returns, by where."""
    leaves, _ = pytree.tree_flatten_with_path(outputs)
    return {
        dotted(path): leaf
        for path, leaf in leaves
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.numel()
    }


def _differ(
    found: dict[str, Tensor],
    wanted: dict[str, Tensor],
    allowed: Callable[[str, Tensor], float],
) -> bool:
    """Return whether any of the outputs differs by more than is allowed."""
    return any(
        found[path].numel() != one.numel()  # a single number has no axis in a module's answer
        or _distance(found[path].reshape(one.shape), one) > allowed(path, one)
        for path, one in wanted.items()
        if path in found
    )


def _distance(one: Tensor, other: Tensor) -> float:
    """Return the largest difference; values that are no numbers count where the other's are."""
    both = one.double().isfinite() & other.double().isfinite()
    if not torch.equal(one.isfinite(), other.isfinite()):
        return float("inf")
    return float((one.double() - other.double())[both].abs().amax()) if both.any() else 0.0
