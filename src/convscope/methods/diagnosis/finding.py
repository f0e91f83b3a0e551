"""Findings: what is wrong, where, how that is known and what to change; from where on it is one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Real

from convscope.errors import ConvscopeError, check_known

NO_SHARES = ("images", "dominating", "dominating_activation", "exploding", "aliased")
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


@dataclass(frozen=True)
class Thresholds:
    """From where on something is a finding; docs/diagnose.md says where each default comes from.

    Attributes:
        images: with fewer images than this, no unit is called dead for never having been active,
            and no layer unneeded.
        dead: share of a layer's units, 0..1, that may be dead or almost dead, and no more.
        rare: a unit is almost dead if it is active at no more than this share of all positions...
        faint: ... and its activations' root mean square is at most this share of the layer's
            median.
        dominating: how many times the layer's median a filter's weights may be, folded with the
            batch norm behind it.
        dominating_activation: how many times the layer's median a unit's activations may be, in
            root mean square.
        exploding: how many times the largest level of the images and the layers below a layer's may
            be: the median over its units of the root mean square of what they answer.
        same_weights: cosine of two kernels, whatever its sign, from which on they are alike...
        same_activation: ... if the correlation of their activations is at least this as well.
        aliased: how many octaves a first layer's energy may lie beyond what its stride can carry,
            on average over frequencies and filters.
        gap: share of a first layer's filters, 0..1, below which the middle frequencies count as
            not covered...
        extremes: ... where the low and the high ones have at least this share each.
        saturated: share of its values, 0..1, that a unit may have at its function's flat ends...
        saturated_units: ... and the share of a layer's units that may be so.
        receptive_field: share of the image's side that the last layer's effective receptive field
            must cover.
        grid: how much a stride may vary the contributions to a projection, in standard deviations
            over the mean, whatever the weights.
        unneeded: share of the answers' agreement, beyond what chance gives, at which the network
            does as well without a layer.
    """

    images: int = 50
    dead: float = 0.1
    rare: float = 0.001
    faint: float = 0.01
    dominating: float = 10.0
    dominating_activation: float = 20.0
    exploding: float = 100.0
    same_weights: float = 0.98
    same_activation: float = 0.98
    aliased: float = 0.5
    gap: float = 0.1
    extremes: float = 0.25
    saturated: float = 0.9
    saturated_units: float = 0.25
    receptive_field: float = 0.15
    grid: float = 0.1
    unneeded: float = 0.98

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            share = field.name not in NO_SHARES
            most = 1 if share else float("inf")
            if not isinstance(value, Real) or not 0 <= float(value) <= most:
                kind = "a share from 0 to 1" if share else "a number from 0 up"
                raise ConvscopeError(f"the threshold {field.name!r} is {kind}, not {value!r}")

    @classmethod
    def named(cls, given: Mapping[str, float]) -> "Thresholds":
        """Return the defaults, but for those given by name.

        Raises:
            ConvscopeError: if there is none of a name, or a value is out of its range.

        >>> Thresholds.named({"dead": 0.2}).dead
        0.2
        """
        known = [field.name for field in fields(cls)]
        for name in given:
            check_known("threshold", name, known)
        return cls(**given)  # type: ignore[arg-type]
