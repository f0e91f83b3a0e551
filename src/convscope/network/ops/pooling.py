"""Pooling and resizing."""

import math
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional

from convscope.network.calls import Call
from convscope.network.ops.base import (
    MAPS,
    Axes,
    LinearOperation,
    Operation,
    Saved,
    Signals,
    Window,
    pair,
    unpadded,
    with_arguments,
)
from convscope.network.rules import Rule
from convscope.network.windows.relations import Interpolated, Relation, Resized, Sliding, Whole

aten = torch.ops.aten
FINE = 10_000
"""Scales are taken for the nearest fraction with no larger denominator."""


class MaxPool(Operation):
    """Max pooling, which reverses to unpooling by its switches (Zeiler & Fergus sec. 2.1)."""

    tabled = True
    published = True
    kind = "max pool"
    outputs_saved = 1

    def geometry(self, call: Call) -> tuple[list[int], list[int], list[int], list[int]]:
        """Return kernel, stride, padding and dilation, each for rows and columns."""
        arguments = call.arguments
        kernel = pair(arguments["kernel_size"])
        stride = pair(arguments["stride"]) if arguments["stride"] else kernel
        return kernel, stride, pair(arguments["padding"]), pair(arguments["dilation"])

    def remember(
        self, call: Call, inputs: Sequence[Tensor], batch: int, rule: Rule
    ) -> tuple[Tensor, Saved]:
        """Pool, and remember for each output which place of its window won."""
        kernel, stride, padding, dilation = self.geometry(call)
        output, indices = aten.max_pool2d_with_indices(
            inputs[0], kernel, stride, padding, dilation, call.arguments["ceil_mode"]
        )
        width = call.input_shapes[0][-1]
        # The input row and column where each pool begins.
        rows, columns = (
            torch.arange(count, device=indices.device) * stride[i] - padding[i]
            for i, count in enumerate(call.shape[-2:])
        )
        # PyTorch's indices count through the whole map; within a pool they hold for a window of it
        # too.
        place_row = (indices // width - rows[:, None]) // dilation[0]
        place_column = (indices % width - columns) // dilation[1]
        places = place_row * kernel[1] + place_column
        # A switch is a place within its own window, so it nearly always fits in a byte.
        return output, (places.to(torch.uint8 if math.prod(kernel) <= 256 else torch.int32),)

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Put each value where its maximum came from; where pools overlap, the values add up."""
        kernel, stride, padding, dilation = self.geometry(call)
        size, out = call.input_shapes[0][-2:], call.shape[-2:]
        reach = [dilation[i] * (kernel[i] - 1) + 1 for i in (0, 1)]
        # Padding comes along and is cut off at the end. Behind it, rows that no pool reaches count
        # with the map, and so do those by which the last pool sticks out where it rounds up.
        extent = [max((out[i] - 1) * stride[i] + reach[i], padding[i] + size[i]) for i in (0, 1)]
        unpooled = torch.empty(
            (*signal.shape[:2], *extent),
            dtype=signal.dtype,
            device=signal.device,
            memory_format=torch.channels_last,
        )
        tiling = kernel == stride and dilation == [1, 1]
        if not tiling or any(extent[i] != out[i] * stride[i] for i in (0, 1)):
            unpooled.zero_()  # windows that tile the map write every place of it
        overlapping = any(reach[i] > stride[i] for i in (0, 1))
        # Of all pools, those whose maximum lies at the same place of their kernel are done at once:
        # they are a strided view, so that nothing is scattered, and pools that overlap add up in
        # the same order every time.
        for place in range(math.prod(kernel)):
            row, column = (place // kernel[1]) * dilation[0], (place % kernel[1]) * dilation[1]
            target = unpooled[:, :, row :: stride[0], column :: stride[1]][:, :, : out[0], : out[1]]
            won = saved[0] == place
            if len(won) < len(signal):
                # As a number: a product with a truth value would convert it anew for every signal.
                won = won.to(signal.dtype)
            if overlapping:
                target.addcmul_(signal, won)
            else:
                torch.mul(signal, won, out=target)
        rows, columns = (
            slice(padding[0], padding[0] + size[0]),
            slice(padding[1], padding[1] + size[1]),
        )
        return (unpooled[:, :, rows, columns],)

    def rows(self, call: Call, position: int, dimension: int) -> Relation:
        """Return the sliding window, or the same place of what is not pooled."""
        if dimension < 2:
            return Sliding()
        return Sliding(*(values[dimension - 2] for values in self.geometry(call)))

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the input's axes, or the usual ones of maps."""
        return inputs[0] or MAPS

    def on_windows(self, call: Call, axes: Axes, size: tuple[int, int]) -> Call | None:
        """Return the same pool without the padding that windows bring with them."""
        assert axes is not None
        return with_arguments(call, padding=unpadded(call.arguments["padding"], axes))

    def beyond(self, call: Call) -> float:
        """Return what no maximum is taken from."""
        return -math.inf


class AveragePool(LinearOperation):
    """Average pooling, over rows and columns or over channels as well."""

    def __init__(self) -> None:
        super().__init__("average pool")

    def rows(self, call: Call, position: int, dimension: int) -> Relation:
        """Return the sliding window, or the same place of what is not pooled."""
        arguments = call.arguments
        pooled = 3 if call.target is aten.avg_pool3d.default else 2
        place = dimension - len(call.shape) + pooled
        if place < 0:
            return Sliding()
        stride = arguments["stride"] or arguments["kernel_size"]
        given = (arguments["kernel_size"], stride, arguments["padding"])
        return Sliding(*(one if isinstance(one, int) else one[place % len(one)] for one in given))

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the input's axes."""
        return inputs[0]

    def on_windows(self, call: Call, axes: Axes, size: tuple[int, int]) -> Call | None:
        """Return the same pool without padding, where all its windows count alike.

        At the borders they may not: a window that is cut off there by ``ceil_mode``, or that leaves
        the padding out of its mean, has a divisor of its own.
        """
        assert axes is not None
        arguments = call.arguments
        windows = [self.rows(call, 0, dimension) for dimension in axes]
        if all(window == Sliding() for window in windows):
            return call  # over channels alone
        padded = any(isinstance(window, Sliding) and window.padding for window in windows)
        uneven = padded and not arguments["count_include_pad"]
        of_maps = len(call.shape) == 4 and call.target is not aten.avg_pool3d.default
        if not of_maps or arguments["ceil_mode"] or uneven:
            return None
        return with_arguments(call, padding=unpadded(arguments["padding"], axes))


class Resize(LinearOperation):
    """Adaptive average pooling, and what gives maps another number of rows and columns."""

    def has_windows(self, call: Call, axes: Axes) -> bool:
        """Return whether each row is copied to a whole number of rows, as upsampling does."""
        return len(call.shape) == 4 and all(self._copies(call, d) for d in (2, 3))

    def _copies(self, call: Call, dimension: int) -> int:
        """Return to how many rows each row is copied; 0 if to a number that is not whole."""
        relation = self.rows(call, 0, dimension)
        if isinstance(relation, Sliding):
            return 1
        if not isinstance(relation, Resized):
            return 0
        return 0 if relation.target % relation.source else relation.target // relation.source

    def reverse_window(
        self, call: Call, window: Window, signal: Tensor, saved: Saved, rule: Rule
    ) -> Signals:
        """Return the sum of each value's copies."""
        borders: list[int] = []
        for dimension in (3, 2):
            copies, corner = self._copies(call, dimension), window.corner.get(dimension, 0)
            # Two copies of each row, and a window of rows 3 to 6: one before and one behind
            # complete the copies of three rows.
            borders += [corner % copies, -(corner + signal.shape[dimension]) % copies]
        kernel = [self._copies(call, dimension) for dimension in (2, 3)]
        signal = functional.pad(signal, borders)
        # With a divisor of one an average pool sums.
        return (functional.avg_pool2d(signal, kernel, divisor_override=1),)

    def rows(self, call: Call, position: int, dimension: int) -> Relation:
        """Return the rows that the fractional window covers."""
        from_end = dimension - len(call.shape)
        if from_end < -2:
            return Sliding()
        source, target = call.input_shapes[position][dimension], call.shape[dimension]
        if source == target:
            return Sliding()
        return Whole() if target == 1 else Resized(source, target)

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the input's axes, or the usual ones of maps."""
        return inputs[0] or MAPS


class Interpolation(Resize):
    """Interpolation to another size.

    Args:
        before: how many rows before the one at or before a place it reads.
        after: how many rows after that one.
        begin: what a row's place is measured from: the map's ``"corner"``, the same to the
            ``"centre"`` of the row, or the centres of rows, to lie ``"between"`` them.
    """

    def __init__(self, before: int, after: int, begin: str) -> None:
        super().__init__("upsampling")
        self.before, self.after, self.begin = before, after, begin

    def rows(self, call: Call, position: int, dimension: int) -> Relation:
        """Return the rows that it interpolates between."""
        from_end = dimension - len(call.shape)
        if from_end < -2:
            return Sliding()
        source, target = call.input_shapes[position][dimension], call.shape[dimension]
        scales = call.arguments.get("scale_factors")
        # A scale that gives a broken number of rows steps by less than the share of each row.
        step = Fraction(1 / scales[from_end] if scales else source / target).limit_denominator(FINE)
        # Row i has its centre at (i + 1/2) * step, measured from the map's corner; measured from
        # the centre of its first row that is half a row less.
        begin = {"corner": Fraction(0), "centre": step / 2, "between": step / 2 - Fraction(1, 2)}
        start = begin[self.begin]
        if call.arguments.get("align_corners"):
            start, step = Fraction(0), Fraction(source - 1, max(1, target - 1))
        if source == target and step == 1:
            return Sliding()
        # The nearest row to a whole multiple of rows is a copy, from wherever it is measured.
        if self.before == self.after and not target % source and step == Fraction(source, target):
            return Resized(source, target)
        return Interpolated(source, target, start, step, self.before, self.after)


class AdaptiveMaxPool(Operation):
    """Adaptive max pooling; its vector-Jacobian product is unpooling by its switches."""

    kind = "max pool"
    tabled = True
    published = True

    def rows(self, call: Call, position: int, dimension: int) -> Relation:
        """Return the rows that the fractional window covers."""
        return Resize("max pool").rows(call, position, dimension)

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the input's axes, or the usual ones of maps."""
        return inputs[0] or MAPS


class Mean(LinearOperation):
    """The mean over some dimensions, nearly always the global average of each map."""

    def __init__(self) -> None:
        super().__init__("average pool")
