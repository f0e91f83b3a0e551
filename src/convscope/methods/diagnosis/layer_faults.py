"""What may be wrong in one layer: dead, dominating, duplicate or saturated units, and exploding."""

import numpy as np

from convscope.methods.diagnosis.examined import ExaminedLayer, over_median
from convscope.methods.diagnosis.finding import Finding, Thresholds, named
from convscope.methods.kernels import cosines
from convscope.methods.scanning.strongest import Booleans, Doubles

DEAD = "dead units"
DOMINATING = "dominating filter"
DUPLICATE = "duplicate filters"
EXPLODING = "exploding layer"
SATURATION = "saturation"
CONSEQUENCES = {
    DEAD: "Above it {count} units of {layer} are dead.",
    DOMINATING: "Above it channels of {layer} stand out from the others.",
}

LEARNING = "A lower learning rate, batch norm before the rectifier or a leaky one keeps units alive"
RENORMALISE = (
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
SCALE_DOWN = (
    "Look at the weights and the norm's scale there: load them anew, or train with a lower "
    "learning rate, clipped gradients or weight decay on the scale too."
)
GROUPS_NAMED = 4


def dead_units(layer: ExaminedLayer, thresholds: Thresholds) -> Booleans:
    """Return which channels are dead, [C].

    They gave the same value everywhere, or were active in no image, of which there must be
    enough to say so.
    """
    enough = layer.images >= thresholds.images
    return layer.silent if enough else layer.constant & layer.off_by_weights


def almost_dead_units(layer: ExaminedLayer, thresholds: Thresholds) -> Booleans:
    """Return which other channels are active almost nowhere, and then weakly, [C]."""
    scan = layer.scan
    dead = dead_units(layer, thresholds)
    if not scan.rectified or layer.images < thresholds.images:
        return np.zeros_like(dead)
    faint = over_median(layer.root_mean_square, ~dead) <= thresholds.faint
    found: Booleans = ~dead & faint & (scan.active_positions <= thresholds.rare)
    return found


def find_dead(layer: ExaminedLayer, thresholds: Thresholds) -> list[Finding]:
    """Return what is to be said of the layer's dead units."""
    dead, almost = dead_units(layer, thresholds), almost_dead_units(layer, thresholds)
    either = np.flatnonzero(dead | almost)
    count = len(dead)
    if len(either) <= thresholds.dead * count:
        return []
    own = int((layer.off_by_weights & (dead | almost)).sum())
    evidence = (
        f"{len(either)} of {count} units ({len(either) / count:.0%}) answer to nothing: "
        f"{int(dead.sum())} were the same or off in all {layer.images:,} images"
    )
    if almost.any():
        most = layer.scan.active_positions[almost].max()
        evidence += (
            f", {int(almost.sum())} were active at no more than {most:.2%} of positions, faintly"
        )
    evidence += f" (channels {named(list(either))}); {own} of them by their own weights."
    alive = count - len(either)
    smaller = f"; if accuracy is good, a layer of {alive} channels does as well" if alive else ""
    return [layer.finding(DEAD, either, evidence, f"{LEARNING}{smaller}.", len(either) / count)]


def weight_ratios(layer: ExaminedLayer) -> Doubles:
    """Return each filter's length over the layer's median, batch norm folded in, [C]."""
    return over_median(layer.kernels.strength, ~layer.silent)


def activation_ratios(layer: ExaminedLayer) -> Doubles:
    """Return the root mean square of each unit's activations over the layer's median, [C]."""
    return over_median(layer.root_mean_square, ~layer.silent)


def large_weights(layer: ExaminedLayer, thresholds: Thresholds) -> Booleans:
    """Return which filters' weights are too large, [C]."""
    found: Booleans = weight_ratios(layer) >= thresholds.dominating
    return found


def find_dominating(layer: ExaminedLayer, thresholds: Thresholds) -> list[Finding]:
    """Return what is to be said of the layer's dominating filters."""
    weights, activations = weight_ratios(layer), activation_ratios(layer)
    too_heavy = large_weights(layer, thresholds)
    channels = np.flatnonzero(too_heavy | (activations >= thresholds.dominating_activation))
    if not len(channels):
        return []
    heavy = np.flatnonzero(too_heavy)
    compared = heavy if len(heavy) else channels
    largest = int(compared[np.argmax(np.maximum(weights, activations)[compared])])
    energy = layer.root_mean_square**2
    share = float(energy[channels].sum() / max(energy.sum(), 1e-300))
    folded = "" if np.isnan(layer.kernels.spread).all() else ", batch norm folded in,"
    one = "Channel" if len(channels) == 1 else "Channels"
    size, answer = (f"{own[largest]:.1f} times" for own in (weights, activations))
    if len(heavy):
        told, suggestion = f"the weights of channel {largest}{folded} are {size}", RENORMALISE
        told += f" the layer's median in root mean square, its activations {answer}"
    else:
        why, suggestion = _though_ordinary(layer, largest)
        told = f"the activations of channel {largest} are {answer} the layer's median in root mean"
        told += f" square, though its weights{folded} are ordinary, {size}{why}"
    evidence = (
        f"{one} {named(list(channels))} of {len(weights)}: {told}; {share:.0%} of the layer's "
        f"energy."
    )
    # Ten times too large is as bad as half the units dead; hundred times nearly the worst.
    severity = 0.5 * float(np.log10(max(weights[largest], activations[largest], 1.0)))
    return [layer.finding(DOMINATING, channels, evidence, suggestion, severity)]


def _though_ordinary(layer: ExaminedLayer, channel: int) -> tuple[str, str]:
    """Return what is measured of a unit that answers much by ordinary weights, and what to do."""
    answer, mean = layer.root_mean_square[channel], layer.scan.mean[channel]
    bias, spread = layer.kernels.offset[channel], layer.kernels.spread[channel]
    normed = np.hypot(bias, spread)
    if normed * EXPECTED < answer:  # never true without a norm: NaN
        told = f"; the norm makes {normed:.3g} of what it was trained on, and {answer:.3g} of these"
        return f"{told} images", BY_STATISTICS
    told = f"; its bias is {bias:.3g}, its mean {mean:.3g}"
    return told, BY_BIAS if abs(bias) > answer / 2 else BY_WHAT_IT_READS


def alike(layer: ExaminedLayer, thresholds: Thresholds) -> Booleans:
    """Return which pairs of channels are alike, by weights and by activations, [C, C]."""
    # A kernel negated is the same where the norm behind it negates it again.
    found = np.abs(cosines(layer.kernels.rows)) >= thresholds.same_weights
    found &= layer.correlation >= thresholds.same_activation
    living = ~layer.silent
    found &= living[:, None] & living[None, :]
    np.fill_diagonal(found, False)
    return found


def duplicate_groups(layer: ExaminedLayer, thresholds: Thresholds) -> list[tuple[int, ...]]:
    """Return the groups of channels that are alike, each from its lowest number."""
    pairs = alike(layer, thresholds)
    left = np.ones(len(pairs), dtype=bool)
    groups = []
    for first in range(len(pairs)):
        members = [first]
        # A group holds what is like any of its members.
        for member in members:
            left[member] = False
            members += [int(o) for o in np.flatnonzero(pairs[member] & left) if o not in members]
        if len(members) > 1:
            groups.append(tuple(sorted(members)))
    return groups


def find_duplicates(layer: ExaminedLayer, thresholds: Thresholds) -> list[Finding]:
    """Return what is to be said of the layer's duplicate filters."""
    groups = duplicate_groups(layer, thresholds)
    if not groups:
        return []
    spare, count = sum(len(group) - 1 for group in groups), layer.layer.shape[0]
    pairs = alike(layer, thresholds)
    own = cosines(layer.kernels.rows)[pairs]
    cosine = float(np.abs(own).min())
    negated = ", but for the sign, which the norm's scale turns back," if (own < 0).any() else ""
    correlation = float(layer.correlation[pairs].min())
    listed = "; ".join(named(group) for group in groups[:GROUPS_NAMED])
    more = f"; {len(groups) - GROUPS_NAMED} more" if len(groups) > GROUPS_NAMED else ""
    evidence = (
        f"{spare} of {count} filters repeat another ({listed}{more}): the cosine of their kernels"
        f"{negated} is at least {cosine:.3f} and the correlation of their activations "
        f"{correlation:.3f}."
    )
    suggestion = (
        f"Start the copies anew, or give the layer {count - spare} channels, adding the copies' "
        f"outgoing weights to those of the kept."
    )
    channels = sorted(channel for group in groups for channel in group)
    return [layer.finding(DUPLICATE, channels, evidence, suggestion, 0.1 + spare / count)]


def level(layer: ExaminedLayer) -> float:
    """Return how large the layer's units answer: the median of their root mean squares."""
    living = layer.root_mean_square[~layer.silent]
    return float(np.median(living)) if len(living) else 0.0


def find_exploding(layer: ExaminedLayer, below: float, thresholds: Thresholds) -> list[Finding]:
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
    return [layer.finding(EXPLODING, (), evidence, SCALE_DOWN, 0.25 * float(np.log10(own / below)))]


def find_saturation(layer: ExaminedLayer, thresholds: Thresholds) -> list[Finding]:
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
    return [layer.finding(SATURATION, stuck, evidence, suggestion, len(stuck) / count)]


def follows_from_below(layer: ExaminedLayer, finding: Finding, thresholds: Thresholds) -> bool:
    """Return whether dead or dominating units are not so by the layer's own weights."""
    if finding.kind == DOMINATING:
        return not large_weights(layer, thresholds).any()
    own = int(layer.off_by_weights[list(finding.channels)].sum())
    return own <= thresholds.dead * layer.layer.shape[0]


LAYER_FINDINGS = (find_duplicates, find_saturation)
"""What is looked for in each layer by itself, given it and the thresholds."""
