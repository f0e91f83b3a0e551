"""Layers: what each step of a network is, in numbers that do not depend on an image."""

from dataclasses import dataclass
from functools import cache

from convscope.network.graph import Graph
from convscope.network.windows import Range, Relation, Whole, clip, read_within, union

FAR = 5040
"""A row so far along, and divisible by so much, that a fractional stride shows exactly."""

PHASES = 8
"""How many neighbouring rows are tried where a transposed convolution makes windows alternate."""


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
        parameters: number of learned values.
        multiply_adds: multiply-adds for one image; 0 for operations that are not counted.

    """

    name: str
    op: str
    shape: tuple[int, ...]
    stride: tuple[int | float, int | float] | None
    padding: tuple[int, int]
    receptive_field: tuple[int, int]
    parameters: int
    multiply_adds: int


class ReceptiveFields:
    """Finds what part of the image any unit of a graph reads."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.image_size = graph.steps[0].shape[-2:]
        self.relation = cache(self._relation)
        # Windows are products of rows and columns, and neighbouring units share theirs.
        self.rows = cache(self._rows)

    def _relation(self, index: int, position: int, axis: int) -> Relation:
        step = self.graph.steps[index]
        assert step.call is not None
        source = step.inputs[position]
        target_axes, source_axes = self.graph.axes[index], self.graph.axes[source]
        if target_axes is None or source_axes is None:
            return Whole()
        return step.operation.relation(step.call, position, source_axes[axis], target_axes[axis])

    def _rows(self, start: int, rows: Range, axis: int, clipped: bool) -> Range:
        """Return the image rows that *rows* of a step read.

        Args:
            start: the step.
            rows: rows of its output, or columns if *axis* is 1.
            axis: 0 for rows, 1 for columns.
            clipped: stop at every map's borders, as the network does, so that the answer is exact;
                otherwise maps are taken as endless.

        """
        reached = {start: rows}
        for index in range(start, 0, -1):
            if index not in reached:
                continue
            wanted = reached.pop(index)
            for position, source in enumerate(self.graph.steps[index].inputs):
                relation, axes = self.relation(index, position, axis), self.graph.axes[source]
                found = relation.reads(wanted)
                if clipped and axes is not None:
                    found = read_within(
                        relation, wanted, self.graph.steps[source].shape[axes[axis]]
                    )
                    if found[0] > found[1]:
                        continue
                reached[source] = union(reached[source], found) if source in reached else found
        return reached.get(0, (0, -1))

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

    def _window(self, index: int, rows: Range, columns: Range) -> tuple[int, int, int, int]:
        height, width = self.image_size
        if self.graph.axes[index] is None:
            return 0, 0, height, width
        top, bottom = clip(self.rows(index, rows, 0, True), height)
        left, right = clip(self.rows(index, columns, 1, True), width)
        return top, left, bottom + 1, right + 1

    def along(self, index: int, axis: int) -> tuple[int | float, int, int] | None:
        """Return stride, padding and size of a layer's windows along one axis; None if whole."""
        if self.graph.axes[index] is None:
            return None
        first = self.rows(index, (0, 0), axis, False)
        far = self.rows(index, (FAR, FAR), axis, False)
        if first is None or far is None:
            return None
        stride: int | float = (far[0] - first[0]) / FAR
        size = first[1] - first[0] + 1
        if stride == int(stride):
            stride = int(stride)
        else:
            windows = [self.rows(index, (r, r), axis, False) for r in range(PHASES)]
            size = max(window[1] - window[0] + 1 for window in windows if window)
        return stride, -first[0], size


def layers_of(graph: Graph) -> dict[str, Layer]:
    """Return the layers of a graph by name, in the order they run."""
    fields = ReceptiveFields(graph)
    return {
        step.name: _layer(graph, fields, index)
        for index, step in enumerate(graph.steps)
        if step.call is not None and step.operation.is_layer
    }


def _layer(graph: Graph, fields: ReceptiveFields, index: int) -> Layer:
    step = graph.steps[index]
    assert step.call is not None
    found = [fields.along(index, axis) for axis in (0, 1)]
    rows, columns = found
    shape = graph.steps[graph.shown.get(index, index)].shape
    return Layer(
        name=step.name,
        op=step.operation.kind if step.operation.tabled else step.call.name,
        shape=shape[1:] if shape[0] == 1 else shape,
        stride=None if rows is None or columns is None else (rows[0], columns[0]),
        padding=(rows[1] if rows else 0, columns[1] if columns else 0),
        receptive_field=fields.size(index),
        parameters=sum(parameter.numel() for parameter in step.parameters),
        multiply_adds=step.operation.multiply_adds(step.call),
    )
