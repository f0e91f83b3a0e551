"""What a scan keeps of one map: a few numbers an image and channel."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope.methods.scanning.exact_sums import Integers

Singles = npt.NDArray[np.float32]

GATHERED_BYTES = 2**25
"""Maps whose peaks are looked for are gathered in parts of about this size."""


@dataclass(frozen=True)
class Reduced:
    """Numbers of N images' maps of one layer, [N, C] each.

    Attributes:
        peak: the maximum over positions.
        total: the sum over positions.
        squares: the sum of the squares.
        active: the number of positions above zero.

    """

    peak: Singles
    total: Singles
    squares: Singles
    active: Integers

    def finite(self) -> npt.NDArray[np.bool_]:
        """Return for each image whether all its numbers are finite."""
        values = (self.peak, self.total, self.squares)
        finite: npt.NDArray[np.bool_] = np.all([np.isfinite(v).all(axis=1) for v in values], axis=0)
        return finite

    def part(self, count: int) -> "Reduced":
        """Return the numbers of the first *count* images."""
        return Reduced(
            self.peak[:count], self.total[:count], self.squares[:count], self.active[:count]
        )


class Reducer:
    """Reduces maps, in memory that it keeps from one map to the next."""

    def __init__(self) -> None:
        self._scratch = torch.empty(0)

    def reduce(self, maps: Tensor, rectified: bool) -> Reduced:
        """Return the numbers of *maps*, [N, C, H, W].

        Whole maps are read six times, each time in the order in which they lie in memory, which
        takes a few hundredths of the time of the convolution that made them.

        Args:
            maps: float, any precision.
            rectified: whether no value is below zero.

        """
        values = maps.permute(0, 2, 3, 1).flatten(1, 2)
        if values.dtype in (torch.float16, torch.bfloat16):
            values = values.float()
        scratch = self._like(values)
        peak, total = values.amax(1), values.sum(1)
        squares = torch.mul(values, values, out=scratch).sum(1)
        if rectified:
            torch.sign(values, out=scratch)
        else:
            torch.clamp(values, min=0, out=scratch).sign_()
        # Whole numbers up to 2**24 are exact in float32, and no map has more positions.
        active = scratch.sum(1)
        return Reduced(
            _singles(peak),
            _singles(total),
            _singles(squares),
            np.nan_to_num(_singles(active)).astype(np.int64),
        )

    def _like(self, values: Tensor) -> Tensor:
        kept = self._scratch
        fits = kept.dtype == values.dtype and kept.device == values.device
        if not fits or kept.numel() < values.numel():
            self._scratch = torch.empty(values.numel(), dtype=values.dtype, device=values.device)
        return self._scratch[: values.numel()].view(values.shape)


def peak_positions(maps: Tensor, chosen: npt.NDArray[np.bool_]) -> Integers:
    """Return row * width + column of the peaks of the *chosen*, [N, C], of maps [N, C, H, W].

    Of equal values the first counts. The order is that of ``chosen.nonzero()``.
    """
    images, channels = (torch.from_numpy(i).to(maps.device) for i in chosen.nonzero())
    at_once = max(1, GATHERED_BYTES // (maps.element_size() * maps[0, 0].numel()))
    parts = []
    for begin in range(0, len(images), at_once):
        part = slice(begin, begin + at_once)
        parts.append(maps[images[part], channels[part]].flatten(1).argmax(1).cpu())
    found: Integers = torch.cat(parts).numpy()
    return found


def _singles(values: Tensor) -> Singles:
    singles: Singles = values.cpu().float().numpy()
    return singles
