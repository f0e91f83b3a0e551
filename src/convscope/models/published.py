"""The weight files that torchvision publishes, fetched once and checked against their hash."""

from pathlib import Path

import torch

from convscope.downloads import fetched, hash_of
from convscope.errors import DataError, ModelError

_PUBLISHED = "https://download.pytorch.org/models"
OFFICIAL = {
    "vgg16": f"{_PUBLISHED}/vgg16-397923af.pth",
    "vgg16_bn": f"{_PUBLISHED}/vgg16_bn-6c64b313.pth",
    "alexnet": f"{_PUBLISHED}/alexnet-owt-7be5be79.pth",
    "squeezenet1_1": f"{_PUBLISHED}/squeezenet1_1-b8a52dc0.pth",
}
"""Where each file is; its name ends in the first digits of its SHA-256."""


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
