"""Relevance: a graph whose operations share what comes down by what each input contributed.

Under a rule that sees values, the walks go over another graph: the same steps, in most of which an
operation stands that runs as before and reverses by the rule. A batch norm behind a convolution is
one linear layer with it, as the papers have it: the convolution shares by the merged weights, and
the batch norm hands on what it gets.

Every linear operation shares alike: an input's relevance is the input times the transpose of the
operation on ``relevance / what went out``. Layers with weights do so with their inputs and weights
changed as the rule says; sums, averages and resizing as they are. Activation functions, norms and
what has constants alone beside its input hand on all they get. A gate gives all of it to what it
lets through (Arras et al. 2017, arXiv 1706.07206, sec. 3), a max pool to its maxima, and what the
table does not know shares by its derivative.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from convscope.network.calls import Call
from convscope.network.graph import Graph, Step
from convscope.network.ops import (
    AdaptiveMaxPool,
    AveragePool,
    BatchNorm,
    Convolution,
    Generated,
    MaxPool,
    Operation,
    Rectifier,
)
from convscope.network.ops.arrangement import Arrangement, Concatenation
from convscope.network.ops.base import LinearOperation, with_arguments
from convscope.network.ops.pointwise import (
    Add,
    FullyConnected,
    GatedHalves,
    Norm,
    Pointwise,
    scale_of,
)
from convscope.network.ops.pooling import Interpolation, Mean, Resize
from convscope.network.ops.sharing import (
    SMALLEST,
    HandedOn,
    HandedToHalf,
    Secant,
    SecantChoice,
    SecantProduct,
    SecantQuotient,
    Shared,
    weights_of,
)
from convscope.network.rules import EPSILON, Rule, Sharing, negative
from convscope.network.visit import walk_up

aten = torch.ops.aten
GATES = {"sigmoid", "hardsigmoid", "tanh", "softmax", "_softmax"}
SPREADING = {"expand", "repeat"}
CHOICES = SMALLEST | {
    "amax", "max", "maximum", "max_pool1d", "max_pool2d", "max_pool2d_with_indices", "max_pool3d",
    "max_pool3d_with_indices", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
}  # fmt: skip
"""Operations that give some of their inputs as they are, the largest or the smallest."""

PRODUCTS = {"mul", "mm", "bmm", "matmul", "addmm", "baddbmm", "linear", "conv2d", "convolution"}
"""Sums of products of two values each, where both may come from the image."""

NEVER_LOWER = (MaxPool, AdaptiveMaxPool, AveragePool, Mean, Resize, Arrangement, Concatenation)
"""Operations that make nothing negative of what is not."""


def sharing_graph(graph: Graph, rule: Rule, keep: Collection[int]) -> Graph:
    """Return *graph* with operations that reverse as *rule* says; itself where they do already.

    Args:
        graph: the network.
        rule: the rule.
        keep: the steps whose outputs are looked at, which are not merged with what follows.
    """
    if rule.secant:
        return _secant_graph(graph, rule)
    if rule.composite is None:
        return graph
    norms = {
        step.inputs[0]: index
        for index, step in enumerate(graph.steps)
        if isinstance(step.operation, BatchNorm) and _merges(graph, step.inputs[0], keep)
    }
    steps, above_zero, first = list(graph.steps), _above_zero(graph), _first(graph)
    for index, step in enumerate(graph.steps):
        entry: Any = None
        if has_weights(step):
            convolves, own = isinstance(step.operation, Convolution), rule.composite.convolution
            sharing = own if convolves else rule.composite.linear
            if index in first and rule.composite.first and _fits(graph, step, rule):
                sharing = rule.composite.first
            if above_zero[step.inputs[0]]:
                sharing = _without_negative(sharing)
            norm = graph.steps[norms[index]].call if index in norms else None
            entry = Shared(step.operation, sharing, _merged(step, norm), norm, rule.bounds)
        elif isinstance(step.operation, GatedHalves):
            entry = HandedToHalf(step.operation, (0,))
        elif takers := _takers(graph, step):
            entry = HandedOn(step.operation, takers)
        elif _shares_plainly(step):
            entry = Shared(step.operation, EPSILON, step.call)
        if entry is not None:
            steps[index] = replace(step, operation=cast(Operation, entry))
    found = replace(graph, steps=tuple(steps))
    found.__dict__.update(axes=graph.axes, readers=graph.readers)  # which took some time to find
    return found


def _secant_graph(graph: Graph, rule: Rule) -> Graph:
    """Return *graph* with slopes from the rule's reference where derivatives change on the way."""
    steps, maps = list(graph.steps), dict[int, Tensor]()
    assert rule.reference is not None
    walk_up(
        {0: rule.reference}, range(1, len(steps)), lambda index: steps[index].inputs,
        lambda index, inputs: steps[index].call.run(inputs, 1), maps.__setitem__,
    )  # fmt: skip
    maps[0] = rule.reference
    for index, step in enumerate(graph.steps):
        kind = _secant(graph, step)
        if kind is not None:
            entry = kind(step.operation, [maps[source] for source in step.inputs], maps[index])
            steps[index] = replace(step, operation=cast(Operation, entry))
    return replace(graph, steps=tuple(steps))


