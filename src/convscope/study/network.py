"""A training's network, to be looked into like any other."""

from dataclasses import replace
from pathlib import Path

from convscope.models.parts import RANDOM_NOTE, Parts
from convscope.models.plain import build
from convscope.study.data import CLASSES, SIDE
from convscope.study.run import FILE, Run


def is_run(name: str | Path) -> bool:
    """Return whether a name is that of a RUN folder."""
    try:
        return (Path(name) / FILE).is_file()
    except OSError:  # a name too long for a file
        return False


def parts_of_run(
    folder: str | Path, *, trained: bool = True, checkpoint: Path | None = None
) -> Parts:
    """Return the network of a RUN folder, with its last checkpoint's weights, for 32 x 32 pixels.

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
