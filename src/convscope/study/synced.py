"""Batch norm over the whole batch when several processes share it, on any device."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """:class:`torch.nn.BatchNorm2d` whose training statistics span all processes.

    PyTorch's own SyncBatchNorm runs on GPUs only. Every process must hold as many images.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps [N, C, H, W], normalised and scaled."""
        if not self.training:
            return super().forward(maps)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        # In half precision the sums over a whole batch would round, or overflow.
        values = maps.float()
        count = values.numel() / values.shape[1] * dist.get_world_size()
        mean = _sum_over_processes(values.sum((0, 2, 3))) / count
        centred = values - mean.view(1, -1, 1, 1)
        # The sum of squares is taken around the mean, as it cancels badly when taken around zero.
        variance = _sum_over_processes((centred * centred).sum((0, 2, 3))) / count
        momentum = 0.1 if self.momentum is None else self.momentum
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, momentum)
            # As PyTorch does: unbiased for later, biased for now.
            self.running_var.lerp_(variance * (count / (count - 1)), momentum)
        scale = (variance + self.eps).rsqrt() * self.weight
        shifted = torch.addcmul(self.bias.view(1, -1, 1, 1), centred, scale.view(1, -1, 1, 1))
        return shifted.to(maps.dtype)


def _sum_over_processes(values: Tensor) -> Tensor:
    # With a derivative, unlike `dist.all_reduce`: each process's loss depends on all the others'
    # maps through the shared statistics.
    total: Tensor = all_reduce(values)  # type: ignore[no-untyped-call]
    return total


def synced(module: nn.Module) -> nn.Module:
    """Replace every BatchNorm2d inside *module* by a synced one with the same tensors."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            norm = SyncedBatchNorm2d(child.num_features, child.eps, child.momentum or 0.1)
            norm.load_state_dict(child.state_dict())
            setattr(module, name, norm)
        else:
            synced(child)
    return module
