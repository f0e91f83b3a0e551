"""Words that sentences need wherever they are made."""

from collections.abc import Iterable


def counted(count: int, what: str) -> str:
    """Return how many there are of something whose plural takes an s.

    >>> counted(1, "image"), counted(2345, "image")
    ('1 image', '2,345 images')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


FEWEST = 20
"""Fewer of something have no percentages: one more or less would be five points."""


def share(part: int, whole: int) -> str:
    """Return a part of a whole as a percentage, or, of fewer than 20, as it was counted.

    >>> share(71, 100), share(13, 15)
    ('71.0%', '13 of 15')
    """
    return f"{part / whole:.1%}" if whole >= FEWEST else f"{part} of {whole}"


def times(sizes: Iterable[object]) -> str:
    """Return sizes as they are written: ``64×28×28``."""
    return "×".join(map(str, sizes))


def fill_word(fill: str) -> str:
    """Return what a fill is called in a sentence; the option is spelled as colours are in code.

    >>> fill_word("gray"), fill_word("blur")
    ('grey', 'blur')
    """
    return "grey" if fill == "gray" else fill


def quoted(name: str) -> str:
    """Return what a set of images is called, fit to stand in a sentence.

    >>> quoted("photos"), quoted("those given")
    ('“photos”', 'those given')
    """
    return name if name == "those given" else f"“{name}”"
