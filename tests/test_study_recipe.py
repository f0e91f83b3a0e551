"""The presets on CIFAR-10 itself; minutes each, so only with ``-m slow``."""

import subprocess
import sys
from pathlib import Path

import pytest

from convscope.models.plain import build
from convscope.preprocessing import CIFAR10
from convscope.study.config import PRESETS, preset
from convscope.study.data import FOLDER, load_cifar10
from convscope.study.train import train


@pytest.fixture(scope="module")
def cifar10(data, tmp_path_factory) -> Path:
    """A folder that holds the official binary layout."""
    if (data / FOLDER).is_dir():
        return data
    unpack = data / "cifar10" / "unpack.py"
    if not unpack.is_file():
        pytest.skip(f"needs CIFAR-10, and {data} holds neither {FOLDER} nor cifar10/unpack.py")
    out = tmp_path_factory.mktemp("cifar10")
    subprocess.run([sys.executable, str(unpack), str(out)], check=True)
    return out


def test_base_is_small_enough_to_ship():
    parameters = sum(p.numel() for p in build(PRESETS["base"].net, 0).parameters())
    assert parameters <= 1_250_000


@pytest.mark.slow
def test_the_images_are_cifar10s(cifar10):
    images = load_cifar10(cifar10)
    assert images.labels.bincount().tolist() == [5000] * 10
    colours = [(images.images[:, colour] / 255).double() for colour in range(3)]
    # Images that went through JPEG are off by 2e-4.
    assert [float(values.mean()) for values in colours] == pytest.approx(CIFAR10[0], abs=5e-4)
    assert [float(values.std()) for values in colours] == pytest.approx(CIFAR10[1], abs=2e-3)


@pytest.mark.slow
def test_tiny_reaches_the_2018_accuracy(cifar10, tmp_path):
    run = train(preset("tiny"), cifar10, tmp_path / "run", device="cpu")
    assert run.test_accuracy >= 0.819
    assert run.seconds["saving"] <= 0.03 * run.seconds["training"]
