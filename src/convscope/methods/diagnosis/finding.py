"""A finding: what is wrong, where, how that is known, and what to change."""

from collections.abc import Sequence
from dataclasses import dataclass

CHANNELS_NAMED = 8


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a network.

    Attributes:
        kind: what it is: ``"dead units"``, ``"dominating filter"``, ``"exploding layer"``,
            ``"duplicate filters"``, ``"aliasing"``, ``"frequency gap"``, ``"saturation"``,
            ``"receptive field"``, ``"checkerboard"``, ``"unneeded layer"``, ``"not finite"``,
            ``"randomness"`` or ``"hardly better than chance"``.
        layer: the convolution's name, or ``"the network"`` (of a checkerboard also an average
            pool's; of randomness, the module's).
        channels: the channels concerned; none where it is the whole layer.
        evidence: a sentence with the numbers.
        suggestion: a sentence on what to change.
        severity: 0..1, by which findings are ranked.
        consequences: sentences on what further up follows from it, which are no findings.
        above: the layers that these are of.
    """

    kind: str
    layer: str
    channels: tuple[int, ...]
    evidence: str
    suggestion: str
    severity: float
    consequences: tuple[str, ...] = ()
    above: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """Everything in words."""
        rest = "".join(f" {text}" for text in (*self.consequences, self.suggestion))
        return f"{self.layer}: {self.kind}. {self.evidence}{rest}"


def named(channels: Sequence[int]) -> str:
    """Return channels in words, at most eight by number.

    >>> named([3]), named([0, 1, 2]), named(list(range(20)))
    ('3', '0, 1 and 2', '0, 1, 2, 3, 4, 5, 6, 7 and 12 more')
    """
    shown = [str(int(channel)) for channel in channels[:CHANNELS_NAMED]]
    if len(channels) > CHANNELS_NAMED:
        return f"{', '.join(shown)} and {len(channels) - CHANNELS_NAMED} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if shown[1:] else shown)
