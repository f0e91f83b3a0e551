"""Muon for the filters, Nesterov's gradient descent for everything else, and their rate."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Muon, Optimizer

from convscope.study.config import TrainConfig


class FilterMuon(Muon):
    """:class:`torch.optim.Muon`, which takes matrices, for the filters of convolutions.

    A filter bank [out, in, h, w] is taken as the matrix [out, h*w*in], of which each step is made
    orthogonal. Before a step the bank is rescaled, so that the root mean square of its filters'
    lengths is one. The batch norm behind it makes that harmless to what the network computes, and
    with the length fixed, the learning rate is the angle that the bank turns per step.

    Args:
        filters: banks [out, in, h, w] in channels_last, on the device where they will stay: the
            matrices are views of them.
        lr: length of a step, in units of the orthogonal matrix, per step.
        momentum: how much of the running mean of gradients is kept from step to step, 0..1.
    """

    def __init__(self, filters: Iterable[Tensor], lr: float, momentum: float) -> None:
        self._filters = list(filters)
        # A view or an error: a copy would be trained in the filters' stead.
        self._matrices = [
            bank.detach().permute(0, 2, 3, 1).view(len(bank), -1) for bank in self._filters
        ]
        super().__init__(self._matrices, lr=lr, momentum=momentum, weight_decay=0.0)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step from the filters' gradients."""
        for bank, matrix in zip(self._filters, self._matrices, strict=True):
            # Autograd leaves gradients at the filters, while Muon steps on the matrices.
            matrix.grad = None if bank.grad is None else bank.grad.permute(0, 2, 3, 1).flatten(1)
            # The matrix is a view, so that this rescales the filters themselves.
            matrix.mul_(len(matrix) ** 0.5 / matrix.norm())
        return super().step(closure)  # type: ignore[no-untyped-call]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the filters' gradients."""
        # Torch's own knows of the matrices alone, and the filters' gradients would add up.
        for tensor in (*self._filters, *self._matrices):
            tensor.grad = None


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
        muon = FilterMuon(filters, lr=config.learning_rate, momentum=config.momentum)
        return [muon, SGD(rest, momentum=config.other_momentum, nesterov=True)]
    all_groups = [{"params": filters, "lr": config.learning_rate, **decay}, *rest]
    return [SGD(all_groups, momentum=config.momentum, nesterov=True)]


def one_cycle(step: int, steps: int, warmup: float) -> float:
    """Return the learning rate of *step* as a share of its peak, in 0..1.

    A straight rise over the first *warmup* share of the training, then a straight fall to zero.

    >>> [round(one_cycle(step, 10, 0.2), 4) for step in (0, 1, 2, 9)]
    [0.25, 0.75, 0.9375, 0.0625]
    """
    progress = (step + 0.5) / steps
    if progress < warmup:
        return progress / warmup
    return (1 - progress) / (1 - warmup)
