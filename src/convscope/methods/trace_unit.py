"""A unit traced down: which channels feed it, which feed those, and where each lies in the image.

It is concept relevance propagation (Achtibat et al. 2022, arXiv 2206.03208, sec. 3): a unit's
relevance is shared among the channels of a layer below; then that of one channel alone, all others
set to nothing, among those of the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, ClassVar

import torch
from torch import Tensor

from convscope.errors import RuleError, UnitError
from convscope.methods import budget, not_finite
from convscope.methods.descents import bring_down
from convscope.methods.pictures import channel_names, read_one
from convscope.methods.project import Request
from convscope.methods.projection import Projection
from convscope.methods.ranking import clamped
from convscope.network import Network
from convscope.network.blocks import block_ends, feature_maps, feeds
from convscope.network.layers import LayerName, listed
from convscope.network.ops import MAPS
from convscope.network.rules import RULES, rule_named
from convscope.network.shield import shielded
from convscope.network.walk import Ascent, ascend
from convscope.network.windows.cone_descent import Units
from convscope.reading import Picture

DEEP = 3
"""How many layers a tree goes down where none is named."""


@dataclass(frozen=True, eq=False, repr=False)
class UnitTrace(Projection):
    """A unit's feeders, and theirs: a tree of channels down to pixels.

    It is a :class:`Projection` of one image, whose K units are the tree's nodes: the unit itself,
    its feeders, all of theirs, and so on, the strongest of each first. Their activation is their
    relevance, what of the unit's activation comes through them; their position the place in the
    map with most of it; their pixels, of one channel, the relevance in the window that this place
    reads, by the whole map.

    Attributes:
        parent: [K], int64, the number of the node that each feeds; -1 for the unit itself.
        share: [K], the relevance over the parent's.
    """

    parent: Tensor
    share: Tensor

    figure: ClassVar[str] = "trace_unit"
    measure: ClassVar[str] = "relevance"

    def feeders(self, node: int) -> list[int]:
        """Return the numbers of the nodes that feed one, the strongest first."""
        return [int(n) for n in (self.parent == node).nonzero()]

    def table(self) -> list[dict[str, Any]]:
        """Return a row a node: layer, channel, what it feeds, its relevance and where that is."""
        return [
            {"node": n, "parent": parent, "share": share, "relevance": row["activation"],
             **{name: row[name] for name in row if name not in ("image", "activation", "relative")}}
            for n, (row, parent, share) in enumerate(
                zip(super().table(), self.parent.tolist(), self.share.tolist(), strict=True)
            )
        ]  # fmt: skip

    def summary(self) -> str:
        """Return a line a node; the last layer's stand behind what they feed."""
        lines, rows = list[str](), self.table()

        def tell(number: int, deep: int) -> None:
            row, feeders = rows[number], self.feeders(number)
            said = f"{row['share']:.1%}" if deep else f"activation {row['relevance']:.4g}"
            lines.append(f"{'  ' * deep}{row['layer']}  {row['name']}  {said}")
            if feeders and not any(map(self.feeders, feeders)):
                own = [f"{rows[n]['channel']} {rows[n]['share']:.1%}" for n in feeders]
                lines[-1] += f"; {self.layers[feeders[0]]}: {', '.join(own)}"
                return
            for feeder in feeders:
                tell(feeder, deep + 1)

        tell(0, 0)
        return "\n".join(lines)


