"""Invariance: how far a network's features move when its image is moved, enlarged or turned."""

from dataclasses import dataclass, field

from torch import Tensor

from convscope.records import Record, provenance


@dataclass(frozen=True, eq=False)
class Invariance(Record):
    """What transformations of some images do to a network's features and answer.

    All tensors lie on the CPU. K stands for the kinds of transformation, L for the layers, N for
    the images, S for the most amounts that any kind has; what is beyond a kind's amounts, or was
    not computed before the work was stopped, is NaN.

    Attributes:
        amounts: [K, S], float64: how much each image was transformed; see ``units``.
        distance: [K, L, N, S], float64: the Euclidean distance between the layer's features of the
            transformed and of the plain image, divided by the length of those of the plain image.
        norm: [L, N], float64: that length, which takes the distances back to the layer's own units;
            where it is zero, distances are NaN.
        probability: [K, N, S], float64, of the target; None if the network is no classifier.
        predicted: [K, N, S], int64, the most probable class, -1 where unknown; or None.
        clean: the probabilities for the plain images, one an image; empty for no classifier.
        kinds: ``"translation"``, ``"scale"``, ``"rotation"``.
        units: the units of the amounts, one a kind.
        layers: names of the layers.
        targets: one class an image; empty for no classifier.
        classes: names of the classes that occur, by number.
        fill: what lies beyond the borders of a transformed image.
        network: the network's name.
        partial: whether the work was stopped before it was done.
        notes: what a picture of this must say.
        made_with: versions and machine.

    """

    amounts: Tensor
    distance: Tensor
    norm: Tensor
    clean: tuple[float, ...]
    kinds: tuple[str, ...]
    units: tuple[str, ...]
    layers: tuple[str, ...]
    targets: tuple[int, ...]
    classes: dict[str, str]
    fill: str
    network: str
    probability: Tensor | None = None
    predicted: Tensor | None = None
    partial: bool = False
    notes: tuple[str, ...] = ()
    made_with: dict[str, str] = field(default_factory=provenance)
