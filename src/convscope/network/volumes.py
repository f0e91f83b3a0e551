"""Volumes: a network as papers draw it, one a convolution, pooling, sum and the like.

What papers write beside a layer, its rectifier and its normalisation, is folded into its volume.
"""

from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any

from convscope.network.calls import Call
from convscope.network.graph import Graph, Step
from convscope.network.layers import both
from convscope.network.ops import Generated
from convscope.network.ops.base import pair
from convscope.wording import times

INPUT, OUTPUTS = "input", "outputs"
FOLDED = frozenset(
    {"rectifier", "batch norm", "layer norm", "scale", "sigmoid", "tanh", "exponential", "power"}
    | {"absolute value"}
)
"""Operations of one input that are folded, when the table knows them."""

JOINS = frozenset({"add", "product", "concatenation"})


@dataclass(frozen=True)
class Volume:
    """One volume of a network's drawing.

    Attributes:
        name: the layer's name, as in ``net.layers``.
        kind: what it computes, as in ``net.layers``; ``"input"`` for the images, and ``"outputs"``
            for what gathers a network's heads, where it has several.
        detail: kernel and stride, such as ``"3×3 /2"``; empty where there are none.
        channels: channels of its output, or features of a vector.
        rows, columns: size of its maps; 1 for a vector.
        inputs: the places in the drawing of the volumes that it reads, in the order it does.
        before: operations folded into it that come before it, such as ``("rectifier",)``.
        after: operations folded into it that come after it.
    """

    name: str
    kind: str
    detail: str
    channels: int
    rows: int
    columns: int
    inputs: tuple[int, ...]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its maps."""
        return self.rows, self.columns

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, fit for JSON."""
        return asdict(self)


def volumes_of(graph: Graph) -> tuple[Volume, ...]:
    """Return the volumes of a graph in the order they run, the images first.

    Where it has several outputs, the last volume stands for all of them, and reads each.

    A rectifier, a normalisation and the like belong to the volume that they read; but to the one
    that reads them, if others read the same values without them.

    >>> import torch
    >>> from torch import nn
    >>> from convscope.network import Network
    >>> net = Network(nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU()), torch.zeros(1, 3, 9, 9))
    >>> [(v.name, v.detail, v.channels, v.size, v.after) for v in volumes_of(net.graph)]
    [('images', '', 3, (9, 9), ()), ('0', '3×3 /2', 8, (4, 4), ('rectifier',))]
    """
    return _Folding(graph).volumes()


class _Folding:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.outputs = [*dict.fromkeys([graph.output, *graph.outputs.values()])]
        self.needed = [0, *graph.needed_for(self.outputs)]
        self.readers: dict[int, set[int]] = {}
        for index in self.needed:
            for source in graph.steps[index].inputs:
                self.readers.setdefault(source, set()).add(index)
        self.found: list[Volume] = []
        self.place: dict[int, int] = {}
        # What waits between a volume and the one that reads it.
        self.waiting: dict[int, tuple[str, ...]] = {}

    def volumes(self) -> tuple[Volume, ...]:
        for index in self.needed:
            step = self.graph.steps[index]
            sources = tuple(dict.fromkeys(i for i in step.inputs if i in self.place))
            if isinstance(step.operation, Generated):
                continue
            if len(sources) == 1 and self._is_folded(step):
                self._fold(index, step, sources[0])
            else:
                self._append(index, step, sources)
        self._gather()
        return tuple(self.found)

    def _gather(self) -> None:
        """Put a volume at the end that reads all heads, so that none hangs in the air."""
        heads = sorted({self.place[index] for index in self.outputs if index in self.place})
        if len(heads) > 1:
            self.found.append(
                Volume(OUTPUTS, OUTPUTS, "heads", len(heads), 1, 1, inputs=tuple(heads))
            )

    def _is_folded(self, step: Step) -> bool:
        if not step.is_layer or step.operation.kind in FOLDED | JOINS:
            return True
        return not step.operation.tabled and step.shape == self.graph.steps[step.inputs[0]].shape

    def _fold(self, index: int, step: Step, source: int) -> None:
        self.place[index] = self.place[source]
        waiting = self.waiting.get(source, ())
        told = step.is_layer and step.operation.kind not in JOINS
        kind = (step.kind,) if told else ()
        if source in self.waiting or len(self.readers[source]) > 1:
            self.waiting[index] = waiting + kind
            return
        own = self.found[self.place[source]]
        self.found[self.place[source]] = replace(own, after=own.after + kind)

    def _append(self, index: int, step: Step, sources: tuple[int, ...]) -> None:
        channels, rows, columns = self._size(index)
        self.place[index] = len(self.found)
        kind = step.operation.kind if step.operation.tabled else "other"
        self.found.append(
            Volume(
                name=step.name,
                kind=INPUT if step.made_by is None else kind,
                detail="" if step.made_by is None else detail_of(kind, step.call),
                channels=channels,
                rows=rows,
                columns=columns,
                inputs=tuple(dict.fromkeys(self.place[source] for source in sources)),
                before=tuple(
                    dict.fromkeys(kind for s in sources for kind in self.waiting.get(s, ()))
                ),
            )
        )

    def _size(self, index: int) -> tuple[int, int, int]:
        """Return channels, rows and columns of a step's output."""
        shape = self.graph.steps[index].shape
        rows, columns = self.graph.map_size(index)
        if self.graph.axes[index] is None and len(shape) == 4 and shape[0] == 1:
            rows, columns = shape[2:]
        return max(1, prod(shape[1:] or shape) // (rows * columns)), rows, columns


def detail_of(kind: str, call: Call) -> str:
    """Return what a layer's window is, as papers write it: ``"3×3 /2"``."""
    arguments = call.arguments
    if kind in ("convolution", "transposed convolution"):
        return _convolution(kind, call)
    if "kernel_size" in arguments and len(pair(arguments["kernel_size"])) == 2:
        kernel = pair(arguments["kernel_size"])
        stride = pair(arguments.get("stride") or kernel)
        return times(kernel) + ("" if stride == [1, 1] else f" /{both(stride)}")
    if kind in ("max pool", "average pool") and set(call.shape[2:]) <= {1}:
        return "global"
    return ""


def _convolution(kind: str, call: Call) -> str:
    arguments = call.arguments
    weight = arguments["weight"]
    text = times(list(weight.shape[2:]))
    stride, dilation = pair(arguments["stride"]), pair(arguments["dilation"])
    if stride != [1, 1]:
        text += f" {'×' if kind.startswith('transposed') else '/'}{both(stride)}"
    if dilation != [1, 1]:
        text += f" dilated {both(dilation)}"
    groups = int(arguments.get("groups", 1))
    if groups > 1:
        text += " depthwise" if groups == call.input_shapes[0][1] else f" in {groups} groups"
    return text
