"""Operations that treat every position alike: rectifiers, norms, sums, products."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from convscope.network.calls import Call, Input
from convscope.network.ops.base import (
    Axes,
    LinearOperation,
    Operation,
    Saved,
    Signals,
    Window,
    varies,
    vector_jacobian_product,
    without,
)
from convscope.network.rules import Rule
from convscope.network.windows.relations import Relation, Sliding, Whole


class Pointwise(Operation):
    """An operation that treats every position of its inputs alike, with broadcasting."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    tabled = True

    def rows(self, call: Call, position: int, dimension: int) -> Relation:
        """Return the same row, or the only row of an input that is broadcast."""
        source, target = call.input_shapes[position], call.shape
        # Counted from the end, as broadcasting aligns shapes.
        same = source[dimension - len(target)] == target[dimension]
        return Sliding() if same else Whole()

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the axes of the input that has the output's shape."""
        for axes, shape in zip(inputs, call.input_shapes, strict=True):
            if axes is not None and shape == call.shape:
                return axes
        return None

    def has_windows(self, call: Call, axes: Axes) -> bool:
        """Return whether every input has the output's rows and columns, or a single one of each."""
        rank = len(call.shape)
        others = [shape for shape in call.input_shapes if shape != call.shape]
        if any(len(shape) != rank or varies(shape, axes, rank) for shape in others):
            return False
        return not _constants_vary(call, axes)

    def on_windows(self, call: Call, axes: Axes, size: tuple[int, int]) -> Call | None:
        """Return the call as it is, unless a constant differs from one position to another."""
        return None if _constants_vary(call, axes) else call


class Scale(LinearOperation, Pointwise):
    """A product with constants, a change of sign, a difference from a constant."""


class Rectifier(Pointwise):
    """ReLU and the activation functions that took its place; here the rules differ."""

    keeps_channels = True

    published = True
    outputs_saved = 1

    def has_windows(self, call: Call, axes: Axes) -> bool:
        """Return True: what was remembered is a number a position."""
        return True

    def remember(
        self, call: Call, inputs: Sequence[Tensor], batch: int, rule: Rule
    ) -> tuple[Tensor, Saved]:
        """Run *call* and keep its derivative, or its output, if *rule* asks for it."""
        output = call.run(inputs, batch)
        if not rule.sees:
            return output, ()
        seen = output if rule.sees == "output" else self.derivative(call, inputs[0], output)
        return output, (seen,)

    def on_windows(self, call: Call, axes: Axes, size: tuple[int, int]) -> Call | None:
        """Return the call as it is, unless slopes that were learned differ along *axes*."""
        return channels_apart(call, axes)

    def derivative(self, call: Call, value: Tensor, output: Tensor) -> Tensor:
        """Return d output / d value at each position."""
        (derivative,) = vector_jacobian_product(call, torch.ones_like(output), (value,))
        return torch.zeros_like(output) if derivative is None else derivative  # of whole numbers

    def never_negative(self, call: Call) -> bool:
        """Return whether no value that it gives is below zero, as behind a ReLU."""
        return False

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Let *rule* decide."""
        return (rule.rectifier(signal, saved[0] if saved else None, call.shape),)

    def reverse_window(
        self, call: Call, window: Window, signal: Tensor, saved: Saved, rule: Rule
    ) -> Signals:
        """Let *rule* decide, which may go by the whole map's shape."""
        return self.reverse(call, signal, saved, rule)


class ReLU(Rectifier):
    """The rectifier itself: its derivative is one bit a position."""

    def derivative(self, call: Call, value: Tensor, output: Tensor) -> Tensor:
        """Return whether the unit is active."""
        return output > 0

    def never_negative(self, call: Call) -> bool:
        """Return True."""
        return True


class Floored(Rectifier):
    """A rectifier with a lowest value, which its arguments say or is zero: ReLU6, a threshold."""

    def never_negative(self, call: Call) -> bool:
        """Return whether neither its lowest value nor where it begins is below zero."""
        given = [call.arguments.get(name) for name in ("min", "min_val", "threshold", "value")]
        return all(value >= 0 for value in given if value is not None)


