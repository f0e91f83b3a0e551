"""Checkerboards: kernels that their stride does not divide, which leave a grid in projections."""

from convscope.methods.diagnosis.finding import Finding, Thresholds
from convscope.methods.gridding.structure import Alternative, GridFinding, structural_findings
from convscope.network import Network
from convscope.wording import times

KIND = "checkerboard"
CITED = "Odena, Dumoulin & Olah 2016, doi 10.23915/distill.00003"


def find(net: Network, thresholds: Thresholds) -> list[Finding]:
    """Return the layers that leave a grid whatever their weights and the image.

    >>> import torch
    >>> from torch import nn
    >>> net = Network(nn.Conv2d(3, 4, 3, stride=2), torch.zeros(1, 3, 15, 15))
    >>> [(finding.kind, finding.severity) for finding in find(net, Thresholds())]
    [('checkerboard', 0.48432...)]
    """
    return [_finding(found) for found in structural_findings(net, thresholds.grid)]


def _finding(found: GridFinding) -> Finding:
    layer = found.layer
    place = "its maps" if layer.forwards else "projections and gradients"
    evidence = (
        f"Its stride of {times(layer.stride)} does not divide its kernel of {times(layer.kernel)}, "
        f"so that some places of {place} get more contributions than others, in a grid that varies "
        f"by {layer.alone:.0%} of its mean, whatever the weights."
    )
    options = "; or ".join(_option(option, layer.stride) for option in found.alternatives)
    return Finding(
        KIND, layer.name, (), evidence, f"Take {options} ({CITED}).", min(1.0, layer.alone)
    )


def _option(option: Alternative, stride: tuple[int, int]) -> str:
    kernel = f"a kernel of {times(option.kernel)}"
    weights = f"{option.weights:.3g} times the weights"
    if option.stride == stride:
        return f"{kernel}, {weights}"
    return f"{kernel} at stride {times(option.stride)}"
