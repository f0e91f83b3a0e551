"""What several tests need: the real data where there is some, and a free photograph."""

import gc
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

import standin
from browsing import CHROMIUM
from convscope import cli
from convscope.methods.occlude.passes import WindowedPasses

# What torch keeps while it traces pays where networks are large, and the tests' are small.
os.environ.setdefault("TORCH_FAKE_TENSOR_DISPATCH_CACHE", "0")
# Autograd counts the devices once a process, when it first goes backwards.
standin.install()
# A shell's background jobs ignore Ctrl-C, and so would the commands that tests start from there.
signal.signal(signal.SIGINT, signal.default_int_handler)
# How long an example may take says nothing on a busy machine. The examples
# are the same in every run, so that a failure tells of a change and not of another draw.
settings.register_profile("patient", deadline=None, derandomize=True)
settings.load_profile("patient")


def pytest_collection_finish() -> None:
    """Spare what is imported the search for garbage, which took a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data, named by CONVSCOPE_DATA, else beside the repository."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CONVSCOPE_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"needs the real data, and {folder} is no folder; set CONVSCOPE_DATA")
    return folder


class Answer(NamedTuple):
    """What a command says: its exit status, standard output and standard error."""

    status: int
    out: str
    err: str


@pytest.fixture
def answer(monkeypatch, capsys) -> Callable[..., Answer]:
    """The command line in this process."""

    def answer(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["convscope", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return Answer(int(stopped.value.code or 0), *capsys.readouterr())

    return answer


NETWORKS = """
import torch
from torch import nn


def small():
    torch.manual_seed(3)
    body = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()
    module = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    module.classes = "cat", "dog", "$eel$"
    return module, torch.zeros(1, 3, 24, 24)


def constant():
    module, example = small()
    nn.init.zeros_(module[-1].weight)
    return module, example


def maps():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.zeros(1, 3, 24, 24)
"""


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A folder with networks.py, one.png and two.png, which is only read."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "networks.py").write_text(NETWORKS)
    generator = np.random.default_rng(0)
    for name in ("one.png", "two.png"):
        pixels = generator.integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.fixture
def there(world, tmp_path, monkeypatch) -> None:
    """Be in a copy of that folder."""
    shutil.copytree(world, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def by_windows() -> Iterator[None]:
    """Occlusion by windows also where whole passes cost less, as at the small inputs of tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WindowedPasses, "_pays", lambda *_: True)
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser, with a camera that films nothing."""
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs chromium on the PATH")
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with api.sync_playwright() as player:
        opened = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def photograph() -> Path:
    """A photograph of a cat, 451 x 300, that scikit-image ships under CC0."""
    skimage = pytest.importorskip("skimage")
    return Path(skimage.data_dir, "chelsea.png")
