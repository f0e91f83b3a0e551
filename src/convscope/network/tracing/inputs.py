"""What a module is given: the images, and what stays the same beside them."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from convscope.arguments import described
from convscope.errors import TraceError, near_matches


@dataclass(frozen=True, eq=False)
class Inputs:
    """A module's inputs.

    Attributes:
        args: those by position.
        kwargs: those by name.
        image: the one among them that is the images, [N, C, H, W].
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    image: Tensor

    def with_image(self, image: Tensor) -> "Inputs":
        """Return the same inputs with other images."""

        def other(value: Any) -> Any:
            return image if value is self.image else value

        args, kwargs = pytree.tree_map(other, (self.args, self.kwargs))
        return Inputs(args, kwargs, image)

    def of(self, count: int) -> "Inputs":
        """Return the same inputs for *count* images, whose values do not matter."""
        return self.with_image(self.image.new_zeros(count, *self.image.shape[1:]))

    def to(self, device: torch.device, dtype: torch.dtype) -> "Inputs":
        """Return the inputs on a device, the images in a dtype of their own."""
        placed = self.with_image(torch.zeros(self.image.shape, dtype=dtype, device=device))

        def moved(value: Any) -> Any:
            if not isinstance(value, Tensor) or value is placed.image:
                return value
            return value.detach().to(device, dtype if value.is_floating_point() else None)

        args, kwargs = pytree.tree_map(moved, (placed.args, placed.kwargs))
        return replace(placed, args=args, kwargs=kwargs)


def inputs_of(module: object, example: Any, fixed: Mapping[str, Any], image: str | None) -> Inputs:
    """Find out what is given to a module, and which of it is the images.

    Args:
        module: the module, or a program.
        example: an image batch of one, its shape, or all inputs in a tuple or a dictionary.
        fixed: further inputs by name.
        image: the name of the input that is the images.

    Raises:
        TraceError: if the images are not found, or the module takes other inputs.
    """
    if not isinstance(fixed, Mapping):
        raise TraceError(f"fixed is a dictionary of inputs by name, not {described(fixed)}")
    args: tuple[Any, ...] = ()
    if isinstance(example, Mapping):
        kwargs = {**example, **fixed}
        kwargs = {name: _tensor(value) for name, value in kwargs.items()}
        found = kwargs.get(image) if image else _only_image([*kwargs.values()])
    elif _is_shape(example) or not isinstance(example, tuple | list):
        found = _image(example)
        args, kwargs = (found,), dict(fixed)
        if isinstance(module, nn.Module):
            named = image or _keyword_only(module, fixed)
            args, kwargs = ((), {named: found, **fixed}) if named else (args, kwargs)
    else:
        args, kwargs = tuple(map(_tensor, example)), dict(fixed)
        found = kwargs.get(image) if image else _only_image([*args])
    if not isinstance(found, Tensor):
        raise TraceError(
            f"there is no input {image!r}{near_matches(image, kwargs)}"
            if image
            else "which input is the images cannot be told: they are the one that is [1, C, H, W] "
            "of floats, or named by image="
        )
    if found.dim() != 4 or len(found) != 1:
        raise TraceError(f"the example must be [1, C, H, W], not {list(found.shape)}")
    if isinstance(module, nn.Module):
        kwargs = _in_order(module, args, kwargs)
    return Inputs(args, kwargs, found)


def _is_shape(value: Any) -> bool:
    """Return whether *value* is the shape of an image or of a batch of one."""
    plain = isinstance(value, tuple | list | torch.Size) and len(value) in (3, 4)
    return plain and all(isinstance(n, int) and not isinstance(n, bool) for n in value)


def _image(example: Any) -> Tensor:
    """Return the example as a tensor."""
    if _is_shape(example):
        if min(example) < 1:
            raise TraceError(f"an image of shape {list(example)} has no pixels")
        return torch.zeros([1, *example][-4:])
    example = _tensor(example)
    if isinstance(example, nn.Module):
        raise TraceError("the module comes first and the example second: Network(module, example)")
    if isinstance(example, str | Path):
        raise TraceError(
            f"the example is a batch of one image, not {str(example)!r}; its shape, such as "
            f"(1, 3, 224, 224), will do"
        )
    if not isinstance(example, Tensor):
        raise TraceError(
            f"the example is a tensor [1, C, H, W] or its shape, not {described(example)}"
        )
    return example


def _tensor(value: Any) -> Any:
    """Return an array as a tensor, and anything else as it is."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(np.ascontiguousarray(value))
    return value


def _only_image(values: Sequence[Any]) -> Any:
    maps = [v for v in values if isinstance(v, Tensor) and v.dim() == 4 and v.is_floating_point()]
    return maps[0] if len(maps) == 1 else None


def parameters_of(module: nn.Module) -> dict[str, inspect.Parameter]:
    """Return the inputs of a module by name, as its forward declares them."""
    try:
        return dict(inspect.signature(module.forward).parameters)
    except (TypeError, ValueError):  # written in C
        return {}


def _keyword_only(module: nn.Module, fixed: Mapping[str, Any]) -> str | None:
    """Return the input that is the images if the module takes none by position."""
    parameters = parameters_of(module).values()
    named = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in fixed]
    if not named or any(p.kind in (p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL) for p in parameters):
        return None
    required = [p.name for p in named if p.default is p.empty]
    if len(required) > 1:
        raise TraceError(
            f"the module takes several inputs ({', '.join(required)}): name the images by image= "
            f"and give the others by fixed="
        )
    return (required or [named[0].name])[0]


def _in_order(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs by name in the order of the module's own, all that it needs among them."""
    parameters = parameters_of(module)
    if not parameters:
        return dict(kwargs)
    kinds = {p.kind for p in parameters.values()}
    unknown = [name for name in kwargs if name not in parameters]
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        raise TraceError(
            f"{type(module).__name__} takes no input {unknown[0]!r}"
            f"{near_matches(unknown[0], parameters)} (it takes {', '.join(parameters)})"
        )
    plain = [p for p in parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    positional = [p.name for p in plain if p.kind is not p.KEYWORD_ONLY]
    if len(args) > len(positional) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        raise TraceError(
            f"{type(module).__name__} takes {len(positional)} inputs by position "
            f"({', '.join(positional) or 'none'}), not {len(args)}"
        )
    given = {*positional[: len(args)], *kwargs}
    missing = [p.name for p in plain if p.default is p.empty and p.name not in given]
    if missing:
        values = ", ".join(f"{name!r}: ..." for name in missing)
        raise TraceError(
            f"{type(module).__name__} takes several inputs: give it {' and '.join(missing)} too, "
            f"by fixed={{{values}}}"
        )
    order = [*parameters, *unknown]
    return {name: kwargs[name] for name in sorted(kwargs, key=order.index)}
