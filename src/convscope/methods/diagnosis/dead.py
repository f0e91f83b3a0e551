"""Dead units: those that answer to nothing, and those that nearly do."""

import numpy as np

from convscope.methods.diagnosis.examined import Booleans, ExaminedLayer, over_median
from convscope.methods.diagnosis.finding import Finding, Thresholds, named

KIND = "dead units"
LEARNING = "A lower learning rate, batch norm before the rectifier or a leaky one keeps units alive"
CONSEQUENCE = "Above it {count} units of {layer} are dead."
SMALLER = "if accuracy is good, a layer of {alive} channels does as well"


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


def find(layer: ExaminedLayer, thresholds: Thresholds) -> list[Finding]:
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
    suggestion = f"{LEARNING}; {SMALLER.format(alive=alive)}." if alive else f"{LEARNING}."
    return [layer.finding(KIND, either, evidence, suggestion, len(either) / count)]


def follows_from_below(layer: ExaminedLayer, finding: Finding, thresholds: Thresholds) -> bool:
    """Return whether the units would not be dead for their own weights alone."""
    own = int(layer.off_by_weights[list(finding.channels)].sum())
    return own <= thresholds.dead * layer.layer.shape[0]
