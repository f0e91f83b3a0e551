"""Rectifiers written otherwise: a function of one value, put together from elementary ones.

``torch.maximum(x, zeros)``, ``torch.where(x > 0, x, 0)``, ``x * torch.sigmoid(x)`` are ReLU and
SiLU as much as the operations that are called so, and the rules must see them. Steps that come from
one map alone, value by value, are one function; where this rises like its argument and falls off
below zero, one step takes their place. What it computes is known by its values, not by how it is
written. A sigmoid is known so as well, by which one sees that a network ends with probabilities.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from convscope.network.calls import Call, Input
from convscope.network.graph import Graph, Step
from convscope.network.ops import Generated, Rectifier, operation_for
from convscope.network.ops.base import Operation
from convscope.network.ops.pointwise import Floored

aten = torch.ops.aten

MOST = 16
"""Steps that a function may be made of."""

FAR = 50.0
POINTS = torch.cat([torch.linspace(-8, 8, 161, dtype=torch.float64), torch.tensor([-FAR, FAR])])
SIZES = torch.logspace(-9, 9, 1153, dtype=torch.float64)
EVERYWHERE = torch.cat([POINTS, -SIZES, SIZES])
"""Where a function must agree with one that is known: it may be cut off far out, or begin close to
zero, so that sizes grow by a thirtieth from one to the next."""

ELEMENTWISE = frozenset({
    "_to_copy", "where", "multiply", "divide", "subtract", "absolute", "negative", "log_sigmoid",
    "greater", "greater_equal", "less", "less_equal",
})  # fmt: skip
"""Operations that treat every value alike without saying so by torch's tag."""

