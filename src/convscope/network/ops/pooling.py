"""Pooling and resizing."""

import math
from collections.abc import Sequence
from dataclasses import replace

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
    with_arguments,
)
from convscope.network.rules import Rule
from convscope.network.windows import Relation, Resized, Sliding, Whole

aten = torch.ops.aten


class MaxPool(Operation):
    """Max pooling, which reverses to unpooling by its switches (Zeiler & Fergus sec. 2.1)."""

    tabled = True
    published = True
    kind = "max pool"
    saves_output = True

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
        rows, columns = self.corners(call, indices.device)
        place_row = (indices // width - rows) // dilation[0]
        place_column = (indices % width - columns) // dilation[1]
        places = place_row * kernel[1] + place_column
        # A switch is a place within its own window, so it nearly always fits in a byte.
        return output, (places.to(torch.uint8 if math.prod(kernel) <= 256 else torch.int32),)

    def corners(self, call: Call, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the input row where each window starts, as a column, and the same for columns."""
        _, stride, padding, _ = self.geometry(call)
        rows = torch.arange(call.shape[-2], device=device) * stride[0] - padding[0]
        columns = torch.arange(call.shape[-1], device=device) * stride[1] - padding[1]
        return rows[:, None], columns

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Put each value where its maximum came from; where pools overlap, the values add up."""
        kernel, stride, padding, dilation = self.geometry(call)
        size, out = call.input_shapes[0][-2:], call.shape[-2:]
        reach = [dilation[i] * (kernel[i] - 1) + 1 for i in (0, 1)]
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
        for place in range(math.prod(kernel)):
            row, column = (place // kernel[1]) * dilation[0], (place % kernel[1]) * dilation[1]
            target = unpooled[:, :, row :: stride[0], column :: stride[1]][:, :, : out[0], : out[1]]
            # As a number: a product with a truth value would convert it anew for every signal.
            won = (saved[0] == place).to(signal.dtype)
            if overlapping:
                target.addcmul_(signal, won)
            else:
                torch.mul(signal, won, out=target)
        rows, columns = (
            slice(padding[0], padding[0] + size[0]),
            slice(padding[1], padding[1] + size[1]),
        )
        return (unpooled[:, :, rows, columns],)

    def has_windows(self, call: Call, axes: Axes) -> bool:
        """Return True: a switch is a place within its own pool."""
        return True

    def reverse_window(
        self, call: Call, window: Window, signal: Tensor, saved: Saved, rule: Rule
    ) -> Signals:
        """Unpool the window."""
        return self.reverse(with_arguments(window.call, padding=[0, 0]), signal, saved, rule)

    def rows(self, call: Call, position: int, axis: int) -> Relation:
        """Return the sliding window."""
        kernel, stride, padding, dilation = (values[axis] for values in self.geometry(call))
        return Sliding(kernel, stride, padding, dilation)

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the usual axes of maps."""
        return MAPS

    def on_windows(self, call: Call, axes: Axes, size: tuple[int, int]) -> Call | None:
        """Return the same pool without padding."""
        unpadded = {"padding": [0, 0], "ceil_mode": False}
        return replace(call, arguments={**call.arguments, **unpadded})

    def beyond(self, call: Call) -> float:
        """Return what no maximum is taken from."""
        return -math.inf


class AveragePool(LinearOperation):
    """Average pooling, over rows and columns or over channels as well."""

    def __init__(self) -> None:
        super().__init__("average pool")

    def has_windows(self, call: Call, axes: Axes) -> bool:
        """Return whether the average is over as many values at the borders as elsewhere."""
        arguments = call.arguments
        padded = any(pair(arguments["padding"])) and not arguments["count_include_pad"]
        return len(call.shape) == 4 and not padded and not arguments["ceil_mode"]

    def reverse_window(
        self, call: Call, window: Window, signal: Tensor, saved: Saved, rule: Rule
    ) -> Signals:
        """Return each value's share to all that its pool averages."""
        return self.reverse(with_arguments(window.call, padding=[0, 0]), signal, saved, rule)

    def rows(self, call: Call, position: int, axis: int) -> Relation:
        """Return the sliding window."""
        arguments = call.arguments
        kernel = pair(arguments["kernel_size"])
        stride = pair(arguments["stride"]) if arguments["stride"] else kernel
        place = axis - 2  # rows and columns are the last two of the three in three dimensions
        return Sliding(kernel[place], stride[place], pair(arguments["padding"])[place])

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the input's axes, which are always the last two."""
        return inputs[0]

    def on_windows(self, call: Call, axes: Axes, size: tuple[int, int]) -> Call | None:
        """Return the same pool without padding, where all its windows count alike.

        At the borders they may not: a window that is cut off there by ``ceil_mode``, or that leaves
        the padding out of its mean, has a divisor of its own.
        """
        windows = [self.rows(call, 0, axis) for axis in (0, 1)]
        if all(window == Sliding() for window in windows):
            return call  # over channels alone
        arguments = call.arguments
        padding = arguments["padding"]
        padded = any([padding] if isinstance(padding, int) else padding)
        uneven = padded and not arguments["count_include_pad"]
        if len(call.shape) != 4 or arguments["ceil_mode"] or uneven:
            return None
        return replace(call, arguments={**arguments, "padding": [0, 0]})


class Resize(LinearOperation):
    """Adaptive average pooling and interpolation."""

    def __init__(self, kind: str, margin: int = 0) -> None:
        super().__init__(kind)
        self.margin = margin

    def has_windows(self, call: Call, axes: Axes) -> bool:
        """Return whether each row is copied to a whole number of rows, as upsampling does."""
        return all(self._copies(call, axis) for axis in (0, 1))

    def _copies(self, call: Call, axis: int) -> int:
        """Return to how many rows each row is copied; 0 if to a number that is not whole."""
        relation = self.rows(call, 0, axis)
        if isinstance(relation, Sliding):
            return 1
        if not isinstance(relation, Resized) or relation.margin:
            return 0
        return 0 if relation.target % relation.source else relation.target // relation.source

    def reverse_window(
        self, call: Call, window: Window, signal: Tensor, saved: Saved, rule: Rule
    ) -> Signals:
        """Return the sum of each value's copies."""
        borders: list[int] = []
        for axis in (1, 0):
            copies = self._copies(call, axis)
            before, after = (
                window.corner[axis] % copies,
                -(window.corner[axis] + signal.shape[2 + axis]) % copies,
            )
            borders += [before, after]
        kernel = [self._copies(call, axis) for axis in (0, 1)]
        signal = functional.pad(signal, borders)
        return (functional.avg_pool2d(signal, kernel, divisor_override=1),)

    def rows(self, call: Call, position: int, axis: int) -> Relation:
        """Return the rows that the fractional window covers."""
        source, target = call.input_shapes[position][2 + axis], call.shape[2 + axis]
        # A scale that gives a broken number of rows steps by less than the share of each row.
        scales = call.arguments.get("scale_factors")
        lag = math.ceil(source - target / scales[axis] - 1e-6) if scales else 0
        if source == target and not lag:
            return Sliding()
        return Whole() if target == 1 else Resized(source, target, self.margin + lag)

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the usual axes of maps."""
        return MAPS


class AdaptiveMaxPool(Operation):
    """Adaptive max pooling; its vector-Jacobian product is unpooling by its switches."""

    kind = "max pool"
    tabled = True
    published = True

    def rows(self, call: Call, position: int, axis: int) -> Relation:
        """Return the rows that the fractional window covers."""
        return Resize("max pool").rows(call, position, axis)

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the usual axes of maps."""
        return MAPS


class Mean(LinearOperation):
    """The mean over some dimensions, nearly always the global average of each map."""

    def __init__(self) -> None:
        super().__init__("average pool")
