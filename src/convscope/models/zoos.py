"""The model zoos of torchvision and timm, where they are installed."""

import math
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image

from convscope.errors import ModelError, near_matches
from convscope.images import Preprocess
from convscope.models.parts import (
    IMAGENET,
    OFFICIAL_WEIGHTS,
    RANDOM_NOTE,
    Parts,
    imagenet_classes,
)
from convscope.models.seeding import seeded
from convscope.models.weight_files import first_line
from convscope.models.weights import fill

# These two undo the ImageNet normalisation inside, which torchvision switches on with its weights.
_TORCHVISION_OPTIONS: dict[str, dict[str, bool]] = {
    "googlenet": {"transform_input": True, "init_weights": True},
    "inception_v3": {"transform_input": True, "init_weights": True},
}


def from_torchvision(name: str, weights: str | Path | None) -> Parts:
    """Build torchvision's model *name* with its default, a file's or random weights.

    Raises:
        ModelError: if torchvision is missing, has no such model, or its weights cannot be had.

    """
    zoo = _imported("torchvision.models", "torchvision")
    known = zoo.list_models(module=zoo)
    if name not in known:
        raise ModelError(f"torchvision has no classifier {name!r}{near_matches(name, known)}")
    published = zoo.get_model_weights(name).DEFAULT
    if weights == OFFICIAL_WEIGHTS:
        module = _built(lambda: zoo.get_model(name, weights=published), name)
    else:
        options = _TORCHVISION_OPTIONS.get(name, {})
        module = _built(lambda: zoo.get_model(name, weights=None, **options), name)
    notes = _fill(module, weights)
    classes = published.meta.get("categories")
    return Parts(module, _torchvision_preprocess(published), classes and tuple(classes), notes)


def _torchvision_preprocess(published: Any) -> Preprocess:
    """Read the sizes and numbers off the transforms that a published weight file asks for."""
    transforms = published.transforms()
    crop, resize = transforms.crop_size[0], transforms.resize_size[0]
    mode = str(transforms.interpolation.value)
    return Preprocess(
        tuple(transforms.mean),
        tuple(transforms.std),
        (crop, crop),
        resize=resize,
        interpolation=_resampling(mode),
    )


def from_timm(name: str, weights: str | Path | None) -> Parts:
    """Build timm's model *name* with its default, a file's or random weights.

    Raises:
        ModelError: if timm is missing, has no such model, or its weights cannot be had.

    """
    timm = _imported("timm", "timm")
    if not timm.is_model(name.partition(".")[0]):
        raise ModelError(f"timm has no model {name!r}{near_matches(name, timm.list_models())}")
    pretrained = weights == OFFICIAL_WEIGHTS
    module = _built(lambda: timm.create_model(name, pretrained=pretrained), name)
    config = module.pretrained_cfg
    notes = _fill(module, weights)
    classes = imagenet_classes() if config.get("num_classes") == len(imagenet_classes()) else None
    if config.get("crop_mode", "center") == "border":
        notes += ("pictures are centre-cropped, not bordered as in timm",)
    return Parts(module, _timm_preprocess(config), classes, notes)


def _timm_preprocess(config: Mapping[str, Any]) -> Preprocess:
    """Read a pretrained_cfg as timm's own evaluation transforms do."""
    _, height, width = config.get("input_size", (3, 224, 224))
    share = config.get("crop_pct") or 0.875
    squash = config.get("crop_mode") == "squash" and share == 1
    return Preprocess(
        tuple(config.get("mean", IMAGENET.mean)),
        tuple(config.get("std", IMAGENET.std)),
        (height, width),
        resize=None if squash else math.floor(max(height, width) / share),
        interpolation=_resampling(config.get("interpolation") or "bicubic"),
    )


def _resampling(mode: str) -> Image.Resampling:
    """Return Pillow's filter for a zoo's name of it, such as "bilinear" or "nearest-exact"."""
    name = mode.partition("-")[0].upper()
    if name not in Image.Resampling.__members__:
        raise ModelError(f"the model asks for the unknown interpolation {mode!r}")
    return Image.Resampling[name]


def _imported(module: str, package: str) -> Any:
    """Import a zoo only when it is asked for.

    A zoo built for another version of torch fails with errors of many kinds.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{package} is not installed; install it with `pip install {package}`"
        ) from error
    except Exception as error:
        raise ModelError(
            f"{package} is installed but cannot be imported ({first_line(error)}); "
            f"install the version made for this torch"
        ) from error


def _built(build: Any, name: str) -> Any:
    """Call a zoo's builder under a fixed seed."""
    try:
        with seeded():
            return build()
    # Unknown tags, unreachable hosts and wrong hashes come as errors of the zoo's own choice.
    except Exception as error:
        raise ModelError(
            f"cannot build {name!r}: {first_line(error)}; a file of weights goes with --weights"
        ) from error


def _fill(module: Any, weights: str | Path | None) -> tuple[str, ...]:
    """Put a file's weights into a module, if one was given; return the notes for pictures."""
    if weights is None:
        return (RANDOM_NOTE,)
    if weights != OFFICIAL_WEIGHTS:
        fill(module, weights)
    return ()