def _secant(graph: Graph, step: Step) -> type[Secant] | None:
    """Return what stands for an operation under a secant rule; None for the operation itself."""
    dtypes = {step.dtype, *(graph.steps[source].dtype for source in step.inputs)}
    known = isinstance(step.operation, LinearOperation | Convolution | BatchNorm | Add)
    if known or step.made_by is None or not all(dtype.is_floating_point for dtype in dtypes):
        return None
    if step.call.name in CHOICES:
        return SecantChoice
    if len(step.inputs) == 1 and step.call.input_shapes == (step.shape,):
        tags = getattr(step.call.target, "tags", ())
        if isinstance(step.operation, Pointwise) or torch.Tag.pointwise in tags:
            return Secant
    if step.call.target is aten.div.Tensor:
        return SecantQuotient if len(step.inputs) == 2 else None
    pairs = step.call.name == "einsum" and len(step.call.arguments["tensors"]) == 2
    return SecantProduct if pairs or step.call.name in PRODUCTS else None


def falls_short(graph: Graph, step: Step, rule: Rule) -> bool:
    """Return whether a secant rule has no more than the derivative of what is not linear."""
    assert rule.reference is not None
    known = isinstance(step.operation, LinearOperation | Convolution | BatchNorm | Add | Generated)
    if known or not step.dtype.is_floating_point or _secant(graph, step):
        return False
    return not _is_linear(graph, step, rule.reference.device)


def _is_linear(graph: Graph, step: Step, device: torch.device) -> bool:
    """Return whether an operation is linear but for a constant, by its values at three points."""
    dtypes = [graph.steps[source].dtype for source in step.inputs]
    if not all(dtype.is_floating_point or dtype.is_complex for dtype in dtypes):
        return False  # what is chosen by whole numbers is chosen elsewhere for the reference
    generator = torch.Generator().manual_seed(0)
    one, other = (
        [
            torch.randn(shape, dtype=dtype, generator=generator).to(device)
            for shape, dtype in zip(step.call.input_shapes, dtypes, strict=True)
        ]
        for _ in range(2)
    )
    middle = [(a + b) / 2 for a, b in zip(one, other, strict=True)]
    try:
        first, last, found = (step.call.run(inputs, 1) for inputs in (one, other, middle))
    except RuntimeError:
        return False
    rounding = torch.finfo(found.dtype).eps ** 0.5
    return torch.allclose(found, (first + last) / 2, rounding, rounding)


def has_weights(step: Step) -> bool:
    """Return whether a step is a convolution or a linear layer."""
    if isinstance(step.operation, Convolution | FullyConnected):
        return True
    return step.operation.tabled and step.made_by is not None and step.call.name == "addmm"


def _merges(graph: Graph, index: int, keep: Collection[int]) -> bool:
    """Return whether a step is a layer with weights that nothing but its batch norm looks at."""
    step = graph.steps[index]
    grouped = isinstance(step.operation, Convolution) and step.operation.transposed
    if index in keep or not has_weights(step) or len(graph.readers[index]) != 1:
        return False
    return not grouped or step.call.arguments["groups"] == 1


