"""Randomness that evaluation mode leaves on."""

from collections.abc import Iterator

from convscope.methods.diagnosis.finding import Finding
from convscope.network import Network


def find(net: Network) -> Iterator[Finding]:
    """Yield a finding for each place where a network that was frozen was random."""
    for use in net.graph.random:
        advice = f"{use.advice[0].upper()}{use.advice[1:]}."
        evidence = (
            f"{use.finding[0].upper()}{use.finding[1:]}; two equal calls differ, and for this "
            f"diagnosis it was frozen."
        )
        yield Finding("randomness", use.module or net.name, (), evidence, advice, 1.0)
