"""Preprocessing as people have it: by name, from timm, torchvision or Hugging Face, or in parts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from PIL import Image

from convscope.arguments import described
from convscope.errors import ImageError, check_known, near_matches
from convscope.images import Preprocess

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR10 = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
NAMES = ("imagenet", "cifar10", "none")
NOT_GIVEN = "pixels 0 to 1, not normalised: no mean and std were given"
"""What every picture of a network says that nobody gave a preprocessing for."""

OWN = ("preprocess", "pretrained_cfg")
"""Attributes of a module that say how its pictures are made ready."""

PLAIN_PARTS = (
    "CenterCrop", "ToTensor", "PILToTensor", "ToImage", "ToDtype", "ConvertImageDtype", "Grayscale",
)  # fmt: skip
"""Transforms of torchvision that are done to every picture in any case."""

Shape = tuple[int, int, int]


def preprocessing_of(given: Any, shape: Shape) -> Preprocess:
    """Return a preprocessing, given in any of the usual ways, for inputs of a shape.

    Args:
        given: a :class:`Preprocess`; ``"imagenet"``, ``"cifar10"`` or ``"none"`` (pixels in 0..1);
            timm's ``pretrained_cfg``; torchvision's ``weights.transforms()``; a Hugging Face image
            processor, or its fields as a dict; or a ``torchvision.transforms.Compose`` of resizing,
            cropping, conversion and normalisation.
        shape: channels, height and width of the network's input.

    Raises:
        ImageError: if it is anything else, has a part that is not one of these, or does not fit.

    >>> preprocessing_of("imagenet", (3, 224, 224)).resize
    256
    >>> preprocessing_of({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}, (3, 8, 8)).std
    (0.5, 0.5, 0.5)
    """
    found = _found(given, shape)
    if found.channels != shape[0]:
        raise ImageError(
            f"the preprocessing is for {found.channels} channels, and the network takes {shape[0]}"
        )
    return found if found.size == shape[1:] else found.resized(shape[1:])


def normalisation(
    mean: Sequence[float] | float | None,
    std: Sequence[float] | float | None,
    resize: int | None,
    interpolation: str | Image.Resampling | None,
    shape: Shape,
) -> Preprocess | None:
    """Return a preprocessing given by its numbers, or None where there is no mean and no std.

    Mean and std, of pixels in 0..1, are per channel, or one for all of them. *resize* is the short
    side before the centre crop, in pixels; None squeezes the whole picture.
    """
    if mean is None and std is None:
        if resize is not None or interpolation is not None:
            raise ImageError("resize and interpolation need a mean and a std: give them too")
        return None
    if mean is None or std is None:
        raise ImageError("mean and std go together: give both, per channel, of pixels in 0 to 1")
    return _made(mean, std, shape, resize, interpolation, shape[0])


def chosen(
    module: Any, preprocess: Any, numbers: Preprocess | None, shape: Shape
) -> tuple[Preprocess, str]:
    """Return how pictures become a module's inputs, and what every picture must say of it.

    It is given as :func:`preprocessing_of` takes it or by its numbers, not both; where it is not,
    the module's attributes in :data:`OWN` count.
    """
    if preprocess is not None and numbers is not None:
        raise ImageError("give preprocess, or mean and std, not both")
    if numbers is not None:
        return numbers, ""
    for given in (preprocess, *(getattr(module, name, None) for name in OWN)):
        if given is not None and not (given is not preprocess and _says_nothing(given)):
            return preprocessing_of(given, shape), ""
    return Preprocess.identity(shape[0], shape[1:]), NOT_GIVEN


def _says_nothing(given: Any) -> bool:
    """Return whether a module's attribute is no preprocessing but a method or a part of it."""
    return callable(given) and not isinstance(given, Preprocess) and not hasattr(given, "mean")


def _made(
    mean: Any,
    std: Any,
    shape: Shape,
    resize: int | None,
    interpolation: Any,
    channels: int | None = None,
) -> Preprocess:
    """Return the preprocessing by these numbers, bilinear where no filter is named.

    A single mean or std is one for all *channels*, where these are given.
    """
    mean, std = _per_channel(mean, channels), _per_channel(std, channels)
    named = "bilinear" if interpolation is None else interpolation
    return Preprocess(mean, std, shape[1:], resize, resampling(named))


def _per_channel(numbers: Any, channels: int | None = None) -> tuple[float, ...]:
    """Return numbers as they are, or a single one for each of some channels."""
    several = isinstance(numbers, Iterable) and getattr(numbers, "ndim", 1) > 0
    try:
        listed = [float(number) for number in (numbers if several else [numbers])]
    except (TypeError, ValueError, RuntimeError):  # the last from a tensor of several
        raise ImageError(
            f"{described(numbers)} is not a number a channel, as mean and std are"
        ) from None
    if len(listed) == 1:
        listed *= channels or 1
    if len(listed) != (channels or len(listed)):
        raise ImageError(f"there are {len(listed)} numbers for {channels} channels")
    return tuple(listed)


