"""Projection: all channels but one set to nothing, and the signal brought down to pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import torch
from torch import Tensor

from convscope.errors import UnitError, check_known
from convscope.methods import budget, not_finite
from convscope.methods.descents import bring_down, images_at_once
from convscope.methods.pictures import Images, channel_names, read, with_answers
from convscope.methods.projection import Projection
from convscope.methods.ranking import (
    Reference,
    check_rank,
    chosen_rank,
    clamped,
    strongest,
    typical_peaks,
)
from convscope.methods.rules import chosen_rule, rule_notes
from convscope.network import Network
from convscope.network.blocks import block_ends
from convscope.network.layers import LayerName, listed
from convscope.network.rules import Rule, rule_named
from convscope.network.shield import shielded
from convscope.network.typical import TypicalPeaks
from convscope.network.walk import Ascent, ascend
from convscope.network.windows.cone_descent import Units
from convscope.network.windows.fields import is_empty

SELECTIONS = ("peak", "map")
TOP_OF_A_LAYER, TOP_OF_A_BLOCK = 6, 1
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@shielded
@budget.holding
def project(
    net: Network,
    images: Images,
    layer: LayerName | Sequence[LayerName] | None = None,
    channels: Sequence[int] | Tensor | None = None,
    *,
    rule: str = "deconvnet",
    select: str = "peak",
    rank: str | None = None,
    reference: Reference | None = None,
    top: int | None = None,
    titles: Sequence[str] | None = None,
    memory: int | str = budget.DEFAULT,
    progress: budget.Progress | None = None,
) -> Projection:
    """Show what in each image drives channels of one or more layers, given the switches.

    The image goes up; all channels of the layer but one are set to nothing; the signal comes down
    through the same weights and the pools' recorded switches (Zeiler & Fergus, arXiv 1311.2901,
    sec. 2.1). The signal starts as the activation itself.

    Args:
        net: the network.
        images: [N, C, H, W] in the network's input space, or picture files.
        layer: a name in ``net.layers``, or a module, which stands for its last layer; several in a
            list; None for the end of each block of the network. A block is what lies between two
            changes of resolution: VGG16 has five, as in the 2018 study.
        channels: of each layer named; or [N, K], each image its own; None for the strongest.
        rule: how the signal comes down, a name in :data:`convscope.network.rules.RULES`:
            ``"deconvnet"``, ``"guided"``, ``"gradient"``, ``"rectgrad"``, or one that shares
            relevance, such as ``"epsilon-plus"``, after which a pixel's value is its share in the
            activation.
        select: ``"peak"`` keeps the single strongest activation of the channel, ``"map"`` all.
        rank: which channels are the strongest where none is given: ``"raw"``, those with the
            largest peaks; ``"relative"``, those whose peaks are the largest over what the channel
            typically reaches, so that neither a channel of large numbers nor one that lights up
            at every picture's border wins. By default relative where that is known. Equal peaks of
            a clamp, as ReLU6, are told apart by the values before it.
        reference: what channels typically reach: a :class:`Scan` of the network, or the path of its
            atlas; the median of each channel's peaks counts. By default what ships with the bundled
            networks.
        top: how many of each image's strongest channels to take of a layer where none is given:
            by default 6, or 1 of each block where no layer is named.
        titles: one an image; by default the names of the files, or numbers.
        memory: bytes, or a text such as ``"2GB"``, for what the walks hold besides the result.
        progress: called with the units done and the units in all.

    Raises:
        UnitError: if there is no such layer, channel, selection or rank, or ranking is to be
            relative to what is not known.
        DataError: if the reference cannot be read, or is of another network.
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
    check_choices(rule, select, layer, channels, top, rank)
    typical = typical_peaks(net, reference)
    net = net.fitting(images)
    request = Request.of(net, layer, channels, rule, select, top, rank, typical)
    checked, names = read(net, images, titles)
    room, kept, chosen = budget.parse_bytes(memory), request.kept(), request.per_image(len(checked))
    done, total = 0, len(checked) * len(request.units)

    def advance(units: int) -> None:
        nonlocal done
        done += units
        if progress:
            progress(done, total)

    at_once = images_at_once(net.graph, kept, room, request.rule)
    parts = []
    for begin in range(0, len(checked), at_once):
        part = slice(begin, begin + at_once)
        ascent = ascend(net.graph, checked[part], kept, request.rule)
        own = None if chosen is None else chosen[part]
        parts.append(descended(request, ascent, checked[part], names[part], room, own, advance))
    return parts[0] if len(parts) == 1 else _joined(parts)


