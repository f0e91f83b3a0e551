"""All that the checks know of one layer."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from convscope.methods.diagnosis.finding import Finding
from convscope.methods.kernels import Kernels
from convscope.methods.scanning.result import LayerScan
from convscope.methods.scanning.strongest import Booleans, Doubles
from convscope.methods.scanning.units import ScannedLayer

CONSTANT = 1e-5
"""A unit whose activations deviate by less than this share of the layer's is always the same..."""

NEARLY_CONSTANT = 1e-5
"""... and so is one that deviates by less than this share of its own mean: what single precision
leaves of deviation where there is none."""

WEIGHTLESS = 1e-3
"""A kernel shorter than this share of the layer's median counts as zero."""

NEVER_REACHED = 4.0
"""Batch norm's standard deviations: a unit that lies so many below zero is off by its weights."""


@dataclass(frozen=True, eq=False)
class ExaminedLayer:
    """A layer of C channels with everything measured of it.

    Attributes:
        layer: where it is in the network.
        scan: what its units answered to.
        images: over how many images.
        kernels: its weights.
        correlation: [C, C], of two channels' activations.
        saturated: [C], share 0..1 of the values at a flat end of the function that they go
            through; None where it has none.
    """

    layer: ScannedLayer
    scan: LayerScan
    images: int
    kernels: Kernels
    correlation: Doubles
    saturated: Doubles | None = None

    def finding(
        self, kind: str, channels: Iterable[int], evidence: str, suggestion: str, severity: float
    ) -> Finding:
        """Return a finding in this layer."""
        own = tuple(map(int, channels))
        return Finding(kind, self.layer.name, own, evidence, suggestion, min(1.0, severity))

    @property
    def constant(self) -> Booleans:
        """[C], whether the channel gives the same everywhere."""
        spread = self.scan.std
        found: Booleans = spread <= CONSTANT * max(float(np.median(spread)), float(spread.mean()))
        found |= spread <= NEARLY_CONSTANT * np.abs(self.scan.mean)
        return found

    @property
    def silent(self) -> Booleans:
        """[C], whether the channel was zero everywhere, or gives the same everywhere."""
        found: Booleans = self.scan.dead | self.constant
        return found

    @property
    def off_by_weights(self) -> Booleans:
        """[C], whether the channel's own weights are why it cannot answer, whatever is below."""
        strength = self.kernels.strength
        alive = strength[strength > 0]
        weightless = strength <= WEIGHTLESS * (np.median(alive) if len(alive) else 1.0)
        unreached = self.kernels.offset + NEVER_REACHED * self.kernels.spread < 0
        found: Booleans = weightless | (unreached & self.scan.rectified)
        return found

    @property
    def root_mean_square(self) -> Doubles:
        """[C], of the activations over all images and positions."""
        found: Doubles = np.hypot(self.scan.mean, self.scan.std)
        return found


def over_median(values: Doubles, among: Booleans) -> Doubles:
    """Return *values* as multiples of the median of those *among*; 0 where there is none."""
    chosen = values[among & (values > 0)]
    if not len(chosen):
        return np.zeros_like(values)
    found: Doubles = values / np.median(chosen)
    return found
