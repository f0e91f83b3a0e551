"""Rules: how a signal that comes down a network passes its operations.

Three rules treat every operation but the rectifier alike: a convolution by the transposed
convolution with the same weights, max pooling by its switches, batch norm by its scale. They differ
at the rectifier only, as Springenberg et al. (arXiv 1412.6806, fig. 1) lay out side by side. Such a
rule is given the signal coming down and the rectifier's own derivative at the value that went up;
a fourth, RectGrad, what the rectifier gave.
For ReLU the derivative is 1 where the unit was active and 0 elsewhere. For other activation
functions (ReLU6, leaky ReLU, ELU, GELU, SiLU, Hardswish, Mish, Softplus, ...) it is whatever their
formula gives, so that the gradient rule stays the exact gradient, guided backprop stays "active on
the way up and positive on the way down", and the deconvnet, which never looks at the way up, stays
what it is.

The others see the values that went up: they share a unit's relevance among what it read, by how
much each contributed. What a contribution is, a :class:`Sharing` says for a layer with weights, and
a :class:`Composite` says which layers go by which. :mod:`convscope.network.relevance` has what
happens everywhere else.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import torch
from torch import Tensor
from torch.nn.functional import pad

from convscope.errors import RuleError, near_matches

OTHER = "another class"
TESTS = ("the upper half of the layers random", "all layers random", OTHER, "other switches")
"""What is changed to see whether pictures depend on it, as ``convscope sanity`` does."""
RECTGRAD_PERCENTILE = 98
"""Of what comes down, as in the paper's pictures; what lies below is no longer passed on."""
HARDLY = 0.8
"""A picture that keeps so much of itself hardly depends on what was changed."""

Change = Callable[[Tensor], Tensor]
Shape = tuple[int, ...]


def whole(values: Tensor) -> Tensor:
    """Return the values as they are."""
    return values


def positive(values: Tensor) -> Tensor:
    """Return the positive values, and zero in the place of others."""
    return values.clamp(min=0)


def negative(values: Tensor) -> Tensor:
    """Return the negative values, and zero in the place of others."""
    return values.clamp(max=0)


@dataclass(frozen=True)
class Term:
    """A layer run on changed inputs with changed weights: a part of what an output is made of.

    Attributes:
        inputs: of its inputs, :func:`whole`, :func:`positive`, :func:`negative` or ``ones_like``.
        weights: what is done to the weights, and to the bias if that counts.
        bias: whether the bias counts.
        bound: 0, or -1 and 1 for the lowest and highest input there can be in the inputs' place.
    """

    inputs: Change = whole
    weights: Change = whole
    bias: bool = True
    bound: int = 0

    @property
    def sign(self) -> int:
        """Whether the term is added or, as what the bounds make, taken away."""
        return -1 if self.bound else 1


@dataclass(frozen=True)
class Share:
    """Terms that share relevance in proportion to what each adds to their sum.

    Attributes:
        terms: the terms.
        factor: how much of the relevance they share.
        where: 1 or -1 for the outputs of that sign alone; 0 for all.
    """

    terms: tuple[Term, ...]
    factor: float = 1.0
    where: int = 0


Sharing = tuple[Share, ...]
"""How a layer with weights shares its relevance."""

EPSILON: Sharing = (Share((Term(),)),)
FLAT: Sharing = (Share((Term(torch.ones_like, torch.ones_like, False),)),)
Z_BOX: Sharing = (
    Share((Term(), Term(weights=positive, bound=-1), Term(weights=negative, bound=1))),
)
_FOR, _AGAINST = (
    # The bias goes with the positive inputs, as that of a unit which is always one.
    (Term(positive, positive), Term(negative, negative, False)),
    (Term(positive, negative), Term(negative, positive, False)),
)
Z_PLUS: Sharing = (Share(_FOR),)
ALPHA2_BETA1: Sharing = (Share(_FOR, 2.0), Share(_AGAINST, -1.0))
EXCITATION: Sharing = (Share((Term(positive, positive, False), Term(negative, negative, False))),)


def _gamma(gamma: float) -> Sharing:
    """Return the sharing that favours, by *gamma*, what has the output's own sign."""

    def upward(weights: Tensor) -> Tensor:
        return weights + gamma * weights.clamp(min=0)

    def downward(weights: Tensor) -> Tensor:
        return weights + gamma * weights.clamp(max=0)

    return (
        Share((Term(positive, upward), Term(negative, downward, False)), where=1),
        Share((Term(positive, downward), Term(negative, upward, False)), where=-1),
    )