def check_choices(
    rule: str,
    select: str,
    layer: LayerName | Sequence[LayerName] | None,
    channels: Sequence[int] | Tensor | None,
    top: int | None,
    rank: str | None = None,
) -> None:
    """Refuse choices that mean nothing whatever the network; see :func:`project`."""
    rule_named(rule)
    check_rank(rank)
    check_known("select", select, SELECTIONS, UnitError)
    if channels is not None and layer is None:
        raise UnitError("a channel number means nothing without its layer: name one")
    if channels is not None and rank is not None:
        raise UnitError("rank tells which channels are strongest where none is named: leave it out")
    if channels is not None and top is not None:
        raise UnitError("top takes the strongest channels where none is named: leave out one")
    if top is not None and top < 1:
        raise UnitError(f"the number of strongest channels must be at least 1, not {top}")
    if isinstance(layer, list | tuple):
        for one in layer:
            if layer.count(one) > 1:
                raise UnitError(f"layer {one} is given twice")


def layers_shown(
    net: Network,
    layer: LayerName | Sequence[LayerName] | None,
    channels: Sequence[int] | Tensor | None,
    top: int | None,
) -> list[str]:
    """Return the layer of each unit that :func:`project` shows of an image."""
    request = Request.of(net, layer, channels, "gradient", "peak", top)
    return [net.graph.steps[step].name for step in request.units]


def _steps(
    net: Network,
    layer: LayerName | Sequence[LayerName] | None,
    top: int | None,
) -> tuple[list[int], int]:
    """Return the steps of the layers asked for, and how many channels to take of each."""
    if layer is None:
        steps = block_ends(net.graph)
        if not steps:
            raise UnitError(f"{net.name} has no feature maps of its own to show: name a layer")
        return steps, TOP_OF_A_BLOCK if top is None else top
    given = listed(layer)
    steps = [net.step(one) for one in given]
    for step in steps:
        if steps.count(step) > 1:
            same = [str(name) for name, s in zip(given, steps, strict=True) if s == step]
            raise UnitError(f"{' and '.join(map(repr, same))} are the same layer")
    return steps, TOP_OF_A_LAYER if top is None else top


@dataclass(frozen=True)
class Request:
    """What is asked for, before any image is seen."""

    net: Network
    steps: list[int]
    channels: Sequence[int] | Tensor | None
    rule: Rule
    select: str
    top: int
    rank: str
    """How the strongest channels are found; empty where they are given."""
    typical: TypicalPeaks | None

    @classmethod
    def of(
        cls,
        net: Network,
        layer: LayerName | Sequence[LayerName] | None,
        channels: Sequence[int] | Tensor | None,
        rule: str,
        select: str,
        top: int | None,
        rank: str | None = None,
        typical: TypicalPeaks | None = None,
    ) -> "Request":
        """Return the request, if the network has what is asked for."""
        steps, top = _steps(net, layer, top)
        try:
            given = torch.as_tensor([] if channels is None else channels).flatten()
        except (ValueError, TypeError, RuntimeError) as error:  # too large, or no numbers
            raise UnitError("channels are numbers of feature maps, such as [0, 5]") from error
        if len(given) and given.dtype not in INTEGERS:
            raise UnitError(f"channels are whole numbers, not {given[0].item():g}")
        chosen = given.tolist()
        for step in steps:
            net.check_units(step, chosen)
        typical = typical or net.typical
        own = chosen_rank(net.graph, steps, rank, typical) if channels is None else ""
        return cls(net, steps, channels, chosen_rule(net, rule), select, top, own, typical)

    def count(self, step: int) -> int:
        """Return how many units are shown of a layer in an image."""
        if self.channels is not None:
            return torch.as_tensor(self.channels).shape[-1]
        return min(self.top, self.net.graph.steps[step].shape[1])

    @property
    def units(self) -> list[int]:
        """The step of each unit that is shown of an image."""
        return [step for step in self.steps for _ in range(self.count(step))]

    def per_image(self, images: int) -> Tensor | None:
        """Return the channels that are asked for, [N, K], of so many images."""
        if self.channels is None:
            return None
        channels = torch.as_tensor(self.channels, dtype=torch.int64)
        if channels.dim() == 1:
            channels = channels.expand(images, -1)
        if channels.dim() != 2 or len(channels) != images or not channels.shape[1]:
            raise UnitError("channels must be a list of numbers, or one such list an image")
        return channels

    @property
    def answering(self) -> int | None:
        """The step that tells what a classifier takes an image for."""
        named = self.net.answer if self.net.classes else None
        return named.step if named is not None and named.kind != "number" else None

    def kept(self) -> list[int]:
        """Return the steps of which a walk up must keep the maps."""
        ranking = [clamped(self.net.graph, step) for step in self.steps]
        answering = [] if self.answering is None else [self.answering]
        return list(dict.fromkeys([*self.steps, *ranking, *answering]))

    def notes(self) -> tuple[str, ...]:
        """Return what a picture must say."""
        return (*self.net.notes, *rule_notes(self.net, self.rule, self.steps))


