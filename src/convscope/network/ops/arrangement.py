"""Operations that move values about without computing: views, permutations, pieces, padding."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from convscope.network.calls import Call, Input, Shape
from convscope.network.ops.base import (
    Axes,
    LinearOperation,
    Saved,
    Signals,
    Window,
    resized,
    with_arguments,
    without,
)
from convscope.network.rules import Rule
from convscope.network.windows.relations import (
    Flipped,
    Padded,
    Relation,
    Resized,
    Sliding,
)

aten = torch.ops.aten


class Concatenation(LinearOperation):
    """Concatenation, whose reverse hands each part its own piece."""

    def __init__(self) -> None:
        super().__init__("concatenation")

    def rows(self, call: Call, position: int, dimension: int) -> Relation:
        """Return the same row; :meth:`axes` says whether there are rows left."""
        return Sliding()

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return the piece of *signal* that belongs to each part."""
        dimension = call.arguments["dim"]
        parts = call.arguments["tensors"]
        sizes = [
            call.input_shapes[part.position][dimension]
            if isinstance(part, Input)
            else part.shape[dimension]
            for part in parts
        ]
        signals: list[Tensor | None] = [None] * len(call.input_shapes)
        for part, piece in zip(parts, torch.split(signal, sizes, dimension), strict=True):
            if isinstance(part, Input):
                earlier = signals[part.position]
                signals[part.position] = piece if earlier is None else earlier + piece
        return tuple(signals)

    def has_windows(self, call: Call, axes: Axes) -> bool:
        """Return True: :meth:`axes` says whether there are rows left."""
        return True

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the parts' axes if they agree and are not what is joined."""
        dimension = call.arguments["dim"] % len(call.shape)
        return without(inputs[0], [dimension]) if len(set(inputs)) == 1 else None

    def on_windows(self, call: Call, axes: Axes, size: tuple[int, int]) -> Call | None:
        """Return the call as it is, unless a constant is among its parts."""
        return call if all(isinstance(p, Input) for p in call.arguments["tensors"]) else None


class Arrangement(LinearOperation):
    """An operation that moves values about; *moved* says where it takes the rows and columns."""

    is_layer = False
    moves_axes = True

    def __init__(self, kind: str, moved: Callable[[Call, Axes], Axes]) -> None:
        super().__init__(kind)
        self.moved = moved

    def rows(self, call: Call, position: int, dimension: int) -> Relation:
        """Return the same row; :meth:`axes` says whether there are rows left."""
        return Sliding()

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return where the rows and columns went."""
        return self.moved(call, inputs[0])

    def on_windows(self, call: Call, axes: Axes, size: tuple[int, int]) -> Call | None:
        """Return the call as it is: it names no rows and no columns."""
        return call


class View(Arrangement):
    """An operation that keeps the values in their order: a copy or a reshape."""

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return *signal* in the shape of the input."""
        batch = signal.shape[0] // call.shape[0]
        first, *rest = call.input_shapes[0]
        return (signal.reshape(batch * first, *rest),)

    def on_windows(self, call: Call, axes: Axes, size: tuple[int, int]) -> Call | None:
        """Return a reshape that has the window's rows and columns in its shape."""
        assert axes is not None
        # The leading size is left open, as windows come in batches of any size.
        shape = (-1, *resized(call.shape, axes, size)[1:])
        arguments = {"self": Input(0), "shape": shape}
        return replace(call, target=aten.reshape.default, arguments=arguments)


