"""A network in training: one step at a time, and all of its state as tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from convscope.models.mirror import pair_gradients, pair_weights
from convscope.models.plain import build
from convscope.study.checkpoints import (
    optimizer_tensors,
    prefixed,
    restore_optimizer,
    without_prefix,
)
from convscope.study.config import TrainConfig
from convscope.study.data import ImageSet
from convscope.study.devices import precision_of
from convscope.study.feed import normalised, resized
from convscope.study.optimizers import make_optimizers
from convscope.study.synced import synced
from convscope.study.tiled_convolution import with_tiles

EVALUATION_BATCH = 1_000


class Learner:
    """The network and its optimizers.

    Its wide convolutions learn by Winograd's method where neither a GPU nor bfloat16 does better.

    Args:
        config: the training; its seed decides the first weights.
        fabric: Lightning's devices, precision and processes.

    """

    def __init__(self, config: TrainConfig, fabric: Fabric) -> None:
        self._config = config
        self._fabric = fabric
        network: nn.Module = build(config.net, config.seed)
        # Filters as [out, h, w, in]: the layout that convolutions run fastest in.
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if fabric.world_size > 1:
            network = synced(network)
        if fabric.device.type == "cpu" and precision_of(fabric) == "float32":
            network = with_tiles(network)
        optimizers = make_optimizers(network, config)
        self._peaks = [[group["lr"] for group in made.param_groups] for made in optimizers]
        self._network = network
        self._wrapped, *self._optimizers = fabric.setup(_EachTower(network), *optimizers)

    @property
    def parameters(self) -> int:
        """Number of values that are learned; both of a mirrored pair count."""
        return sum(parameter.numel() for parameter in self._network.parameters())

    def step(self, images: Tensor, labels: Tensor, rate: float) -> tuple[Tensor, Tensor]:
        """Learn from one batch.

        Args:
            images: float [N, 3, H, W], normalised.
            labels: int64 [N].
            rate: the learning rate as a share of its peak, 0..1.

        Returns:
            The loss before the step, the mean over the network's towers, and the number of right
            answers, as scalar tensors.

        """
        self._wrapped.train()
        for optimizer, peaks in zip(self._optimizers, self._peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * rate
        answers: Tensor = self._wrapped(images)
        towers = len(answers)
        smoothing = self._config.label_smoothing
        loss = F.cross_entropy(
            answers.flatten(0, 1), labels.repeat(towers), label_smoothing=smoothing
        )
        # Every tower learns from its own answers, as if it were alone.
        self._fabric.backward(towers * loss)
        self._turn()
        return loss.detach(), (answers.mean(0).argmax(1) == labels).sum()

    def _turn(self) -> None:
        """Take the optimizers' step from the gradients at hand, and forget these."""
        mirrored = self._config.net.mirrored
        if mirrored:
            pair_gradients(self._network)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if mirrored:
            pair_weights(self._network)

    @torch.no_grad()
    def accuracy(self, data: ImageSet, side: int) -> float:
        """Return the share of *data* that is answered rightly, in 0..1, without augmentation.

        The images are resized to *side* pixels, as those that the network is learning from are.
        """
        # The bare network: every process looks at all images, and none waits for another.
        self._network.eval()
        right = 0
        for pixels, labels in data.batches(EVALUATION_BATCH):
            images = normalised(resized(pixels.to(self._fabric.device), side), self._config)
            answers = self._network(images).argmax(1)
            right += int((answers == labels.to(answers.device)).sum())
        return right / len(data)

    def weights(self) -> dict[str, Tensor]:
        """Return the network's parameters and buffers by name."""
        return dict(self._network.state_dict())

    def state(self) -> dict[str, Tensor]:
        """Return all that the next step depends on."""
        tensors = prefixed("network", self.weights())
        for number, optimizer in enumerate(self._optimizers):
            tensors |= prefixed(f"optimizer{number}", optimizer_tensors(optimizer))
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`state` returned."""
        self._network.load_state_dict(without_prefix("network", tensors))
        for number, optimizer in enumerate(self._optimizers):
            restore_optimizer(optimizer, without_prefix(f"optimizer{number}", tensors))


class _EachTower(nn.Module):
    """A network whose answer is every tower's logits, [towers, N, classes].

    Fabric sees to precision and processes only where a module is called.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.network.each(images)  # type: ignore[operator]
        return found
