"""What several tests need: the real data where there is some, and a free photograph."""

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import standin
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


@pytest.fixture
def answer(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """The command line in this process: its exit status, standard output and standard error."""

    def answer(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["convscope", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0), *capsys.readouterr()

    return answer


@pytest.fixture(scope="module")
def by_windows() -> Iterator[None]:
    """Occlusion by windows also where whole passes cost less, as at the small inputs of tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WindowedPasses, "_pays", lambda *_: True)
        yield


@pytest.fixture(scope="session")
def photograph() -> Path:
    """A photograph of a cat, 451 x 300, that scikit-image ships under CC0."""
    skimage = pytest.importorskip("skimage")
    return Path(skimage.data_dir, "chelsea.png")
