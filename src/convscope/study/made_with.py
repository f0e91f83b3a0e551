"""What a training was made with: versions, hardware, and the state of the source."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from convscope.records import provenance
from convscope.study.devices import precision_of


def made_with(fabric: Fabric) -> dict[str, Any]:
    """Return versions, hardware and git state, fit for JSON."""
    return {
        **provenance(),
        "lightning-fabric": version("lightning-fabric"),
        "device": _device_name(fabric.device),
        "precision": precision_of(fabric),
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
    """Return the model of a GPU or processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or device.type
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, device.type)
