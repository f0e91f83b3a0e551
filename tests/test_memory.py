"""What work leaves behind: maps that nobody reads any more, and freed memory."""

import gc
import mmap
import os
import platform
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import convscope as cs
from convscope.network import freed

ROUNDS, MEGABYTES = 5, 64

# In a process of its own, whose settings and memory nobody else has touched. What is taken
# and freed again must not come anew from the system, which counts a fault for every page.
SCRIPT = f"""
import resource

import torch

from convscope.study.devices import keep_freed_memory

def use():
    for _ in range({ROUNDS}):
        torch.empty({MEGABYTES} * 2**18).fill_(1)

def faults():
    use()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    use()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults())
assert keep_freed_memory()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_found_again():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=True
    )
    handed_back, kept = map(int, done.stdout.split())
    assert kept < 2 * MEGABYTES * 2**20 // 4096 < handed_back


@pytest.fixture(scope="module")
def net():
    return cs.load("base")


@pytest.mark.parametrize(
    "work",
    [
        lambda net, images: net(images),
        cs.project,
        lambda net, images: cs.occlude(net, images[:1], patch=8, stride=8),
        lambda net, images: cs.checkerboard(net, images, budget=2),
        lambda net, images: cs.scan(net, images, "features.relu4", top=2),
        lambda net, images: cs.diagnose(net, images, budget=2),
    ],
    ids=["forward", "project", "occlude", "checkerboard", "scan", "diagnose"],
)
def test_maps_are_freed_as_soon_as_nobody_reads_them(net, work):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    net.graph  # noqa: B018 - traced beforehand
    gc.collect()
    gc.disable()
    try:
        result = work(net, images)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [thing.shape for thing in gc.garbage if isinstance(thing, torch.Tensor)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert result is not None
    assert left == []


def test_a_call_within_a_call_may_be_given_as_much(monkeypatch):
    handed_back = []
    monkeypatch.setattr(freed, "hand_back", lambda: handed_back.append(True))
    # Of its own from the system, where torch may take what was freed before.
    with mmap.mmap(-1, 2**26) as memory:
        with freed.held(1):
            with freed.held(1):
                pass
            memory.write(bytes(len(memory)))
            freed.look(torch.ones(2**20))
            assert handed_back
        handed_back.clear()
        freed.look(torch.ones(2**20))
        assert not handed_back


AROUND = 110
"""Megabytes for what no setting bounds, such as libraries that load when work begins."""

COMMANDS = [
    "project base images/0.png --layer features.relu7 --top 64",
    "occlude base images/0.png --stride 2",
    "scan base images --top 2",
    "project vgg16_features images/0.png --layer features.29 --top 48",
    "sanity vgg16_features images/0.png --layer features.22 --channel 5 --seeds 1 --budget 60",
    "scan vgg16_features images --layer features.19 --top 2",
]


def peak(command, folder):
    """Return the megabytes that a command takes at the most, and what it says."""
    with subprocess.Popen(
        [sys.executable, "-m", "convscope", *command.split()],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said
    return usage.ru_maxrss / 1024, said


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can hand memory back")
@pytest.mark.parametrize("setting", [256, 1])
@pytest.mark.parametrize("command", COMMANDS)
def test_the_work_takes_no_more_than_memory_gives_or_the_least_that_is_said(
    command, setting, tmp_path
):
    (tmp_path / "images").mkdir()
    chance = np.random.default_rng(0)
    for number in range(8):
        pixels = chance.integers(0, 256, (256, 256, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    out = "atlas" if command.startswith("scan") else "out.npz"  # no figure
    rest, _ = peak(f"layers {command.split()[1]}", tmp_path)
    taken, said = peak(f"{command} -o {out} --memory {setting}MB", tmp_path)
    least = re.search(r"needs for one picture, about ([\d,]+) MB", said)
    allowed = max(setting, int(least[1].replace(",", "")) if least else 0)
    print(f"{command}: {taken - rest:.0f} MB of {allowed} MB")
    assert taken - rest <= allowed + AROUND
