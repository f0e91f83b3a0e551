"""A network in training: one step at a time, and all of its state as tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import TypeVar

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from convscope.models.mirror import pair_gradients, pair_weights
from convscope.models.plain import SideBySide, build
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

Found = TypeVar("Found")


class Learner:
    """The network and its optimizers.

    Its wide convolutions learn by Winograd's method where neither a GPU nor bfloat16 does better.
    On a CPU, each of a network's towers learns in a thread of its own with its share of the cores:
    two networks beside each other keep two cores busier than two cores share the work of one.

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
        towers = network.towers if isinstance(network, SideBySide) else [network]
        self._towers = [_Tower.of(tower, config, fabric) for tower in towers]
        self._network = network
        # What processes exchange must come in one order.
        alone_on_cpu = fabric.world_size == 1 and fabric.device.type == "cpu"
        self._threads = _threads_for(len(towers)) if alone_on_cpu else None

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
        found = self._each(lambda tower: self._taught(tower, images, labels, rate))
        losses, answers = (torch.stack(values) for values in zip(*found, strict=True))
        return losses.mean(), (answers.mean(0).argmax(1) == labels).sum()

    def _taught(
        self, tower: _Tower, images: Tensor, labels: Tensor, rate: float
    ) -> tuple[Tensor, Tensor]:
        """Let one tower learn from a batch, as if it were alone; return its loss and logits."""
        tower.wrapped.train()
        tower.set_rate(rate)
        answers: Tensor = tower.wrapped(images)
        loss = F.cross_entropy(answers, labels, label_smoothing=self._config.label_smoothing)
        self._fabric.backward(loss)
        tower.turn(mirrored=self._config.net.mirrored)
        return loss.detach(), answers.detach()

    def _each(self, task: Callable[[_Tower], Found]) -> list[Found]:
        """Return what *task* finds of every tower, at the same time where there are threads."""
        if self._threads is None:
            return [task(tower) for tower in self._towers]
        return list(self._threads.map(task, self._towers))

    def accuracy(self, data: ImageSet, side: int) -> float:
        """Return the share of *data* that is answered rightly, in 0..1, without augmentation.

        The images are resized to *side* pixels, as those that the network is learning from are.
        """
        self._network.eval()
        right = 0
        for pixels, labels in data.batches(EVALUATION_BATCH):
            images = normalised(resized(pixels.to(self._fabric.device), side), self._config)
            answers = self._answers(images).argmax(1)
            right += int((answers == labels.to(answers.device)).sum())
        return right / len(data)

    def _answers(self, images: Tensor) -> Tensor:
        """Return the logits [N, classes] of normalised images."""

        # The bare network: every process looks at all images, and none waits for another. That
        # nothing is to be learned must be said in every thread.
        @torch.no_grad()
        def of_one(tower: _Tower) -> Tensor:
            found: Tensor = tower.network(images)
            return found

        return torch.stack(self._each(of_one)).mean(0)

    def weights(self) -> dict[str, Tensor]:
        """Return the network's parameters and buffers by name."""
        return dict(self._network.state_dict())

    def state(self) -> dict[str, Tensor]:
        """Return all that the next step depends on."""
        tensors = prefixed("network", self.weights())
        for number, optimizer in enumerate(self._optimizers()):
            tensors |= prefixed(f"optimizer{number}", optimizer_tensors(optimizer))
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`state` returned."""
        self._network.load_state_dict(without_prefix("network", tensors))
        for number, optimizer in enumerate(self._optimizers()):
            restore_optimizer(optimizer, without_prefix(f"optimizer{number}", tensors))

    def _optimizers(self) -> list[Optimizer]:
        return [optimizer for tower in self._towers for optimizer in tower.optimizers]


@dataclass(frozen=True, eq=False)
class _Tower:
    """One of the networks side by side, or the only one, and what changes it.

    Attributes:
        network: the bare network.
        wrapped: the same as Fabric calls it, in its precision and with the other processes.
        optimizers: those of its parameters.
        peaks: the learning rates of each optimizer's groups at their peak.

    """

    network: nn.Module
    wrapped: nn.Module
    optimizers: list[Optimizer]
    peaks: list[list[float]]

    @classmethod
    def of(cls, network: nn.Module, config: TrainConfig, fabric: Fabric) -> _Tower:
        optimizers = make_optimizers(network, config)
        peaks = [[group["lr"] for group in made.param_groups] for made in optimizers]
        wrapped, *ready = fabric.setup(network, *optimizers)
        return cls(network, wrapped, ready, peaks)

    def set_rate(self, rate: float) -> None:
        """Set the learning rates to a share of their peaks, 0..1."""
        for optimizer, peaks in zip(self.optimizers, self.peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * rate

    def turn(self, *, mirrored: bool) -> None:
        """Take the optimizers' step from the gradients at hand, and forget these."""
        if mirrored:
            pair_gradients(self.network)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if mirrored:
            pair_weights(self.network)


def _threads_for(towers: int) -> ThreadPoolExecutor | None:
    """Return a thread for each tower with its share of PyTorch's, or None where one would idle."""
    threads = torch.get_num_threads()
    if towers == 1 or threads < towers:
        return None
    all_there = Barrier(towers + 1)

    def begin() -> None:
        torch.set_num_threads(threads // towers)
        # When a thread first asks, it takes the process's setting: let that be before the rest's.
        torch.get_num_threads()
        all_there.wait()

    pool = ThreadPoolExecutor(towers, initializer=begin)
    for _ in range(towers):
        pool.submit(lambda: None)
    all_there.wait()
    # Part of the setting is the process's, not the thread's.
    torch.set_num_threads(threads)
    return pool
