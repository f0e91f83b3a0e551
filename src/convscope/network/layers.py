"""Layers: what each step of a network is, in numbers that do not depend on an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from torch import nn

from convscope.errors import UnitError
from convscope.network.graph import Graph
from convscope.network.windows import (
    NO_ROWS,
    Interpolated,
    Range,
    Relation,
    Resized,
    Rows,
    Sliding,
    Transposed,
    Whole,
    clip,
    ends,
    read_by,
    union,
)

LayerName = str | nn.Module
"""How a layer is named: as in ``net.layers``, or by a module, which stands for its last layer."""

FAR = 5040
"""A row so far along, and divisible by so much, that a fractional stride shows exactly."""

PHASES = 64
"""How many neighbouring rows are tried where transposed convolutions or resizing by broken factors
make windows alternate."""


def listed(layer: LayerName | Sequence[LayerName]) -> list[LayerName]:
    """Return the layers that are named, by themselves or in a list.

    Raises:
        UnitError: if there is none.
    """
    given = [layer] if isinstance(layer, str | nn.Module) else list(layer)
    if not given:
        raise UnitError("no layer was named")
    return given


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes:
        name: dotted name of the module, or ``module:operation``; see :class:`~.graph.Step`.
        op: what it computes: ``"convolution"``, ``"rectifier"``, ``"max pool"``, ...
        shape: its output for one image: (channels, height, width) for feature maps, wherever the
            network keeps its channels.
        stride: image pixels between neighbouring units, (rows, columns), a fraction of a pixel
            where maps are larger than the image; None where each unit reads the whole image.
        padding: image pixels by which the first unit's receptive field starts outside the image.
        receptive_field: height and width in image pixels of what one unit reads, borders apart.
        local_stride: the stride without what reaches a unit as one value for a whole map: gates, as
            of squeeze and excitation, and the means and deviations of norms. None where nothing
            else is left, as behind a global average.
        local_receptive_field: the receptive field without that. Both are as *stride* and
            *receptive_field* where there is none.
        parameters: number of learned values.
        multiply_adds: multiply-adds for one image; 0 for operations that are not counted.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    stride: tuple[int | float, int | float] | None
    padding: tuple[int, int]
    receptive_field: tuple[int, int]
    local_stride: tuple[int | float, int | float] | None
    local_receptive_field: tuple[int, int]
    parameters: int
    multiply_adds: int

    def field_words(self) -> tuple[str, str]:
        """Return stride and receptive field as tables show them, local ones where they differ."""
        stride = "whole" if self.stride is None else both(self.stride)
        field = both(self.receptive_field)
        if self.local_receptive_field != self.receptive_field:
            field += f" ({both(self.local_receptive_field)} local)"
        if self.local_stride is not None and self.local_stride != self.stride:
            stride += f" ({both(self.local_stride)} local)"
        return stride, field


def both(values: tuple[float, float]) -> str:
    """Return one number for two equal ones.

    >>> both((2, 2)), both((3, 0.5))
    ('2', '3×0.5')
    """
    shown = [f"{value:g}" for value in values]
    return shown[0] if shown[0] == shown[1] else "×".join(shown)


class ReceptiveFields:
    """Finds what part of the image any unit of a graph reads.

    Args:
        graph: the network.
        local: leave out what reaches units as one value for a whole map, wherever a step reads
            something else besides: gates, and the statistics of norms.
    """

    def __init__(self, graph: Graph, *, local: bool = False) -> None:
        self.graph, self.local = graph, local
        self.image_size = graph.steps[0].shape[-2:]
        self.relation = cache(self._relation)
        # Windows are products of rows and columns, and neighbouring units share theirs.
        self.rows = cache(self._rows)
        self.along = cache(self._along)
        self.inputs = cache(self._inputs)

    def _relation(self, index: int, position: int, axis: int) -> Relation:
        step = self.graph.steps[index]
        source = step.inputs[position]
        target_axes, source_axes = self.graph.axes[index], self.graph.axes[source]
        if target_axes is None or source_axes is None:
            return Whole()
        if self.local and step.operation.takes_statistics:
            return Sliding()
        return step.operation.relation(step.call, position, source_axes[axis], target_axes[axis])

    @cached_property
    def _placed(self) -> list[bool]:
        """Whether each step's values depend on where in the image they lie."""
        placed = [True]
        for index, step in enumerate(self.graph.steps[1:], start=1):
            placed.append(
                any(
                    placed[source] and not isinstance(self.relation(index, position, axis), Whole)
                    for position, source in enumerate(step.inputs)
                    for axis in (0, 1)
                )
            )
        return placed

    @cached_property
    def _alternates(self) -> list[bool]:
        """Whether neighbours of each step may read windows of other sizes, borders apart."""
        found = [False]
        for index, step in enumerate(self.graph.steps[1:], start=1):
            relations = [
                self.relation(index, p, a) for p in range(len(step.inputs)) for a in (0, 1)
            ]
            own = any(isinstance(r, Transposed | Resized | Interpolated) for r in relations)
            found.append(own or any(found[source] for source in step.inputs))
        return found

    @property
    def leaves_out(self) -> bool:
        """Whether there is anything that a local field leaves out."""
        steps = enumerate(self.graph.steps)
        return any(
            step.operation.takes_statistics or len(self.inputs(index)) < len(step.inputs)
            for index, step in steps
        )

    def _inputs(self, index: int) -> list[tuple[int, int]]:
        """Return the positions and steps that a step reads, without gates if they are left out."""
        inputs = list(enumerate(self.graph.steps[index].inputs))
        placed = [pair for pair in inputs if self._placed[pair[1]]] if self.local else []
        return placed or inputs

    def _rows(self, start: int, rows: Range, axis: int, clipped: bool) -> Range:
        """Return the image rows that *rows* of a step read.

        Args:
            start: the step.
            rows: rows of its output, or columns if *axis* is 1.
            axis: 0 for rows, 1 for columns.
            clipped: stop at every map's borders, as the network does, so that the answer is exact;
                otherwise maps are taken as endless.
        """
        reached: dict[int, Rows] = {start: rows}
        for index in range(start, 0, -1):
            if index not in reached:
                continue
            wanted = reached.pop(index)
            for position, source in self.inputs(index):
                axes = self.graph.axes[source]
                cut = clipped and axes is not None
                size = self.graph.steps[source].shape[axes[axis]] if cut and axes else None
                found = read_by(self.relation(index, position, axis), wanted, size)
                if isinstance(found, tuple) and found[0] > found[1]:
                    continue
                reached[source] = union(reached[source], found) if source in reached else found
        return ends(reached.get(0, NO_ROWS))

    def window(self, index: int, row: int, column: int) -> tuple[int, int, int, int]:
        """Return what one unit reads: (top, left, bottom, right), the last two excluded.

        *row* and *column* are its place in the last two dimensions of the map, which a network may
        have transposed.
        """
        if self.graph.axes[index] == (3, 2):
            row, column = column, row
        return self._window(index, (row, row), (column, column))

    def map_window(self, index: int) -> tuple[int, int, int, int]:
        """Return what a whole feature map reads, like :meth:`window`."""
        shape, axes = self.graph.steps[index].shape, self.graph.axes[index]
        if axes is None:
            return self._window(index, None, None)
        return self._window(index, (0, shape[axes[0]] - 1), (0, shape[axes[1]] - 1))

    def size(self, index: int) -> tuple[int, int]:
        """Return height and width of one unit's receptive field, borders apart."""
        height, width = (self.along(index, axis) for axis in (0, 1))
        whole = self.image_size
        return height[2] if height else whole[0], width[2] if width else whole[1]

    def stride(self, index: int) -> tuple[int | float, int | float] | None:
        """Return the image pixels between neighbouring units; None where each reads all rows."""
        rows, columns = (self.along(index, axis) for axis in (0, 1))
        return None if rows is None or columns is None else (rows[0], columns[0])

    def _window(self, index: int, rows: Range, columns: Range) -> tuple[int, int, int, int]:
        height, width = self.image_size
        if self.graph.axes[index] is None:
            return 0, 0, height, width
        top, bottom = clip(self.rows(index, rows, 0, True), height)
        left, right = clip(self.rows(index, columns, 1, True), width)
        return top, left, bottom + 1, right + 1

    def _along(self, index: int, axis: int) -> tuple[int | float, int, int] | None:
        """Return stride, padding and size of a layer's windows along one axis; None if whole."""
        if self.graph.axes[index] is None:
            return None
        windows = []
        for row in range(PHASES if self._alternates[index] else 1):
            window, far = (self.rows(index, (r, r), axis, False) for r in (row, row + FAR))
            if window is None or far is None:
                return None
            if window[0] <= window[1]:
                windows.append((row, window, far))
        if not windows:
            return None
        row, first, far = windows[0]
        stride: int | float = abs(far[0] - first[0]) / FAR
        size = max(last - begin + 1 for _, (begin, last), _ in windows)
        return int(stride) if stride == int(stride) else stride, -int(first[0] - row * stride), size


