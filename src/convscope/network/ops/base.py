"""What an operation is, and what holds for one that the table does not know."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from convscope.errors import RuleError
from convscope.network.calls import Call, Shape
from convscope.network.rules import Rule
from convscope.network.windows.relations import Relation, Whole

Axes = tuple[int, int] | None
"""Which dimensions of a tensor are the rows and the columns of the image; None when it has none."""

Signals = tuple[Tensor | None, ...]
Saved = tuple[Tensor, ...]
MAPS: Axes = (2, 3)


@dataclass(frozen=True)
class Window:
    """A window of an operation's output.

    Attributes:
        call: the operation with the window's shape, and with those of what it reads of each input.
        corner: where the window starts along the two dimensions of the output that hold its rows
            and columns; in a batch of windows, where the first does.
    """

    call: Call
    corner: Mapping[int, int]


class Operation:
    """An operation outside the table, and the defaults for those inside it."""

    kind = "other"
    tabled = False
    is_layer = True
    """Whether it computes anything; reshaping, copying and the like are not layers."""
    remembers_inputs = True
    """Whether the reverse depends on what went up, as that of a linear operation does not."""
    keeps_channels = False
    """Whether each channel of the output depends on the same channel of the input alone."""
    moves_axes = False
    """Whether :meth:`axes` may put rows and columns elsewhere than an input has them."""
    takes_statistics = False
    """Whether it treats every place alike but for the means and deviations of whole maps."""
    outputs_saved = 0
    """How many of the first tensors that it remembers lie as its output does, not as its inputs."""
    published = False
    """Whether the deconvnet's papers say how to reverse it; if not, its derivative stands in."""

    def remember(
        self, call: Call, inputs: Sequence[Tensor], batch: int, rule: Rule
    ) -> tuple[Tensor, Saved]:
        """Run *call* and return its output with the tensors that :meth:`reverse` will want."""
        return call.run(inputs, batch), tuple(inputs) if self.remembers_inputs else ()

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return the signal for each input, given that for the output.

        *saved* holds what :meth:`remember` returned, one row a signal, or a single one that all
        signals share. The signal belongs to the operation, which may overwrite it; what
        it returns belongs to the receivers, so no two of the returned tensors may share memory.
        """
        batch = signal.shape[0] // call.shape[0]
        inputs = [
            value if len(value) == batch * shape[0] else value.repeat(batch, *(1,) * len(shape[1:]))
            for value, shape in zip(saved, call.input_shapes, strict=True)
        ]
        return vector_jacobian_product(call, signal, inputs)

    def reverse_channels(
        self, call: Call, maps: Tensor, channels: Tensor, saved: Saved = ()
    ) -> Tensor | None:
        """Return the signal for the input, given one that has a single channel.

        *maps* is that channel, [B, 1, H, W], and *channels*, [B], says which it is; *saved* is as
        for :meth:`reverse`. None where this is no cheaper than that on all channels.
        """
        return None

    def has_windows(self, call: Call, axes: Axes) -> bool:
        """Return whether :meth:`reverse_window` can reverse *call*.

        *axes* is where the output keeps its rows and columns.
        """
        # Whether there is a call never depends on the size, so that any will do.
        return self.on_windows(call, axes, (1, 1)) is not None

    def reverse_window(
        self, call: Call, window: Window, signal: Tensor, saved: Saved, rule: Rule
    ) -> Signals:
        """Return the signal for what a window of the output reads of each input.

        Most operations treat a window like a map of its own, without the padding that it brings
        along. *signal* holds the window's values; of *saved* there is what lies in the windows; the
        result covers what the window reads, padding included, see :meth:`rows`.
        """
        rows, columns = window.corner
        size = window.call.shape[rows], window.call.shape[columns]
        # Where there is none, as of a concatenation with a constant, the shapes tell enough.
        call = self.on_windows(window.call, (rows, columns), size) or window.call
        return self.reverse(call, signal, saved, rule)

    def rows(self, call: Call, position: int, dimension: int) -> Relation:
        """Return what the output reads of an input along *dimension* of the output.

        It is asked where this holds the image's rows or columns, and the input has them in the same
        dimension, counted from the end, or is moved by the operation.
        """
        return Whole()

    def relation(self, call: Call, position: int, source: int, target: int) -> Relation:
        """Return what the output's dimension *target* reads of an input's dimension *source*."""
        source_rank, target_rank = len(call.input_shapes[position]), len(call.shape)
        if not self.moves_axes and source - source_rank != target - target_rank:
            return Whole()
        return self.rows(call, position, target)

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return where the output keeps its rows and columns, given where the inputs do."""
        return None

    def on_windows(self, call: Call, axes: Axes, size: tuple[int, int]) -> Call | None:
        """Return the call that makes windows of *size* rows and columns from what they read.

        The windows that it is given bring their halo with them, taken from the map, or from
        :meth:`beyond` it, so it pads nothing itself. *axes* is where the output keeps its rows and
        columns. None where the operation can only run on whole maps.
        """
        return None

    def beyond(self, call: Call) -> float:
        """Return what the operation finds where it reads beyond the borders of a map."""
        return 0.0

    def multiply_adds(self, call: Call) -> int:
        """Return the multiply-adds for one image."""
        return 0


