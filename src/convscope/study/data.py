"""Sets of labelled images, held in memory as bytes; CIFAR-10 is fetched and read.

CIFAR-10 comes in its official binary layout, read without pickle: six files of 10,000 records, each
one label byte and then 1,024 red, 1,024 green and 1,024 blue bytes, row by row
(https://www.cs.toronto.edu/~kriz/cifar.html).
"""

import hashlib
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from convscope.downloads import Progress, fetched
from convscope.errors import DataError, OutputError

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
FOLDER = "cifar-10-batches-bin"
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
SIDE = 32
RECORDS_PER_FILE = 10_000
RECORD_BYTES = 1 + 3 * SIDE * SIDE
FILE_BYTES = RECORDS_PER_FILE * RECORD_BYTES
Part = Literal["train", "test"]
Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
FILES: dict[Part, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}


@dataclass(frozen=True)
class ImageSet:
    """Labelled images of one size.

    Attributes:
        images: uint8 [N, 3, H, W], red, green, blue, 0..255.
        labels: int64 [N], each in 0..len(classes) - 1.
        classes: the classes' names, by label.
        name: what to call the set.

    Raises:
        DataError: the shapes or dtypes disagree, the set is empty, or a label has no class.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str = "ImageSet"

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[1] != 3:
            raise DataError(
                f"images must be uint8 [N, 3, H, W], not {self.images.dtype} {[*self.images.shape]}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"labels must be int64 [{len(self.images)}], "
                f"not {self.labels.dtype} {[*self.labels.shape]}"
            )
        if not len(self.labels):
            raise DataError("the set holds no image")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= len(self.classes):
            raise DataError(
                f"labels must lie in 0..{len(self.classes) - 1}, but they span {low}..{high}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> tuple[Image.Image, int]:
        """Return an image as a picture, and its label."""
        pixels = self.images[number].permute(1, 2, 0).contiguous().numpy()
        return Image.fromarray(pixels), int(self.labels[number])

    def part(self, index: Tensor) -> "ImageSet":
        """Return the images and labels at *index*, int64 [M], in its order."""
        return replace(self, images=self.images[index], labels=self.labels[index])

    @property
    def side(self) -> int:
        """Height of an image in pixels (square sets: its width too)."""
        return int(self.images.shape[2])

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images, labels) in order, *size* at a time; the last may be smaller."""
        for start in range(0, len(self), size):
            yield self.images[start : start + size], self.labels[start : start + size]

    def title(self, number: int) -> str:
        """Return an image's class and number."""
        return f"{self.classes[int(self.labels[number])]} {number}"

    def fingerprint(self) -> str:
        """Return the SHA-256 of the pixels and labels, in hexadecimal digits."""
        digest = hashlib.sha256(self.images.contiguous().numpy().data)
        digest.update(self.labels.contiguous().numpy().data)
        return digest.hexdigest()


def load_cifar10(folder: str | Path, part: Part = "train") -> ImageSet:
    """Read CIFAR-10's 50,000 training or 10,000 test images.

    Args:
        folder: the folder of the ``.bin`` files, or the one that holds ``cifar-10-batches-bin``.
        part: ``"train"`` reads data_batch_1 to 5, ``"test"`` reads test_batch.

    Raises:
        DataError: a file is missing or not of its exact size, or a label byte is above 9.
    """
    records = np.concatenate([_read_records(path) for path in _paths(folder, part)])
    pixels = torch.from_numpy(np.ascontiguousarray(records[:, 1:])).view(-1, 3, SIDE, SIDE)
    labels = torch.from_numpy(records[:, 0].astype(np.int64))
    name = f"CIFAR-10's {'training' if part == 'train' else 'test'} images"
    return ImageSet(pixels, labels, CLASSES, name)


def require_cifar10(folder: str | Path, *parts: Part) -> None:
    """Make sure, without reading them, that some parts' files are there, each of its exact size.

    Raises:
        DataError: one is missing, truncated or too long.
    """
    for part in parts or FILES:
        for path in _paths(folder, part):
            _check_size(path)


def fetch_cifar10(
    out: str | Path,
    *,
    url: str = URL,
    md5: str = MD5,
    progress: Progress | None = None,
) -> Path:
    """Fetch and unpack CIFAR-10's official binary archive, unless *out* holds the files already.

    An interrupted download goes on where it stopped at the next call.

    Args:
        out: the folder to hold ``cifar-10-batches-bin``, made if missing.
        url: where the archive is.
        md5: the archive's MD5, in hexadecimal digits: its publisher gives no other hash.
        progress: called with the bytes had so far and, where the server tells, the bytes in all.

    Returns:
        The folder of the ``.bin`` files.

    Raises:
        DataError: it cannot be fetched, has another hash, or does not hold the dataset.
        OutputError: *out* cannot be written.
    """
    folder = Path(out) / FOLDER
    with suppress(DataError):
        require_cifar10(folder)
        return folder
    try:
        archive = fetched(url, Path(out) / "cifar-10-binary.tar.gz", "MD5", md5, progress)
        _unpack(archive, Path(out))
        archive.unlink()
    except OSError as error:
        raise OutputError(f"cannot write into {out}: {error.strerror or error}") from error
    require_cifar10(folder)
    return folder


def _unpack(archive: Path, out: Path) -> None:
    """Extract the dataset's folder; nothing can be written outside *out*."""
    try:
        with tarfile.open(archive) as tar:
            members = [m for m in tar if m.name == FOLDER or m.name.startswith(f"{FOLDER}/")]
            tar.extractall(out, members=members, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}") from error


def split(data: ImageSet, held_out: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """Part *data* at random into one set to train on and one of *held_out* images to choose by.

    The same seed makes the same parts, whatever the network or the training's own seed.

    Raises:
        DataError: *held_out* leaves no image in one of the two.
    """
    if not 0 < held_out < len(data):
        raise DataError(
            f"cannot hold out {held_out} of {len(data)} images: both parts need at least one"
        )
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    return data.part(order[held_out:]), data.part(order[:held_out])


def _paths(folder: str | Path, part: Part) -> list[Path]:
    """Return a part's files in *folder*, or in the official folder inside it."""
    outer = Path(folder)
    inner = outer / FOLDER if (outer / FOLDER).is_dir() else outer
    return [inner / name for name in FILES[part]]


def _check_size(path: Path) -> None:
    """Refuse a file that cannot be one of CIFAR-10's, naming the size it should have."""
    try:
        size = path.stat().st_size
    except OSError:
        raise DataError(
            f"{path} is missing; CIFAR-10 needs it, {FILE_BYTES:,} bytes long"
        ) from None
    if size != FILE_BYTES:
        fault = "truncated" if size < FILE_BYTES else "too long"
        raise DataError(
            f"{path} is {fault}: {size:,} bytes where CIFAR-10's binary layout has {FILE_BYTES:,}"
        )


def _read_records(path: Path) -> Bytes:
    """Return one file as uint8 [10000, 3073], its size and labels checked."""
    _check_size(path)
    try:
        records = np.fromfile(path, dtype=np.uint8).reshape(RECORDS_PER_FILE, RECORD_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    wrong = np.flatnonzero(records[:, 0] >= len(CLASSES))
    if wrong.size:
        raise DataError(
            f"{path} is damaged: record {wrong[0]} has label {records[wrong[0], 0]}, "
            f"labels go from 0 to {len(CLASSES) - 1}"
        )
    return records
