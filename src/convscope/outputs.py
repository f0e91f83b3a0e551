"""Output files: found writable before the work, written beside and renamed after it.

What cannot be written or made raises an :class:`~convscope.errors.OutputError`.
"""

import math
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from convscope.errors import OutputError, near_matches

MARK = ".convscope"
"""The file that says what a folder was made for."""

PAGES = (".html", ".htm")
"""Endings by which a page, and no folder, is meant."""


@contextmanager
def written_beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a file to write next to *path*; it takes *path*'s place only if all goes well.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     target = Path(folder, "numbers.txt")
    ...     with written_beside(target) as beside:
    ...         _ = beside.write_text("42")
    ...     sorted(p.name for p in Path(folder).iterdir())
    ['numbers.txt']
    """
    target = Path(path)
    beside = _beside(target)
    try:
        # What a new file gets here, which only a new file tells.
        beside.touch()
        permissions = beside.stat().st_mode
        beside.unlink()
        yield beside
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        # Some writers make a file that its owner alone can read.
        beside.chmod(permissions)
        beside.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        # Where it cannot be removed it was never made, and the reason is already on its way.
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a file of text, with question marks for bytes of file names that are no letters."""
    with written_beside(path) as beside:
        beside.write_text(text, "utf-8", "replace")


def made_folder(path: str | os.PathLike[str]) -> Path:
    """Return a folder, which is made, and those that it lies in, where it is missing."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}") from error
    return folder


def _beside(target: Path) -> Path:
    """Return the name of the file that is written first; the suffix tells writers the format."""
    return target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")


def check_output(path: str | os.PathLike[str], suffixes: Collection[str]) -> Path:
    """Return *path* if a file of one of the kinds in *suffixes* can be written there.

    Meant to be called before the work, so that hours of it are not lost to a mistyped folder.

    Raises:
        OutputError: if its ending is another, its folder is missing or cannot be written, or a
            folder has its name.
    """
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        kinds = ", ".join(suffixes)
        hint = near_matches(target.suffix, suffixes)
        raise OutputError(f"cannot write {target}: its ending must be one of {kinds}{hint}")
    try:
        if target.is_dir():
            raise OutputError(f"cannot write {target}: it is a folder")
        if not target.parent.is_dir():
            raise OutputError(f"cannot write {target}: there is no folder {target.parent}")
        # Nothing but a try tells: permissions, read-only disks and the length of names all matter.
        beside = _beside(target)
        beside.touch()
        beside.unlink()
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def check_folder(
    path: str | os.PathLike[str], kind: str, images: str | os.PathLike[str] | None = None
) -> Path:
    """Return *path* if it is a folder for many files, or one can be made, as far as names tell.

    Like :func:`check_output`, meant to be called before the work.

    Args:
        path: a folder that is not there yet, empty, or made for the same *kind* of files before.
        kind: what is written, such as ``"report"``.
        images: a folder of pictures that are read, among which no others may come to lie.

    Raises:
        OutputError: if it holds anything else, lies among the images, a file stands in the way, or
            the name is refused.
    """
    folder = Path(path)
    if folder.suffix.lower() in PAGES:
        raise OutputError(
            f"{folder} would be a folder: the {kind} has pictures beside its page; leave out "
            f"{folder.suffix}"
        )
    try:
        there = next((place for place in (folder, *folder.parents) if place.exists()), folder)
        in_the_way = there.exists() and not there.is_dir()
        if in_the_way:
            raise OutputError(f"cannot make the folder {folder}: {there} is a file")
        own, read = folder.resolve(), None if images is None else Path(images).resolve()
        if read is not None and read in (own, *own.parents):
            raise OutputError(
                f"{folder} is no place for the {kind}: its pictures would be among those of "
                f"{images}; name a folder outside"
            )
        mark = folder / MARK
        made_before = mark.exists() and mark.read_text("utf-8") == _mark(kind)
        # What is hidden is no work of the user's: a folder's settings, or a file half written.
        visible = folder.is_dir() and any(not p.name.startswith(".") for p in folder.iterdir())
        if visible and not made_before:
            raise OutputError(
                f"{folder} holds other files, and no {kind}: name a new or empty folder"
            )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot make the folder {folder}: {reason}") from error
    return folder


def claim_folder(
    path: str | os.PathLike[str], kind: str, images: str | os.PathLike[str] | None = None
) -> Path:
    """Make a folder for many files, marked as such, and return it; see :func:`check_folder`."""
    folder = made_folder(check_folder(path, kind, images))
    if not (folder / MARK).exists():
        write_text(folder / MARK, _mark(kind))
    return folder


def _mark(kind: str) -> str:
    return f"a folder that convscope made for its {kind}\n"


def finite(value: Any) -> Any:
    """Return *value* with None for NaN and infinities, which JSON does not know.

    >>> finite({"a": [1.0, float("nan")]})
    {'a': [1.0, None]}
    """
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
