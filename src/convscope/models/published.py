"""The weight files that torchvision publishes, fetched once and checked against their hash."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError

import torch

from convscope.errors import ModelError
from convscope.models.weight_files import first_line


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

    The cache is torch.hub's, so that a file torchvision has fetched is not fetched again.

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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            official.url, str(path), hash_prefix=official.hash_prefix, progress=True
        )
    # An unreachable host is an OSError, a wrong hash a RuntimeError, a bad reply an HTTPException.
    except Exception as error:
        reason = _why_unfetched(error)
        raise ModelError(
            f"cannot fetch {official.file} from {official.url} ({reason}); put it into {folder}, "
            f"or pass a file of weights with --weights"
        ) from error
    return path


def _why_unfetched(error: Exception) -> str:
    """Say why a download failed, on one line."""
    if isinstance(error, HTTPError):
        error.close()  # it is the server's reply, and holds its connection
        return str(error)
    return str(error.reason) if isinstance(error, URLError) else first_line(error)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
