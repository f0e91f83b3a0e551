"""One trace of a module by torch.export, which leaves everything as it was."""

import io
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram, ShapesCollection
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from convscope.network.shield import default_device, without_autocast
from convscope.network.tracing.advice import why_not
from convscope.network.tracing.inputs import Inputs
from convscope.network.tracing.randomness import RandomUse, pythons_draws

TRACING = threading.RLock()
"""Held while torch traces: it keeps what it does in variables that all threads share."""


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put *module* into evaluation mode, and every part of it back as it was afterwards.

    What its forward keeps in attributes is put back too: it would be tensors without values.
    """
    states = [(part, dict(vars(part))) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, state in states:
            for name in vars(part).keys() - state.keys():
                del vars(part)[name]
            vars(part).update(state)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep all that torch.export says besides its errors off the screen: nobody can act on it."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        # Where it fails it prints the graph so far on standard error.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leave whatever context the caller is in, so that the trace is the same everywhere."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(without_autocast())
        if default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


def export(module: nn.Module, inputs: Inputs) -> tuple[ExportedProgram, list[RandomUse]]:
    """Trace *module* with a dynamic batch if it allows one, else with the batch of one.

    Args:
        module: any module that maps images to something; it is left as it was.
        inputs: what it takes; only the shape, dtype and device of the images matter.

    Returns:
        the program, and where Python's own random numbers are drawn, which no node of it tells.

    Raises:
        TraceError: if the module cannot be traced, with the reason and what to try.
    """

    def forward() -> Any:
        return module(*inputs.args, **inputs.kwargs)

    with TRACING, evaluation_mode(module), quiet(), undisturbed(), pythons_draws(forward) as draws:
        return _exported(module, inputs), draws


def _exported(module: nn.Module, inputs: Inputs) -> ExportedProgram:
    try:
        # A batch of two, or reshapes written with a batch of one would be taken as constant.
        pair = inputs.of(2)
        shapes: Any = ShapesCollection()  # type: ignore[no-untyped-call]
        shapes[pair.image] = {0: Dim("batch")}
        return _export(module, pair, shapes.dynamic_shapes(module, pair.args, pair.kwargs))
    except Exception as error:  # torch.export raises nearly anything
        if "pytree" in str(error) and _registered(module, inputs):
            return _exported(module, inputs)
    try:  # a fixed batch may still do
        return _export(module, inputs, None)
    except Exception as error:
        raise why_not(module, inputs, error) from error


def _export(module: nn.Module, inputs: Inputs, shapes: Any) -> ExportedProgram:
    with _DataIsDetached():
        return torch.export.export(
            module, inputs.args, inputs.kwargs, dynamic_shapes=shapes, strict=False
        )


class _DataIsDetached(TorchFunctionMode):
    """Has ``x.data`` recorded as ``x.detach()``: torch.export would take it for a constant."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call *function*, or detach where the data of a tensor is asked for."""
        if function == torch.Tensor.data.__get__:  # type: ignore[attr-defined]
            return args[0].detach()
        return function(*args, **(kwargs or {}))


def _registered(module: nn.Module, inputs: Inputs) -> bool:
    """Tell torch of the dataclasses that *module* returns; return whether there were any."""
    try:
        with torch.no_grad():
            waiting, found = [module(*inputs.args, **inputs.kwargs)], False
    except Exception:  # the module's own, which is told of elsewhere
        return False
    while waiting:
        value = waiting.pop()
        if is_dataclass(value) and not isinstance(value, type):
            if pytree._is_leaf(value):
                torch.export.register_dataclass(type(value))
                found = True
            waiting += [getattr(value, part.name) for part in fields(value)]
        elif isinstance(value, dict | list | tuple):
            waiting += value.values() if isinstance(value, dict) else value
    return found


def leaves(inputs: Inputs, images: object) -> list[Any]:
    """Return all that a module is given in a row, with *images* in the place of the images."""
    found = pytree.tree_leaves((inputs.args, inputs.kwargs))
    return [images if leaf is inputs.image else leaf for leaf in found]
