"""A RUN folder as a model: its network, for every command."""

import json
from dataclasses import replace

import pytest
import torch

from convscope.errors import ConvscopeError, ModelError, TrainError
from convscope.loading import load
from convscope.models.plain import NetConfig, build
from convscope.packing import save_tensors
from convscope.study.checkpoints import checkpoint_path
from convscope.study.config import preset
from convscope.study.run import Run, is_run


@pytest.fixture
def run(tmp_path) -> Run:
    config = replace(preset("tiny"), net=NetConfig(((4,), (6,))), seed=3)
    made = Run(tmp_path / "run", config, {"images": 9}, {}, finished=True)
    weights = build(config.net, seed=5).state_dict()
    for step, scale in ((0, 0.0), (7, 1.0)):
        path = checkpoint_path(made.folder, step)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(path, {k: scale * v for k, v in weights.items()}, {})
    made.save()
    return made


def test_it_is_the_last_checkpoints_network(run):
    net = load(run.folder)
    module = build(run.config.net, seed=5).eval()
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(net(images), module(images), atol=1e-6)
    assert (net.name, net.input_shape, net.notes) == ("run", (3, 32, 32), ())
    assert net.classes is not None
    assert net.classes[3] == "cat"
    assert net.preprocess.mean == run.config.mean


def test_random_weights_and_an_unfinished_training_are_said(run):
    assert "random" in load(run.folder, "random").notes[0]
    facts = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps({**facts, "finished": False}))
    assert load(run.folder).notes == ("the training is not finished",)


def test_the_size_is_that_asked_for(run):
    assert load(run.folder, size="3,24,40").input_shape == (3, 24, 40)
    for size in ("24", "1,24,24", "3,-32,32", "3,0,32", "3,99999,99999"):
        with pytest.raises(ModelError):
            load(run.folder, size=size)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(run, value):
    last = run.checkpoints[-1]
    weights = run.weights()
    weights["features.conv2.weight"][0, 0, 0, 0] = value
    save_tensors(last, weights, {})
    with pytest.raises(ModelError, match=r"NaN or infinite weights in 1 .*features\.conv2\.weight"):
        load(run.folder)
    load(run.folder, "random")


def test_a_device_that_is_not_there_is_refused(run):
    with pytest.raises(ModelError, match="the device 'nope' cannot be used"):
        load(run.folder, device="nope")


def test_what_is_no_run_is_not_taken_for_one(run, tmp_path):
    assert is_run(run.folder)
    assert not is_run(tmp_path)
    assert not is_run("base")
    with pytest.raises(ConvscopeError, match="brings its own weights"):
        load(run.folder, "other.safetensors")
    for path in run.checkpoints:
        path.unlink()
    with pytest.raises(TrainError, match="no checkpoint"):
        load(run.folder)
