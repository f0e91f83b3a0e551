"""The batches of a training, each a function of its step alone."""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from convscope.errors import TrainError
from convscope.study.augment import Changes, alternating_flip
from convscope.study.config import TrainConfig
from convscope.study.data import ImageSet
from convscope.study.schedule import side_at


class Feed:
    """Makes the batch of any step of a training.

    All randomness is drawn from generators seeded by the training's seed and by the epoch or step,
    so a resumed training sees what an uninterrupted one would, with no state to keep, and every
    process of a distributed one draws alike and takes its own share.

    Args:
        data: the images to train on.
        config: the training.
        device: where the batches are wanted; the images are kept there as bytes.
        rank: number of this process among *processes*.
        processes: how many share each batch.

    Raises:
        TrainError: fewer images than one batch, or a batch that the processes cannot share evenly.

    """

    def __init__(
        self,
        data: ImageSet,
        config: TrainConfig,
        device: torch.device,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        if len(data) < config.batch_size:
            raise TrainError(
                f"there are {len(data)} images to train on, fewer than a batch of "
                f"{config.batch_size}"
            )
        if config.batch_size % processes:
            raise TrainError(
                f"a batch of {config.batch_size} images cannot be shared evenly by {processes} "
                f"processes"
            )
        self.steps_per_epoch = len(data) // config.batch_size
        self.steps = max(1, round(config.epochs * self.steps_per_epoch))
        self._config = config
        self._size = (data.images.shape[2], data.images.shape[3])
        self._images_nhwc = data.images.to(device).permute(0, 2, 3, 1).contiguous()
        mean_colour = [round(255 * mean) for mean in config.mean]
        self._fill = torch.tensor(mean_colour, dtype=torch.uint8, device=device)
        self._labels = data.labels.to(device)
        share = config.batch_size // processes
        self._share = slice(rank * share, (rank + 1) * share)
        self._epoch = -1
        self._order = self._mirrored = torch.empty(0)

    def side(self, step: int) -> int:
        """Return the side in pixels of the images of *step*."""
        return side_at(step / self.steps, self._config.sides, self._size[0])

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return this process's share of the batch of *step*.

        Returns:
            Images, float [N, 3, side, side], normalised, in channels_last, and labels, int64 [N].

        """
        config = self._config
        epoch, place = divmod(step, self.steps_per_epoch)
        self._start(epoch)
        chosen = self._order[place * config.batch_size : (place + 1) * config.batch_size]
        kind, generator = config.augmentation, generator_for(config, "step", step)
        changes = Changes.draw(self._mirrored[chosen], self._size, kind, generator)
        mine = chosen[self._share].to(self._labels.device)
        pixels_nhwc = changes.share(self._share).pick(self._images_nhwc, mine, kind, self._fill)
        pixels = resized(pixels_nhwc.permute(0, 3, 1, 2), self.side(step))
        return normalised(pixels, config), self._labels[mine]

    def _start(self, epoch: int) -> None:
        """Draw the order and the sides of an epoch's images, once."""
        if epoch == self._epoch:
            return
        count = len(self._labels)
        self._order = torch.randperm(count, generator=generator_for(self._config, "order", epoch))
        coins = generator_for(self._config, "flip", 0)
        self._mirrored = alternating_flip(count, epoch, coins)
        self._epoch = epoch


def generator_for(config: TrainConfig, purpose: str, number: int) -> Generator:
    """Return a CPU generator that depends on the training's seed, a purpose and a number alone."""
    digest = hashlib.sha256(f"{config.seed}/{purpose}/{number}".encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def normalised(images: Tensor, config: TrainConfig) -> Tensor:
    """Return bytes [N, 3, H, W] as float: the mean colour taken off, in standard deviations.

    The result is in channels_last, the layout that convolutions run fastest in.
    """
    pixels_nhwc = images.permute(0, 2, 3, 1)
    count, height, width, _ = pixels_nhwc.shape
    scale = 1 / (255 * torch.tensor(config.std, device=images.device))
    shift = -255 * torch.tensor(config.mean, device=images.device) * scale
    # Over whole images: an inner loop over three colours would not be vectorised.
    flat = pixels_nhwc.reshape(count, -1).float()
    flat.mul_(scale.repeat(height * width)).add_(shift.repeat(height * width))
    return flat.view(count, height, width, 3).permute(0, 3, 1, 2)


def resized(images: Tensor, side: int) -> Tensor:
    """Return bytes [N, C, H, W] at *side* by *side* pixels, averaging what is shrunk."""
    if images.shape[2:] == (side, side):
        return images
    # Only the CPU resizes bytes, several times faster than floats.
    source = images if images.device.type == "cpu" else images.float()
    small = F.interpolate(source, size=(side, side), mode="bilinear", antialias=True)
    return small if small.dtype == torch.uint8 else small.round().clamp(0, 255).byte()
