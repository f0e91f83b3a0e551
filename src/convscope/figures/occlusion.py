"""Occlusion drawn: the panels of Zeiler & Fergus fig. 7, and the map laid over the image."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

from convscope.display import DisplayScale, display_scale, presentable, to_display
from convscope.errors import OutputError
from convscope.figures.lettering import DOTS_AN_INCH, one_line, shortened
from convscope.figures.sheet import (
    FOOT_POINTS,
    FRAME_POINTS,
    MARGIN,
    MOST_PIXELS,
    NOTE_POINTS,
    Sheet,
    number,
    picture_of,
)
from convscope.images import Preprocess
from convscope.methods.occlusion import Occlusion

TILE = 2.1
SIDE = 1.35
CELL = TILE + SIDE
HEAD = 0.36
TITLE = 0.28
CELLS_A_LINE = 2
"""As wide as a printed page, on which the letters then keep their size."""

LINE = HEAD + TILE + 0.1
BETWEEN = 0.25
BAR = 0.11
POINTS = 7.5

Colour = tuple[float, float, float, float]
VALUES, DROPS = "viridis", "RdBu_r"
CLASS_COLOURS: tuple[Colour, ...] = tuple(colormaps["tab10"](i) for i in range(10))
MOST_CLASSES = 9
OTHER = (0.75, 0.75, 0.75, 1.0)
PATCH_COLOUR = "#d62728"


@dataclass(frozen=True)
class OccludedImage:
    """One row of the figure.

    Attributes:
        occlusion: of one target (not a list of them), or of a unit.
        image: [C, H, W] in the network's input space.
        patched: [C, H, W], the image with the patch where it tells most; see :func:`telling`.
        title: what the picture is.
        projection: [C, H, W], the unit's projection in the input space, if there is a unit.
        agreement: see :func:`~convscope.methods.agreement.projection_agreement`.

    """

    occlusion: Occlusion
    image: Tensor
    patched: Tensor
    title: str
    projection: Tensor | None = None
    agreement: float | None = None


@dataclass(frozen=True)
class OcclusionFigure:
    """A drawn figure.

    Attributes:
        sheet: what it is drawn on.

    """

    sheet: Sheet

    @property
    def figure(self) -> Figure:
        """The matplotlib figure."""
        return self.sheet.figure

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the figure; see :meth:`.Sheet.save`."""
        self.sheet.save(path)


def telling(occlusion: Occlusion) -> int:
    """Return the number, row by row, of the position that lowers the target, or the unit, most."""
    drop = occlusion.drop("logit" if occlusion.logit is not None else None)
    return int(drop.nan_to_num(-np.inf).argmax())


def check_occlusion_fits(rows: int) -> None:
    """Refuse a figure that would be too high to draw, before the work for it.

    Raises:
        OutputError: if it is.

    """
    if rows * (BETWEEN + TITLE + 3 * LINE) * DOTS_AN_INCH > MOST_PIXELS:
        raise OutputError(f"{rows} maps are too many for one figure: take fewer, or -o FILE.npz")


