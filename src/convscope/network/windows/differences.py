"""The walk up in windows of differences: what a patch changes, in half the precision and time.

Where a patch touches a map, the map is the clean one plus a difference. A linear operation turns
differences into differences, so they alone go up, rounded to bfloat16, and outside of their windows
they are zero: nothing of the clean maps need be gathered. What is not linear is asked
twice, with the difference and without it. Rounding then costs a share of what the
patch does to the map, never a share of the map itself, beside which small effects would be lost.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from convscope.network.calls import Call
from convscope.network.graph import Graph
from convscope.network.ops import BatchNorm, Convolution, ReLU
from convscope.network.ops.base import LinearOperation, resized, with_arguments
from convscope.network.ops.pointwise import Add, FullyConnected
from convscope.network.windows.placement import Placement, cut, moved
from convscope.network.windows.windowed import Plan, WindowedWalk, Windows


class DifferenceWalk(WindowedWalk):
    """Walks up the graph with patches of one image changed, by their differences.

    It answers as :class:`.WindowedWalk` does; in bfloat16, to about a hundredth of what a patch
    changes.

    Args:
        graph: the network.
        clean: every map of the clean image by its step.
        targets: the steps whose outputs are wanted.
        precision: what differences, and the weights they meet, are rounded to.
    """

    def __init__(
        self,
        graph: Graph,
        clean: Mapping[int, Tensor],
        targets: Iterable[int],
        precision: torch.dtype,
    ) -> None:
        super().__init__(graph, clean, targets)
        self.precision = precision
        # Of the steps behind the targets as well, through which :meth:`finish` goes.
        self.linear = {
            index: self._linear(index)
            for index in graph.needed_for([graph.output, *graph.outputs.values(), *self.targets])
            if self.changing[index]
        }
        self.negated: dict[int, Tensor] = {}

    def _linear(self, index: int) -> Call | None:
        """Return the call that maps a step's differences to differences; None if it is none."""
        step = self.graph.steps[index]
        call = step.call
        if isinstance(step.operation, Convolution | FullyConnected):
            weight = call.arguments["weight"].to(self.precision)
            # In the layout that windows have, once for all batches.
            if weight.dim() == 4:
                weight = weight.contiguous(memory_format=torch.channels_last)
            return with_arguments(call, weight=weight, bias=None)
        # Of (x - mean) * scale + bias only the scale meets a difference.
        if isinstance(step.operation, BatchNorm):
            mean = torch.zeros_like(call.arguments["running_mean"])
            return with_arguments(call, bias=None, running_mean=mean)
        if not isinstance(step.operation, LinearOperation | Add):
            return None
        zeros = [
            self.clean[0].new_zeros(shape, dtype=self.precision) for shape in call.input_shapes
        ]
        # The table does not say which of the others add a constant, so they are asked: what is
        # linear answers zeros with zeros.
        try:
            # A constant that is added, or padded with, is no part of a difference.
            return None if call.run(zeros, 1).any() else call
        except NotImplementedError:  # PyTorch has not every operation in every precision
            return None

    @torch.no_grad()
    def run(self, plan: Plan, image_windows: Tensor) -> dict[int, Windows]:
        """Return what the targets change by; see :meth:`.WindowedWalk.run`."""
        # Subtracted in full precision: of rounded images much of the difference is rounding.
        changes = image_windows - self._clean(0, plan[0], 0.0)
        return super().run(plan, changes.to(self.precision))

    def _step(self, index: int, plan: Plan, values: Mapping[int, Tensor]) -> Tensor:
        call = self.linear[index] or self.graph.steps[index].call
        call, wanted, beyond = self._prepared(index, call, plan)
        changes = [self._changes(source, place, plan, values) for source, place in wanted]
        if self.linear[index] is not None:
            # A product with constants is as wide as these are.
            return call.run(changes, len(plan[0])).to(self.precision)
        # The most frequent of what is not linear, in three passes through memory instead of six.
        if isinstance(self.graph.steps[index].operation, ReLU):
            return _rectified(changes[0], self._negated(*wanted[0]))
        clean = [self._clean(source, place, beyond) for source, place in wanted]
        return self._twice(call, clean, changes)

    def _twice(self, call: Call, clean: Sequence[Tensor], changes: Sequence[Tensor]) -> Tensor:
        """Return what the output of any operation changes by."""
        # The clean value goes through again beside the changed one, in the same windows and batch:
        # both are rounded alike, and what did not change cancels to the bit.
        batch = len(changes[0]) // call.input_shapes[0][0]
        before = [
            one.repeat(batch, *(1,) * (one.dim() - 1)) if len(one) < len(other) else one
            for one, other in zip(clean, changes, strict=True)
        ]
        after = [one + other for one, other in zip(before, changes, strict=True)]
        return (call.run(after, batch) - call.run(before, batch)).to(self.precision)

    def _changes(
        self,
        source: int,
        wanted: Placement | None,
        plan: Plan,
        values: Mapping[int, Tensor],
    ) -> Tensor:
        """Return by how much an input changes where a step reads it; zero outside its windows."""
        held, axes = values.get(source), self.graph.axes[source]
        if held is None:
            first, *rest = self.clean[source].shape
            if wanted is not None and axes is not None:
                _, *rest = resized((first, *rest), axes, wanted.size)
            # An input that no pixel reaches does not change.
            return self.clean[source].new_zeros(len(plan[0]) * first, *rest, dtype=self.precision)
        if wanted is None or axes is None:
            return held
        return moved(held, axes, plan[source], wanted)

    def _clean(self, source: int, wanted: Placement | None, beyond: float) -> Tensor:
        """Return windows of a clean map; a single one where all are the whole map."""
        return self._cut(source, self.clean[source], wanted, beyond)

    def _negated(self, source: int, wanted: Placement | None) -> Tensor:
        """Return the same as :meth:`_clean`, negated and rounded; inside the map only."""
        if source not in self.negated:
            self.negated[source] = -self.clean[source].to(self.precision)
        return self._cut(source, self.negated[source], wanted, 0.0)

    def _cut(self, source: int, maps: Tensor, wanted: Placement | None, beyond: float) -> Tensor:
        axes = self.graph.axes[source]
        if wanted is None or axes is None:
            return maps
        # A single row serves a batch of whole maps by broadcasting.
        all_of = wanted.size == self.graph.map_size(source) and not wanted.origins.any()
        return maps if all_of else cut(maps, axes, wanted, beyond)

    def whole_maps(self, target: int, found: Windows) -> Tensor:
        """Return what a target becomes, as whole maps, [B, ...]."""
        changes, axes = found.values, self.graph.axes[target]
        if not found.placement.whole and axes is not None:
            whole = self._whole(target, len(found.placement))
            changes = moved(changes, axes, found.placement, whole)
        clean = self.clean[target]
        # In the clean map's precision: a sum in half of it would round the map itself.
        return clean.repeat(len(changes) // len(clean), *(1,) * (clean.dim() - 1)) + changes

    def channel_sums(self, target: int, channel: int, found: Windows) -> Tensor:
        """Return the sum over one channel of a target's maps, [B], float64."""
        changes = (
            found.values[:, channel].double().flatten(1)
            if found.values.dim() > 2
            else (found.values[:, channel, None].double())
        )
        return self.clean[target][0, channel].double().sum() + changes.sum(1)

    @torch.no_grad()
    def finish(self, junction: int, values: Tensor, targets: Iterable[int]) -> dict[int, Tensor]:
        """Go on from a step that everything after it goes through; its values are whole."""
        targets = list(targets)
        above = [index for index in self.graph.needed_for(targets) if index > junction]
        # A junction has one row an image.
        plan = [self._whole(index, len(values)) for index in range(len(self.graph.steps))]
        changes = values - self.clean[junction]
        found = {junction: changes.to(self.precision)}
        for index in above:
            if self.changing[index]:
                found[index] = self._step(index, plan, found)
        return {i: self.whole_maps(i, Windows(found[i], plan[i])) for i in targets}


def can_take_differences(graph: Graph) -> bool:
    """Return whether every value of a network is a number that a difference can be added to.

    The places that a max pool passes on to its unpooling are not. Nor may the network make several
    rows of one image, which no longer tell whose they are.
    """
    return all(step.dtype.is_floating_point and step.shape[0] == 1 for step in graph.steps)


def _rectified(changes: Tensor, negated: Tensor) -> Tensor:
    """Return max(c + d, 0) - max(c, 0) of changes d where *negated* holds -c, in few steps."""
    # max(c + d, 0) = max(d, -c) + c, and c - max(c, 0) = -max(-c, 0): the map itself falls out.
    return torch.maximum(changes, negated).sub_(negated.clamp_min(0))
