"""Aliasing: a first layer whose stride cannot carry what its filters pass."""

import numpy as np

from convscope.methods.diagnosis.finding import Finding, Thresholds, named
from convscope.methods.diagnosis.spectra import Response

ALIASING = "aliasing"
GAP = "frequency gap"
CITED = "as Zeiler & Fergus did (sec. 4.1: from 11x11, stride 4 to 7x7, stride 2)"


def aliased_share(response: Response) -> float:
    """Return the mean over the filters of the share of their response that is folded back.

    Filters without weights do not count; NaN if there are no others.
    """
    passing = response.power.sum((1, 2)) > 0
    return float(response.aliased()[passing].mean()) if passing.any() else float("nan")


def folded_octaves(response: Response) -> float:
    """Return the mean over the filters of how far their energy lies beyond the stride."""
    living = response.energy.sum((1, 2)) > 0
    return float(response.folded_octaves()[living].mean()) if living.any() else float("nan")


def find_aliasing(layer: str, response: Response, thresholds: Thresholds) -> list[Finding]:
    """Return what is to be said of a first layer's stride."""
    octaves = folded_octaves(response)
    if response.rewrites_patches or not octaves > thresholds.aliased:
        return []
    own = response.folded_octaves()
    worst = np.flatnonzero(own > thresholds.aliased)
    down, across = response.stride
    height, width = response.kernel
    evidence = (
        f"Its {height}x{width} filters are read every {down}x{across} pixels, which carries up to "
        f"{0.5 / max(response.stride):.3g} cycles a pixel; their energy lies {octaves:.2f} octaves "
        f"beyond on average, more than {thresholds.aliased:g} in {len(worst)} of {len(own)} "
        f"filters (channels {named(list(worst))}). What they pass there comes back as lower "
        f"frequencies"
    )
    share = aliased_share(response)
    # Images that are the same all over get no response that a share could be of.
    evidence += "." if np.isnan(share) else f": {share:.1%} of their response to these images."
    half = (max(1, down // 2), max(1, across // 2))
    suggestion = (
        f"Halve the stride to {half[0]}x{half[1]}"
        f"{' and make the filters smaller' if max(response.kernel) > 7 else ''}, {CITED}; "
        f"or blur before subsampling (Zhang, arXiv 1904.11486)."
    )
    channels = tuple(map(int, worst))
    return [Finding(ALIASING, layer, channels, evidence, suggestion, min(1.0, octaves / 2))]


def find_gap(layer: str, response: Response, thresholds: Thresholds) -> list[Finding]:
    """Return what is to be said of a first layer that passes the extremes without the middle."""
    if max(response.kernel) < 5:
        return []  # too small to tell three bands apart
    passing = np.flatnonzero(response.power.sum((1, 2)) > 0)
    if not len(passing):
        return []
    low, middle, high = np.bincount(
        response.bands()[passing].argmax(axis=1), minlength=3
    ) / len(passing)  # fmt: skip
    if middle >= thresholds.gap or min(low, high) < thresholds.extremes:
        return []
    evidence = (
        f"Most of the response to these images lies at low frequencies, below a cycle in the "
        f"filter's width, in {low:.0%} of the filters, at high ones, above a quarter of a cycle a "
        f"pixel, in {high:.0%}, and in between in only {middle:.0%}."
    )
    suggestion = f"Make the filters smaller and the stride shorter, {CITED}."
    return [Finding(GAP, layer, (), evidence, suggestion, 0.5)]
