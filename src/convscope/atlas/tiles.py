"""Tiles: the patch that a unit reads in an image and what drives it there, side by side."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from convscope.display import DisplayScale, display_scale, to_display
from convscope.figures.sheet import beyond, presentable
from convscope.images import Preprocess
from convscope.methods.project import project
from convscope.methods.scanning.result import LayerScan
from convscope.network import Network

Picture = npt.NDArray[np.uint8]

ENLARGED_TO = 64
"""Smaller fields are enlarged, each pixel to a square of whole pixels, to at least this side."""

REDUCED_TO = 96
"""Larger fields are averaged down to this side."""

PROJECTED_BYTES = 2**26
"""Projections of one call, which come at the size of the whole image."""

MOST_PIXELS_ENLARGED = 48
OUTSIDE, HATCH = 0xF4, 0xC8


@dataclass(frozen=True)
class Tile:
    """One of a channel's strongest entries, as it is shown.

    Attributes:
        patch: uint8 [H, W, 3], what the unit reads; hatched beyond the image.
        projection: uint8 [H, W, 3], what drives it there; zero is mid-grey.
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


def layer_tiles(
    net: Network, layer: LayerScan, images: Callable[[int], Tensor], rule: str
) -> Iterator[tuple[int, int, Tile]]:
    """Yield (channel, rank, tile) for every entry of a layer, grouped by image.

    Args:
        net: the network.
        layer: its entries.
        images: gives the image of a number, [C, H, W].
        rule: ``"deconvnet"``, ``"guided"`` or ``"gradient"``.

    """
    step = net.step(layer.read_at)
    field = net.receptive_fields.size(step)
    shape = TileShape.of(field, (net.input_shape[1], net.input_shape[2]))
    for numbers, units in _groups(layer, net):
        batch = torch.stack([images(number) for number in numbers])
        channels = torch.tensor([[channel for channel, _ in own] for own in units])
        found = project(net, batch, layer.read_at, channels, rule=rule, select="peak")
        pixels = found.pixels.cpu()
        for n, own in enumerate(units):
            for k, (channel, rank) in enumerate(own):
                window = (*found.window[n, k].tolist(),)
                yield (
                    channel,
                    rank,
                    _tile(net.preprocess, batch[n], pixels[n, k], window, field, shape),
                )


Units = list[tuple[int, int]]


def _groups(layer: LayerScan, net: Network) -> Iterator[tuple[list[int], list[Units]]]:
    """Yield images with as many entries each, and their (channel, rank) entries.

    A projection call takes as many channels of every image, so images are sorted by how many.
    """
    of_image: dict[int, Units] = {}
    for channel, rank in zip(*(layer.image >= 0).nonzero(), strict=True):
        number = int(layer.image[channel, rank])
        of_image.setdefault(number, []).append((int(channel), int(rank)))
    most = max(1, PROJECTED_BYTES // (4 * int(np.prod(net.input_shape))))
    by_count: dict[int, list[tuple[int, Units]]] = {}
    for number, units in sorted(of_image.items()):
        for begin in range(0, len(units), most):
            part = units[begin : begin + most]
            by_count.setdefault(len(part), []).append((number, part))
    for count, items in sorted(by_count.items()):
        at_once = max(1, most // count)
        for begin in range(0, len(items), at_once):
            group = items[begin : begin + at_once]
            yield [number for number, _ in group], [units for _, units in group]


def _tile(
    preprocess: Preprocess,
    image: Tensor,
    projected: Tensor,
    window: tuple[int, ...],
    field: tuple[int, int],
    shape: TileShape,
) -> Tile:
    top, left, bottom, right = window
    values = presentable(preprocess.difference_to_pixels(projected))[:, top:bottom, left:right]
    scale = display_scale(values)
    patch = picture(preprocess, image)[top:bottom, left:right]
    height, width = image.shape[1:]
    rows = beyond(top, bottom, height, field[0])
    columns = beyond(left, right, width, field[1])
    place = (top - rows[0], left - columns[0])
    return Tile(
        _framed(patch, place, shape),
        _framed(to_display(values, scale), place, shape),
        (top, left, bottom, right),
        scale,
    )


def picture(preprocess: Preprocess, image: Tensor) -> Picture:
    """Return a network's input [C, H, W] as a picture, uint8 [H, W, 3]."""
    pixels = presentable(preprocess.to_pixels(image)).clamp(0, 1).movedim(0, -1)
    shown: Picture = (pixels * 255).round().to(torch.uint8).cpu().numpy()
    return np.ascontiguousarray(np.broadcast_to(shown, (*shown.shape[:2], 3)))


def _framed(patch: Picture, place: tuple[int, int], shape: TileShape) -> Picture:
    """Return a patch at its place in a tile, hatched where the field leaves the image."""
    size = [max(1, round(side * shape.factor)) for side in patch.shape[:2]]
    resampling = Image.Resampling.NEAREST if shape.factor >= 1 else Image.Resampling.BOX
    fitted = np.asarray(Image.fromarray(patch).resize((size[1], size[0]), resampling))
    if fitted.shape[:2] == (shape.height, shape.width):
        return fitted
    tile = hatched(shape.height, shape.width)
    top, left = (round(p * shape.factor) for p in place)
    room = tile[top : top + size[0], left : left + size[1]]
    room[:] = fitted[: room.shape[0], : room.shape[1]]
    return tile


def hatched(height: int, width: int) -> Picture:
    """Return a hatched picture, which stands for what lies beyond the image."""
    rows, columns = np.indices((height, width))
    lines = (rows + columns) % 8 < 2
    return np.repeat(np.where(lines, HATCH, OUTSIDE).astype(np.uint8)[..., None], 3, axis=-1)
