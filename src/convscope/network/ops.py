"""The table of operations: all there is to know about each, one entry an operation.

An entry says how the operation runs and what it must remember on the way up, how it reverses on the
way down under a rule, which input rows an output row reads, where the spatial axes go, and how many
multiply-adds it costs. An operation that is not in the table still works: its reverse is its
vector-Jacobian product and its window is the whole map.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from convscope.network.calls import Call, Input
from convscope.network.rules import Rule
from convscope.network.windows import Relation, Resized, Sliding, Transposed, Whole

aten = torch.ops.aten
Axes = tuple[int, int] | None
"""Which dimensions of a tensor are the rows and the columns of the image; None when it has none."""

Signals = tuple[Tensor | None, ...]
Saved = tuple[Tensor, ...]
MAPS: Axes = (2, 3)


class Operation:
    """An operation outside the table, and the defaults for those inside it."""

    kind = "other"
    tabled = False
    is_layer = True
    """Whether it computes anything; reshaping, copying and the like are not layers."""
    published = False
    """Whether the deconvnet's papers say how to reverse it; if not, its derivative stands in."""

    def remember(
        self, call: Call, inputs: Sequence[Tensor], batch: int, rule: Rule
    ) -> tuple[Tensor, Saved]:
        """Run *call* and return its output with the tensors that :meth:`reverse` will want."""
        return call.run(inputs, batch), tuple(inputs)

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return the signal for each input, given that for the output.

        *saved* holds what :meth:`remember` returned, one row a signal. The signal belongs to the
        operation, which may overwrite it; what it returns belongs to the receivers, so no two of
        the returned tensors may share memory.
        """
        return vector_jacobian_product(call, signal, saved)

    def rows(self, call: Call, position: int, axis: int) -> Relation:
        """Return what the output reads of an input along *axis* (0 rows, 1 columns)."""
        return Whole()

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return where the output keeps its rows and columns, given where the inputs do."""
        return None

    def multiply_adds(self, call: Call) -> int:
        """Return the multiply-adds for one image."""
        return 0


