"""The walk up to one unit, from what it reads of an image alone; gradients go through it."""

from math import prod

import numpy as np
import torch
from torch import Tensor

from convscope.network.calls import Call
from convscope.network.graph import Graph
from convscope.network.ops import Generated, Rectifier
from convscope.network.visit import walk_up
from convscope.network.windows.cones import Cones
from convscope.network.windows.fields import ReceptiveFields
from convscope.network.windows.placement import Placement, moved
from convscope.network.windows.relations import Sliding


class _Rising(Cones):
    """Cones whose windows can be made from one another on the way up, not only on the way down."""

    def windowed(self, index: int) -> bool:
        """Return whether a step can be run on windows."""
        step, axes = self.graph.steps[index], self.graph.axes[index]
        if not super().windowed(index):
            return False
        relations = [r for p in range(len(step.inputs)) for r in self.relations(index, p)]
        return (
            all(isinstance(relation, Sliding) for relation in relations)
            and step.operation.on_windows(step.call, axes, (1, 1)) is not None
        )

    def _spread(self, index: int) -> None:
        """Hand the ranges of a step on; what no signal goes down to must still be made, whole."""
        super()._spread(index)
        if isinstance(self.graph.steps[index].operation, Generated):
            for source in self.graph.steps[index].inputs:
                self.whole[self.place[source]] = True
                self._reached.add(source)


LEAK = 0.1
"""Of the slope that is put in at every rectifier where a unit is to be reached that is off."""


class UnitPass:
    """Runs the network from what one unit reads of the image up to it.

    Args:
        graph: the network.
        fields: its receptive fields.
        step: the layer.
        place: the unit's row and column; None for the mean of each channel's whole map.

    Attributes:
        size: height and width of what the unit reads of the image, in pixels; of the whole image
            where some operation on the way cannot run on a part of its map.
        values: how many values the walk makes of one such window.
    """

    def __init__(
        self, graph: Graph, fields: ReceptiveFields, step: int, place: tuple[int, int] | None
    ) -> None:
        self.graph, self.step = graph, step
        row, column = np.array([place or (0, 0)], dtype=np.int64).T
        self._cones = _Rising(graph, fields, step, row, column)
        self._placements = self._cones.placements(0, 1)
        self._needed = graph.needed_for([step])
        self._place: tuple[int, int] | None = None  # that is taken out of a whole map
        # A unit that reads nothing but padding has no windows to go by.
        followed = graph.axes[step] is not None and {*self._needed} <= {*self._placements}
        if place is None or not followed:
            self._cones.whole[:], self._place = True, place
            self._placements = self._cones.placements(0, 1)
        self.size = self._placements[0].size
        self.values = sum(
            prod(graph.steps[i].shape) // prod(graph.map_size(i)) * prod(self._placements[i].size)
            for i in self._needed
        )

    def __call__(self, windows: Tensor, *, leaks: bool = False) -> Tensor:
        """Return what each of the layer's channels answers, [B, C].

        Args:
            windows: [B, C, *size], of the network's inputs; each stands where the unit reads.
            leaks: whether gradients, and these alone, also leak through rectifiers that are off.
        """
        found: list[Tensor] = []

        def run(index: int, inputs: list[Tensor]) -> Tensor:
            with torch.enable_grad():
                return self._run(index, inputs, len(windows), leaks)

        def show(index: int, values: Tensor) -> None:
            if index == self.step:
                found.append(values)

        steps = self.graph.steps
        with torch.enable_grad():  # as walks up hold images, so that no copy of theirs cuts it off
            windows = windows.contiguous(memory_format=torch.channels_last)
        walk_up({0: windows}, self._needed, lambda index: steps[index].inputs, run, show)
        with torch.enable_grad():
            (maps,) = found
            if self._place is not None:
                axes = self.graph.axes[self.step] or (2, 3)
                maps = maps.movedim(axes, (-2, -1))[(..., *self._place)]
            return maps.reshape(len(windows), maps.shape[1], -1).mean(2)

    def _run(self, index: int, inputs: list[Tensor], batch: int, leaks: bool) -> Tensor:
        step, here = self.graph.steps[index], self._placements[index]
        leak = LEAK if leaks and isinstance(step.operation, Rectifier) else 0.0
        if here.whole or not self._cones.windowed(index):
            output = _called(step.call, inputs, batch, leak)
            whole = Placement.of_whole(self.graph.map_size(index), 1)
            return output if here.whole else moved(output, self.graph.map_axes(index), whole, here)
        call = step.operation.on_windows(step.call, self.graph.axes[index], here.size)
        assert call is not None
        beyond = step.operation.beyond(step.call)
        for position, source in enumerate(step.inputs):
            wanted = here.read(self._cones.relations(index, position))
            axes, held = self.graph.map_axes(source), self._placements[source]
            inputs[position] = moved(inputs[position], axes, held, wanted, beyond)
        return _called(call, inputs, batch, leak)


def _called(call: Call, inputs: list[Tensor], batch: int, leak: float) -> Tensor:
    """Run a call; its gradient, not its value, also gets a share of what goes in."""
    output = call.run(inputs, batch)
    # The difference is zero, and its gradient is one.
    return output + leak * (inputs[0] - inputs[0].detach()) if leak else output
