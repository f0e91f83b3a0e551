"""What a scan keeps of one map: a few numbers an image and channel."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope.methods.moments import pooled
from convscope.methods.scanning.strongest import Booleans, Halves, Integers, witnesses

Singles = npt.NDArray[np.float32]

BLOCK_BYTES = 2**19
"""A block and what is worked out of it have room in a core's second cache."""

GATHERED_BYTES = 2**25
"""Maps whose peaks are looked for are gathered in parts of about this size."""


@dataclass(frozen=True)
class Reduced:
    """Numbers of N images' maps of one layer, [N, C] each.

    Attributes:
        peak: the maximum over positions.
        mean: the mean over positions, float64.
        squares: the sum of the squared deviations from it, float64.
        active: the number of positions above zero.
    """

    peak: Singles
    mean: Tensor
    squares: Tensor
    active: Integers

    def finite(self) -> Booleans:
        """Return for each image whether all its numbers are finite."""
        both = torch.isfinite(self.mean) & torch.isfinite(self.squares)
        finite: Booleans = (np.isfinite(self.peak) & both.numpy()).all(axis=1)
        return finite

    def part(self, count: int) -> "Reduced":
        """Return the numbers of the first *count* images."""
        return Reduced(
            self.peak[:count], self.mean[:count], self.squares[:count], self.active[:count]
        )


@dataclass(frozen=True)
class LayerBatch:
    """What N images have in one layer, before it is counted.

    Attributes:
        reduced: their numbers.
        entering: [N, C], which peaks have an entry among the strongest.
        places: one of each of these: row * width + column of the peak.
        company: one of each of these, too; see :func:`company`.
    """

    reduced: Reduced
    entering: Booleans
    places: Integers
    company: Halves


def reduced(maps: Tensor, rectify: bool = False) -> Reduced:
    """Return the numbers of *maps*, [N, C, H, W], first rectified where they lie if need be.

    The maps are read seven times in all, but in blocks that stay in the processor's cache, and in
    the order in which they lie in memory.
    """
    values = maps.permute(0, 2, 3, 1).flatten(1, 2)
    if rectify and (values.data_ptr() != maps.data_ptr() or maps.dtype != torch.float32):
        maps.relu_()  # and the values are copies
        return reduced(maps)
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    images, rows = _block_shape(values)
    blocks = -(-values.shape[1] // rows)
    found = values.new_empty(5, len(values), blocks, values.shape[2])
    for first, group in enumerate(torch.split(values, images)):
        for place, block in enumerate(torch.split(group, rows, dim=1)):
            part = slice(first * images, first * images + len(group))
            if rectify:
                block.relu_()
            _reduce_block(block, found[:, part, place])
    peak, rough, rest, squares, active = found.cpu().double()
    counts = torch.full((blocks,), rows)
    counts[-1] = values.shape[1] - rows * (blocks - 1)
    # Each block's mean in single precision, and how far it was off.
    # Around a mean that is off by d, n squares are n * d^2 too many: that is off * rest.
    off = rest / counts[:, None]
    mean, squares = pooled(counts, rough + off, (squares - off * rest).clamp(min=0))
    # Whole numbers up to 2**24 are exact in float32, and no map has more positions.
    positions = active.sum(1).long().numpy()
    return Reduced(peak.amax(1).float().numpy(), mean, squares, positions)


def _reduce_block(block: Tensor, found: Tensor) -> None:
    """Write a block's numbers, [5, n, C], of its values [n, P, C]."""
    peak, mean, rest, squares, active = found.unbind()
    torch.amax(block, 1, out=peak)
    torch.mean(block, 1, out=mean)
    off = block - mean[:, None]
    torch.sum(off, 1, out=rest)
    torch.sum(off.square_(), 1, out=squares)
    torch.sum(torch.gt(block, 0, out=off), 1, out=active)


def _block_shape(values: Tensor) -> tuple[int, int]:
    """Return how many images and positions of *values*, [N, P, C], make a block."""
    # On other devices each block would only cost calls of its own.
    images, positions, channels = values.shape
    if values.device.type != "cpu":
        return images, positions
    fitting = max(1, BLOCK_BYTES // (values.element_size() * channels))
    return min(images, max(1, fitting // positions)), min(positions, fitting)


def company(maps: Tensor, chosen: Booleans, places: Integers) -> Halves:
    """Return what the witnesses do at the peaks of the *chosen*, each over the largest: [M, W].

    The maps are [N, C, H, W], *chosen* [N, C], and *places*, [M], from :func:`peak_positions`.
    """
    width = maps.shape[3]
    which = (chosen.nonzero()[0], places // width, places % width)
    image, row, column = (torch.from_numpy(i)[:, None].to(maps.device) for i in which)
    seen = torch.from_numpy(witnesses(maps.shape[1])).to(maps.device)
    values = maps[image, seen, row, column].float()
    largest = values.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    found: Halves = (values / largest).half().cpu().numpy()
    return found


def peak_positions(maps: Tensor, chosen: npt.NDArray[np.bool_]) -> Integers:
    """Return row * width + column of the peaks of the *chosen*, [N, C], of maps [N, C, H, W].

    Of equal values the first counts. The order is that of ``chosen.nonzero()``.
    """
    images, channels = (torch.from_numpy(i).to(maps.device) for i in chosen.nonzero())
    at_once = max(1, GATHERED_BYTES // (maps.element_size() * maps[0, 0].numel()))
    split = (torch.split(places, at_once) for places in (images, channels))
    parts = [maps[own].flatten(1).argmax(1).cpu() for own in zip(*split, strict=True)]
    found: Integers = torch.cat(parts).numpy()
    return found
