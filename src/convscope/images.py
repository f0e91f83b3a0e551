"""Pictures to a network's input, and back."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from convscope.arguments import checked
from convscope.errors import ImageError
from convscope.reading import WHITE, Picture, Range, opened, pixel_limit

GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Preprocess:
    """How pictures become a network's input: resize, centre crop, minus mean, over std.

    It is torchvision's ImageNet preset, bit for bit: the short side is resized to ``resize`` with
    ``interpolation`` (antialiased), the middle ``size`` is cut out (black where the picture is
    smaller), values go to 0..1 and then to ``(value - mean) / std``. With ``resize=None`` nothing
    is cut: the whole picture is squeezed to ``size``, whatever its aspect ratio.

    mean, std: per channel, of pixels in 0..1
    size: (height, width) of the network's input, in pixels
    resize: length of the short side before the crop, in pixels, or None
    interpolation: Pillow's resampling filter
    range: the values of a picture's file that are black and white, what lies beyond being cut off;
        None for its format's: 0 to 255, to 65535, or for floating point to what it uses of these.
        Pictures of more than 8 bits keep them.

    >>> preprocess = Preprocess((0.5,), (0.25,), (2, 2))
    >>> preprocess(Image.new("RGB", (8, 4), "white")).tolist()
    [[[[2.0, 2.0], [2.0, 2.0]]]]
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]
    resize: int | None = None
    interpolation: Image.Resampling = Image.Resampling.BILINEAR
    range: Range | None = None

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std):
            raise ImageError(f"mean {self.mean} and std {self.std} name different channel counts")
        if not all(np.isfinite(self.mean)) or not all(0 < std < np.inf for std in self.std):
            raise ImageError(f"mean {self.mean} must be finite and std {self.std} above zero")
        if min(*self.size, 1 if self.resize is None else self.resize) < 1:
            raise ImageError(f"size {self.size} and resize {self.resize} must be at least 1")
        if self.range is not None and not -np.inf < self.range[0] < self.range[1] < np.inf:
            raise ImageError(f"the range {self.range} must be finite, black below white")

    @classmethod
    def identity(cls, channels: int, size: tuple[int, int]) -> "Preprocess":
        """Return the preprocessing that keeps pixels in 0..1 and squeezes pictures to ``size``.

        >>> Preprocess.identity(3, (32, 32)).mean
        (0.0, 0.0, 0.0)
        """
        return cls((0.0,) * channels, (1.0,) * channels, size)

    def resized(self, size: tuple[int, int]) -> "Preprocess":
        """Return the same for inputs of another size, the resize before the crop in proportion."""
        (height, width), old = size, self.size
        resize = self.resize and round(self.resize * max(height / old[0], width / old[1]))
        return replace(self, size=(height, width), resize=resize)

    @property
    def channels(self) -> int:
        """Number of channels of the network's input."""
        return len(self.mean)

    def __call__(self, picture: Picture) -> Tensor:
        """Return one picture, a file or a Pillow image, as float32 [1, C, H, W].

        Raises:
            ImageError: if it cannot be read, or if the network takes neither 1 nor 3 channels.
        """
        if self.channels not in (1, 3):
            raise ImageError(
                f"the network's input has {self.channels} channels, and a picture file has 1 or 3; "
                f"pass a tensor [N, {self.channels}, {self.size[0]}, {self.size[1]}] instead"
            )
        planes = [self._fit(plane) for plane in opened(picture, self.range)]
        if planes[0].mode == "RGB":
            values = np.array(planes[0].convert("L" if self.channels == 1 else "RGB"))
        else:
            values = np.stack([np.asarray(plane) for plane in planes], axis=-1)
            if self.channels == 1 and len(planes) == 3:
                values = values @ np.array(GREY, dtype=np.float32)
            elif len(planes) == 1:
                values = np.repeat(values, self.channels, axis=-1)
        pixels_hwc = torch.from_numpy(values.reshape(*self.size, self.channels))
        pixels = pixels_hwc.permute(2, 0, 1).contiguous()[None].to(torch.float32) / WHITE
        return self.to_inputs(pixels)

    def batch(self, pictures: Iterable[Picture]) -> Tensor:
        """Return several pictures as float32 [N, C, H, W].

        Raises:
            ImageError: if one cannot be read, or if there are none.

        >>> Preprocess.identity(3, (4, 5)).batch([Image.new("L", (9, 9))] * 2).shape
        torch.Size([2, 3, 4, 5])
        """
        inputs = [self(picture) for picture in pictures]
        if not inputs:
            raise ImageError("no images were given")
        return torch.cat(inputs)

    def to_pixels(self, inputs: Tensor) -> Tensor:
        """Return network inputs [..., C, H, W] as pixels in 0..1, not clamped.

        >>> Preprocess((0.5,), (0.25,), (1, 1)).to_pixels(torch.tensor([[[2.0]]])).item()
        1.0
        """
        return self._per_channel(self.mean, inputs) + self.difference_to_pixels(inputs)

    def to_inputs(self, pixels: Tensor) -> Tensor:
        """Return pixels in 0..1, [..., C, H, W], as network inputs.

        >>> Preprocess((0.5,), (0.25,), (1, 1)).to_inputs(torch.tensor([[[1.0]]])).item()
        2.0
        """
        return (pixels - self._per_channel(self.mean, pixels)) / self._per_channel(self.std, pixels)

    def difference_to_pixels(self, differences: Tensor) -> Tensor:
        """Return differences of inputs [..., C, H, W], as projections are, in units of pixels.

        Only the scale is undone, not the mean, so that zero stays zero.

        >>> Preprocess((0.5,), (0.25,), (1, 1)).difference_to_pixels(torch.tensor([[[2.0]]])).item()
        0.5
        """
        return self._per_channel(self.std, differences) * differences

    def _per_channel(self, numbers: tuple[float, ...], like: Tensor) -> Tensor:
        """Return one number a channel, shaped to meet a tensor [..., C, H, W]."""
        if like.ndim < 3 or like.shape[-3] != self.channels:
            raise ImageError(
                f"a tensor of shape {list(like.shape)} is not [..., {self.channels}, H, W]"
            )
        return torch.tensor(numbers, dtype=like.dtype, device=like.device)[:, None, None]

    def _fit(self, picture: Image.Image) -> Image.Image:
        resized = picture.resize(self._resized_size(picture.size), self.interpolation)
        if self.resize is None:
            return resized
        height, width = self.size
        left, top = _crop_start(resized.width, width), _crop_start(resized.height, height)
        return resized.crop((left, top, left + width, top + height))

    def _resized_size(self, size: tuple[int, int]) -> tuple[int, int]:
        if self.resize is None:
            return self.size[1], self.size[0]
        short, long = sorted(size)
        scaled = int(self.resize * long / short)
        if scaled * self.resize > pixel_limit():
            raise ImageError(
                f"a picture of {size[0]}×{size[1]} is too long and thin to be "
                f"resized to a short side of {self.resize}"
            )
        return (scaled, self.resize) if size[0] > size[1] else (self.resize, scaled)

    def window(
        self, size: tuple[int, int], box: tuple[float, float, float, float]
    ) -> tuple[int, int, int, int]:
        """Return where a box of a picture's pixels lies in the network's input.

        Args:
            size: width and height of the picture in pixels.
            box: left, top, right, bottom in its pixels, the last two excluded.

        Returns:
            top, left, bottom, right in the input's pixels, the last two excluded, rounded, and cut
            off at the borders.

        Raises:
            ImageError: if nothing of the box lies in what the network is shown.

        >>> Preprocess((0.5,), (0.25,), (2, 2), resize=2).window((8, 4), (2, 0, 6, 2))
        (0, 0, 1, 2)
        """
        height, width = self.size
        first_row, first_column, last_row, last_column = self._placed(size, box)
        columns = [min(max(x, 0), width) for x in (first_column, last_column)]
        rows = [min(max(y, 0), height) for y in (first_row, last_row)]
        if rows[0] >= rows[1] or columns[0] >= columns[1]:
            raise ImageError(
                f"nothing of the box {', '.join(f'{side:g}' for side in box)} lies in the part of "
                f"the picture that the network is shown"
            )
        return rows[0], columns[0], rows[1], columns[1]

    def cuts(self, size: tuple[int, int], box: tuple[float, float, float, float]) -> bool:
        """Return whether a part of a box, as :meth:`window` takes it, is not in the input.

        >>> preprocess = Preprocess((0.5,), (0.25,), (2, 2), resize=2)
        >>> preprocess.cuts((8, 4), (2, 0, 6, 2)), preprocess.cuts((8, 4), (0, 0, 6, 2))
        (False, True)
        """
        top, left, bottom, right = self._placed(size, box)
        return top < 0 or left < 0 or bottom > self.size[0] or right > self.size[1]

    def _placed(
        self, size: tuple[int, int], box: tuple[float, float, float, float]
    ) -> tuple[int, int, int, int]:
        """Return a box in the input's pixels, rounded: top, left, bottom, right."""
        height, width = self.size
        resized = self._resized_size(size)
        left, top = (0, 0)
        if self.resize is not None:
            left, top = _crop_start(resized[0], width), _crop_start(resized[1], height)
        across, down = resized[0] / size[0], resized[1] / size[1]
        columns = [round(x * across - left) for x in (box[0], box[2])]
        rows = [round(y * down - top) for y in (box[1], box[3])]
        return rows[0], columns[0], rows[1], columns[1]


Preprocess.__init__ = checked(Preprocess.__init__)  # type: ignore[method-assign]


def _crop_start(length: int, crop: int) -> int:
    """Where a centre crop begins along one side; negative where the picture is the smaller.

    torchvision rounds half to even when it crops and down when it pads.
    """
    return round((length - crop) / 2) if length >= crop else -((crop - length) // 2)
