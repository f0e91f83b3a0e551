"""No mistake of a user ends in a traceback, a hang, or anything but one plain sentence."""

import re
import shlex
import signal
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

import bad_inputs
import convscope as cs
from convscope import cli
from products import some

SECONDS = 60
EACH = 40  # of the tables in the quick suite
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


def listing(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.parametrize("line", some(bad_inputs.LINES[::EACH], bad_inputs.LINES))
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


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "cp1251", "utf-8"])
def test_consoles_that_lack_characters(world, encoding, monkeypatch):
    monkeypatch.chdir(world)

    def said(model: str) -> tuple[int, str, str]:
        streams = {name: TextIOWrapper(BytesIO(), encoding) for name in ("stdout", "stderr")}
        with monkeypatch.context() as patched:
            for name, stream in streams.items():
                patched.setattr(sys, name, stream)
            patched.setattr(sys, "argv", ["convscope", "layers", model])
            with pytest.raises(SystemExit) as stopped:
                cli.main()
        for stream in streams.values():
            stream.flush()
        written = (stream.buffer.getvalue().decode(encoding) for stream in streams.values())
        return stopped.value.code, *written

    status, out, error = said(bad_inputs.SMALL)
    assert (status, error) == (0, "")
    assert "4×14×14" in out or "4x14x14" in out
    status, out, error = said("сеть")
    assert (status, out) == (2, "")
    assert error.startswith("convscope: there is no model")


@pytest.fixture(scope="module")
def python_world(world):
    return bad_inputs.python_world(world)


@pytest.mark.parametrize("words", some([*bad_inputs.CALLS][::EACH], bad_inputs.CALLS))
def test_a_mistaken_call_is_one_sentence(words, python_world, limited):
    before = listing(python_world.folder)
    with pytest.raises(cs.ConvscopeError) as caught:
        bad_inputs.CALLS[words](python_world)
    assert re.fullmatch(r"[^\n]{10,}[^.\n]", str(caught.value))
    assert not JARGON.search(str(caught.value))
    assert listing(python_world.folder) == before
