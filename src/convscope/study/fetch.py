"""Fetching CIFAR-10: resumed where it broke off, checked, and unpacked without trust."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from convscope.errors import DataError, OutputError
from convscope.study.data import FOLDER, require_cifar10

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
CHUNK = 1 << 18
TIMEOUT = 30.0


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
            _download(url, archive.with_name(f"{archive.name}.part"), progress)
            archive.with_name(f"{archive.name}.part").replace(archive)
        _check(archive, md5, url)
        _unpack(archive, out)
        archive.unlink()
    except OSError as error:
        raise OutputError(f"cannot write into {out}: {error.strerror or error}") from error
    for part in ("train", "test"):
        require_cifar10(out, part)
    return out / FOLDER


def _complete(out: Path) -> bool:
    """Tell whether the folder is already there and whole."""
    try:
        require_cifar10(out, "train")
        require_cifar10(out, "test")
    except DataError:
        return False
    return (out / FOLDER).is_dir()


def _download(url: str, part: Path, progress: Callable[[int, int | None], None] | None) -> None:
    """Fetch *url* into *part*, going on after the bytes that it holds."""
    have = part.stat().st_size if part.exists() else 0
    with _requested(url, have) as reply:
        if reply is None:
            return  # all of it was there; the hash will tell
        if reply.status != HTTPStatus.PARTIAL_CONTENT:
            have = 0  # the server does not resume, and sends everything
        length = reply.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("ab" if have else "wb") as file:
            while chunk := _read(reply, url):
                file.write(chunk)
                have += len(chunk)
                if progress is not None:
                    progress(have, total)
    if total is not None and have < total:
        raise DataError(
            f"the connection to {url} broke off after {have:,} of {total:,} bytes; "
            f"they are kept, try again to go on"
        )


@contextmanager
def _requested(url: str, have: int) -> Iterator[HTTPResponse | None]:
    """Yield the server's reply with what follows the first *have* bytes; None if nothing does."""
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        reply = urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise DataError(f"cannot fetch {url}: {error.code} {error.reason}") from error
        yield None
        return
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise DataError(f"cannot fetch {url}: {reason}") from error
    with reply:
        yield reply


def _read(reply: HTTPResponse, url: str) -> bytes:
    """Return the next bytes of a reply, none at its end."""
    try:
        return reply.read(CHUNK)
    except (OSError, HTTPException) as error:
        raise DataError(
            f"the connection to {url} broke off: {error}; what came is kept, try again to go on"
        ) from error


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
