"""What strides do to a projection whatever the weights: kernel, stride, padding and dilation alone.

Going down, a strided convolution writes each value to all taps of its window; forwards, a
transposed convolution does the same. Where the stride does not divide the kernel, some positions
are written to more often than others, in a grid that no image is needed to predict. Max pooling is
another thing: unpooling puts each value at its switch, so its pattern depends on the image. Where
pools overlap, values add up; on average over images, if every place of a pool wins equally often,
that is uneven too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from convscope.methods.gridding.lattice import Lattice, Steps, steps_of, unevenness
from convscope.network import Network
from convscope.network.ops import AveragePool, Convolution, MaxPool
from convscope.network.windows.relations import Sliding, Transposed
from convscope.wording import times

LEAST = 0.02
"""Unevenness below which a layer is no finding: no eye sees a grid of two percent."""

Pair = tuple[int, int]
Changes = Mapping[int, tuple[Steps, Steps]]


@dataclass(frozen=True)
class StridedLayer:
    """A layer that makes maps smaller or larger by a stride.

    Attributes:
        name: the layer's name in ``net.layers``.
        op: ``"convolution"``, ``"transposed convolution"``, ``"average pool"`` or ``"max pool"``.
        kernel: height and width.
        stride: down and across.
        padding: before the first row and column.
        dilation: down and across.
        alone: coefficient of variation between the phases of the stride, of all ones passed through
            the transpose of this layer alone (the layer itself if it is transposed); 0 is even.
        reached: the same where the pattern is seen: at the pixels, for all ones from this layer's
            output down; for a transposed convolution at the network's output, for all ones at its
            input. None where the network's output has no rows and columns.
        fixed: whether the pattern is the same for every image, as only max pooling's is not.
    """

    name: str
    op: str
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    alone: float
    reached: float | None
    fixed: bool

    @property
    def forwards(self) -> bool:
        """Whether the pattern arises on the way up, in the network's own maps."""
        return self.op == "transposed convolution"


@dataclass(frozen=True)
class Alternative:
    """Another kernel or stride for a layer.

    Attributes:
        kernel: height and width.
        stride: down and across.
        alone: see :class:`StridedLayer`.
        reached: see :class:`StridedLayer`, with this layer alone changed.
        weights: how many times as many weights the layer would have.
    """

    kernel: Pair
    stride: Pair
    alone: float
    reached: float | None
    weights: float


@dataclass(frozen=True)
class GridFinding:
    """A layer whose kernel and stride leave a grid, whatever the weights.

    Attributes:
        layer: the layer.
        alternatives: even ones: the nearest kernel first, at the end a smaller stride.
    """

    layer: StridedLayer
    alternatives: tuple[Alternative, ...]

    def lines(self) -> list[str]:
        """Return a line for the layer, and one for each of the kernels and strides instead."""
        own, where = self.layer, "at the output" if self.layer.forwards else "at the pixels"

        def said(one: StridedLayer | Alternative) -> str:
            reached = "" if one.reached is None else f", {one.reached:.3f} {where}"
            kernel, stride = (times(pair) for pair in (one.kernel, one.stride))
            return f"kernel {kernel}, stride {stride}: {one.alone:.3f}{reached}"

        instead = (f"  {said(a)}; {a.weights:.2f} times the weights" for a in self.alternatives)
        return [f"{own.name} leaves a grid: {own.op}, {said(own)}", *instead]


def strided_layers(net: Network) -> list[StridedLayer]:
    """Return every convolution and pool with a stride, in the order they run.

    >>> import torch
    >>> from torch import nn
    >>> module = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2))
    >>> net = Network(module, torch.zeros(1, 3, 15, 15))
    >>> [(layer.name, round(layer.alone, 3), layer.fixed) for layer in strided_layers(net)]
    [('0', 0.484, True), ('2', 0.0, False)]
    """
    return [_layer(net, index) for index in strided_steps(net)]


def structural_findings(net: Network, least: float = LEAST) -> list[GridFinding]:
    """Return the layers that leave a grid of their own, whatever the weights and the image.

    Max pools are never among them, nor is any layer whose stride divides its kernel.

    Args:
        net: the network.
        least: the coefficient of variation between phases from which a layer counts.

    >>> import torch
    >>> from torch import nn
    >>> net = Network(nn.Conv2d(3, 4, 11, stride=4), torch.zeros(1, 3, 31, 31))
    >>> (found,) = structural_findings(net)
    >>> [(a.kernel, a.stride, a.alone) for a in found.alternatives]
    [((12, 12), (4, 4), 0.0), ((8, 8), (4, 4), 0.0), ((11, 11), (1, 1), 0.0)]
    """
    found = []
    for index in strided_steps(net):
        layer = _layer(net, index)
        if layer.fixed and layer.alone >= least:
            found.append(GridFinding(layer, _alternatives(net, index)))
    return found


def strided_steps(net: Network) -> list[int]:
    """Return the steps that are convolutions or pools with a stride over rows or columns."""
    return [
        index
        for index, step in enumerate(net.graph.steps)
        if isinstance(step.operation, Convolution | AveragePool | MaxPool)
        and any(steps is not None and steps.stride > 1 for steps in _steps(net, index, 0))
    ]


