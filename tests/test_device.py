"""Every method, a training and every command on a device that is not the CPU: as on the CPU."""

import dataclasses
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import convscope as cs
import standin
from convscope.images import Preprocess
from convscope.methods.parts import Part
from convscope.models.plain import NetConfig
from convscope.study import train as train_module
from products import some
from study_worker import pictures, small

pytestmark = pytest.mark.skipif(
    not standin.AVAILABLE, reason="this torch does not let Python be a device"
)

SIDE = 16
FACTORY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(6)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.relu3 = nn.ReLU()
        self.classifier = nn.Linear(8, 4)

    def forward(self, images):
        maps = self.pool1(self.relu1(self.norm1(self.conv1(images))))
        maps = maps + self.relu2(self.conv2(maps)) * torch.ones(6, 1, 1, device=images.device)
        return self.classifier(self.relu3(self.conv3(maps)).mean((2, 3)))

def build():
    torch.manual_seed(0)
    return Net().eval()
"""


@cache
def network(device: str) -> cs.Network:
    names: dict[str, object] = {}
    exec(FACTORY, names)
    preprocess = Preprocess((0.5,) * 3, (0.25,) * 3, (SIDE, SIDE))
    module: nn.Module = names["build"]().to(device)
    example = torch.zeros(1, 3, SIDE, SIDE)  # of the CPU, as users write it
    return cs.Network(module, example, classes=list("abcd"), preprocess=preprocess)


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def same(one: object, other: object, place: str = "result") -> None:
    """Compare two results part by part, wherever their tensors lie."""
    if isinstance(one, Tensor):
        assert torch.allclose(one.cpu().double(), other.cpu().double(), 1e-4, 1e-5, True), place
    elif isinstance(one, np.ndarray) and one.dtype != object:
        np.testing.assert_allclose(one, other, 1e-4, 1e-5, err_msg=place)
    elif dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            same(getattr(one, field.name), getattr(other, field.name), f"{place}.{field.name}")
    elif isinstance(one, dict):
        assert list(one) == list(other), place
        for key in one.keys() - {"seconds", "made_with"}:
            same(one[key], other[key], f"{place}[{key!r}]")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for number, pair in enumerate(zip(one, other, strict=True)):
            same(*pair, f"{place}[{number}]")
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=1e-3, abs=1e-5, nan_ok=True), place


def looked(look: cs.Look) -> list[object]:
    return [look.maps("relu2"), look.project("relu3", 1), look.occlude(2, 3, patch=4), look.output]


EYES = [Part(number, "eye", (3, 3, 7, 7)) for number in range(4)]
CALLS = {
    "the network": lambda net, seen: net(seen),
    "deconvnet": lambda net, seen: cs.project(net, seen, "relu3"),
    "guided": lambda net, seen: cs.project(net, seen, "relu3", rule="guided"),
    "gradient": lambda net, seen: cs.project(net, seen, "relu3", rule="gradient"),
    "whole maps": lambda net, seen: cs.project(net, seen, "conv2", [1, 2], select="map"),
    "chosen channels": lambda net, seen: cs.project(net, seen, "relu1", torch.tensor([[1, 2]] * 4)),
    "strongest maps": cs.project,
    "occlude exact": lambda net, seen: cs.occlude(net, seen[:1], 4, 2),
    "occlude full": lambda net, seen: cs.occlude(net, seen[:1], 4, 2, method="full"),
    "occlude adaptive": lambda net, seen: cs.occlude(
        net, seen[:1], 4, 2, "mean", method="adaptive", budget=20
    ),
    "occlude a layer": lambda net, seen: cs.occlude(net, seen[:1], 4, 2, "blur", layer="relu2"),
    "occlude by masks": lambda net, seen: cs.occlude(
        net, seen[:1], masks=torch.eye(SIDE).bool()[None].repeat(2, 1, 1)
    ),
    "occlude with a colour": lambda net, seen: cs.occlude(
        net, seen[:1], 4, 2, torch.tensor([0.1, 0.2, 0.3])
    ),
    "scan": cs.scan,
    "diagnose": lambda net, seen: cs.diagnose(net, [(one, 0) for one in seen]),
    "sanity": lambda net, seen: cs.sanity(net, seen[:1], seeds=1, others=2),
    "checkerboard": lambda net, seen: cs.checkerboard(net, seen[:2]),
    "invariance": lambda net, seen: cs.invariance(net, seen[:2], steps=3),
    "correspondence": lambda net, seen: cs.correspondence(net, EYES, seen, repeats=2),
    "compare": lambda net, seen: cs.compare(net, net, [*seen], sample=4),
    "draw": lambda net, seen: cs.draw(net),
    "occlude a difference": lambda net, seen: cs.occlude(net, seen[:1], 4, 2, target="2-0"),
    **{
        f"attribute by {method}": lambda net, seen, method=method: cs.attribute(
            net, seen[:2], method=method, steps=3
        )
        for method in ("epsilon-plus", "epsilon-gamma-box", "grad-cam", "deeplift",
                       "integrated-gradients", "smoothgrad", "rectgrad")
    },
    "attribute beside images": lambda net, seen: cs.attribute(
        net, seen[:2], method="expected-gradients", baseline=seen[2:], steps=3
    ),
    "attribute a function": lambda net, seen: cs.attribute(
        net, seen[:1], lambda logits: logits.softmax(1)[0, 1], method="gradient"
    ),
    "trace a unit": lambda net, seen: cs.trace_unit(net, seen[:1], "relu3", 2, top=2),
    "visualize": lambda net, seen: cs.visualize(net, "relu2", [0, 1], steps=2),
    "ablate": lambda net, seen: cs.ablate(net, [*seen], "relu2", labels=[0, 1, 2, 3]),
    "probe": lambda net, seen: cs.probe(net, [*seen] * 3, "relu2", labels=[0, 1] * 6, folds=2),
    "a network without a channel": lambda net, seen: cs.project(
        net.with_units("relu1", off=[1], scale={0: 2.0}), seen, "relu3"
    ),
    "a look": lambda net, seen: looked(cs.look(net, seen[:1])),
}  # fmt: skip


QUICK = CALLS.keys() - {"sanity", "compare", *(n for n in CALLS if n.endswith("gradients"))}


@pytest.mark.parametrize("call", some(QUICK, CALLS))
def test_a_method_finds_there_what_it_finds_on_the_cpu(call):
    net = network(standin.NAME)
    assert net.device.type == standin.NAME
    expected = CALLS[call](network("cpu"), images())
    found = CALLS[call](net, images().to(standin.NAME))
    same(expected, found)
    same(expected, CALLS[call](net, images()))
    if getattr(found, "figure", ""):
        assert found.plot().axes


def trained(folder: Path, device: str, optimizer: str, monkeypatch) -> cs.Run:
    if device == standin.NAME:
        monkeypatch.setattr(train_module, "make_fabric", standin.fabric)
    net = NetConfig(widths=((4,), (6, 6)), classes=3, batch_norm=optimizer == "muon")
    config = small(net=net, epochs=1, sides=(), optimizer=optimizer)
    return cs.train(
        config,
        pictures(),
        folder / device,
        test=pictures(seed=1),
        device=device,
        precision="float32",
    )


@pytest.mark.parametrize("optimizer", some(["muon"], ["muon", "sgd"]))
def test_a_training_there_ends_with_the_weights_of_the_cpu(tmp_path, optimizer, monkeypatch):
    on_cpu, there = (
        trained(tmp_path, device, optimizer, monkeypatch) for device in ("cpu", standin.NAME)
    )
    assert there.made_with["device"] == standin.NAME
    same(on_cpu.weights(), there.weights())
    assert there.test_accuracy == on_cpu.test_accuracy
    seen = images()
    expected = cs.evolve(on_cpu, seen, module=on_cpu.module())
    found = cs.evolve(there, seen, module=there.module().to(standin.NAME))
    same(expected, found)
    if optimizer == "muon":
        same(expected, cs.evolve(there, seen, module=there.module(), device=standin.NAME))


def test_mixing_devices_is_noticed():
    there = torch.ones(3, device=standin.NAME)
    for mixing in (
        lambda: there + torch.ones(3),
        lambda: torch.ones(3) * there,
        lambda: torch.ones(3)[there.long()],
        lambda: torch.cat([there, torch.ones(3)]),
    ):
        with pytest.raises(RuntimeError, match="same device"):
            mixing()
    with pytest.raises(TypeError, match="can't convert standin:0 device type tensor to numpy"):
        there.numpy()
    assert (there + torch.tensor(2.0)).tolist() == [3, 3, 3]
    assert there[torch.tensor([0, 2])].cpu().sum() == 2


COMMANDS = {
    "project": ["project", "NET", "in/0.png"],
    "occlude": ["occlude", "NET", "in/0.png", "--patch", "4", "--stride", "4"],
    "scan": ["scan", "NET", "in"],
    "diagnose": ["diagnose", "NET", "in"],
    "sanity": ["sanity", "NET", "in/0.png", "--seeds", "1"],
    "checkerboard": ["checkerboard", "NET", "in/0.png"],
    "invariance": ["invariance", "NET", "in/0.png", "--steps", "3"],
    "correspondence": ["correspondence", "NET", "in/parts.csv"],
    "compare": ["compare", "NET", "NET", "in", "--budget", "20"],
    "report": ["report", "NET", "in", "--budget", "none"],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(FACTORY)
    (tmp_path / "in").mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number}.png")
    lines = [f"{number}.png,eye,3,3,7,7" for number in range(4)]
    (tmp_path / "in" / "parts.csv").write_text(
        "\n".join(["image,part,top,left,bottom,right", *lines])
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    # The stand-in is slow, and the others call what these call.
    "name",
    some({"project", "occlude", "scan", "diagnose"}, COMMANDS),
)
def test_a_command_writes_there_what_it_writes_on_the_cpu(name, folder, answer):
    told = []
    for device in ("cpu", standin.NAME):
        arguments = [word.replace("NET", "net.py:build") for word in COMMANDS[name]]
        # Pictures and pages are made of what lies there; those of the CPU have tests of their own.
        ending = "" if name in ("scan", "compare", "report") else ".png"
        out = folder / f"{device}{'.json' if device == 'cpu' and name != 'report' else ending}"
        random = ["--weights", "random"] * (1 + (name == "compare"))
        options = ["--size", f"3,{SIDE},{SIDE}", "--device", device, "--json", "-o", out]
        status, said, error = answer(*arguments, *random, *options)
        assert status == 0, error
        told.append(json.loads(said.splitlines()[-1]))
        assert out.exists()
    same(*told)
