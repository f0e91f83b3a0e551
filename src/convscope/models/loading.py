"""One name for every kind of model: :func:`load`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from convscope.errors import ModelError, near_matches
from convscope.images import Preprocess
from convscope.models.architectures import ARCHITECTURES, initialise
from convscope.models.bundled import BUNDLED, base, bundled_peaks, bundled_weights
from convscope.models.factories import from_factory
from convscope.models.parts import (
    IMAGENET,
    OFFICIAL_WEIGHTS,
    RANDOM_NOTE,
    Parts,
    imagenet_classes,
)
from convscope.models.published import OFFICIAL, fetch
from convscope.models.seeding import seeded
from convscope.models.weight_files import first_line
from convscope.models.weights import fill
from convscope.models.zoos import from_timm, from_torchvision, in_a_zoo
from convscope.network import Network
from convscope.network.shield import shielded

MOST_VALUES = 2**28  # of an input: a gigabyte
NAMES = ("base", *ARCHITECTURES)
RANDOM_WEIGHTS = "random"
_FORMS = "torchvision:NAME, timm:NAME, path/file.py:factory or net.pt2"


@shielded
def load(
    name: str | Path,
    weights: str | Path | None = OFFICIAL_WEIGHTS,
    *,
    size: str | Sequence[int] | None = None,
    device: str | torch.device = "cpu",
    answer: str | None = None,
    head: int | str | None = None,
    random: str = "refuse",
    preprocess: Any = None,
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
    resize: int | None = None,
    interpolation: str | None = None,
) -> Network:
    """Load a network by name; see :func:`convscope.load`, which takes a training's folder too.

    Raises:
        ModelError: if there is no such model, or its file or weights cannot be used.
        TraceError: if the module cannot be traced.
    """
    if weights == RANDOM_WEIGHTS:
        weights = None
    shape = None if size is None else parse_size(size)
    parts = _parts(str(name), weights, shape)
    if shape is not None:
        parts = parts.resized(shape)
    module = readied(parts.module, device)
    given = any(value is not None for value in (preprocess, mean, std, resize, interpolation))
    example = torch.zeros(1, parts.preprocess.channels, *parts.preprocess.size)
    net = Network(
        module,
        example,
        name=Path(name).name,
        preprocess=parts.preprocess if parts.told and not given else preprocess,
        mean=mean,
        std=std,
        resize=resize,
        interpolation=interpolation,
        random=random,
        classes=parts.classes,
        notes=parts.notes,
        answer=answer,
        head=head,
    )
    net.typical = parts.typical
    return net


def parse_size(size: str | Sequence[int]) -> tuple[int, int, int]:
    """Return an input size as (channels, height, width)."""
    try:
        channels, height, width = map(int, size.split(",") if isinstance(size, str) else size)
    except (TypeError, ValueError, OverflowError):
        raise ModelError(
            f"the size {size!r} is not three numbers C,H,W such as 3,224,224"
        ) from None
    if min(channels, height, width) < 1:
        raise ModelError(f"the size {size!r} must be at least 1 in every direction")
    if channels * height * width > MOST_VALUES:
        raise ModelError(f"the size {size!r} is too large: it has over {MOST_VALUES:,} values")
    return channels, height, width


def _parts(name: str, weights: str | Path | None, size: tuple[int, int, int] | None) -> Parts:
    """Find out what kind of name it is, and build that."""
    kind, _, rest = name.partition(":")
    file, _, function = name.rpartition(":")
    if kind == "torchvision":
        return from_torchvision(rest, weights)
    if kind == "timm":
        return from_timm(rest, weights)
    if file.endswith(".py"):
        return from_factory(file, function, weights, size)
    if name.endswith(".pt2"):
        return _from_exported(Path(name), weights)
    if name == "base":
        return base(weights)
    if name in ARCHITECTURES:
        return _from_architecture(name, weights)
    if name.endswith(".py"):
        raise ModelError(f"name the function of {name} that makes the network: {name}:FUNCTION")
    raise ModelError(
        f"there is no model {name!r}{in_a_zoo(name) or near_matches(name, NAMES)} "
        f"(a model is {', '.join(NAMES)}, {_FORMS})"
    )


def _from_architecture(name: str, weights: str | Path | None) -> Parts:
    """Build one of convscope's own networks; those without a classifier have no classes."""
    with torch.device("meta"):  # no time or memory for weights that are replaced at once
        module = ARCHITECTURES[name]()
    classes = imagenet_classes() if hasattr(module, "classifier") else None
    if weights is None:
        with seeded():
            module = ARCHITECTURES[name]()
            initialise(module)
        return Parts(module, IMAGENET, classes, (RANDOM_NOTE,))
    published = weights == OFFICIAL_WEIGHTS
    fill(module, _published(name) if published else weights)
    typical = bundled_peaks(name) if published and name in BUNDLED else None
    return Parts(module, IMAGENET, classes, typical=typical)


def _published(name: str) -> Path:
    """Return the file of a network's trained weights: what ships with convscope, or a download."""
    if name in BUNDLED:
        return bundled_weights(name)
    if name not in OFFICIAL:
        raise ModelError(
            f"there are no published weights of {name}; pass a file of weights, or 'random' for "
            f"random ones"
        )
    return fetch(OFFICIAL[name])


def _from_exported(path: Path, weights: str | Path | None) -> Parts:
    """Load an exported program, which brings its weights and its input size."""
    if weights != OFFICIAL_WEIGHTS:
        raise ModelError(f"{path} brings its own weights, which --weights cannot replace")
    # Its reader brings torch's compiler along, over a second that no other model should wait for.
    from convscope.models.exported import load_exported  # noqa: PLC0415

    program, (channels, height, width) = load_exported(path)
    return Parts(program, Preprocess.identity(channels, (height, width)), told=False)


def readied(
    module: nn.Module | ExportedProgram, device: str | torch.device
) -> nn.Module | ExportedProgram:
    """Return a model on a device, in evaluation mode: whoever calls it should not meet dropout."""
    if str(device) == "meta":
        raise ModelError("the device 'meta' cannot be used: it computes shapes and no values")
    try:
        if isinstance(module, ExportedProgram):
            return move_to_device_pass(module, device)
        return module.to(device).eval()
    except (AssertionError, RuntimeError) as error:  # torch's words for "no such device here"
        raise ModelError(
            f"the device {str(device)!r} cannot be used: {first_line(error)}"
        ) from error
