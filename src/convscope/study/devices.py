"""Where a training runs: device, precision and processes, by Lightning Fabric."""

from __future__ import annotations

import atexit
import gc
import os

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision

from convscope.errors import TrainError
from convscope.network.precision import halves_are_fast

PRECISIONS = ("auto", "float32", "bfloat16")


def make_fabric(device: str = "auto", precision: str = "auto") -> Fabric:
    """Return a launched Fabric: one process here, or as many as ``torchrun`` started.

    Args:
        device: ``"auto"``, ``"cpu"``, ``"mps"``, ``"cuda"`` or one GPU such as ``"cuda:1"``.
        precision: ``"float32"``; ``"bfloat16"``, which convolves and multiplies in halves but
            keeps weights and sums in single precision; or ``"auto"``, bfloat16 where the device
            computes it faster.

    Raises:
        TrainError: if there is no such device or precision.

    """
    if precision not in PRECISIONS:
        raise TrainError(f"the precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    kind, _, index = device.partition(":")
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    everywhere = int(os.environ.get("WORLD_SIZE", "1"))
    halves = precision == "bfloat16" or (precision == "auto" and halves_are_fast(kind))
    try:
        fabric = Fabric(
            accelerator=kind,
            devices=[int(index)] if index else here,
            num_nodes=everywhere // here,
            strategy="ddp" if everywhere > 1 else "auto",
            # As a plug-in, since Fabric would announce the precision by name on the screen.
            plugins=MixedPrecision("bf16-mixed", _autocast_device(kind)) if halves else None,
        )
        fabric.launch()
    # Fabric's own class for it is a ValueError or a RuntimeError, depending on the accelerator.
    except (ValueError, RuntimeError) as error:
        raise TrainError(f"the device {device!r} cannot be used: {error}") from error
    if everywhere > 1:
        atexit.unregister(_leave_the_others)  # once, however many fabrics a process makes
        atexit.register(_leave_the_others)
    return fabric


def _leave_the_others() -> None:
    """End the threads that exchange tensors with other processes while Python is still whole.

    Left to the interpreter's end, one that just then lets go of a tensor aborts the process, after
    all its work is done, and the training is reported as failed.
    """
    gc.collect()  # a network wrapped for the exchange, caught in a cycle, keeps the threads alive
    if dist.is_initialized():
        dist.destroy_process_group()


def precision_of(fabric: Fabric) -> str:
    """Return ``"bfloat16"`` or ``"float32"``: what *fabric* computes in."""
    return "bfloat16" if fabric.strategy.precision.precision == "bf16-mixed" else "float32"


def _autocast_device(kind: str) -> str:
    """Return the kind of device that ``"auto"`` stands for."""
    if kind != "auto":
        return kind
    return "cuda" if torch.cuda.is_available() else "cpu"