def occlusion_figure(
    rows: Sequence[OccludedImage], preprocess: Preprocess, scale: str = "tile"
) -> OcclusionFigure:
    """Draw the panels of fig. 7 for each row, and the heat map over its image.

    Args:
        rows: what to draw.
        preprocess: takes inputs back to pixels.
        scale: ``"tile"``, each map on a scale of its own, or ``"shared"``, all rows on one.

    Raises:
        OutputError: if the figure would be too high to draw.

    """
    check_occlusion_fits(len(rows))
    limits = [_Limits.of([row]) for row in rows]
    if scale == "shared":
        limits = [_Limits.of(rows)] * len(rows)
    panels = [_panels(row, own, preprocess) for row, own in zip(rows, limits, strict=True)]
    heights = [TITLE + -(-len(own) // CELLS_A_LINE) * LINE for own in panels]
    width = 2 * MARGIN + CELLS_A_LINE * CELL
    notes = "; ".join(dict.fromkeys(note for row in rows for note in row.occlusion.notes))
    height = MARGIN + sum(heights) + (len(rows) - 1) * BETWEEN
    ends = [MARGIN + sum(heights[:n]) + n * BETWEEN for n in range(1, len(rows))]
    caption = _caption(rows, scale, preprocess)
    sheet = Sheet.made_for(width, height, caption, notes, [*ends, height])
    top = MARGIN
    for title, own, high in zip(_headings(rows), panels, heights, strict=True):
        text = shortened(title, width - 2 * MARGIN, NOTE_POINTS)
        sheet.write(text, MARGIN, top, NOTE_POINTS, ha="left", va="top", warns=False)
        for place, panel in enumerate(own):
            line, column = divmod(place, CELLS_A_LINE)
            panel.draw(sheet, MARGIN + column * CELL, top + TITLE + line * LINE + HEAD)
        top += high + BETWEEN
    return OcclusionFigure(sheet)


def _headings(rows: Sequence[OccludedImage]) -> list[str]:
    """Return a heading for each row: what the picture is, and the target unless it is that."""
    others = {row.title for row in rows if _is_another(row.occlusion)}
    return [
        one_line(row.title)
        + (f"; target {_target_name(row.occlusion)}" if row.title in others else "")
        for row in rows
    ]


def _is_another(o: Occlusion) -> bool:
    """Return whether the target is not what the network takes the image for."""
    return o.predicted is not None and o.clean["predicted"] != o.targets


def _target_name(o: Occlusion) -> str:
    assert isinstance(o.targets, int)
    return class_name(o, o.targets)


@dataclass(frozen=True)
class _Limits:
    """The scales of the maps: (low, high) of values, and the largest drop either way."""

    activation: tuple[float, float]
    number: tuple[float, float]
    heat: float

    @classmethod
    def of(cls, rows: Sequence[OccludedImage]) -> "_Limits":
        def limits(kind: str) -> tuple[float, float]:
            maps = [getattr(row.occlusion, kind) for row in rows]
            values = torch.cat([torch.zeros(0), *(m.flatten() for m in maps if m is not None)])
            known = values[~values.isnan()]
            return (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)

        heats = [np.abs(_heat(row.occlusion)) for row in rows]
        return cls(
            limits("activation"), limits("number"), max(float(np.nanmax(heat)) for heat in heats)
        )


def _heat(occlusion: Occlusion) -> npt.NDArray[np.float64]:
    return np.asarray(occlusion.heatmap().double().numpy())


@dataclass(frozen=True)
class _Panel:
    """A picture with its title and what stands at its right side."""

    title: str
    picture: npt.NDArray[np.generic]
    colours: str | None = None
    limits: tuple[float, float] = (0.0, 1.0)
    unit: str = ""
    under: npt.NDArray[np.float64] | None = None
    legend: tuple[tuple[str, Colour], ...] = ()
    frame: tuple[int, int, int, int] | None = None
    dots: npt.NDArray[np.int64] | None = None
    extent: tuple[float, float, float, float] | None = None

    def draw(self, sheet: Sheet, left: float, top: float) -> None:
        axes = sheet.axes(left, top, TILE)
        axes.set_axis_off()
        title = "\n".join(shortened(line, CELL - 0.1, POINTS) for line in self.title.split("\n"))
        sheet.write(title, left, top - 0.05, POINTS, ha="left", va="bottom", warns=False)
        if self.colours is None:
            axes.imshow(self.picture, interpolation="nearest", extent=self.extent)
        else:
            self._draw_map(sheet, axes, left, top)
        if self.frame is not None:
            above, before, below, after = self.frame
            axes.add_patch(
                Rectangle(
                    (before - 0.5, above - 0.5), after - before, below - above,
                    fill=False, edgecolor=PATCH_COLOUR, linewidth=FRAME_POINTS,
                )
            )  # fmt: skip
        if self.legend:
            handles = [Patch(facecolor=colour, edgecolor="none") for _, colour in self.legend]
            names = [shortened(name, SIDE - 0.4, FOOT_POINTS) for name, _ in self.legend]
            axes.legend(
                handles, names, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False,
                fontsize=FOOT_POINTS, handlelength=1.0, handleheight=1.0, borderaxespad=0.0,
            )  # fmt: skip

    def _draw_map(self, sheet: Sheet, axes: Axes, left: float, top: float) -> None:
        low, high = self.limits
        constant = not high > low
        norm = Normalize(low, high if not constant else low + 1)
        axes.patch.set(hatch="////", facecolor="#f4f4f4", edgecolor="#cccccc")
        axes.set_axis_on()
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        if self.under is not None:
            axes.imshow(self.under, interpolation="nearest")
        axes.imshow(
            np.ma.masked_invalid(self.picture), cmap=self.colours, norm=norm,
            interpolation="nearest", alpha=1.0 if self.under is None else 0.65,
            extent=self.extent,
        )  # fmt: skip
        if self.dots is not None:
            axes.plot(self.dots[:, 1], self.dots[:, 0], ".", color="white", markersize=1.5)
        if constant:
            sheet.write(
                f"constant:\n{number(low)}\n{self.unit}", left + TILE + 0.08, top, FOOT_POINTS,
                ha="left", va="top", warns=False,
            )  # fmt: skip
            return
        bar = sheet.axes(left + TILE + 0.08, top, BAR, TILE)
        drawn = sheet.figure.colorbar(ScalarMappable(norm, self.colours), cax=bar)
        drawn.ax.tick_params(labelsize=FOOT_POINTS - 0.5, length=2, pad=1)
        # Its usual place, above the bar, is the title's.
        drawn.ax.yaxis.get_offset_text().set_visible(False)
        form = drawn.ax.yaxis.get_major_formatter()
        form.format_ticks(drawn.get_ticks().tolist())
        power = form.get_offset()
        label = f"{self.unit} ({power})" if power else self.unit
        drawn.set_label(label, fontsize=FOOT_POINTS, labelpad=2)


def _letters(row: OccludedImage) -> dict[str, str]:
    """Return the letters of the panels that are there, in their order."""
    o = row.occlusion
    there = {
        "patch": True,
        "unit": o.activation is not None,
        "projection": row.projection is not None,
        "target": o.kind != "activation",
        "classes": o.predicted is not None and o.masks is None,
    }
    return dict(zip((name for name, is_there in there.items() if is_there), "abcde", strict=False))


def _panels(row: OccludedImage, limits: _Limits, preprocess: Preprocess) -> list[_Panel]:
    o, letters = row.occlusion, _letters(row)
    pictures = picture_of(preprocess.to_pixels(torch.stack([row.image.cpu(), row.patched.cpu()])))
    place = o.positions.view(-1, 4)[telling(o)].tolist()
    lowered = {"probability": "logit of the target", "activation": "unit"}.get(o.kind, "number")
    panels = [
        _Panel(
            f"({letters['patch']}) the {o.part}\nthat lowers the {lowered} most",
            pictures[1],
            frame=(place[0], place[1], place[2], place[3]),
        )
    ]
    computed = None
    if _is_estimated(o):
        computed = np.argwhere(o.computed.numpy())
    if o.activation is not None:
        panels.append(
            _Panel(
                f"({letters['unit']}) {one_line(str(o.layer))}\nchannel {o.channel}, "
                f"{number(o.clean['activation'])} unoccluded",
                _laid(o, o.activation), VALUES, limits.activation, "sum of the map", dots=computed,
            )
        )  # fmt: skip
    if row.projection is not None:
        shown = _shown_projection(row.projection, preprocess)
        tile = display_scale(shown)
        title = f"({letters['projection']}) {_projection_title(row, tile)}"
        panels.append(_Panel(title, to_display(shown, tile)))
    if o.probability is not None:
        title = f"P({_target_name(o)}),\n{o.clean['probability']:.3f} unoccluded"
        panels.append(
            _Panel(
                f"({letters['target']}) {title}",
                _laid(o, o.probability), VALUES, (0.0, 1.0), "probability", dots=computed,
            )
        )  # fmt: skip
    if o.number is not None:
        title = f"{_target_name(o)},\n{number(o.clean['number'])} unoccluded"
        panels.append(
            _Panel(
                f"({letters['target']}) {title}",
                _laid(o, o.number), VALUES, limits.number, "the number", dots=computed,
            )
        )  # fmt: skip
    if "classes" in letters:
        panels.append(_classes_panel(o, letters["classes"]))
    heat, what, reach = _heat(o), o.kind, limits.heat
    covers = "patches" if o.masks is None else "masks"
    panels.append(
        _Panel(
            f"mean drop of the {what} over the\n{covers} that cover each pixel",
            heat, DROPS, (-reach, reach), f"drop of the {what}", under=pictures[0],
        )
    )  # fmt: skip
    return panels


def _projection_title(row: OccludedImage, tile: DisplayScale) -> str:
    agreement = "none: constant" if row.agreement is None else f"{row.agreement:.2f}"
    return f"projection of that map, ±{number(tile.limit)}\ncorrelation with its drop {agreement}"


def _shown_projection(projection: Tensor, preprocess: Preprocess) -> Tensor:
    return presentable(preprocess.difference_to_pixels(projection[None].cpu()))[0]


def _classes_panel(o: Occlusion, letter: str) -> _Panel:
    """Return the panel of the most probable class at each position, with its legend."""
    assert o.predicted is not None
    predicted = o.predicted.numpy()
    found, counts = np.unique(predicted[predicted >= 0], return_counts=True)
    kept = found[np.argsort(-counts, kind="stable")][:MOST_CLASSES]
    painted = np.empty((*predicted.shape, 4))
    painted[:] = OTHER
    painted[predicted < 0] = 1.0
    legend: list[tuple[str, Colour]] = []
    for own, colour in zip(kept, CLASS_COLOURS, strict=False):
        painted[predicted == own] = colour
        legend.append((class_name(o, int(own)), colour))
    if len(kept) < len(found):
        legend.append((f"{len(found) - len(kept)} others", OTHER))
    return _Panel(f"({letter}) most probable class", painted, legend=tuple(legend))


def class_name(o: Occlusion, number_of: int) -> str:
    """Return the name of a class, or its number where the network names none."""
    noun = {"labels": "label", "number": "output"}.get(str(o.answer), "class")
    return one_line(o.classes.get(str(number_of), f"{noun} {number_of}"))


def _laid(o: Occlusion, values: Tensor) -> npt.NDArray[np.generic]:
    """Return the values as a picture: of masks, what they are at each pixel in the mean."""
    return np.asarray((values if o.masks is None else o.over_pixels(values)).numpy())


def _caption(rows: Sequence[OccludedImage], scale: str, preprocess: Preprocess) -> list[str]:
    o = rows[0].occlusion
    what = f"with {o.part} of the image hidden ({o.fill})"
    if o.masks is None:
        what = (
            f"with a patch ({o.fill}) over part of the image, at every {o.stride[0]} x "
            f"{o.stride[1]} pixels; each cell of a map is one position"
        )
    lines = [
        f"{o.network}: what the network says {what} "
        f"(Zeiler & Fergus, arXiv 1311.2901, sec. 4.2). It shows what the answer depends on when "
        f"it is hidden, which is not all that the network uses.",
    ]
    if o.kind != "activation":
        lines.append(
            f"The output was taken for {o.output}. "
            f"Red: hiding the place lowers the {o.kind}; blue: it raises it. "
            + ("Each map on its own scale." if scale == "tile" else "All rows on one scale.")
        )
    lines += [
        f"{one_line(row.title)}: the network takes the image for "
        f"{class_name(row.occlusion, row.occlusion.clean['predicted'])}, not for the target "
        f"{_target_name(row.occlusion)}."
        for row in rows
        if _is_another(row.occlusion)
    ]
    lines += _projection_caption(rows, preprocess)
    estimated = next((row for row in rows if _is_estimated(row.occlusion)), None)
    if estimated is not None:
        letter = _letters(estimated).get("classes")
        nearest = f", and ({letter}) shows what the nearest computed one gives" if letter else ""
        lines.append(
            f"White dots: computed positions; between them the maps are estimates{nearest}."
        )
    if any(bool(row.occlusion.heatmap().isnan().any()) for row in rows):
        lines.append("Hatched: not covered by any patch that was computed.")
    return lines


def _projection_caption(rows: Sequence[OccludedImage], preprocess: Preprocess) -> list[str]:
    """Return the scale of the projections and what they are compared with, if there are any."""
    own = [row for row in rows if row.projection is not None]
    if not own:
        return []
    scales = [
        display_scale(_shown_projection(row.projection, preprocess))
        for row in own
        if row.projection is not None
    ]
    most = "at most " if len(scales) > 1 else ""
    return [
        f"({_letters(own[0])['projection']}): deconvnet, zero is mid-grey, ± the "
        f"{scales[0].quantile:.1%} quantile of |value|, {most}"
        f"{max(scale.clipped for scale in scales):.2%} of the values clipped; the correlation is "
        f"between the mean |projection| under the patch and the drop of the map's sum, over all "
        f"computed positions."
    ]


def _is_estimated(o: Occlusion) -> bool:
    return o.method == "adaptive" and not bool(o.computed.all())
