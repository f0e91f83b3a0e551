"""A RUN folder: what was trained, how, on what, and how it went."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import NoneType
from typing import Any

from torch import Tensor, nn

from convscope.arguments import misshapen
from convscope.errors import TrainError
from convscope.models.parts import RANDOM_NOTE, Parts
from convscope.models.plain import build
from convscope.models.weights import load_into
from convscope.outputs import write_text
from convscope.packing import put_together
from convscope.study.checkpoints import checkpoint_paths, load_checkpoint
from convscope.study.config import UNITS, TrainConfig
from convscope.study.data import CLASSES, SIDE

FILE = "run.json"
FORMAT = 1  # of run.json; raised when a field changes its meaning

FACTS = {
    "config": dict,
    "data": dict,
    "network": dict,
    "made_with": dict,
    "epochs": [dict],
    "seconds": dict,
    "test_accuracy": (float, int, NoneType),
    "finished": bool,
}


@dataclass(frozen=True)
class EpochMetrics:
    """What an epoch ended with.

    Attributes:
        epoch: passes over the training part so far; a fraction at the end of a training that does
            not last a whole number of epochs.
        step: optimizer steps so far.
        loss: mean training loss of the epoch's steps, in nats, label smoothing included.
        train_accuracy: share of the epoch's augmented training images answered rightly, 0..1.
        accuracy: share of the held-out images answered rightly, 0..1, at the side of the images
            trained on.
        seconds: training time so far, without validation and saving.
        processor_seconds: this process's share of it, summed over its threads: divided by their
            number, it is about what *seconds* would be on a machine with nothing else to do.
    """

    epoch: float
    step: int
    loss: float
    train_accuracy: float
    accuracy: float
    seconds: float
    processor_seconds: float


@dataclass
class Run:
    """A training in a folder, as far as it went.

    Attributes:
        folder: where it lies.
        config: what was trained.
        data: what on: number of images, and a hash of them and their labels.
        made_with: versions, hardware and git state.
        network: number of parameters, and of multiply-adds an image.
        epochs: how it went.
        seconds: once finished, the time spent on ``training`` (augmentation, forward, backward,
            optimizer), ``validation`` and ``saving``, and the ``processor`` time of the training.
        test_accuracy: share of the test images answered rightly by the final weights, 0..1; None
            before the end, or where no test set was given.
        finished: whether the last step is done.
    """

    folder: Path
    config: TrainConfig
    data: dict[str, Any]
    network: dict[str, int]
    made_with: dict[str, Any] = field(default_factory=dict)
    epochs: list[EpochMetrics] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    test_accuracy: float | None = None
    finished: bool = False

    @property
    def checkpoints(self) -> list[Path]:
        """The weights kept, in order of time."""
        return checkpoint_paths(self.folder)

    def weights(self, checkpoint: Path | None = None) -> dict[str, Tensor]:
        """Return a checkpoint's weights by name; by default the last one's.

        Raises:
            TrainError: there is none, or it cannot be read.
        """
        paths = [checkpoint] if checkpoint else self.checkpoints
        if not paths:
            raise TrainError(f"{self.folder} holds no checkpoint")
        return load_checkpoint(paths[-1])[0]

    def module(self, checkpoint: Path | None = None) -> nn.Module:
        """Return the network with a checkpoint's weights, by default the last one's, in eval mode.

        Raises:
            TrainError: there is none, or it cannot be read.
            ModelError: it does not fit the configuration, or holds NaN or infinite values.
        """
        network = build(self.config.net, self.config.seed)
        weights = self.weights(checkpoint)
        load_into(network, weights, checkpoint or self.checkpoints[-1])
        return network.eval()

    def check_same(self, config: TrainConfig, data: Mapping[str, Any]) -> None:
        """Refuse to go on with another configuration, or on other images.

        Raises:
            TrainError: naming the fields that differ and both their values.
        """
        here, there = config.to_json(), self.config.to_json()
        different = [
            f"{name} {there[name]}, not {here[name]}" for name in here if here[name] != there[name]
        ]
        if different:
            raise TrainError(f"{self.folder} was trained with {'; '.join(different)}")
        if self.data != data:
            raise TrainError(f"{self.folder} was trained on other images")

    def save(self) -> None:
        """Write ``run.json``, beside and renamed.

        Raises:
            OutputError: it cannot be written.
        """
        facts = {
            "format": FORMAT,
            "finished": self.finished,
            "test_accuracy": self.test_accuracy,
            "seconds": self.seconds,
            "config": self.config.to_json(),
            "units": UNITS,
            "data": self.data,
            "network": self.network,
            "made_with": self.made_with,
            "checkpoints": [path.name for path in self.checkpoints],
            "epochs": [asdict(epoch) for epoch in self.epochs],
        }
        write_text(self.folder / FILE, json.dumps(facts, indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "Run":
        """Read a RUN folder.

        Raises:
            TrainError: it holds no ``run.json``, or not one of this kind.
        """
        folder = Path(folder)
        try:
            facts = json.loads((folder / FILE).read_text())
        except FileNotFoundError:
            raise TrainError(f"{folder} holds no training: it has no {FILE}") from None
        except (OSError, ValueError) as error:
            raise TrainError(f"{folder / FILE} cannot be read: {error}") from error
        if wrong := misshapen(facts, FACTS):
            raise TrainError(f"{folder / FILE} is not a training's: {wrong}")
        try:
            config = TrainConfig.from_json(facts["config"])
            epochs = put_together(list[EpochMetrics], facts["epochs"])
            own = {name: facts[name] for name in FACTS}
            return cls(folder=folder, **{**own, "config": config, "epochs": epochs})
        except (KeyError, TypeError) as error:
            raise TrainError(f"{folder / FILE} is not a training's: an epoch is damaged") from error


def is_run(name: str | Path) -> bool:
    """Return whether a name is that of a RUN folder."""
    try:
        return (Path(name) / FILE).is_file()
    except OSError:  # a name too long for a file
        return False


def parts_of_run(
    folder: str | Path, *, trained: bool = True, checkpoint: Path | None = None
) -> Parts:
    """Return the network of a RUN folder, with its last checkpoint's weights, for 32×32 pixels.

    Args:
        folder: what ``convscope train`` wrote.
        trained: False for the weights that its training began with, but for their seed: 0.
        checkpoint: the file of other weights than the last ones.

    Raises:
        TrainError: the folder holds no training, or no checkpoint.
        ModelError: the weights do not fit or are NaN.
    """
    run = Run.load(folder)
    config = run.config
    unfinished = () if run.finished else ("the training is not finished",)
    return Parts(
        run.module(checkpoint) if trained else build(config.net, 0),
        # The whole picture is fitted in and its middle cut out, so that nothing in it is squeezed.
        replace(config.preprocess(SIDE, SIDE), resize=SIDE),
        classes=CLASSES if config.net.classes == len(CLASSES) else None,
        notes=unfinished if trained else (RANDOM_NOTE,),
    )
