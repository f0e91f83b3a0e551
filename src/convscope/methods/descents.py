"""Units of a layer on their way down to the images that went up."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod

import torch
from torch import Tensor

from convscope.methods import budget
from convscope.network import Network
from convscope.network.graph import Graph
from convscope.network.ops import MAPS
from convscope.network.rules import Rule
from convscope.network.walk import Ascent, ascend, descend
from convscope.network.windows.cone_descent import Units, descend_units
from convscope.network.windows.winograd import TurnedFilters

Advance = Callable[[int], None]
"""Called with the number of units that have arrived."""


def project_units(
    net: Network,
    images: Tensor,
    layers: Sequence[Units],
    rule: Rule,
    memory: int,
    turned: TurnedFilters | None = None,
) -> Iterator[Tensor]:
    """Bring units of several layers down from one walk up.

    Args:
        net: the network.
        images: [N, C, H, W], no more than :func:`images_at_once` says.
        layers: the units of each layer, with their places in its maps.
        rule: what happens at the rectifiers.
        memory: bytes that the walks down may hold besides the result.
        turned: filters for quick convolutions, where it is pictures that are wanted.

    Yields:
        [U, C, H, W] for each of *layers*, the projections of its units.
    """
    ascent = ascend(net.graph, images, [units.start for units in layers], rule)
    for units in layers:
        pixels = images.new_zeros(len(units.owners), *images.shape[1:])
        bring_down(net, ascent, units, rule, pixels, memory, turned=turned)
        yield pixels


def images_at_once(
    graph: Graph, steps: Sequence[int], memory: int, rule: Rule | None = None
) -> int:
    """Return how many images can go up together if every map of the walk were kept.

    A rule that sees values keeps by what relevance is multiplied besides.
    """
    if not graph.batched:
        return 1
    memory //= 1 if rule is None or rule.composite is None else 3
    needed = (graph.steps[index] for index in {0, *graph.needed_for(steps)})
    one = sum(prod(step.shape) * step.dtype.itemsize for step in needed)
    return max(1, memory // 2 // one)


def bring_down(
    net: Network,
    ascent: Ascent,
    units: Units,
    rule: Rule,
    pixels: Tensor,
    memory: int,
    select: str = "peak",
    advance: Advance = lambda _: None,
    turned: TurnedFilters | None = None,
    stop: int = 0,
) -> None:
    """Bring units down to the images, or to a layer on the way.

    Args:
        net: the network.
        ascent: the walk up, with the same rule and the layer's maps kept.
        units: the units; where *select* is ``"map"``, their places do not matter.
        rule: what happens at the rectifiers.
        pixels: [U, C, H, W], zeros, where the signals at the images, or at that layer, are written.
        memory: bytes that the walk may hold besides.
        select: ``"peak"`` starts with the unit alone, ``"map"`` with its channel's whole map.
        advance: called with the number of units that have arrived.
        turned: filters for quick convolutions, where it is pictures that are wanted.
        stop: the step at whose output the signals are wanted; 0 for the images.
    """
    graph = ascent.graph
    limit = budget.tensor_limit(memory, ascent.maps[units.start].device)
    maps = graph.axes[units.start] == graph.axes[stop] == MAPS and stop not in graph.shown.values()
    if select == "peak" and maps and graph.batched:
        cones = units.cones(graph, net.receptive_fields, stop)
        quick = turned if graph is net.graph else None  # which knows the plain transpose alone
        descend_units(cones, ascent, units, rule, limit, pixels, advance, quick)
        return
    _descend_maps(ascent, units, rule, limit, pixels, select, advance, stop)


def _descend_maps(
    ascent: Ascent,
    units: Units,
    rule: Rule,
    limit: int,
    pixels: Tensor,
    select: str,
    advance: Advance,
    stop: int,
) -> None:
    """Bring whole maps down, as many at once as the limit allows."""
    maps = ascent.maps[units.start]
    one_signal = maps[0].numel() * maps.element_size()
    at_once = max(1, limit // one_signal) if ascent.graph.batched else 1
    down = partial(descend, ascent, units.start, rule=rule, limit=limit, stop=stop)
    for begin in range(0, len(units.owners), at_once):
        part = units.part(slice(begin, begin + at_once))
        signal = _starting_signal(maps, part, select)
        pixels[begin : begin + at_once] = down(signal, part.owners, channels=part.channels)
        advance(len(part.owners))


def _starting_signal(maps: Tensor, units: Units, select: str) -> Tensor:
    """Return maps that are nothing but one channel, or one position of it; one a unit."""
    layout = torch.channels_last if maps.dim() == 4 else torch.contiguous_format
    owners, channels = units.owners, units.channels
    signal = torch.empty(
        (len(owners), *maps.shape[1:]), dtype=maps.dtype, device=maps.device, memory_format=layout
    ).zero_()
    unit = torch.arange(len(owners), device=maps.device)
    if units.signals is not None:
        signal[unit, channels] = units.signals.view(len(owners), *maps.shape[2:])
    elif select == "map" or maps.dim() == 2:
        signal[unit, channels] = maps[owners, channels]
    else:
        rows, columns = units.rows, units.columns
        signal[unit, channels, rows, columns] = maps[owners, channels, rows, columns]
    return signal
