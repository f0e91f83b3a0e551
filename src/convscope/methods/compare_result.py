"""What a comparison of two networks found."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from convscope.methods import bad_images
from convscope.methods.attribute import Attribution
from convscope.methods.compare_matching import LayerMatch
from convscope.methods.diagnosis.result import Diagnosis
from convscope.methods.draw import Architecture
from convscope.methods.projection import Projection
from convscope.network import Layer
from convscope.outputs import finite
from convscope.results import Result
from convscope.wording import counted, share


@dataclass(frozen=True, eq=False)
class Side:
    """One of the networks compared.

    Attributes:
        architecture: its name, its volumes, and what they cost.
        layers: its layers, in the order they run.
        right: how many images it answers rightly; None without labels that it can be held to.
        labelled: how many images have such a label.
        diagnosis: what is wrong with it; None where the work was stopped before.
        notes: what a picture of it must say, such as ``"random weights"``.
    """

    architecture: Architecture
    layers: tuple[Layer, ...]
    right: int | None
    labelled: int
    diagnosis: Diagnosis | None
    notes: tuple[str, ...] = ()

    @property
    def network(self) -> str:
        """Its name."""
        return self.architecture.network

    @property
    def parameters(self) -> int:
        """Learned values."""
        return self.architecture.parameters

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds an image."""
        return self.architecture.multiply_adds

    @property
    def accuracy(self) -> float | None:
        """Share of the labelled images that are answered rightly, 0..1."""
        return None if self.right is None or not self.labelled else self.right / self.labelled

    @property
    def dead(self) -> tuple[int, int]:
        """Dead channels, and channels in all, of the convolutions; 0 and 0 without a diagnosis."""
        layers = () if self.diagnosis is None else self.diagnosis.layers
        return sum(len(row.dead) for row in layers), sum(row.shape[0] for row in layers)

    def line(self) -> str:
        """Return in a line how right it is, what it costs and what is wrong with it."""
        words = [] if self.right is None else [f"{share(self.right, self.labelled)} right"]
        words += [f"{self.parameters:,} parameters", f"{self.multiply_adds:,} multiply-adds"]
        if self.diagnosis is not None:
            dead, channels = self.dead
            words.append(f"{dead} of {channels:,} channels dead")
            words.append(counted(len(self.diagnosis.findings), "finding"))
        return ", ".join(words)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it but the drawing, fit for JSON."""
        return {
            "network": self.network,
            "input_shape": self.architecture.input_shape,
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "accuracy": self.accuracy,
            "labelled": self.labelled,
            "dead": self.dead[0],
            "channels": self.dead[1],
            "layers": [asdict(layer) for layer in self.layers],
            "diagnosis": None if self.diagnosis is None else self.diagnosis.to_dict(),
            "notes": self.notes,
        }


def told_apart(first: str, second: str) -> tuple[str, str]:
    """Return two networks' names, with A and B if these are the same.

    >>> told_apart("base", "base"), told_apart("base", "vgg16")
    (('base (A)', 'base (B)'), ('base', 'vgg16'))
    """
    return (first, second) if first != second else (f"{first} (A)", f"{second} (B)")


PLAIN = ("images", "data", "agreement", "left_out", "bad", "notes", "partial", "made_with")
"""What of a comparison goes to JSON as it is."""


@dataclass(frozen=True, eq=False)
class MatchedPairs:
    """The best pairs of channels of two layers, with what drives them: P pairs.

    Attributes:
        match: the place of the pair of layers among the comparison's.
        units: of either network, what drives the channels, each in the image in which it is
            strongest: image k shows channel k, so that its tensors are [P, 1, ...].
    """

    match: int
    units: tuple[Projection, Projection]


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Result):
    """Two networks side by side.

    Attributes:
        sides: the networks.
        images: on how many images they were compared.
        data: what the images are called.
        agreement: the share of these that both give the same answer to, 0..1; None if their answers
            do not stand for the same classes.
        matches: pairs of layers with the channels that answer alike.
        filters: [K, C, h, w] of either network's first layer, where both are small pictures; else
            none.
        shown: the best pairs of some of these layers, for pictures.
        attributions: of each network, what its answers to a few of the images hang on; none where
            one is no classifier.
        left_out: what was not measured, and why.
        bad: image -> why it was left out.
    """

    sides: tuple[Side, Side]
    images: int
    data: str
    agreement: float | None
    matches: tuple[LayerMatch, ...]
    filters: tuple[Tensor, ...] = ()
    shown: tuple[MatchedPairs, ...] = ()
    attributions: tuple[Attribution, ...] = ()
    left_out: tuple[str, ...] = ()
    bad: dict[str, str] = field(default_factory=dict)

    figure: ClassVar[str] = "compare"
    folder: ClassVar[str] = "comparison"
    writer: ClassVar[str] = "convscope.pages.compare:write_comparison"

    @property
    def names(self) -> tuple[str, str]:
        """What to call the networks: their names, or with A and B if these are the same."""
        return told_apart(self.sides[0].network, self.sides[1].network)

    @property
    def agreed(self) -> str:
        """:attr:`agreement` in words; empty where there is none."""
        same = self.agreement
        return "" if same is None else share(round(same * self.images), self.images)

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return all but the pictures, fit for JSON but for NaN."""
        return {
            "networks": [side.to_dict() for side in self.sides],
            "matches": [match.to_dict() for match in self.matches],
            "attributions": [one.to_dict() for one in self.attributions],
            **{name: getattr(self, name) for name in PLAIN},
        }

    def table(self) -> list[dict[str, Any]]:
        """Return a row a channel of either network: its partner, and how alike they answer."""
        rows = [
            {
                "network": self.names[side],
                "layer": match.layers[side],
                "channel": channel,
                "other_layer": match.layers[1 - side],
                "partner": partner,
                "correlation": correlation,
                "by_chance": chance,
                "beyond_chance": beyond,
            }
            for match in self.matches
            for side, found in enumerate((match.first, match.second))
            for channel, (partner, correlation, chance, beyond) in enumerate(
                zip(
                    found.partner.tolist(), found.correlation.tolist(), found.chance.tolist(),
                    found.beyond_chance.tolist(), strict=True,
                )
            )
        ]  # fmt: skip
        return [finite(row) for row in rows]

    def summary(self) -> str:
        """Return what each network is, and how alike their layers answer."""
        same = "" if self.agreement is None else f"; same answer to {self.agreed}"
        lines = [f"{counted(self.images, 'image')} of {self.data}{same}"]
        if self.partial:
            lines.append(f"partial: {self.partial}")
        lines += [
            f"  {name}: {side.line()}" for name, side in zip(self.names, self.sides, strict=True)
        ]
        for match in self.matches:
            found = match.first
            told = "nothing varies that could be correlated"
            if not math.isnan(found.median):
                told = f"median correlation {found.median:.2f} (by chance: unknown)"
            if not math.isnan(found.chance_level):
                told = (
                    f"median correlation {found.median:.2f} (by chance {found.median_chance:.2f}), "
                    f"{int(found.beyond_chance.sum())} of {len(found.partner)} channels beyond it"
                )
            lines.append(f"  {match.layers[0]} and {match.layers[1]}: {told}")
        lines += [f"  left out: {sentence}" for sentence in self.left_out]
        return "\n".join([*lines, *bad_images.told(self.bad.items())])
