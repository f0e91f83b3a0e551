"""Values taken apart into tensors and what JSON can hold, and put together again by their types.

Tensors and facts go to one safetensors file, the facts in its header.
"""

import os
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from convscope.arguments import described
from convscope.outputs import written_beside


def tensors_of(value: Any, place: str = "") -> dict[str, Tensor]:
    """Return the tensors in a value, numpy's arrays among them, by where they are in it.

    The value is dataclasses, dictionaries, tuples and lists, one in another.

    >>> import torch
    >>> tensors_of({"maps": ({"drop": torch.zeros(2)}, 3)})
    {'maps/0/drop': tensor([0., 0.])}
    """
    if isinstance(value, Tensor):
        return {place: value}
    if isinstance(value, np.ndarray):
        return {place: torch.from_numpy(value)}
    found: dict[str, Tensor] = {}
    for name, item in _parts(value).items():
        # A slash in a name would look like a step into it.
        step = name.replace("/", "%2F")
        found |= tensors_of(item, f"{place}/{step}" if place else step)
    return found


def _parts(value: Any) -> dict[str, Any]:
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): item for name, item in value.items()}
    return {str(n): one for n, one in enumerate(value)} if isinstance(value, tuple | list) else {}


def plain_of(value: Any, *, with_tensors: bool = False) -> Any:
    """Return a value as dictionaries, tuples, lists, texts and numbers.

    Args:
        value: as for :func:`tensors_of`.
        with_tensors: whether tensors become lists, or else are left out.

    >>> import torch
    >>> plain_of({"drop": torch.zeros(2), "at": (1, 2)})
    {'at': (1, 2)}
    """
    if isinstance(value, Tensor | np.ndarray):
        return value.tolist() if with_tensors else None
    if isinstance(value, tuple | list):
        items = [plain_of(item, with_tensors=with_tensors) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, PurePath):
        return str(value)
    if not is_dataclass(value) and not isinstance(value, Mapping):
        return value
    return {
        name: plain_of(item, with_tensors=with_tensors)
        for name, item in _parts(value).items()
        if with_tensors or not isinstance(item, Tensor | np.ndarray)
    }


def put_together(kind: Any, plain: Any, tensors: Mapping[str, Tensor] | None = None) -> Any:
    """Return the value of some type that was taken apart.

    Args:
        kind: a dataclass, or what may stand as the type of a dataclass's field.
        plain: what :func:`plain_of` gave, read from JSON.
        tensors: what :func:`tensors_of` gave.

    Raises:
        KeyError, TypeError, ValueError: if it is no such value.
    """
    tree: dict[str, Any] = {}
    for place, tensor in (tensors or {}).items():
        *above, name = (step.replace("%2F", "/") for step in place.split("/"))
        branch = tree
        for step in above:
            branch = branch.setdefault(step, {})
        branch[name] = tensor
    return _built(kind, plain, tree)


def _built(kind: Any, plain: Any, tree: Any) -> Any:
    """Return a value of which *plain* holds the facts and *tree*, branch by branch, the tensors."""
    if isinstance(tree, Tensor):
        return tree.numpy() if get_origin(kind) is np.ndarray else tree
    inside = get_args(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return _built(next((one for one in inside if _fits(one, plain)), Any), plain, tree)
    if not tree and (kind is Any or not isinstance(plain, dict | list | tuple)):
        if is_dataclass(kind) and plain is not None:
            raise TypeError(f"{described(plain)} is no {getattr(kind, '__name__', kind)}")
        # JSON holds a choice's number, and a path's text.
        made = isinstance(kind, type) and issubclass(kind, Enum | PurePath) and plain is not None
        return kind(plain) if made else plain
    if is_dataclass(kind):
        hints, own = get_type_hints(kind), dict(plain or {})
        for name in {**own, **tree}:
            own[name] = _built(hints[name], own.get(name), tree.get(name, {}))
        return kind(**own)  # type: ignore[operator]
    if isinstance(plain, list | tuple):
        if get_origin(kind) is not tuple or inside[-1:] == (...,):
            inside = (inside[0] if inside else Any,) * len(plain)
        pairs = zip(inside, plain, strict=True)
        items = [_built(one, item, tree.get(str(n), {})) for n, (one, item) in enumerate(pairs)]
        return items if get_origin(kind) is list else tuple(items)
    one = inside[1] if inside else Any
    key = int if inside[:1] == (int,) else str  # JSON's names are texts
    return {
        key(name): _built(one, (plain or {}).get(name), tree.get(name, {}))
        for name in {**(plain or {}), **tree}
    }


def _fits(kind: Any, plain: Any) -> bool:
    """Return whether a value of one of a field's types, taken apart, can look like *plain*."""
    if isinstance(plain, dict):
        return is_dataclass(kind) or get_origin(kind) is dict
    if isinstance(plain, list | tuple):
        return get_origin(kind) in (tuple, list)
    return kind is type(plain)


def save_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], facts: Mapping[str, str]
) -> None:
    """Write tensors by name, no two of which share memory, and facts to a safetensors file.

    Should the disk be full or the power fail, what was at *path* is still there.

    Raises:
        OutputError: the file cannot be written.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_beside(path) as beside:
        try:
            save_file(whole, beside, dict(facts))
        except SafetensorError as error:  # its own word for a full disk or a missing folder
            raise OSError(str(error)) from error


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return what :func:`save_tensors` wrote: tensors by name, on the CPU, and facts.

    Raises:
        OSError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            # The file object is no mapping: keys() is the only way to its names. Copies, for where
            # a number lies in memory may decide the last digit of what is added to it.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        raise OSError(str(error)) from error
