"""A user's own network, from a function in a Python file."""

import sys
from collections.abc import Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from convscope.arguments import described
from convscope.errors import ModelError, near_files, near_matches
from convscope.images import Preprocess
from convscope.models.parts import Parts, filled, seeded

DEFAULT_SIZE = (3, 224, 224)
SIZE_NOT_GIVEN = "input of 3×224×224: neither an example nor a size was given"


def from_factory(
    file: str, function: str, weights: str | Path | None, size: tuple[int, int, int] | None
) -> Parts:
    """Call *function* of the Python file, which returns an nn.Module, or a module and an example.

    The input is *size* [C, H, W], else the example's, else 3×224×224, as is noted. A module's
    attributes ``preprocess``, ``pretrained_cfg`` and ``classes`` (names) are taken over. Weights
    stay as the function made them by default, come from a file, or are drawn anew (None), all
    seeded with 0.

    Raises:
        ModelError: if the file or function is missing, fails, or returns something else.
    """
    loaded = _imported(Path(file))
    factory = getattr(loaded, function, None)
    if not callable(factory):
        functions = [name for name, value in vars(loaded).items() if callable(value)]
        raise ModelError(f"{file} has no function {function!r}{near_matches(function, functions)}")
    try:
        with seeded():
            made = factory()
    except (Exception, SystemExit) as error:
        raise ModelError(f"{file}:{function} failed: {_described(error)}") from error
    module, example = _module_and_example(made, f"{file}:{function}")
    if weights is None:
        with seeded():
            for layer in module.modules():
                if callable(reset := getattr(layer, "reset_parameters", None)):
                    reset()
    notes = filled(module, weights)
    shape = size or _shape_of(example)
    channels, height, width = shape or DEFAULT_SIZE
    own = getattr(module, "preprocess", None)
    known = own if isinstance(own, Preprocess) else None
    preprocess = known or Preprocess.identity(channels, (height, width))
    if not shape and not known:
        notes = (*notes, SIZE_NOT_GIVEN)
    classes = getattr(module, "classes", None)
    if not isinstance(classes, Sequence | None) or isinstance(classes, str):
        raise ModelError(f"the network's classes must be a list of names, not {described(classes)}")
    names = tuple(map(str, classes)) if classes else None
    parts = Parts(module, preprocess, names, notes, told=bool(known))
    return parts.resized(shape) if shape else parts


def _imported(path: Path) -> ModuleType:
    if not path.is_file():
        raise ModelError(f"the Python file {path} does not exist{near_files(path, '*.py')}")
    spec = spec_from_file_location(f"convscope_user_{path.stem}", path)
    assert spec is not None  # it ends in .py
    assert spec.loader is not None
    module = module_from_spec(spec)
    folder = str(path.parent.resolve())
    sys.path.insert(0, folder)
    try:
        # Dataclasses and pickling look their module up by name.
        sys.modules[spec.name] = module
        with seeded():
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a script that reads its arguments exits
        del sys.modules[spec.name]
        raise ModelError(f"{path} cannot be run: {_described(error)}") from error
    finally:
        sys.path.remove(folder)
    return module


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(".: ")


def _module_and_example(made: Any, name: str) -> tuple[nn.Module, Tensor | None]:
    match made:
        case nn.Module():
            return made, None
        case (nn.Module() as module, Tensor() as example):
            return module, example
    raise ModelError(
        f"{name} must return an nn.Module, or an nn.Module and an example [1, C, H, W], "
        f"not {described(made)}"
    )


def _shape_of(example: Tensor | None) -> tuple[int, int, int] | None:
    if example is None:
        return None
    if example.dim() != 4:
        raise ModelError(f"the example must be [1, C, H, W], not {list(example.shape)}")
    return (example.shape[1], example.shape[2], example.shape[3])
