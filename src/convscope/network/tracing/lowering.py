"""From the operations that torch.export writes down to those that the table knows.

Many of them are made of others, give views of what they read, or write over it. A step here reads
tensors and makes a new one. torch can rewrite a whole program so, but by running it anew, which
takes twice as long as the trace itself; nearly all that networks use is rewritten here one
operation at a time. What is not raises :class:`TangledError`, and torch does it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

aten = torch.ops.aten


class TangledError(Exception):
    """A program that has to be rewritten as a whole."""


@dataclass(frozen=True)
class Same:
    """An operation that gives what it reads, such as dropout that is off."""

    node: Node


@dataclass(frozen=True)
class Lowered:
    """What an operation becomes.

    Attributes:
        target: the operation.
        arguments: by name, with nodes of the program for what they stand for.
        item: which of its outputs, if it has several.
    """

    target: Any
    arguments: dict[str, Any]
    item: int | None = None


Arguments = dict[str, Any]
Lowering = Callable[[Node, Arguments], Lowered | Same]


def named_arguments(node: Node) -> Arguments:
    """Return a node's arguments by the names of its operation's schema, defaults filled in."""
    arguments = node.target._schema.arguments  # type: ignore[union-attr]
    named = {a.name: a.default_value for a in arguments if a.has_default_value()}
    given = zip((a.name for a in arguments), node.args, strict=False)
    return {**named, **dict(given), **node.kwargs}


def lowered(node: Node) -> Lowered | Same:
    """Return what a node of a program becomes.

    Raises:
        TangledError: if it cannot be told from the node alone.
    """
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        raise TangledError
    named = named_arguments(node)
    if target in _LOWERINGS:
        return _LOWERINGS[target](node, named)
    # Looked up once more: `dropout_` is known when it has become `dropout`.
    if target._schema.is_mutable:
        target, named = _without_writing(node, target, named)
        if target in _LOWERINGS:
            return _LOWERINGS[target](node, named)
    if _is_made_of_others(target):
        raise TangledError
    return Lowered(target, named)


_FILLED = {
    aten.new_zeros.default: 0,
    aten.new_ones.default: 1,
    aten.new_empty.default: 0,
    aten.new_full.default: None,
    aten.zeros_like.default: 0,
    aten.ones_like.default: 1,
    aten.empty_like.default: 0,
    aten.full_like.default: None,
}


def filled(node: Node) -> Lowered | None:
    """Return what a node becomes that takes no more of what it reads than its shape and kind."""
    if node.target not in _FILLED:
        return None
    value, named = node.meta["val"], named_arguments(node)
    fill = named.get("fill_value", _FILLED[node.target])
    options = {"dtype": value.dtype, "device": value.device}
    return Lowered(aten.full.default, {"size": [*value.shape], "fill_value": fill, **options})


def writes_over(node: Node) -> Node | None:
    """Return what a node writes its result over, if it does.

    Raises:
        TangledError: if it writes over anything but its first argument, which it returns.
    """
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or not target._schema.is_mutable:
        return None
    written = [a for a in target._schema.arguments if a.alias_info and a.alias_info.is_write]
    first = node.args[0] if node.args else None
    plain = len(written) == 1 and written[0] is target._schema.arguments[0]
    name = target._schema.name
    # What ends in `_`, as relu_, gives the tensor that it wrote over. Others write to an `out`, or
    # change the shape of what they read, for which no new tensor can stand.
    if torch.Tag.inplace_view in target.tags or not name.endswith("_") or not plain:
        raise TangledError
    if not isinstance(first, Node):
        raise TangledError
    return first


def shares_memory_with(node: Node) -> Node | None:
    """Return what a node may give a view of, if it may."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        views = any(result.alias_info for result in target._schema.returns)
        passes = torch.Tag.maybe_aliasing_or_mutating in target.tags
        if not views and (not passes or target is aten.batch_norm.default):
            return None
    first = node.args[0] if node.args else None
    return first if isinstance(first, Node) else None


def _without_writing(node: Node, target: Any, named: Arguments) -> tuple[Any, Arguments]:
    """Return the operation that makes a new tensor of what *target* writes over its first."""
    packet = getattr(aten, target._schema.name.split("::")[-1].removesuffix("_"), None)
    pure = getattr(packet, target._overloadname, None)
    tensors = [n for n in node.all_input_nodes if isinstance(n.meta.get("val"), Tensor)]
    dtypes = {n.meta["val"].dtype for n in tensors}
    # In place, a result is forced into the dtype of what it is written over; a new tensor would get
    # the wider of the two.
    if pure is None or pure._schema.is_mutable or (len(dtypes) > 1 and target not in _KEEPING):
        raise TangledError
    first, pure_first = target._schema.arguments[0].name, pure._schema.arguments[0].name
    return pure, {pure_first if name == first else name: v for name, v in named.items()}


_KEEPING = (aten.copy_.default, aten.masked_fill_.Scalar, aten.masked_fill_.Tensor)
"""What writes over a tensor without changing its dtype, whatever the others' are."""


def _is_made_of_others(target: Any) -> bool:
    """Return whether *target* is written as others that give views, or are not known at once."""
    made = torch._C._dispatch_has_kernel_for_dispatch_key(
        target.name(), "CompositeImplicitAutograd"
    )
    views = any(result.alias_info for result in target._schema.returns)
    return made and (views or torch.Tag.maybe_aliasing_or_mutating in target.tags)


