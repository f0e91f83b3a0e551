"""Signed values to pictures that tell the truth: zero is mid-grey, and the scale has a name."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope.errors import ImageError, check_known

NOT_FINITE_COLOUR = (255, 0, 255)  # magenta

SCALES = {"tile": "each tile on its own scale", "shared": "all tiles on one scale"}
COLOURS = {
    "signed": "red, green and blue as they are",
    "luminance": "the luminance (Rec. 709) alone",
    "normalised": "each pixel's colour no stronger than its luminance (Rec. 709)",
}
CONTRASTS = {"linear": "proportional to the value", "root": "the square root of |value|"}
"""What each way to show signed values means."""

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""What red, green and blue add to it, by Rec. 709."""


@dataclass(frozen=True)
class Display:
    """How projections are shown.

    Attributes:
        scale: ``"tile"``, each on a scale of its own, or ``"shared"``, all on one.
        colour: ``"signed"``, red, green and blue as they are; ``"luminance"``, grey; or
            ``"normalised"``, the hue where it is as strong as the luminance, which takes away the
            coloured fringes of neighbours of opposite signs.
        contrast: ``"linear"``, or ``"root"``, the square root of each value with its sign, which
            shows what is faint beside the strongest.

    Raises:
        ConvscopeError: if there is no such scale, colour or contrast.
    """

    scale: str = "tile"
    colour: str = "signed"
    contrast: str = "linear"

    def __post_init__(self) -> None:
        """Refuse what does not exist."""
        for name, known in (("scale", SCALES), ("colour", COLOURS), ("contrast", CONTRASTS)):
            check_known(name, getattr(self, name), known)

    def coloured(self, values: Tensor) -> Tensor:
        """Return signed values [..., C, H, W] in the colours asked for, of one or three channels.

        >>> grey = Display(colour="luminance").coloured(torch.ones(3, 1, 1))
        >>> grey.shape, round(grey.item(), 6)
        (torch.Size([1, 1, 1]), 1.0)
        >>> fringe = torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1)
        >>> [round(x, 3) for x in Display(colour="normalised").coloured(fringe).flatten().tolist()]
        [0.067, 0.067, 0.144]
        """
        values = presentable(values)
        if self.colour == "signed" or values.shape[-3] == 1:
            return values
        weights = values.new_tensor(LUMINANCE).view(3, 1, 1)
        luminance = (values * weights).sum(-3, keepdim=True)
        if self.colour == "luminance":
            return luminance
        hue = values - luminance
        strongest = hue.abs().amax(-3, keepdim=True)
        kept = (luminance.abs() / strongest.clamp(min=torch.finfo(values.dtype).tiny)).clamp(max=1)
        return luminance + hue * kept

    def scale_of(self, values: Tensor | npt.NDArray[Any]) -> "DisplayScale":
        """Return the scale for values as :meth:`coloured` returned them."""
        return replace(display_scale(values), contrast=self.contrast)

    def words(self) -> list[str]:
        """Return the names of what differs from the usual colour and contrast."""
        named = {
            "luminance": "luminance", "normalised": "normalised colours", "root": "root contrast",
        }  # fmt: skip
        return [named[choice] for choice in (self.colour, self.contrast) if choice in named]


@dataclass(frozen=True)
class DisplayScale:
    """A symmetric scale for signed values: zero is mid-grey, ``-limit`` black, ``limit`` white.

    Attributes:
        limit: the absolute value shown as black or white; 0 if there is nothing but zeros.
        clipped: share, 0..1, of the finite nonzero values that lie beyond the limit.
        quantile: the quantile of |values| that the limit was taken from.
        not_finite: number of NaN and infinite values, shown in magenta.
        contrast: ``"linear"`` or ``"root"``; see :class:`Display`.
    """

    limit: float
    clipped: float
    quantile: float
    not_finite: int = 0
    contrast: str = "linear"


