"""Invariance: how far a network's features move when its image is moved, enlarged or turned."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.methods.transformations import leaves_alone
from convscope.results import Result


@dataclass(frozen=True, eq=False, repr=False)
class Invariance(Result):
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

    def changed(self, k: int) -> Tensor:
        """Return [S], bool: which amounts of a kind change the image; 0 pixels does not."""
        return torch.tensor(
            [
                math.isfinite(amount) and not leaves_alone(self.kinds[k], amount)
                for amount in self.amounts[k].tolist()
            ]
        )

    def medians(self, k: int) -> list[float]:
        """Return each layer's median distance over the images that a kind changed.

        It is NaN where none was computed.
        """
        # The image as it is would draw the median towards its zero.
        values = self.distance[k][:, :, self.changed(k)].flatten(1)
        if not values.numel():
            return [math.nan] * len(values)
        return [float(own) for own in values.nanquantile(0.5, dim=1)]

    def kept(self, k: int) -> float:
        """Return for which share of the images that a kind changed the target is the answer.

        It is NaN where none was computed, or the network is no classifier.
        """
        if self.predicted is None:
            return math.nan
        answers = self.predicted[k][:, self.changed(k)]
        kept = answers == torch.tensor(self.targets)[:, None]
        return float(kept[answers >= 0].double().mean())
