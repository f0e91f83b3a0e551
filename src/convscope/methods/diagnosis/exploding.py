"""Exploding layers: those whose answers are far larger than all that they are made from."""

import numpy as np

from convscope.methods.diagnosis.examined import ExaminedLayer
from convscope.methods.diagnosis.finding import Finding, Thresholds

KIND = "exploding layer"
SUGGESTION = (
    "Look at the weights and the norm's scale there: load them anew, or train with a lower "
    "learning rate, clipped gradients or weight decay on the scale too."
)


def level(layer: ExaminedLayer) -> float:
    """Return how large the layer's units answer: the median of their root mean squares."""
    living = layer.root_mean_square[~layer.silent]
    return float(np.median(living)) if len(living) else 0.0


def find(layer: ExaminedLayer, below: float, thresholds: Thresholds) -> list[Finding]:
    """Return whether a layer explodes.

    *below* is the largest level of the images and of the layers that it reads, directly or not; 0
    where none is known.
    """
    if layer.saturated is not None:
        return []  # by a bounded function, which makes saturation of it
    own = level(layer)
    if not 0 < below * thresholds.exploding <= own:
        return []
    scale = np.abs(layer.kernels.scale)
    normed = not np.isnan(layer.kernels.spread).all()
    by_norm = f"; the norm's scale is {np.median(scale):.3g} in the median" if normed else ""
    evidence = (
        f"The units' activations are {own:.3g} in root mean square, {own / below:,.0f} times the "
        f"largest of what they are made from{by_norm}."
    )
    return [layer.finding(KIND, (), evidence, SUGGESTION, 0.25 * float(np.log10(own / below)))]
