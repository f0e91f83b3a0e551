"""What work leaves behind: maps that nobody reads any more, and freed memory."""

import gc
import platform
import subprocess
import sys

import pytest
import torch

import convscope as cs

ROUNDS, MEGABYTES = 5, 64

# In a process of its own, whose settings and memory nobody else has touched. What is taken
# and freed again must not come anew from the system, which counts a fault for every page.
SCRIPT = f"""
import resource
import sys

import torch

from convscope.study.devices import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()

def use():
    for _ in range({ROUNDS}):
        torch.empty({MEGABYTES} * 2**18).fill_(1)

use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, timeout=120, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_found_again():
    pages = MEGABYTES * 2**20 // 4096
    assert faults("kept") < 2 * pages < faults("handed back")


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
