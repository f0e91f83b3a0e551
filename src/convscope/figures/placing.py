"""A network's drawing placed on paper: boxes, lines and texts in inches; nothing is painted here.

The trunk of the network runs from left to right along an axis, and on in the next row where one is
full. What runs in parallel lies in lanes above and below the axis; what skips others passes above
them.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from convscope.figures.drawing import (
    ARROW,
    LINE,
    PAD,
    POINTS,
    TALLEST,
    TITLE_LINE,
    TITLE_POINTS,
    Drawing,
    Ground,
    Line,
    Measures,
    Text,
    label,
)
from convscope.figures.lanes import Lanes, summary
from convscope.figures.lettering import shortened, width_of
from convscope.network.outline import Block, Group, narrow, outline
from convscope.network.volumes import OUTPUTS, Volume
from convscope.wording import times

ROW_GAP = 0.26
PITCH = 2 * LINE + 0.05
"""From the middle of a box to that of the next, at least: each has two turned lines below."""

SHORTEST = 0.6
"""Inches that a heading has at least for a name, before its size and how often it comes."""


def place(volumes: Sequence[Volume], row: float) -> Drawing:
    """Return a network's drawing in rows of so many inches; one with a wider block is wider."""
    whole, above = Drawing(), 0.0
    rows = _rows(_stretches(volumes), row)
    for number, drawing in enumerate(rows):
        axis = above - drawing.top
        whole.add(drawing, 0.0, axis)
        if number < len(rows) - 1:
            end = drawing.right + ARROW
            whole.lines.append(Line(((drawing.leave, axis), (end, axis))))
            whole.reach(end, axis, axis)
        above += drawing.bottom - drawing.top - ROW_GAP
    return whole


def _rows(stretches: list[Drawing], row: float) -> list[Drawing]:
    found: list[Drawing] = []
    for stretch in stretches:
        if not found or found[-1].right + ARROW + stretch.right > row:
            # The first row begins at the left end; an arrow leads into every other.
            goes_on = bool(found)
            found.append(Drawing(right=ARROW if goes_on else -ARROW, begun=goes_on))
        found[-1].append(stretch)
    return found


def _stretches(volumes: Sequence[Volume]) -> list[Drawing]:
    """Return the drawings that stay in one row each."""
    groups, trunk = outline(volumes), set(narrow(volumes))
    branches = any(block.branches for group in groups for block in group.blocks)
    measures = Measures(volumes, TALLEST * (0.8 if branches else 1.0))
    found: list[Drawing] = []
    run: list[Volume] = []
    for group in groups:
        if group.times == 1 and not any(block.branches for block in group.blocks):
            run += [volumes[place_] for b in group.blocks for place_ in b.volumes]
            continue
        found += [*_plain(run, measures), _grouped(volumes, trunk, group, measures)]
        run = []
    return found + _plain(run, measures)


def _grouped(
    volumes: Sequence[Volume], trunk: set[int], group: Group, measures: Measures
) -> Drawing:
    """Return a group of blocks on a ground of their own, under their name and size."""
    inside = Drawing(right=-ARROW)
    for block in group.blocks:
        for part in _parts(block, trunk):
            lanes = Lanes(volumes, part, block.title, measures)
            inside.append(summary(volumes, part) if lanes.are_too_many() else lanes.drawing())
    first, last = group.blocks[0].title, group.last
    heading = first if first == last else f"{first} to {last}"
    count = f": {group.times} times" if group.times > 1 else ""
    end = volumes[group.blocks[-1].volumes[-1]]
    size = "" if end.kind == OUTPUTS else times(end.size)
    return _on_ground(inside, heading, f"{count}   {size}" if heading else size)


def _parts(block: Block, trunk: set[int]) -> list[tuple[int, ...]]:
    """Return a block's volumes, parted behind each that everything passes through."""
    parts: list[tuple[int, ...]] = [()]
    for place_ in block.volumes:
        parts[-1] += (place_,)
        if place_ in trunk:
            parts.append(())
    return parts[:-1]


def _plain(run: Sequence[Volume], measures: Measures) -> list[Drawing]:
    """Return a chain of volumes as stretches of maps of one size, each under its size."""
    sizes = groupby(run, key=lambda volume: volume.size)
    return [_stretch(list(volumes), measures) for _, volumes in sizes]


def _stretch(volumes: Sequence[Volume], measures: Measures) -> Drawing:
    drawing = Drawing()
    for volume in volumes:
        box = measures.box(volume, 0.0, 0.0)
        if drawing.boxes:
            before = drawing.boxes[-1]
            behind = before.left + before.width
            left = max(behind + 0.07, before.centre + PITCH - box.width / 2)
            drawing.lines.append(Line(((behind, 0.0), (left, 0.0)), arrow=False))
        else:
            left = drawing.enter = max(0.0, LINE - box.width / 2)
        box = replace(box, left=left)
        drawing.add_box(box)
        drawing.add_text(
            Text(label(volume, 10.0), box.centre, box.bottom - 0.05, POINTS, turned=True)
        )
        drawing.leave = box.left + box.width
    title = times(volumes[0].size)
    middle = max((drawing.enter + drawing.right) / 2, width_of(title, TITLE_POINTS, "bold") / 2)
    above = drawing.top + 0.05 + TITLE_LINE
    drawing.add_text(Text((title,), middle, above, TITLE_POINTS, weight="bold"))
    return drawing


def _on_ground(inside: Drawing, heading: str, tail: str) -> Drawing:
    """Return a drawing on a ground of its own, under a heading whose tail is never cut."""
    room = max(SHORTEST, max(inside.right, 1.4) - width_of(tail, TITLE_POINTS, "bold"))
    # Bold letters are wider than those that the text is shortened by.
    text = (shortened(heading, 0.9 * room, TITLE_POINTS) if heading else "") + tail
    wide = max(inside.right, width_of(text, TITLE_POINTS, "bold"))
    shift = PAD + (wide - inside.right) / 2
    drawing = Drawing(enter=0.0, leave=wide + 2 * PAD)
    drawing.add(inside, shift)
    top = inside.top + 0.05 + TITLE_LINE
    drawing.add_text(Text((text,), PAD + wide / 2, top, TITLE_POINTS, weight="bold"))
    drawing.grounds.insert(0, Ground((0.0, inside.bottom - PAD, wide + 2 * PAD, top + PAD / 2)))
    drawing.lines += [
        Line(((0.0, 0.0), (shift + inside.enter, 0.0)), arrow=inside.takes),
        Line(((shift + inside.leave, 0.0), (wide + 2 * PAD, 0.0)), arrow=False),
    ]
    drawing.reach(wide + 2 * PAD, top + PAD / 2, inside.bottom - PAD)
    return drawing
