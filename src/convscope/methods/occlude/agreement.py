"""Agreement: whether a unit's projection lights up where hiding the image silences the unit.

That is the claim that fig. 7 of Zeiler & Fergus makes with pictures; here it is a number, beside
the one that chance alone reaches.
"""

import torch
from torch import Tensor

from convscope.methods.chance import LEVEL


def agreement(
    projection: Tensor,
    drop: Tensor,
    computed: Tensor,
    positions: Tensor,
    masks: Tensor | None = None,
) -> tuple[float | None, float | None]:
    """Return how well a projection agrees with an occlusion of the same image and unit.

    Args:
        projection: [C, H, W]; its magnitude is taken over the channels.
        drop: [R, S]: by how much hiding each position lowers the sum of the unit's map.
        computed: [R, S], bool: where that was measured.
        positions: [R, S, 4]: what was hidden, see :class:`~.result.Occlusion`.
        masks: [R x S, 1 or C, H, W], bool, where no patches were hidden but these.

    Returns:
        Pearson's correlation, -1 to 1, over the positions that were computed, between the mean
        magnitude of the projection under the patch and the drop of the map's sum; None where either
        is constant, or fewer than three positions were computed. And what one in twenty reaches of
        the correlations between the same two maps shifted against each other, around the borders:
        any two maps as smooth as these agree somewhat. None where there is no whole grid to shift.
    """
    magnitude = projection.detach().cpu().double().abs().sum(0)
    # Running sums, so that the sum over any rectangle is that of four corners.
    padded = torch.nn.functional.pad(magnitude, (1, 0, 1, 0)).cumsum(0).cumsum(1)
    top, left, bottom, right = positions.unbind(2)
    total = padded[bottom, right] - padded[top, right] - padded[bottom, left] + padded[top, left]
    under = total / ((bottom - top) * (right - left))
    if masks is not None:
        shapes = masks.any(1).double().expand(-1, *magnitude.shape).flatten(1)
        under = ((shapes @ magnitude.flatten()) / shapes.sum(1)).view(drop.shape)
    drop = drop.double()
    found = _correlation(under[computed], drop[computed])
    if found is None or masks is not None or bool(drop.isnan().any()) or min(drop.shape) < 2:
        return found, None
    return found, _by_chance(under, drop)


def _correlation(one: Tensor, other: Tensor) -> float | None:
    if len(one) < 3:
        return None
    centred = [values - values.mean() for values in (one, other)]
    lengths = [values.norm() for values in centred]
    # Rounding leaves a constant a little uneven.
    least = 1e-9 * max(1.0, float(one.abs().max()), float(other.abs().max()))
    if min(lengths) <= least:
        return None
    return float((centred[0] @ centred[1]) / (lengths[0] * lengths[1]))


def _by_chance(one: Tensor, other: Tensor) -> float:
    """Return the correlation that one in twenty shifts of one map against the other exceeds."""
    one, other = one - one.mean(), other - other.mean()
    # All shifts at once: a product in the frequencies is a sum over every shift.
    shifted = torch.fft.irfft2(torch.fft.rfft2(one) * torch.fft.rfft2(other).conj(), s=one.shape)
    return float((shifted / (one.norm() * other.norm())).flatten().quantile(LEVEL))