def _joined(parts: Sequence[Projection]) -> Projection:
    """Return as one what images that went up one after another gave."""
    tensors: dict[str, Any] = {
        name: torch.cat([getattr(part, name) for part in parts]) for name in parts[0].arrays()
    }
    return replace(
        parts[0],
        **tensors,
        names=tuple(names for part in parts for names in part.names),
        titles=tuple(title for part in parts for title in part.titles),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def descended(
    request: Request,
    ascent: Ascent,
    images: Tensor,
    titles: Sequence[str],
    memory: int,
    channels: Tensor | None = None,
    advance: Callable[[int], None] = lambda _: None,
    positions: Tensor | None = None,
) -> Projection:
    """Bring down what is asked for of images that went up together.

    Args:
        request: what is asked for.
        ascent: the walk up, which kept the maps of ``request.kept()``.
        images: [N, C, H, W].
        titles: one an image.
        memory: bytes that the walk down may hold besides the result.
        channels: [N, K] of each layer; None for the strongest.
        advance: called with the number of units that have arrived.
        positions: [N, K, 2], the row and column of each unit; None for its channel's peak.
    """
    net, graph = request.net, request.net.graph
    layers = [
        _of_layer(request, step, ascent, images, channels, positions, memory, advance)
        for step in request.steps
    ]
    # Units of several layers lie side by side.
    pixels, activation, relative, position, channels = (
        torch.cat(own, 1) for own in zip(*layers, strict=True)
    )
    of_units, answering = request.units, request.answering
    finite = all(map(ascent.is_finite, request.steps))
    window, receptive_fields, empty = _read(request, position)
    return Projection(
        images=images,
        pixels=pixels,
        activation=activation,
        relative=relative,
        position=position,
        window=window,
        channels=channels,
        names=tuple(channel_names(net, of_units, row) for row in channels.tolist()),
        layers=tuple(graph.steps[step].name for step in of_units),
        receptive_fields=receptive_fields,
        rule=request.rule.name,
        select=request.select,
        rank=request.rank,
        reference="" if request.typical is None else request.typical.over,
        network=net.name,
        preprocess=net.preprocess,
        titles=with_answers(net, titles, None if answering is None else ascent.maps[answering]),
        notes=(
            *request.notes(),
            *(() if finite else not_finite.notes(net, images, request.steps)),
            *empty,
        ),
    )


def _of_layer(
    request: Request,
    step: int,
    ascent: Ascent,
    images: Tensor,
    channels: Tensor | None,
    positions: Tensor | None,
    memory: int,
    advance: Callable[[int], None],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Bring the units of one layer down, of all images that went up together.

    Returns:
        their pixels, activations, relative activations, positions and channels, [N, K] each.
    """
    graph, maps = request.net.graph, ascent.maps[step]
    flat, unclamped = (
        own.flatten(2) if own.dim() == 4 else own[:, :, None]
        for own in (maps, ascent.maps[clamped(graph, step)])
    )
    width = maps.shape[3] if maps.dim() == 4 else 1
    typical = None if request.typical is None else request.typical.of(graph, step)
    if channels is None:
        divisor = typical if request.rank == "relative" else None
        channels = strongest(flat.amax(2), unclamped.amax(2), divisor, request.count(step))
    channels = channels.to(maps.device)
    image = torch.arange(len(channels), device=maps.device)[:, None]
    if positions is None:
        # Where a clamp, as ReLU6, makes several places equal, the value before it tells the peak.
        place = unclamped[image, channels].max(dim=2).indices
    else:
        place = (positions[..., 0] * width + positions[..., 1]).to(maps.device)
    activation = flat[image, channels, place]
    relative = torch.full_like(activation, nan)
    if typical is not None:
        relative = activation / typical.to(activation)[channels]
    rows, columns = place // width, place % width
    pixels = images.new_zeros(*channels.shape, *images.shape[1:])
    owners = torch.arange(len(channels), device=maps.device).repeat_interleave(channels.shape[1])
    units = Units(step, owners, *(t.flatten() for t in (channels, rows, columns)))
    flat_pixels = pixels.flatten(0, 1)
    bring_down(
        request.net, ascent, units, request.rule, flat_pixels, memory, request.select, advance
    )
    return pixels, activation, relative, torch.stack([rows, columns], dim=2), channels


def _read(
    request: Request, position: Tensor
) -> tuple[Tensor, tuple[tuple[int, int], ...], list[str]]:
    """Return what units at some positions read: windows, receptive fields, and what has no pixel.

    A peak may lie in padding alone, behind which no pixel stands.
    """
    fields, steps = request.net.receptive_fields, request.units
    if request.select == "map":
        row = [fields.map_window(step) for step in steps]
        sizes = tuple((bottom - top, right - left) for top, left, bottom, right in row)
        return torch.tensor([row] * len(position)), sizes, []
    units = [[*zip(steps, row, strict=True)] for row in position.tolist()]
    windows = [[fields.shown(step, *place) for step, place in row] for row in units]
    empty = {
        f"layer {request.net.graph.steps[step].name}: a peak that reads padding alone, no pixel"
        for row in units
        for step, place in row
        if is_empty(fields.window(step, *place))
    }
    return torch.tensor(windows), tuple(map(fields.size, steps)), sorted(empty)
