"""Pictures read rightly: files and Pillow images of any mode, to upright RGB with all its bits."""

import math
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from convscope.errors import ImageError, first_line, near_files

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
    """Decode a picture file's bytes as :func:`read_image` does the file; errors call it *name*.

    Raises:
        ImageError: if it is no image, is damaged, or has more *pixels*, known before unpacking it.

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
            f"{path} is refused: it unpacks to over {pixel_limit():,} pixels"
        ) from None
    except ImageError as error:
        raise ImageError(f"{path} {error}") from None
    except MemoryError:
        raise ImageError(f"{path} does not fit into memory") from None
    # Pillow's decoders meet damaged files with whatever their parsing ran into.
    except Exception as error:
        raise ImageError(f"{path} is cut short or damaged: {first_line(error)}") from error


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
                f"has {picture.width}×{picture.height} pixels, and {most:,} are the most"
            )


def _decoded(path: Path | BytesIO) -> "Image.Image | _Deep":
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
    if planes[0].mode == "RGB":
        return planes[0]
    rounded = [Image.fromarray(np.rint(np.asarray(plane)).astype(np.uint8)) for plane in planes]
    return Image.merge("RGB", rounded if len(rounded) == 3 else 3 * rounded)


def _require_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder, not an image")
        if path.is_symlink() and not path.exists():
            raise ImageError(f"{path} is a link to {path.readlink()}, which is not there")
        if not path.exists():
            raise ImageError(f"{path} does not exist{near_files(path)}")
        if path.stat().st_size == 0:
            raise ImageError(f"{path} is empty")
        path.open("rb").close()
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be opened: {first_line(error)}") from error


def pixel_limit() -> int:
    """Return the number of pixels beyond which Pillow takes a picture for a decompression bomb."""
    return 2 * (Image.MAX_IMAGE_PIXELS or 2**62)


def _upright(picture: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; a damaged EXIF block says nothing and turns nothing."""
    # Parsing damaged EXIF raises SyntaxError, struct.error, KeyError and others.
    with suppress(Exception):
        ImageOps.exif_transpose(picture, in_place=True)  # no copy of what may be large
    return picture


def _rgb(picture: Image.Image) -> Image.Image:
    if 0 in picture.size:
        raise ImageError(f"has no pixels: its size is {picture.width}×{picture.height}")
    if picture.has_transparency_data:
        coloured = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    try:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    except ValueError:
        raise ImageError(f"has the colour mode {picture.mode}, which has no RGB here") from None


def opened(picture: Picture, range: Range | None) -> Planes:
    """Return a file or a Pillow image as planes."""
    if not isinstance(picture, Image.Image):
        return _planes_of(Path(picture), range)
    try:
        return _planes(picture, range)
    except ImageError as error:
        raise ImageError(f"the picture {error}") from None
