"""The batches of a training, each a function of its step alone: drawn, changed and normalised."""

import hashlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from convscope.errors import TrainError
from convscope.study.config import Augmentation, TrainConfig
from convscope.study.data import ImageSet


class Batches:
    """Makes the batch of any step of a training.

    All randomness is drawn from generators seeded by the training's seed and by the epoch or step,
    so a resumed training sees what an uninterrupted one would, with no state to keep, and every
    process of a distributed one draws alike and takes its own share.

    The images are kept on *device*, where the batches are wanted, as bytes. Of the processes that
    share each batch this one's number is *rank*.

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
        done = step / self.steps
        return next((side for until, side in self._config.sides if done < until), self._size[0])

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
        return config.inputs(pixels), self._labels[mine]

    def _start(self, epoch: int) -> None:
        """Draw the order and the sides of an epoch's images, once."""
        if epoch == self._epoch:
            return
        count = len(self._labels)
        self._order = torch.randperm(count, generator=generator_for(self._config, "order", epoch))
        coins = generator_for(self._config, "flip", 0)
        self._mirrored = alternating_flip(count, epoch, coins)
        self._epoch = epoch


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
    ) -> "Changes":
        """Draw the changes to a batch of which :func:`alternating_flip` says what is mirrored.

        *generator*, on the CPU, is the only source of randomness.
        """
        count = len(mirrored)
        offsets = torch.randint(0, 2 * kind.shift + 1, (2, count), generator=generator)
        centres = [torch.randint(0, length, (count,), generator=generator) for length in size]
        return cls(mirrored & kind.flip, offsets, torch.stack(centres) - kind.cutout // 2)

    def share(self, part: slice) -> "Changes":
        """Return the changes to the images of *part* of the batch."""
        return Changes(self.mirrored[part], self.offsets[:, part], self.holes[:, part])

    def pick(self, images_nhwc: Tensor, chosen: Tensor, kind: Augmentation, fill: Tensor) -> Tensor:
        """Return the chosen images, changed.

        One indexing picks, mirrors, shifts and reflects: all four only say which pixel is read.

        Args:
            images_nhwc: uint8 [M, H, W, C], the whole set; as many are returned as are chosen.
            chosen: int64 [N], on the same device: which images these changes are for.
            kind: what the changes were drawn for.
            fill: uint8 [C], the colour of cut-out squares.
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


def generator_for(config: TrainConfig, purpose: str, number: int) -> Generator:
    """Return a CPU generator that depends on the training's seed, a purpose and a number alone."""
    digest = hashlib.sha256(f"{config.seed}/{purpose}/{number}".encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def resized(images: Tensor, side: int) -> Tensor:
    """Return bytes [N, C, H, W] at *side* by *side* pixels, averaging what is shrunk."""
    if images.shape[2:] == (side, side):
        return images
    # Only the CPU resizes bytes, several times faster than floats.
    source = images if images.device.type == "cpu" else images.float()
    small = F.interpolate(source, size=(side, side), mode="bilinear", antialias=True)
    return small if small.dtype == torch.uint8 else small.round().clamp(0, 255).byte()
