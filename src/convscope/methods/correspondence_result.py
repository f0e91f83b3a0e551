"""Correspondence: whether hiding the same part changes the features of images alike."""

from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.results import Result


@dataclass(frozen=True, eq=False, repr=False)
class Correspondence(Result):
    """How differently features change when the same part of several images is hidden.

    All tensors lie on the CPU. P stands for the parts, L for the layers, R for the repetitions with
    random boxes. A difference is the share of a layer's features, 0 to 1, whose change has another
    sign in one image than in another, as a mean over all pairs of images; what was not computed
    before the work was stopped is NaN.

    Attributes:
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

    """

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
