"""Fetching CIFAR-10: resumed where it broke off, checked, and unpacked without trust."""

import tarfile
from pathlib import Path

from convscope.downloads import Progress, fetched
from convscope.errors import DataError, OutputError
from convscope.study.data import FOLDER, require_cifar10

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"


def fetch_cifar10(
    out: str | Path,
    *,
    url: str = URL,
    md5: str = MD5,
    progress: Progress | None = None,
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
    try:
        archive = fetched(url, out / "cifar-10-binary.tar.gz", "MD5", md5, progress)
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


def _unpack(archive: Path, out: Path) -> None:
    """Extract the dataset's folder; nothing can be written outside *out*."""
    try:
        with tarfile.open(archive) as tar:
            members = [m for m in tar if m.name == FOLDER or m.name.startswith(f"{FOLDER}/")]
            tar.extractall(out, members=members, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}") from error
