"""Saturation: units that lie where their function is flat, so that nothing moves them."""

import numpy as np

from convscope.methods.diagnosis.examined import ExaminedLayer
from convscope.methods.diagnosis.finding import Finding, Thresholds, named

KIND = "saturation"


def find(layer: ExaminedLayer, thresholds: Thresholds) -> list[Finding]:
    """Return what is to be said of units at their function's flat ends."""
    if layer.saturated is None:
        return []
    stuck = np.flatnonzero((layer.saturated >= thresholds.saturated) & ~layer.constant)
    count = len(layer.saturated)
    if len(stuck) <= thresholds.saturated_units * count:
        return []
    evidence = (
        f"{len(stuck)} of {count} units (channels {named(list(stuck))}) lie at a flat end of "
        f"their function at {layer.saturated[stuck].min():.0%} of positions or more: no gradient "
        f"passes there."
    )
    suggestion = (
        "Normalise before the function, start from smaller weights, or use a rectifier instead."
    )
    return [layer.finding(KIND, stuck, evidence, suggestion, len(stuck) / count)]
