"""Where a training runs: device, precision and processes, by Lightning Fabric."""

from __future__ import annotations

import os

import torch
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
    return fabric


def precision_of(fabric: Fabric) -> str:
    """Return ``"bfloat16"`` or ``"float32"``: what *fabric* computes in."""
    return "bfloat16" if fabric.strategy.precision.precision == "bf16-mixed" else "float32"


def _autocast_device(kind: str) -> str:
    """Return the kind of device that ``"auto"`` stands for."""
    if kind != "auto":
        return kind
    return "cuda" if torch.cuda.is_available() else "cpu"