def vector_jacobian_product(call: Call, signal: Tensor, inputs: Sequence[Tensor]) -> Signals:
    """Return the vector-Jacobian product of *call* at *inputs* with *signal*, one an input.

    Raises:
        RuleError: if torch does not know the operation's derivative.
    """
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_(has_derivative(x.dtype)) for x in inputs]
        output = call.run(leaves, signal.shape[0] // call.shape[0])
        if not output.requires_grad:
            return (None,) * len(leaves)
        if output.layout is torch.strided and signal.stride() != output.stride():
            # Some of torch's derivatives, as that of instance norm, misread another layout.
            signal = torch.empty_like(output).copy_(signal)
        # Autograd refuses what needs no gradient, such as whole numbers.
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        try:
            found = iter(torch.autograd.grad(output, wanted, signal, allow_unused=True))
        except RuntimeError as error:
            if "not implemented" not in str(error):
                raise
            raise RuleError(
                f"no signal comes down through {call.name!r}, whose derivative PyTorch does not "
                f"know: choose a layer before it, or occlusion, which needs none"
            ) from None
    signals = [next(found) if leaf.requires_grad else None for leaf in leaves]
    return exclusive(signals)


def has_derivative(dtype: torch.dtype) -> bool:
    """Return whether values of a dtype can have a derivative: whole numbers have none."""
    return dtype.is_floating_point or dtype.is_complex


def in_dtype(signal: Tensor, dtype: torch.dtype) -> Tensor | None:
    """Return the signal for a value of *dtype*, given that for one of a wider kind.

    A network may have widened the value: its precision, or from real to complex numbers. None where
    the value is a whole number, which no derivative goes through.
    """
    if not has_derivative(dtype):
        return None
    return (signal.real if signal.is_complex() and not dtype.is_complex else signal).to(dtype)


def exclusive(signals: Sequence[Tensor | None]) -> Signals:
    """Return *signals* with a copy wherever two values share memory."""
    seen: set[int] = set()
    owned: list[Tensor | None] = []
    for signal in signals:
        if signal is None:
            owned.append(None)
            continue
        memory = signal.untyped_storage().data_ptr()
        # The derivative of a mean is one value seen from many places: stride zero.
        shared = memory in seen or 0 in signal.stride()
        owned.append(signal.clone(memory_format=torch.contiguous_format) if shared else signal)
        seen.add(memory)
    return tuple(owned)


class Generated(Operation):
    """A tensor that only the number of images decides, such as maps of coordinates or of zeros."""

    kind = "constant"
    tabled = True
    published = True
    is_layer = False

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return nothing: the signal ends here."""
        return (None,) * len(call.input_shapes)

    def axes(self, call: Call, inputs: Sequence[Axes]) -> Axes:
        """Return the usual axes of maps, so that what it is joined to keeps its own."""
        return MAPS if len(call.shape) == 4 else None


class LinearOperation(Operation):
    """An operation that is linear in its inputs, so that its reverse needs nothing remembered."""

    tabled = True
    published = True
    remembers_inputs = False

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def reverse(self, call: Call, signal: Tensor, saved: Saved, rule: Rule) -> Signals:
        """Return the transpose applied to *signal*; for a linear map it is the same everywhere."""
        batch = signal.shape[0] // call.shape[0]
        # Any inputs do, as their values do not matter; zeros cannot overflow or be NaN.
        zeros = [signal.new_zeros(batch * first, *rest) for first, *rest in call.input_shapes]
        return vector_jacobian_product(call, signal, zeros)


def with_arguments(call: Call, **changes: Any) -> Call:
    """Return *call* with other values for some of its arguments."""
    return replace(call, arguments={**call.arguments, **changes})


def pair(value: Any) -> list[int]:
    """Return *value* for rows and columns: ATen writes one number for two equal ones."""
    if isinstance(value, int):
        return [value, value]
    return list(value) * (2 if len(value) == 1 else 1)


def unpadded(padding: Any, dimensions: Collection[int]) -> list[int]:
    """Return *padding* of dimensions 2 and 3 without that of windows, which bring it with them."""
    return [0 if d in dimensions else p for d, p in zip((2, 3), pair(padding), strict=True)]


def resized(shape: Shape, axes: tuple[int, int], size: tuple[int, int]) -> Shape:
    """Return *shape* with another number of rows and columns."""
    changed = list(shape)
    changed[axes[0]], changed[axes[1]] = size
    return tuple(changed)


def across_maps(axes: Axes) -> Axes:
    """Return *axes* of what an operation makes that mixes all dimensions but the last two of four.

    Where rows and columns lie elsewhere the output has axes of its own, each of whose places reads
    all there is.
    """
    return axes if axes is not None and set(axes) == {2, 3} else MAPS


def varies(shape: Sequence[int], axes: Axes, rank: int) -> bool:
    """Return whether what is broadcast to *rank* dimensions varies along *axes*."""
    assert axes is not None
    missing = rank - len(shape)
    return any(axis >= missing and shape[axis - missing] > 1 for axis in axes)


def without(axes: Axes, mixed: Sequence[int]) -> Axes:
    """Return *axes*, or None if one of them is among the dimensions that were *mixed*."""
    return None if axes is None or set(axes) & set(mixed) else axes
