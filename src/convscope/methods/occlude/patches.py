"""Patches: where they lie on an image, and what hides the pixels under them."""

import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from convscope.errors import ImageError, check_known
from convscope.images import Preprocess
from convscope.reading import Picture, read_image

Corners = npt.NDArray[np.int64]
Size = int | tuple[int, int]
FillValue = str | float | Tensor

NOISE_SEED = 0


def pair_of(value: Size, name: str) -> tuple[int, int]:
    """Return a size given as one number or as (height, width).

    Raises:
        ImageError: if it is neither, or smaller than a pixel.

    >>> pair_of(8, "patch"), pair_of((4, 6), "patch")
    ((8, 8), (4, 6))
    """
    numbers = value if isinstance(value, tuple | list) else (value, value)
    try:
        found = tuple(map(operator.index, numbers))
    except TypeError:
        found = ()
    if len(found) != 2:
        raise ImageError(f"the {name} is a whole number or (height, width), not {value!r}")
    if min(found) < 1:
        raise ImageError(f"the {name} must be at least 1 pixel, not {min(found)}")
    return found


def default_patch(image: tuple[int, int]) -> int:
    """Return the side of a patch that suits an image: 32 pixels for 224, 5 for 32."""
    return max(1, round(min(image) / 7))


def default_stride(image: tuple[int, int], patch: tuple[int, int]) -> int:
    """Return the stride for some 28 positions along the shorter side that leave no pixel out."""
    return min(max(1, round(min(image) / 28)), *patch)


