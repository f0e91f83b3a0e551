"""What a training is: every choice that decides its result, and the named presets."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from torch import Tensor

from convscope.arguments import LARGEST_SEED
from convscope.errors import TrainError, check_known
from convscope.images import Preprocess
from convscope.models.architectures import VGG16_BLOCKS
from convscope.models.plain import NetConfig
from convscope.packing import put_together
from convscope.preprocessing import CIFAR10

# For trainings of two thousand steps and more. A quarter as many bear twice the peak rate; at half
# of it the networks learn faster but end worse on images that they have not seen.
LONG_RATE = 0.15

# For filters without batch norm, by SGD: at twice that, the seven layers of "tiny" stay at chance.
PLAIN_RATE = 0.05

# For readers of run.json: the units of the configuration's numbers that have one.
UNITS = {
    "epochs": "passes over the training images",
    "batch_size": "images",
    "learning_rate": "under muon: share of the filters' norm a step; under sgd: per gradient",
    "other_learning_rate": "per gradient",
    "momentum": "share kept a step",
    "other_momentum": "share kept a step",
    "weight_decay": "share a step, per unit of learning rate",
    "warmup": "share of the training",
    "label_smoothing": "probability",
    "augmentation.shift": "pixels",
    "augmentation.cutout": "pixels",
    "sides": "[share of the training, pixels]",
    "mean": "pixel values in 0..1",
    "std": "pixel values in 0..1",
    "held_out": "images",
}


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training image before the network sees it.

    Attributes:
        shift: largest shift along each axis, in pixels; what comes in at the edge is the image
            reflected there.
        flip: mirror left and right. Each image is mirrored in every other epoch, so that any two
            successive epochs show both sides (Jordan, arXiv 2404.00498): a coin tossed anew each
            time would show many images the same way twice.
        cutout: side of a square set to the mean colour, in pixels; 0 for none (DeVries & Taylor,
            arXiv 1708.04552). Its centre is uniform over the image, so it may stick out.

    Raises:
        TrainError: if a number of pixels is negative.
    """

    shift: int = 2
    flip: bool = True
    cutout: int = 0

    def __post_init__(self) -> None:
        if self.shift < 0 or self.cutout < 0:
            raise TrainError("shift and cutout are numbers of pixels, so they cannot be negative")


MOST_EPOCHS = 1e6
# Comparisons that a NaN fails.
RANGES: dict[str, Callable[[Any], bool]] = {
    "epochs": lambda n: 0 < n < MOST_EPOCHS,
    "batch_size": lambda n: 1 <= n < math.inf,
    "learning_rate": lambda rate: 0 < rate < math.inf,
    "other_learning_rate": lambda rate: 0 < rate < math.inf,
    "momentum": lambda share: 0 < share < 1,
    "other_momentum": lambda share: 0 < share < 1,
    "weight_decay": lambda share: 0 <= share < math.inf,
    "warmup": lambda share: 0 < share < 1,
    "label_smoothing": lambda share: 0 <= share < 1,
    "sides": lambda sides: all(0 < until <= 1 and side >= 1 for until, side in sides),
    "mean": lambda colours: len(colours) == 3 and all(-math.inf < c < math.inf for c in colours),
    "std": lambda colours: len(colours) == 3 and all(0 < c < math.inf for c in colours),
    "held_out": lambda n: 1 <= n < math.inf,
    "split_seed": lambda seed: 0 <= seed < LARGEST_SEED,
    "seed": lambda seed: 0 <= seed < LARGEST_SEED,
}


