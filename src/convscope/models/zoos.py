"""The model zoos of torchvision and timm, where they are installed."""

from importlib import import_module
from pathlib import Path
from typing import Any

from convscope.errors import ModelError, first_line, near_matches
from convscope.models.parts import (
    IMAGENET,
    OFFICIAL_WEIGHTS,
    Parts,
    filled,
    imagenet_classes,
    seeded,
)
from convscope.preprocessing import preprocessing_of

# These two undo the ImageNet normalisation inside, which torchvision switches on with its weights.
_UNDOING = ("googlenet", "inception_v3")
_FAMILIES = (
    *("convnext_", "densenet", "efficientnet_", "googlenet", "inception_", "mnasnet", "mobilenet_"),
    *("regnet_", "resnet", "resnext", "shufflenet_", "swin_", "vit_", "wide_resnet"),
)
"""How torchvision's names begin, but for those that convscope has itself."""


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
        options = {"transform_input": True, "init_weights": True} if name in _UNDOING else {}
        module = _built(lambda: zoo.get_model(name, weights=None, **options), name)
    notes = filled(module, weights)
    classes = published.meta.get("categories")
    transforms = published.transforms()
    crop = transforms.crop_size[0]
    preprocess = preprocessing_of(transforms, (3, crop, crop))
    return Parts(module, preprocess, classes and tuple(classes), notes)


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
    notes = filled(module, weights)
    classes = imagenet_classes() if config.get("num_classes") == len(imagenet_classes()) else None
    if config.get("crop_mode", "center") == "border":
        notes += ("pictures are centre-cropped, not bordered as in timm",)
    shape = tuple(config.get("input_size", (3, 224, 224)))
    fields = {"mean": IMAGENET.mean, "std": IMAGENET.std, **config}
    return Parts(module, preprocessing_of(fields, shape), classes, notes)


def in_a_zoo(name: str) -> str:
    """Return a hint to the zoo that has a model of this very name, installed or not."""
    for zoo, lister in (("torchvision", "torchvision.models"), ("timm", "timm")):
        try:
            known = import_module(lister).list_models()
        except Exception:  # not installed, or made for another torch
            continue
        if name in known:
            return f"; did you mean '{zoo}:{name}'?"
    # Where no zoo is there to be asked, the names that everyone knows are torchvision's.
    return f"; did you mean 'torchvision:{name}'?" if name.startswith(_FAMILIES) else ""


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