def layers_of(graph: Graph) -> dict[str, Layer]:
    """Return the layers of a graph by name, in the order they run."""
    fields, local = ReceptiveFields(graph), ReceptiveFields(graph, local=True)
    if not local.leaves_out:
        local = fields
    return {
        step.name: _layer(graph, fields, local, index)
        for index, step in enumerate(graph.steps)
        if step.made_by is not None
        and step.operation.is_layer
        and index not in graph.changed.values()
    }


def _layer(graph: Graph, fields: ReceptiveFields, local: ReceptiveFields, index: int) -> Layer:
    step = graph.steps[index]
    rows, columns = (fields.along(index, axis) for axis in (0, 1))
    own = graph.changed.get(index, index)
    shape = graph.steps[graph.shown.get(own, own)].shape
    return Layer(
        name=step.name,
        op=step.operation.kind if step.operation.tabled else step.call.name,
        shape=shape[1:] if shape[0] == 1 else shape,
        stride=fields.stride(index),
        padding=(rows[1] if rows else 0, columns[1] if columns else 0),
        receptive_field=fields.size(index),
        local_stride=local.stride(index),
        local_receptive_field=local.size(index),
        parameters=sum(parameter.numel() for parameter in step.parameters),
        multiply_adds=step.operation.multiply_adds(step.call),
    )
