"""The images that a method leaves out, named as a scan names them."""

from collections.abc import Mapping

from convscope.methods.scanning.result import BAD_SHOWN
from convscope.wording import counted


def told(bad: Mapping[str, str]) -> list[str]:
    """Return which images were left out, and why, in lines.

    >>> told({"cat.jpg": "is empty"})
    ['1 image left out:', '  cat.jpg: is empty']
    """
    if not bad:
        return []
    shown = [f"  {title}: {why}" for title, why in list(bad.items())[:BAD_SHOWN]]
    more = len(bad) - len(shown)
    rest = [f"  and {more} more; the JSON names them all"] if more else []
    return [f"{counted(len(bad), 'image')} left out:", *shown, *rest]


def sentences(bad: Mapping[str, str]) -> list[str]:
    """Return the same for a page, a sentence an image."""
    return [line.strip().replace("; the JSON", " left out; the numbers") for line in told(bad)[1:]]


def first(bad: Mapping[str, str]) -> str:
    """Return the first of them with its reason, for an error; nothing where there is none."""
    return next((f": {title}: {why}" for title, why in bad.items()), "")