GAMMA = _gamma(0.25)


@dataclass(frozen=True)
class Composite:
    """Which layers share their relevance by what.

    Attributes:
        convolution: convolutions, also transposed ones.
        linear: linear layers.
        first: the layers with weights that no other such layer comes before; None for no exception.
    """

    convolution: Sharing
    linear: Sharing
    first: Sharing | None = None

    @property
    def follows_sign(self) -> bool:
        """Whether what a score below zero is made of gets relevance of another sign than above."""
        return self.linear in (EPSILON, GAMMA)


@dataclass(frozen=True)
class Rule:
    """How a signal passes the operations of a network on its way down.

    Attributes:
        name: the name used in calls and on the command line.
        source: where it was published.
        promise: what its pictures keep to, in words.
        rectifier: ``(signal, seen, shape) -> signal``, where *shape* is that of an image's whole
            map, of which a window has all that has a signal; it may work in place on the signal. A
            rule that shares relevance hands it on in any case.
        sees: what of the rectifier is remembered on the way up: its ``"derivative"``, its
            ``"output"``, or nothing.
        needs_rectifier: whether the rule means nothing on a network without rectifiers.
        secant: whether a function's derivative is taken over the way from a reference.
        reference: the image, [1, C, H, W], that a secant starts from.
        composite: how layers share relevance; None for a rule that differs at rectifiers only.
        bounds: the lowest and highest input there can be, [1, C, 1, 1] each, where known.
    """

    name: str
    source: str
    promise: str
    rectifier: Callable[[Tensor, Tensor | None, Shape], Tensor]
    sees: str = ""
    needs_rectifier: bool = False
    composite: Composite | None = None
    secant: bool = False
    reference: Tensor | None = None
    bounds: tuple[Tensor, Tensor] | None = None

    @property
    def shows(self) -> str:
        """What its pictures show, in words that follow the rule's name."""
        if self.composite is not None:
            return "each pixel's share in each unit's activation"
        return "what in this image drives each unit, given the switches"

    @property
    def kept(self) -> dict[str, dict[str, float | None]]:
        """What its pictures keep on each bundled network when something in :data:`TESTS` changes.

        0 is what noise keeps, 1 the same picture; None where nothing can be compared.
        """
        return {
            network: dict(zip(TESTS, rules[self.name], strict=True))
            for network, rules in _sanity().items()
            if self.name in rules
        }

    @property
    def caution(self) -> str:
        """A sentence for pictures of classes if one hardly depends on the class asked for."""
        shares = [(own[OTHER] or 0.0, network) for network, own in self.kept.items()]
        share, network = max(shares, default=(0.0, ""))
        if share < HARDLY:
            return ""
        return f"It hardly depends on the class: {share:.0%} stays for others on {network}."


def _deconvnet(signal: Tensor, seen: Tensor | None, shape: Shape) -> Tensor:
    return signal.clamp_(min=0)


def _guided(signal: Tensor, derivative: Tensor | None, shape: Shape) -> Tensor:
    assert derivative is not None
    if derivative.dtype != torch.bool:
        # SiLU, GELU and their like fall a little before they rise: there they are not "active".
        derivative = derivative.clamp(min=0)
    return _gradient(signal.clamp_(min=0), derivative, shape)


def _gradient(signal: Tensor, derivative: Tensor | None, shape: Shape) -> Tensor:
    assert derivative is not None
    if derivative.dtype != torch.bool:
        return signal.mul_(derivative)
    # As torch does: behind a ReLU that is off there is nothing, even of a signal that is NaN.
    active = derivative.to(signal.dtype)
    torch.ops.aten.threshold_backward.grad_input(signal, active, 0, grad_input=signal)
    return signal


