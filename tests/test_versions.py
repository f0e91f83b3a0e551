"""The word about versions of torch that were not tried."""

import tomllib
from pathlib import Path

import pytest
import torch

from convscope.versions import say_if_untried


@pytest.mark.parametrize(
    ("version", "lines"),
    [("2.9.0", 0), ("2.15.1+cpu", 0), ("2.16.0a0+git1", 1), ("2.100.0", 1), ("3.0.0+cu140", 1)],
)
def test_a_newer_torch_is_said_once_and_plainly(version, lines, monkeypatch, caplog):
    monkeypatch.setattr(torch, "__version__", version)
    say_if_untried()
    assert len(caplog.messages) == lines
    assert all(f"up to 2.15, and this is {version}" in line for line in caplog.messages)


def test_no_version_is_shut_out():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert "torch>=2.9" in project["project"]["dependencies"]
