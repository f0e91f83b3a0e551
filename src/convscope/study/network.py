"""A training's network, to be looked into like any other."""

from collections.abc import Sequence
from pathlib import Path

import torch

from convscope.errors import ModelError
from convscope.images import Preprocess
from convscope.models.loading import parse_size, readied
from convscope.models.parts import RANDOM_NOTE
from convscope.models.plain import build
from convscope.network import Network
from convscope.study.data import CLASSES, SIDE
from convscope.study.run import FILE, Run


def is_run(name: str | Path) -> bool:
    """Return whether a name is that of a RUN folder."""
    try:
        return (Path(name) / FILE).is_file()
    except OSError:  # a name too long for a file
        return False


def network_of_run(
    folder: str | Path,
    *,
    trained: bool = True,
    checkpoint: Path | None = None,
    size: str | Sequence[int] | None = None,
    device: str | torch.device = "cpu",
) -> Network:
    """Return the network of a RUN folder, with its last checkpoint's weights.

    Args:
        folder: what ``convscope train`` wrote.
        trained: False for the weights that its training began with, but for their seed: 0.
        checkpoint: the file of other weights than the last ones.
        size: the input's size, "3,H,W" or three numbers; by default CIFAR-10's.
        device: where to run.

    Raises:
        TrainError: the folder holds no training, or no checkpoint.
        ModelError: the size is not three numbers, the network takes other channels, the weights do
            not fit or are NaN, or there is no such device.
    """
    run = Run.load(folder)
    channels, height, width = (3, SIDE, SIDE) if size is None else parse_size(size)
    if channels != 3:
        raise ModelError(f"the network takes 3 channels, not {channels}")
    module = readied(run.module(checkpoint) if trained else build(run.config.net, 0), device)
    notes = [] if trained else [RANDOM_NOTE]
    if trained and not run.finished:
        notes.append("the training is not finished")
    config = run.config
    side = min(height, width)
    return Network(
        module,
        torch.zeros(1, 3, height, width),
        name=run.folder.resolve().name,
        # The whole picture is fitted in and its middle cut out, so that nothing in it is squeezed.
        preprocess=Preprocess(config.mean, config.std, (height, width), resize=side),
        classes=CLASSES if config.net.classes == len(CLASSES) else None,
        notes=notes,
    )
