"""The walk down from single units, each step on windows: the signal is zero everywhere else."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from convscope.network import freed
from convscope.network.calls import Call, Shape
from convscope.network.cones import Cones
from convscope.network.fields import ReceptiveFields
from convscope.network.graph import Graph
from convscope.network.ops import Generated, Saved, Window
from convscope.network.ops.base import Signals, in_dtype, resized, with_arguments
from convscope.network.placement import Placement, moved, narrowed, nearest, paste
from convscope.network.rules import Rule
from convscope.network.walk import Ascent
from convscope.network.windows import Sliding, Whole
from convscope.network.winograd import TurnedFilters

SEPARATE = 2**16
"""Values in one window from which a call on a single unit runs about as fast as one on many."""

WASTE = 1.15
"""How much larger than what its units need a batch's windows may be once they are that large."""


@dataclass(frozen=True)
class Units:
    """Single units of one layer, of any of the images that went up.

    Attributes:
        start: the step of the layer, which gives maps.
        owners: [U], int64: the image of each unit.
        channels: [U], int64.
        rows: [U], int64.
        columns: [U], int64.
        signals: [U, H, W], what starts in each unit's channel, where it is not its activation
            alone; rows and columns then tell where most of it is, or are all the same.
        windows: [U, 4], top, left, bottom, right (the last two excluded) of what is wanted of each
            in the end; None for all of it.
    """

    start: int
    owners: Tensor
    channels: Tensor
    rows: Tensor
    columns: Tensor
    signals: Tensor | None = None
    windows: Tensor | None = None

    def part(self, part: slice) -> "Units":
        """Return some of the units."""
        fields = (self.owners, self.channels, self.rows, self.columns, self.signals, self.windows)
        return Units(self.start, *(f if f is None else f[part] for f in fields))  # type: ignore[arg-type]

    def cones(self, graph: Graph, fields: ReceptiveFields, stop: int) -> Cones:
        """Return where the signals lie on the way down to the output of *stop*."""
        extent = seen = None
        if self.signals is not None:
            there = [(self.signals != 0).any(across).int() for across in (2, 1)]
            ends = [[own.argmax(1), own.shape[1] - 1 - own.flip(1).argmax(1)] for own in there]
            extent = np.stack([[end.numpy(force=True) for end in axis] for axis in ends], 1)
        if self.windows is not None:
            seen = self.windows.numpy(force=True).T.reshape(2, 2, -1) - [[[0]], [[1]]]
        rows, columns = (place.numpy(force=True) for place in (self.rows, self.columns))
        return Cones(graph, fields, self.start, rows, columns, extent, seen, stop)


def descend_units(
    cones: Cones,
    ascent: Ascent,
    units: Units,
    rule: Rule,
    limit: int,
    pixels: Tensor,
    advance: Callable[[int], None],
    turned: TurnedFilters | None = None,
) -> None:
    """Bring single units down to the images, the same as ``walk.descend`` does with whole maps.

    The signal of a unit starts as its activation, if it has no other.

    Args:
        cones: where the units' signals lie.
        ascent: the walk up, with the same rule and the layer's maps kept.
        units: the units.
        rule: what happens at the rectifiers.
        limit: bytes that one tensor of signals may take; a larger batch goes on in halves.
        pixels: [U, C, H, W], zeros, where the signals at the images are written, or those at the
            step where the cones end.
        advance: called with the number of units that have arrived.
        turned: filters for quick convolutions, where it is pictures that are wanted.
    """
    order = torch.from_numpy(cones.order).to(pixels.device)
    owners, channels = units.owners[order], units.channels[order]
    maps = ascent.maps[units.start]
    if units.signals is None:
        starting = maps[owners, channels, units.rows[order], units.columns[order]][:, None, None]
    else:
        starting = units.signals[order]
    descent = _ConeDescent(cones.graph, cones, ascent, owners, rule, limit, pixels, advance, turned)
    for begin, end in cones.ranges():
        placements, own = cones.placements(begin, end), starting[begin:end, None]
        here = placements[units.start]
        if units.signals is not None:
            height, width = own.shape[2:]
            own = moved(own, (2, 3), Placement.of_whole((height, width), end - begin), here)
        signal = torch.zeros(
            (end - begin, maps.shape[1], *here.size), dtype=maps.dtype, device=maps.device
        ).contiguous(memory_format=torch.channels_last)
        signal[torch.arange(end - begin, device=maps.device), channels[begin:end]] = own[:, 0]
        batch = _Batch(begin, end, placements, {units.start: signal})
        if units.signals is not None:  # a single unit's first step costs nothing in any case
            batch.channels = channels[begin:end]
        descent.walk(batch, 0)


