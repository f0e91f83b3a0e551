"""Where a scan's images come from: a folder of pictures, or any data set."""

import hashlib
import operator
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image as Pillow
from torch import Tensor

from convscope.arguments import described
from convscope.errors import ConvscopeError, DataError, ImageError
from convscope.images import Preprocess
from convscope.methods.budget import evenly
from convscope.network import Network
from convscope.network.network import check_values
from convscope.network.shield import apart

NO_LABEL, OTHER_LABEL, NOT_ONE_NUMBER = -1, -2, -3
"""Stand for the class of an image without a label, of one whose label is that of no class, and of
one whose label is no whole number, such as one with a number for each of several classes."""

PICTURE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".tif", ".tiff"}
)
HASHERS = 4
SHOWN = 6
"""Classes that a note names at most."""


class Images(Protocol):
    """A set of images in a fixed order.

    Attributes:
        name: what to call it.
        classes: the names of its classes by label; none where it has no labels.
    """

    name: str
    classes: tuple[str, ...]

    def __len__(self) -> int: ...

    def load(self, number: int) -> tuple[Tensor, Any]:
        """Return an image [C, H, W] in the network's input space, and its label.

        The label may be anything; :func:`class_of` tells which of :attr:`classes` it is.

        Raises:
            ImageError: if it cannot be used.
        """
        ...

    def title(self, number: int) -> str:
        """Return what to call an image."""
        ...

    def path(self, number: int) -> Path | None:
        """Return the file that an image comes from, if it has one of its own."""
        ...

    def fingerprint(self) -> str:
        """Return a text that differs for another set of images."""
        ...


class PictureFolder:
    """All pictures in a folder and its subfolders, in the order of their names.

    Where the folder holds pictures only in subfolders, two or more, these are the classes.
    """

    def __init__(self, folder: str | os.PathLike[str], preprocess: Preprocess) -> None:
        self.folder = Path(folder)
        self._preprocess = preprocess
        if not self.folder.is_dir():
            if self.folder.exists():
                raise DataError(f"{self.folder} is a file, not a folder of pictures")
            raise DataError(f"there is no folder {self.folder}")
        self._files = sorted(_pictures(self.folder), key=lambda file: file.parts)
        if not self._files:
            raise DataError(f"{self.folder} holds no pictures")
        tops = sorted({file.parts[0] for file in self._files if len(file.parts) > 1})
        classed = len(tops) > 1 and all(len(file.parts) > 1 for file in self._files)
        self.name = self.folder.resolve().name
        self.classes = tuple(tops) if classed else ()
        self._labels = {name: label for label, name in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self._files)

    def load(self, number: int) -> tuple[Tensor, int | None]:
        """Return an image [C, H, W] and its label."""
        file = self._files[number]
        return self._preprocess(self.folder / file)[0], self._labels.get(file.parts[0])

    def title(self, number: int) -> str:
        """Return the file's path inside the folder."""
        return self._files[number].as_posix()

    def path(self, number: int) -> Path:
        """Return the file."""
        return self.folder / self._files[number]

    def fingerprint(self) -> str:
        """Return a hash of the files' names and contents, and of how they become inputs."""
        digest = hashlib.sha256(repr(self._preprocess).encode())
        with ThreadPoolExecutor(HASHERS) as workers:
            contents = workers.map(_content_hash, (self.folder / file for file in self._files))
            for file, content in zip(self._files, contents, strict=True):
                digest.update(f"{file.as_posix()}\0".encode("utf-8", "surrogateescape") + content)
        return digest.hexdigest()


