"""A training under way: the network, its optimizers, the loop, and all that resuming needs."""

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from convscope.errors import Interrupted, TrainError
from convscope.models.plain import build
from convscope.packing import put_together, save_tensors, tensors_of
from convscope.study.batches import Batches, resized
from convscope.study.checkpoints import checkpoint_paths, load_checkpoint, moments, save_checkpoint
from convscope.study.data import ImageSet
from convscope.study.devices import synced
from convscope.study.optimizers import make_optimizers, one_cycle
from convscope.study.run import EpochMetrics, Run

EVALUATION_BATCH = 1_000
STATE = "resume.safetensors"
# The state for resuming is written no oftener than this, in seconds of training, and no oftener
# than keeps the time spent on writing below this share of the training's.
STATE_INTERVAL = 20.0
SAVING_SHARE = 0.01


@dataclass(frozen=True)
class TrainProgress:
    """How far a training is.

    Attributes:
        step: optimizer steps done, of *steps*.
        steps: optimizer steps in all.
        epoch: passes over the training images done; a fraction.
        loss: mean training loss of this epoch's steps so far, in nats.
        accuracy: share of the held-out images answered rightly after the last whole epoch, 0..1;
            None before.
        images_per_second: training images a second of training time, over this epoch's steps.
        seconds_left: training time still to come, by the pixels still to come.
    """

    step: int
    steps: int
    epoch: float
    loss: float
    accuracy: float | None
    images_per_second: float
    seconds_left: float


