"""A panel of an occlusion: a picture or bars, with a title, a scale and a key."""

from dataclasses import dataclass
from functools import partial
from math import ceil

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from convscope.figures.lettering import shortened, width_of
from convscope.figures.pieces import (
    GAP,
    RIGHT,
    Piece,
    key,
    space,
    stack,
    words,
)
from convscope.figures.sheet import Bare, Sheet, frame_box, number
from convscope.figures.style import FOOT_POINTS, INK, PALE

Colour = tuple[float, float, float]

BAR, BELOW = 0.08, 0.44
"""Inches of a colour bar, and of all that stands below a panel with one."""
POINTS = 7.5
NAMES, LETTER, BETWEEN_NUMBERS = 0.4, 0.12, 0.08
"""Inches of a bar's number and of what it is, from one to the next at least, and between two
numbers of an axis."""
ALIKE = 1e-6
"""Values that span less than this share of them differ by rounding."""
UNKNOWN = "values are not finite"
OPAQUE = 0.6
"""How far classes and drops cover the image below them, 0 to 1."""
PATCH_COLOUR = "#d62728"
LOWER, HIGHER = "#b2182b", "#2166ac"
"""A bar that is below what it is with nothing hidden, and one above."""


@dataclass(frozen=True)
class OcclusionPanel:
    """A picture with its title and what stands below it."""

    title: str
    picture: npt.NDArray[np.generic]
    colours: str | None = None
    limits: tuple[float, float] = (0.0, 1.0)
    unit: str = ""
    under: npt.NDArray[np.float64] | None = None
    legend: tuple[tuple[str, Colour], ...] = ()
    frame: tuple[int, int, int, int] | None = None
    dots: npt.NDArray[np.int64] | None = None
    whole: bool = False
    """Whether each pixel is one number, not to be smoothed."""
    pale: bool = False
    """Whether the title's last line tells nothing, and is drawn so."""
    bars: bool = False
    """Whether the values are no picture but channels, a bar each."""
    clean: float = 0.0
    """What a bar would be with nothing hidden."""

    def piece(self, cell: float, side: float, high: float) -> Piece:
        """Return it as a picture of so many inches, its title in a cell that may be wider."""
        colours = [INK] * self.title.count("\n") + [PALE if self.pale else INK]
        title = words(self.title, cell, POINTS, colour=colours, spare=GAP - 0.05)
        below = BELOW if self.colours else 0.0
        draw = self._draw_bars if self.bars else self._draw
        whole = Piece(cell, 0.0, high + below, partial(draw, side, high))
        square = {"marker": "s", "linestyle": "none"}
        names = (key([(name, {"color": c, **square})], side) for name, c in self.legend)
        return stack(title, whole, space(height=0.04), *names, line=1)

    def _draw(self, side: float, high: float, sheet: Sheet, left: float, top: float) -> None:
        axes = sheet.axes(left, top, side, high, kind=Bare)
        axes.set_axis_off()
        if self.under is not None:
            axes.imshow(self.under, interpolation="antialiased")
        if self.colours is None:
            axes.imshow(self.picture, interpolation="nearest" if self.whole else "antialiased")
        else:
            self._draw_map(sheet, axes, (left, top + high + 0.05), side)
        if self.frame is not None:
            frame_box(axes, self.frame, PATCH_COLOUR)

    def _draw_map(self, sheet: Sheet, axes: Axes, corner: tuple[float, float], tile: float) -> None:
        low, high = self.limits
        constant = high - low <= ALIKE * max(abs(low), abs(high))
        norm = Normalize(low, high) if not constant else Normalize(low - 1, low + 1)
        axes.patch.set(hatch="////", facecolor="#f4f4f4", edgecolor="#cccccc")
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.imshow(
            np.ma.masked_invalid(self.picture), cmap=self.colours, norm=norm,
            interpolation="nearest", alpha=1.0 if self.under is None else OPAQUE,
        )  # fmt: skip
        if self.dots is not None:
            axes.plot(self.dots[:, 1], self.dots[:, 0], ".", color="white", markersize=1.5)
        if constant or not np.isfinite(self.picture).any():
            # Zero may have come with a sign.
            told = f"constant: {number(low + 0.0)}" if np.isfinite(self.picture).any() else UNKNOWN
            unit = shortened(self.unit, tile, FOOT_POINTS)
            sheet.write(f"{told}\n{unit}", *corner)
            return
        drawn = sheet.figure.colorbar(
            ScalarMappable(norm, self.colours), cax=sheet.axes(*corner, tile, BAR),
            orientation="horizontal",
        )  # fmt: skip
        drawn.outline.set_visible(False)
        drawn.ax.tick_params(labelsize=FOOT_POINTS, length=2, pad=1)
        # Its usual place, at the end of the bar, is the label's.
        drawn.ax.xaxis.get_offset_text().set_visible(False)
        power = _number_axis(drawn.ax.xaxis, self.limits, tile)
        unit = shortened(self.unit, tile + GAP - width_of(power, FOOT_POINTS), FOOT_POINTS)
        drawn.set_label(f"{unit}{power}", fontsize=FOOT_POINTS, labelpad=1)

    def _draw_bars(self, side: float, high: float, sheet: Sheet, left: float, top: float) -> None:
        values = np.asarray(self.picture, dtype=np.float64).ravel()
        axes = sheet.axes(left + NAMES, top, side - NAMES - RIGHT, high)
        less = values < self.clean
        places, colours = np.arange(len(values)), np.where(less, LOWER, HIGHER)
        known = np.where(np.isfinite(values), values, self.clean)
        axes.barh(places, known - self.clean, 0.7, self.clean, color=colours)
        axes.axvline(self.clean, color=INK, linewidth=0.8)
        axes.set_ylim(len(values) - 0.5, -0.5)
        every = ceil(len(values) * LETTER / high)
        axes.set_yticks(places[::every], places[::every].astype(str))
        axes.set_ylabel("channel", fontsize=FOOT_POINTS, color=INK)
        axes.tick_params(labelsize=FOOT_POINTS, colors=INK, length=2)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.xaxis.get_offset_text().set_visible(False)
        if not np.isfinite(self.clean) or not np.isfinite(values).any():
            sheet.write(UNKNOWN, left + NAMES, top + high + 0.05)
            axes.set_xticks([])
            return
        low, high = min(self.limits[0], self.clean), max(self.limits[1], self.clean)
        spare = 0.03 * (high - low) or 1.0
        axes.set_xlim(low - spare, high + spare)
        power = _number_axis(axes.xaxis, axes.get_xlim(), side - NAMES)
        unit = shortened(self.unit, side - width_of(power, FOOT_POINTS), FOOT_POINTS)
        axes.set_xlabel(f"{unit}{power}", fontsize=FOOT_POINTS, color=INK, labelpad=1)


def _number_axis(axis: Axis, limits: tuple[float, float], room: float) -> str:
    """Write as many numbers along an axis as find room; return the power of ten that they lack."""
    form = ScalarFormatter(useOffset=False)  # what is taken away would not be seen
    form.set_powerlimits((-2, 4))  # longer numbers would not find room
    axis.set_major_formatter(form)
    for most in (5, 3, 2, 1) if room >= 2 else (3, 2, 1):
        axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
        low, high = limits
        ticks = [own for own in axis.get_major_locator().tick_values(low, high)
                 if low <= own <= high]  # fmt: skip
        texts = form.format_ticks(ticks)
        if sum(width_of(text, FOOT_POINTS) + BETWEEN_NUMBERS for text in texts) <= room:
            break
    power = form.get_offset()
    return f" ({power})" if power else ""
