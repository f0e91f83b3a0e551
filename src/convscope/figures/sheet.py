"""A sheet: a figure on which everything is placed in inches, so that no text meets another."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from convscope.display import presentable
from convscope.errors import OutputError
from convscope.figures.lettering import FEWEST_DOTS, any_letters, families
from convscope.figures.style import FOOT_POINTS, FRAME_POINTS, INK, WARNING

MOST_PIXELS = 65_535
"""Height or width of a picture in pixels beyond which renderers and viewers give up."""


class Bare(Axes):
    """Axes for a picture. To make the ticks that none shows takes longer than all the rest."""

    def __init__(self, *place: Any, **options: Any) -> None:
        super().__init__(*place, **options)
        # The ticks would have told the frame's lines to stand at the edges.
        for spine in self.spines.values():
            spine.set_position(("outward", 0.0))

    def _init_axis(self) -> None:
        super()._init_axis()  # type: ignore[misc]
        for axis in (self.xaxis, self.yaxis):
            axis.majorTicks = axis.minorTicks = []
            axis.reset_ticks = lambda: None  # type: ignore[method-assign]


@dataclass(frozen=True)
class Sheet:
    """A figure on which everything is placed in inches from the upper left corner.

    Attributes:
        figure: what is drawn on.
        cuts: inches from the top at which a long figure can be cut, so that it fits pages.
        caption: notes and the short caption, and the rest of it.
    """

    figure: Figure
    cuts: tuple[float, ...] = ()
    caption: tuple[str, str] = ("", "")

    @property
    def words(self) -> str:
        """The whole caption, which the file's metadata holds."""
        return " ".join(filter(None, self.caption))

    @staticmethod
    def check(height: float, width: float) -> None:
        """Refuse a sheet that is larger, in inches, than renderers and viewers can take."""
        if max(width, height) * FEWEST_DOTS > MOST_PIXELS:
            raise OutputError(
                f"the figure would be {height:.0f} inches high: take fewer images, layers or "
                f"channels, or a .npz file for the numbers alone"
            )

    def save(self, file: str | os.PathLike[str] | IO[bytes]) -> None:
        """Write the figure to a file, of the kind that its ending names, or as PNG.

        Its letters are embedded as TrueType, which printers and editors can read, and the whole
        caption is in its metadata.
        """
        ending = Path(file).suffix.lower() if isinstance(file, str | os.PathLike) else ".png"
        place = {".png": "Description", ".svg": "Description", ".pdf": "Subject"}.get(ending)
        with any_letters(), rc_context({"pdf.fonttype": 42, "ps.fonttype": 42}):
            self.figure.savefig(
                file, format=ending[1:], metadata={place: self.words} if place else None
            )

    def painted(self, dots: float | None = None) -> npt.NDArray[np.uint8]:
        """Return the figure as it is painted, [H, W, 3], at its own or so many dots an inch."""
        content, dots = BytesIO(), dots or self.figure.dpi
        with any_letters():
            self.figure.savefig(content, format="rgba", dpi=dots)
        painted = np.frombuffer(content.getbuffer(), dtype=np.uint8)
        return painted.reshape(-1, int(self.figure.get_figwidth() * dots), 4)[..., :3]

    def axes(
        self, left: float, top: float, width: float, height: float | None = None,
        kind: type[Axes] = Axes,
    ) -> Axes:  # fmt: skip
        """Return axes, square ones where no height is given, on whole dots."""
        dots = self.figure.dpi
        left, top, width, high = (
            round(inches * dots) / dots
            for inches in (left, top, width, width if height is None else height)
        )
        across, whole = self.figure.get_size_inches()
        return self.figure.add_axes(
            (left / across, 1 - (top + high) / whole, width / across, high / whole), axes_class=kind
        )

    def write(
        self, text: str, left: float, top: float, points: float = FOOT_POINTS, *,
        ha: str = "left", va: str = "top", bold: bool = False, warns: bool = False,
        colour: str | None = None,
    ) -> None:  # fmt: skip
        """Write lines; a dollar sign is a dollar sign."""
        width, height = self.figure.get_size_inches()
        self.figure.text(
            left / width, 1 - top / height, text, fontsize=points, ha=ha, va=va,
            color=colour or (WARNING if warns else INK),
            weight="bold" if bold or warns else "normal", family=families(), parse_math=False,
        )  # fmt: skip


def number(value: float) -> str:
    """Return a number in three digits, with a power of ten only where it is far from one.

    Its minus is the sign that axes have.

    >>> number(2714.2), number(0.0123), number(1.5e-7), number(0.0), number(-60)
    ('2710', '0.0123', '1.5e−07', '0', '−60')
    """
    if not np.isfinite(value) or not 1e-3 <= abs(value) < 1e6:
        text = f"{value:.3g}"
    else:
        text = np.format_float_positional(value, 3, unique=False, fractional=False, trim="-")
    return text.replace("-", "−")


def picture_of(pixels: Tensor) -> npt.NDArray[np.float64]:
    """Return pixels [N, C, H, W] as [N, H, W, 3] in 0..1."""
    shown: npt.NDArray[np.float64] = (
        presentable(pixels).clamp(0, 1).movedim(1, -1).double().numpy(force=True)
    )
    return np.broadcast_to(shown, (*shown.shape[:-1], 3))


def frame_box(
    axes: Axes, box: Sequence[float], colour: str, width: float = FRAME_POINTS, style: str = "solid"
) -> None:
    """Frame the pixels of a picture from the top and left to the bottom and right of *box*."""
    top, left, bottom, right = box
    axes.add_patch(
        # Half a pixel outwards: a pixel's centre lies on its whole-numbered coordinates.
        Rectangle(
            (left - 0.5, top - 0.5), right - left, bottom - top,
            fill=False, edgecolor=colour, linestyle=style, linewidth=width,
        )
    )  # fmt: skip


def frame_tile(
    axes: Axes, frame: tuple[int, int, int, int], colour: str, style: str = "solid"
) -> None:
    """Frame a tile at the size of a full receptive field, hatched where it leaves the image."""
    top, left, bottom, right = frame
    axes.set(xlim=(left - 0.5, right - 0.5), ylim=(bottom - 0.5, top - 0.5), xticks=[], yticks=[])
    axes.patch.set(hatch="////", facecolor="#f4f4f4", edgecolor="#cccccc")
    axes.spines[:].set(edgecolor=colour, linestyle=style, linewidth=FRAME_POINTS)
