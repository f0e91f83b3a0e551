"""Images moved, enlarged and turned, with what lies beyond their borders named."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from convscope.errors import ImageError, check_known
from convscope.images import Preprocess
from convscope.methods.occlude.patches import FILLS, fill_for

REFLECT = "reflect"
VARYING = ("local-mean", "blur", "noise")
OUTSIDE = (REFLECT, *(name for name in FILLS if name not in VARYING))
"""Fills by name that mean something beyond an image's borders."""

Offsets = tuple[Tensor, Tensor]
"""Rows and columns, in pixels from the centre of the image."""


def _translation(places: Offsets, amount: float) -> Offsets:
    return places[0] - amount, places[1]


def _scale(places: Offsets, amount: float) -> Offsets:
    return places[0] / amount, places[1] / amount


def _rotation(places: Offsets, amount: float) -> Offsets:
    cosine, sine = math.cos(math.radians(amount)), math.sin(math.radians(amount))
    rows, columns = places
    return rows * cosine + columns * sine, columns * cosine - rows * sine


SOURCES: dict[str, Callable[[Offsets, float], Offsets]] = {
    "translation": _translation,
    "scale": _scale,
    "rotation": _rotation,
}
"""Where each pixel of the transformed image comes from."""

UNITS = {"translation": "pixels down", "scale": "times", "rotation": "degrees counterclockwise"}
NEUTRAL = {"translation": 0.0, "scale": 1.0, "rotation": 0.0}
"""The amount that leaves an image as it is."""


def leaves_alone(kind: str, amount: float) -> bool:
    """Return whether a transformation leaves every image as it is.

    >>> leaves_alone("rotation", 360), leaves_alone("scale", 1), leaves_alone("translation", 1)
    (True, True, False)
    """
    neutral = NEUTRAL[kind]
    return amount % 360 == neutral if kind == "rotation" else amount == neutral


def check_outside(fill: str) -> None:
    """Refuse a fill that means nothing beyond an image's borders, or that does not exist."""
    if fill in VARYING:
        raise ImageError(f"the fill {fill!r} is for patches: beyond the image use reflect or gray")
    if not fill.startswith("#"):
        check_known("fill", fill, OUTSIDE, ImageError, ", or a colour such as #808080")


def transformed(
    image: Tensor, kind: str, amount: float, fill: str, preprocess: Preprocess
) -> Tensor:
    """Return an image moved down, enlarged or turned about its centre, by bilinear interpolation.

    Args:
        image: [C, H, W] in the network's input space.
        kind: ``"translation"``, ``"scale"`` or ``"rotation"``.
        amount: pixels down; times as large; degrees counterclockwise.
        fill: what lies beyond the image: ``"reflect"``, the image mirrored at its borders, or a
            colour by a name in :data:`~.patches.FILLS` or as ``"#rrggbb"``.
        preprocess: takes pixels to inputs.

    Returns:
        [C, H, W]; the image itself, to the bit, where the amount changes nothing.

    Raises:
        ImageError: if there is no such transformation or fill, or the scale is not positive.

    >>> image = torch.arange(9.0).view(1, 3, 3)
    >>> preprocess = Preprocess.identity(1, (3, 3))
    >>> transformed(image, "rotation", 90, "black", preprocess)[0].round().int().tolist()
    [[2, 5, 8], [1, 4, 7], [0, 3, 6]]
    >>> transformed(image, "translation", 1, "black", preprocess)[0].round().int().tolist()
    [[0, 0, 0], [0, 1, 2], [3, 4, 5]]
    """
    check_known("transformation", kind, SOURCES, ImageError)
    check_outside(fill)
    if not math.isfinite(amount) or (kind == "scale" and amount <= 0):
        raise ImageError(f"an image cannot be transformed by {kind} {amount:g}")
    if leaves_alone(kind, amount):
        return image
    grid = _grid(image, kind, amount)
    # In double precision, or places far from the centre are off by a visible share of a pixel.
    wide = image.double()[None]
    if fill == REFLECT:
        return _sampled(wide, grid, "reflection").to(image)
    behind = fill_for(fill, image, preprocess, (1, 1)).image
    assert behind is not None
    inside = _sampled(torch.ones_like(wide[:, :1]), grid, "zeros")
    return (_sampled(wide, grid, "zeros") + behind.double() * (1 - inside)).to(image)


def _grid(image: Tensor, kind: str, amount: float) -> Tensor:
    """Return where each pixel comes from, [1, H, W, 2], as ``grid_sample`` counts."""
    height, width = image.shape[-2:]
    rows = torch.arange(height, dtype=torch.float64, device=image.device) - (height - 1) / 2
    columns = torch.arange(width, dtype=torch.float64, device=image.device) - (width - 1) / 2
    places = (rows[:, None].expand(height, width), columns.expand(height, width))
    source_rows, source_columns = SOURCES[kind](places, amount)
    return torch.stack([source_columns * 2 / width, source_rows * 2 / height], dim=2)[None]


def _sampled(image: Tensor, grid: Tensor, beyond: str) -> Tensor:
    return functional.grid_sample(image, grid, "bilinear", beyond, align_corners=False)[0]