class BatchNorm(Pointwise):
    """Batch norm in evaluation mode: a scale and a shift, of which only the scale reverses."""

    def has_windows(self, call: Call, axes: Axes) -> bool:
        """Return whether its channels are apart from the image's rows and columns."""
        return channels_apart(call, axes) is not None

    def on_windows(self, call: Call, axes: Axes, size: tuple[int, int]) -> Call | None:
        """Return the call as it is, unless its channels are the image's rows or columns."""
        return channels_apart(call, axes)

    keeps_channels = True

    published = True
    remembers_inputs = False

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return *signal* times the scale of each channel."""
        return (signal.mul_(scale_of(call).view(1, -1, *(1,) * (signal.dim() - 2))),)


def scale_of(norm: Call) -> Tensor:
    """Return what a batch norm multiplies each channel by."""
    scale = torch.rsqrt(norm.arguments["running_var"] + norm.arguments["eps"])
    weight = norm.arguments["weight"]
    return scale if weight is None else scale * weight


class Add(Pointwise):
    """Addition and subtraction, with broadcasting and ``alpha``."""

    published = True
    remembers_inputs = False

    def __init__(self, kind: str, sign: int) -> None:
        super().__init__(kind)
        self.sign = sign

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return *signal* for each summand, summed where it was broadcast."""
        batch = signal.shape[0] // call.shape[0]
        factors = {"self": 1, "other": self.sign * call.arguments["alpha"]}
        signals: list[Tensor | None] = [None] * len(call.input_shapes)
        for name, factor in factors.items():
            summand = call.arguments[name]
            if not isinstance(summand, Input):
                continue
            first, *rest = call.input_shapes[summand.position]
            part = signal.sum_to_size(batch * first, *rest)
            # A sum that broadcasts nothing hands on the signal itself, and each receiver may
            # overwrite its own.
            part = part.clone() if factor == 1 else part * factor
            earlier = signals[summand.position]  # x + x is one input twice
            signals[summand.position] = part if earlier is None else earlier + part
        return tuple(signals)


class FullyConnected(LinearOperation):
    """A linear layer over the last dimension."""

    def __init__(self) -> None:
        super().__init__("linear")

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return *signal* times the transposed weights."""
        return (signal @ call.arguments["weight"].conj(),)

    def rows(self, call: Call, position: int, dimension: int) -> Relation:
        """Return the same row; :meth:`axes` says whether there are rows left."""
        return Sliding()

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the input's axes unless the layer mixes one of them."""
        return without(inputs[0], [len(call.input_shapes[0]) - 1])

    def on_windows(self, call: Call, axes: Axes, size: tuple[int, int]) -> Call | None:
        """Return the call as it is: it treats every position alike."""
        return call

    def multiply_adds(self, call: Call) -> int:
        """Return one for each weight and position."""
        return math.prod(call.shape) * int(call.arguments["weight"].shape[1])


class GatedHalves(Operation):
    """A gated linear unit: one half of some dimension times the sigmoid of the other."""

    kind = "gated product"
    tabled = True

    def rows(self, call: Call, position: int, dimension: int) -> Relation:
        """Return the same row; :meth:`axes` says whether there are rows left."""
        return Sliding()

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the input's axes unless one of them is halved."""
        return without(inputs[0], [call.arguments["dim"] % len(call.shape)])

    def on_windows(self, call: Call, axes: Axes, size: tuple[int, int]) -> Call | None:
        """Return the call as it is: it treats every position alike."""
        return call


class Norm(Operation):
    """Layer, group and instance norm, by the mean and the deviation over some dimensions.

    Args:
        kind: what it is called.
        over: returns the dimensions of a call over which these are taken.
    """

    tabled = True
    takes_statistics = True

    def __init__(self, kind: str, over: Callable[[Call], Sequence[int]]) -> None:
        self.kind, self.over = kind, over

    def rows(self, call: Call, position: int, dimension: int) -> Relation:
        """Return the same row, or all of them where the statistics are taken over them."""
        return Whole() if dimension in self.over(call) else Sliding()

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the input's axes."""
        return inputs[0]

    def on_windows(self, call: Call, axes: Axes, size: tuple[int, int]) -> Call | None:
        """Return the call as it is, unless rows or columns are averaged, or a channel's."""
        return None if without(axes, self.over(call)) is None else call


def last_dimensions(call: Call) -> Sequence[int]:
    """Return the dimensions that a layer norm is over."""
    rank = len(call.shape)
    return range(rank - len(call.arguments["normalized_shape"]), rank)


def all_but_first(call: Call) -> Sequence[int]:
    """Return the dimensions that a group norm is over, the channels in groups."""
    return range(1, len(call.shape))


def all_places(call: Call) -> Sequence[int]:
    """Return the dimensions that an instance norm is over; each channel has its own constants."""
    return range(1, len(call.shape)) if call.arguments["use_input_stats"] else (1,)


def channels_apart(call: Call, axes: Axes) -> Call | None:
    """Return *call*, unless it has constants, one a channel, and these are rows or columns."""
    assert axes is not None
    constants = [value for value in call.arguments.values() if isinstance(value, Tensor)]
    return None if 1 in axes and any(value.numel() > 1 for value in constants) else call


def _constants_vary(call: Call, axes: Axes) -> bool:
    """Return whether a constant that is broadcast to the output varies along *axes*."""
    values = pytree.tree_leaves(dict(call.arguments))
    constants = [value for value in values if isinstance(value, Tensor)]
    return any(varies(value.shape, axes, len(call.shape)) for value in constants)
