"""Fetching CIFAR-10: resumed where it broke off, checked, and unpacked without trust."""

import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path

from convscope.downloads import download
from convscope.errors import DataError, OutputError
from convscope.study.data import FOLDER, require_cifar10

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"


def fetch_cifar10(
    out: str | Path,
    *,
    url: str = URL,
    md5: str = MD5,
    progress: Callable[[int, int | None], None] | None = None,
) -> Path:
    """Fetch and unpack CIFAR-10's official binary archive, unless *out* holds the files already.

    An interrupted download goes on where it stopped at the next call.

    Args:
        out: the folder to hold ``cifar-10-batches-bin``, made if missing.
        url: where the archive is.
        md5: the archive's MD5, in hexadecimal digits: its publisher gives no other hash.
        progress: called with the bytes had so far and, where the server tells, the bytes in all.

    Returns:
        The folder of the ``.bin`` files.

    Raises:
        DataError: it cannot be fetched, has another hash, or does not hold the dataset.
        OutputError: *out* cannot be written.
    """
    out = Path(out)
    if _complete(out):
        return out / FOLDER
    archive = out / "cifar-10-binary.tar.gz"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not archive.exists():
            download(url, part := archive.with_name(f"{archive.name}.part"), progress)
            part.replace(archive)
        _check(archive, md5, url)
        _unpack(archive, out)
        archive.unlink()
    except OSError as error:
        raise OutputError(f"cannot write into {out}: {error.strerror or error}") from error
    for half in ("train", "test"):
        require_cifar10(out, half)
    return out / FOLDER


def _complete(out: Path) -> bool:
    """Tell whether the folder is already there and whole."""
    try:
        require_cifar10(out, "train")
        require_cifar10(out, "test")
    except DataError:
        return False
    return (out / FOLDER).is_dir()


def _check(archive: Path, md5: str, url: str) -> None:
    """Delete an archive with the wrong hash, which no further download could put right."""
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if digest != md5:
        archive.unlink()
        raise DataError(
            f"what {url} sent has the MD5 {digest}, not CIFAR-10's {md5}; it was deleted, try again"
        )


def _unpack(archive: Path, out: Path) -> None:
    """Extract the dataset's folder; nothing can be written outside *out*."""
    try:
        with tarfile.open(archive) as tar:
            members = [m for m in tar if m.name == FOLDER or m.name.startswith(f"{FOLDER}/")]
            tar.extractall(out, members=members, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}") from error