@dataclass
class _Batch:
    """Units *begin* to *end* on their way down: where their signals lie, and those that wait.

    Each has one channel, as *channels* says, until a step mixes them.
    """

    begin: int
    end: int
    placements: dict[int, Placement]
    pending: dict[int, Tensor]
    channels: Tensor | None = None

    def __len__(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True)
class _ConeDescent:
    graph: Graph
    cones: Cones
    ascent: Ascent
    owners: Tensor
    rule: Rule
    limit: int
    pixels: Tensor
    advance: Callable[[int], None]
    turned: TurnedFilters | None

    @torch.no_grad()
    def walk(self, batch: _Batch, position: int) -> None:
        """Go on from step number *position* of the cones with the units of *batch*."""
        for place in range(position, len(self.cones.steps) - 1):
            index = self.cones.steps[place]
            if index not in batch.pending:
                continue
            if len(batch) > 1 and (self._too_large(index, batch) or self._too_mixed(index, batch)):
                middle = batch.begin + len(batch) // 2
                for begin, end in ((batch.begin, middle), (middle, batch.end)):
                    self.walk(self._part(batch, begin, end), place)
                return
            freed.look(batch.pending[index])
            self._reverse(index, batch)
        self._arrive(batch)

    def _part(self, batch: _Batch, begin: int, end: int) -> _Batch:
        """Return some of the units of *batch*, in windows no larger than they need."""
        placements = self.cones.placements(begin, end)
        rows = slice(begin - batch.begin, end - batch.begin)
        pending = {}
        for index, value in batch.pending.items():
            if index in placements:
                old, new = batch.placements[index], placements[index]
                if new.whole:  # as many rows for each unit as the step has for an image
                    units = value.reshape(len(batch), -1, *value.shape[1:])
                    pending[index] = units[rows].flatten(0, 1)
                else:
                    pending[index] = moved(value[rows], self._axes(index), old.part(rows), new)
        channels = None if batch.channels is None else batch.channels[rows]
        return _Batch(begin, end, placements, pending, channels)

    def _axes(self, index: int) -> tuple[int, int]:
        axes = self.graph.axes[index]
        assert axes is not None
        return axes

    def _too_large(self, index: int, batch: _Batch) -> bool:
        step = self.graph.steps[index]
        elements = max(
            math.prod(self._window_shape(i, batch.placements[i]))
            for i in (index, *step.inputs)
            if i in batch.placements
        )
        if not batch.placements[index].whole and not self.cones.windowed(index):
            elements = max(elements, math.prod(step.shape))
        return len(batch) * elements * batch.pending[index].element_size() > self.limit

    def _too_mixed(self, index: int, batch: _Batch) -> bool:
        """Return whether the shared window is much larger than what the units need of it."""
        placement = batch.placements[index]
        elements = math.prod(self._window_shape(index, placement))
        if elements < SEPARATE:
            return False  # one call on many units gains more
        area = math.prod(placement.size)
        return area > WASTE * self.cones.mean_area(index, batch.begin, batch.end)

    def _window_shape(self, index: int, placement: Placement) -> Shape:
        shape = self.graph.steps[index].shape
        return shape if placement.whole else resized(shape, self._axes(index), placement.size)

    def _reverse(self, index: int, batch: _Batch) -> None:
        step, placement = self.graph.steps[index], batch.placements[index]
        signal = batch.pending.pop(index)
        if isinstance(step.operation, Generated):
            return
        if not placement.whole and self.cones.windowed(index):
            self._reverse_windows(index, signal, placement, batch)
            if not step.operation.keeps_channels:
                batch.channels = None
            return
        batch.channels = None
        if not placement.whole:
            signal = self._pasted(index, signal, placement)
        owners = self.owners[batch.begin : batch.end]
        saved = tuple(self._whole(value, owners) for value in self.ascent.saved[index])
        signals = step.operation.reverse(step.call, signal, saved, self.rule)
        for source, part in zip(step.inputs, signals, strict=True):
            if part is not None:
                self._add(source, part, batch)

    def _reverse_windows(
        self, index: int, signal: Tensor, placement: Placement, batch: _Batch
    ) -> None:
        step = self.graph.steps[index]
        found = [self._below(index, p, placement) for p in range(len(step.inputs))]
        if any(below is not None and min(below.size) < 1 for below in found):
            return  # the window lies between the rows that the operation writes
        call = self._call_on_windows(step.call, index, placement, found)
        saved = self._saved_windows(index, placement, found, batch)
        row, column = placement.origins[:, 0].tolist()
        window = Window(call, dict(zip(self._axes(index), (row, column), strict=True)))
        quick = None if self.turned is None else self.turned.reversed(index, call, signal)
        if batch.channels is not None and isinstance(step.call.arguments.get("weight"), Tensor):
            own = signal[torch.arange(len(batch)), batch.channels][:, None]
            unpadded = with_arguments(call, padding=[0, 0])
            quick = step.operation.reverse_channels(unpadded, own, batch.channels, saved)
        signals: Signals = (quick,)
        if quick is None:
            signals = step.operation.reverse_window(step.call, window, signal, saved, self.rule)
        for position, part in enumerate(signals):
            if part is not None:
                self._add(step.inputs[position], part, batch, found[position])
                moved = self.cones.relations(index, position) != (Sliding(), Sliding())
                if moved and found[position] is not None:
                    self._clear_outside(step.inputs[position], batch)

    def _below(self, index: int, position: int, placement: Placement) -> Placement | None:
        """Return what windows of a step read of an input; None for all of it."""
        relations = self.cones.relations(index, position)
        return None if any(isinstance(r, Whole) for r in relations) else placement.read(relations)

    def _call_on_windows(
        self, call: Call, index: int, placement: Placement, found: list[Placement | None]
    ) -> Call:
        sources = self.graph.steps[index].inputs
        return replace(
            call,
            shape=resized(call.shape, self._axes(index), placement.size),
            input_shapes=tuple(
                shape if below is None else resized(shape, self._axes(source), below.size)
                for shape, source, below in zip(call.input_shapes, sources, found, strict=True)
            ),
        )

    def _saved_windows(
        self, index: int, placement: Placement, found: list[Placement | None], batch: _Batch
    ) -> Saved:
        saved, owners = self.ascent.saved[index], self.owners[batch.begin : batch.end]
        step = self.graph.steps[index]
        outputs, inputs = saved[: (n := step.operation.outputs_saved)], saved[n:]
        return (
            *(nearest(value, owners, self._axes(index), placement) for value in outputs),
            *(
                self._whole(value, owners)
                if below is None
                else nearest(value, owners, self._axes(source), below)
                for value, source, below in zip(inputs, step.inputs, found, strict=False)
            ),
        )

    def _whole(self, value: Tensor, owners: Tensor) -> Tensor:
        """Return *value*, one row an image, with one row a unit; a single row stays alone."""
        if len(value) == 1:
            return value
        images = len(next(iter(self.ascent.maps.values())))
        per_image = value.reshape(images, -1, *value.shape[1:])
        return per_image.index_select(0, owners).flatten(0, 1)

    def _add(
        self, source: int, part: Tensor, batch: _Batch, placement: Placement | None = None
    ) -> None:
        """Let *part*, which lies as *placement* says, wait at the output of step *source*."""
        target = batch.placements.get(source)
        found = in_dtype(part, self.graph.steps[source].dtype)
        if target is None or found is None:
            return
        part = found
        if placement is not None:
            if target.whole:
                part = self._pasted(source, part, placement)
            else:
                offset = target.origins[:, 0] - placement.origins[:, 0]
                part = narrowed(part, self._axes(source), offset, target.size)
        earlier = batch.pending.get(source)
        batch.pending[source] = part if earlier is None else earlier + part

    def _pasted(self, index: int, windows: Tensor, placement: Placement) -> Tensor:
        """Return whole outputs of a step that are zero but for *windows*."""
        axes, shape = self._axes(index), self.graph.steps[index].shape
        whole = windows.new_zeros(len(windows), *shape[1:])
        if axes == (2, 3) and len(shape) == 4:
            whole = whole.contiguous(memory_format=torch.channels_last)
        for unit, origins in enumerate(placement.origins.T.tolist()):
            paste(windows[unit : unit + 1], whole[unit : unit + 1], axes, origins)
        return whole

    def _clear_outside(self, index: int, batch: _Batch) -> None:
        """Set to zero what lies outside the map, where padding is no longer part of anything."""
        placement = batch.placements.get(index)
        if placement is None or placement.whole or index not in batch.pending:
            return
        shape, axes = self.graph.steps[index].shape, self._axes(index)
        for axis, origins, size in zip(axes, placement.origins, placement.size, strict=True):
            for unit in np.flatnonzero((origins < 0) | (origins + size > shape[axis])).tolist():
                first = int(origins[unit])
                window = batch.pending[index][unit : unit + 1]
                if first < 0:
                    window.narrow(axis, 0, min(-first, size)).zero_()
                if first + size > shape[axis]:
                    beyond = min(first + size - shape[axis], size)
                    window.narrow(axis, size - beyond, beyond).zero_()

    def _arrive(self, batch: _Batch) -> None:
        stop = self.cones.steps[-1]
        signal = batch.pending.get(stop)
        if signal is not None:
            origins = batch.placements[stop].origins.T.tolist()
            for unit, number in enumerate(self.cones.order[batch.begin : batch.end].tolist()):
                pixels = self.pixels[number : number + 1]
                paste(signal[unit : unit + 1], pixels, (2, 3), origins[unit])
        self.advance(len(batch))
