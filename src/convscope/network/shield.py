"""A caller's settings of torch kept away from what is computed here.

Under ``torch.autocast`` a map changes by two fifths of its largest value, and where a default
device or dtype is set, a tensor made in passing does not fit the others. What a network sees
depends on none of them: every public call that computes is shielded.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

KINDS = ("cpu", "cuda", "mps", "xpu")
Given = ParamSpec("Given")
Found = TypeVar("Found")


def default_device() -> torch.device:
    """Return where torch makes tensors; it cannot say so itself in 2.9 once that was unset."""
    return torch.empty(0).device


@contextmanager
def without_autocast() -> Iterator[None]:
    """Compute in the dtypes that values have, whatever ``torch.autocast`` is around."""
    with ExitStack() as stack:
        for kind in KINDS:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def own_settings() -> Iterator[None]:
    """Compute without autocast, and with torch's own default device and dtype.

    And not in ``torch.inference_mode``, in which there are no derivatives.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(without_autocast())
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        yield


def apart(values: Tensor) -> Tensor:
    """Return values through which no derivative of the caller's goes, fit for some of our own."""
    values = values.detach()
    return values.clone() if values.is_inference() else values


def shielded(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """Return *function* as one that :func:`own_settings` hold in."""

    @wraps(function)
    def call(*arguments: Given.args, **options: Given.kwargs) -> Found:
        with own_settings():
            return function(*arguments, **options)

    return call
