"""The README keeps its word: its Python runs, and its commands do what stands there."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from products import some

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(*languages: str) -> list[str]:
    kinds = "|".join(languages)
    return re.findall(rf"^```(?:{kinds})\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Return the convscope commands, without prompts and comments."""
    lines = [line for block in blocks("sh", "console") for line in block.splitlines()]
    texts = [line.removeprefix("$ ").partition("#")[0].strip() for line in lines]
    return [text for text in texts if text.startswith("convscope ")]


@pytest.fixture
def folder(tmp_path, monkeypatch, photograph) -> Path:
    """A folder like the reader's: the cat, and a network of one's own."""
    Image.open(photograph).save(tmp_path / "cat.jpg")
    (tmp_path / "docs" / "pictures").mkdir(parents=True)
    shutil.copytree(ROOT / "src/convscope/samples", tmp_path / "src/convscope/samples")
    (tmp_path / "pictures").mkdir()
    shutil.copy(photograph, tmp_path / "pictures")
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n\n"
        "def build():\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ReLU())\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_is_something_to_test():
    assert len(blocks("python")) >= 1
    assert len(commands()) >= 3
    assert "convscope demo" in commands()


def test_no_picture_that_is_written_is_taken_for_a_photograph():
    lines = [shlex.split(command) for command in commands()]
    written = {line[line.index("-o") + 1] for line in lines if "-o" in line}
    read = {word for line in lines for at, word in enumerate(line) if line[at - 1] != "-o"}
    assert not [name for name in written & read if Path(name).suffix]


def test_the_python_runs_as_it_stands(folder, capsys):
    namespace: dict[str, object] = {"__name__": "readme"}
    printed = []
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), namespace)
        printed += capsys.readouterr().out.splitlines()
    promised = re.findall(r"print\(.*\)  # (.*)", "\n".join(blocks("python")))
    assert printed == promised


# The demo has tests of its own, which run it as it stands there.
COMMANDS = [text for text in commands() if text != "convscope demo"]
QUICK = [
    text for text in COMMANDS if text.split()[1] not in ("report", "scan", "compare", "sanity")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_takes_its_options(command, answer):
    status, _, error = answer(*shlex.split(command)[1:], "--help")
    assert status == 0, error


@pytest.mark.parametrize("command", some(QUICK, COMMANDS))
def test_a_command_does_what_it_says(command, folder, answer):
    words = shlex.split(command)
    status, _, error = answer(*words[1:])
    assert status == 0, error
    if "-o" in words:
        written = folder / words[words.index("-o") + 1]
        assert written.stat().st_size > 0


def test_the_pictures_it_shows_are_there_and_small():
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert shown
    for path in shown:
        assert (ROOT / path).stat().st_size < 300_000


def test_the_files_it_points_to_are_there():
    for path in re.findall(r"\]\(([^):]+)\)", README):
        assert (ROOT / path).exists(), path


def test_its_two_commands_are_the_makefiles_and_cis():
    makefile, ci = (ROOT / "Makefile").read_text(), (ROOT / ".ci" / "run").read_text()
    for target in ("setup", "test"):
        assert f"make {target}" in README
        assert f"\n{target}:" in makefile
        assert f"\nmake {target}" in ci
