"""The errors that convscope raises on purpose.

Every one is a :class:`ConvscopeError` whose message is one plain sentence for the person at the
keyboard; the command line prints it and exits with code 2. Anything else that escapes is a bug.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any


class ConvscopeError(Exception):
    """Something the caller can put right: the message says what was wrong and what to try."""


class ImageError(ConvscopeError):
    """A picture cannot be read, or does not fit the network."""


class ModelError(ConvscopeError):
    """A model's name, file or weights are wrong."""


class TraceError(ConvscopeError):
    """A module cannot be turned into a graph of operations."""


class UnitError(ConvscopeError):
    """A layer, channel or position that the network does not have."""


class RuleError(ConvscopeError):
    """A rule that does not exist, or that means nothing on this network."""


class OutputError(ConvscopeError):
    """A file or folder cannot be written."""


class DataError(ConvscopeError):
    """A set of images is missing, damaged or does not fit its use."""


class TrainError(ConvscopeError):
    """A training cannot start, go on or be resumed."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C stopped the work, and what was done by then is kept.

    It reaches the caller as any ``KeyboardInterrupt`` does, so that loops end. Of a method
    ``result`` holds what was done, marked as partial; a training is saved, and the message says how
    to go on.

    >>> try:
    ...     raise Interrupted("stopped", result=3)
    ... except KeyboardInterrupt as stopped:
    ...     stopped.result
    3
    """

    def __init__(self, message: str = "", result: Any = None) -> None:
        super().__init__(message)
        self.result = result


def check_known(
    what: str, name: object, known: Iterable[str], error: type[ConvscopeError] = ConvscopeError,
    also: str = "",
) -> None:  # fmt: skip
    """Refuse a name that is not among those known, telling those, the nearest and what *also* does.

    >>> check_known("model", "vgg61", ["vgg16", "alexnet"])
    Traceback (most recent call last):
        ...
    convscope.errors.ConvscopeError: unknown model 'vgg61'; did you mean 'vgg16'? (known: vgg16, alexnet)
    """  # noqa: E501
    known = list(known)
    if name not in known:
        hint = near_matches(name, known)
        raise error(f"unknown {what} {name!r}{hint} (known: {', '.join(known)}{also})")


def near_matches(name: object, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'a' or 'b'?"`` for the known names nearest to *name*, or ``""``.

    >>> near_matches("vgg61", ["vgg16", "alexnet"])
    "; did you mean 'vgg16'?"
    >>> near_matches("x", ["vgg16"])
    ''
    """
    near = get_close_matches(str(name), list(dict.fromkeys(known)), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def near_files(path: Path, pattern: str = "*") -> str:
    """Return :func:`near_matches` of a missing file among those beside where it would be."""
    near = path.parent.glob(pattern) if path.parent.is_dir() else ()
    return near_matches(path.name, (file.name for file in near))


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, without a full stop, or else its kind.

    >>> first_line(ValueError("no such thing.")), first_line(KeyError())
    ('no such thing', 'KeyError')
    """
    said = getattr(error, "strerror", None) or str(error)
    lines = [" ".join(line.split()) for line in said.splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
