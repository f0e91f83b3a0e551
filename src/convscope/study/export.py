"""Trained weights made small enough to ship."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import Tensor

from convscope.errors import OutputError
from convscope.study.checkpoints import save_tensors
from convscope.study.run import FILE, Run


def export_weights(run: Run, folder: str | Path, name: str) -> Path:
    """Write a run's final weights in half precision, and the ``run.json`` that tells of them.

    Rounding to float16 moves a weight by at most one part in 2,048. Batch norm's running variance
    may be too small or large for it, so what has one axis stays in float32; it is few numbers.

    Args:
        run: a training with at least one checkpoint.
        folder: where to write, made if missing.
        name: the files' name: ``name.safetensors`` and ``name.json``.

    Returns:
        The path of the weights.

    Raises:
        TrainError: the run holds no checkpoint.
        OutputError: a file cannot be written.

    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.folder / FILE, folder / f"{name}.json")
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror}") from error
    path = folder / f"{name}.safetensors"
    save_tensors({k: _halved(v) for k, v in run.weights().items()}, path, {"name": name})
    return path


def _halved(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float16) if tensor.ndim > 1 else tensor
