"""Projection: all channels but one set to nothing, and the signal brought down to pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.errors import RuleError, UnitError, near_matches
from convscope.methods import budget
from convscope.methods.descents import bring_down, images_at_once
from convscope.network import Network
from convscope.network.blocks import block_ends
from convscope.network.cone_descent import Units
from convscope.network.graph import Graph
from convscope.network.ops import Rectifier, ReLU
from convscope.network.rules import Rule, rule_named
from convscope.network.shield import shielded
from convscope.network.walk import ascend
from convscope.records import Projection

SELECTIONS = ("peak", "map")
Progress = Callable[[int, int], None]
"""Called with the units done so far and the units in all."""


@shielded
def project(
    net: Network,
    images: Tensor,
    layer: str,
    channels: Sequence[int] | Tensor | None = None,
    *,
    rule: str = "deconvnet",
    select: str = "peak",
    top: int = 3,
    memory: int | str = budget.DEFAULT,
    progress: Progress | None = None,
) -> Projection:
    """Show what in each image drives channels of a layer, given the switches.

    The image goes up; all channels of the layer but one are set to nothing; the signal comes down
    through the same weights and the pools' recorded switches (Zeiler & Fergus, arXiv 1311.2901,
    sec. 2.1). The signal starts as the activation itself.

    Args:
        net: the network.
        images: [N, C, H, W] in the network's input space.
        layer: a name in ``net.layers``, or a module, which stands for its last layer.
        channels: K channels; or [N, K], each image its own; None for each image's *top* strongest.
        rule: ``"deconvnet"``, ``"guided"`` or ``"gradient"``; see :mod:`convscope.network.rules`.
        select: ``"peak"`` keeps the single strongest activation of the channel, ``"map"`` all.
        top: how many channels to take when none is given.
        memory: bytes, or a text such as ``"2GB"``, for what the walks hold besides the result.
        progress: called with the units done and the units in all.

    Returns:
        the projections, one an image and channel.

    Raises:
        UnitError: if there is no such layer, channel or selection.
        RuleError: if there is no such rule, or it means nothing here.
        ImageError: if the images do not fit.

    >>> import torch
    >>> from torch import nn
    >>> convolution = nn.Conv2d(1, 1, 2, bias=False)
    >>> _ = nn.init.constant_(convolution.weight, 1.0)
    >>> net = Network(nn.Sequential(convolution, nn.ReLU()), torch.zeros(1, 1, 3, 3))
    >>> image = torch.tensor([[[[1.0, 0, 0], [0, 5, 1], [0, 1, 0]]]])
    >>> p = project(net, image, layer="1", channels=[0])
    >>> p.activation.item(), p.position.tolist(), p.window.tolist()
    (7.0, [[[1, 1]]], [[[1, 1, 3, 3]]])
    >>> p.pixels[0, 0, 0]
    tensor([[0., 0., 0.],
            [0., 7., 7.],
            [0., 7., 7.]])

    """
    request = _Request(net, net.step(layer), channels, chosen_rule(net, rule), select, top)
    request.check()
    return _project(request, net.checked(images), budget.parse_bytes(memory), progress)


@shielded
def strongest_maps(
    net: Network,
    images: Tensor,
    *,
    rule: str = "deconvnet",
    select: str = "peak",
    top: int = 1,
    memory: int | str = budget.DEFAULT,
    progress: Progress | None = None,
) -> list[Projection]:
    """Project the strongest feature maps at the end of each block of the network.

    A block is what lies between two changes of resolution; for VGG16 that gives one picture a
    block, as in the 2018 study. Arguments and errors are those of :func:`project`.

    >>> import torch
    >>> from torch import nn
    >>> net = Network(
    ...     nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3)),
    ...     torch.zeros(1, 3, 12, 12),
    ... )
    >>> [p.layer for p in strongest_maps(net, torch.ones(1, 3, 12, 12))]
    ['1', '3']
    """
    checked, images = chosen_rule(net, rule), net.checked(images)
    ends = block_ends(net.graph)
    if not ends:
        raise UnitError(f"{net.name} has no feature maps of its own to show: name a layer")
    found = []
    for place, end in enumerate(ends):
        request = _Request(net, end, None, checked, select, top)
        request.check()
        found.append(_project(request, images, budget.parse_bytes(memory), None))
        if progress:
            progress(place + 1, len(ends))
    return found


def chosen_rule(net: Network, name: str) -> Rule:
    """Return the rule called *name* if it means something on *net*.

    Raises:
        RuleError: if there is no such rule, or the network has no rectifier and the rule needs one.

    """
    rule = rule_named(name)
    if rule.needs_rectifier and not any(
        isinstance(s.operation, Rectifier) for s in net.graph.steps
    ):
        raise RuleError(
            f"{net.name} has no rectifier (ReLU or the like), and rule {name!r} differs from the "
            f"gradient there only: use rule 'gradient'"
        )
    return rule


@dataclass(frozen=True)
class _Request:
    """What is asked for, before any image is seen."""

    net: Network
    start: int
    channels: Sequence[int] | Tensor | None
    rule: Rule
    select: str
    top: int

    @property
    def graph(self) -> Graph:
        return self.net.graph

    @property
    def layer(self) -> str:
        return self.graph.steps[self.start].name

    @property
    def channel_count(self) -> int:
        return self.graph.steps[self.start].shape[1]

    def check(self) -> None:
        """Refuse what the network does not have, before the work."""
        if self.select not in SELECTIONS:
            hint = near_matches(self.select, SELECTIONS)
            raise UnitError(f"select is 'peak' or 'map', not {self.select!r}{hint}")
        chosen = [] if self.channels is None else torch.as_tensor(self.channels).flatten().tolist()
        self.net.check_units(self.start, chosen)
        if self.channels is None and self.top < 1:
            raise UnitError(f"the number of strongest channels must be at least 1, not {self.top}")

    def notes(self) -> tuple[str, ...]:
        """Return what a picture must say: where the rule was not the published one."""
        steps = [self.graph.steps[i] for i in self.graph.needed_for([self.start])]
        notes = list(self.net.notes)
        if self.rule.needs_rectifier:
            names = {
                s.operation.kind if s.operation.tabled else s.call.name
                for s in steps
                if s.call and not s.operation.published
            }
            if names:
                notes.append(f"derivative instead of a rule at: {', '.join(sorted(names))}")
            smooth = {
                s.call.name
                for s in steps
                if s.call
                and isinstance(s.operation, Rectifier)
                and not isinstance(s.operation, ReLU)
            }
            if smooth:
                notes.append(f"taken as rectifiers: {', '.join(sorted(smooth))}")
        return tuple(notes)


def _project(
    request: _Request, images: Tensor, memory: int, progress: Progress | None
) -> Projection:
    parts = []
    done = 0

    def advance(units: int) -> None:
        nonlocal done
        done += units
        if progress:
            progress(done, total)

    chosen = _channels_per_image(request, len(images))
    total = len(images) * (
        chosen.shape[1] if chosen is not None else min(request.top, request.channel_count)
    )
    chunk = images_at_once(request.graph, [request.start], images, memory)
    for begin in range(0, len(images), chunk):
        part = slice(begin, begin + chunk)
        parts.append(
            _project_chunk(
                request, images[part], None if chosen is None else chosen[part], memory, advance
            )
        )
    pixels, activation, position, channels = (torch.cat(p) for p in zip(*parts, strict=True))
    return Projection(
        pixels=pixels,
        activation=activation,
        position=position,
        window=_windows(request, position),
        channels=channels,
        receptive_field=_receptive_field(request),
        layer=request.layer,
        rule=request.rule.name,
        select=request.select,
        network=request.net.name,
        notes=request.notes(),
    )


def _channels_per_image(request: _Request, images: int) -> Tensor | None:
    if request.channels is None:
        return None
    channels = torch.as_tensor(request.channels, dtype=torch.int64)
    if channels.dim() == 1:
        channels = channels.expand(images, -1)
    if channels.dim() != 2 or len(channels) != images or not channels.shape[1]:
        raise UnitError("channels must be a list of numbers, or one such list an image")
    return channels


def _project_chunk(
    request: _Request,
    images: Tensor,
    channels: Tensor | None,
    memory: int,
    advance: Callable[[int], None],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    ascent = ascend(request.graph, images, [request.start], request.rule)
    maps = ascent.maps[request.start]
    flat = maps.flatten(2) if maps.dim() == 4 else maps[:, :, None]
    peaks, places = flat.max(dim=2)
    if channels is None:
        channels = peaks.topk(min(request.top, peaks.shape[1]), dim=1).indices
    channels = channels.to(maps.device)
    activation, place = peaks.gather(1, channels), places.gather(1, channels)
    width = maps.shape[3] if maps.dim() == 4 else 1
    rows, columns = place // width, place % width
    pixels = images.new_zeros(*channels.shape, *images.shape[1:])
    owners = torch.arange(len(channels), device=maps.device).repeat_interleave(channels.shape[1])
    units = Units(request.start, owners, *(t.flatten() for t in (channels, rows, columns)))
    flat_pixels = pixels.flatten(0, 1)
    bring_down(
        request.net, ascent, units, request.rule, flat_pixels, memory, request.select, advance
    )
    return pixels, activation, torch.stack([rows, columns], dim=2), channels


def _receptive_field(request: _Request) -> tuple[int, int]:
    if request.select == "map":
        top, left, bottom, right = request.net.receptive_fields.map_window(request.start)
        return bottom - top, right - left
    return request.net.receptive_fields.size(request.start)


def _windows(request: _Request, position: Tensor) -> Tensor:
    fields = request.net.receptive_fields
    if request.select == "map":
        window = fields.map_window(request.start)
        return torch.tensor(window).expand(*position.shape[:2], 4).clone()
    places = position.flatten(0, 1).tolist()
    windows = [fields.window(request.start, row, column) for row, column in places]
    return torch.tensor(windows).view(*position.shape[:2], 4)
