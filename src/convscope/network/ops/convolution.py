"""Convolution, forwards and transposed."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from convscope.network.calls import Call
from convscope.network.ops.base import MAPS, Axes, Operation, Saved, Signals, pair
from convscope.network.rules import Rule
from convscope.network.windows import Relation, Sliding, Transposed


class Convolution(Operation):
    """Convolution and transposed convolution; each reverses to the other with the same weights."""

    tabled = True
    published = True

    def __init__(self, transposed: bool) -> None:
        self.transposed = transposed
        self.kind = "transposed convolution" if transposed else "convolution"

    def remember(
        self, call: Call, inputs: Sequence[Tensor], batch: int, rule: Rule
    ) -> tuple[Tensor, Saved]:
        """Run *call*; a linear map needs nothing remembered."""
        return call.run(inputs, batch), ()

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

    def reverse_channels(self, call: Call, maps: Tensor, channels: Tensor) -> Tensor | None:
        """Return the transposed convolution of a single channel: its own kernels' share of it."""
        (top, bottom), (left, right) = self.padding(call)
        if self.transposed or call.arguments["groups"] != 1 or (top, left) != (bottom, right):
            return None
        signals, stride = len(maps), pair(call.arguments["stride"])
        dilation, size = pair(call.arguments["dilation"]), call.input_shapes[0][2:]
        kernels = call.arguments["weight"][channels]  # [B, C, k, k]
        reached = [
            (maps.shape[2 + i] - 1) * stride[i]
            - 2 * (top, left)[i]
            + dilation[i] * (kernels.shape[2 + i] - 1)
            + 1
            for i in (0, 1)
        ]
        # One group a signal: group b takes the one channel of signal b to its C input channels.
        return functional.conv_transpose2d(
            maps.transpose(0, 1),
            kernels,
            None,
            stride,
            [top, left],
            [size[i] - reached[i] for i in (0, 1)],
            signals,
            dilation,
        ).view(signals, -1, *size)

    def rows(self, call: Call, position: int, axis: int) -> Relation:
        """Return the sliding window, or its transpose."""
        relation = Transposed if self.transposed else Sliding
        return relation(
            kernel=call.arguments["weight"].shape[2 + axis],
            stride=pair(call.arguments["stride"])[axis],
            padding=self.padding(call)[axis][0],
            dilation=pair(call.arguments["dilation"])[axis],
        )

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the usual axes of maps."""
        return MAPS

    def multiply_adds(self, call: Call) -> int:
        """Return one for each weight that a position meets, padding counted like the rest."""
        weight = call.arguments["weight"]
        positions = call.input_shapes[0] if self.transposed else call.shape
        return int(positions[0] * math.prod(positions[2:]) * weight.numel())
