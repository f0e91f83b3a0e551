"""Where a training runs: device, precision and processes, by Lightning Fabric; and with what."""

import atexit
import ctypes
import gc
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from convscope.errors import TrainError
from convscope.results import provenance

# From glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4

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
    halves = precision == "bfloat16" or (precision == "auto" and _multiplies_halves(kind))
    gpu = kind == "auto" and torch.cuda.is_available()
    autocast = "cuda" if gpu else "cpu" if kind == "auto" else kind
    try:
        fabric = Fabric(
            accelerator=kind,
            devices=[int(index)] if index else here,
            num_nodes=everywhere // here,
            strategy="ddp" if everywhere > 1 else "auto",
            # As a plug-in, since Fabric would announce the precision by name on the screen.
            plugins=MixedPrecision("bf16-mixed", autocast) if halves else None,
        )
        fabric.launch()
    # Fabric's own class for it is a ValueError or a RuntimeError, depending on the accelerator.
    except (ValueError, RuntimeError) as error:
        raise TrainError(f"the device {device!r} cannot be used: {error}") from error
    if everywhere > 1:
        atexit.unregister(_leave_the_others)  # once, however many fabrics a process makes
        atexit.register(_leave_the_others)
    return fabric


def _multiplies_halves(kind: str) -> bool:
    """Return whether a kind of device convolves faster in bfloat16, by what is known of it.

    Processors with matrix instructions for it do. Those with vector instructions alone were twice
    as fast from AMD, and half as fast from Intel.
    """
    if kind in ("auto", "cuda") and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    if kind not in ("auto", "cpu") or (kind == "auto" and torch.backends.mps.is_available()):
        return False
    # Newer than the oldest PyTorch that this package takes.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    amd = "AMD" in _device_name(torch.device("cpu"))
    return bool(capabilities.get("amx_bf16") or (amd and capabilities.get("avx512_bf16")))


def _leave_the_others() -> None:
    """End the threads that exchange tensors with other processes while Python is still whole.

    Left to the interpreter's end, one that just then lets go of a tensor aborts the process, after
    all its work is done, and the training is reported as failed.
    """
    gc.collect()  # a network wrapped for the exchange, caught in a cycle, keeps the threads alive
    if dist.is_initialized():
        dist.destroy_process_group()


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """:class:`torch.nn.BatchNorm2d` whose training statistics span all processes.

    PyTorch's own SyncBatchNorm runs on GPUs only. Every process must hold as many images.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps [N, C, H, W], normalised and scaled."""
        if not self.training:
            return super().forward(maps)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        # In half precision the sums over a whole batch would round, or overflow.
        values = maps.float()
        count = values.numel() / values.shape[1] * dist.get_world_size()
        mean = _sum_over_processes(values.sum((0, 2, 3))) / count
        centred = values - mean.view(1, -1, 1, 1)
        # The sum of squares is taken around the mean, as it cancels badly when taken around zero.
        variance = _sum_over_processes((centred * centred).sum((0, 2, 3))) / count
        momentum = 0.1 if self.momentum is None else self.momentum
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, momentum)
            # As PyTorch does: unbiased for later, biased for now.
            self.running_var.lerp_(variance * (count / (count - 1)), momentum)
        scale = (variance + self.eps).rsqrt() * self.weight
        shifted = torch.addcmul(self.bias.view(1, -1, 1, 1), centred, scale.view(1, -1, 1, 1))
        return shifted.to(maps.dtype)


def _sum_over_processes(values: Tensor) -> Tensor:
    # With a derivative, unlike `dist.all_reduce`: each process's loss depends on all the others'
    # maps through the shared statistics.
    total: Tensor = all_reduce(values)  # type: ignore[no-untyped-call]
    return total


def synced(module: nn.Module) -> nn.Module:
    """Replace every BatchNorm2d inside *module* by a synced one with the same tensors."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            norm = SyncedBatchNorm2d(child.num_features, child.eps, child.momentum or 0.1)
            norm.load_state_dict(child.state_dict())
            setattr(module, name, norm)
        else:
            synced(child)
    return module


def keep_freed_memory() -> bool:
    """Tell the C library to reuse freed blocks instead of handing them back to the system.

    A training step on the CPU takes and frees the same hundreds of megabytes as the one before;
    fetching every page of them afresh from the system costs a tenth of the step.

    Returns:
        Whether it could be told: only glibc, the usual library on Linux, can.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    trimmed = libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    mapped = libc.mallopt(M_MMAP_MAX, 0)
    return bool(trimmed and mapped)


def made_with(fabric: Fabric) -> dict[str, Any]:
    """Return versions, hardware and git state, fit for JSON."""
    halves = fabric.strategy.precision.precision == "bf16-mixed"
    return {
        **provenance(),
        "lightning-fabric": version("lightning-fabric"),
        "device": _device_name(fabric.device),
        "precision": "bfloat16" if halves else "float32",
        "processes": fabric.world_size,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "threads": torch.get_num_threads(),
        "git": git_state(),
    }


def git_state() -> dict[str, Any] | None:
    """Return the commit of this package's source and whether it was changed since.

    None for an installed copy: the repository around that one, if any, is not this package's.
    """
    here = Path(__file__)
    if not _git("ls-files", here.name):
        return None
    commit = _git("rev-parse", "HEAD")
    return {"commit": commit, "changed": bool(_git("status", "--porcelain", "-uno", "--", ":/"))}


def _git(*arguments: str) -> str:
    """Return what git prints about this file's folder, or nothing if it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "cpu"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "cpu")
