"""Dominating filters: those whose size drowns the others of their layer."""

import numpy as np

from convscope.methods.diagnosis.examined import Booleans, ExaminedLayer, over_median
from convscope.methods.diagnosis.finding import Finding, Thresholds, named
from convscope.methods.kernels import Doubles

KIND = "dominating filter"
CONSEQUENCE = "Above it channels of {layer} stand out from the others."
SUGGESTION = (
    "Renormalise each filter whose root mean square passes a fixed radius, as Zeiler & Fergus "
    "did in training (sec. 3), or train with weight decay, clipped gradients or a lower "
    "learning rate."
)


def weight_ratios(layer: ExaminedLayer) -> Doubles:
    """Return each filter's length over the layer's median, batch norm folded in, [C]."""
    strength = layer.kernels.strength
    return over_median(strength, ~layer.silent)


def activation_ratios(layer: ExaminedLayer) -> Doubles:
    """Return the root mean square of each unit's activations over the layer's median, [C]."""
    return over_median(layer.root_mean_square, ~layer.silent)


def large_weights(layer: ExaminedLayer, thresholds: Thresholds) -> Booleans:
    """Return which filters' weights are too large, [C]."""
    found: Booleans = weight_ratios(layer) >= thresholds.dominating
    return found


def find(layer: ExaminedLayer, thresholds: Thresholds) -> list[Finding]:
    """Return what is to be said of the layer's dominating filters."""
    weights, activations = weight_ratios(layer), activation_ratios(layer)
    too_large = large_weights(layer, thresholds)
    too_large |= activations >= thresholds.dominating_activation
    channels = np.flatnonzero(too_large)
    if not len(channels):
        return []
    largest = int(channels[np.argmax(np.maximum(weights, activations)[channels])])
    energy = layer.root_mean_square**2
    share = float(energy[channels].sum() / max(energy.sum(), 1e-300))
    folded = "" if np.isnan(layer.kernels.spread).all() else ", batch norm folded in,"
    one = "Channel" if len(channels) == 1 else "Channels"
    evidence = (
        f"{one} {named(list(channels))} of {len(weights)}: the weights of channel {largest}"
        f"{folded} are {weights[largest]:.1f} times the layer's median in root mean square, its "
        f"activations {activations[largest]:.1f} times; {share:.0%} of the layer's energy."
    )
    # Ten times too large is as bad as half the units dead; hundred times nearly the worst.
    severity = 0.5 * float(np.log10(max(weights[largest], activations[largest], 1.0)))
    return [layer.finding(KIND, channels, evidence, SUGGESTION, severity)]


def follows_from_below(layer: ExaminedLayer, finding: Finding, thresholds: Thresholds) -> bool:
    """Return whether no filter's own weights are too large."""
    return not large_weights(layer, thresholds).any()