def _content_hash(path: Path) -> bytes:
    """Return what differs for a file with other bytes in it; b"" where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, hashlib.blake2b).digest()
    except OSError:
        return b""


class GivenImages:
    """Any data set with a length and a ``[number]``, of images or of (image, label, ...).

    Args:
        dataset: gives pictures (files or Pillow images), or float tensors [C, H, W] in the
            network's input space, alone or first of several; the second is the image's label where
            it is a whole number.
            It may say what it is called (``name``), its classes' names (``classes``), what an image
            is called (``title(number)``), and what differs for other images (``fingerprint()``).
        net: names the classes where the data set does not.

    Raises:
        DataError: if it has no length, or nothing in it.
    """

    def __init__(self, dataset: Any, net: Network) -> None:
        try:
            count = len(dataset) if hasattr(dataset, "__getitem__") else None
        except TypeError:  # it has none, or is a tensor of one number
            count = None
        if count is None:
            raise DataError(
                f"{described(dataset)} is no set of images: that is a folder, a tensor "
                f"[N, C, H, W], or a data set with a length and items"
            )
        if not count:
            raise DataError("the data set holds no image")
        self._dataset, self._preprocess = dataset, net.preprocess
        named = getattr(dataset, "name", None)
        unnamed = isinstance(dataset, Tensor | list | tuple)
        self.name = "those given" if unnamed else type(dataset).__name__
        if isinstance(named, str):
            self.name = named
        outputs = net.class_count
        # One label decides between two classes: its own name, if any, is not that of label 0.
        names: Sequence[str] | None = getattr(dataset, "classes", None)
        names = names or (None if outputs == 1 else net.classes)
        self.classes = tuple(map(str, names or range(2 if outputs == 1 else outputs)))

    def __len__(self) -> int:
        return len(self._dataset)

    def load(self, number: int) -> tuple[Tensor, Any]:
        """Return an image [C, H, W] and its label."""
        try:
            item = self._dataset[number]
        except ConvscopeError:
            raise
        except Exception as error:  # another's code meets a bad image with any error
            raise ImageError(f"cannot be read: {type(error).__name__}: {error}") from error
        image, label, *_ = (*item, None, None) if isinstance(item, tuple | list) else (item, None)
        if isinstance(image, str | os.PathLike | Pillow.Image):
            image = self._preprocess(image)[0]
        if not isinstance(image, Tensor) or image.dim() != 3:
            raise ImageError("is no picture, nor a tensor [C, H, W]")
        return apart(image), label

    def title(self, number: int) -> str:
        """Return what the data set calls the image, or the name of its file, or its number."""
        own = getattr(self._dataset, "title", None)
        if callable(own):
            return str(own(number))
        path = self.path(number)
        return f"image {number}" if path is None else path.name

    def path(self, number: int) -> Path | None:
        """Return the file, where a list holds files."""
        item = self._dataset[number] if isinstance(self._dataset, list | tuple) else None
        return Path(item) if isinstance(item, str | os.PathLike) else None

    def fingerprint(self) -> str:
        """Return the data set's own fingerprint if it has one, else what it is called."""
        own = getattr(self._dataset, "fingerprint", None)
        return str(own()) if callable(own) else self.name


class SomeImages:
    """At most so many images of a set, spread evenly over it.

    >>> net = Network(torch.nn.ReLU(), torch.zeros(1, 1, 2, 2))
    >>> given = GivenImages(list(torch.zeros(5, 1, 2, 2)), net)
    >>> [SomeImages(given, 3).title(number) for number in range(3)]
    ['image 0', 'image 2', 'image 4']
    """

    def __init__(self, images: Images, most: int) -> None:
        self._numbers = evenly(len(images), most)
        self.images, count = images, len(self._numbers)
        self.name = images.name if count == len(images) else f"{count} of {images.name}"
        self.classes = images.classes

    def __len__(self) -> int:
        return len(self._numbers)

    def original(self, number: int) -> int:
        """Return an image's number in the set."""
        return self._numbers[number]

    def load(self, number: int) -> tuple[Tensor, Any]:
        """Return an image [C, H, W] and its label."""
        return self.images.load(self._numbers[number])

    def title(self, number: int) -> str:
        """Return what the set calls the image."""
        return self.images.title(self._numbers[number])

    def path(self, number: int) -> Path | None:
        """Return the file that an image comes from, if it has one of its own."""
        return self.images.path(self._numbers[number])

    def fingerprint(self) -> str:
        """Return a hash of the set's own and of which images these are."""
        text = f"{self.images.fingerprint()}\0{self._numbers}"
        return hashlib.sha256(text.encode()).hexdigest()


