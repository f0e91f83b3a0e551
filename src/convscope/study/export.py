"""Trained weights made small enough to ship."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from convscope.errors import OutputError, TrainError
from convscope.outputs import written_beside
from convscope.study.checkpoints import save_tensors
from convscope.study.data import CLASSES, SIDE
from convscope.study.run import FILE, Run


def export_weights(
    run: Run,
    folder: str | Path,
    name: str,
    *,
    classes: Sequence[str] = CLASSES,
    side: int = SIDE,
) -> Path:
    """Write a run's final weights in half precision, and JSON that tells of them.

    The JSON is the run's own, with what else is needed to use the network:
    :func:`convscope.models.bundled.from_bundle` reads both files.

    Rounding to float16 moves a weight by at most one part in 2,048. Batch norm's running variance
    may be too small or large for it, so what has one axis stays in float32; it is few numbers.

    Args:
        run: a finished training.
        folder: where to write, made if missing.
        name: the files' name: ``name.safetensors`` and ``name.json``.
        classes: what the outputs stand for, by default CIFAR-10's.
        side: height and width of the images it is made for, in pixels.

    Returns:
        The path of the weights.

    Raises:
        TrainError: the run is not finished, or a checkpoint cannot be read.
        OutputError: a file cannot be written.

    """
    if not run.finished:
        raise TrainError(f"{run.folder} is not finished: its last weights are not the final ones")
    folder = Path(folder)
    facts = json.loads((run.folder / FILE).read_text())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror}") from error
    with written_beside(folder / f"{name}.json") as beside:
        beside.write_text(json.dumps({**facts, "classes": classes, "side": side}, indent=2) + "\n")
    path = folder / f"{name}.safetensors"
    save_tensors({k: _halved(v) for k, v in run.weights().items()}, path, {"name": name})
    return path


def _halved(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float16) if tensor.ndim > 1 else tensor
