"""Every kind of name of a model: :func:`parts_of`; and the weights that torchvision publishes."""

from collections.abc import Sequence
from pathlib import Path

import torch

from convscope.downloads import fetched, hash_of
from convscope.errors import DataError, ModelError, near_matches
from convscope.images import Preprocess
from convscope.models.architectures import ARCHITECTURES, initialise
from convscope.models.bundled import BUNDLED, base, bundled_file, bundled_peaks
from convscope.models.factories import from_factory
from convscope.models.parts import (
    IMAGENET,
    OFFICIAL_WEIGHTS,
    Parts,
    filled,
    imagenet_classes,
    seeded,
)
from convscope.models.zoos import from_timm, from_torchvision, in_a_zoo

MOST_VALUES = 2**28  # of an input: a gigabyte
NAMES = ("base", *ARCHITECTURES)
_FORMS = "torchvision:NAME, timm:NAME, path/file.py:factory or net.pt2"

_PUBLISHED = "https://download.pytorch.org/models"
OFFICIAL = {
    "vgg16": f"{_PUBLISHED}/vgg16-397923af.pth",
    "vgg16_bn": f"{_PUBLISHED}/vgg16_bn-6c64b313.pth",
    "alexnet": f"{_PUBLISHED}/alexnet-owt-7be5be79.pth",
    "squeezenet1_1": f"{_PUBLISHED}/squeezenet1_1-b8a52dc0.pth",
}
"""Where each file is; its name ends in the first digits of its SHA-256."""


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


def parts_of(name: str, weights: str | Path | None, size: tuple[int, int, int] | None) -> Parts:
    """Return a model by its name, whatever kind of name it is; see :func:`convscope.load`.

    Args:
        name: but for the folder of a training.
        weights: a file, :data:`OFFICIAL_WEIGHTS`, or None for random ones.
        size: of the input, for a factory that gives no example.

    Raises:
        ModelError: if there is no such model, or its file or weights cannot be used.
    """
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
    official = weights == OFFICIAL_WEIGHTS
    if weights is None:
        with seeded():
            module = ARCHITECTURES[name]()
            initialise(module)
    else:
        with torch.device("meta"):  # no time or memory for weights that are replaced at once
            module = ARCHITECTURES[name]()
    classes = imagenet_classes() if hasattr(module, "classifier") else None
    notes = filled(module, _published(name) if official else weights)
    typical = bundled_peaks(name) if official and name in BUNDLED else None
    return Parts(module, IMAGENET, classes, notes, typical=typical)


def _published(name: str) -> Path:
    """Return the file of a network's trained weights: what ships with convscope, or a download."""
    if name in BUNDLED:
        return bundled_file(f"{name}.safetensors")
    if name not in OFFICIAL:
        raise ModelError(
            f"there are no published weights of {name}; pass a file of weights, or 'random' for "
            f"random ones"
        )
    return fetch(OFFICIAL[name])


def fetch(url: str) -> Path:
    """Return the path of an official weight file, downloading it the first time.

    The cache is torch.hub's, so that a file torchvision has fetched is not fetched again. A
    download that breaks off is kept as ``.part``, and goes on from there at the next call.

    Raises:
        ModelError: if it cannot be fetched, or the cached or fetched file has another hash.
    """
    # Whoever loads other weights should not wait for these.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import DownloadColumn, Progress  # noqa: PLC0415

    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    digest = path.stem.rpartition("-")[2]
    if path.is_file():
        if not hash_of(path, "SHA256").startswith(digest):
            raise ModelError(
                f"{path} is not used: it is not the official file, whose SHA-256 starts with "
                f"{digest}; delete it, or pass another file with --weights"
            )
        return path
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), DownloadColumn())
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task(path.name)
            return fetched(
                url, path, "SHA256", digest,
                lambda had, total: bar.update(task, completed=had, total=total),
            )  # fmt: skip
    except (DataError, OSError) as error:
        raise ModelError(
            f"{error}; or put {path.name} into {path.parent}, or pass a file with --weights"
        ) from error


def _from_exported(path: Path, weights: str | Path | None) -> Parts:
    if weights != OFFICIAL_WEIGHTS:
        raise ModelError(f"{path} brings its own weights, which --weights cannot replace")
    # Its reader brings torch's compiler along, over a second that no other model should wait for.
    from convscope.models.exported import load_exported  # noqa: PLC0415

    program, (channels, height, width) = load_exported(path)
    return Parts(program, Preprocess.identity(channels, (height, width)), told=False)
