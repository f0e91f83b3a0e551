"""Duplicate filters: those with the same kernel that also answer alike."""

import numpy as np

from convscope.methods.diagnosis.examined import Booleans, ExaminedLayer
from convscope.methods.diagnosis.finding import Finding, Thresholds, named
from convscope.methods.kernels import cosines

KIND = "duplicate filters"
GROUPS_NAMED = 4


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


def find(layer: ExaminedLayer, thresholds: Thresholds) -> list[Finding]:
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
    return [layer.finding(KIND, channels, evidence, suggestion, 0.1 + spare / count)]
