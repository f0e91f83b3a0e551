"""Layers: what each step of a network is, in numbers that do not depend on an image."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from convscope.errors import UnitError
from convscope.network.graph import Graph
from convscope.network.windows.fields import ReceptiveFields

LayerName = str | nn.Module
"""How a layer is named: as in ``net.layers``, or by a module, which stands for its last layer."""


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


def both(values: Sequence[float]) -> str:
    """Return one number for two equal ones.

    >>> both((2, 2)), both((3, 0.5))
    ('2', '3×0.5')
    """
    shown = [f"{value:g}" for value in values]
    return shown[0] if shown[0] == shown[1] else "×".join(shown)


def layers_of(graph: Graph) -> dict[str, Layer]:
    """Return the layers of a graph by name, in the order they run."""
    fields, local = ReceptiveFields(graph), ReceptiveFields(graph, local=True)
    if not local.leaves_out:
        local = fields
    return {
        step.name: _layer(graph, fields, local, index)
        for index, step in enumerate(graph.steps)
        if step.made_by is not None and step.is_layer and index not in graph.changed.values()
    }


def _layer(graph: Graph, fields: ReceptiveFields, local: ReceptiveFields, index: int) -> Layer:
    step = graph.steps[index]
    rows, columns = (fields.along(index, axis) for axis in (0, 1))
    own = graph.changed.get(index, index)
    shape = graph.steps[graph.shown.get(own, own)].shape
    return Layer(
        name=step.name,
        op=step.kind,
        shape=shape[1:] if shape[0] == 1 else shape,
        stride=fields.stride(index),
        padding=(rows[1] if rows else 0, columns[1] if columns else 0),
        receptive_field=fields.size(index),
        local_stride=local.stride(index),
        local_receptive_field=local.size(index),
        parameters=sum(parameter.numel() for parameter in step.parameters),
        multiply_adds=step.operation.multiply_adds(step.call),
    )
