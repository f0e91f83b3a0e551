"""The weight files that torchvision publishes, fetched once and checked against their hash."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from convscope.downloads import download
from convscope.errors import DataError, ModelError


@dataclass(frozen=True)
class OfficialWeights:
    """A file that torchvision publishes; its name ends in the first digits of its SHA-256.

    >>> OfficialWeights("https://example.org/net-0123abcd.pth").hash_prefix
    '0123abcd'
    """

    url: str

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]

    @property
    def hash_prefix(self) -> str:
        """The first hexadecimal digits of the SHA-256 of the file's bytes."""
        return Path(self.file).stem.rpartition("-")[2]


_PUBLISHED = "https://download.pytorch.org/models"
OFFICIAL = {
    "vgg16": OfficialWeights(f"{_PUBLISHED}/vgg16-397923af.pth"),
    "vgg16_bn": OfficialWeights(f"{_PUBLISHED}/vgg16_bn-6c64b313.pth"),
    "alexnet": OfficialWeights(f"{_PUBLISHED}/alexnet-owt-7be5be79.pth"),
    "squeezenet1_1": OfficialWeights(f"{_PUBLISHED}/squeezenet1_1-b8a52dc0.pth"),
}


def fetch(official: OfficialWeights) -> Path:
    """Return the path of an official weight file, downloading it the first time.

    The cache is torch.hub's, so that a file torchvision has fetched is not fetched again. A
    download that breaks off is kept as ``.part``, and goes on from there at the next call.

    Raises:
        ModelError: if it cannot be fetched, or the cached or fetched file has another hash.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / official.file
    if path.is_file():
        if not _sha256(path).startswith(official.hash_prefix):
            raise ModelError(
                f"{path} is not used: it is not the official file, whose SHA-256 starts with "
                f"{official.hash_prefix}; delete it, or pass another file with --weights"
            )
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _download(official, part)
        if not _sha256(part).startswith(official.hash_prefix):
            part.unlink()  # no further download could put it right
            raise DataError(f"what {official.url} sent has a SHA-256 of another beginning")
        part.replace(path)
    except (DataError, OSError) as error:
        raise ModelError(
            f"{error}; or put {official.file} into {folder}, or pass a file with --weights"
        ) from error
    return path


def _download(official: OfficialWeights, part: Path) -> None:
    """Fetch an official file into *part*, with a bar on a terminal."""
    # Whoever loads other weights should not wait for these.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = TextColumn(official.file), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(official.file)
        download(
            official.url, part, lambda had, total: bar.update(task, completed=had, total=total)
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
