"""The walk down from single units, each step on windows: the signal is zero everywhere else."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from convscope.network.calls import Call, Shape
from convscope.network.graph import Graph
from convscope.network.ops import Saved, Window
from convscope.network.ops.base import Signals, resized, with_arguments
from convscope.network.rules import Rule
from convscope.network.walk import Ascent, Batch, Descent
from convscope.network.windows.cones import Cones
from convscope.network.windows.fields import ReceptiveFields
from convscope.network.windows.placement import (
    EACH_ITS_OWN,
    Placement,
    moved,
    narrowed,
    nearest,
    paste,
)
from convscope.network.windows.relations import Whole
from convscope.network.windows.winograd import TurnedFilters

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
            alone; rows and columns then tell where most of it is, or are all the same. Or
            [U, C, H, W], what starts in every channel.
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
            held = self.signals.any(1) if self.signals.dim() == 4 else self.signals
            # Rows with a signal, then columns. Of a signal that is zero all over, these come out as
            # the whole map: argmax takes the first of equals.
            there = [(held != 0).any(across).int() for across in (2, 1)]
            ends = [[own.argmax(1), own.shape[1] - 1 - own.flip(1).argmax(1)] for own in there]
            extent = np.stack([[end.numpy(force=True) for end in axis] for axis in ends], 1)
        if self.windows is not None:
            # Top and left, then bottom and right, which lie one beyond the last.
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
    *steps, stop = cones.steps
    descent = _ConeDescent(
        ascent=ascent, steps=steps, stop=stop, rule=rule, limit=limit, cones=cones, pixels=pixels,
        advance=advance, turned=turned,
    )  # fmt: skip
    for begin, end in cones.ranges():
        placements, numbers = cones.placements(begin, end), order[begin:end]
        here = placements.get(units.start)
        if here is None:  # nothing of it reaches what is wanted, as where it reads padding alone
            advance(end - begin)
            continue
        pending = {units.start: _starting(ascent.maps[units.start], units, numbers, here)}
        # A single unit's first step costs nothing in any case.
        single = units.signals is not None and units.signals.dim() == 3
        known = units.channels[numbers] if single else None
        batch = Batch(pending, units.owners[numbers], known, begin, placements)
        descent.clear_outside(units.start, batch)
        descent.walk(batch)


def _starting(maps: Tensor, units: Units, numbers: Tensor, here: Placement) -> Tensor:
    """Return what starts of some units, in the windows *here*."""
    if units.signals is not None and units.signals.dim() == 4:
        return nearest(units.signals, numbers, (2, 3), here)
    channels = units.channels[numbers]
    if units.signals is None:
        places = units.owners, units.channels, units.rows, units.columns
        own = maps[tuple(place[numbers] for place in places)][:, None, None]
    else:
        whole = Placement.of_whole(units.signals.shape[1:], len(numbers))
        own = moved(units.signals[numbers, None], (2, 3), whole, here)[:, 0]
    signal = torch.empty(
        (len(numbers), maps.shape[1], *here.size),
        dtype=maps.dtype,
        device=maps.device,
        memory_format=torch.channels_last,
    ).zero_()
    signal[torch.arange(len(numbers), device=maps.device), channels] = own
    return signal


@dataclass(frozen=True, kw_only=True)
class _ConeDescent(Descent):
    cones: Cones
    pixels: Tensor
    advance: Callable[[int], None]
    turned: TurnedFilters | None

    def part(self, batch: Batch, part: slice) -> Batch:
        """Return some of the units of a batch, in windows no larger than they need."""
        found = batch.part(part)
        held = found.placements
        found.placements = self.cones.placements(found.begin, found.begin + len(found))
        # Fewer units never need larger windows, nor a whole map where more had windows: what waits
        # need only be cut.
        for index in [*found.pending]:
            new = found.placements.get(index)
            if new is None:
                del found.pending[index]
            elif not new.whole:
                axes = self.graph.map_axes(index)
                found.pending[index] = moved(found.pending[index], axes, held[index], new)
        return found

    def splits(self, index: int, batch: Batch) -> bool:
        """Return whether a batch is too large, or its units share too little of its windows."""
        step, placement = self.graph.steps[index], batch.placements[index]
        own = math.prod(self._window_shape(index, placement))
        elements = max(
            math.prod(self._window_shape(i, batch.placements[i]))
            # An input that no wanted signal reaches has no placement, and no tensor.
            for i in (index, *step.inputs)
            if i in batch.placements
        )
        # Reversed as a whole map, which is first made of its window.
        if not placement.whole and not self.cones.windowed(index):
            elements = max(elements, math.prod(step.shape))
        if len(batch) * elements * batch.pending[index].element_size() > self.limit:
            return True
        if own < SEPARATE:
            return False  # one call on many units gains more
        needed = self.cones.mean_area(index, batch.begin, batch.begin + len(batch))
        return math.prod(placement.size) > WASTE * needed

    def _window_shape(self, index: int, placement: Placement) -> Shape:
        shape = self.graph.steps[index].shape
        return (
            shape if placement.whole else resized(shape, self.graph.map_axes(index), placement.size)
        )

    def reverse(self, index: int, batch: Batch) -> None:
        """Bring the signals at a step's output down to what it reads, in windows if it can."""
        step, placement = self.graph.steps[index], batch.placements[index]
        if not placement.whole and self.cones.windowed(index):
            self._reverse_windows(index, batch.pending.pop(index), placement, batch)
            if not step.operation.keeps_channels:
                batch.channels = None
            return
        batch.channels = None
        if not placement.whole:
            batch.pending[index] = self._pasted(index, batch.pending[index], placement)
        super().reverse(index, batch)

    def _reverse_windows(
        self, index: int, signal: Tensor, placement: Placement, batch: Batch
    ) -> None:
        step = self.graph.steps[index]
        found = [self._below(index, p, placement) for p in range(len(step.inputs))]
        if any(below is not None and min(below.size) < 1 for below in found):
            return  # the window lies between the rows that the operation writes
        call = self._call_on_windows(step.call, index, placement, found)
        saved = self._saved_windows(index, placement, found, batch)
        # The first window's corner stands for all: only those share a batch that start in step with
        # every stride on the way.
        row, column = placement.origins[:, 0].tolist()
        window = Window(call, dict(zip(self.graph.map_axes(index), (row, column), strict=True)))
        quick = None if self.turned is None else self.turned.reversed(index, call, signal)
        if batch.channels is not None and isinstance(step.call.arguments.get("weight"), Tensor):
            own = signal[torch.arange(len(batch)), batch.channels][:, None]
            # What the window reads has the padding in it already, and is wanted with it.
            unpadded = with_arguments(call, padding=[0, 0])
            quick = step.operation.reverse_channels(unpadded, own, batch.channels, saved)
        signals: Signals = (quick,)
        if quick is None:
            signals = step.operation.reverse_window(step.call, window, signal, saved, self.rule)
        for position, part in enumerate(signals):
            if part is not None:
                self.add(step.inputs[position], part, batch, found[position])
                # Where each row comes from its own and there are no others, as padding below would
                # be, what lay outside is zero already.
                source = step.inputs[position]
                alike = self.cones.relations(index, position) == (EACH_ITS_OWN, EACH_ITS_OWN)
                alike = alike and self.graph.map_size(index) == self.graph.map_size(source)
                if not alike and found[position] is not None:
                    self.clear_outside(source, batch)

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
            shape=resized(call.shape, self.graph.map_axes(index), placement.size),
            input_shapes=tuple(
                shape if below is None else resized(shape, self.graph.map_axes(source), below.size)
                for shape, source, below in zip(call.input_shapes, sources, found, strict=True)
            ),
        )

    def _saved_windows(
        self, index: int, placement: Placement, found: list[Placement | None], batch: Batch
    ) -> Saved:
        # First what lies as the output does, then inputs, of which an operation may keep fewer than
        # it reads, or none.
        step, saved, owners = self.graph.steps[index], self.ascent.saved[index], batch.owners
        outputs, inputs = saved[: (n := step.operation.outputs_saved)], saved[n:]
        return (
            *(nearest(value, owners, self.graph.map_axes(index), placement) for value in outputs),
            *(
                self.for_signals(value, batch)
                if below is None
                else nearest(value, owners, self.graph.map_axes(source), below)
                for value, source, below in zip(inputs, step.inputs, found, strict=False)
            ),
        )

    def add(
        self, source: int, part: Tensor, batch: Batch, placement: Placement | None = None
    ) -> None:
        """Let *part*, which lies as *placement* says, wait at the output of step *source*."""
        target = batch.placements.get(source)
        # No signal that is wanted reaches this input.
        if target is None:
            return
        if placement is not None and target.whole:
            part = self._pasted(source, part, placement)
        elif placement is not None:
            offset = target.origins[:, 0] - placement.origins[:, 0]
            part = narrowed(part, self.graph.map_axes(source), offset, target.size)
        super().add(source, part, batch)

    def _pasted(self, index: int, windows: Tensor, placement: Placement) -> Tensor:
        """Return whole outputs of a step that are zero but for *windows*."""
        axes, shape = self.graph.map_axes(index), self.graph.steps[index].shape
        whole = windows.new_zeros(len(windows), *shape[1:])
        if axes == (2, 3) and len(shape) == 4:
            whole = whole.contiguous(memory_format=torch.channels_last)
        for unit, origins in enumerate(placement.origins.T.tolist()):
            paste(windows[unit : unit + 1], whole[unit : unit + 1], axes, origins)
        return whole

    def clear_outside(self, index: int, batch: Batch) -> None:
        """Set to zero what lies outside the map, where padding is no longer part of anything."""
        placement = batch.placements.get(index)
        if placement is None or placement.whole or index not in batch.pending:
            return
        shape, axes = self.graph.steps[index].shape, self.graph.map_axes(index)
        for axis, origins, size in zip(axes, placement.origins, placement.size, strict=True):
            # Only windows at a border stick out, and each by another length.
            for unit in np.flatnonzero((origins < 0) | (origins + size > shape[axis])).tolist():
                first = int(origins[unit])
                window = batch.pending[index][unit : unit + 1]
                if first < 0:
                    window.narrow(axis, 0, min(-first, size)).zero_()
                if first + size > shape[axis]:
                    beyond = min(first + size - shape[axis], size)
                    window.narrow(axis, size - beyond, beyond).zero_()

    def arrive(self, batch: Batch) -> None:
        """Write what has come down to where it is wanted."""
        signal = batch.pending.get(self.stop)
        if signal is not None:
            origins = batch.placements[self.stop].origins.T.tolist()
            order = self.cones.order[batch.begin : batch.begin + len(batch)].tolist()
            for unit, number in enumerate(order):
                pixels = self.pixels[number : number + 1]
                paste(signal[unit : unit + 1], pixels, (2, 3), origins[unit])
        self.advance(len(batch))