@shielded
@budget.holding
def trace_unit(
    net: Network,
    image: Tensor | Picture,
    layer: LayerName,
    channel: int,
    position: tuple[int, int] | None = None,
    *,
    to: LayerName | Sequence[LayerName] | None = None,
    top: int = 5,
    rule: str = "epsilon-plus",
    title: str | None = None,
    memory: int | str = budget.DEFAULT,
    progress: budget.Progress | None = None,
) -> UnitTrace:
    """Trace a unit down to the channels that feed it, to those that feed them, and to pixels.

    Args:
        net: the network.
        image: a picture file or a Pillow image, or [1, C, H, W] in the network's input space.
        layer: the unit's layer.
        channel: its feature map, or its number where a layer has single values.
        position: its row and column in that map; None for the map's peak.
        to: the layers to go through; by default the last feature maps of the three blocks below,
            or the last ones of all where the layer has single values.
        top: how many feeders of each channel to follow, those with most relevance of either sign.
        rule: one of :data:`convscope.network.rules.RULES` that shares relevance.
        title: what the image is called; by default the file's name.
        memory: bytes, or a text such as ``"2GB"``, for what the walks hold besides the result.
        progress: called with the layers done and the layers in all.

    Raises:
        UnitError: if there is no such unit, or it is zero, or a layer does not feed it, or *top*
            is none.
        RuleError: if there is no such rule, or it shares no relevance.
        ImageError: if the image does not fit.

    >>> from torch import nn
    >>> below, above = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 1, 1, bias=False)
    >>> below.weight.data = torch.tensor([2.0, 1.0]).view(2, 1, 1, 1)
    >>> above.weight.data = torch.ones(1, 2, 1, 1)
    >>> net = Network(nn.Sequential(below, nn.ReLU(), above), (1, 1, 2, 2))
    >>> trace_unit(net, torch.ones(1, 1, 2, 2), "2", 0, to="1")
    2  channel 0  activation 3; 1: 0 66.7%, 1 33.3%
    """
    if top < 1:
        raise UnitError(f"the number of strongest channels must be at least 1, not {top}")
    if rule_named(rule).composite is None:
        sharing = ", ".join(name for name, one in RULES.items() if one.composite)
        raise RuleError(f"rule {rule!r} shares no relevance among channels: take one of {sharing}")
    net = net.fitting(image).laid_out()
    checked, name = read_one(net, image, "traced through", title)
    request = Request.of(net, layer, [channel], rule, "peak", None)
    (start,) = request.steps
    net.check_units(start, position=position)
    steps, before = _steps(net, start, to), clamped(net.graph, start)
    ascent = ascend(net.graph, checked, [start, before, *steps], request.rule)
    work = _TraceWork(request, ascent, checked, budget.parse_bytes(memory))
    own, signal = (ascent.maps[step][0, channel] for step in (start, before))
    place = signal.argmax() if position is None else position[0] * own.shape[1] + position[1]
    signal = own.new_zeros(own.shape)
    signal.view(-1)[place] = own.reshape(-1)[place]
    if not signal.any():
        raise UnitError(f"channel {channel} of layer {layer!r} is 0 there: nothing feeds it")
    nothing = torch.full((1,), -1, device=own.device)
    wide = own.shape[1] if own.dim() else 1
    levels = [_Level(start, nothing, nothing * 0 + channel, signal.view(1, -1, wide))]
    for done, below in enumerate(steps, start=1):
        level = work.feeders(levels[-1], below, top)
        if not len(level.channels):
            break
        levels.append(level)
        if progress:
            progress(done, len(steps))
    finite = all(map(ascent.is_finite, [start, before]))
    notes = () if finite else not_finite.notes(net, checked, [start, before])
    return work.traced(levels, name, notes)


def _steps(net: Network, start: int, to: LayerName | Sequence[LayerName] | None) -> list[int]:
    """Return the steps to go through, from the top down."""
    graph = net.graph
    if to is None:
        ends, last = ([end for end in own(graph) if feeds(graph, end, start)]
                      for own in (block_ends, feature_maps))  # fmt: skip
        if max(graph.steps[start].shape[2:], default=1) == 1:  # a class's own block has maps too
            ends = sorted({*ends, *last[-1:]})
        return (ends or last)[: -DEEP - 1 : -1]
    steps = sorted({net.step(one) for one in listed(to)}, reverse=True)
    for above, below in zip([start, *steps], steps, strict=False):
        net.check_units(below)
        if not feeds(graph, below, above):
            names = [graph.steps[step].name for step in (below, above)]
            raise UnitError(
                f"layer {names[0]!r} is no feeder of layer {names[1]!r}: no layer with weights "
                f"lies on a way from the one up to the other"
            )
    return steps


@dataclass(frozen=True)
class _Level:
    """The nodes of one layer.

    Attributes:
        step: the layer's.
        parents: [U], the places of those that they feed in the level above.
        channels: [U].
        signals: [U, H, W], the relevance in each channel.
        pictures: of some nodes after the other, if they were made on the way to the level below.
    """

    step: int
    parents: Tensor
    channels: Tensor
    signals: Tensor
    pictures: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    def units(self, part: slice) -> Units:
        """Return some of the nodes, as what a walk down starts with."""
        channels = self.channels[part]
        corner = torch.zeros_like(channels)
        return Units(self.step, corner, channels, corner, corner, self.signals[part])