def vector_jacobian_product(call: Call, signal: Tensor, inputs: Sequence[Tensor]) -> Signals:
    """Return the vector-Jacobian product of *call* at *inputs* with *signal*, one an input."""
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_(x.is_floating_point()) for x in inputs]
        output = call.run(leaves, signal.shape[0] // call.shape[0])
        if not output.requires_grad:
            return (None,) * len(leaves)
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        found = iter(torch.autograd.grad(output, wanted, signal, allow_unused=True))
    signals = [next(found) if leaf.requires_grad else None for leaf in leaves]
    return exclusive(signals)


def exclusive(signals: Sequence[Tensor | None]) -> Signals:
    """Return *signals* with a copy wherever two of them share memory."""
    seen: set[int] = set()
    owned: list[Tensor | None] = []
    for signal in signals:
        if signal is not None and signal.untyped_storage().data_ptr() in seen:
            owned.append(signal.clone())
            continue
        if signal is not None:
            seen.add(signal.untyped_storage().data_ptr())
        owned.append(signal)
    return tuple(owned)


class LinearOperation(Operation):
    """An operation that is linear in its inputs, so that its reverse needs nothing remembered."""

    tabled = True
    published = True

    def remember(
        self, call: Call, inputs: Sequence[Tensor], batch: int, rule: Rule
    ) -> tuple[Tensor, Saved]:
        """Run *call*; nothing needs to be remembered."""
        return call.run(inputs, batch), ()

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return the transpose applied to *signal*; for a linear map it is the same everywhere."""
        batch = signal.shape[0] // call.shape[0]
        zeros = [signal.new_zeros(batch * first, *rest) for first, *rest in call.input_shapes]
        return vector_jacobian_product(call, signal, zeros)


class Pointwise(Operation):
    """An operation that treats every position of its inputs alike, with broadcasting."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    tabled = True

    def rows(self, call: Call, position: int, axis: int) -> Relation:
        """Return the same row, or the only row of an input that is broadcast."""
        source, target = call.input_shapes[position], call.shape
        dimension = axis - 2  # counted from the end, as broadcasting does
        if len(source) < 2 or source[dimension] != target[dimension]:
            return Whole()
        return Sliding()

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the axes of the input that has the output's shape."""
        for axes, shape in zip(inputs, call.input_shapes, strict=True):
            if axes is not None and shape == call.shape:
                return axes
        return None


class Rectifier(Pointwise):
    """ReLU and the activation functions that took its place; here the rules differ."""

    published = True

    def remember(
        self, call: Call, inputs: Sequence[Tensor], batch: int, rule: Rule
    ) -> tuple[Tensor, Saved]:
        """Run *call* and keep its derivative if *rule* asks for it."""
        output = call.run(inputs, batch)
        if not rule.needs_derivative:
            return output, ()
        return output, (self.derivative(call, inputs[0], output),)

    def derivative(self, call: Call, value: Tensor, output: Tensor) -> Tensor:
        """Return d output / d value at each position."""
        (derivative,) = vector_jacobian_product(call, torch.ones_like(output), (value,))
        assert derivative is not None
        return derivative

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Let *rule* decide."""
        return (rule.rectifier(signal, saved[0] if saved else None),)


class ReLU(Rectifier):
    """The rectifier itself: its derivative is one bit a position."""

    def derivative(self, call: Call, value: Tensor, output: Tensor) -> Tensor:
        """Return whether the unit is active."""
        return output > 0


class BatchNorm(Pointwise):
    """Batch norm in evaluation mode: a scale and a shift, of which only the scale reverses."""

    published = True

    def remember(
        self, call: Call, inputs: Sequence[Tensor], batch: int, rule: Rule
    ) -> tuple[Tensor, Saved]:
        """Run *call*; the scale is constant."""
        return call.run(inputs, batch), ()

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return *signal* times the scale of each channel."""
        arguments = call.arguments
        scale = torch.rsqrt(arguments["running_var"] + arguments["eps"])
        if arguments["weight"] is not None:
            scale = scale * arguments["weight"]
        return (signal.mul_(scale.view(1, -1, *(1,) * (signal.dim() - 2))),)


class Add(Pointwise):
    """Addition and subtraction, with broadcasting and ``alpha``."""

    published = True

    def __init__(self, kind: str, sign: int) -> None:
        super().__init__(kind)
        self.sign = sign

    def remember(
        self, call: Call, inputs: Sequence[Tensor], batch: int, rule: Rule
    ) -> tuple[Tensor, Saved]:
        """Run *call*; nothing needs to be remembered."""
        return call.run(inputs, batch), ()

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
            part = part.clone() if factor == 1 else part * factor
            earlier = signals[summand.position]  # x + x is one input twice
            signals[summand.position] = part if earlier is None else earlier + part
        return tuple(signals)


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
        reversed_signal, _, _ = aten.convolution_backward(
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


class MaxPool(Operation):
    """Max pooling, which reverses to unpooling by its switches (Zeiler & Fergus sec. 2.1)."""

    tabled = True
    published = True
    kind = "max pool"

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
        ).zero_()
        overlapping = any(reach[i] > stride[i] for i in (0, 1))
        for place in range(math.prod(kernel)):
            row, column = (place // kernel[1]) * dilation[0], (place % kernel[1]) * dilation[1]
            target = unpooled[:, :, row :: stride[0], column :: stride[1]][:, :, : out[0], : out[1]]
            won = saved[0] == place
            if overlapping:
                target.add_(signal * won)
            else:
                torch.mul(signal, won, out=target)
        rows, columns = (
            slice(padding[0], padding[0] + size[0]),
            slice(padding[1], padding[1] + size[1]),
        )
        return (unpooled[:, :, rows, columns],)

    def rows(self, call: Call, position: int, axis: int) -> Relation:
        """Return the sliding window."""
        kernel, stride, padding, dilation = (values[axis] for values in self.geometry(call))
        return Sliding(kernel, stride, padding, dilation)

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the usual axes of maps."""
        return MAPS


class AveragePool(LinearOperation):
    """Average pooling."""

    kind = "average pool"

    def rows(self, call: Call, position: int, axis: int) -> Relation:
        """Return the sliding window."""
        arguments = call.arguments
        kernel = pair(arguments["kernel_size"])
        stride = pair(arguments["stride"]) if arguments["stride"] else kernel
        return Sliding(kernel[axis], stride[axis], pair(arguments["padding"])[axis])

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the usual axes of maps."""
        return MAPS


class Resize(LinearOperation):
    """Adaptive average pooling and interpolation."""

    def __init__(self, kind: str, margin: int = 0) -> None:
        self.kind = kind
        self.margin = margin

    def rows(self, call: Call, position: int, axis: int) -> Relation:
        """Return the rows that the fractional window covers."""
        source, target = call.input_shapes[position][2 + axis], call.shape[2 + axis]
        if source == target:
            return Sliding()
        return Whole() if target == 1 else Resized(source, target, self.margin)

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


class FullyConnected(LinearOperation):
    """A linear layer over the last dimension."""

    kind = "linear"

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return *signal* times the transposed weights."""
        return (signal @ call.arguments["weight"],)

    def rows(self, call: Call, position: int, axis: int) -> Relation:
        """Return the same row; :meth:`axes` says whether there are rows left."""
        return Sliding()

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the input's axes unless the layer mixes one of them."""
        return without(inputs[0], [len(call.input_shapes[0]) - 1])

    def multiply_adds(self, call: Call) -> int:
        """Return one for each weight and position."""
        return call.elements() * int(call.arguments["weight"].shape[1])


class LayerNorm(Operation):
    """Layer norm over the last dimensions."""

    kind = "layer norm"
    tabled = True

    def rows(self, call: Call, position: int, axis: int) -> Relation:
        """Return the same row; :meth:`axes` says whether there are rows left."""
        return Sliding()

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the input's axes unless the norm mixes one of them."""
        rank = len(call.shape)
        return without(inputs[0], range(rank - len(call.arguments["normalized_shape"]), rank))


class Concatenation(LinearOperation):
    """Concatenation, whose reverse hands each part its own piece."""

    kind = "concatenation"

    def rows(self, call: Call, position: int, axis: int) -> Relation:
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

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the parts' axes if they agree and are not what is joined."""
        dimension = call.arguments["dim"] % len(call.shape)
        return without(inputs[0], [dimension]) if len(set(inputs)) == 1 else None


class Reshape(LinearOperation):
    """Operations that move values about without computing: views, copies, permutations, slices."""

    is_layer = False

    def __init__(self, kind: str, moved: Callable[[Call, Axes], Axes]) -> None:
        self.kind = kind
        self.moved = moved

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Move the values of *signal* back to where they came from."""
        if self.moved is kept or self.moved is trailing:
            batch = signal.shape[0] // call.shape[0]
            first, *rest = call.input_shapes[0]
            return (signal.reshape(batch * first, *rest),)
        return super().reverse(call, signal, saved, rule)

    def rows(self, call: Call, position: int, axis: int) -> Relation:
        """Return the same row; :meth:`axes` says whether there are rows left."""
        return Sliding()

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return where the rows and columns went."""
        return self.moved(call, inputs[0])


class Pad(LinearOperation):
    """Padding, and cropping where it is negative; reflections read a little more than this says."""

    kind = "padding"
    is_layer = False

    def rows(self, call: Call, position: int, axis: int) -> Relation:
        """Return the row, shifted by the padding before it."""
        padding = call.arguments["padding" if "padding" in call.arguments else "pad"]
        from_end = 1 - axis
        before = padding[2 * from_end] if len(padding) > 2 * from_end else 0
        return Sliding(padding=before)

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the input's axes where padding counts from the end, which is the usual layout."""
        return inputs[0] if inputs[0] == (len(call.shape) - 2, len(call.shape) - 1) else None


def pair(value: Any) -> list[int]:
    """Return *value* for rows and columns: ATen writes one number for two equal ones."""
    if isinstance(value, int):
        return [value, value]
    return list(value) * (2 if len(value) == 1 else 1)


def without(axes: Axes, mixed: Sequence[int]) -> Axes:
    """Return *axes*, or None if one of them is among the dimensions that were *mixed*."""
    return None if axes is None or set(axes) & set(mixed) else axes


def kept(call: Call, axes: Axes) -> Axes:
    """Return *axes* of an operation that leaves the shape as it was."""
    return axes if call.shape == call.input_shapes[0] else None


def trailing(call: Call, axes: Axes) -> Axes:
    """Return the axes of a reshape that leaves rows and columns last, as channel shuffles do."""
    source, target = call.input_shapes[0], call.shape
    were_last = axes == (len(source) - 2, len(source) - 1)
    if not were_last or len(target) < 3 or source[-2:] != target[-2:]:
        return None
    return len(target) - 2, len(target) - 1


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


def _table() -> dict[Any, Operation]:
    relu, smooth = ReLU("rectifier"), Rectifier("rectifier")
    convolution, transposed = Convolution(transposed=False), Convolution(transposed=True)
    copy, view = Reshape("copy", kept), Reshape("view", trailing)
    permute, piece = Reshape("permutation", permuted), Reshape("slice", untouched)
    multiply, pointwise = Pointwise("multiply"), Pointwise("pointwise")
    table: dict[Any, Operation] = {
        aten.conv2d.default: convolution,
        aten.conv2d.padding: convolution,
        aten.conv_transpose2d.input: transposed,
        aten._native_batch_norm_legit_no_training.default: BatchNorm("batch norm"),
        aten.relu.default: relu,
        aten.max_pool2d.default: MaxPool(),
        aten.max_pool2d_with_indices.default: MaxPool(),
        aten.adaptive_max_pool2d.default: AdaptiveMaxPool(),
        aten.avg_pool2d.default: AveragePool(),
        aten.adaptive_avg_pool2d.default: Resize("average pool"),
        aten._adaptive_avg_pool2d.default: Resize("average pool"),
        aten.upsample_nearest2d.vec: Resize("upsampling"),
        aten.upsample_bilinear2d.vec: Resize("upsampling", margin=1),
        aten.linear.default: FullyConnected(),
        aten.native_layer_norm.default: LayerNorm(),
        aten.layer_norm.default: LayerNorm(),
        aten.cat.default: Concatenation(),
        aten.add.Tensor: Add("add", 1),
        aten.sub.Tensor: Add("add", -1),
        aten.constant_pad_nd.default: Pad(),
        aten.pad.default: Pad(),
    }
    table |= dict.fromkeys((aten.mul.Tensor, aten.div.Tensor), multiply)
    table |= dict.fromkeys(
        (
            aten.sigmoid.default,
            aten.hardsigmoid.default,
            aten.tanh.default,
            aten.exp.default,
            aten.pow.Tensor_Scalar,
            aten.sqrt.default,
            aten.abs.default,
            aten.neg.default,
        ),
        pointwise,
    )
    table |= dict.fromkeys(
        (
            aten.hardtanh.default,
            aten.relu6.default,
            aten.leaky_relu.default,
            aten.elu.default,
            aten.gelu.default,
            aten.silu.default,
            aten.hardswish.default,
            aten.mish.default,
            aten.softplus.default,
            aten.prelu.default,
            aten._prelu_kernel.default,
            aten.clamp.default,
            aten.clamp_min.default,
        ),
        smooth,
    )
    table |= dict.fromkeys(
        (
            aten.clone.default,
            aten.dropout.default,
            aten.alias.default,
            aten.contiguous.default,
            aten.detach.default,
            aten.lift_fresh_copy.default,
            aten._to_copy.default,
        ),
        copy,
    )
    table |= dict.fromkeys(
        (
            aten.reshape.default,
            aten.flatten.using_ints,
            aten.squeeze.dim,
            aten.squeeze.dims,
            aten.unsqueeze.default,
        ),
        view,
    )
    table |= dict.fromkeys((aten.permute.default, aten.transpose.int), permute)
    table |= dict.fromkeys(
        (aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default, aten.slice.Tensor),
        piece,
    )
    return table


TABLE = _table()
OUTSIDE = Operation()


def operation_for(call: Call) -> Operation:
    """Return the table's entry for *call*, or the default for an operation outside the table."""
    operation = TABLE.get(call.target, OUTSIDE)
    if isinstance(operation, Convolution | FullyConnected) and isinstance(
        call.arguments["weight"], Input
    ):
        return OUTSIDE  # weights computed from the image: no constant transpose exists
    if call.target in (aten.clamp.default, aten.clamp_min.default) and call.arguments["min"] != 0:
        return Pointwise("pointwise")  # a clamp is a rectifier only where it starts at zero
    if isinstance(operation, Add) and not is_number(call.arguments["alpha"]):
        return OUTSIDE
    return operation


def is_number(value: Any) -> bool:
    """Return whether *value* is a plain number."""
    return isinstance(value, int | float)
