"""Files to tensors: any picture file to upright RGB, and on to a network's input and back."""

import math
import os
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from convscope.arguments import checked
from convscope.errors import ImageError, near_matches

PicturePath: TypeAlias = str | os.PathLike[str]
Picture: TypeAlias = PicturePath | Image.Image

Range: TypeAlias = tuple[float, float]
"""The values of a picture's file that are black and white."""

Planes: TypeAlias = list[Image.Image]
"""A picture as one of mode "RGB", or with more than 8 bits as one plane of mode "F", 0 to 255, for
grey, or three for red, green and blue."""

WHITE, SIXTEEN_BIT_WHITE = 255, 65535
DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
LITTLE_USED = 0.1
"""A deep picture that uses less of its range than this share is said to."""

GREY = (0.299, 0.587, 0.114)

_OTHER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
LOW_BYTES = {f"{m};16{order}": f"{m};16{_OTHER[order]}" for m in ("RGB", "RGBA") for order in "BLN"}
"""How Pillow unpacks 16 bits a colour to the high byte, and how it would unpack the low one."""


class PictureWarning(UserWarning):
    """What should be known of a picture that can be read."""


def read_image(path: PicturePath) -> Image.Image:
    """Read an image file rightly, whatever its mode, as upright 8-bit RGB.

    Transparency is laid on white, 16 bits are scaled by 65535, floating point by the range it uses
    (0 to 1, to 255 or to 65535), CMYK is converted, the EXIF orientation is applied, and of an
    animation the first frame is taken.

    Args:
        path: the file.

    Returns:
        a picture of mode "RGB".

    Raises:
        ImageError: if the file is missing, is no image, is damaged, is empty or has no pixels.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "half.png")
    ...     Image.new("RGBA", (2, 1), (255, 0, 0, 128)).save(path)
    ...     read_image(path).getpixel((0, 0))
    (255, 127, 127)

    """
    return _eight_bits(_planes_of(Path(path), None))


def decode_image(content: bytes, name: str, pixels: int | None = None) -> Image.Image:
    """Decode a picture file's bytes as :func:`read_image` does the file.

    Args:
        content: the bytes.
        name: what an error calls it.
        pixels: how many it may have at most, which is known before it is unpacked.

    Raises:
        ImageError: if it is no image, is damaged, or has more pixels.

    >>> from convscope.samples import SAMPLES
    >>> decode_image(SAMPLES[0].content(), "cat.jpg").mode
    'RGB'

    """
    return _eight_bits(_planes_in(BytesIO(content), name, None, pixels))


def _planes_of(path: Path, range: Range | None) -> Planes:
    """Read an image file with all its bits; see :func:`read_image`."""
    _require_file(path)
    return _planes_in(path, str(path), range)


def _planes_in(
    file: Path | BytesIO, path: str, range: Range | None, pixels: int | None = None
) -> Planes:
    """Read what a file that is called *path* holds."""
    try:
        with _broken_files_read_on():
            if pixels is not None:
                _check_pixels(file, pixels)
            picture = _decoded(file)
        return _planes(picture, range)
    except UnidentifiedImageError:
        raise ImageError(
            f"{path} is not an image: its format is unknown, or its header is damaged or gives a "
            f"size of zero"
        ) from None
    except Image.DecompressionBombError:
        raise ImageError(
            f"{path} is refused: it unpacks to over {_pixel_limit():,} pixels"
        ) from None
    except ImageError as error:
        raise ImageError(f"{path} {error}") from None
    except MemoryError:
        raise ImageError(f"{path} does not fit into memory") from None
    # Pillow's decoders meet damaged files with whatever their parsing ran into.
    except Exception as error:
        raise ImageError(f"{path} is cut short or damaged: {_one_line(error)}") from error


_READING = threading.Lock()
_readers: list[Any] = []


@contextmanager
def _broken_files_read_on() -> Iterator[None]:
    """Hush Pillow, which warns of a slightly broken file and reads on, in all threads that read.

    Each thread that put back what it found would leave behind what another had set.
    """
    with _READING:
        _readers.append(warnings.catch_warnings())
        if len(_readers) == 1:
            _readers[0].__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        yield
    finally:
        with _READING:
            # The first one's stays until the last has read.
            _readers.pop() if len(_readers) > 1 else _readers.pop().__exit__(None, None, None)


