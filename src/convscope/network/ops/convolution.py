"""Convolution, forwards and transposed."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from convscope.network.calls import Call
from convscope.network.ops.base import (
    Axes,
    Operation,
    Saved,
    Signals,
    Window,
    across_maps,
    pair,
    with_arguments,
)
from convscope.network.rules import Rule
from convscope.network.windows.relations import Relation, Sliding, Transposed, Whole


class Convolution(Operation):
    """Convolution and transposed convolution; each reverses to the other with the same weights."""

    tabled = True
    published = True
    remembers_inputs = False

    def __init__(self, transposed: bool) -> None:
        self.transposed = transposed
        self.kind = "transposed convolution" if transposed else "convolution"

    def padding(self, call: Call) -> list[tuple[int, int]]:
        """Return the padding before and after, for rows and columns."""
        padding = call.arguments["padding"]
        if padding == "valid":
            return [(0, 0), (0, 0)]
        if padding == "same":
            kernels = call.arguments["weight"].shape[2:]
            dilations = pair(call.arguments["dilation"])
            totals = [d * (k - 1) for k, d in zip(kernels, dilations, strict=True)]
            return [(total // 2, total - total // 2) for total in totals]
        return [(p, p) for p in pair(padding)]

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return the transposed convolution of *signal* with the same weights."""
        weight, arguments = call.arguments["weight"], call.arguments
        (top, bottom), (left, right) = self.padding(call)
        batch = signal.shape[0] // call.shape[0]
        first, channels, height, width = call.input_shapes[0]
        # An even kernel with padding "same" pads one side more: undo the padding by hand there.
        uneven = (top, left) != (bottom, right)
        size = (height + top + bottom, width + left + right) if uneven else (height, width)
        # Only its shape and layout count: its values are for the gradient of the weights, which the
        # mask at the end turns off.
        shape_of_input = torch.empty(
            (batch * first, channels, *size),
            dtype=signal.dtype,
            device=signal.device,
            memory_format=torch.channels_last,
        )
        reversed_signal, _, _ = torch.ops.aten.convolution_backward(
            signal,
            shape_of_input,
            weight,
            None,
            pair(arguments["stride"]),
            [0, 0] if uneven else [top, left],
            pair(arguments["dilation"]),
            self.transposed,
            pair(arguments.get("output_padding", 0)),
            arguments["groups"],
            [True, False, False],
        )
        if uneven:
            reversed_signal = reversed_signal[:, :, top : top + height, left : left + width]
        return (reversed_signal,)

    def reverse_channels(
        self, call: Call, maps: Tensor, channels: Tensor, saved: Saved = ()
    ) -> Tensor | None:
        """Return the transposed convolution of a single channel: its own kernels' share of it."""
        if self.transposed or call.arguments["groups"] != 1:
            return None
        weight = call.arguments["weight"]
        size, signals = call.input_shapes[0][2:], len(maps)
        # Unfolding copies the one channel once for each place of the kernel.
        patch_elements = math.prod((*weight.shape[2:], *size))
        if patch_elements > max(math.prod(call.shape), math.prod(call.input_shapes[0])):
            return None  # a large kernel on a few channels, as AlexNet's first
        strides, dilations = pair(call.arguments["stride"]), pair(call.arguments["dilation"])
        # A transposed convolution is a plain one, with the kernel turned round, over the map with
        # its values a stride apart; as a matrix product it writes channels last at once.
        apart = [(maps.shape[2 + i] - 1) * strides[i] + 1 for i in (0, 1)]
        spread = maps.new_zeros(signals, 1, *apart)
        spread[:, :, :: strides[0], :: strides[1]] = maps
        borders: list[int] = []
        for i in (1, 0):
            before = dilations[i] * (weight.shape[2 + i] - 1) - self.padding(call)[i][0]
            # A kernel reaches dilation * (kernel - 1) rows back: with as many rows as the input and
            # so many more, it fits once for each row of the input.
            after = size[i] + self.padding(call)[i][0] - apart[i]
            borders += [before, after]
        patches = functional.unfold(
            functional.pad(spread, borders), tuple(weight.shape[2:]), tuple(dilations)
        )
        kernels = weight[channels].flip(2, 3).flatten(2)  # [B, C, k * k]
        found = torch.bmm(patches.transpose(1, 2), kernels.transpose(1, 2))
        return found.view(signals, *size, -1).permute(0, 3, 1, 2)

    def has_windows(self, call: Call, axes: Axes) -> bool:
        """Return True: windows are convolved like maps."""
        return True

    def reverse_window(
        self, call: Call, window: Window, signal: Tensor, saved: Saved, rule: Rule
    ) -> Signals:
        """Return the transposed convolution of the window, or the convolution."""
        if not self.transposed:
            return super().reverse_window(call, window, signal, saved, rule)
        arguments, reached = call.arguments, window.call.input_shapes[0][2:]
        borders: list[int] = []
        for axis in (1, 0):
            # The convolution starts at the row that the first input row writes first.
            relation = self.rows(call, 0, 2 + axis)
            assert isinstance(relation, Transposed)
            size = signal.shape[2 + axis]
            corner = window.corner[2 + axis]
            first, _ = relation.reads((corner, corner + size - 1)) or (0, 0)
            # Kernel 2, stride 2, and a window of rows 3 to 4: input rows 1 and 2 write rows 2 to 5,
            # so one row goes before the window and one behind it.
            before = corner - (first * relation.stride - relation.padding)
            reach = relation.dilation * (relation.kernel - 1) + 1
            borders += [before, (reached[axis] - 1) * relation.stride + reach - before - size]
        signal = functional.pad(signal, borders)
        weight, strides, dilations = (
            arguments["weight"],
            pair(arguments["stride"]),
            pair(arguments["dilation"]),
        )
        groups = arguments["groups"]
        return (torch.conv2d(signal, weight, None, strides, [0, 0], dilations, groups),)

    def rows(self, call: Call, position: int, dimension: int) -> Relation:
        """Return the sliding window, or its transpose; all of what lies in other dimensions."""
        if dimension < 2:
            return Whole()
        axis = dimension - 2
        relation = Transposed if self.transposed else Sliding
        return relation(
            kernel=call.arguments["weight"].shape[2 + axis],
            stride=pair(call.arguments["stride"])[axis],
            padding=self.padding(call)[axis][0],
            dilation=pair(call.arguments["dilation"])[axis],
        )

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the input's axes if the kernels slide along them."""
        return across_maps(inputs[0])

    def on_windows(self, call: Call, axes: Axes, size: tuple[int, int]) -> Call | None:
        """Return the same convolution without padding; one that is transposed needs whole maps."""
        if self.transposed:
            return None
        # ATen has two overloads, and each takes padding in its own form alone.
        padding = "valid" if isinstance(call.arguments["padding"], str) else [0, 0]
        return with_arguments(call, padding=padding)

    def multiply_adds(self, call: Call) -> int:
        """Return one for each weight that a position meets, padding counted like the rest."""
        weight = call.arguments["weight"]
        # A transposed convolution writes once for each of its inputs, a plain one reads for each
        # output.
        positions = call.input_shapes[0] if self.transposed else call.shape
        return int(positions[0] * math.prod(positions[2:]) * weight.numel())
