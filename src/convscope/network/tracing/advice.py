"""Why a module cannot be traced, in words that help."""

import re
import traceback
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from convscope.arguments import described
from convscope.errors import TraceError
from convscope.network.tracing.inputs import Inputs, parameters_of
from convscope.network.tracing.randomness import own_line

_WRAPPERS = ("DataParallel", "DistributedDataParallel", "AveragedModel", "_FabricModule")
_DATA_DEPENDENT = re.compile(
    r"data-dependent|DataDependent|unbacked|zuf\d|Cannot convert symbols|_local_scalar_dense"
    r"|\.numpy\(\)|\.item\(\)|\.tolist\(\)|convert.*to a (NumPy|numpy)|nonzero"
)
_KEPT_HOOKS = ("torch.nn.utils", "torch.nn.modules", "torch._dynamo", "accelerate.")


def unwrapped(module: Any) -> Any:
    """Return the module inside one that only calls it, as torch.compile and DataParallel do."""
    while isinstance(module, nn.Module):
        inner = getattr(module, "_orig_mod", None)
        if inner is None and type(module).__name__ in _WRAPPERS:
            inner = module.module
        if not isinstance(inner, nn.Module):
            break
        module = inner
    return module


def check_module(module: Any) -> None:
    """Refuse what is seen to be no network that can be traced, before any time is spent on it.

    Raises:
        TraceError: if it is none.
    """
    if not isinstance(module, nn.Module):
        raise TraceError(_no_module(module))
    name = type(module).__name__
    for path, part in module.named_modules():
        where = f"its part {path!r}" if path else name
        home = type(part).__module__
        if isinstance(part, torch.jit.ScriptModule):
            raise TraceError(
                f"{where} is scripted (TorchScript), which cannot be looked into: give the module "
                f"that it was made of"
            )
        if re.search(r"\bquantized\b", home) and not re.search(r"\bqat\b", home):
            raise TraceError(
                f"{where} is quantised to integers, in which nothing can be traced back: give the "
                f"network of floats that it was made of"
            )
        if re.search(r"\bqat\b", home) or type(part).__name__.startswith("FakeQuantize"):
            raise TraceError(
                f"{where} is prepared for quantisation, which rounds every value: give the network "
                f"of floats that it was made of"
            )
    for path, weight in module.named_parameters():
        if is_lazy(weight):
            raise TraceError(
                f"the weights {path!r} of {name} have no shape yet: run the module once on an image"
            )
        if weight.is_inference():
            raise TraceError(
                f"the weights {path!r} of {name} were made in torch.inference_mode, which keeps "
                f"them from any way back: make or load the module outside of it"
            )
        if weight.is_meta:
            raise TraceError("the network's weights have no values: they lie on the meta device")
    home = type(module).__module__
    if home.startswith("torchvision.models.detection") and hasattr(module, "backbone"):
        raise TraceError(_detector(module))


def _no_module(value: Any) -> str:
    if isinstance(value, torch.Tensor | tuple):
        return "the module comes first and the example second: Network(module, example)"
    if isinstance(value, type):
        return (
            f"{value.__name__} is a class: make a module of it first, as in {value.__name__}(...)"
        )
    if isinstance(value, dict):
        return "a dictionary of weights is no network: make the module and load them into it"
    if isinstance(value, str):
        return f"a network by name is loaded by convscope.load({value!r})"
    if callable(value):
        return (
            f"{getattr(value, '__name__', type(value).__name__)} is a function, which has no "
            f"layers: call it in the forward of a torch.nn.Module"
        )
    return f"the network must be a torch.nn.Module, not {described(value)}"


def _detector(module: nn.Module) -> str:
    return (
        f"{type(module).__name__} is a detector, which gives each image as many boxes as it finds: "
        f"use its backbone: Network(module.backbone, example)"
    )