def variation_at_pixels(net: Network, step: int, pools: bool = False) -> float:
    """Return how unevenly all ones at a step's output arrive at the pixels.

    With *pools*, overlapping max pools count too, as if every place of a pool won equally often;
    otherwise they count as even.
    """
    return _down(net, step, {}, pools).variation


def _layer(net: Network, index: int) -> StridedLayer:
    step = net.graph.steps[index]
    rows, columns = _both(net, index)
    fixed = not isinstance(step.operation, MaxPool)
    return StridedLayer(
        name=step.name,
        op=step.operation.kind,
        kernel=(rows.kernel, columns.kernel),
        stride=(rows.stride, columns.stride),
        padding=(rows.padding, columns.padding),
        dilation=(rows.dilation, columns.dilation),
        alone=unevenness(rows, columns),
        reached=_reached(net, index, {}, pools=not fixed),
        fixed=fixed,
    )


def _reached(net: Network, index: int, changes: Changes, pools: bool = False) -> float | None:
    """Return the unevenness where a strided layer's pattern is seen."""
    if isinstance(_both(net, index)[0], Transposed):
        found = _up(net, index, changes)
        return None if found is None else found.variation
    return _down(net, index, changes, pools).variation


def _alternatives(net: Network, index: int) -> tuple[Alternative, ...]:
    """Return even kernels around a layer's, nearest first, and the largest even stride below."""
    rows, columns = _both(net, index)
    choices = [(_nearest(rows, up), _nearest(columns, up)) for up in (True, False)]
    kept = [(one, other) for one, other in choices if one is not None and other is not None]
    kept.sort(
        key=lambda pair: abs(pair[0].kernel - rows.kernel) + abs(pair[1].kernel - columns.kernel)
    )
    kept.append((_smaller_stride(rows), _smaller_stride(columns)))
    found = []
    for one, other in dict.fromkeys(kept):
        before, after = rows.kernel * columns.kernel, one.kernel * other.kernel
        found.append(
            Alternative(
                kernel=(one.kernel, other.kernel),
                stride=(one.stride, other.stride),
                alone=unevenness(one, other),
                reached=_reached(net, index, {index: (one, other)}),
                weights=after / before,
            )
        )
    return tuple(found)


def _nearest(steps: Steps, up: bool) -> Steps | None:
    """Return the window with the nearest even kernel, above or below, not less than the stride."""
    sizes = (
        range(steps.kernel, steps.kernel + steps.stride)
        if up
        else range(steps.kernel, steps.stride - 1, -1)
    )
    tried = (replace(steps, kernel=size) for size in sizes)
    return next((own for own in tried if _is_even(own)), None)


def _smaller_stride(steps: Steps) -> Steps:
    """Return the window with the largest stride, not above its own, at which it is even."""
    tried = (replace(steps, stride=stride) for stride in range(steps.stride, 0, -1))
    return next(own for own in tried if _is_even(own))


def _is_even(steps: Steps) -> bool:
    return unevenness(steps, Sliding()) < 1e-12


def _both(net: Network, index: int) -> tuple[Steps, Steps]:
    rows, columns = _steps(net, index, 0)
    assert rows is not None
    assert columns is not None
    return rows, columns


def _steps(net: Network, index: int, position: int) -> tuple[Steps | None, Steps | None]:
    """Return the windows along rows and columns in which a step reads one of its inputs."""
    relation = net.receptive_fields.relation
    return steps_of(relation(index, position, 0)), steps_of(relation(index, position, 1))


def _down(net: Network, start: int, changes: Changes, pools: bool) -> Lattice:
    """Return what all ones at a step's output make at the pixels."""
    graph = net.graph
    reached = {start: Lattice.even()}
    for index in range(start, 0, -1):
        if index not in reached:
            continue
        lattice = reached.pop(index)
        even = isinstance(graph.steps[index].operation, MaxPool) and not pools
        for position, source in enumerate(graph.steps[index].inputs):
            windows: Sequence[Steps | None] = changes.get(index) or _steps(net, index, position)
            if even:
                windows = tuple(
                    own and replace(own, kernel=own.stride, dilation=1) for own in windows
                )
            _pass_on(reached, source, lattice, windows, Sliding)
    return reached.get(0, Lattice.even())


def _up(net: Network, start: int, changes: Changes) -> Lattice | None:
    """Return what all ones at a step's input make at the network's output, if that is a map."""
    graph = net.graph
    reached: dict[int, Lattice] = {}
    for index in range(start, graph.output + 1):
        for position, source in enumerate(graph.steps[index].inputs):
            if index == start or source in reached:
                lattice = Lattice.even() if index == start else reached[source]
                windows = changes.get(index) or _steps(net, index, position)
                _pass_on(reached, index, lattice, windows, Transposed)
    return reached.get(graph.output)


def _pass_on(
    reached: dict[int, Lattice], step: int, lattice: Lattice, windows: Sequence[Steps | None],
    writing: type[Steps],
) -> None:  # fmt: skip
    """Add what a lattice makes at a step, through windows of rows and columns, to what is there.

    Windows of the kind *writing* are written to all their taps, the others are read. Where there is
    none, a value goes to the whole map, and so evenly.
    """
    if None in windows:
        return
    for axis, own in enumerate(windows):
        assert own is not None
        passed = lattice.spread if isinstance(own, writing) else lattice.gathered
        lattice = passed(own, axis)
    reached[step] = reached[step].plus(lattice) if step in reached else lattice
