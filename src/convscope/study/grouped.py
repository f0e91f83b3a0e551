"""Batch norm over groups of a batch's images, on any device and in any number of processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


class GroupedBatchNorm2d(nn.BatchNorm2d):
    """:class:`torch.nn.BatchNorm2d` that normalises a batch's images group by group.

    In training each group of successive images is normalised by its own mean and variance (Hoffer
    et al., arXiv 1705.08741, whose ghost batches these are), and the running statistics follow the
    groups' average. In evaluation it is the plain layer.

    Args:
        features: number of channels.
        images: how many images make a group; batches must be whole groups, and processes that share
            a batch hold equally many.
        eps: added to the variance.
        momentum: share of a batch's statistics in the running ones.

    """

    def __init__(self, features: int, images: int, eps: float, momentum: float) -> None:
        super().__init__(features, eps, momentum)
        self.images = images

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps [N, C, H, W], normalised and scaled."""
        if not self.training:
            return super().forward(maps)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        groups = maps.split(self.images)
        means = self.running_mean.new_zeros(len(groups), self.num_features)
        variances = torch.zeros_like(means)
        # With a momentum of one, "running" statistics are the group's own.
        normalised = [
            F.batch_norm(group, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
            for group, mean, variance in zip(groups, means, variances, strict=True)
        ]
        momentum = 0.1 if self.momentum is None else self.momentum
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(_averaged(means), momentum)
        self.running_var.lerp_(_averaged(variances), momentum)
        return torch.cat(normalised)


def _averaged(statistics: Tensor) -> Tensor:
    """Return the mean [C] of statistics [groups, C], over all processes."""
    mean = statistics.mean(0)
    if dist.is_initialized():
        dist.all_reduce(mean)
        mean /= dist.get_world_size()
    return mean


def grouped(module: nn.Module, images: int) -> nn.Module:
    """Replace every BatchNorm2d inside *module* by one over groups of *images*, same tensors."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            norm = GroupedBatchNorm2d(child.num_features, images, child.eps, child.momentum or 0.1)
            norm.load_state_dict(child.state_dict())
            setattr(module, name, norm)
        else:
            grouped(child, images)
    return module
