"""Invariance: how far a network's features move when its image is moved, enlarged or turned."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from convscope.images import Preprocess
from convscope.methods.transformations import leaves_alone
from convscope.results import Result


@dataclass(frozen=True, eq=False, repr=False)
class Invariance(Result):
    """What transformations of some images do to a network's features and answer.

    All tensors lie on the CPU. K stands for the kinds of transformation, L for the layers, N for
    the images, S for the most amounts that any kind has; what is beyond a kind's amounts, or was
    not computed before the work was stopped, is NaN.

    Attributes:
        images: [N, C, H, W], the images as they are, in the network's input space.
        amounts: [K, S], float64: how much each image was transformed; see ``units``.
        distance: [K, L, N, S], float64: the Euclidean distance between the layer's features of the
            transformed and of the plain image, divided by the length of those of the plain image.
        norm: [L, N], float64: that length, which takes the distances back to the layer's own units;
            where it is zero, distances are NaN.
        probability: [K, N, S], float64, of the target; None if the network is no classifier.
        predicted: [K, N, S], int64, the most probable class, -1 where unknown; or None.
        clean: the probabilities for the plain images, one an image; empty for no classifier.
        transforms: ``"translation"``, ``"scale"``, ``"rotation"``.
        units: the units of the amounts, one a kind.
        layers: names of the layers.
        targets: one class an image; empty for no classifier.
        classes: names of the classes that occur, by number.
        fill: what lies beyond the borders of a transformed image.
        network: the network's name.
        preprocess: takes inputs back to pixels.
        titles: one an image.
    """

    images: Tensor
    amounts: Tensor
    distance: Tensor
    norm: Tensor
    clean: tuple[float, ...]
    transforms: tuple[str, ...]
    units: tuple[str, ...]
    layers: tuple[str, ...]
    targets: tuple[int, ...]
    classes: dict[str, str]
    fill: str
    network: str
    preprocess: Preprocess
    titles: tuple[str, ...]
    probability: Tensor | None = None
    predicted: Tensor | None = None

    figure: ClassVar[str] = "invariance"
    seen_only: ClassVar[tuple[str, ...]] = ("images",)

    def class_name(self, n: int) -> str:
        """Return the name of an image's class, or its number where the network names none."""
        return self.classes.get(str(self.targets[n]), f"class {self.targets[n]}")

    def changed(self, k: int) -> Tensor:
        """Return [S], bool: which amounts of a kind change the image; 0 pixels does not."""
        return torch.tensor(
            [
                math.isfinite(amount) and not leaves_alone(self.transforms[k], amount)
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

    def kept(self, k: int) -> tuple[int, int]:
        """Return how often a kind left the target the answer, and how many images it changed.

        Both are 0 where none was computed, or the network is no classifier.
        """
        if self.predicted is None:
            return 0, 0
        answers = self.predicted[k][:, self.changed(k)]
        kept = answers == torch.tensor(self.targets)[:, None]
        return int(kept.sum()), int((answers >= 0).sum())

    def table(self) -> list[dict[str, Any]]:
        """Return a row a transformed image: the distance at each layer, and the answer."""
        rows = []
        for k, name in enumerate(self.transforms):
            for n, title in enumerate(self.titles):
                for s, amount in enumerate(self.amounts[k].tolist()):
                    if math.isnan(amount):
                        continue
                    row = {"image": title, "transform": name, "amount": amount}
                    row |= {
                        f"distance at {layer}": float(self.distance[k, at, n, s])
                        for at, layer in enumerate(self.layers)
                    }
                    if self.probability is not None and self.predicted is not None:
                        row["target"] = self.targets[n]
                        row["probability"] = float(self.probability[k, n, s])
                        row["predicted"] = int(self.predicted[k, n, s])
                    rows.append(row)
        return rows

    def summary(self) -> str:
        """Return how far each transformation moves the features on the median, and the answers."""
        lines = []
        for k, (name, unit) in enumerate(zip(self.transforms, self.units, strict=True)):
            known = self.amounts[k][~self.amounts[k].isnan()]
            lines.append(f"{name}, {float(known.min()):g} to {float(known.max()):g} {unit}:")
            for layer, median in zip(self.layers, self.medians(k), strict=True):
                told = f"median distance {median:.3f} of the features' length"
                lines.append(f"  {layer}: {'not measured' if math.isnan(median) else told}")
            kept, of = self.kept(k)
            if of:
                lines.append(f"  the target is the answer for {kept} of {of} transformed images")
        if self.partial:
            lines.append(f"partial: {self.notes[-1]}")
        for n, chance in enumerate(self.clean):
            lines.append(f"{self.titles[n]}: P({self.class_name(n)}) {chance:.3f} as it is")
        return "\n".join(lines)
