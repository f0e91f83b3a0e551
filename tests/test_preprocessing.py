"""Preprocessing in all the ways that people have it, and what is said where they gave none."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import convscope as cs
from convscope.cli import app
from convscope.errors import ImageError
from convscope.images import Preprocess
from convscope.models.architectures import ARCHITECTURES
from convscope.preprocessing import CIFAR10, IMAGENET, NOT_GIVEN, preprocessing_of

BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
HALF = (0.5, 0.5, 0.5)


def small(**options):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    for name in [name for name in options if name.startswith("own_")]:
        setattr(module, name.removeprefix("own_"), options.pop(name))
    return cs.Network(module, torch.zeros(1, 3, 8, 8), **options)


class Resize:
    interpolation = SimpleNamespace(value="bicubic")

    def __init__(self, size):
        self.size = size


class CenterCrop:
    size = 8


class ToTensor:
    pass


class Normalize:
    mean, std = [0.5] * 3, [0.25] * 3


class ColorJitter:
    pass


def composed(*parts):
    return SimpleNamespace(transforms=list(parts))


PRESET = SimpleNamespace(
    crop_size=[224], resize_size=[232], mean=[0.1] * 3, std=[0.2] * 3,
    interpolation=SimpleNamespace(value="bilinear"),
)  # fmt: skip

KNOWN = [
    ("imagenet", (3, 224, 224), Preprocess(*IMAGENET, (224, 224), 256)),
    ("imagenet", (3, 112, 112), Preprocess(*IMAGENET, (112, 112), 128)),
    ("cifar10", (3, 32, 32), Preprocess(*CIFAR10, (32, 32))),
    ("none", (1, 9, 7), Preprocess((0.0,), (1.0,), (9, 7))),
    (Preprocess(HALF, HALF, (8, 8), 9), (3, 8, 8), Preprocess(HALF, HALF, (8, 8), 9)),
    (
        {"mean": HALF, "std": HALF, "input_size": (3, 8, 8), "crop_pct": 0.8},
        (3, 8, 8),
        Preprocess(HALF, HALF, (8, 8), 10, BICUBIC),
    ),
    (
        {"mean": HALF, "std": HALF, "crop_pct": 1.0, "crop_mode": "squash",
         "interpolation": "bilinear"},
        (3, 8, 8),
        Preprocess(HALF, HALF, (8, 8), None, BILINEAR),
    ),
    (PRESET, (3, 224, 224), Preprocess((0.1,) * 3, (0.2,) * 3, (224, 224), 232)),
    (
        {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "size": {"shortest_edge": 10},
         "resample": 3, "rescale_factor": 1 / 255},
        (3, 8, 8),
        Preprocess(HALF, (0.25,) * 3, (8, 8), 10, BICUBIC),
    ),
    (
        SimpleNamespace(image_mean=[0.5] * 3, image_std=[0.25] * 3, size={"height": 8, "width": 8}),
        (3, 8, 8),
        Preprocess(HALF, (0.25,) * 3, (8, 8), None, BILINEAR),
    ),
    (
        composed(Resize(10), CenterCrop(), ToTensor(), Normalize()),
        (3, 8, 8),
        Preprocess(HALF, (0.25,) * 3, (8, 8), 10, BICUBIC),
    ),
    (
        composed(Resize((8, 8)), ToTensor()),
        (3, 8, 8),
        Preprocess((0.0,) * 3, (1.0,) * 3, (8, 8), None, BICUBIC),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("given", "shape", "expected"), KNOWN)
def test_what_is_known(given, shape, expected):
    assert preprocessing_of(given, shape) == expected


REFUSED = [
    ("imagenett", "did you mean 'imagenet'?"),
    (42, "of type int is not understood"),
    (lambda x: x, "of type function is not understood"),
    (composed(ToTensor(), ColorJitter()), "the transform ColorJitter is not understood"),
    ({"image_mean": HALF, "image_std": HALF, "rescale_factor": 1 / 127.5}, "to 0..1"),
    ({"mean": HALF, "std": HALF, "interpolation": "cubic-ish"}, "there is no interpolation"),
    ({"mean": (0.5,), "std": (0.5,)}, "is for 1 channels, and the network takes 3"),
]


@pytest.mark.parametrize(("given", "words"), REFUSED)
def test_what_is_not_understood_is_refused(given, words):
    with pytest.raises(ImageError, match=words.replace("?", r"\?")):
        small(preprocess=given)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mean": HALF}, "mean and std go together"),
        ({"std": HALF}, "mean and std go together"),
        ({"resize": 9}, "need a mean and a std"),
        ({"mean": HALF, "std": (0.0,) * 3}, "above zero"),
        ({"mean": (0.5, 0.5), "std": HALF}, "2 numbers for 3 channels"),
        ({"mean": "half", "std": HALF}, "is not a number a channel"),
        ({"mean": HALF, "std": HALF, "preprocess": "none"}, "not both"),
        ({"mean": HALF, "std": HALF, "interpolation": "x"}, "there is no interpolation"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ImageError, match=words):
        small(**options)


def test_numbers_names_and_the_modules_own_word():
    numbers = small(mean=0.5, std=[0.25, 0.5, 1.0], resize=9, interpolation="bicubic")
    assert numbers.preprocess == Preprocess(HALF, (0.25, 0.5, 1.0), (8, 8), 9, BICUBIC)
    assert numbers.notes == ()
    own = {"mean": HALF, "std": HALF, "crop_pct": 0.8, "input_size": (3, 8, 8)}
    assert small(own_pretrained_cfg=own).preprocess.mean == HALF
    assert small(own_preprocess="cifar10").preprocess.std == CIFAR10[1]
    assert small(own_preprocess="cifar10", preprocess="imagenet").preprocess.std == IMAGENET[1]
    assert small(own_preprocess=lambda x: x / 255).notes == (NOT_GIVEN,)  # a method of its own
    with pytest.raises(ImageError, match="of type dict is not understood"):
        small(own_preprocess={"size": 3})


def test_nothing_given_is_said_in_five_places(tmp_path, monkeypatch, capsys):
    net = small()
    assert net.notes == (NOT_GIVEN,)
    result = cs.project(net, torch.rand(1, 3, 8, 8), "1", [0])
    assert NOT_GIVEN in result.notes
    assert NOT_GIVEN in json.loads(result.to_json())["notes"]
    figure = result.plot(caption="none")
    assert any(NOT_GIVEN.partition(":")[0] in text.get_text() for text in figure.texts)
    result.save(tmp_path / "it.png")
    with Image.open(tmp_path / "it.png") as picture:
        assert NOT_GIVEN in picture.text["Description"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef build():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.zeros(1, 3, 8, 8)\n"
    )
    app(["project", "own.py:build", "it.png", "-o", "out.json"], standalone_mode=False)
    assert f"convscope: note: {NOT_GIVEN}" in capsys.readouterr().err
    assert json.loads((tmp_path / "out.json").read_text())["notes"] == [NOT_GIVEN]
    options = ["--mean", "0.5,0.5,0.5", "--std", "0.5"]
    app(["project", "own.py:build", "it.png", "-o", "out.json", *options], standalone_mode=False)
    assert capsys.readouterr().err == ""
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["notes"] == []
    assert written["preprocess"]["mean"] == [0.5] * 3


def test_a_module_with_its_own_normalisation_is_right_on_photographs(data):
    from safetensors.torch import load_file

    module = ARCHITECTURES["squeezenet1_1"]().eval()
    folder = data / "squeezenet1_1"
    module.load_state_dict(load_file(folder / "squeezenet1_1-imagenet.safetensors"))
    with (data / "imagenet-sample" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[::5]
    right = {}
    for name in ("imagenet", None):
        net = cs.Network(module, torch.zeros(1, 3, 224, 224), preprocess=name)
        found = [
            int(net(net.preprocess(data / "imagenet-sample" / "images" / row["file"])).argmax())
            == int(row["class_index"])
            for row in rows
        ]
        right[name] = int(np.sum(found))
        assert (NOT_GIVEN in net.notes) == (name is None)
    assert right["imagenet"] == 71
    assert right[None] == 35
