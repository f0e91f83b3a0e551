"""The commands that make a picture of the atlas again."""

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ModelNames:
    """How the command line names a network and its images.

    Attributes:
        model: as for ``convscope scan MODEL``.
        weights: as for ``--weights``.
        size: as for ``--size``, or None.
        images: the folder.
        range: as for ``--range``, or None.

    """

    model: str
    weights: str
    size: str | None
    images: str
    range: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the names, fit for JSON."""
        return asdict(self)


def unit_command(folder: Path, layer: str, channel: int) -> str:
    """Return the command that draws a unit from the atlas.

    >>> unit_command(Path("my atlas"), "features.0", 3)
    "convscope unit 'my atlas' features.0 3 -o unit.png"
    """
    return shlex.join(["convscope", "unit", str(folder), layer, str(channel), "-o", "unit.png"])


def project_command(model: ModelNames, image: Path, layer: str, channel: int, rule: str) -> str:
    """Return the command that projects the unit in its strongest image.

    >>> names = ModelNames("vgg16", "default", None, "photos")
    >>> project_command(names, Path("photos/a.jpg"), "features.1", 3, "deconvnet")
    'convscope project vgg16 photos/a.jpg --layer features.1 --channel 3'
    """
    words = ["convscope", "project", model.model, str(image)]
    words += ["--layer", layer, "--channel", str(channel)]
    for option, value, usual in (
        ("--weights", model.weights, "default"),
        ("--size", model.size, None),
        ("--range", model.range, None),
        ("--rule", rule, "deconvnet"),
    ):
        if value is not None and value != usual:
            words += [option, value]
    return shlex.join(words)