def images_of(images: Any, net: Network) -> Images:
    """Return a set of images for a scan: a folder's path, a data set, or such a set itself."""
    if isinstance(images, str | os.PathLike):
        return PictureFolder(images, net.preprocess)
    if all(hasattr(images, name) for name in ("load", "title", "path", "fingerprint")):
        given: Images = images
        return given
    return GivenImages(images, net)


def fitted(net: Network, images: Any) -> Network:
    """Return the network for the size that tensors have, all as large as the first.

    Pictures are brought to the network's own size instead, by its preprocessing.
    """
    if isinstance(images, list) and images and isinstance(images[0], Tensor):
        images = images[0][None]
    return net.fitting(images) if isinstance(images, Tensor) else net


def _pictures(folder: Path) -> Iterable[Path]:
    """Return the picture files below a folder, relative to it; hidden ones are left out."""
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in PICTURE_SUFFIXES:
                yield Path(path, name).relative_to(folder)


def class_of(label: Any, classes: Sequence[str]) -> int:
    """Return an image's label if it is the number, of any type, of one of the *classes*.

    Else :data:`NO_LABEL`, :data:`OTHER_LABEL` or :data:`NOT_ONE_NUMBER`.

    >>> import numpy as np
    >>> [class_of(label, "abcd") for label in (3, np.uint8(3), torch.tensor(3), None, 4)]
    [3, 3, 3, -1, -2]
    >>> [class_of(label, "abcd") for label in ("cat", 1.0, torch.tensor([1]), {"boxes": 1})]
    [-3, -3, -3, -3]
    """
    if label is None:
        return NO_LABEL
    if isinstance(label, Tensor) and label.dim():
        return NOT_ONE_NUMBER  # one number for each class, or for each object
    try:
        number = operator.index(label)
    except TypeError:
        return NOT_ONE_NUMBER
    return number if 0 <= number < len(classes) else OTHER_LABEL


def class_answers(images: Images, net: Network) -> list[int | None] | None:
    """Return the network's answer that each class of the images stands for.

    By the classes' names where the network has them, else by their number, of which a single label
    has two: no and yes.

    Returns:
        one answer a class, None for a class that the network does not know; None altogether if it
        knows no class or is no classifier.
    """
    if not images.classes or not net.class_count:
        return None
    if net.classes is not None and net.class_count > 1:
        known = {name.lower(): number for number, name in enumerate(net.classes)}
        found = [known.get(name.lower()) for name in images.classes]
        return found if any(number is not None for number in found) else None
    answers = max(net.class_count, 2)
    return list(range(answers)) if answers == len(images.classes) else None


def class_notes(images: Images, net: Network) -> tuple[str, ...]:
    """Return what must be said of the classes of images beside those of a network."""
    named = any(not name.isdecimal() for name in images.classes)
    if not named or not net.class_count:
        return ()
    answers, classes = class_answers(images, net), ", ".join(images.classes[:SHOWN])
    classes += f" and {len(images.classes) - SHOWN} more" if len(images.classes) > SHOWN else ""
    if answers is None:
        whose = f"the network's {net.class_count:,} classes"
        return (f"labels do not tell which answers are right: {classes} are not {whose}",)
    if net.classes is not None and net.class_count > 1:
        return ()
    return (f"the network names no classes: {classes} were taken for its answers in this order",)


def checked_image(image: Tensor, net: Network) -> Tensor:
    """Return *image*, refused unless it fits the network and is finite."""
    if tuple(image.shape) != net.input_shape:
        raise ImageError(
            f"has the shape {list(image.shape)}, and the network takes {list(net.input_shape)}"
        )
    check_values(image)
    if not torch.isfinite(image).all():
        raise ImageError("holds values that are not finite")
    return image
