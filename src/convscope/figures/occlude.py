"""Occlusion drawn: the panels of Zeiler & Fergus fig. 7, and the map laid over the image."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from torch import Tensor

from convscope.display import (
    Display,
    DisplayScale,
    as_array,
    display_scale,
    presentable,
    to_display,
)
from convscope.figures.lettering import one_line
from convscope.figures.occlude_panel import OPAQUE, UNKNOWN, Colour, OcclusionPanel
from convscope.figures.pieces import (
    GAP,
    fitting,
    in_lines,
    sheet_of,
    stack,
    words,
)
from convscope.figures.sheet import Sheet, number, picture_of
from convscope.figures.style import NOTE_POINTS, Style
from convscope.methods.occlude.result import Occlusion, Occlusions
from convscope.methods.projection import shown_values
from convscope.methods.ranking import RANKS
from convscope.methods.targets import Named
from convscope.network.rules import RULES
from convscope.wording import fill_word, times

NARROWEST, LARGEST = 1.5, 3.0
"""Inches of a panel at least and at most."""
MOST_PANELS = 6
BETWEEN = 0.25
"""Inches between two rows of panels."""
AROUND = 1.0
"""Inches above and below a line of panels at most."""
FLAT = 0.25
"""Probabilities that span less are drawn on their own range, others on 0 to 1."""

VALUES, DROPS = "viridis", "RdBu_r"
CLASS_COLOURS: tuple[Colour, ...] = tuple(colormaps["tab10"](i)[:3] for i in range(10))
MOST_CLASSES = 5
OTHER = (0.75, 0.75, 0.75)


def _fitting(room: float, panels: int) -> tuple[int, float]:
    return fitting(room, max(NARROWEST, (room + GAP) / MOST_PANELS - GAP), panels)


def check_fits(rows: int, style: Style) -> None:
    """Refuse more images times patches times targets than can be drawn, before the work."""
    # Three panels are the fewest that a row has.
    across, cell = _fitting(style.room, 3)
    lines = 3 / across * (min(LARGEST, cell) + AROUND)
    Sheet.check(rows * (lines + 2 * BETWEEN), style.width)


def figure(result: Occlusion | Occlusions, style: Style, scale: str = "tile") -> Sheet:
    """Draw the panels of fig. 7 for each image, patch and target, and the heat map over its image.

    The scale is ``"tile"``, each map on its own, or ``"shared"``, all on one.
    """
    Display(scale)
    rows = result.singles()
    limits = [_limits([row]) for row in rows]
    if scale == "shared":
        limits = [_limits(rows)] * len(rows)
    drawn = []
    for title, o, own in zip(_headings(rows), rows, limits, strict=True):
        shown = panels(o, own)
        across, cell = _fitting(style.room, len(shown))
        side = min(LARGEST, cell)
        high = side * min(1.0, o.image.shape[-2] / o.image.shape[-1])
        lines = in_lines([panel.piece(cell, side, high) for panel in shown], across)
        heading = words(title, style.room, NOTE_POINTS, wrap=True)
        drawn.append(stack(heading, stack(*lines), gap=0.05))
    return sheet_of(style, drawn, _caption(rows, scale), result.notes, BETWEEN)


def _headings(rows: Sequence[Occlusion]) -> list[str]:
    """Return a heading for each row: what the picture is, and the target unless it is that."""
    others = {row.heading for row in rows if row.is_another or isinstance(row.targets, str)}
    return [
        one_line(row.heading) + (f"; target {target_name(row)}" if row.heading in others else "")
        for row in rows
    ]


def target_name(o: Occlusion) -> str:
    """Return the name of the only target, fit to be drawn."""
    assert o.targets is not None
    assert not isinstance(o.targets, tuple)
    return class_name(o, o.targets)


def class_name(o: Occlusion, number_of: Named) -> str:
    """Return the name of a class, fit to be drawn."""
    return one_line(o.class_name(number_of))


def _limits(rows: Sequence[Occlusion]) -> dict[str, tuple[float, float]]:
    """Return the least and the largest value of the maps by their kinds, and of ``drop``."""
    found = {}
    for kind in ("activation", "number", "probability"):
        maps = [getattr(row, kind) for row in rows]
        values = torch.cat([torch.zeros(0), *(m.flatten() for m in maps if m is not None)])
        known = values[values.isfinite()]
        found[kind] = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    low, high = found["probability"]
    found["probability"] = (low, high) if high - low < FLAT else (0.0, 1.0)
    heat = np.concatenate([_heat(row).ravel() for row in rows])
    largest = float(np.abs(heat[np.isfinite(heat)]).max(initial=0.0))
    return found | {"drop": (-largest, largest)}


def _heat(occlusion: Occlusion) -> npt.NDArray[np.float64]:
    drop = np.array(occlusion.heatmap().double().numpy())
    drop[np.abs(drop) <= occlusion.rounding(occlusion.kind)] = 0.0
    return drop


def panels(
    o: Occlusion, limits: dict[str, tuple[float, float]] | None = None
) -> list[OcclusionPanel]:
    """Return the panels of an occlusion, by default on scales of its own."""
    own = limits or _limits([o])
    both = torch.stack([o.image, o.hidden(o.telling)])
    image, hidden = picture_of(o.preprocess.to_pixels(both))
    lowered = {"probability": "logit", "activation": "unit"}.get(o.kind, "target")
    if not o.is_lowered:
        what = f"nothing hidden\nlowers the {lowered}"
        found = [OcclusionPanel(what if o.is_finite else f"the image;\n{UNKNOWN}", image)]
    elif o.masks is None:
        top, left, bottom, right = o.positions.view(-1, 4)[o.telling].tolist()
        title = f"the {o.part}\nthat lowers the {lowered} most"
        found = [OcclusionPanel(title, hidden, frame=(top, left, bottom, right))]
    else:
        title = f"{o.part_name(o.telling)} hidden, which\nlowers the {lowered} most"
        found = [OcclusionPanel(title, hidden)]
    if o.activation is not None:
        found.append(_map_panel(o, "activation", own["activation"]))
    if o.projection is not None:
        shown, scale = _shown_projection(o)
        title = f"its projection, ±{number(scale.limit)},\n{_agreement(o)}"
        found.append(OcclusionPanel(title, to_display(shown, scale), whole=True, pale=not o.agrees))
    if o.kind != "activation":
        found.append(_map_panel(o, o.kind, own[o.kind]))
    if o.predicted is not None and o.masks is None and bool((o.predicted >= 0).any()):
        found.append(_classes_panel(o, image))
    unit = f"drop of {target_name(o)}" if o.kind == "number" else f"drop of the {o.kind}"
    if not o.of_channels:  # whose bars have said it: the drop is where they begin
        title = f"mean drop under\nthe {'patches' if o.masks is None else 'masks'} on each pixel"
        grey = np.broadcast_to(image.mean(-1, keepdims=True), image.shape)  # the bar's colours only
        found.append(OcclusionPanel(title, _heat(o), DROPS, own["drop"], unit, under=grey))
    return [
        replace(one, title=f"({letter}) {one.title}")
        for letter, one in zip("abcdef", found, strict=False)
    ]


def _map_panel(o: Occlusion, kind: str, limits: tuple[float, float]) -> OcclusionPanel:
    clean, unit = number(o.clean[kind]), ""
    if kind == "activation":
        what, unit = f"{one_line(str(o.layer))} channel {o.channel}", "sum of the map"
    elif kind == "probability":
        what, clean, unit = f"P({target_name(o)})", f"{o.clean[kind]:.3f}", kind
    else:
        what = unit = target_name(o)
    title = f"{what},\n{clean} unoccluded"
    if not np.isfinite(o.clean[kind]):
        title = f"{what},\n{UNKNOWN}"
    if o.of_channels:
        clean_value = float(o.clean[kind])
        return OcclusionPanel(
            title, as_array(o.values(kind)), VALUES, limits, unit, bars=True, clean=clean_value
        )
    # Of masks, what the values are at each pixel in the mean.
    values = o.values(kind) if o.masks is None else o.over_pixels(o.values(kind))
    # The computed positions are marked where the others are estimates.
    dots = np.argwhere(o.computed.numpy()) if _is_estimated(o) else None
    return OcclusionPanel(title, as_array(values), VALUES, limits, unit, dots=dots)


def _agreement(o: Occlusion) -> str:
    if o.agreement is None:
        return "no correlation with its drop"
    by_chance = o.agreement_by_chance
    told = "unknown" if by_chance is None else f"{by_chance:.2f}"
    return f"correlation {o.agreement:.2f}, chance {told}"


def _shown_projection(o: Occlusion) -> tuple[Tensor, DisplayScale]:
    assert o.projection is not None
    shown = presentable(shown_values(o.preprocess, str(o.rule), o.projection))
    return shown, display_scale(shown)


def _classes_panel(o: Occlusion, picture: npt.NDArray[np.float64]) -> OcclusionPanel:
    """Return the panel of the most probable class at each position, with its legend.

    The classes lie on the image in grey: each pixel has that of the nearest patch's middle.
    """
    assert o.predicted is not None
    predicted = o.predicted.numpy()
    found, counts = np.unique(predicted[predicted >= 0], return_counts=True)
    kept = found[np.argsort(-counts, kind="stable")][:MOST_CLASSES]
    painted = np.empty((*predicted.shape, 3))
    painted[:] = OTHER
    legend: list[tuple[str, Colour]] = []
    for own, colour in zip(kept, CLASS_COLOURS, strict=False):
        painted[predicted == own] = colour
        legend.append((class_name(o, int(own)), colour))
    if len(kept) < len(found):
        legend.append((f"{len(found) - len(kept)} others", OTHER))
    middles = (o.positions[..., :2] + o.positions[..., 2:]).double().numpy() / 2
    rows, columns = (
        np.abs(np.arange(size)[:, None] + 0.5 - own).argmin(1)
        for size, own in zip(o.image_size, (middles[:, 0, 0], middles[0, :, 1]), strict=True)
    )
    grey = picture.mean(-1, keepdims=True)
    laid = np.where(
        predicted[rows][:, columns, None] < 0, 1.0,
        grey + OPAQUE * (painted[rows][:, columns] - grey),
    )  # fmt: skip
    return OcclusionPanel("most probable class", laid, legend=tuple(legend))


def _caption(rows: Sequence[Occlusion], scale: str) -> list[str]:
    o = rows[0]
    fill = fill_word(o.fill)
    hidden = f"{o.part} hidden ({fill})" if o.masks is not None else f"a patch ({fill}) over it"
    lines = [f"{o.network}: what the network says of the image with {hidden}."]
    if o.of_channels:
        lines[0] += " Bars begin at what it says with none hidden: red below it, blue above it."
    if o.rank:
        lines[0] += f" Of {one_line(str(o.layer))} the strongest channel, {RANKS[o.rank]}."
    if o.masks is None:
        lines.append(
            f"The patch lies at every {times(o.stride)} pixels; each cell of a map is one position."
        )
    lines.append(
        "Zeiler & Fergus, arXiv 1311.2901, sec. 4.2. It shows what the answer depends on when it "
        "is hidden, which is not all that the network uses."
    )
    if o.kind != "activation":
        kinds = " or ".join(
            dict.fromkeys(
                target_name(row) if row.kind == "number" else f"the {row.kind}" for row in rows
            )
        )
        taken_for = next(filter(None, (row.taken_for for row in rows)), "")
        lines.append(
            (f"The output was taken for {taken_for}. " if taken_for else "")
            + f"Red: hiding {'it' if o.of_channels else 'the place'} lowers {kinds}; blue: it "
            + "raises it. "
            + ("Each map on its own scale." if scale == "tile" else "All rows on one scale.")
        )
    lines += [
        f"{one_line(row.title)}: the network takes the image for "
        f"{class_name(row, row.clean['predicted'])}, not for the target {target_name(row)}."
        for row in rows
        if row.is_another and isinstance(row.targets, int)
    ]
    lines += _projection_caption(rows)
    estimated = next((row for row in rows if _is_estimated(row)), None)
    if estimated is not None:
        nearest = ""
        if estimated.predicted is not None:
            letter = "cde"[(o.activation is not None) + (o.projection is not None)]
            nearest = f", and ({letter}) shows what the nearest computed one gives"
        lines.append(
            f"White dots: computed positions; between them the maps are estimates{nearest}."
        )
    if any(bool(row.heatmap().isnan().any()) for row in rows):
        lines.append("Hatched: not covered by any patch that was computed, or not finite.")
    return lines


def _projection_caption(rows: Sequence[Occlusion]) -> list[str]:
    """Return the scale of the projections and what they are compared with, if there are any."""
    own = [row for row in rows if row.projection is not None]
    if not own:
        return []
    scales = [_shown_projection(row)[1] for row in own]
    most = "at most " if len(scales) > 1 else ""
    return [
        f"(c): {RULES[str(own[0].rule)].name}, zero is mid-grey, ± "
        f"the {scales[0].quantile:.1%} quantile of |value|, {most}"
        f"{max(scale.clipped for scale in scales):.2%} of the values clipped; the correlation is "
        f"between the mean |projection| under the patch and the drop of the map's sum, over all "
        f"computed positions; chance: what one in twenty shifts of one map against the other "
        f"reaches. Grey: no better than that."
    ]


def _is_estimated(o: Occlusion) -> bool:
    return o.method == "adaptive" and not bool(o.computed.all())