def grid(image: tuple[int, int], patch: tuple[int, int], stride: tuple[int, int]) -> Corners:
    """Return where the patches of a grid lie.

    The first patch lies in the corner, the next ones a stride apart, until the image is covered;
    the last ones are cut off at the border.

    Args:
        image: height and width in pixels.
        patch: the same for a patch.
        stride: pixels from one patch to the next, down and across.

    Returns:
        [rows, columns, 4]: top, left, bottom, right, the last two excluded.

    Raises:
        ImageError: if the patch is larger than the image, or as large.

    >>> grid((5, 4), (2, 4), (2, 1))[:, 0].tolist()
    [[0, 0, 2, 4], [2, 0, 4, 4], [4, 0, 5, 4]]
    """
    if any(own > whole for own, whole in zip(patch, image, strict=True)):
        raise ImageError(
            f"a patch of {patch[0]}×{patch[1]} pixels is larger than the image, "
            f"{image[0]}×{image[1]}"
        )
    if patch == image:
        raise ImageError(
            f"a patch of {patch[0]}×{patch[1]} pixels hides the whole image: take a smaller one"
        )
    sides = []
    for whole, own, step in zip(image, patch, stride, strict=True):
        starts = np.arange(-(-(whole - own) // step) + 1) * step
        # A stride longer than the patch can step beyond the border, where nothing is hidden.
        starts = starts[starts < whole]
        sides.append((starts, np.minimum(starts + own, whole)))
    (tops, bottoms), (lefts, rights) = sides
    corners = np.broadcast_arrays(tops[:, None], lefts, bottoms[:, None], rights)
    return np.stack(corners, axis=-1)


@dataclass(frozen=True)
class Fill:
    """What hides the pixels under a patch.

    Attributes:
        name: as a picture says it.
        image: [C, H, W], what is seen through a patch wherever it lies; None where a patch takes
            the mean of the pixels under it.
    """

    name: str
    image: Tensor | None

    def behind(self, image: Tensor, patches: Corners) -> Tensor:
        """Return what fills each patch, [B, C, 1, 1], or [1, C, H, W] if all see one image."""
        if self.image is not None:
            return self.image[None]
        means = [
            image[:, top:bottom, left:right].mean((1, 2))
            for top, left, bottom, right in patches.tolist()
        ]
        return torch.stack(means)[:, :, None, None]


@dataclass(frozen=True)
class Cover:
    """The parts of an image that are hidden, one at a time.

    Attributes:
        corners: [B, 4]: top, left, bottom, right of each part, the last two excluded.
        fill: what is seen in their place.
        masks: [B, 1 or C, H, W], bool, where a part is not all of its rectangle.
        names: what these are called.
    """

    corners: Corners
    fill: Fill
    masks: Tensor | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of parts."""
        return len(self.corners)

    def part(self, which: npt.NDArray[np.int64]) -> "Cover":
        """Return some of the parts."""
        masks = self.masks
        if masks is not None:
            masks = masks[torch.from_numpy(which).to(masks.device)]
        return Cover(self.corners[which], self.fill, masks)

    def behind(self, image: Tensor) -> Tensor:
        """Return what fills each part, [B, C, 1, 1], or [1, C, H, W] if all see one image."""
        if self.masks is None or self.fill.image is not None:
            return self.fill.behind(image, self.corners)
        masks = self.masks.to(image.dtype).expand(-1, *image.shape)
        return (masks * image).sum((2, 3), True) / masks.sum((2, 3), True).clamp(min=1)


def masks_of(masks: Tensor, image: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Return masks, [M, 1, H, W], bool, from those that a caller gives, and what each is called.

    Args:
        masks: [M, H, W], bool; or [H, W], whole numbers, a label map such as one of superpixels,
            of which each number is a part.
        image: [C, H, W].

    Raises:
        ImageError: if they are neither, do not fit the image, or hide nothing.
    """
    size = list(image.shape[1:])
    found = torch.as_tensor(masks).to(image.device)
    if list(found.shape[-2:]) != size:
        raise ImageError(f"masks of shape {list(found.shape)} do not fit an image of {size}")
    labels = None
    if found.dim() == 2 and not found.is_floating_point() and found.dtype != torch.bool:
        labels = torch.unique(found)
        found = found == labels[:, None, None]
    if found.dim() == 2 and found.dtype == torch.bool:
        found = found[None]
    if found.dim() != 3 or found.dtype != torch.bool:
        raise ImageError(
            "masks are bool [M, H, W], or one map [H, W] of whole numbers, each of them a part; "
            f"not {str(found.dtype).removeprefix('torch.')} {list(found.shape)}"
        )
    empty = (~found.flatten(1).any(1)).nonzero().flatten().tolist()
    if empty or not len(found):
        raise ImageError(f"mask {empty[0]} hides nothing" if empty else "there is no mask")
    if labels is not None:
        return found[:, None], tuple(f"label {label}" for label in labels.tolist())
    return found[:, None], tuple(f"mask {number}" for number in range(len(found)))


def label_map(picture: Picture) -> Tensor:
    """Read a picture as a label map, [H, W]: each of its greys or colours is a part.

    Raises:
        ImageError: if it is no picture.
    """
    if isinstance(picture, Image.Image):
        values = np.asarray(picture)
    else:
        read_image(picture)  # which names what is wrong with the file
        with Image.open(picture) as opened:
            values = np.asarray(opened)
    values = values.reshape(*values.shape[:2], -1)
    _, labels = np.unique(values.reshape(-1, values.shape[2]), axis=0, return_inverse=True)
    return torch.from_numpy(labels.reshape(values.shape[:2]))


def boxes_of(masks: Tensor) -> Corners:
    """Return the rectangles that hold masks [M, 1 or C, H, W]: [M, 4], as :func:`grid` has them."""
    sides = []
    for axis in (3, 2):
        inside = masks.any(1).any(axis - 1).byte()
        sides.append((inside.argmax(1), inside.shape[1] - inside.flip(1).argmax(1)))
    (tops, bottoms), (lefts, rights) = sides
    corners: Corners = torch.stack([tops, lefts, bottoms, rights], 1).cpu().numpy()
    return corners


def fill_for(
    value: FillValue, image: Tensor, preprocess: Preprocess, patch: tuple[int, int]
) -> Fill:
    """Return the fill that a caller names.

    Args:
        value: a name in :data:`FILLS`; ``"#rrggbb"``; a number; or a tensor [C], [C, 1, 1] or
            [C, H, W] in the network's input space.
        image: [C, H, W] in the network's input space.
        preprocess: takes pixels to inputs.
        patch: height and width of a patch, by which ``"blur"`` knows how far to blur.

    Raises:
        ImageError: if there is no such fill, it is not finite, or it does not fit the image.
    """
    if isinstance(value, str):
        if value.startswith("#"):
            return Fill(value, _spread(_colour(value, image, preprocess), image))
        check_known("fill", value, FILLS, ImageError, ", or a colour such as #808080")
        return Fill(value, FILLS[value](image, preprocess, patch))
    tensor = torch.as_tensor(value, dtype=image.dtype, device=image.device)
    if not tensor.isfinite().all():
        bad = tensor[~tensor.isfinite()][0]
        raise ImageError(f"a fill must be finite in the network's input space, not {bad:g}")
    if tensor.dim() == 0:
        return Fill(f"{float(tensor):g} in the input space", _spread(tensor, image))
    if tensor.dim() == 1:
        tensor = tensor[:, None, None]
    fits = tensor.dim() == 3 and all(
        own in (1, whole) for own, whole in zip(tensor.shape, image.shape, strict=True)
    )
    if not fits:
        raise ImageError(
            f"a fill of shape {list(torch.as_tensor(value).shape)} does not fit an image of shape "
            f"{list(image.shape)}"
        )
    return Fill("a tensor in the input space", _spread(tensor, image))


def _spread(values: Tensor, image: Tensor) -> Tensor:
    return values.to(image).expand_as(image)


def _colour(text: str, image: Tensor, preprocess: Preprocess) -> Tensor:
    try:
        levels = [int(text[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    except ValueError:
        levels = []
    if len(text) != 7 or len(levels) != 3:
        raise ImageError(f"the colour {text!r} is not of the form #rrggbb")
    if len(image) == 1:
        levels = [sum(levels) / 3]
    if len(image) != len(levels):
        raise ImageError(f"a colour has three channels, and the network's input {len(image)}")
    return preprocess.to_inputs(torch.tensor(levels, dtype=torch.float64)[:, None, None])


def _noise(image: Tensor, preprocess: Preprocess, patch: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(NOISE_SEED)
    pixels = torch.rand(image.shape, generator=generator, dtype=torch.float64)
    return preprocess.to_inputs(pixels).to(image)


def _blurred(image: Tensor, preprocess: Preprocess, patch: tuple[int, int]) -> Tensor:
    """Blur by a Gaussian whose standard deviation is a quarter of the patch."""
    blurred = image[None]
    for axis in (0, 1):
        deviation = max(float(patch[axis]) / 4, 0.5)
        reach = max(1, round(3 * deviation))
        places = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device)
        kernel = torch.exp(-0.5 * (places / deviation) ** 2)
        kernel = (kernel / kernel.sum()).view(1, 1, *((-1, 1) if axis == 0 else (1, -1)))
        padding = (0, 0, reach, reach) if axis == 0 else (reach, reach, 0, 0)
        wide = functional.pad(blurred, padding, mode="replicate")
        blurred = functional.conv2d(wide, kernel.expand(len(image), 1, -1, -1), groups=len(image))
    return blurred[0]


FILLS: dict[str, Callable[[Tensor, Preprocess, tuple[int, int]], Tensor | None]] = {
    "gray": lambda image, preprocess, _: preprocess.to_inputs(torch.full_like(image, 0.5)),
    "black": lambda image, preprocess, _: preprocess.to_inputs(torch.zeros_like(image)),
    "mean": lambda image, preprocess, _: _spread(
        preprocess.to_inputs(torch.tensor(preprocess.mean, dtype=torch.float64)[:, None, None]),
        image,
    ),
    "image-mean": lambda image, *_: _spread(image.mean((1, 2), keepdim=True), image),
    "local-mean": lambda *_: None,  # each patch has its own
    "blur": _blurred,
    "noise": _noise,
}
"""Fills by name: middle grey (0.5), black, the mean of the data set (of the network's
preprocessing), the mean colour of the image, that of the pixels under each patch, the image
blurred, and uniform noise from a fixed seed."""