def _merged(step: Step, norm: Call | None) -> Call:
    """Return a layer with the batch norm behind it in its weights."""
    if norm is None:
        return step.call
    given = norm.arguments
    scale = scale_of(norm)
    shift = -given["running_mean"] * scale
    shift = shift if given["bias"] is None else shift + given["bias"]
    weights, bias = weights_of(step.call)
    values, own = step.call.arguments[weights], step.call.arguments[bias]
    second = weights == "mat2" or getattr(step.operation, "transposed", False)
    lies = (1, -1, *(1,) * (values.dim() - 2)) if second else (-1, *(1,) * (values.dim() - 1))
    shift = shift if own is None else own * scale + shift
    return with_arguments(step.call, **{weights: values * scale.view(lies), bias: shift})


def _first(graph: Graph) -> set[int]:
    """Return the layers with weights that no other such layer comes before."""
    found, behind = set(), [False] * len(graph.steps)
    for index, step in enumerate(graph.steps):
        behind[index] = any(behind[source] for source in step.inputs)
        if has_weights(step):
            found |= set() if behind[index] else {index}
            behind[index] = True
    return found


def _fits(graph: Graph, step: Step, rule: Rule) -> bool:
    """Return whether a first layer reads the images as they are, if a rule goes by their bounds."""
    assert rule.composite is not None
    if not any(term.bound for share in rule.composite.first or () for term in share.terms):
        return True
    source = step.inputs[0]
    while source and not graph.steps[source].is_layer:
        source = graph.steps[source].inputs[0]
    channels = [shape[1] for shape in (step.call.input_shapes[0], graph.steps[0].shape)]
    return not source and len(step.call.input_shapes[0]) == 4 and channels[0] == channels[1]


def _above_zero(graph: Graph) -> list[bool]:
    """Return for each step whether none of its values can be negative."""
    found: list[bool] = []
    for step in graph.steps:
        operation, sources = step.operation, [found[source] for source in step.inputs]
        if isinstance(operation, Rectifier):
            found.append(operation.never_negative(step.call))
        elif isinstance(operation, Add):
            added = operation.sign * step.call.arguments["alpha"] > 0
            found.append(added and len(sources) == 2 and all(sources))
        else:
            known = isinstance(operation, NEVER_LOWER) and not (
                isinstance(operation, Interpolation) and operation.before < 0
            )
            found.append(known and bool(sources) and all(sources))
    return found


def _without_negative(sharing: Sharing) -> Sharing:
    """Return a sharing without the terms of negative inputs, of which there are none."""
    return tuple(
        replace(share, terms=tuple(term for term in share.terms if term.inputs is not negative))
        for share in sharing
    )


def _takers(graph: Graph, step: Step) -> tuple[int, ...]:
    """Return which inputs take all of a step's relevance; none where it is shared, or goes on."""
    operation = step.operation
    if isinstance(operation, Norm | Rectifier | BatchNorm):
        return (0,)
    if not isinstance(operation, Pointwise):
        return ()
    if len(step.inputs) == 1:
        return (0,)
    if isinstance(operation, Add):
        return ()
    if step.call.target is aten.div.Tensor:
        return (step.call.arguments["self"].position,)
    every = tuple(range(len(step.inputs)))
    let_through = tuple(
        place
        for place in every
        if step.call.input_shapes[place] == step.shape and not _opens(graph, step.inputs[place])
    )
    return let_through or every


def _opens(graph: Graph, index: int) -> bool:
    """Return whether a step's values say how far a gate is open."""
    while index:
        step = graph.steps[index]
        if step.is_layer and step.call.name not in SPREADING:
            return step.call.name in GATES
        index = step.inputs[0] if step.inputs else 0
    return False


def _shares_plainly(step: Step) -> bool:
    """Return whether a step's inputs have shares that no weights decide on."""
    outside = type(step.operation) is Operation and step.dtype.is_floating_point
    return step.made_by is not None and (
        outside or isinstance(step.operation, Add | AveragePool | Mean | Resize)
    )
