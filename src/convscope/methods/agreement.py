"""Agreement: whether a unit's projection lights up where hiding the image silences the unit.

That is the claim that fig. 7 of Zeiler & Fergus makes with pictures; here it is a number.
"""

import torch
from torch import Tensor

from convscope.methods.occlusion import Occlusion


def projection_agreement(projection: Tensor, occlusion: Occlusion) -> float | None:
    """Return the correlation between a unit's projection and the drop of its activity.

    Args:
        projection: [C, H, W], the unit's projection; its magnitude is taken over the channels.
        occlusion: the occlusion of the same image with the same unit.

    Returns:
        Pearson's correlation, -1 to 1, over the positions that were computed, between the mean
        magnitude of the projection under the patch and the drop of the map's sum; None where
        either is constant, or fewer than three positions were computed.

    Raises:
        UnitError: if the occlusion has no unit.

    """
    magnitude = projection.detach().cpu().double().abs().sum(0)
    padded = torch.nn.functional.pad(magnitude, (1, 0, 1, 0)).cumsum(0).cumsum(1)
    known = occlusion.computed
    drop = occlusion.drop("activation").double()[known]
    top, left, bottom, right = occlusion.positions[known].unbind(1)
    total = padded[bottom, right] - padded[top, right] - padded[bottom, left] + padded[top, left]
    under = total / ((bottom - top) * (right - left))
    if occlusion.masks is not None:
        masks = occlusion.masks.any(1)[known[0]].double().expand(-1, *magnitude.shape).flatten(1)
        under = masks @ magnitude.flatten() / masks.sum(1)
    if len(drop) < 3:
        return None
    centred = [values - values.mean() for values in (under, drop)]
    lengths = [values.norm() for values in centred]
    # Rounding leaves a constant a little uneven.
    least = 1e-9 * max(1.0, float(drop.abs().max()), float(under.abs().max()))
    if min(lengths) <= least:
        return None
    return float((centred[0] @ centred[1]) / (lengths[0] * lengths[1]))
