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

BY_BIAS = (
    "Its bias makes it so: train with weight decay on biases too or a lower learning rate, and "
    "subtract the mean of what the layer reads."
)
BY_STATISTICS = (
    "The norm's running statistics are not those of these images: feed what the network was "
    "trained on, or measure the statistics anew."
)
BY_WHAT_IT_READS = (
    "Renormalising filters would not help: look at the channels below that it reads, and at their "
    "mean, which a norm before the layer or inputs less their mean would take away."
)
EXPECTED = 3.0
"""How many times what batch norm's statistics and constants make of it a unit may answer."""


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
    heavy = np.flatnonzero(large_weights(layer, thresholds))
    compared = heavy if len(heavy) else channels
    largest = int(compared[np.argmax(np.maximum(weights, activations)[compared])])
    energy = layer.root_mean_square**2
    share = float(energy[channels].sum() / max(energy.sum(), 1e-300))
    folded = "" if np.isnan(layer.kernels.spread).all() else ", batch norm folded in,"
    one = "Channel" if len(channels) == 1 else "Channels"
    size, answer = (f"{own[largest]:.1f} times" for own in (weights, activations))
    if len(heavy):
        told, suggestion = f"the weights of channel {largest}{folded} are {size}", SUGGESTION
        told += f" the layer's median in root mean square, its activations {answer}"
    else:
        why, suggestion = _though_ordinary(layer, largest)
        told = f"the activations of channel {largest} are {answer} the layer's median in root mean"
        told += f" square, though its weights{folded} are ordinary, {size}{why}"
    told = f"{one} {named(list(channels))} of {len(weights)}: {told}"
    evidence = f"{told}; {share:.0%} of the layer's energy."
    # Ten times too large is as bad as half the units dead; hundred times nearly the worst.
    severity = 0.5 * float(np.log10(max(weights[largest], activations[largest], 1.0)))
    return [layer.finding(KIND, channels, evidence, suggestion, severity)]


def _though_ordinary(layer: ExaminedLayer, channel: int) -> tuple[str, str]:
    """Return what is measured of a unit that answers much by ordinary weights, and what to do."""
    answer, mean = layer.root_mean_square[channel], layer.scan.mean[channel]
    kernels = layer.kernels
    bias, spread = kernels.offset[channel], kernels.spread[channel]
    if np.hypot(bias, spread) * EXPECTED < answer:  # never true without a norm: NaN
        return (
            f"; the norm makes {np.hypot(bias, spread):.3g} of what it was trained on, and "
            f"{answer:.3g} of these images"
        ), BY_STATISTICS
    if abs(bias) > answer / 2:
        return f"; its bias is {bias:.3g}, its mean {mean:.3g}", BY_BIAS
    return f"; its bias is {bias:.3g}, its mean {mean:.3g}", BY_WHAT_IT_READS


def follows_from_below(layer: ExaminedLayer, finding: Finding, thresholds: Thresholds) -> bool:
    """Return whether no filter's own weights are too large."""
    return not large_weights(layer, thresholds).any()
