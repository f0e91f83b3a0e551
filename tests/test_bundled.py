"""The network that ships with its weights: what it is, that it fits, that it is in the wheel."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import convscope as cs
from convscope.errors import ModelError
from convscope.models import bundled
from convscope.study.data import load_cifar10

FOLDER = Path(bundled.__file__).parent
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def net() -> cs.Network:
    return cs.load("base")


def test_it_is_what_its_json_says(net):
    facts = bundled.bundle_facts("base")
    assert facts["finished"]
    assert net.input_shape == (3, 32, 32)
    assert net.classes == tuple(facts["classes"])
    assert (net.preprocess.mean, net.preprocess.std) == (
        tuple(facts["config"]["mean"]), tuple(facts["config"]["std"])
    )  # fmt: skip
    assert net.notes == ()
    widths = [width for block in facts["config"]["net"]["widths"] for width in block]
    shapes = [net.layers[f"features.conv{number}"].shape[0] for number in range(1, len(widths) + 1)]
    assert shapes == widths
    assert sum(layer.parameters for layer in net.layers.values()) <= 1_250_000


def test_its_weights_are_small_and_in_half_precision():
    file = FOLDER / "base.safetensors"
    assert file.stat().st_size <= 2_500_000
    for name, tensor in load_file(file).items():
        assert tensor.is_floating_point() == (not name.endswith("num_batches_tracked"))
        assert tensor.dtype != torch.float16 or tensor.ndim > 1
        assert tensor.dtype == torch.float16 or tensor.ndim <= 1


def test_it_takes_larger_pictures_and_other_weights(tmp_path):
    large = cs.load("base", size="3,48,64")
    assert large(torch.zeros(1, 3, 48, 64)).shape == (1, 10)
    random = cs.load("base", "random")
    assert random.notes == ("random weights (seed 0)",)
    same = cs.load("base", FOLDER / "base.safetensors")
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(same(image), cs.load("base")(image))
    assert not torch.equal(random(image), same(image))
    with pytest.raises(ModelError, match="does not exist"):
        cs.load("base", tmp_path / "none.safetensors")


def test_a_copy_without_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(bundled, "files", lambda _: tmp_path)
    bundled.bundle_facts.cache_clear()
    with pytest.raises(ModelError, match="lacks the bundled network 'base': install it again"):
        cs.load("base")
    bundled.bundle_facts.cache_clear()


def test_a_misspelt_name_is_near_it():
    with pytest.raises(ModelError, match="did you mean 'base'"):
        cs.load("bas")


def test_the_table_of_its_layers():
    command = [sys.executable, "-m", "convscope", "layers", "base", "--json"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = json.loads(found.stdout)
    assert rows[0]["name"] == "features.conv1"
    assert rows[0]["receptive_field"] == [3, 3]


@pytest.mark.slow
def test_it_is_as_accurate_as_it_says(net, data, tmp_path):
    unpack = [sys.executable, str(data / "cifar10" / "unpack.py"), str(tmp_path)]
    subprocess.run(unpack, check=True, capture_output=True)
    images = load_cifar10(tmp_path, "test")
    right = 0
    for start in range(0, len(images.labels), 500):
        batch = net.preprocess.to_inputs(images.images[start : start + 500].float() / 255)
        right += int((net(batch).argmax(1) == images.labels[start : start + 500]).sum())
    # Half precision, and float32 where the training may have validated in bfloat16.
    promised = bundled.bundle_facts("base")["test_accuracy"]
    assert right / len(images.labels) == pytest.approx(promised, abs=0.003)


@pytest.mark.slow
def test_a_wheel_holds_it(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= {
        "convscope/models/bundled/base.safetensors",
        "convscope/models/bundled/base.json",
        "convscope/samples/cat.jpg",
        "convscope/samples/LICENCES.md",
        "convscope/pages/templates/demo.html",
        "convscope/pages/assets/demo.css",
    }
