"""The commands that make a picture of the atlas again."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ModelNames:
    """How the command line names a network and its images.

    Attributes:
        model: as for ``convscope scan MODEL``.
        options: how the network is loaded, by the options' names; only what is not the default.
        images: the folder.
    """

    model: str
    options: dict[str, Any]
    images: str


def unit_command(folder: Path, layer: str, channel: int) -> str:
    """Return the command that draws a unit from the atlas.

    >>> unit_command(Path("my atlas"), "features.0", 3)
    "convscope unit 'my atlas' features.0 3 -o unit.png"
    """
    return shlex.join(["convscope", "unit", str(folder), layer, str(channel), "-o", "unit.png"])


def project_command(model: ModelNames, image: Path, layer: str, channel: int, rule: str) -> str:
    """Return the command that projects the unit in its strongest image.

    >>> names = ModelNames("vgg16", {"size": "3,64,64"}, "photos")
    >>> project_command(names, Path("photos/a.jpg"), "features.1", 3, "deconvnet")
    'convscope project vgg16 photos/a.jpg --layer features.1 --channel 3 --size 3,64,64'
    """
    words = ["convscope", "project", model.model, str(image)]
    words += ["--layer", layer, "--channel", str(channel)]
    for option, value in model.options.items():
        words += [f"--{option}", str(value)]
    if rule != "deconvnet":
        words += ["--rule", rule]
    return shlex.join(words)
