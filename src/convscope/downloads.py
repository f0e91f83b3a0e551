"""Downloads: resumed where they broke off, and checked."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from convscope.errors import DataError

CHUNK = 1 << 18
TIMEOUT = 30.0


Progress = Callable[[int, int | None], None]
"""Called with the bytes had so far and, where the server tells, the bytes in all."""


def fetched(
    url: str, path: Path, algorithm: str, digest: str, progress: Progress | None = None
) -> Path:
    """Return *path* with what is at *url*, fetched unless it is there.

    What came of a download that broke off is kept as ``.part``, and the next call goes on from it.
    The digest, or the first of its hexadecimal digits, is compared.

    Raises:
        DataError: it cannot be fetched, the connection breaks off, or the hash is another.
        OSError: *path* cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        part = path.with_name(f"{path.name}.part")
        _download(url, part, progress)
        part.replace(path)
    found = hash_of(path, algorithm)
    if not found.startswith(digest):
        path.unlink()  # no further download could put it right
        raise DataError(
            f"what {url} sent has the {algorithm} {found}, not {digest}; it was deleted, try again"
        )
    return path


def hash_of(path: Path, algorithm: str) -> str:
    """Return the hash of a file's bytes in hexadecimal digits."""
    with path.open("rb") as file:
        new = hashlib.new(algorithm, usedforsecurity=False)
        return hashlib.file_digest(file, lambda: new).hexdigest()


def _download(url: str, part: Path, progress: Progress | None) -> None:
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
