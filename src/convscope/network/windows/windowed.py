"""The walk up in windows: only what a changed part of the image touches is computed.

Many patches go up at once. At every step the maps of a batch are windows of one size, each with an
origin of its own; one that would stick out of its map is shifted inward and then holds some
values that come out as in the clean image. A step gathers what its windows read from the windows
below, from the clean map around them and from the padding around that, and runs once, without
padding, for the whole batch. Where the windows are as large as the map, or an operation mixes the
whole map, it goes on with whole maps.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convscope.network.calls import Call
from convscope.network.graph import Graph
from convscope.network.ops import MAPS, Generated
from convscope.network.ops.base import resized
from convscope.network.windows.fields import ProjectiveFields
from convscope.network.windows.placement import (
    EACH_ITS_OWN,
    Placement,
    gathered,
    paste,
    surrounding,
)
from convscope.network.windows.relations import Array, Sliding
from convscope.network.windows.winograd import TurnedFilters

Plan = list[Placement]
"""Where a batch of patches lies in each step, whole where its output is kept as whole maps."""


@dataclass(frozen=True)
class Windows:
    """The changed windows of one step: values [B, ...] and where they lie."""

    values: Tensor
    placement: Placement


class WindowedWalk:
    """Walks up the graph with patches of one image changed.

    Args:
        graph: the network; it must be batched, or be given one patch at a time.
        clean: the maps of the clean image by their steps, those of :attr:`reads` at least.
        targets: the steps whose outputs are wanted.
        turned: filters for quick convolutions; None for none.
    """

    def __init__(
        self,
        graph: Graph,
        clean: Mapping[int, Tensor],
        targets: Iterable[int],
        turned: TurnedFilters | None = None,
    ) -> None:
        self.graph, self.clean, self.targets = graph, clean, tuple(targets)
        self.precision = graph.steps[0].dtype
        self.needed = graph.needed_for(self.targets)
        self.changing = _reached_from_image(graph)
        self.fields = ProjectiveFields(graph)
        self.windowable = [False] * len(graph.steps)
        for index in self.needed:
            self.windowable[index] = self._is_windowable(index)
        self.sizes = np.array([graph.map_size(index) for index in range(len(graph.steps))])
        self.turned = turned
        self.on_windows: dict[tuple[int, tuple[int, int]], Call | None] = {}

    @property
    def reads(self) -> set[int]:
        """The steps whose clean maps windows are read from or pasted into."""
        return {0, *self.targets, *self._gathered_from()}

    def _is_windowable(self, index: int) -> bool:
        step, axes = self.graph.steps[index], self.graph.axes[index]
        # Where an image takes several rows of the leading dimension, a patch has no one window.
        if step.made_by is None or axes is None or step.shape[0] != 1:
            return False
        for position, source in enumerate(step.inputs):
            if self.graph.axes[source] is None or self.graph.steps[source].shape[0] != 1:
                return False
            for axis in (0, 1):
                # Windows of one size must read windows of one size. Where rows alternate, as behind
                # a transposed convolution, that depends on where a window starts.
                if not isinstance(self.fields.relation(index, position, axis), Sliding):
                    return False
        return step.operation.on_windows(step.call, axes, (1, 1)) is not None

    def _gathered_from(self) -> set[int]:
        """Return the steps of whose clean maps parts may be read."""
        found = set()
        for index in self.needed:
            inputs = self.graph.steps[index].inputs
            plain = self.windowable[index] and len(inputs) == 1
            for position, source in enumerate(inputs):
                # A window may be shifted inward otherwise where the maps differ in size.
                alike = plain and np.array_equal(self.sizes[index], self.sizes[source])
                for axis in (0, 1):
                    alike = alike and self.fields.relation(index, position, axis) == EACH_ITS_OWN
                if not (alike and self.windowable[source] and self.changing[source]):
                    found.add(source)
        return found

    def spans(self, patches: Array) -> tuple[Array, Array]:
        """Return the rows and columns of every step that each patch touches, [steps, B, 2].

        Args:
            patches: [B, 4]: top, left, bottom, right in the image, the last two excluded.
        """
        rows, columns = patches[:, (0, 2)] - (0, 1), patches[:, (1, 3)] - (0, 1)
        return self.fields.of_patches(rows, 0), self.fields.of_patches(columns, 1)

    def plan(self, rows: Array, columns: Array) -> Plan:
        """Return where the windows of a batch lie, given what each patch touches."""
        (tops, heights), (lefts, widths) = (
            _placed(spans, self.sizes[:, axis]) for axis, spans in ((0, rows), (1, columns))
        )
        origins, sizes = np.stack([tops, lefts], 1), np.stack([heights, widths], 1)
        # A step that cannot run on windows reads whole maps, and gives one; the next may cut again.
        whole = (sizes == self.sizes).all(1) | ~np.array(self.windowable)
        whole[0] = False  # patches are painted on windows of the image, be they all of it
        return [
            self._whole(index, rows.shape[1])
            if whole[index]
            else Placement(origins[index], (int(sizes[index, 0]), int(sizes[index, 1])))
            for index in range(len(self.graph.steps))
        ]

    @torch.no_grad()
    def run(self, plan: Plan, image_windows: Tensor) -> dict[int, Windows]:
        """Return what the targets become.

        Args:
            plan: where the windows lie.
            image_windows: [B, C, h, w], the image at ``plan[0]``, changed.
        """
        last_reader = {s: index for index in self.needed for s in self.graph.steps[index].inputs}
        values = {0: image_windows.contiguous(memory_format=torch.channels_last)}
        for index in self.needed:
            if not self.changing[index]:
                continue
            values[index] = self._step(index, plan, values)
            for source in set(self.graph.steps[index].inputs):
                if last_reader[source] == index and source not in self.targets:
                    values.pop(source, None)
        return {index: Windows(values[index], plan[index]) for index in self.targets}

    def _step(self, index: int, plan: Plan, values: Mapping[int, Tensor]) -> Tensor:
        call, wanted, beyond = self._prepared(index, self.graph.steps[index].call, plan)
        inputs = [self._read(source, place, beyond, plan, values) for source, place in wanted]
        # By Winograd's convolution where that is faster and there is room for it.
        quick = None
        if self.turned is not None:
            quick = self.turned.convolved(index, call, inputs[0])
        return call.run(inputs, len(plan[0])) if quick is None else quick

    def _prepared(
        self, index: int, call: Call, plan: Plan
    ) -> tuple[Call, list[tuple[int, Placement | None]], float]:
        """Return the call that makes a step's windows, what it reads, and what beyond the map.

        What it reads is a placement in each step that it reads; None for all there is.
        """
        step, axes, here = self.graph.steps[index], self.graph.axes[index], plan[index]
        if here.whole:
            sources = step.inputs
            all_of = [
                None if self.graph.axes[s] is None else self._whole(s, len(plan[0]))
                for s in sources
            ]
            return call, list(zip(sources, all_of, strict=True)), 0.0
        key = (index, here.size)
        if key not in self.on_windows:
            self.on_windows[key] = step.operation.on_windows(call, axes, here.size)
        on_windows = self.on_windows[key]
        assert on_windows is not None
        wanted: list[tuple[int, Placement | None]] = [
            (source, here.read([self.fields.relation(index, position, axis) for axis in (0, 1)]))
            for position, source in enumerate(step.inputs)
        ]
        return on_windows, wanted, step.operation.beyond(call)

    def _whole(self, index: int, batch: int) -> Placement:
        return Placement.of_whole(self.sizes[index], batch)

    def _read(
        self,
        source: int,
        wanted: Placement | None,
        beyond: float,
        plan: Plan,
        values: Mapping[int, Tensor],
    ) -> Tensor:
        """Return an input of a step as it reads it: *wanted* windows; None for all there is."""
        held, batch = values.get(source), len(plan[0])
        placement = plan[source] if held is not None else self._whole(source, batch)
        if held is None:
            clean = self.clean[source]
            # No patch changes this input: a view serves all, and no copy of the map is made.
            held = clean.expand(batch * clean.shape[0], *clean.shape[1:])
        if wanted is None or placement.equals(wanted):
            return held
        return self._gather(source, held, placement, wanted, beyond)

    def _gather(
        self, source: int, held: Tensor, placement: Placement, wanted: Placement, beyond: float
    ) -> Tensor:
        """Return windows read from the *held* ones, the clean map and what lies beyond it."""
        clean, axes = self.clean[source], self.graph.map_axes(source)
        if len(held) > 1:
            return gathered(
                held, axes, placement, wanted, *surrounding(clean, axes, wanted, beyond)
            )
        # Of a single window only what it reads of the clean map is copied.
        maps = axes == MAPS and held.dim() == 4
        layout = torch.channels_last if maps else torch.contiguous_format
        shape = resized(tuple(held.shape), axes, wanted.size)
        found = torch.empty(shape, dtype=held.dtype, device=held.device, memory_format=layout)
        found.fill_(beyond)
        # Counted from the window, the map starts at minus the window's origin. What changed goes
        # over what is clean, so the order matters.
        paste(clean, found, axes, (-wanted.origins[:, 0]).tolist())
        paste(held, found, axes, (placement.origins - wanted.origins)[:, 0].tolist())
        return found

    def whole_maps(self, target: int, found: Windows) -> Tensor:
        """Return what :meth:`run` found for a target as whole maps, [B, ...]."""
        if found.placement.whole:
            return found.values
        whole = self._whole(target, len(found.values))
        return self._gather(target, found.values, found.placement, whole, 0.0)

    def channel_sums(self, target: int, channel: int, found: Windows) -> Tensor:
        """Return the sum over one channel of a target's maps, [B], float64.

        Outside its window a map is the clean one, so only the difference inside is summed.
        """
        own, clean = found.values[:, channel].double(), self.clean[target][0, channel].double()
        if found.placement.whole:
            return own.flatten(1).sum(1) if own.dim() > 1 else own
        if self.graph.is_turned(target):
            # Placements count in the image's rows and columns, these maps lie on their side.
            own, clean = own.mT, clean.mT
        lines = found.placement.lines()
        rows, columns = (torch.from_numpy(own_lines).to(own.device) for own_lines in lines)
        before = clean[rows[:, :, None], columns[:, None, :]]
        return clean.sum() + (own - before).sum((1, 2))

    @torch.no_grad()
    def finish(self, junction: int, values: Tensor, targets: Iterable[int]) -> dict[int, Tensor]:
        """Go on plainly from a step that everything after it goes through.

        Args:
            junction: the step.
            values: [B, ...], its outputs.
            targets: the steps whose outputs are wanted.
        """
        targets = list(targets)
        found = {junction: values}
        for index in self.graph.needed_for(targets):
            # From before the junction only constants are read, and made for this batch: all that
            # depends on the image must come through the junction.
            if index > junction or not self.changing[index]:
                call = self.graph.steps[index].call
                inputs = [found[source] for source in self.graph.steps[index].inputs]
                found[index] = call.run(inputs, len(values))
        return {index: found[index] for index in targets}


def _placed(spans: Array, sizes: Array) -> tuple[Array, Array]:
    """Return the origins, [steps, B], and sizes, [steps], of windows that hold *spans*."""
    first, last = spans[:, :, 0], spans[:, :, 1]
    # A window that would stick out of the map is moved inward: what it then holds besides comes out
    # as in the clean image, and no mask is needed.
    extents = np.maximum((last - first + 1).max(axis=1), 1)
    return np.clip(first, 0, (sizes - extents)[:, None]), extents


def _reached_from_image(graph: Graph) -> list[bool]:
    """Return for each step whether the image's values reach it."""
    found = [True]
    for step in graph.steps[1:]:
        found.append(
            not isinstance(step.operation, Generated) and any(found[i] for i in step.inputs)
        )
    return found
