"""Memory budgets: what a person writes, such as ``2GB``, as bytes."""

import re

from convscope.errors import ConvscopeError

DEFAULT = 2**30
UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def parse_bytes(memory: int | str) -> int:
    """Return a memory budget in bytes.

    Args:
        memory: a number of bytes, or a text such as ``"512MB"`` or ``"2 GiB"`` (powers of 1024).

    Raises:
        ConvscopeError: if it is neither, or not positive.

    >>> parse_bytes("1.5 GB") == parse_bytes("1536MiB") == 3 * 2**29
    True

    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", str(memory), re.IGNORECASE)
    if match is None or not float(match[1]):
        raise ConvscopeError(f"memory {memory!r} is not an amount such as 512MB or 2GB")
    return int(float(match[1]) * 2 ** UNITS[match[2].lower()])
