"""The edge of the command line: what it writes to, and every error as one sentence."""

import codecs
import errno
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from typing import Any, NoReturn

from convscope.errors import ConvscopeError

MISTAKE = 2
FAULT = 1  # of convscope's own
INTERRUPTED = 130
OUT_OF_MEMORY = (
    "there is not enough memory: try a smaller --memory, a smaller --size or fewer images"
)
TRACEBACK = "CONVSCOPE_TRACEBACK"
_PLAIN = str.maketrans({"×": "x", "±": "+-", "–": "-", "…": "...", "→": "->"})


def answered(command: Callable[[], Any]) -> NoReturn:
    """Run *command* and exit: with what it returns, or with one sentence for what it raises."""
    _make_printable()
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.showwarning = _note
            logging.getLogger("torch").setLevel(logging.ERROR)
            status = command()
    except KeyboardInterrupt as error:
        _stop(str(error) or "stopped", INTERRUPTED)
    except Exception as error:
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        _stop(*_sentence(error))
    if status == INTERRUPTED:
        _stop("stopped", INTERRUPTED)
    sys.exit(status or 0)


def _note(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Print convscope's own warnings in a line; what libraries warn of is for programmers."""
    if category.__module__.partition(".")[0] == "convscope":
        print(f"convscope: note: {message}", file=sys.stderr)


def _make_printable() -> None:
    """Let no character stop the work: consoles differ in which they know."""
    codecs.register_error("convscope", _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="convscope")


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Write a character that a console lacks in plain ones."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(_PLAIN)
    return "".join(c if c.isascii() else "?" for c in text), error.end


def _sentence(error: Exception) -> tuple[str, int]:
    """Return what to say of an error, and the exit status."""
    # What typer has against the arguments; its classes have moved from version to version.
    complaint = getattr(error, "format_message", None)
    if complaint is not None:
        return str(complaint()), MISTAKE
    if type(error).__name__ == "Abort":
        return "stopped", INTERRUPTED
    if isinstance(error, ConvscopeError):
        return str(error), MISTAKE
    if _is_out_of_memory(error):
        return OUT_OF_MEMORY, MISTAKE
    if isinstance(error, OSError) and error.strerror:
        where = f" {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return f"cannot {'write' if full else 'use'}{where}: {error.strerror}", MISTAKE
    said = " ".join(str(error).split())
    return (
        f"a fault of convscope itself ({type(error).__name__}: {said[:200]}); run it again with "
        f"{TRACEBACK}=1 to see where, and report it"
    ), FAULT


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether there was no memory, for which torch has several words and no class."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(words in str(error) for words in ("out of memory", "can't allocate memory"))
    )


def _stop(sentence: str, status: int) -> NoReturn:
    text = " ".join(sentence.split()).rstrip(".")
    with suppress(OSError):  # nobody may be listening
        print(f"convscope: {text}", file=sys.stderr, flush=True)
    sys.exit(status)
