"""Correspondence: whether hiding the same part changes the features of images alike."""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import torch
from torch import Tensor

from convscope.images import Preprocess
from convscope.results import Result


@dataclass(frozen=True, eq=False, repr=False)
class Correspondence(Result):
    """How differently features change when the same part of several images is hidden.

    All tensors lie on the CPU. P stands for the parts, L for the layers, R for the repetitions with
    random boxes. A difference is the share of a layer's features, 0 to 1, whose change has another
    sign in one image than in another, as a mean over all pairs of images; what was not computed
    before the work was stopped is NaN.

    Attributes:
        images: [N, C, H, W], the images as they are, in the network's input space.
        difference: [P, L], float64, with the part hidden: Zeiler & Fergus's Delta, divided by the
            number of pairs and by the number of features.
        error: [P, L], float64: its standard error, by leaving out one image after the other; NaN
            where there are two images.
        random: [P, L, R], float64: the same with a box of the part's size at a random place, an own
            one in each image.
        same_place: [P, L, R], float64: the same with a box at a random place that is the same in
            all images; what hides the same place changes the same units, whatever is there.
        changed: [P, L], float64: the share of features that hiding the part changes at all.
        parts: names of the parts.
        layers: names of the layers.
        counts: in how many images each part is marked.
        boxes: number of the image, number of the part, top, left, bottom, right, for every mark.
        fill: what hides the pixels.
        seed: of the random places.
        network: the network's name.
        preprocess: takes inputs back to pixels.
        titles: one an image.
    """

    images: Tensor
    difference: Tensor
    error: Tensor
    random: Tensor
    same_place: Tensor
    changed: Tensor
    parts: tuple[str, ...]
    layers: tuple[str, ...]
    counts: tuple[int, ...]
    boxes: tuple[tuple[int, ...], ...]
    fill: str
    seed: int
    network: str
    preprocess: Preprocess
    titles: tuple[str, ...]

    figure: ClassVar[str] = "correspondence"
    seen_only: ClassVar[tuple[str, ...]] = ("images",)

    @property
    def corresponds(self) -> Tensor:
        """[P, L], bool: whether a part's difference is better than chance.

        It is if it is lower than with every box at random places; and, where the part lies in
        nearly the same place in some of the images, than with every box at one random place.
        """
        # What was not drawn is NaN, which nothing is lower than.
        lower, at_one_place = (
            (self.difference[..., None] < drawn).all(2) for drawn in (self.random, self.same_place)
        )
        shared = [self._shares_its_place(p) for p in range(len(self.parts))]
        return lower & (at_one_place | ~torch.tensor(shared)[:, None])

    def _shares_its_place(self, part: int) -> bool:
        """Return whether the boxes of a part overlap between images."""
        boxes = [box for _, own, *box in self.boxes if own == part]
        return any(
            one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
            for one, other in combinations(boxes, 2)
        )

    def control(self, name: str) -> tuple[Tensor, Tensor]:
        """Return the mean of a control over its repetitions and the mean's standard error.

        Args:
            name: ``"random"`` or ``"same_place"``.

        Returns:
            [P, L] each; the error is over the choice of the places, not of the images, and NaN
            where there are less than two repetitions.
        """
        values: Tensor = getattr(self, name)
        known = (~values.isnan()).sum(2)
        mean = values.nanmean(2)
        squares = ((values - mean[..., None]) ** 2).nansum(2)
        error = (squares / (known - 1).clamp(min=1) / known.clamp(min=1)).sqrt()
        return mean, torch.where(known > 1, error, torch.nan)

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return all but the images, fit for JSON but for NaN, with what follows from it."""
        return {**super().to_dict(), "corresponds": self.corresponds.tolist()}

    def table(self) -> list[dict[str, Any]]:
        """Return a row a layer and part: its difference, and those of the controls."""
        controls = {name: self.control(name) for name in ("random", "same_place")}
        return [
            {
                "layer": layer,
                "part": part,
                "images": self.counts[p],
                "difference": float(self.difference[p, at]),
                "error": float(self.error[p, at]),
                **{name: float(mean[p, at]) for name, (mean, _) in controls.items()},
                **{f"{name}_error": float(error[p, at]) for name, (_, error) in controls.items()},
                "changed": float(self.changed[p, at]),
                "corresponds": bool(self.corresponds[p, at]),
            }
            for at, layer in enumerate(self.layers)
            for p, part in enumerate(self.parts)
        ]

    def summary(self) -> str:
        """Return one table a layer, as table 1 of Zeiler & Fergus."""
        wide = max(len("hidden"), *(len(name) for name in self.parts))
        lines = []
        for place, row in enumerate(self.table()):
            if place % len(self.parts) == 0:
                lines += [
                    f"{row['layer']}: share of features whose change has another sign, ± standard "
                    f"error",
                    f"  {'hidden':{wide}}  {'the part':>15}  {'random places':>15}  "
                    f"{'one random place':>16}  changed at all",
                ]
            lines.append(
                f"  {row['part']:{wide}}  {_with_error(row['difference'], row['error']):>15}"
                f"  {_with_error(row['random'], row['random_error']):>15}"
                f"  {_with_error(row['same_place'], row['same_place_error']):>16}"
                f"  {row['changed']:>14.1%}"
                f"{'' if row['corresponds'] else '  no better than chance'}"
            )
        if self.partial:
            lines.append(f"partial: {self.notes[-1]}")
        return "\n".join(lines)


def _with_error(value: float, error: float) -> str:
    if math.isnan(value):
        return "none"
    return f"{value:.3f}" if math.isnan(error) else f"{value:.3f} ± {error:.3f}"
