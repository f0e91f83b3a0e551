"""Words that sentences need wherever they are made."""


def counted(count: int, what: str) -> str:
    """Return how many there are of something whose plural takes an s.

    >>> counted(1, "image"), counted(2345, "image")
    ('1 image', '2,345 images')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"
