"""The study's commands: refusals in one sentence, and the whole way on the real images."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from convscope.study.checkpoints import checkpoint_paths


def convscope(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from convscope.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["data", "cifar11"], "unknown data set 'cifar11'; did you mean 'cifar10'?"),
        (["train", "--data", "nowhere", "-o", "run"], "nowhere"),
        (["train", "--data", ".", "-o", "run", "--preset", "tinny"], "did you mean 'tiny'"),
        (["train", "--data", ".", "-o", "run", "--padding", "some"], "'same' or 'valid'"),
        (["train", "--data", ".", "-o", "run", "--epochs", "0"], "epochs cannot be 0"),
        (["evolve", "run", "--data", ".", "--sample", "0"], "at least 1 image, not 0"),
        (["evolve", "run", "--data", ".", "--layer", "a", "--channel", "1", "--channel", "2"],
         "1 layers need as many channels, not 2"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(tmp_path, monkeypatch, answer, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    status, out, error = answer(*arguments)
    assert (status, out) == (2, "")
    assert len(error.splitlines()) == 1
    assert sentence in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_from_the_images_to_the_evolution(tmp_path, data):
    unpack = [sys.executable, str(data / "cifar10" / "unpack.py"), str(tmp_path)]
    subprocess.run(unpack, check=True, capture_output=True)
    train = ["train", "--data", str(tmp_path), "-o", "run", "--epochs", "0.2", "--json"]
    found = convscope(*train, folder=tmp_path)
    assert found.returncode == 0, found.stderr
    numbers = json.loads(found.stdout)
    assert 0.1 < numbers["test_accuracy"] < 0.9
    assert "images/s" in found.stderr
    again = convscope(*train, folder=tmp_path)
    assert again.returncode == 2
    assert "holds a training already" in again.stderr
    resumed = convscope(*train, "--resume", folder=tmp_path)
    assert json.loads(resumed.stdout)["test_accuracy"] == numbers["test_accuracy"]
    evolve = ["evolve", "run", "--data", str(tmp_path), "--sample", "50", "--json"]
    found = convscope(*evolve, folder=tmp_path)
    assert found.returncode == 0, found.stderr
    evolution = json.loads(found.stdout)
    assert len(evolution["steps"]) == len(checkpoint_paths(tmp_path / "run"))
    assert (tmp_path / "evolution.png").read_bytes()[:4] == b"\x89PNG"