def resampling(name: Any) -> Image.Resampling:
    """Return Pillow's filter for a library's name or number of it, such as ``"bilinear"``.

    Raises:
        ImageError: if there is none.

    >>> resampling("nearest-exact").name, resampling(3).name
    ('NEAREST', 'BICUBIC')
    """
    name = getattr(name, "value", name)  # torchvision's InterpolationMode
    if isinstance(name, int):
        try:
            return Image.Resampling(name)
        except ValueError:
            raise ImageError(f"there is no interpolation number {name}") from None
    plain = str(name).partition("-")[0].upper()
    if plain not in Image.Resampling.__members__:
        known = [member.lower() for member in Image.Resampling.__members__]
        raise ImageError(f"there is no interpolation {name!r}{near_matches(name, known)}")
    return Image.Resampling[plain]


def _found(given: Any, shape: Shape) -> Preprocess:
    if isinstance(given, Preprocess):
        return given
    if isinstance(given, str):
        return _named(given, shape)
    if isinstance(getattr(given, "transforms", None), Sequence):
        return _from_parts(given.transforms, shape)
    fields = given if isinstance(given, Mapping) else _attributes(given)
    if "image_mean" in fields:
        return _from_processor(fields, shape)
    if "crop_size" in fields and "mean" in fields:
        return _from_preset(fields, shape)
    if "mean" in fields and "std" in fields:
        return _from_timm(fields, shape)
    raise ImageError(
        f"a preprocessing of type {type(given).__name__} is not understood: give a name "
        f"({', '.join(NAMES)}), a cs.Preprocess, or mean= and std="
    )


def _attributes(given: Any) -> dict[str, Any]:
    slots = [name for kind in type(given).__mro__ for name in getattr(kind, "__slots__", ())]
    values = {name: getattr(given, name) for name in slots if hasattr(given, name)}
    return {**values, **getattr(given, "__dict__", {})}


def _named(name: str, shape: Shape) -> Preprocess:
    if name == "none":
        return Preprocess.identity(shape[0], shape[1:])
    check_known("preprocessing", name, NAMES, ImageError)
    mean, std = IMAGENET if name == "imagenet" else CIFAR10
    resize = round(min(shape[1:]) * 256 / 224) if name == "imagenet" else None
    return Preprocess(mean, std, shape[1:], resize)


def _from_timm(fields: Mapping[str, Any], shape: Shape) -> Preprocess:
    """Read a pretrained_cfg as timm's own evaluation transforms do."""
    share = fields.get("crop_pct") or 0.875
    squash = fields.get("crop_mode") == "squash" and share == 1
    resize = None if squash else math.floor(max(shape[1:]) / share)
    filter_name = fields.get("interpolation") or "bicubic"
    return _made(fields["mean"], fields["std"], shape, resize, filter_name)


def _from_preset(fields: Mapping[str, Any], shape: Shape) -> Preprocess:
    crop, resize = _first(fields["crop_size"]), _first(fields.get("resize_size"))
    if resize is not None and crop is not None and shape[1:] != (crop, crop):
        resize = round(resize * min(shape[1:]) / crop)  # as large a part of the picture as there
    return _made(fields["mean"], fields["std"], shape, resize, fields.get("interpolation"))


def _from_processor(fields: Mapping[str, Any], shape: Shape) -> Preprocess:
    factor = fields.get("rescale_factor")
    if fields.get("do_rescale") is False or (
        factor is not None and not math.isclose(factor, 1 / 255)
    ):
        raise ImageError("the image processor does not bring pixels to 0..1 before it normalises")
    plain = fields.get("do_normalize") is False
    mean, std = (0.0, 1.0) if plain else (fields["image_mean"], fields.get("image_std"))
    size = fields.get("size")
    short = size.get("shortest_edge") if isinstance(size, Mapping) else None
    resize = short if fields.get("do_resize", True) else None
    if resize is not None and fields.get("crop_pct"):
        resize = int(resize / fields["crop_pct"])
    return _made(mean, std, shape, resize, fields.get("resample"), shape[0])


def _from_parts(parts: Sequence[Any], shape: Shape) -> Preprocess:
    mean: Any = 0.0
    std: Any = 1.0
    resize = named = None
    for part in parts:
        name = type(part).__name__
        if name == "Resize":
            sides = [part.size] if isinstance(part.size, int) else part.size
            resize = sides[0] if len(sides) == 1 else None  # both sides squeeze
            named = part.interpolation
        elif name == "Normalize":
            mean, std = tuple(part.mean), tuple(part.std)
        elif name not in PLAIN_PARTS:
            raise ImageError(
                f"the transform {name} is not understood: give mean=, std= and resize= instead"
            )
    return _made(mean, std, shape, resize, named, shape[0])


def _first(size: Any) -> int | None:
    """Return the one length of a size that is given as a number or a list."""
    found = size[0] if isinstance(size, Sequence) else size
    return None if found is None else int(found)
