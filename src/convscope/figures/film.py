"""A film: frames of equal size, each held for a while, written as an animated GIF or as MP4."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from convscope.errors import OutputError

Frame = npt.NDArray[np.uint8]

FRAMES_A_SECOND = 10
"""Of an MP4; a frame that is held is repeated, which costs next to nothing."""


@dataclass(frozen=True)
class Film:
    """Frames to be shown one after the other.

    Attributes:
        frames: draws them, uint8 [H, W, 3] of one size, one after the other.
        seconds: how long each is held.
        colours: a picture whose 256 commonest colours do for all frames of a GIF, which makes it
            smaller and sooner; None for those of each frame.
    """

    frames: Callable[[], Iterator[Frame]]
    seconds: tuple[float, ...]
    colours: Frame | None = None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the film to a file, a GIF or an MP4 as its ending says.

        A GIF has 256 colours a frame, so colours in it may be off by a few steps of 255.
        """
        path = Path(path)
        if path.suffix.lower() == ".gif":
            self._save_gif(path)
        else:
            self._save_mp4(path)

    def _save_gif(self, path: Path) -> None:
        pictures: Iterator[Image.Image] = map(_of_few_colours, self.frames())
        if self.colours is not None:
            palette = _of_few_colours(self.colours)
            pictures = (
                Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
                for frame in self.frames()
            )
        first = next(pictures)
        milliseconds = [round(1000 * seconds) for seconds in self.seconds]
        first.save(path, save_all=True, append_images=pictures, duration=milliseconds, loop=0)

    def _save_mp4(self, path: Path) -> None:
        encoder = mp4_encoder()
        writer = None
        try:
            for frame, seconds in zip(self.frames(), self.seconds, strict=True):
                even = _evened(frame)
                if writer is None:
                    writer = encoder.write_frames(
                        str(path),
                        (even.shape[1], even.shape[0]),
                        fps=FRAMES_A_SECOND,
                        macro_block_size=2,
                        output_params=["-movflags", "+faststart"],
                    )
                    writer.send(None)
                for _ in range(round(seconds * FRAMES_A_SECOND)):
                    writer.send(even)
        finally:
            if writer is not None:
                writer.close()


def mp4_encoder() -> Any:
    """Return the package that writes MP4, or refuse where it is not installed."""
    try:
        return import_module("imageio_ffmpeg")
    except ModuleNotFoundError as error:
        raise OutputError(
            "an .mp4 needs imageio-ffmpeg: install it with `pip install 'convscope[video]'`, or "
            "write a .gif"
        ) from error


def _of_few_colours(frame: Frame) -> Image.Image:
    """Return a frame with the 256 colours that a GIF can have.

    Pillow's usual choice leaves out colours of few pixels, and gave two curves one colour.
    """
    return Image.fromarray(frame).quantize(
        256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE
    )


def _evened(frame: Frame) -> Frame:
    """Return a frame with white at the right and below, where a side is odd: MP4 wants even ones.

    >>> _evened(np.zeros((3, 2, 3), np.uint8)).shape
    (4, 2, 3)
    """
    height, width, _ = frame.shape
    room = (0, height % 2), (0, width % 2), (0, 0)
    return np.ascontiguousarray(np.pad(frame, room, constant_values=255))
