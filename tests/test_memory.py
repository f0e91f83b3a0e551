"""Freed memory that stays in the process, so that a training step finds it again."""

import platform
import subprocess
import sys

import pytest

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
