"""The Lightning callback, with real trainers of both packages, beside a plain loop."""

import subprocess
import sys
import warnings

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from convscope.errors import TrainError
from convscope.study.checkpoints import Tracker, checkpoint_paths
from convscope.study.evolve import evolve

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns of few workers and the like
BATCHES = 8


def packages():
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("lightning.pytorch", "pytorch_lightning"):
            try:
                found.append(__import__(name, fromlist=["Trainer"]))
            except ModuleNotFoundError:
                continue
    return found


PACKAGES = packages()
each_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
if not PACKAGES:
    pytest.skip("needs the extra `lightning`", allow_module_level=True)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten())


def loader():
    torch.manual_seed(1)
    images = torch.rand(2 * BATCHES, 1, 6, 6)
    labels = torch.arange(2 * BATCHES) % 2
    return DataLoader(TensorDataset(images, labels), batch_size=2)


def loss_of(net, batch):
    images, labels = batch
    return nn.functional.cross_entropy(net(images), labels)


def lightning_module(package, net):
    class Module(package.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net

        def training_step(self, batch, _):
            return loss_of(self.net, batch)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    return Module()


def trained_plainly(folder, epochs):
    net, batches = network(), loader()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    with Tracker(folder, net, steps_per_epoch=BATCHES) as tracker:
        for _ in range(epochs):
            for batch in batches:
                optimizer.zero_grad()
                loss_of(net, batch).backward()
                optimizer.step()
                tracker.step()


def trained_by(package, folder, epochs, *, resumed_from=None, net=None, **options):
    from convscope.study.lightning import TrackerCallback

    net = net or network()
    trainer = package.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[TrackerCallback(folder, net)],
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(lightning_module(package, net), loader(), ckpt_path=resumed_from)
    return trainer


def same_checkpoints(one, other):
    paths = checkpoint_paths(one), checkpoint_paths(other)
    assert [path.name for path in paths[0]] == [path.name for path in paths[1]]
    for mine, yours in zip(*paths, strict=True):
        tensors, others = load_file(mine), load_file(yours)
        assert tensors.keys() == others.keys()
        assert all(torch.equal(tensors[name], others[name]) for name in tensors)
    return [int(path.stem[5:]) for path in paths[0]]


@each_package
def test_the_checkpoints_are_those_of_the_plain_loop(package, tmp_path):
    trained_plainly(tmp_path / "plain", 3)
    trained_by(package, tmp_path / "lightning", 3)
    steps = same_checkpoints(tmp_path / "plain", tmp_path / "lightning")
    assert steps == [0, 1, 2, 4, 8, 16, 24]
    evolution = evolve(tmp_path / "lightning", torch.rand(4, 1, 6, 6), module=network())
    assert evolution.steps == tuple(steps)


@each_package
def test_a_resumed_training_ends_with_the_same_checkpoints(package, tmp_path):
    trained_plainly(tmp_path / "plain", 3)
    first = trained_by(package, tmp_path / "lightning", 1)
    first.save_checkpoint(tmp_path / "state.ckpt")
    # The training went on, to a place that is no moment, and was stopped; it resumes from before.
    lost = {"limit_train_batches": 5, "resumed_from": tmp_path / "state.ckpt"}
    trained_by(package, tmp_path / "lightning", 2, **lost)
    assert checkpoint_paths(tmp_path / "lightning")[-1].stem == "step-0000013"
    trained_by(package, tmp_path / "lightning", 3, resumed_from=tmp_path / "state.ckpt")
    assert same_checkpoints(tmp_path / "plain", tmp_path / "lightning")[-1] == 24


@each_package
def test_accumulated_batches_are_one_step(package, tmp_path):
    trained_by(package, tmp_path, 2, accumulate_grad_batches=4)
    steps = [int(path.stem[5:]) for path in checkpoint_paths(tmp_path)]
    assert steps == [0, 1, 2, 4]


def test_a_fresh_training_leaves_an_old_ones_folder_alone(tmp_path):
    trained_plainly(tmp_path, 1)
    before = checkpoint_paths(tmp_path)
    with pytest.raises(TrainError, match="holds checkpoints already"):
        trained_by(PACKAGES[0], tmp_path, 1)
    assert checkpoint_paths(tmp_path) == before


def test_a_tracker_keeps_a_moment_that_passed_within_several_steps(tmp_path):
    tracker = Tracker(tmp_path, network(), steps_per_epoch=100)
    for _ in range(4):
        tracker.step(4)  # the moments are 6 and 12
    assert [int(path.stem[5:]) for path in checkpoint_paths(tmp_path)] == [0, 8, 12]


def test_without_lightning_there_is_one_plain_sentence():
    code = (
        "import sys; sys.modules['lightning'] = sys.modules['pytorch_lightning'] = None\n"
        "from convscope.errors import ConvscopeError\n"
        "try:\n    import convscope.study.lightning\n"
        "except ConvscopeError as error:\n    print(error)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("the callback needs Lightning: install it with `pip install")