class PixelShuffle(LinearOperation):
    """Channels laid out as finer rows and columns, or these as more channels."""

    is_layer = False

    def __init__(self) -> None:
        super().__init__("pixel shuffle")

    def rows(self, call: Call, position: int, dimension: int) -> Relation:
        """Return the row that a finer one is part of, or the finer ones that one is made of."""
        source, target = call.input_shapes[position][dimension], call.shape[dimension]
        if target >= source:
            return Resized(source, target)
        return Sliding(kernel=source // target, stride=source // target)

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the input's axes where they are the last two dimensions, which it shuffles."""
        last = len(call.shape) - 2
        return inputs[0] if inputs[0] is not None and set(inputs[0]) == {last, last + 1} else None

    def on_windows(self, call: Call, axes: Axes, size: tuple[int, int]) -> Call | None:
        """Return the call where rows become channels; a finer row has no window of its own."""
        return call if call.shape[-1] < call.input_shapes[0][-1] else None


class Slice(Arrangement):
    """A slice ``start:end:step`` along one dimension."""

    moves_axes = False

    def __init__(self) -> None:
        super().__init__("slice", same)

    def rows(self, call: Call, position: int, dimension: int) -> Relation:
        """Return the row that was sliced out."""
        if dimension != call.arguments["dim"] % len(call.shape):
            return Sliding()
        start = call.arguments["start"] or 0
        if start < 0:
            start = max(start + call.input_shapes[0][dimension], 0)
        return Sliding(stride=call.arguments["step"], padding=-start)

    def reverse_window(
        self, call: Call, window: Window, signal: Tensor, saved: Saved, rule: Rule
    ) -> Signals:
        """Return the window with its rows, or columns, as far apart as they were sliced."""
        dimension, step = call.arguments["dim"] % len(call.shape), call.arguments["step"]
        if dimension not in window.corner:
            return self.reverse(window.call, signal, saved, rule)
        if step == 1:
            return (signal,)
        apart = signal.new_zeros(len(signal), *window.call.input_shapes[0][1:])
        places = [slice(None)] * signal.dim()
        places[dimension] = slice(None, None, step)
        apart[tuple(places)] = signal
        return (apart,)

    def on_windows(self, call: Call, axes: Axes, size: tuple[int, int]) -> Call | None:
        """Return the call; along rows or columns the window already begins where the slice does."""
        assert axes is not None
        if call.arguments["dim"] % len(call.shape) not in axes:
            return call
        return with_arguments(call, start=None, end=None)


class Flip(LinearOperation):
    """The values of some dimensions in the opposite order."""

    is_layer = False

    def __init__(self) -> None:
        super().__init__("flip")

    def rows(self, call: Call, position: int, dimension: int) -> Relation:
        """Return the row as far from the other end."""
        flipped = [given % len(call.shape) for given in call.arguments["dims"]]
        return Flipped(call.shape[dimension]) if dimension in flipped else Sliding()

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the input's axes."""
        return inputs[0]


class Roll(LinearOperation):
    """The values of some dimensions moved on, the last ones to the front."""

    is_layer = False

    def __init__(self) -> None:
        super().__init__("roll")

    def rows(self, call: Call, position: int, dimension: int) -> Relation:
        """Return the row from which it came."""
        rank = len(call.shape)
        moved = zip(call.arguments["dims"], call.arguments["shifts"], strict=True)
        shift = sum(by for given, by in moved if given % rank == dimension)
        # Rolling by n is circular padding by n rows on top with as many cut off below.
        return Padded(shift, "circular") if shift else Sliding()

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the input's axes, unless all values are moved as one row."""
        return inputs[0] if call.arguments["dims"] else None


class Pad(LinearOperation):
    """Padding with a constant, or with what lies at the borders; cropping where it is negative."""

    is_layer = False

    def __init__(self) -> None:
        super().__init__("padding")

    def rows(self, call: Call, position: int, dimension: int) -> Relation:
        """Return the row, shifted by the padding before it."""
        before, mode = self._around(call, dimension)[0], call.arguments.get("mode", "constant")
        return Sliding(padding=before) if mode == "constant" else Padded(before, mode)

    def _around(self, call: Call, dimension: int) -> tuple[int, int]:
        """Return the padding before and after along a dimension; it is given from the last on."""
        padding, place = call.arguments["pad"], 2 * (len(call.shape) - 1 - dimension)
        return (padding[place], padding[place + 1]) if place < len(padding) else (0, 0)

    def has_windows(self, call: Call, axes: Axes) -> bool:
        """Return whether the padding is a constant around rows and columns alone."""
        assert axes is not None
        constant = call.arguments.get("mode", "constant") == "constant"
        others = [d for d in range(len(call.shape)) if d not in axes]
        return constant and not any(any(self._around(call, d)) for d in others)

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the input's axes."""
        return inputs[0]

    def on_windows(self, call: Call, axes: Axes, size: tuple[int, int]) -> Call | None:
        """Return a padding by nothing: the window brings it along, unless it mirrors the map."""
        if call.arguments.get("mode", "constant") != "constant":
            return None
        assert axes is not None
        last = len(call.shape) - 1
        padding = list(call.arguments["pad"])
        for place in range(len(padding)):
            if last - place // 2 in axes:
                padding[place] = 0
        return with_arguments(call, pad=padding)

    def beyond(self, call: Call) -> float:
        """Return the constant that is padded with."""
        return float(call.arguments.get("value") or 0.0)


def same(call: Call, axes: Axes) -> Axes:
    """Return *axes* of an operation that leaves them in place."""
    return axes


def kept(call: Call, axes: Axes) -> Axes:
    """Return the axes of a reshape that neither cuts nor joins rows or columns."""
    if axes is None:
        return None
    rows, columns = (_reshaped(call.input_shapes[0], call.shape, axis) for axis in axes)
    return None if rows is None or columns is None or rows == columns else (rows, columns)


def _reshaped(source: Shape, target: Shape, axis: int) -> int | None:
    """Return the dimension of *target* that holds one of *source*; None where there is none."""
    # Values keep their order: a dimension is the same where it is as long and the sizes before it
    # have the same product. In [1, 6, 8, 8] the first 8 has 1 * 6 before it, and so it has in
    # [1, 2, 3, 8, 8].
    before = math.prod(source[:axis])
    for place, size in enumerate(target):
        if size == source[axis] and math.prod(target[:place]) == before:
            return place
    return None


def selected(call: Call, axes: Axes) -> Axes:
    """Return the axes of one place along another dimension, which is gone behind it."""
    dimension = call.arguments["dim"] % len(call.input_shapes[0])
    if axes is None or dimension in axes:
        return None
    return axes[0] - (axes[0] > dimension), axes[1] - (axes[1] > dimension)


def shuffled(call: Call, axes: Axes) -> Axes:
    """Return *axes* where channels change places."""
    return without(axes, [1])


def permuted(call: Call, axes: Axes) -> Axes:
    """Return where a permutation took the axes."""
    if axes is None:
        return None
    rank = len(call.shape)
    if "dims" in call.arguments:
        order = [dimension % rank for dimension in call.arguments["dims"]]
    else:
        order = list(range(rank))
        one, other = call.arguments["dim0"] % rank, call.arguments["dim1"] % rank
        order[one], order[other] = order[other], order[one]
    return order.index(axes[0]), order.index(axes[1])


def untouched(call: Call, axes: Axes) -> Axes:
    """Return *axes* of a split or slice along another dimension."""
    return without(axes, [call.arguments.get("dim", 0) % len(call.shape)])
