"""Rules: how a signal that comes down a network passes a rectifier.

The three rules treat every other operation alike: a convolution by the transposed convolution with
the same weights, max pooling by its switches, batch norm by its scale. They differ at the rectifier
only, as Springenberg et al. (arXiv 1412.6806, fig. 1) lay out side by side.

A rule is given the signal coming down and the rectifier's own derivative at the value that went up.
For ReLU the derivative is 1 where the unit was active and 0 elsewhere. For other activation
functions (ReLU6, leaky ReLU, ELU, GELU, SiLU, Hardswish, Mish, Softplus, ...) it is whatever their
formula gives, so that the gradient rule stays the exact gradient, guided backprop stays "active on
the way up and positive on the way down", and the deconvnet, which never looks at the way up, stays
what it is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.errors import RuleError, near_matches


@dataclass(frozen=True)
class Rule:
    """What happens at a rectifier on the way down.

    Attributes:
        name: the name used in calls and on the command line.
        source: where it was published.
        rectifier: ``(signal, derivative) -> signal``; it may work in place on the signal.
        needs_derivative: whether the rectifier's derivative must be remembered on the way up.
        needs_rectifier: whether the rule means nothing on a network without rectifiers.

    """

    name: str
    source: str
    rectifier: Callable[[Tensor, Tensor | None], Tensor]
    needs_derivative: bool
    needs_rectifier: bool


def _deconvnet(signal: Tensor, derivative: Tensor | None) -> Tensor:
    return signal.clamp_(min=0)


def _guided(signal: Tensor, derivative: Tensor | None) -> Tensor:
    assert derivative is not None
    if derivative.dtype != torch.bool:
        # SiLU, GELU and their like fall a little before they rise: there they are not "active".
        derivative = derivative.clamp(min=0)
    return _gradient(signal.clamp_(min=0), derivative)


def _gradient(signal: Tensor, derivative: Tensor | None) -> Tensor:
    assert derivative is not None
    if derivative.dtype != torch.bool:
        return signal.mul_(derivative)
    # As torch does: behind a ReLU that is off there is nothing, even of a signal that is NaN.
    active = derivative.to(signal.dtype)
    torch.ops.aten.threshold_backward.grad_input(signal, active, 0, grad_input=signal)
    return signal


RULES = {
    rule.name: rule
    for rule in (
        Rule(
            "deconvnet", "Zeiler & Fergus 2014, arXiv 1311.2901, sec. 2.1", _deconvnet, False, True
        ),
        Rule("guided", "Springenberg et al. 2015, arXiv 1412.6806, sec. 3.4", _guided, True, True),
        Rule("gradient", "Simonyan et al. 2014, arXiv 1312.6034, sec. 3", _gradient, True, False),
    )
}


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