@dataclass(frozen=True)
class TrainConfig:
    """Every choice that decides a training's result; two equal ones train the same weights.

    Attributes:
        net: the network.
        epochs: length of the training, in passes over the training part; may be a fraction.
        batch_size: images a step, over all processes together.
        optimizer: ``"muon"`` (filters by Muon, the rest by SGD) or ``"sgd"`` (Nesterov).
        learning_rate: the peak for the filters: under Muon the length of a step relative to the
            filters' own, under SGD the factor on the mean gradient.
        momentum: share of the running gradient kept from one step to the next, for the filters.
        other_learning_rate: the peak for everything that is no filter, which SGD always trains.
        other_momentum: the same share, for everything that is no filter.
        weight_decay: share of SGD's filters and linear weights taken off a step, per unit of
            learning rate; Muon instead holds the filters' norm fixed.
        warmup: share of the training over which the learning rate rises, 0..1.
        label_smoothing: probability spread evenly over all classes in the targets, 0..1.
        augmentation: random changes to the training images.
        sides: pairs (until, side): training images are resized to *side* pixels while the done
            share of the training is below *until*; at their own size afterwards.
        mean: colour mean that is subtracted, red, green, blue, pixels in 0..1.
        std: colour deviation that is divided by, in the same units.
        held_out: training images kept apart to choose by, never trained on.
        split_seed: seed of that choice of images.
        seed: seed of the weights, of the batches and of the augmentation.

    Raises:
        TrainError: a value out of its range.
    """

    net: NetConfig
    epochs: float
    batch_size: int = 500
    optimizer: Literal["muon", "sgd"] = "muon"
    learning_rate: float = 0.24
    momentum: float = 0.6
    other_learning_rate: float = 0.05
    other_momentum: float = 0.85
    weight_decay: float = 0.0
    warmup: float = 0.2
    label_smoothing: float = 0.2
    augmentation: Augmentation = field(default_factory=Augmentation)
    sides: tuple[tuple[float, int], ...] = ()
    mean: tuple[float, float, float] = CIFAR10[0]
    std: tuple[float, float, float] = CIFAR10[1]
    held_out: int = 5_000
    split_seed: int = 5_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, holds in RANGES.items():
            value = getattr(self, name)
            try:
                right = holds(value)
            except (TypeError, ValueError):  # a text, or a list of another length
                right = False
            if not right:
                raise TrainError(f"{name} cannot be {value!r}")
        if self.optimizer not in ("muon", "sgd"):
            raise TrainError(f"the optimizer is 'muon' or 'sgd', not {self.optimizer!r}")
        if self.optimizer == "muon" and not self.net.batch_norm:
            raise TrainError(
                "Muon holds the filters' norm fixed, which only batch norm makes harmless; "
                "train a network without it by 'sgd'"
            )

    def preprocess(self, height: int, width: int) -> Preprocess:
        """Return what takes pictures to inputs of a size, each squeezed into it whole, and back."""
        return Preprocess(self.mean, self.std, (height, width))

    def inputs(self, images: Tensor) -> Tensor:
        """Return images [N, 3, H, W], bytes, as inputs of the network."""
        return self.preprocess(*images.shape[2:]).to_inputs(images.float() / 255)

    def to_json(self) -> dict[str, Any]:
        """Return the configuration as JSON's own types."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "TrainConfig":
        """Return what :meth:`to_json` was called on.

        Raises:
            TrainError: a field is missing, unknown or of the wrong kind.
        """
        try:
            found: TrainConfig = put_together(cls, plain)
            return found
        except (KeyError, TypeError, ValueError) as error:
            raise TrainError(f"this is no training's configuration: {error}") from error


PRESETS: dict[str, TrainConfig] = {
    # Past the 2018 study's final accuracy in about two minutes on two cores.
    "tiny": TrainConfig(
        net=NetConfig(widths=((16, 32), (64,), (128, 128), (256,))),
        epochs=5,
        sides=((0.5, 20), (0.8, 26)),
    ),
    # The bundled network's layers: as accurate as 1.25 million parameters get in half an hour.
    "base": TrainConfig(
        net=NetConfig(widths=((32, 64), (64, 128), (128, 256), (256,))),
        epochs=40,
        learning_rate=LONG_RATE,
        augmentation=Augmentation(shift=3, cutout=6),
        # A step at 20 pixels costs two fifths of one at 32, and the last eighth of the training is
        # enough to get used to the full size.
        sides=((0.45, 20), (0.7, 24), (0.88, 28)),
    ),
    # The 2018 study's comparison: shallow and never shrunk, so that there is room without padding,
    # and trained by SGD from one kind of start, so that the four variants differ in little else.
    "study": TrainConfig(
        net=NetConfig(widths=((32,), (64,), (96, 96)), identity_start=False),
        epochs=5,
        optimizer="sgd",
        learning_rate=0.3,
        momentum=0.9,
        other_learning_rate=0.15,
    ),
    # VGG16 at 32x32: its five poolings leave one value a channel, so one linear layer takes the
    # place of its three.
    "vgg16": TrainConfig(net=NetConfig(widths=VGG16_BLOCKS), epochs=10),
}


def preset(name: str, **changes: Any) -> TrainConfig:
    """Return a preset by name, some of its fields changed.

    Raises:
        TrainError: if there is no such preset or field, or a value is out of its range.

    >>> preset("tiny", seed=3).seed
    3
    """
    check_known("preset", name, PRESETS, TrainError)
    try:
        return replace(PRESETS[name], **changes)
    except TypeError as error:
        raise TrainError(f"a preset has no such field: {error}") from error


def variant_of(base: TrainConfig, *, batch_norm: bool, padding: str) -> TrainConfig:
    """Return *base* with batch norm and padding as given.

    Without batch norm the filters' norm cannot be held fixed, so SGD takes Muon's place; nothing
    else changes.

    Raises:
        ModelError: a padding of another name.

    >>> config = variant_of(preset("study"), batch_norm=False, padding="valid")
    >>> config.net.batch_norm, config.learning_rate == preset("study").learning_rate
    (False, True)
    """
    changes: dict[str, Any] = {}
    if not batch_norm and base.optimizer == "muon":
        changes = {"optimizer": "sgd", "learning_rate": PLAIN_RATE, "momentum": 0.9}
    padding_word: Any = padding
    net = replace(base.net, batch_norm=batch_norm, padding=padding_word)
    return replace(base, net=net, **changes)
