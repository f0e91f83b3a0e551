"""Bad images: those that a method leaves out, in words."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping

from convscope.wording import counted

BAD_SHOWN = 10
"""Images that a summary names at most; the JSON has all."""


def titled(bad: Mapping[int, str], title: Callable[[int], str]) -> dict[str, str]:
    """Return what images are called -> why they were left out, of reasons by their numbers.

    >>> titled({0: "is empty", 7: "is empty"}, lambda number: "cat.jpg")
    {'cat.jpg (image 0)': 'is empty', 'cat.jpg (image 7)': 'is empty'}
    """
    called = {number: title(number) for number in sorted(bad)}
    alike = Counter(called.values())
    return {
        f"{name} (image {number})" if alike[name] > 1 else name: bad[number]
        for number, name in called.items()
    }


def told(bad: Collection[tuple[str, str]]) -> list[str]:
    """Return which images were left out, and why, in lines.

    >>> told([("cat.jpg", "is empty")])
    ['1 image left out:', '  cat.jpg: is empty']
    """
    if not bad:
        return []
    shown = [f"  {title}: {why}" for title, why in [*bad][:BAD_SHOWN]]
    more = len(bad) - len(shown)
    rest = [f"  and {more} more; the JSON names them all"] if more else []
    return [f"{counted(len(bad), 'image')} left out:", *shown, *rest]


def sentences(bad: Mapping[str, str]) -> list[str]:
    """Return the same for a page, a sentence an image."""
    return [
        line.strip().replace("; the JSON", " left out; the numbers")
        for line in told(bad.items())[1:]
    ]


def first(bad: Mapping[str, str]) -> str:
    """Return the first of them with its reason, for an error; nothing where there is none."""
    return next((f": {title}: {why}" for title, why in bad.items()), "")
