"""Muon for the filters, Nesterov's stochastic gradient descent for everything else."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from convscope.study.config import TrainConfig

# The polynomial x -> a x + b x^3 + c x^5 whose repetition drives every singular value in (0, 1]
# towards one, tuned for steepness at zero rather than for the exact limit (Jordan 2024, Muon).
QUINTIC = (3.4445, -4.7750, 2.0315)
REPETITIONS = 5


class Muon(Optimizer):
    """Momentum whose every step is made orthogonal, for the filters of convolutions.

    A filter bank [out, in, h, w] is taken as the matrix [out, in*h*w]. The momentum's singular
    values are all brought near one, so that rare directions are learned as fast as common ones;
    see K. Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024). The bank is
    first rescaled to a root mean square of one per filter, which batch norm makes harmless to what
    the network computes: with its norm fixed, the learning rate is the angle it turns per step.

    Args:
        params: filter banks, each of two or more axes.
        lr: length of a step, in units of the orthogonal matrix, per step.
        momentum: how much of the running mean of gradients is kept from step to step, 0..1.
        rescale: whether to hold the banks' norm fixed; needs batch norm after each.

    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, momentum: float, rescale: bool = True
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "rescale": rescale})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step from the gradients at hand; *closure* is not supported."""
        for group in self.param_groups:
            for filters in group["params"]:
                if filters.grad is None:
                    continue
                state = self.state[filters]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(filters)
                mean: Tensor = state["momentum_buffer"]
                mean.lerp_(filters.grad, 1 - group["momentum"])
                ahead = filters.grad.lerp(mean, group["momentum"])
                if group["rescale"]:
                    filters.mul_(len(filters) ** 0.5 / filters.norm())
                filters.add_(orthogonalised(ahead), alpha=-group["lr"])


def orthogonalised(update: Tensor) -> Tensor:
    """Return *update* with its singular values brought near one, by Newton and Schulz's iteration.

    Five repetitions of the polynomial bring all but the smallest into 0.7..1.2.

    Args:
        update: [out, ...], taken as a matrix of *out* rows.

    Returns:
        A tensor of the same shape.

    """
    a, b, c = QUINTIC
    matrix = update.reshape(len(update), -1)
    tall = matrix.shape[0] > matrix.shape[1]
    if tall:
        matrix = matrix.T
    matrix = matrix / (matrix.norm() + 1e-7)
    # Each repetition multiplies by a polynomial of the matrix times its transpose. All of them
    # commute, so the small square alone is repeated on, and the wide matrix multiplied once.
    # Rounding makes zeros of its spectrum slightly negative and each repetition twelve times as
    # much: after five, in single precision, still by far too little to tell.
    square = matrix @ matrix.T
    factors: list[Tensor] = []
    for repetition in range(REPETITIONS):
        if repetition:
            square = factors[-1] @ square @ factors[-1]
        factor = torch.addmm(square, square, square, beta=b, alpha=c)
        factor.diagonal().add_(a)
        factors.append(factor)
    wide = reduce(torch.matmul, factors) @ matrix
    whole: Tensor = wide.T if tall else wide
    return whole.reshape(update.shape)


def make_optimizers(network: nn.Module, config: TrainConfig) -> list[Optimizer]:
    """Return the optimizers of a network's parameters, their learning rates at their peaks.

    Filters are the four-axis parameters; what has one axis, biases and batch norm's factors, is
    never decayed.
    """
    filters = [p for p in network.parameters() if p.ndim == 4]
    matrices = [p for p in network.parameters() if p.ndim == 2]
    vectors = [p for p in network.parameters() if p.ndim < 2]
    decay = {"weight_decay": config.weight_decay}
    rest = [{"params": matrices, **decay}, {"params": vectors, "weight_decay": 0.0}]
    for group in rest:
        group["lr"] = config.other_learning_rate
    if config.optimizer == "muon":
        muon = Muon(filters, lr=config.learning_rate, momentum=config.momentum)
        return [muon, SGD(rest, momentum=config.other_momentum, nesterov=True)]
    all_groups = [{"params": filters, "lr": config.learning_rate, **decay}, *rest]
    return [SGD(all_groups, momentum=config.momentum, nesterov=True)]
