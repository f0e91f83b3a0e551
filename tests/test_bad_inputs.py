"""No mistake of a user ends in a traceback, a hang, or anything but one plain sentence."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import bad_inputs
import convscope as cs

SECONDS = 60
EACH = 24  # of the table in the quick suite
JARGON = re.compile(
    r"Traceback|aten[.:]|at::|c10|NoneType|<class|object at 0x|enforce|Errno|a fault of convscope"
    r"|AssertionError|AttributeError|IndexError|TypeError"
)
# The words of people's own code, which are theirs to read.
OWN = re.compile(r"(failed|cannot be run): \w+|raised \w+")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    bad_inputs.make_world(folder)
    return folder


@pytest.fixture
def limited():
    """Fail what takes longer than a minute."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"not answered within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def marked(items):
    """Leave most of a table to the slow suite."""
    return [
        item if place % EACH == 0 else pytest.param(item, marks=pytest.mark.slow)
        for place, item in enumerate(items)
    ]


def listing(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.parametrize("line", marked(bad_inputs.LINES))
def test_a_mistake_is_one_sentence(line, world, limited, monkeypatch, answer):
    monkeypatch.chdir(world)
    before = listing(world)
    status, out, error = answer(*shlex.split(line))
    assert (status, out) == (2, ""), error
    assert re.fullmatch(r"convscope: [^\n]{10,}\n", error), error
    assert not JARGON.search(OWN.sub("", error)), error
    assert listing(world) == before


def test_the_table_is_long_enough():
    assert len(bad_inputs.LINES) >= 500


@pytest.mark.parametrize(
    "encoding",
    [
        "cp437",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("ascii", "cp1251", "utf-8")),
    ],
)
def test_consoles_that_lack_characters(world, encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "NO_COLOR": "1"}
    command = [sys.executable, "-m", "convscope", "layers", bad_inputs.SMALL]
    done = subprocess.run(command, cwd=world, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(encoding)
    assert "4×14×14" in text or "4x14x14" in text
    command = [sys.executable, "-m", "convscope", "layers", "сеть"]
    done = subprocess.run(command, cwd=world, env=environment, capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(b"convscope: there is no model")


@pytest.fixture(scope="module")
def python_world(world):
    return bad_inputs.python_world(world)


@pytest.mark.parametrize("words", marked(bad_inputs.CALLS))
def test_a_mistaken_call_is_one_sentence(words, python_world, limited):
    before = listing(python_world.folder)
    with pytest.raises(cs.ConvscopeError) as caught:
        bad_inputs.CALLS[words](python_world)
    assert re.fullmatch(r"[^\n]{10,}[^.\n]", str(caught.value))
    assert not JARGON.search(str(caught.value))
    assert listing(python_world.folder) == before