def _check_pixels(file: Path | BytesIO, most: int) -> None:
    with Image.open(file) as picture:
        if picture.width * picture.height > most:
            raise ImageError(
                f"has {picture.width} x {picture.height} pixels, and {most:,} are the most"
            )


def _decoded(path: Path | BytesIO) -> "Image.Image | _Deep":
    """Return what a file holds, upright."""
    with Image.open(path) as picture:
        tiles = [_low_bytes(tile) for tile in getattr(picture, "tile", ())]
        picture.load()
        whole = "transparency" not in picture.info and tiles and all(tiles)
        if not whole:
            return _upright(picture)
        high = _upright(picture)
    # Pillow keeps the high byte of 16 bits a colour: the low ones are read as if they were those.
    with Image.open(path) as again:
        setattr(again, "tile", tiles)  # noqa: B010  a list of Pillow's own tuples
        again.load()
        return _Deep(high, _upright(again))


def _low_bytes(tile: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Return the part of a file as Pillow would read its low bytes, if 16 bits a colour."""
    codec, extents, offset, how = tile
    name, *more = (how,) if isinstance(how, str) else how or ("",)
    if name not in LOW_BYTES:
        return None
    return codec, extents, offset, LOW_BYTES[name] if not more else (LOW_BYTES[name], *more)


@dataclass(frozen=True)
class _Deep:
    """A picture of 16 bits a colour, by its high and its low bytes: of mode RGB or RGBA."""

    high: Image.Image
    low: Image.Image

    def values(self) -> npt.NDArray[Any]:
        """Return red, green and blue, [H, W, 3], 0 to 65535, on white."""
        values: npt.NDArray[Any] = np.asarray(self.high, dtype=np.float32) * 256
        values += np.asarray(self.low)
        if values.shape[2] == 4:
            share = values[..., 3:] / SIXTEEN_BIT_WHITE
            values = values[..., :3] * share + SIXTEEN_BIT_WHITE * (1 - share)
        return values


def _planes(picture: "Image.Image | _Deep", range: Range | None) -> Planes:
    """Return a picture as planes in 0 to 255."""
    values: npt.NDArray[Any]
    if isinstance(picture, _Deep):
        values = picture.values()
        white = SIXTEEN_BIT_WHITE
    elif picture.mode in DEEP_MODES and 0 not in picture.size:
        values = np.asarray(picture).astype(np.float64)[..., None]
        white = _white(values, picture.mode) if range is None else 0
    else:
        shown = _rgb(picture)
        if range is None:
            return [shown]
        values, white = np.asarray(shown, dtype=np.float32), WHITE
    if range is None:
        _say_if_little_used(values, white)
    low, high = range or (0, white)
    scaled = ((values - low) * (WHITE / (high - low))).clip(0, WHITE).astype(np.float32)
    return [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(scaled, 2, 0)]


def _white(values: npt.NDArray[np.float64], mode: str) -> int:
    """Return which value is white in a grey picture of 16 bits, 32-bit integers or floats."""
    if not np.isfinite(values).all():
        raise ImageError("holds NaN or infinite values")
    low, high = float(values.min()), float(values.max())
    whites = (1, WHITE, SIXTEEN_BIT_WHITE) if mode == "F" else (SIXTEEN_BIT_WHITE,)
    white = next((white for white in whites if high <= white), None)
    if low < 0 or white is None:
        raise ImageError(
            f"holds grey values from {low:g} to {high:g}, and which of them is white is not known; "
            f"name black and white with --range LOW,HIGH (Preprocess(range=...) in Python)"
        )
    return white


def _say_if_little_used(values: npt.NDArray[Any], white: int) -> None:
    low, high = float(values.min()), float(values.max())
    if 0 < high - low < LITTLE_USED * white:
        # Few sentences, so that a folder of such pictures is said once.
        up_to = 2 ** math.ceil(math.log2(high + 1)) - 1 if white > 1 else 0
        example = f", such as --range 0,{up_to}" if 0 < up_to < LITTLE_USED * white else ""
        warnings.warn(
            f"a picture uses under a tenth of its range of 0 to {white:,}: name the values that "
            f"are black and white with --range LOW,HIGH (Preprocess(range=...) in Python){example}",
            PictureWarning,
            stacklevel=2,
        )


def _eight_bits(planes: Planes) -> Image.Image:
    """Return planes as a picture of mode "RGB"."""
    if planes[0].mode == "RGB":
        return planes[0]
    rounded = [Image.fromarray(np.rint(np.asarray(plane)).astype(np.uint8)) for plane in planes]
    return Image.merge("RGB", rounded if len(rounded) == 3 else 3 * rounded)


def _require_file(path: Path) -> None:
    """Raise ImageError where there is no file with something in it."""
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder, not an image")
        if path.is_symlink() and not path.exists():
            raise ImageError(f"{path} is a link to {path.readlink()}, which is not there")
        if not path.exists():
            near = path.parent.iterdir() if path.parent.is_dir() else ()
            names = near_matches(path.name, (file.name for file in near))
            raise ImageError(f"{path} does not exist{names}")
        if path.stat().st_size == 0:
            raise ImageError(f"{path} is empty")
        path.open("rb").close()
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be opened: {_one_line(error)}") from error


def _pixel_limit() -> int:
    """Return the number of pixels beyond which Pillow takes a picture for a decompression bomb."""
    return 2 * (Image.MAX_IMAGE_PIXELS or 2**62)


def _one_line(error: BaseException) -> str:
    """Return what an error says, on one line and without a full stop."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split()).rstrip(".")


def _upright(picture: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; a damaged EXIF block says nothing and turns nothing."""
    # Parsing damaged EXIF raises SyntaxError, struct.error, KeyError and others.
    with suppress(Exception):
        ImageOps.exif_transpose(picture, in_place=True)  # no copy of what may be large
    return picture


def as_rgb(picture: Image.Image) -> Image.Image:
    """Bring a Pillow image of any mode to 8-bit RGB, as :func:`read_image` does.

    Raises:
        ImageError: if it has no pixels, or values whose white is unknown.

    >>> as_rgb(Image.new("I;16", (1, 1), 65535)).getpixel((0, 0))
    (255, 255, 255)

    """
    return _eight_bits(_planes(picture, None))


def _rgb(picture: Image.Image) -> Image.Image:
    """Return a picture of 8 bits as RGB."""
    if 0 in picture.size:
        raise ImageError(f"has no pixels: its size is {picture.width} x {picture.height}")
    if picture.has_transparency_data:
        coloured = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    try:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    except ValueError:
        raise ImageError(f"has the colour mode {picture.mode}, which has no RGB here") from None


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
        planes = [self._fit(plane) for plane in _opened(picture, self.range)]
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
        return (pixels - self._per_channel(self.mean, pixels)) / self._per_channel(self.std, pixels)

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
        """Resize and crop a picture to the network's size."""
        resized = _resized(picture, *self._resized_size(picture.size), self.interpolation)
        if self.resize is None:
            return resized
        height, width = self.size
        left, top = _crop_start(resized.width, width), _crop_start(resized.height, height)
        return resized.crop((left, top, left + width, top + height))

    def _resized_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return width and height that a picture of *size*, width and height, is resized to."""
        if self.resize is None:
            return self.size[1], self.size[0]
        short, long = sorted(size)
        scaled = int(self.resize * long / short)
        if scaled * self.resize > _pixel_limit():
            raise ImageError(
                f"a picture of {size[0]} x {size[1]} is too long and thin to be "
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


def _opened(picture: Picture, range: Range | None) -> Planes:
    """Return a file or a Pillow image as planes."""
    if not isinstance(picture, Image.Image):
        return _planes_of(Path(picture), range)
    try:
        return _planes(picture, range)
    except ImageError as error:
        raise ImageError(f"the picture {error}") from None


def _resized(
    picture: Image.Image, width: int, height: int, interpolation: Image.Resampling
) -> Image.Image:
    if picture.size == (width, height):
        return picture
    return picture.resize((width, height), interpolation)


def _crop_start(length: int, crop: int) -> int:
    """Where a centre crop begins along one side; negative where the picture is the smaller.

    torchvision rounds half to even when it crops and down when it pads.
    """
    return round((length - crop) / 2) if length >= crop else -((crop - length) // 2)
