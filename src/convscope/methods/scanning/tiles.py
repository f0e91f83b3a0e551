"""Tiles: the patch that a unit reads in an image and what drives it there, side by side."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope.display import (
    DisplayScale,
    as_array,
    averaged,
    beyond,
    display_scale,
    presentable,
    to_display,
)
from convscope.images import Preprocess
from convscope.methods.descents import images_at_once, project_units
from convscope.methods.projection import shown_values
from convscope.methods.scanning.batches import in_order
from convscope.methods.scanning.image_pass import single_threads
from convscope.methods.scanning.result import LayerScan
from convscope.network import Network, freed
from convscope.network.rules import Rule
from convscope.network.windows.cone_descent import Units
from convscope.network.windows.winograd import TurnedFilters

Picture = npt.NDArray[np.uint8]

ENLARGED_TO = 64
"""Smaller fields are enlarged, each pixel to a square of whole pixels, to at least this side."""

REDUCED_TO = 96
"""Larger fields are averaged down to this side."""

MOST_IMAGES = 128
FILTERS = 2
"""Quick convolutions' filters may take this part of the memory: for VGG16's they are 231 MB."""

MOST_PIXELS_ENLARGED = 48
FULL = 0.9
"""Share of its square that a tile must fill to be enlarged by a whole number."""

OUTSIDE, HATCH = 0x80, 0x98
"""Greys about that of zero, which is what a network pads with; neither page makes them shine."""


@dataclass(frozen=True)
class EntryTile:
    """One of a channel's strongest entries, as it is shown.

    Attributes:
        patch: uint8 [H, W, 3], what the unit reads; hatched beyond the image.
        projection: uint8 [H, W, 3], what drives it there: zero is mid-grey; hatched as well.
        window: top, left, bottom, right of the receptive field within the image.
        scale: the scale that the projection is shown on.
    """

    patch: Picture
    projection: Picture
    window: tuple[int, int, int, int]
    scale: DisplayScale


@dataclass(frozen=True)
class TileShape:
    """How large the tiles of a layer are.

    Attributes:
        height, width: of a tile, in pixels.
        factor: pixels of a tile a pixel of the image; a whole number where it is above 1.
    """

    height: int
    width: int
    factor: float

    @classmethod
    def of(cls, field: tuple[int, int], image: tuple[int, int]) -> "TileShape":
        """Return the shape for a receptive field in images of a size.

        >>> TileShape.of((3, 3), (32, 32)), TileShape.of((500, 500), (224, 224))
        (TileShape(height=66, width=66, factor=22), TileShape(height=96, width=96, factor=0.42...))
        """
        height, width = (min(f, i) for f, i in zip(field, image, strict=True))
        side = max(height, width)
        factor: float = 1
        if side <= MOST_PIXELS_ENLARGED:
            factor = -(-ENLARGED_TO // side)
        elif side > REDUCED_TO:
            factor = REDUCED_TO / side
        return cls(max(1, round(height * factor)), max(1, round(width * factor)), factor)


def drawn_tiles(
    net: Network,
    layers: Sequence[LayerScan],
    images: Callable[[int], Tensor],
    rule: Rule,
    memory: int,
) -> Iterator[tuple[str, int, int, EntryTile]]:
    """Yield (layer, channel, rank, tile) for every entry of some layers.

    Each image goes up once for all its entries; groups of images run side by side, one thread each.
    This thread alone calls *images*, which gives that of a number, [C, H, W]. The memory is for
    filters, and for the walks of all groups; one image alone may take more.
    """
    steps = [net.step(layer.read_at) for layer in layers]
    fitting = images_at_once(net.graph, steps, memory, rule)  # by one worker, of one image each
    # Each worker holds the maps of one image at least, so there are no more than images that fit.
    workers = min(torch.get_num_threads(), fitting) if net.device.type == "cpu" else 1
    room = (memory - memory // FILTERS) // workers
    turned = TurnedFilters(memory // FILTERS)
    work = _TileWork(net, {layer.name: layer for layer in layers}, rule, room, turned)
    loaded = (
        (torch.stack([images(number) for number in group]), group) for group in work.groups(workers)
    )
    with single_threads(workers) as pool:
        # One group more than workers: none is idle while its tiles are taken.
        for tiles in in_order(pool, lambda own: work.tiles(*own), loaded, workers):
            yield from tiles
            freed.hand_back()


Entries = dict[int, list[tuple[str, int, int]]]
"""Image number -> its entries: layer, channel, rank."""


@dataclass(frozen=True)
class _TileWork:
    _net: Network
    _layers: dict[str, LayerScan]
    _rule: Rule
    _memory: int
    _turned: TurnedFilters

    def groups(self, workers: int) -> Iterator[Entries]:
        """Yield images with their entries, as many images as can go up together."""
        entries: Entries = {}
        for name, layer in self._layers.items():
            for channel, rank in zip(*(layer.image >= 0).nonzero(), strict=True):
                number = int(layer.image[channel, rank])
                entries.setdefault(number, []).append((name, int(channel), int(rank)))
        steps = [self._net.step(layer.read_at) for layer in self._layers.values()]
        fitting = images_at_once(self._net.graph, steps, self._memory, self._rule)
        numbers = sorted(entries)
        shared = -(-len(numbers) // (2 * workers))  # so few images still keep all workers busy
        at_once = max(1, min(MOST_IMAGES, fitting, shared))
        for begin in range(0, len(numbers), at_once):
            yield {number: entries[number] for number in numbers[begin : begin + at_once]}

    def tiles(self, images: Tensor, group: Entries) -> list[tuple[str, int, int, EntryTile]]:
        """Return the tiles of a group's *images*, [N, C, H, W]."""
        net = self._net
        parts = self._parts(group)
        units = [self._units(name, part) for name, part in parts]
        pictures = [picture(net.preprocess, image) for image in images]
        projected = project_units(
            net, net.checked(images), units, self._rule, self._memory, self._turned
        )
        tiles = []
        for (name, part), pixels in zip(parts, projected, strict=True):
            for (owner, channel, rank), own in zip(part, pixels.cpu(), strict=True):
                tile = self._tile(name, pictures[owner], own, channel, rank)
                tiles.append((name, channel, rank, tile))
        return tiles

    def _parts(self, group: Entries) -> list[tuple[str, list[tuple[int, int, int]]]]:
        """Return a group's entries as (place of the image, channel, rank), layer by layer.

        Projections come at the size of the image, so that a layer may be in several parts.
        """
        by_layer: dict[str, list[tuple[int, int, int]]] = {}
        for owner, entries in enumerate(group.values()):
            for name, channel, rank in entries:
                by_layer.setdefault(name, []).append((owner, channel, rank))
        most = max(1, self._memory // 8 // (4 * int(np.prod(self._net.input_shape))))
        return [
            (name, entries[begin : begin + most])
            for name, entries in by_layer.items()
            for begin in range(0, len(entries), most)
        ]

    def _units(self, name: str, part: list[tuple[int, int, int]]) -> Units:
        layer = self._layers[name]
        owners, channels, ranks = np.array(part).T
        rows, columns = layer.position[channels, ranks].T
        places = (owners, channels, rows, columns)
        tensors = (torch.from_numpy(place).to(self._net.device) for place in places)
        return Units(self._net.step(layer.read_at), *tensors)

    def _tile(
        self, name: str, shown: Picture, projected: Tensor, channel: int, rank: int
    ) -> EntryTile:
        """Return the tile of an entry from the image's picture and its projection [C, H, W]."""
        net, layer = self._net, self._layers[name]
        field = net.receptive_fields.size(net.step(layer.read_at))
        row, column = layer.position[channel, rank].tolist()
        window = net.receptive_fields.window(net.step(layer.read_at), row, column)
        top, left, bottom, right = window
        inside = projected[:, top:bottom, left:right]
        shares = shown_values(net.preprocess, self._rule.name, inside)
        values = as_array(presentable(shares).movedim(0, -1))
        height, width = shown.shape[:2]
        rows = beyond(top, bottom, height, field[0])
        columns = beyond(left, right, width, field[1])
        place, shape = (top - rows[0], left - columns[0]), TileShape.of(field, (height, width))
        # Averaged before they are painted: fine waves of either sign would turn grey otherwise.
        values = _reduced(values, shape)
        scale = display_scale(values)
        painted = to_display(np.moveaxis(values, -1, 0), scale)
        patch = _reduced(shown[top:bottom, left:right], shape)
        both = _framed(patch, place, shape), _framed(painted, place, shape)
        return EntryTile(*both, window, scale)


def picture(preprocess: Preprocess, image: Tensor) -> Picture:
    """Return a network's input [C, H, W] as a picture, uint8 [H, W, 3]."""
    pixels = presentable(preprocess.to_pixels(image)).clamp(0, 1).movedim(0, -1)
    shown: Picture = (pixels * 255).round().to(torch.uint8).cpu().numpy()
    return np.ascontiguousarray(np.broadcast_to(shown, (*shown.shape[:2], 3)))


def _reduced(patch: npt.NDArray[Any], shape: TileShape) -> npt.NDArray[Any]:
    """Return a patch averaged down to its size in a tile, if it is larger than that."""
    if shape.factor >= 1:
        return patch
    height, width = (max(1, round(side * shape.factor)) for side in patch.shape[:2])
    return averaged(patch, height, width)


def _framed(patch: Picture, place: tuple[int, int], shape: TileShape) -> Picture:
    """Return a patch at its place in a tile, hatched where the field leaves the image."""
    times = max(1, int(shape.factor))
    fitted = patch.repeat(times, axis=0).repeat(times, axis=1)
    if fitted.shape[:2] == (shape.height, shape.width):
        return fitted
    tile = np.array(hatched(shape.height, shape.width))
    top, left = (round(p * shape.factor) for p in place)
    # Rounded apart, place and size may come to a pixel more than the tile has.
    room = tile[top : top + fitted.shape[0], left : left + fitted.shape[1]]
    room[:] = fitted[: room.shape[0], : room.shape[1]]
    return tile


def fitted(tile: Picture, enlarged: float, side: int, *, signed: bool) -> Picture:
    """Return a tile whose longer side has *side* pixels, or a few less.

    Its pixels become squares of whole pixels where these fill most of it. They are averaged where
    they are smaller than its own; signed ones, of which some cancel, on a scale of their own anew.

    Args:
        tile: uint8 [H, W, 3].
        enlarged: as its :attr:`TileShape.factor` says.
        side: of the square that it is to fill, in pixels.
        signed: whether mid-grey is zero.
    """
    # Rows and columns beyond the image are hatched anew, in lines of the same width.
    same = tile[..., 0] == hatched(*tile.shape[:2])[..., 0]
    outside = [same.all(1), same.all(0)]
    step = max(1, int(enlarged))
    # An enlarged tile has each pixel several times: one of each is the tile as it was.
    pixels = tile[::step, ::step]
    height, width = pixels.shape[:2]
    longest = max(height, width)
    times = side // longest
    if times * longest >= FULL * side:
        shown = pixels.repeat(times, axis=0).repeat(times, axis=1)
    else:
        size = [max(1, n * side // longest) for n in (height, width)]
        if signed and longest > side:
            values = pixels - np.float32(OUTSIDE)
            values[outside[0][::step]] = 0
            values[:, outside[1][::step]] = 0
            values = np.moveaxis(averaged(values, *size), -1, 0)
            shown = to_display(values, display_scale(values))
        else:
            shown = averaged(pixels, *size)
    if outside[0].any() or outside[1].any():
        size = [*shown.shape[:2]]
        rows, columns = (
            own[np.arange(n) * len(own) // n] for own, n in zip(outside, size, strict=True)
        )
        shown = np.where((rows[:, None] | columns)[..., None], hatched(*size), shown)
    return shown


@cache
def hatched(height: int, width: int) -> Picture:
    """Return a hatched picture, which stands for what lies beyond the image."""
    rows, columns = np.indices((height, width))
    lines = (rows + columns) % 8 < 2
    return np.repeat(np.where(lines, HATCH, OUTSIDE).astype(np.uint8)[..., None], 3, axis=-1)
