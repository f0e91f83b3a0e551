"""Random changes to a batch of training images, as whole-batch operations on their bytes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
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

    def pick(self, images_nhwc: Tensor, chosen: Tensor, kind: Augmentation, fill: Tensor) -> Tensor:
        """Return the chosen images, changed.

        One indexing picks, mirrors, shifts and reflects: all four only say which pixel is read.

        Args:
            images_nhwc: uint8 [M, H, W, C], the whole set.
            chosen: int64 [N], on the same device: which images these changes are for.
            kind: what the changes were drawn for.
            fill: uint8 [C], the colour of cut-out squares.

        Returns:
            uint8 [N, H, W, C], new.

        """
        _, height, width, _ = images_nhwc.shape
        rows = _reflected(torch.arange(height) + self.offsets[0, :, None] - kind.shift, height)
        columns = _reflected(torch.arange(width) + self.offsets[1, :, None] - kind.shift, width)
        columns = torch.where(self.mirrored[:, None], width - 1 - columns, columns)
        device = images_nhwc.device
        picked = images_nhwc[
            chosen[:, None, None], rows.to(device)[:, :, None], columns.to(device)[:, None, :]
        ]
        return self._cut_out(picked, kind, fill) if kind.cutout else picked

    def _cut_out(self, images: Tensor, kind: Augmentation, fill: Tensor) -> Tensor:
        """Set each image's square to *fill*."""
        _, height, width, _ = images.shape
        rows, columns = torch.arange(height), torch.arange(width)
        top, left = self.holes[0, :, None], self.holes[1, :, None]
        in_rows = (rows >= top) & (rows < top + kind.cutout)
        in_columns = (columns >= left) & (columns < left + kind.cutout)
        hole = (in_rows[:, :, None] & in_columns[:, None, :])[..., None].to(images.device)
        return torch.where(hole, fill, images)


def alternating_flip(count: int, epoch: int, generator: Generator) -> Tensor:
    """Return bool [count]: which images are mirrored in *epoch*.

    A fair coin decides each image's side in epoch 0; from then on it changes sides every epoch.
    *generator* must start alike for every epoch of one training.
    """
    first = torch.rand(count, generator=generator) < 0.5
    return first if epoch % 2 == 0 else ~first


def _reflected(places: Tensor, length: int) -> Tensor:
    """Return places beyond 0..length - 1 mirrored at the first or last, which is not repeated."""
    last = length - 1
    return last - (last - places.abs()).abs()
