"""Parts: the same thing, such as a nose, marked in several images."""

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from convscope.errors import DataError, ImageError
from convscope.images import Preprocess
from convscope.reading import read_image

COLUMNS = ("image", "part", "left", "top", "right", "bottom")


@dataclass(frozen=True)
class Part:
    """A part marked in an image.

    Attributes:
        image: the image's number.
        name: what it is, such as ``"nose"``; the same in every image.
        box: top, left, bottom, right (the last two excluded) in the network's input, in pixels.
        cut: whether more was marked than the network is shown.
    """

    image: int
    name: str
    box: tuple[int, int, int, int]
    cut: bool = False


@dataclass(frozen=True, eq=False)
class PartSet:
    """Images with the parts marked in them.

    Attributes:
        files: the picture files.
        images: [N, C, H, W], the same as the network's input.
        parts: what is marked.
    """

    files: tuple[Path, ...]
    images: Tensor
    parts: tuple[Part, ...]


def read_parts(path: str | os.PathLike[str], preprocess: Preprocess) -> PartSet:
    """Read a table of parts, and the pictures that it names.

    The table is a CSV file with the columns image, part, left, top, right, bottom: a picture file,
    beside the table unless its path is absolute; what the part is; and its box in pixels of the
    upright picture, right and bottom excluded.

    Args:
        path: the table.
        preprocess: the network's, ``net.preprocess``: how the pictures become its inputs.

    Raises:
        DataError: if the table is missing or damaged, or a box does not lie in its picture.
        ImageError: if a picture cannot be read.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            rows = list(enumerate(reader, start=2))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        binary = isinstance(error, UnicodeDecodeError)
        reason = "it is no text" if binary else getattr(error, "strerror", None) or str(error)
        raise DataError(f"the table of parts {path} cannot be read: {reason}") from error
    if missing:
        raise DataError(
            f"the table of parts {path} needs the columns {', '.join(COLUMNS)}, and has no "
            f"{missing[0]}"
        )
    if not rows:
        raise DataError(f"the table of parts {path} is empty")
    files = list(dict.fromkeys(row["image"] or "" for _, row in rows))
    pictures = {name: read_image(path.parent / name) for name in files}
    parts = []
    for line, row in rows:
        name, picture = row["image"] or "", pictures[row["image"] or ""]
        box = _box(row, picture.size, f"line {line} of {path}")
        try:
            window = preprocess.window(picture.size, box)
        except ImageError as error:
            raise DataError(f"line {line} of {path}: {error}") from error
        cut = preprocess.cuts(picture.size, box)
        parts.append(Part(files.index(name), (row["part"] or "").strip(), window, cut))
    images = preprocess.batch(pictures.values())
    return PartSet(tuple(path.parent / name for name in files), images, tuple(parts))


def _box(
    row: dict[str, str], size: tuple[int, int], where: str
) -> tuple[float, float, float, float]:
    try:
        left, top, right, bottom = (float(row[name] or "") for name in COLUMNS[2:])
    except (TypeError, ValueError):
        raise DataError(f"{where}: left, top, right and bottom are numbers of pixels") from None
    # Comparisons that a NaN fails.
    if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
        raise DataError(
            f"{where}: the box {left:g}, {top:g}, {right:g}, {bottom:g} does not lie in the "
            f"picture, {size[0]}×{size[1]}"
        )
    return left, top, right, bottom


def names_of(parts: Iterable[Part]) -> list[str]:
    """Return the names of the parts, each once, in their order."""
    return list(dict.fromkeys(part.name for part in parts))
