"""A call: one operation of the graph with its arguments, ready to be run on any batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from convscope.network import freed

Shape = tuple[int, ...]
POOL_3D = (torch.ops.aten.max_pool3d.default, torch.ops.aten.max_pool3d_with_indices.default)
"""They refuse maps whose channels lie last, [N, C, H, W], which walks make."""


@dataclass(frozen=True)
class Input:
    """Stands in a call's arguments for its input number *position*."""

    position: int


@dataclass(frozen=True)
class BatchSize:
    """Stands in a call's arguments for a number that grows with the batch: ``x.view(n, -1)``."""

    per_image: int
    offset: int

    def at(self, batch: int) -> int:
        """Return the number for a batch of *batch* images."""
        return self.per_image * batch + self.offset


@dataclass(frozen=True, eq=False)
class Call:
    """One operation with its arguments by name.

    Attributes:
        target: the ATen operation.
        arguments: name -> tensor, number, list, :class:`Input` or :class:`BatchSize`.
        item: which output, for an operation that returns several.
        input_shapes: the shape of each input for one image; the first number is how many rows of
            the leading dimension belong to one image, nearly always 1.
        shape: the same for the output; of a single number, [1].
    """

    target: Callable[..., Any]
    arguments: Mapping[str, Any]
    input_shapes: tuple[Shape, ...]
    shape: Shape
    item: int | None = None

    def run(self, inputs: Sequence[Tensor], batch: int) -> Tensor:
        """Run the operation on *inputs*, each of leading dimension ``batch * input_shape[0]``."""
        if self.target in POOL_3D:
            inputs = [own.contiguous() for own in inputs]
        filled = {name: _filled(value, inputs, batch) for name, value in self._filled.items()}
        output = self.target(**{**self.arguments, **filled})
        result: Tensor = output if self.item is None else output[self.item]
        freed.look(result)
        return result if result.dim() else result[None]  # a single number has one row as well

    @cached_property
    def _filled(self) -> dict[str, Any]:
        """The arguments in which something stands for an input or for a size.

        Small windows are computed in less time than it takes to look through all arguments.
        """
        return {
            name: argument
            for name, argument in self.arguments.items()
            if any(isinstance(leaf, Input | BatchSize) for leaf in pytree.tree_leaves(argument))
        }

    @cached_property
    def name(self) -> str:
        """The operation's bare name, such as ``"silu"``."""
        return str(self.target).removeprefix("aten.").split(".")[0]


def _filled(argument: Any, inputs: Sequence[Tensor], batch: int) -> Any:
    """Return an argument with the inputs and the sizes that parts of it stand for.

    Within :meth:`Call.run` this would be a function that refers to itself and to *inputs*: a ring,
    that keeps every map of a walk until Python looks for rings.
    """
    if isinstance(argument, Input):
        return inputs[argument.position]
    if isinstance(argument, BatchSize):
        return argument.at(batch)
    if isinstance(argument, list | tuple):
        return [_filled(part, inputs, batch) for part in argument]
    return argument
