"""What a comparison of two networks found."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from convscope.methods.diagnosis.result import Diagnosis
from convscope.methods.matching import LayerMatch
from convscope.network import Layer
from convscope.outputs import finite
from convscope.results import provenance


@dataclass(frozen=True, eq=False)
class Side:
    """One of the networks compared.

    Attributes:
        network: its name.
        input_shape: channels, height and width.
        layers: its layers, in the order they run.
        right: how many images it answers rightly; None without labels that it can be held to.
        labelled: how many images have such a label.
        diagnosis: what is wrong with it.
        notes: what a picture of it must say, such as ``"random weights"``.

    """

    network: str
    input_shape: tuple[int, int, int]
    layers: tuple[Layer, ...]
    right: int | None
    labelled: int
    diagnosis: Diagnosis
    notes: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """Learned values."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds an image."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def accuracy(self) -> float | None:
        """Share of the labelled images that are answered rightly, 0..1."""
        return None if self.right is None or not self.labelled else self.right / self.labelled

    @property
    def dead(self) -> tuple[int, int]:
        """Dead channels, and channels in all, of the convolutions."""
        layers = self.diagnosis.layers
        return sum(len(row.dead) for row in layers), sum(row.shape[0] for row in layers)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, fit for JSON."""
        return {
            "network": self.network,
            "input_shape": self.input_shape,
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "accuracy": self.accuracy,
            "labelled": self.labelled,
            "dead": self.dead[0],
            "channels": self.dead[1],
            "layers": [asdict(layer) for layer in self.layers],
            "diagnosis": self.diagnosis.to_dict(),
            "notes": self.notes,
        }


def told_apart(first: str, second: str) -> tuple[str, str]:
    """Return two networks' names, with A and B if these are the same.

    >>> told_apart("base", "base"), told_apart("base", "vgg16")
    (('base (A)', 'base (B)'), ('base', 'vgg16'))
    """
    return (first, second) if first != second else (f"{first} (A)", f"{second} (B)")


@dataclass(frozen=True, eq=False)
class NetworkComparison:
    """Two networks side by side.

    Attributes:
        sides: the networks.
        images: on how many images they were compared.
        data: what the images are called.
        agreement: the share of these that both give the same answer to, 0..1; None if their answers
            do not stand for the same classes.
        matches: pairs of layers with the channels that answer alike.
        left_out: what was not measured, and why.
        made_with: versions and machine.

    """

    sides: tuple[Side, Side]
    images: int
    data: str
    agreement: float | None
    matches: tuple[LayerMatch, ...]
    left_out: tuple[str, ...] = ()
    made_with: dict[str, str] = field(default_factory=provenance)

    @property
    def names(self) -> tuple[str, str]:
        """What to call the networks: their names, or with A and B if these are the same."""
        return told_apart(self.sides[0].network, self.sides[1].network)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a picture of both must say, and of which."""
        return tuple(
            f"{name}: {note}"
            for name, side in zip(self.names, self.sides, strict=True)
            for note in side.notes
        )

    def to_json(self) -> str:
        """Return :meth:`to_dict` as one line of JSON, with null for what is not finite."""
        return json.dumps(finite(self.to_dict()), allow_nan=False)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, fit for JSON but for NaN."""
        return {
            "networks": [side.to_dict() for side in self.sides],
            "images": self.images,
            "data": self.data,
            "agreement": self.agreement,
            "matches": [match.to_dict() for match in self.matches],
            "left_out": self.left_out,
            "made_with": self.made_with,
        }