def _rectgrad(signal: Tensor, output: Tensor | None, shape: Shape) -> Tensor:
    """Let the 2 percent of a map through that matter most, by the signal times the activation."""
    assert output is not None
    importance = signal * output
    flat = importance.reshape(len(signal) // shape[0], -1)
    # The percentile lies between two of the map's numbers; those outside of a window are zero.
    rank, between = divmod((math.prod(shape) - 1) * (1 - RECTGRAD_PERCENTILE / 100), 1)
    most = int(rank) + 2
    best = flat.topk(min(most, flat.shape[1])).values
    if flat.shape[1] < math.prod(shape):
        best = pad(best.clamp(min=0), (0, most - best.shape[1]))
    threshold = best[:, int(rank)].lerp(best[:, -1], between).repeat_interleave(shape[0])
    passes = importance > threshold.view(-1, *[1] * (signal.dim() - 1))
    return torch.where(passes, signal, 0)


DEEPLIFT = Rule(
    "deeplift", "Shrikumar et al. 2017, arXiv 1704.02685, sec. 3.5.2 (rescale)",
    "adds up to the score less that of the baseline", _gradient, "derivative", secant=True,
)  # fmt: skip
MONTAVON = "Montavon et al. 2019, doi 10.1007/978-3-030-28954-6_10"
KOHLBRENNER = "Kohlbrenner et al. 2020, arXiv 1910.09840"
SUM = "adds up to the activation"
LESS_BIAS = "adds up to the activation less what biases absorb"
BOTH_SIGNS = "adds up so where units have contributions of either sign"


def _relevance(
    name: str, source: str, convolution: Sharing, linear: Sharing = EPSILON,
    first: Sharing | None = None, promise: str = LESS_BIAS,
) -> Rule:  # fmt: skip
    return Rule(name, source, promise, _gradient, composite=Composite(convolution, linear, first))


RULES = {
    rule.name: rule
    for rule in (
        Rule(
            "deconvnet", "Zeiler & Fergus 2014, arXiv 1311.2901, sec. 2.1",
            "what drives the unit, given the switches", _deconvnet, "", True,
        ),
        Rule(
            "guided", "Springenberg et al. 2015, arXiv 1412.6806, sec. 3.4",
            "what drives the unit, given what was active", _guided, "derivative", True,
        ),
        Rule(
            "gradient", "Simonyan et al. 2014, arXiv 1312.6034, sec. 3",
            "the activation times its derivative by each pixel", _gradient, "derivative", False,
        ),
        Rule(
            "rectgrad", "Kim et al. 2019, arXiv 1902.04567, sec. 3",
            "the most important 2% at each rectifier, what speaks against left out",
            _rectgrad, "output", True,
        ),
        _relevance(
            "epsilon", "Bach et al. 2015, doi 10.1371/journal.pone.0130140, eq. 58", EPSILON
        ),
        _relevance("gamma", f"{MONTAVON}, sec. 10.2.3", GAMMA, GAMMA),
        _relevance("z-plus", "Montavon et al. 2017, arXiv 1512.02479, sec. 5.2", Z_PLUS, Z_PLUS),
        _relevance(
            "alpha2-beta1", "Bach et al. 2015, doi 10.1371/journal.pone.0130140, eq. 60",
            ALPHA2_BETA1, ALPHA2_BETA1, promise=BOTH_SIGNS,
        ),
        _relevance("epsilon-plus", f"{KOHLBRENNER}, sec. III", Z_PLUS),
        _relevance("epsilon-plus-flat", f"{KOHLBRENNER}, sec. III", Z_PLUS, first=FLAT),
        _relevance("epsilon-gamma-box", f"{MONTAVON}, sec. 10.3", GAMMA, first=Z_BOX),
        _relevance(
            "epsilon-alpha2-beta1", f"{KOHLBRENNER}, sec. III", ALPHA2_BETA1, promise=BOTH_SIGNS
        ),
        _relevance(
            "epsilon-alpha2-beta1-flat", f"{KOHLBRENNER}, sec. III", ALPHA2_BETA1, first=FLAT,
            promise=BOTH_SIGNS,
        ),
        _relevance(
            "excitation", "Zhang et al. 2016, arXiv 1608.00507, sec. 3.2", EXCITATION, EXCITATION,
            promise=SUM,
        ),
    )
}  # fmt: skip


@cache
def _sanity() -> dict[str, dict[str, list[float | None]]]:
    """Return what ``benchmarks/sanity_rules.py`` measured, of each network and rule."""
    found: dict[str, dict[str, list[float | None]]] = json.loads(
        (files("convscope.network") / "sanity.json").read_text()
    )
    return found


def rule_named(name: str) -> Rule:
    """Return the rule called *name*.

    Raises:
        RuleError: if there is no such rule.

    >>> rule_named("guided").source
    'Springenberg et al. 2015, arXiv 1412.6806, sec. 3.4'
    """
    try:
        return RULES[name]
    except KeyError:
        known = ", ".join(RULES)
        message = f"unknown rule {name!r}{near_matches(name, RULES)} (known: {known})"
        raise RuleError(message) from None