KNOWN: tuple[tuple[Any, dict[str, Any]], ...] = (
    (aten.relu.default, {}), (aten.relu6.default, {}), (aten.silu.default, {}),
    (aten.hardswish.default, {}), (aten.mish.default, {}), (aten.gelu.default, {}),
    (aten.gelu.default, {"approximate": "tanh"}), (aten.elu.default, {}),
    (aten.selu.default, {}), (aten.softplus.default, {}), (aten.leaky_relu.default, {}),
    (aten.sigmoid.default, {}),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Function:
    """A function of one value that a network puts together, under the name of its last step."""

    name: str
    value: Callable[[Tensor], Tensor]

    def __call__(self, values: Tensor) -> Tensor:
        """Return it of each of *values*."""
        return self.value(values)

    def __str__(self) -> str:
        """Return the name."""
        return self.name


def with_rectifiers(graph: Graph) -> Graph:
    """Return the graph with one step in the place of each rectifier that is written otherwise."""
    steps = list(graph.steps)
    inner: dict[int, int] = {}
    for index, step in enumerate(graph.steps):
        found = None if step.made_by is None else _rectifier(graph, index)
        if found is not None:
            steps[index], parts = found
            inner |= dict.fromkeys(parts, index)
    return replace(graph, steps=tuple(steps)) if not inner else _without(graph, steps, inner)


def _rectifier(graph: Graph, index: int) -> tuple[Step, set[int]] | None:
    """Return what takes a step's place, and the steps that it is made of, if it is a rectifier."""
    step = graph.steps[index]
    if isinstance(step.operation, Rectifier) or not step.dtype.is_floating_point:
        return None
    parts, front = {index}, {index}
    while len(parts) <= MOST:
        last = max(front)
        if not _is_part(graph.steps[last], step):
            return None
        parts.add(last)
        front = front - {last} | {
            i for i in graph.steps[last].inputs if _filling(graph.steps[i]) is None
        }
        if not front:
            return None
        (root, *others) = sorted(front)
        source = graph.steps[root]
        if not others and (source.shape, source.dtype) == (step.shape, step.dtype):
            function = Function(step.call.name if step.call else "", _composed(graph, index, root))
            known = _known(function, step)
            if known is not None:
                taken = replace(step, operation=known[0], made_by=known[1], inputs=(root,))
                read = {i for part in parts for i in graph.steps[part].inputs}
                return taken, (parts | read) - {index, root}
    return None


def _is_part(step: Step, whole: Step) -> bool:
    """Return whether a step is a function of the values that it reads, one by one."""
    if step.made_by is None or step.parameters or step.shape != whole.shape:
        return False
    tags = getattr(step.call.target, "tags", ())
    alike = torch.Tag.pointwise in tags or step.call.name in ELEMENTWISE
    leaves = pytree.tree_leaves(dict(step.call.arguments))
    constants = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    return alike and all(bool((c == c.flatten()[:1]).all()) for c in constants if c.numel())


def _filling(step: Step) -> Any:
    """Return the one value that a tensor is filled with, which is made for each batch anew."""
    if not isinstance(step.operation, Generated) or step.made_by is None:
        return None
    return step.call.arguments.get("fill_value") if step.call.name == "full" else None


def _composed(graph: Graph, index: int, root: int) -> Callable[[Tensor], Tensor]:
    """Return the function that makes a step's values from those of *root*."""
    needed = [
        i for i in graph.needed_for([index]) if i > root or _filling(graph.steps[i]) is not None
    ]
    plan: list[tuple[int, tuple[int, ...], Call | Tensor]] = []
    for i in needed:
        step, filling = graph.steps[i], _filling(graph.steps[i])
        if filling is not None:
            plan.append((i, (), torch.tensor(filling, dtype=step.dtype)))
        elif step.made_by is not None:
            # A constant of one value fits any window, and, being a number of the CPU, any device.
            arguments = pytree.tree_map_only(
                Tensor, lambda c: c.flatten()[0].detach().cpu(), dict(step.call.arguments)
            )
            plan.append((i, step.inputs, replace(step.call, arguments=arguments)))

    def function(values: Tensor) -> Tensor:
        found = {root: values}
        for i, inputs, what in plan:
            found[i] = what if isinstance(what, Tensor) else what.run([found[s] for s in inputs], 1)
        return found[index]

    return function


def _known(function: Function, step: Step) -> tuple[Operation, Call] | None:
    """Return the rectifier or sigmoid that computes a function, and its call; None if none does."""
    try:
        everywhere = function(EVERYWHERE).double()  # masks have the network's dtype
    except (RuntimeError, KeyError):  # it reads more than the one map, or has no float64
        return None
    values = everywhere[: len(POINTS)]
    below = values[POINTS < 0]
    floored = below[0] != 0 and (below == below[0]).all()  # as what keeps a divisor above zero
    if floored or not values.isfinite().all():
        return None
    met = everywhere.isfinite()  # what is written out may overflow far out
    for target, options in KNOWN:
        expected = target(EVERYWHERE, **options)
        if torch.allclose(everywhere[met], expected[met], rtol=1e-12, atol=1e-14):
            schema = target._schema.arguments
            given = {a.name: a.default_value for a in schema if a.has_default_value()}
            call = Call(target, {**given, "self": Input(0), **options}, (step.shape,), step.shape)
            return operation_for(call), call
    rises, falls = float(values[-1]) / FAR, float(values[-2]) / FAR
    if not (abs(rises - 1) < 1e-3 and abs(falls) <= 0.5):
        return None
    operation = (Floored if everywhere[met].min() >= 0 else Rectifier)("rectifier")
    return operation, Call(function, {"values": Input(0)}, (step.shape,), step.shape)


def _without(graph: Graph, steps: list[Step], inner: dict[int, int]) -> Graph:
    """Return a graph of *steps* without those of *inner* that nothing reads any more."""
    outputs = {graph.output, *graph.outputs.values()}
    gone: set[int] = set()
    for index in sorted(inner, reverse=True):
        readers = {i for i, s in enumerate(steps) if index in s.inputs and i not in gone}
        if not readers and index not in outputs:
            gone.add(index)
    left = [index for index in range(len(steps)) if index not in gone]
    place = {old: new for new, old in enumerate(left)}
    for index in gone:
        taken = index
        while taken in gone:
            taken = inner[taken]
        place[index] = place[taken]
    kept = [replace(steps[old], inputs=tuple(place[i] for i in steps[old].inputs)) for old in left]
    return graph.renumbered(kept, place.__getitem__)