@dataclass(frozen=True)
class _TraceWork:
    """A walk up, and the walks down from it."""

    request: Request
    ascent: Ascent
    image: Tensor
    memory: int

    def down(self, units: Units, found: Tensor, stop: int = 0) -> None:
        """Bring units down to pixels or to a layer, into *found*."""
        request, memory = self.request, self.memory
        bring_down(request.net, self.ascent, units, request.rule, found, memory, stop=stop)

    def feeders(self, level: _Level, below: int, count: int) -> _Level:
        """Return the strongest feeders of each node of a level."""
        maps, graph = self.ascent.maps[below], self.ascent.graph
        # Where all that comes down passes the layer below, the nodes' pictures go on from there.
        passed = (
            graph.batched
            and graph.axes[below] == MAPS
            and not any(
                source < below < index
                for index in graph.needed_for([level.step])
                for source in graph.steps[index].inputs
            )
        )
        limit = budget.tensor_limit(2 * self.memory, maps.device)
        at_once = max(1, limit // (maps[0].numel() * maps.element_size()))
        parts = []
        for begin in range(0, len(level.channels), at_once):
            part = slice(begin, begin + at_once)
            units = level.units(part)
            down = maps.new_zeros(len(units.channels), *maps.shape[1:])
            self.down(units, down, below)
            found = down.view(*down.shape[:2], -1, maps.shape[3] if maps.dim() == 4 else 1)
            sums = found.sum((2, 3))
            strongest = sums.abs().topk(min(count, sums.shape[1])).indices
            parents, ranks = sums.gather(1, strongest).nonzero().T
            channels = strongest[parents, ranks]
            parts.append((parents + begin, channels, found[parents, channels]))
            if passed:
                level.pictures.append(self._pictures(level, part, below, down))
        parents, channels, signals = (torch.cat(own) for own in zip(*parts, strict=True))
        return _Level(below, parents, channels, signals)

    def traced(self, levels: Sequence[_Level], title: str, notes: Sequence[str]) -> UnitTrace:
        """Return the tree, with a picture of each node and some notes more."""
        pictures = [own for level in levels for own in level.pictures or [self._pictures(level)]]
        pixels, position, window = map(torch.cat, zip(*pictures, strict=True))
        relevance = torch.cat([level.signals.sum((1, 2)) for level in levels])
        begins = [0, 0, *accumulate(len(level.channels) for level in levels)]
        parent = torch.cat([own.parents + at for own, at in zip(levels, begins, strict=False)])
        net, steps = self.request.net, [level.step for level in levels for _ in level.channels]
        channels = torch.cat([level.channels for level in levels])
        share = relevance / relevance[parent.clamp(min=0)]
        return UnitTrace(
            images=self.image, pixels=pixels[None], activation=relevance[None],
            relative=torch.full_like(relevance, torch.nan)[None], position=position[None],
            window=window[None], channels=channels[None], parent=parent, share=share,
            names=(channel_names(net, steps, channels.tolist()),),
            layers=tuple(net.graph.steps[step].name for step in steps),
            receptive_fields=tuple(map(net.receptive_fields.size, steps)), select="map",
            rule=self.request.rule.name, rank="", reference="", network=net.name,
            preprocess=net.preprocess, titles=(title,), notes=(*self.request.notes(), *notes),
        )  # fmt: skip

    def _pictures(
        self, level: _Level, part: slice = slice(None), below: int = 0, down: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return some nodes' pixels, [U, 1, H, W], their places, and what these read.

        *down*, [U, C, H, W], is all that came down from them to the layer *below*.
        """
        fields, signals = self.request.net.receptive_fields, level.signals[part]
        size = signals.shape[1:]
        places = signals.flatten(1).abs().argmax(1)
        position = torch.stack([places // size[1], places % size[1]], 1)
        windows = [fields.shown(level.step, *at) for at in position.tolist()]
        window = torch.tensor(windows)
        units, (rows, columns) = level.units(part), position.T
        if down is not None:
            units = replace(units, start=below, signals=down)
            rows, columns = (
                at * many // few
                for at, many, few in zip(position.T, down.shape[2:], size, strict=True)
            )
        units = replace(units, rows=rows, columns=columns, windows=window)
        pixels = self.image.new_zeros(len(windows), *self.image.shape[1:])
        self.down(units, pixels)
        shown = torch.zeros_like(pixels[:, :1])
        for n, (top, left, bottom, right) in enumerate(windows):
            inside = (n, slice(None), slice(top, bottom), slice(left, right))
            shown[inside] = pixels[inside].sum(0)
        return shown, position, window