def _reshaped(node: Node, named: Arguments) -> Lowered:
    return Lowered(
        aten.reshape.default, {"self": named["self"], "shape": [*node.meta["val"].shape]}
    )


def _converted(node: Node, named: Arguments) -> Lowered | Same:
    """Return a change of dtype; where tensors lie is up to the network."""
    # The overloads name the dtype in different arguments, or by another tensor: the result tells.
    before, after = named["self"].meta["val"], node.meta["val"]
    if before.dtype == after.dtype and not named.get("copy"):
        return Same(named["self"])
    defaults = {a.name: a.default_value for a in aten._to_copy.default._schema.arguments[1:]}
    arguments = {**defaults, "self": named["self"], "dtype": after.dtype}
    return Lowered(aten._to_copy.default, arguments)


def _contiguous(node: Node, named: Arguments) -> Lowered | Same:
    wanted = node.kwargs.get("memory_format", torch.contiguous_format)
    if named["self"].meta["val"].is_contiguous(memory_format=wanted):
        return Same(named["self"])
    return Lowered(aten.clone.default, {"self": named["self"], "memory_format": wanted})


def _dropout(node: Node, named: Arguments) -> Lowered | Same:
    if named["train"] and named["p"] > 0:
        return Lowered(node.target, named)  # random: whoever asked decides
    # Off, or with nothing to drop: in both cases the values go through.
    return Same(node.all_input_nodes[0])


def _batch_norm(node: Node, named: Arguments) -> Lowered:
    taken = ("input", "weight", "bias", "running_mean", "running_var", "momentum", "eps")
    arguments = {name: named[name] for name in taken}
    if not named["training"] and named["running_mean"] is not None:
        return Lowered(aten._native_batch_norm_legit_no_training.default, arguments, 0)
    # In training mode, or where nothing was tracked, the batch's own statistics are taken.
    del arguments["running_mean"], arguments["running_var"]
    target = aten._native_batch_norm_legit.no_stats
    return Lowered(target, {**arguments, "training": True}, 0)


def _chunk(node: Node, named: Arguments) -> Lowered:
    length = named["self"].meta["val"].shape[named["dim"]]
    # A size that grows with the batch cannot be rounded up here.
    if not isinstance(length, int):
        raise TangledError
    size = math.ceil(length / named["chunks"])
    arguments = {"self": named["self"], "split_size": size, "dim": named["dim"]}
    return Lowered(aten.split.Tensor, arguments)


def _narrow(node: Node, named: Arguments) -> Lowered:
    start, length = named["start"], named["length"]
    if not isinstance(start, int) or not isinstance(length, int) or start < 0:
        raise TangledError
    bounds = {"start": start, "end": start + length, "step": 1}
    return Lowered(aten.slice.Tensor, {"self": named["self"], "dim": named["dim"], **bounds})


def _expanded(node: Node, named: Arguments) -> Lowered:
    size = [*node.meta["val"].shape]
    return Lowered(aten.expand.default, {"self": named["self"], "size": size, "implicit": False})


def _permuted(node: Node, named: Arguments) -> Lowered:
    """Return a permutation: of a tensor whose sizes all differ, the result's shape tells which."""
    (source,) = node.all_input_nodes
    # On the meta device no values are made. Of [1, 2, 3, 4] that comes out as [1, 3, 4, 2], the
    # order was 0, 2, 3, 1.
    marked = torch.empty(*range(1, source.meta["val"].dim() + 1), device="meta")
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda _: marked)
    dims = [size - 1 for size in node.target(*args, **kwargs).shape]  # type: ignore[operator]
    return Lowered(aten.permute.default, {"self": source, "dims": dims})


def _copied(node: Node, named: Arguments) -> Lowered:
    """Return what is written into a slice, in an operation that torch has a derivative for."""
    # A source is broadcast to what it is written into, which `where` does as well.
    chosen = {"condition": torch.tensor(True), "self": named["src"], "other": named["self"]}
    return Lowered(aten.where.self, chosen)


def _same(node: Node, named: Arguments) -> Same:
    return Same(node.all_input_nodes[0])


_LOWERINGS: dict[Any, Lowering] = {
    aten.contiguous.default: _contiguous,
    aten.reshape.default: _reshaped,
    aten.view.default: _reshaped,
    aten._unsafe_view.default: _reshaped,
    # On a single image it would squeeze the batch dimension away too.
    aten.squeeze.default: _reshaped,
    aten.flatten.using_ints: _reshaped,
    aten.unflatten.int: _reshaped,
    aten.reshape_as.default: _reshaped,
    aten.view_as.default: _reshaped,
    aten.expand_as.default: _expanded,
    aten.lift_fresh_copy.default: _same,
    aten.alias.default: _same,
    aten.to.dtype: _converted,
    aten.to.dtype_layout: _converted,
    aten.to.device: _converted,
    aten.to.other: _converted,
    aten.type_as.default: _converted,
    aten.dropout.default: _dropout,
    aten.feature_dropout.default: _dropout,
    aten.alpha_dropout.default: _dropout,
    aten.feature_alpha_dropout.default: _dropout,
    aten.batch_norm.default: _batch_norm,
    aten.copy.default: _copied,
    aten.chunk.default: _chunk,
    aten.narrow.default: _narrow,
    aten.swapaxes.default: _permuted,
    aten.swapdims.default: _permuted,
    aten.movedim.int: _permuted,
    aten.movedim.intlist: _permuted,
    aten.moveaxis.int: _permuted,
    aten.moveaxis.intlist: _permuted,
    aten.mT.default: _permuted,
}