def why_not(module: nn.Module, inputs: Inputs, error: Exception) -> TraceError:
    """Return the error that says why *module* was not traced, and what to try.

    Args:
        module: the module, in evaluation mode.
        inputs: what it was traced on.
        error: what torch raised.
    """
    name, shape = type(module).__name__, list(inputs.image.shape)
    beginning = f"{name} cannot be traced on an input of shape {shape}"
    place = line_of(error)
    at = f", at {place}" if place else ""
    hooks = foreign_hooks(module)
    trouble = _trouble_without_tracing(module, inputs)
    if kept := re.search(r"attributes? (self\.[\w., ]+?) (?:was|were) assigned", str(error)):
        reason = (
            f"its forward keeps a tensor in {kept[1]}, which this version of torch cannot trace"
        )
        ending = "leave that out, or use a newer torch"
    elif trouble is not None:
        beginning = f"{name} itself fails on an input of shape {shape}"
        reason, line = first_sentence(trouble), line_of(trouble)
        at = f", at {line}" if line else ""
        ending = _what_to_try(module, inputs, reason)
    elif _DATA_DEPENDENT.search(f"{type(error).__name__} {error}"):
        reason, ending = _data_dependent(place)
    else:
        reason, ending = first_sentence(error), "write that line in another way"
    if hooks and (trouble is None or any(hook in str(place) for hook in hooks)):
        ending = f"it has forward hooks ({', '.join(hooks[:3])}), so remove them first"
    elif isinstance(getattr(module, "backbone", None), nn.Module):
        ending += ", or use its backbone: Network(module.backbone, example)"
    return TraceError(f"{beginning}: {reason}{at}; {ending}")


def _data_dependent(place: str | None) -> tuple[str, str]:
    """Return what is wrong where shapes or branches follow from pixels, and what to try."""
    code = (place or "").rpartition(", `")[2]
    if re.search(r"nonzero|unique|masked_select|\[[^\]]*[<>=!]=?[^\]]*\]|mask\]", code):
        return (
            "how many values it keeps is data-dependent",
            "choose values by torch.where, which keeps the shape",
        )
    if re.search(r"numpy|tolist|\.item\(", code):
        return (
            "values leave torch there, which is data-dependent",
            "write it with operations of torch, and move Python branches that depend on pixel "
            "values out of its forward",
        )
    if "rand" in code:
        return ("a random choice is data-dependent", "leave it out where `self.training` is false")
    return (
        "what it does is data-dependent",
        "move Python branches that depend on pixel values out of its forward",
    )


def _what_to_try(module: nn.Module, inputs: Inputs, reason: str) -> str:
    """Return what to try with a module that does not run on the images that it was given."""
    parts = [type(part).__name__ for part in module.modules()]
    if any(part.endswith("Conv3d") for part in parts):
        return (
            "its convolutions are three-dimensional, for volumes or videos, which an image is not"
        )
    if re.search(r"dtype|scalar type|Input type", reason):
        return "bring one to the type of the other there, as by .to(x.dtype)"
    names = [*parameters_of(module)]
    if len(names) < 2 or not inputs.args or inputs.kwargs:
        return "try another size or number of channels, or mend that line"
    return (
        f"try another size or number of channels, or mend that line (the images were given as "
        f"{names[0]!r} of {', '.join(names)}; image= names another)"
    )


def _trouble_without_tracing(module: nn.Module, inputs: Inputs) -> Exception | None:
    """Return what goes wrong when the module simply runs, if anything does."""
    try:
        with torch.no_grad():
            module(*inputs.args, **inputs.kwargs)
    except Exception as error:  # whatever the module raises
        return error
    return None


def foreign_hooks(module: nn.Module) -> list[str]:
    """Return the forward hooks that others left in a module, such as ``"save on 'layer4'"``."""
    found = []
    for path, part in module.named_modules():
        for hook in (*part._forward_hooks.values(), *part._forward_pre_hooks.values()):
            home = getattr(hook, "__module__", type(hook).__module__) or ""
            if not home.startswith(_KEPT_HOOKS):
                called = getattr(hook, "__name__", type(hook).__name__)
                found.append(f"{called} on {path or 'the module itself'!r}")
    return found


def line_of(error: BaseException) -> str | None:
    """Return the line of somebody's own code where *error* came up."""
    text = "".join(traceback.format_tb(error.__traceback__))
    found = own_line(text)
    return found or own_line(str(error))


def first_sentence(error: BaseException) -> str:
    """Return the first line of an error, without the dot at its end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines and isinstance(error, AssertionError):
        return "what it asserts does not hold"
    return (lines[0] if lines else type(error).__name__).rstrip(".:").replace("c10::", "")
