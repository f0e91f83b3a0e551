"""The graph of a network: its operations in the order they run, each with what it reads."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import nn

from convscope.errors import TraceError, near_matches
from convscope.network.calls import Call, Input, Shape
from convscope.network.ops import MAPS, Axes, Operation, operation_for
from convscope.network.tracing.randomness import RandomUse


@dataclass(frozen=True, eq=False)
class Step:
    """One operation at work in one place of the network.

    Attributes:
        name: the layer's name: the dotted name of the module, or ``module:operation`` for one
            written out in a module's forward; ``@1``, ``@2``, ... mark further uses of it.
        made_by: the operation with its arguments; None for the step that stands for the images.
        operation: its entry in the table of operations.
        inputs: the indices of the steps whose outputs it reads.
        shape: the shape of its output for one image, with a leading dimension.
        dtype: the dtype of its output.
        parameters: what was learned among its weights, also where they are computed from others.
    """

    name: str
    made_by: Call | None
    operation: Operation
    inputs: tuple[int, ...]
    shape: Shape
    dtype: torch.dtype
    parameters: tuple[nn.Parameter, ...] = ()

    @property
    def call(self) -> Call:
        """The operation with its arguments, of a step that is not the images."""
        assert self.made_by is not None
        return self.made_by

    @property
    def is_layer(self) -> bool:
        """Whether it is one: masks, places and complex numbers, which have no peak, are none."""
        return self.operation.is_layer and self.dtype.is_floating_point

    @property
    def kind(self) -> str:
        """What it computes: the table's word, or the bare name of one outside of it."""
        return self.operation.kind if self.operation.tabled else self.call.name


@dataclass(frozen=True, eq=False)
class Graph:
    """The steps of a network, in the order they run; step 0 is the batch of images.

    Attributes:
        steps: the steps.
        output: the index of the step that makes the network's output.
        modules: dotted module name -> the step that makes the module's output.
        batched: whether any number of images can run at once without touching each other; if not,
            they run one by one.
        outputs: all the network's outputs that depend on the images: where each lies in what the
            network returns, such as ``"out"`` or ``"1.boxes"`` -> its step.
        random: where it was random though in evaluation mode, before that was frozen.
        shown: step whose maps lie otherwise than [N, C, H, W] -> one that nothing reads, which
            gives them so.
        changed: step -> the next one, which gives its maps with channels off or scaled, and has its
            name.
    """

    steps: tuple[Step, ...]
    output: int
    modules: dict[str, int]
    batched: bool
    outputs: dict[str, int] = field(default_factory=dict)
    random: tuple[RandomUse, ...] = ()
    shown: dict[int, int] = field(default_factory=dict)
    changed: dict[int, int] = field(default_factory=dict)

    def with_maps_shown(self) -> "Graph":
        """Return the graph with a step besides for each layer whose channels are not first."""
        steps, shown = list(self.steps), {}
        for index, (step, axes) in enumerate(zip(self.steps, self.axes, strict=True)):
            if axes is None or {2, 3} == set(axes) or len(step.shape) != 4 or step.shape[0] != 1:
                continue
            if step.is_layer:
                (channels,) = {1, 2, 3} - set(axes)
                dims = [0, channels, *axes]
                shape = tuple(step.shape[d] for d in dims)
                arguments = {"self": Input(0), "dims": dims}
                call = Call(torch.ops.aten.permute.default, arguments, (step.shape,), shape)
                shown[index] = len(steps)
                turned = replace(step, made_by=call, operation=operation_for(call), inputs=(index,))
                steps.append(replace(turned, shape=shape, parameters=()))
        return replace(self, steps=tuple(steps), shown=shown)

    def with_head(self, head: int | str) -> "Graph":
        """Return the graph with another of its outputs as the one that counts.

        Args:
            head: the output's number, its path in what the network returns, or the end of that.

        Raises:
            TraceError: if there is none, or several.
        """
        outputs = {path or "0": step for path, step in self.outputs.items()}
        names = [*outputs]
        found = [n for n in names if n == str(head) or n.endswith(f".{head}")]
        if isinstance(head, int) or (not found and str(head).isdecimal()):
            found = names[int(head) :][:1] if int(head) >= 0 else []
        elif str(head) in names:
            found = [str(head)]
        if len(found) != 1:
            which = "has several outputs" if found else "has no output"
            known = ", ".join(found or names)
            raise TraceError(
                f"the network {which} {head!r}{near_matches(head, names)} (choose of: {known})"
            )
        return replace(self, output=outputs[found[0]])

    def renumbered(self, steps: Sequence[Step], number: Callable[[int], int]) -> "Graph":
        """Return the graph of other steps, where *number* tells what each is now."""
        return replace(
            self,
            steps=tuple(steps),
            output=number(self.output),
            outputs={path: number(index) for path, index in self.outputs.items()},
            modules={name: number(index) for name, index in self.modules.items()},
        )

    @cached_property
    def axes(self) -> tuple[Axes, ...]:
        """Where each step's output keeps its rows and columns."""
        found: list[Axes] = [MAPS]
        for step in self.steps[1:]:
            axes = step.operation.axes(step.call, [found[i] for i in step.inputs])
            # In the leading dimension they would be apart only of a single image.
            found.append(None if axes is not None and 0 in axes else axes)
        return tuple(found)

    def map_axes(self, index: int) -> tuple[int, int]:
        """Return where a step that has rows and columns keeps them."""
        axes = self.axes[index]
        assert axes is not None
        return axes

    def map_size(self, index: int) -> tuple[int, int]:
        """Return how many rows and columns a step's output has; 1, 1 where it keeps none apart."""
        axes, shape = self.axes[index], self.steps[index].shape
        return (1, 1) if axes is None else (shape[axes[0]], shape[axes[1]])

    def is_turned(self, index: int) -> bool:
        """Return whether a step's maps have columns where the image has rows."""
        return self.axes[index] == (3, 2)

    @cached_property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """The steps of the network that read each step's output."""
        found: list[list[int]] = [[] for _ in self.steps]
        for index, step in enumerate(self.steps):
            for source in () if index in self.shown.values() else step.inputs:
                found[source].append(index)
        return tuple(map(tuple, found))

    def needed_for(self, targets: Iterable[int]) -> list[int]:
        """Return the steps, in order and without step 0, that must run to make *targets*."""
        wanted = set(targets)
        for index in range(max(wanted, default=0), 0, -1):
            if index in wanted:
                wanted.update(self.steps[index].inputs)
        return sorted(wanted - {0})

    def is_map(self, index: int) -> bool:
        """Return whether a step gives feature maps, [N, C, H, W] or [N, C, W, H]."""
        shape, axes = self.steps[index].shape, self.axes[index]
        return len(shape) == 4 and shape[0] == 1 and (axes is None or set(axes) == {2, 3})


def passed_by_all(order: Sequence[int], reads: Callable[[int], Sequence[int]]) -> list[int]:
    """Return what no other goes around, of things that run in *order* and read others before them.

    >>> passed_by_all(range(4), {0: [], 1: [0], 2: [0], 3: [1, 2]}.__getitem__)
    [0, 3]
    """
    last_reader = {source: one for one in order for source in reads(one)}
    open_until, found = order[0], []
    for one in order:
        if open_until <= one:
            found.append(one)
        open_until = max(open_until, last_reader.get(one, one))
    return found
