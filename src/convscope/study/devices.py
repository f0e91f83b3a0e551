"""Where a training runs: device, precision and processes, by Lightning Fabric."""

from __future__ import annotations

import os

import torch
from lightning_fabric import Fabric

from convscope.errors import TrainError


def make_fabric(device: str = "auto") -> Fabric:
    """Return a launched Fabric: one process here, or as many as ``torchrun`` started.

    Training is in bfloat16 mixed precision on a CUDA GPU that computes it, else in float32: without
    matrix units for it, a CPU gains nothing from halves.

    Args:
        device: ``"auto"``, ``"cpu"``, ``"mps"``, ``"cuda"`` or one GPU such as ``"cuda:1"``.

    Raises:
        TrainError: if there is no such device.

    """
    kind, _, index = device.partition(":")
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    everywhere = int(os.environ.get("WORLD_SIZE", "1"))
    on_cuda = kind in ("auto", "cuda") and torch.cuda.is_available()
    try:
        fabric = Fabric(
            accelerator=kind,
            devices=[int(index)] if index else here,
            num_nodes=everywhere // here,
            strategy="ddp" if everywhere > 1 else "auto",
            precision="bf16-mixed" if on_cuda and torch.cuda.is_bf16_supported() else "32-true",
        )
        fabric.launch()
    # Fabric's own class for it is a ValueError or a RuntimeError, depending on the accelerator.
    except (ValueError, RuntimeError) as error:
        raise TrainError(f"the device {device!r} cannot be used: {error}") from error
    return fabric