@dataclass
class _Tally:
    """Sums over an epoch's steps so far, and the time spent since the training began, in seconds.

    *work* counts pixels: what a step costs goes by the size of its images.
    """

    loss: float = 0.0
    right: int = 0
    steps: int = 0
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    processor_seconds: float = 0.0
    validation_seconds: float = 0.0
    saving_seconds: float = 0.0
    work: int = 0


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set while the block runs; a second one stops at once.

    Python lets the main thread alone handle signals; in another one nothing is changed.
    """
    asked = threading.Event()

    def note(*_: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = [(number, signal.signal(number, note)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield asked
    finally:
        for number, handler in before:
            signal.signal(number, handler)


class Trainer:
    """One process's part in a training, from where it stands to the end.

    What is in the run's folder is gone on from; *held_out* images are looked at after every epoch.
    *progress* is called after every step, in the first process only.
    """

    def __init__(
        self,
        run: Run,
        training: ImageSet,
        held_out: ImageSet,
        fabric: Fabric,
        progress: Callable[[TrainProgress], None] | None,
    ) -> None:
        config = run.config
        self._run = run
        self._config = config
        self._held_out = held_out
        self._fabric = fabric
        self._progress = progress if fabric.is_global_zero else None
        self._batches = Batches(
            training, config, fabric.device, fabric.global_rank, fabric.world_size
        )
        network: nn.Module = build(config.net, config.seed)
        # Filters as [out, h, w, in]: the layout that convolutions run fastest in. The optimizers
        # are made where the filters will stay, since they hold views of them.
        network = network.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = synced(network) if fabric.world_size > 1 else network
        optimizers = make_optimizers(self._network, config)
        self._peaks = [[group["lr"] for group in made.param_groups] for made in optimizers]
        # The same network as Fabric calls it, in its precision and with the other processes.
        with torch.device(fabric.device):  # torch 2.9 cannot tell Fabric, once its own was unset
            self._wrapped, *self._optimizers = fabric.setup(self._network, *optimizers)
        run.network["parameters"] = sum(p.numel() for p in self._network.parameters())
        steps = self._batches.steps
        self._moments = frozenset(moments(steps, self._batches.steps_per_epoch))
        self._all_work = sum(self._batches.side(step) ** 2 for step in range(steps))
        self._step = 0
        self._tally = _Tally()
        self._saved_at = 0.0
        self._restore()

    def train(self) -> None:
        """Take the steps that are left, keeping checkpoints and the state for resuming."""
        with interruptible() as asked:
            if self._step == 0:
                self._keep_checkpoint()
            steps, per_epoch = self._batches.steps, self._batches.steps_per_epoch
            while self._step < steps:
                self._take_step()
                if self._step % per_epoch == 0 or self._step == steps:
                    self._close_epoch()
                if self._step in self._moments:
                    self._keep_checkpoint()
                    self._save_state()
                elif self._state_is_due():
                    self._save_state()
                # Any process's wish to stop stops all, after the same step.
                if self._over_processes(torch.tensor(float(asked.is_set()))) > 0:
                    self._save_state()
                    raise Interrupted(
                        f"stopped after step {self._step} of {steps}; "
                        f"resume the training in {self._run.folder} to go on"
                    )

    def finish(self, test: ImageSet | None) -> None:
        """Test the final weights, if there is anything to test them on, and close the run."""
        if test is not None:
            self._run.test_accuracy = self._accuracy(test, test.side)
        self._run.seconds = {
            "training": self._tally.seconds,
            "processor": self._tally.processor_seconds,
            "validation": self._tally.validation_seconds,
            "saving": self._tally.saving_seconds,
        }
        self._run.finished = True
        if self._fabric.is_global_zero:
            self._run.save()
            (self._run.folder / STATE).unlink(missing_ok=True)
        self._fabric.barrier()

    def _take_step(self) -> None:
        started, processor = time.perf_counter(), time.process_time()
        images, labels = self._batches.batch(self._step)
        rate = one_cycle(self._step, self._batches.steps, self._config.warmup)
        loss, right = self._learn(images, labels, rate)
        spent = time.perf_counter() - started
        tally = self._tally
        tally.seconds += spent
        tally.processor_seconds += time.process_time() - processor
        tally.epoch_seconds += spent
        tally.loss += loss
        tally.right += right
        tally.steps += 1
        tally.work += self._batches.side(self._step) ** 2
        self._step += 1
        if not math.isfinite(loss):
            self._give_up(f"the loss became {loss}")
        if self._progress is not None:
            self._progress(self._seen())

    def _learn(self, images: Tensor, labels: Tensor, rate: float) -> tuple[float, int]:
        """Learn from one batch, at a share of the peak learning rate.

        Return the loss before the step, and the number of right answers.
        """
        self._wrapped.train()
        for optimizer, peaks in zip(self._optimizers, self._peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * rate
        answers: Tensor = self._wrapped(images)
        loss = F.cross_entropy(answers, labels, label_smoothing=self._config.label_smoothing)
        self._fabric.backward(loss)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return loss.item(), int((answers.argmax(1) == labels).sum())

    @torch.no_grad()
    def _accuracy(self, data: ImageSet, side: int) -> float:
        """Return the share of *data* that is answered rightly, in 0..1, without augmentation.

        The images are resized to *side* pixels, as those that the network is learning from are.
        Every process looks at all of them with the bare network, and none waits for another.
        """
        self._network.eval()
        right = 0
        for pixels, labels in data.batches(EVALUATION_BATCH):
            images = self._config.inputs(resized(pixels.to(self._fabric.device), side))
            right += int((self._network(images).argmax(1).cpu() == labels).sum())
        return right / len(data)

    def _seen(self) -> TrainProgress:
        tally = self._tally
        epochs = self._run.epochs
        return TrainProgress(
            step=self._step,
            steps=self._batches.steps,
            epoch=self._step / self._batches.steps_per_epoch,
            loss=tally.loss / tally.steps,
            accuracy=epochs[-1].accuracy if epochs else None,
            images_per_second=tally.steps * self._config.batch_size / tally.epoch_seconds,
            seconds_left=tally.seconds / tally.work * (self._all_work - tally.work),
        )

    def _close_epoch(self) -> None:
        """Look at the held-out images and note how the epoch went."""
        started = time.perf_counter()
        accuracy = self._accuracy(self._held_out, self._batches.side(self._step - 1))
        tally = self._tally
        tally.validation_seconds += time.perf_counter() - started
        share = self._config.batch_size // self._fabric.world_size
        sums = torch.tensor([tally.loss, tally.right / share], dtype=torch.float64)
        loss, right = (self._over_processes(sums) / tally.steps).tolist()
        self._run.epochs.append(
            EpochMetrics(
                epoch=self._step / self._batches.steps_per_epoch,
                step=self._step,
                loss=loss,
                train_accuracy=right,
                accuracy=accuracy,
                seconds=tally.seconds,
                processor_seconds=tally.processor_seconds,
            )
        )
        tally.loss, tally.right, tally.steps, tally.epoch_seconds = 0.0, 0, 0, 0.0
        if self._fabric.is_global_zero:
            self._run.save()

    def _over_processes(self, values: Tensor) -> Tensor:
        if self._fabric.world_size == 1:
            return values
        mean = self._fabric.all_reduce(values.to(self._fabric.device), reduce_op="mean")
        assert isinstance(mean, Tensor)
        return mean.cpu()

    def _keep_checkpoint(self) -> None:
        started = time.perf_counter()
        weights = self._network.state_dict()
        self._check_finite(weights)
        if self._fabric.is_global_zero:
            save_checkpoint(self._run.folder, self._step, weights)
        self._tally.saving_seconds += time.perf_counter() - started

    def _state_is_due(self) -> bool:
        """Tell whether the state should be written, as not to lose much work nor cost much."""
        last, tally = self._saved_at, self._tally
        affordable = tally.saving_seconds <= SAVING_SHARE * tally.seconds
        return tally.seconds - last >= STATE_INTERVAL and affordable

    def _save_state(self) -> None:
        """Write all that the next step depends on."""
        started = time.perf_counter()
        states = [optimizer.state_dict()["state"] for optimizer in self._optimizers]
        state = tensors_of({"network": self._network.state_dict(), "optimizers": states})
        self._check_finite(state)
        if self._fabric.is_global_zero:
            facts = {
                "step": self._step,
                "tally": asdict(self._tally),
                "epochs": [asdict(epoch) for epoch in self._run.epochs],
            }
            save_tensors(self._run.folder / STATE, state, {"facts": json.dumps(facts)})
        self._tally.saving_seconds += time.perf_counter() - started
        self._saved_at = self._tally.seconds

    def _restore(self) -> None:
        """Go back to the saved state, if there is one."""
        path = self._run.folder / STATE
        self._run.epochs.clear()
        if not path.exists():
            return
        tensors, header = load_checkpoint(path)
        facts = json.loads(header["facts"])
        saved = put_together(dict[str, Any], None, tensors)
        self._network.load_state_dict(saved["network"])
        for number, optimizer in enumerate(self._optimizers):
            own = saved.get("optimizers", {}).get(str(number), {})
            state = {int(parameter): kinds for parameter, kinds in own.items()}
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        self._step = facts["step"]
        self._tally = _Tally(**facts["tally"])
        self._saved_at = self._tally.seconds
        self._run.epochs.extend(EpochMetrics(**epoch) for epoch in facts["epochs"])

    def _check_finite(self, tensors: dict[str, Tensor]) -> None:
        """Keep weights that are of no use from taking the place of good ones."""
        for name, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                self._give_up(f"{name} became infinite or NaN")

    def _give_up(self, fault: str) -> None:
        """Stop the training, naming the last checkpoint, which is finite as all that are kept."""
        kept = checkpoint_paths(self._run.folder)
        good = f"the last good checkpoint is {kept[-1]}" if kept else "no checkpoint was kept"
        raise TrainError(
            f"{fault} at step {self._step} of {self._batches.steps}; {good}; "
            f"a lower learning rate may help"
        )
