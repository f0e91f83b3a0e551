"""Random changes to a batch of training images, as whole-batch tensor operations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from convscope.errors import TrainError


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training image before the network sees it.

    Attributes:
        shift: largest shift along each axis, in pixels; what comes in at the edge is the image
            reflected there.
        flip: mirror left and right. Each image is mirrored in every other epoch, so that any two
            successive epochs show both sides (Jordan, arXiv 2404.00498): a coin tossed anew each
            time would show many images the same way twice.
        cutout: side of a square set to the mean colour, in pixels; 0 for none (DeVries & Taylor,
            arXiv 1708.04552). Its centre is uniform over the image, so it may stick out.

    Raises:
        TrainError: if a number of pixels is negative.

    """

    shift: int = 2
    flip: bool = True
    cutout: int = 0

    def __post_init__(self) -> None:
        if self.shift < 0 or self.cutout < 0:
            raise TrainError("shift and cutout are numbers of pixels, so they cannot be negative")


@dataclass(frozen=True)
class Changes:
    """What is to happen to each image of one batch, drawn before it is done.

    Drawing is apart from doing so that several processes can draw alike for the whole batch, and
    each change only its own share of the images.

    Attributes:
        mirrored: bool [N].
        offsets: int64 [2, N], rows and columns by which to move, 0..2 * shift, where *shift* means
            to stay.
        holes: int64 [2, N], row and column of the cut-out square's corner; may lie outside.

    """

    mirrored: Tensor
    offsets: Tensor
    holes: Tensor

    @classmethod
    def draw(
        cls, mirrored: Tensor, size: tuple[int, int], kind: Augmentation, generator: Generator
    ) -> Changes:
        """Draw the changes to a batch.

        Args:
            mirrored: bool [N], which images to mirror, from :func:`alternating_flip`.
            size: the images' height and width in pixels.
            kind: which changes, and how large.
            generator: the only source of randomness, on the CPU.

        """
        count = len(mirrored)
        offsets = torch.randint(0, 2 * kind.shift + 1, (2, count), generator=generator)
        centres = [torch.randint(0, length, (count,), generator=generator) for length in size]
        return cls(mirrored & kind.flip, offsets, torch.stack(centres) - kind.cutout // 2)

    def share(self, part: slice) -> Changes:
        """Return the changes to the images of *part* of the batch."""
        return Changes(self.mirrored[part], self.offsets[:, part], self.holes[:, part])

    def apply(self, images: Tensor, kind: Augmentation) -> Tensor:
        """Return float images [N, C, H, W], normalised so that zero is the mean colour, changed."""
        if kind.flip:
            mirrored = self.mirrored.to(images.device).view(-1, 1, 1, 1)
            images = torch.where(mirrored, images.flip(3), images)
        if kind.shift:
            images = _shifted(images, kind.shift, self.offsets)
        if kind.cutout:
            images = _cut_out(images, kind.cutout, self.holes)
        return images


def alternating_flip(count: int, epoch: int, generator: Generator) -> Tensor:
    """Return bool [count]: which images are mirrored in *epoch*.

    A fair coin decides each image's side in epoch 0; from then on it changes sides every epoch.
    *generator* must start alike for every epoch of one training.
    """
    first = torch.rand(count, generator=generator) < 0.5
    return first if epoch % 2 == 0 else ~first


def _shifted(images: Tensor, reach: int, offsets: Tensor) -> Tensor:
    """Move each image by *offsets* - *reach* pixels, reflecting it at its edges."""
    count, _, height, width = images.shape
    rows = (offsets[0, :, None] + torch.arange(height)).to(images.device)
    columns = (offsets[1, :, None] + torch.arange(width)).to(images.device)
    padded_bhwc = F.pad(images, (reach,) * 4, mode="reflect").permute(0, 2, 3, 1)
    image = torch.arange(count, device=images.device)[:, None, None]
    return padded_bhwc[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cut_out(images: Tensor, side: int, corners: Tensor) -> Tensor:
    """Zero the square of *side* pixels below and right of each image's corner."""
    _, _, height, width = images.shape
    rows, columns = torch.arange(height), torch.arange(width)
    top, left = corners[0, :, None], corners[1, :, None]
    in_rows = (rows >= top) & (rows < top + side)
    in_columns = (columns >= left) & (columns < left + side)
    hole = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return images.masked_fill(hole.to(images.device), 0)
