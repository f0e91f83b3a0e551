"""CIFAR-10's images as pictures for a scan."""

from pathlib import Path

from PIL import Image
from torch import Tensor

from convscope.images import Preprocess
from convscope.study.data import Part, load_cifar10


class CifarPictures:
    """CIFAR-10's images in their official order, with their labels.

    Args:
        folder: the folder of the ``.bin`` files, or the one that holds it.
        preprocess: how a picture becomes the network's input.
        part: ``"train"`` or ``"test"``.

    Raises:
        DataError: if a file is missing or damaged.

    """

    def __init__(self, folder: str | Path, preprocess: Preprocess, part: Part = "test") -> None:
        self._set = load_cifar10(folder, part)
        self._preprocess = preprocess
        self._part = part
        self.name = f"CIFAR-10's {part} images"
        self.classes = self._set.classes

    def __len__(self) -> int:
        return len(self._set)

    def load(self, number: int) -> tuple[Tensor, int]:
        """Return an image [C, H, W] in the network's input space, and its label."""
        pixels = self._set.images[number].permute(1, 2, 0).contiguous().numpy()
        image = self._preprocess(Image.fromarray(pixels))[0]
        return image, int(self._set.labels[number])

    def title(self, number: int) -> str:
        """Return the image's class and number."""
        return f"{self.classes[int(self._set.labels[number])]} {number}"

    def path(self, number: int) -> None:
        """Return nothing: all images lie in one file."""
        return

    def fingerprint(self) -> str:
        """Return the hash of the pixels and labels."""
        return self._set.fingerprint()