def display_scale(values: Tensor | npt.NDArray[Any], quantile: float = 0.999) -> DisplayScale:
    """Choose the scale on which signed values of any shape are shown.

    The limit is a high quantile of |values|, so that one outlier does not turn the rest grey.
    Zeros are left out of it: a projection is exactly zero outside its window, and a small window in
    a large image would otherwise saturate. Give one tile for a scale of its own, or all of them for
    a shared one.

    Raises:
        ImageError: if ``quantile`` is not in 0..1.

    >>> display_scale(np.array([0.0, -2.0, 1.0]), quantile=1.0)
    DisplayScale(limit=2.0, clipped=0.0, quantile=1.0, not_finite=0, contrast='linear')
    """
    if not 0 <= quantile <= 1:
        raise ImageError(f"the display quantile {quantile} is not between 0 and 1")
    array = _to_array(values)
    finite = np.isfinite(array)
    magnitudes = np.abs(array[finite & (array != 0)])
    not_finite = int(array.size - finite.sum())
    if magnitudes.size == 0:
        return DisplayScale(0.0, 0.0, quantile, not_finite)
    # A quantile between two values would clip the largest of a tile of few pixels.
    limit = float(np.quantile(magnitudes, quantile, method="higher"))
    return DisplayScale(limit, float(np.mean(magnitudes > limit)), quantile, not_finite)


def to_display(values: Tensor | npt.NDArray[Any], scale: DisplayScale) -> npt.NDArray[np.uint8]:
    """Paint signed values [..., C, H, W], with C of 1 or 3, as uint8 [..., H, W, 3].

    Zero is grey 128, ``scale.limit`` white, ``-scale.limit`` black; beyond is clipped. A pixel with
    a NaN or an infinity in any channel is magenta.

    Raises ImageError for any other shape.

    >>> to_display(np.array([[[-1.0, 0.0, 1.0, np.nan]]]), DisplayScale(1.0, 0.0, 1.0))[0].tolist()
    [[0, 0, 0], [128, 128, 128], [255, 255, 255], [255, 0, 255]]
    """
    array = _to_array(values)
    if array.ndim < 3 or array.shape[-3] not in (1, 3):
        raise ImageError(f"values of shape {list(array.shape)} are not [..., 1 or 3, H, W]")
    pixels = np.moveaxis(array, -3, -1)
    finite = np.isfinite(pixels)
    shares = np.where(finite, pixels, 0) / scale.limit if scale.limit > 0 else np.zeros_like(pixels)
    shares = np.clip(shares, -1, 1)
    if scale.contrast == "root":
        shares = np.sign(shares) * np.sqrt(np.abs(shares))
    painted = np.rint(127.5 + 127.5 * shares).astype(np.uint8)
    painted = np.array(np.broadcast_to(painted, (*pixels.shape[:-1], 3)))
    painted[~finite.all(axis=-1)] = NOT_FINITE_COLOUR
    return painted


def as_array(values: Tensor) -> npt.NDArray[Any]:
    """Return values as an array of NumPy's, which has no bfloat16."""
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy(force=True)


def presentable(values: Tensor) -> Tensor:
    """Return values with one or three channels; others are shown as their mean over channels."""
    return values if values.shape[-3] in (1, 3) else values.mean(dim=-3, keepdim=True)


def beyond(first: int, end: int, size: int, field: int) -> tuple[int, int]:
    """Return a window's rows as they would be if the image did not end, up to the image's size.

    >>> beyond(0, 2, 32, 3), beyond(30, 32, 32, 3), beyond(4, 7, 32, 3)
    ((-1, 2), (30, 33), (4, 7))

    Some windows are smaller for another reason, as those of transposed convolutions, and stay.
    """
    missing = min(field, size) - (end - first)
    before, after = first, size - end
    if missing > before and before <= after:
        return first - missing, end
    return (first, end + missing) if missing > after else (first, end)


def averaged(picture: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    """Return a picture [H, W, C] at another size, each pixel the mean of the area that it covers.

    >>> averaged(np.array([[[0], [90], [60]]], dtype=np.uint8), 1, 2)[..., 0].tolist()
    [[30, 70]]
    """
    rows, columns = _overlaps(picture.shape[0], height), _overlaps(picture.shape[1], width)
    values = picture.astype(np.float32).reshape(len(picture), -1)
    mean = columns @ (rows @ values).reshape(height, *picture.shape[1:])
    whole = np.issubdtype(picture.dtype, np.integer)
    found: npt.NDArray[Any] = (np.rint(mean) if whole else mean).astype(picture.dtype)
    return found


@cache
def _overlaps(before: int, after: int) -> npt.NDArray[np.float32]:
    """Return which share of each of *after* equal parts each of *before* has, [after, before]."""
    edges = np.arange(after + 1)[:, None] * before / after
    covered = np.clip(edges - np.arange(before), 0, 1)
    return (np.diff(covered, axis=0) * after / before).astype(np.float32)


def _to_array(values: Tensor | npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.asarray(as_array(values) if isinstance(values, Tensor) else values, np.float64)
