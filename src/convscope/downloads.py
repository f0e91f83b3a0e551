"""Downloads: resumed where they broke off."""

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


def download(
    url: str, part: Path, progress: Callable[[int, int | None], None] | None = None
) -> None:
    """Fetch *url* into *part*, going on after the bytes that it holds.

    Whether these are the right ones only a hash can tell, which is the caller's to check.

    Args:
        url: where the file is.
        part: the file to write.
        progress: called with the bytes had so far and, where the server tells, the bytes in all.

    Raises:
        DataError: it cannot be fetched, or the connection breaks off; what came is kept.
        OSError: *part* cannot be written.
    """
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
