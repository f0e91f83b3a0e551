"""What people get wrong, as a table: command lines and Python calls that must be refused.

:func:`make_world` builds the folder in which :data:`LINES` are run; each is a plausible mistake.
:data:`CALLS` are mistakes in Python.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import convscope as cs
from convscope.models.plain import NetConfig, build
from convscope.packing import save_tensors
from convscope.study.checkpoints import checkpoint_path
from convscope.study.config import preset
from convscope.study.run import Run

MODELS = """
import sys
import torch
from torch import nn


def net():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU()
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2))
    module.classes = "cat", "dog"
    return module, torch.zeros(1, 3, 16, 16)


def needs_arguments(depth): return nn.Conv2d(3, depth, 3)
def raises(): raise ValueError("no such depth")
def fails(): return nn.Conv2d(3, 4, 3, groups=2)
def asserts(): assert 0
def interrupts(): sys.exit("usage: train.py DATA")
def recurses(): return recurses()
def nothing(): pass
def number(): return 3
def a_class(): return nn.Conv2d
def weights(): return nn.Conv2d(3, 4, 3).state_dict()
def three(): return nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 9, 9), 5
def example_is_a_size(): return nn.Conv2d(3, 4, 3), (3, 9, 9)
def example_of_three(): return nn.Conv2d(3, 4, 3), torch.zeros(3, 9, 9)
def example_is_empty(): return nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 0, 9)
def other_channels(): return nn.Conv2d(3, 4, 3), torch.zeros(1, 5, 9, 9)
def too_small(): return nn.Conv2d(3, 4, 7), torch.zeros(1, 3, 5, 5)
def of_words(): return nn.Embedding(9, 4), torch.zeros(1, 3, 9, 9)
def of_sounds(): return nn.Conv1d(3, 4, 3), torch.zeros(1, 3, 9, 9)
def of_volumes(): return nn.Conv3d(3, 4, 3), torch.zeros(1, 3, 9, 9)
def without_layers(): return nn.Sequential(), torch.zeros(1, 3, 9, 9)
def a_list_of_layers(): return nn.ModuleList([nn.Conv2d(3, 4, 3)]), torch.zeros(1, 3, 9, 9)
def not_yet_made(): return nn.LazyConv2d(4, 3), torch.zeros(1, 3, 9, 9)
def on_meta(): return nn.Conv2d(3, 4, 3, device="meta"), torch.zeros(1, 3, 9, 9)


def not_a_number():
    module = nn.Conv2d(3, 4, 3)
    nn.init.constant_(module.weight, float("nan"))
    return module, torch.zeros(1, 3, 9, 9)


def with_classes(names):
    module, example = net()
    module.classes = names
    return module, example


def few_names(): return with_classes(["cat"])
def classes_are_a_number(): return with_classes(2)
def classes_are_a_word(): return with_classes("cat")


def with_preprocess(given):
    module, example = net()
    module.preprocess = given
    return module, example


def odd_word(): return with_preprocess("imagenett")
def odd_number(): return with_preprocess(3)
def odd_config(): return with_preprocess({"mean": [0.5], "std": [0.0, 1.0, 1.0]})
def odd_part(): return with_preprocess({"mean": [0.5] * 3})
def grey(): return nn.Conv2d(1, 4, 3), torch.zeros(1, 1, 9, 9)
def maps(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.zeros(1, 3, 9, 9)


class Own(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.own = forward

    def forward(self, images):
        return self.own(self.convolution(images))


def made(forward): return Own(forward), torch.zeros(1, 3, 9, 9)
def _raise(maps): raise KeyError("mode")
def forward_raises(): return made(_raise)
def gives_nothing(): return made(lambda maps: None)
def gives_a_word(): return made(lambda maps: "cat")
def gives_a_number(): return made(lambda maps: maps.sum().item())
def gives_an_array(): return made(lambda maps: maps.detach().numpy())
def misspelt(): return made(lambda maps: maps.softmaxx(1))
def branches(): return made(lambda maps: maps if maps.sum() > 0 else -maps)
def misshapen(): return made(lambda maps: nn.functional.linear(maps, torch.zeros(2, 3)))


def dropout(): return made(lambda maps: nn.functional.dropout(maps))
def poisson(): return made(lambda maps: torch.poisson(maps.abs()))
def several(): return made(lambda maps: {"a": maps.mean((2, 3)), "b": maps.relu(), "text": "cat"})


class TwoInputs(nn.Module):
    def forward(self, images, question): return images * question


def two_inputs(): return TwoInputs(), torch.zeros(1, 3, 9, 9)
"""
SMALL = "models.py:net"
FINE = ("net", "made", "_raise", "with_classes", "with_preprocess", "grey", "maps", "several")
"""The functions of MODELS that are no mistake by themselves."""
LONG = "x" * 300


def _pictures(folder: Path, count: int) -> None:
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        pixels = random.integers(0, 256, (24, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def make_world(folder: Path) -> None:
    """Write the files that the table names."""
    (folder / "models.py").write_text(MODELS)
    _pictures(folder / "pictures", 6)
    shutil.copy(folder / "pictures" / "0.png", folder / "cat.png")
    _bad_files(folder)
    _bad_models(folder)
    _bad_weights(folder)
    _runs(folder)
    _atlases(folder)


def _bad_files(folder: Path) -> None:
    whole = (folder / "cat.png").read_bytes()
    for name, content in {
        "empty.png": b"",
        "text.png": b"a photograph of a cat\n",
        "cut.png": whole[: len(whole) // 2],
        "page.jpg": b"<!DOCTYPE html><title>404</title>",
        "pointer.jpg": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    }.items():
        (folder / name).write_bytes(content)
    (folder / "dangling.png").symlink_to(folder / "gone.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    for name in ("hollow", "texts", "dangling", "broken"):
        (folder / name).mkdir()
    (folder / "texts" / "notes.txt").write_text("nothing to see")
    (folder / "dangling" / "a.png").symlink_to(folder / "gone.png")
    (folder / "dangling" / "b").symlink_to(folder / "gone")
    shutil.copy(folder / "cut.png", folder / "broken")
    shutil.copy(folder / "text.png", folder / "broken")
    head = "image,part,left,top,right,bottom\n"
    for name, text in {
        "parts": head + "cat.png,nose,2,2,9,9\npictures/1.png,nose,3,3,9,9\n",
        "parts-empty": "",
        "parts-head": head,
        "parts-columns": "file,x,y\ncat.png,1,2\n",
        "parts-words": head + "cat.png,nose,left,top,right,bottom\n",
        "parts-outside": head + "cat.png,nose,2,2,99,99\n",
        "parts-turned": head + "cat.png,nose,9,9,2,2\n",
        "parts-nan": head + "cat.png,nose,nan,2,9,9\n",
        "parts-lost": head + "gone.png,nose,2,2,9,9\n",
        "parts-short": head + "cat.png,nose,2\n",
        "parts-nameless": head + ",nose,2,2,9,9\n",
        "parts-folder": head + "pictures,nose,2,2,9,9\n",
        "parts-one": head + "cat.png,nose,2,2,9,9\n",
        "parts-semicolons": head.replace(",", ";") + "cat.png;nose;2;2;9;9\n",
    }.items():
        (folder / f"{name}.csv").write_text(text)
    (folder / "parts-binary.csv").write_bytes(whole)


def _bad_models(folder: Path) -> None:
    for name, text in {
        "syntax": "def net(:\n",
        "import": "import a_package_that_is_not_there\n",
        "exits": "import sys; sys.exit('usage: exits.py DATA')\n",
        "raises": "raise RuntimeError('no GPU')\n",
        "blank": "",
    }.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "latin.py").write_bytes("net = 'ü'\n".encode("latin-1"))
    (folder / "binary.py").write_bytes(bytes(range(256)))
    (folder / "folder.py").mkdir()
    (folder / "folder.pt2").mkdir()
    (folder / "empty.pt2").write_bytes(b"")
    (folder / "text.pt2").write_text("no program")
    torch.save({"a": torch.ones(1)}, folder / "weights.pt2")


def _bad_weights(folder: Path) -> None:
    state = {"0.weight": torch.ones(4, 3, 3, 3), "0.bias": torch.ones(4)}
    state |= {"3.weight": torch.ones(5, 4, 3, 3), "3.bias": torch.ones(5)}
    state |= {"7.weight": torch.ones(2, 5), "7.bias": torch.ones(2)}
    save_file(state, folder / "good.safetensors")
    itself: dict[str, Any] = {"epoch": 3}
    itself["model"] = itself
    large = {**state, "0.weight": state["0.weight"].double() * 1e300}
    torch.save(state, folder / "good.pth")
    for name, content in {
        "other": {"weight": torch.ones(3)},
        "part": dict(list(state.items())[:3]),
        "more": {**state, "9.weight": torch.ones(2, 2)},
        "shapes": {**state, "7.weight": torch.ones(3, 5)},
        "several": {"model": state, "ema": {k: 2 * v for k, v in state.items()}},
        "itself": itself,
        "nothing": {},
        "none": None,
        "list": [1, 2],
        "number": 3.5,
        "tensor": torch.ones(3),
        "settings": {"epoch": 3, "lr": 0.1},
        "whole": torch.nn.Conv2d(3, 4, 3),
        "nan": {**state, "0.bias": torch.full((4,), float("nan"))},
        "infinite": {**state, "0.bias": torch.full((4,), float("inf"))},
        "large": large,
        "complex": {**state, "0.bias": state["0.bias"] * 1j},
        "sparse": {**state, "0.bias": state["0.bias"].to_sparse()},
        "whole-numbers": {**state, "0.bias": state["0.bias"].to(torch.int8)},
        "meta": {name: tensor.to("meta") for name, tensor in state.items()},
        "words": dict.fromkeys(state, "one"),
        "numbered": dict(enumerate(state.values())),
    }.items():
        torch.save(content, folder / f"{name}.pth")
    whole = (folder / "good.pth").read_bytes()
    (folder / "cut.pth").write_bytes(whole[:-500])
    (folder / "blank.pth").write_bytes(b"")
    (folder / "text.pth").write_text("0.weight = 1")
    (folder / "page.pth").write_text("<html>404</html>")
    (folder / "pickle.pth").write_bytes(b"\x80\x04K\x03.")
    (folder / "pointer.pth").write_bytes((folder / "pointer.jpg").read_bytes())
    (folder / "text.safetensors").write_text("0.weight = 1")
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "cut.safetensors").write_bytes((folder / "good.safetensors").read_bytes()[:-40])
    save_file({"a": torch.ones(1)}, folder / "other.safetensors")
    np.savez(folder / "arrays.npz", a=np.ones(1))
    np.savez(folder / "arrays.pth.npz", a=np.ones(1))
    shutil.copy(folder / "arrays.npz", folder / "arrays.pth")
    (folder / "dangling.pth").symlink_to(folder / "gone.pth")
    (folder / "folder.pth").mkdir()


WEIGHTS = (
    *("other", "part", "more", "shapes", "several", "itself", "nothing", "none", "list", "number"),
    *("tensor", "settings", "whole", "nan", "infinite", "large", "complex", "sparse", "meta"),
    *("whole-numbers", "words", "numbered", "cut", "blank", "text", "page", "pickle", "pointer"),
    *("arrays", "dangling", "folder"),
)


def _runs(folder: Path) -> None:
    config = preset("tiny", seed=3)
    config = type(config)(**{**vars(config), "net": NetConfig(((4,), (6,)))})
    made = Run(folder / "run", config, {"images": 9}, {}, finished=True)
    weights = build(config.net, seed=5).state_dict()
    for step in (0, 7):
        path = checkpoint_path(made.folder, step)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(path, weights, {})
    made.save()
    facts = json.loads((folder / "run" / "run.json").read_text())

    def damage(name: str) -> Path:
        shutil.copytree(folder / "run", folder / f"run-{name}")
        return folder / f"run-{name}"

    for name, value in OTHER_JSON.items():
        (damage(name) / "run.json").write_text(value)
    (damage("cut") / "run.json").write_text(json.dumps(facts)[:-30])
    (damage("binary") / "run.json").write_bytes(bytes(range(256)))
    for key in RUN_KEYS:
        less = {name: value for name, value in facts.items() if name != key}
        (damage(f"without-{key}") / "run.json").write_text(json.dumps(less))
        (damage(f"odd-{key}") / "run.json").write_text(json.dumps({**less, key: "odd"}))
    for key in ("net", "mean", "sides", "augmentation", "epochs", "seed"):
        odd = {**facts, "config": {**facts["config"], key: "odd"}}
        (damage(f"config-{key}") / "run.json").write_text(json.dumps(odd))
    narrow = {**facts["config"], "net": {**facts["config"]["net"], "widths": [[3], [6]]}}
    (damage("narrow") / "run.json").write_text(json.dumps({**facts, "config": narrow}))
    large = {**facts["config"], "net": {**facts["config"]["net"], "widths": [[4.5], ["six"]]}}
    (damage("widths") / "run.json").write_text(json.dumps({**facts, "config": large}))
    shutil.rmtree(damage("no-checkpoints") / "checkpoints")
    last = "checkpoints/step-0000007.safetensors"
    (damage("last-empty") / last).write_bytes(b"")
    (damage("last-text") / last).write_text('{"a": 1}')
    whole = (folder / "run" / last).read_bytes()
    (damage("last-cut") / last).write_bytes(whole[: len(whole) // 2])
    (damage("last-folder") / last).unlink()
    (folder / "run-last-folder" / last).mkdir()
    (damage("last-dangling") / last).unlink()
    (folder / "run-last-dangling" / last).symlink_to("gone")
    odd = {name: tensor * float("nan") for name, tensor in weights.items()}
    save_tensors(damage("last-nan") / last, odd, {})


RUN_KEYS = (
    "config",
    "data",
    "network",
    "made_with",
    "epochs",
    "seconds",
    "test_accuracy",
    "finished",
)
OTHER_JSON = {
    "none": "null", "number": "3", "word": '"run"', "list": "[1, 2]", "empty": "", "object": "{}",
}  # fmt: skip
RUNS = [
    *OTHER_JSON,
    *("cut", "binary", "narrow", "widths", "no-checkpoints", "last-empty", "last-text", "last-cut"),
    *("last-folder", "last-dangling", "last-nan"),
    *(f"without-{key}" for key in RUN_KEYS),
    *(f"odd-{key}" for key in ("config", "epochs", "finished", "network", "seconds")),
    *(f"config-{key}" for key in ("net", "mean", "sides", "augmentation", "epochs", "seed")),
]


def _atlases(folder: Path) -> None:
    from convscope.atlas.commands import ModelNames

    net = cs.load(f"{folder / 'models.py'}:net")
    found = cs.scan(net, folder / "pictures", top=2)
    names = ModelNames(f"{folder / 'models.py'}:net", {}, str(folder / "pictures"))
    atlas = folder / "atlas"
    found.save(atlas, model=names)
    facts = json.loads((atlas / "atlas.json").read_text("utf-8"))

    def damage(name: str) -> Path:
        shutil.copytree(atlas, folder / f"atlas-{name}")
        return folder / f"atlas-{name}"

    for name, value in OTHER_JSON.items():
        (damage(name) / "atlas.json").write_text(value)
        (damage(f"layer-{name}") / next(atlas.glob("layers/*.js")).relative_to(atlas)).write_text(
            f"take({value})"
        )
    (damage("cut") / "atlas.json").write_text(json.dumps(facts)[:-30])
    for key in ("layers", "model", "data", "rule"):
        less = {name: value for name, value in facts.items() if name != key}
        (damage(f"without-{key}") / "atlas.json").write_text(json.dumps(less))
        (damage(f"odd-{key}") / "atlas.json").write_text(json.dumps({**less, key: "odd"}))
    tally = (atlas / "scan.safetensors").read_bytes()
    (damage("tally-cut") / "scan.safetensors").write_bytes(tally[: len(tally) // 2])
    (damage("tally-empty") / "scan.safetensors").write_bytes(b"")
    (damage("tally-text") / "scan.safetensors").write_text("{}")
    save_file({"a": torch.ones(1)}, damage("tally-other") / "scan.safetensors")
    save_file({"a": torch.ones(1)}, damage("tally-words") / "scan.safetensors", {"facts": "3"})
    (damage("no-tally") / "scan.safetensors").unlink()
    shutil.rmtree(damage("no-layers") / "layers")
    for path in damage("no-sprites").glob("layers/*/*"):
        path.unlink()
    for path in damage("sprites-cut").glob("layers/*/*"):
        path.write_bytes(path.read_bytes()[:20])
    for path in damage("layers-cut").glob("layers/*.js"):
        path.write_bytes(path.read_bytes()[:-30])


# The commands, each as it would go well, and what stands for the model and for the images in it.
GOOD = {
    "project": f"project {SMALL} cat.png",
    "occlude": f"occlude {SMALL} cat.png --patch 8 --stride 8",
    "checkerboard": f"checkerboard {SMALL} cat.png",
    "sanity": f"sanity {SMALL} cat.png",
    "invariance": f"invariance {SMALL} cat.png",
    "correspondence": f"correspondence {SMALL} parts.csv",
    "diagnose": f"diagnose {SMALL} pictures",
    "scan": f"scan {SMALL} pictures -o new",
    "report": f"report {SMALL} pictures -o new",
    "compare": f"compare {SMALL} {SMALL} pictures -o new",
    "draw": f"draw {SMALL}",
    "layers": f"layers {SMALL}",
    "unit": "unit atlas 0 0",
    "train": "train --data hollow -o new",
    "evolve": "evolve run --data hollow",
    "study": "study --data hollow -o new",
    "data": "data cifar10 -o cat.png",
    "demo": "demo -o cat.png",
}
ON_MODELS = tuple(GOOD)[:12]
ON_PICTURES = ("project", "occlude", "checkerboard", "sanity", "invariance")
ON_FOLDERS = ("diagnose", "scan", "report", "compare")
ON_FIGURES = (*ON_PICTURES, "correspondence", "diagnose", "scan", "draw", "unit")
SOME_MODELS = ("project", "diagnose", "compare", "layers")  # which read these in one place

OPTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "--device": (ON_MODELS[:10], ("nope", "cuda:99", "meta", "cpu:x", "", "-1", "gpu")),
    "--size": (ON_MODELS, ("3,-32,32", "3,32", "x", "3,0,8", "3,99999,99999", "1,16,16", "3,2,2")),
    "--memory": (
        ("project", "occlude", "checkerboard", "sanity", "invariance", *ON_FOLDERS),
        ("0", "-1GB", "lots", "nan", "1 furlong", ""),
    ),
    "--budget": (
        (
            *("occlude", "checkerboard", "sanity", "invariance", "correspondence", "diagnose"),
            *("report", "compare"),
        ),
        ("-1", "soon", "nan", "inf", ""),
    ),
    "--layer": (
        ("project", "occlude", "checkerboard", "sanity", "invariance", "correspondence", "compare"),
        ("nope", "0.weight", ""),
    ),
    "--layer 0 --channel": (
        ("project", "occlude", "checkerboard", "sanity"),
        ("-1", "4", "99999999999999999999", "x", "1.5"),
    ),
    "--channel": (("project", "occlude", "sanity"), ("0",)),
    "--rule": (
        ("project", "checkerboard", "sanity", "scan", "evolve"),
        ("deconv", "", "Deconvnet", "guided,gradient"),
    ),
    "--top": (("project", "checkerboard", "scan"), ("0", "-3", "x")),
    "--scale": (("project", "occlude"), ("big", "")),
    "--select": (("project",), ("max", "")),
    "--patch": (("occlude",), ("0", "-4", "999", "x", "4,5,6", "nan", "", "8,0", "1e9")),
    "--stride": (("occlude",), ("0", "-1", "x", "1,2,3", "", "nan", "0,4")),
    "--fill": (
        ("occlude", "invariance", "correspondence"),
        ("puce", "#12", "nan", "inf", "#gggggg", ""),
    ),
    "--target": (("occlude", "sanity", "invariance"), ("99", "-1", "dragon", "")),
    "--method": (("occlude",), ("fast", "", "full --budget x", "exact --budget 0")),
    "--seeds": (("sanity", "study"), ("0", "-1", "x")),
    "--seed": (("sanity", "correspondence", "train"), ("99999999999999999999", "x", "1.5", "-1")),
    "--init": (("sanity",), ("xavier", "")),
    "--others": (("sanity",), ("-1", "x")),
    "--other": (("sanity",), ("gone.png", "pictures", "text.png", "")),
    "--transform": (("invariance",), ("shear", "")),
    "--steps": (("invariance",), ("0", "-2", "1", "x")),
    "--repeats": (("correspondence",), ("0", "-1", "x")),
    "--threshold": (("diagnose",), ("dead", "dead=x", "dread=0.1", "dead=nan", "=1", "")),
    "--sample": (("diagnose", "compare", "evolve"), ("0", "-5", "x")),
    "--part": (("scan",), ("3/2", "0/2", "x", "1/0", "-1/2", "1/2/3", "", "9/9")),
    "--picture": (("report",), ("gone.png", "pictures", "text.png")),
    "--epochs": (("train", "study"), ("inf", "nan", "0", "-1", "x", "1e-9", "1e300")),
    "--preset": (("train",), ("tinny", "", "BASE")),
    "--padding": (("train",), ("some", "")),
    "--device ": (("train", "study"), ("nope", "cuda:99", "meta", "")),
    "--precision": (("train", "study"), ("int8", "float16", "")),
    "--filters": (("study",), ("0", "-1", "x")),
    "--preprocess": (
        (*SOME_MODELS, "occlude", "scan", "report", "draw"),
        ("imagenett", "", "IMAGENET", "cat.png", "none --mean 0 --std 1", "none --resize 8"),
    ),
    "--mean": (
        (*SOME_MODELS, "occlude", "scan", "report", "draw"),
        (
            *("0.5", "x --std 1", "nan --std 1", "inf --std 1", "'' --std 1", "0,0 --std 1"),
            *("0,0,0,0 --std 1", "0,,0 --std 1", "1e400 --std 1", "0 --std"),
        ),
    ),
    "--std": (
        SOME_MODELS,
        ("1", "0 --mean 0", "-1 --mean 0", "nan --mean 0", "1,0,1 --mean 0", "1e-400 --mean 0"),
    ),
    "--mean 0 --std 1 --resize": (SOME_MODELS, ("0", "-4", "x", "1.5", "")),
    "--resize": (SOME_MODELS, ("8", "0", "-1")),
    "--mean 0 --std 1 --interpolation": (SOME_MODELS, ("bilinearr", "", "7")),
    "--interpolation": (SOME_MODELS, ("bicubic",)),
    "--range": (
        (*SOME_MODELS, "scan", "report"),
        ("0", "1,0", "x", "0,nan", "0,0", "-inf,5", "0,1,2", "", "0;4095"),
    ),
    "--answer": ((*SOME_MODELS, "sanity", "report"), ("class", "", "Labels", "softmax", "0")),
    "--head": ((*SOME_MODELS, "sanity", "report"), ("1", "-1", "aux", "", "0.5")),
    "--random": ((*SOME_MODELS, "scan", "report"), ("freez", "", "true", "Freeze")),
    "--width": (
        ON_FIGURES,
        ("narrow", "0", "-3", "1", "1000", "nan", "inf", "", "column,text", "3in"),
    ),
    "--caption": (ON_FIGURES, ("long", "", "None", "short,full")),
    "--nonsense": (tuple(GOOD), ("1",)),
    "-o": (
        (
            *("project", "occlude", "checkerboard", "sanity", "invariance", "correspondence"),
            *("diagnose", "draw", "unit", "evolve"),
        ),
        (
            "",
            "nowhere/a.png",
            "pictures",
            "a.xyz",
            "a",
            "/proc/a.png",
            f"{LONG}.png",
            "cat.png/a.png",
        ),
    ),
    "-o ": (("report", "demo"), ("cat.png", "cat.png/new", "/proc/new", LONG)),
    "-o  ": (("scan", "compare"), ("cat.png/new", "/proc/new", LONG)),
}


def _of_options() -> Iterator[str]:
    for option, (commands, values) in OPTIONS.items():
        for command in commands:
            for value in values:
                yield f"{GOOD[command]} {option} {value or repr(value)}"


def _of_models() -> Iterator[str]:
    # For the command that needs least; every command reads models in one place.
    for name in (
        *("''", "vgg61", LONG, "torchvision:", "torchvision:resnet1", "timm:", "timm:resnet0"),
        *("models.py", "models.py:", "models.py:nett", "models.py:nn", "models.py:net:net"),
        *("gone.py:net", "folder.py:net", "syntax.py:net", "import.py:net", "exits.py:net"),
        *("raises.py:net", "blank.py:net", "latin.py:net", "binary.py:net"),
        *("gone.pt2", "folder.pt2", "empty.pt2", "text.pt2", "weights.pt2", "pictures", "cat.png"),
        *("good.pth", "hollow", "atlas", "/", ".", "~", "huggingface:resnet"),
    ):
        yield f"layers {name}"
    functions = [
        line.partition("(")[0].removeprefix("def ")
        for line in MODELS.splitlines()
        if line.startswith("def ")
    ]
    for name in functions:
        if name not in FINE:
            yield f"project models.py:{name} cat.png"


def _of_weights() -> Iterator[str]:
    for name in WEIGHTS:
        yield f"project {SMALL} cat.png --weights {name}.pth"
    for name in ("text.safetensors", "empty.safetensors", "cut.safetensors", "other.safetensors"):
        yield f"project {SMALL} cat.png --weights {name}"
    for name in (
        "gone.pth",
        "several.pth#emma",
        "good.pth#model",
        "gone.pth#ema",
        "arrays.npz",
        "''",
    ):
        yield f"draw {SMALL} --weights {name}"
    for command in ("layers", "occlude", "scan", "compare", "report"):
        yield f"{GOOD[command]} --weights nan.pth"
        yield f"{GOOD[command]} --weights gone.pth".replace(SMALL, "run")


def _of_runs_and_pictures() -> Iterator[str]:
    for name in RUNS:
        yield f"project run-{name} cat.png"
        yield f"evolve run-{name} --data hollow"
    yield "compare run run-last-nan pictures -o new"
    pictures = (
        "gone.png",
        "pictures",
        "empty.png",
        "text.png",
        "cut.png",
        "page.jpg",
        "pointer.jpg",
    )
    for command in ON_PICTURES:
        for name in (*pictures, "dangling.png", "loop.png", f"{LONG}.png", "models.py"):
            yield GOOD[command].replace("cat.png", name)
    for command in ON_FOLDERS:
        for name in ("gone", "cat.png", "hollow", "texts", "dangling", "broken", "models.py", LONG):
            yield GOOD[command].replace("pictures", name)
    for name in (
        *("gone", "parts-empty", "parts-head", "parts-columns", "parts-words", "parts-outside"),
        *("parts-turned", "parts-nan", "parts-lost", "parts-short", "parts-nameless"),
        *("parts-folder", "parts-one", "parts-semicolons", "parts-binary"),
    ):
        yield f"correspondence {SMALL} {name}.csv"


def _of_atlases() -> Iterator[str]:
    for name in (*OTHER_JSON, "cut", "without-layers", "odd-layers"):
        yield f"unit atlas-{name} 0 0"
    for name in (*(f"layer-{name}" for name in OTHER_JSON), "no-layers", "no-sprites"):
        yield f"unit atlas-{name} 0 0"
    for name in ("sprites-cut", "layers-cut"):
        yield f"unit atlas-{name} 0 0"
    for arguments in ("gone 0 0", "pictures 0 0", "atlas 9 0", "atlas 0 -1", "atlas 0 99", "atlas"):
        yield f"unit {arguments}"
    for name in (
        *OTHER_JSON,
        *("cut", "without-model", "odd-model", "tally-cut", "tally-empty", "tally-text"),
        *("tally-other", "tally-words"),
    ):
        yield f"diagnose {SMALL} atlas-{name}"
        yield f"scan --merge atlas atlas-{name} -o new"
    for name in ("without-data", "odd-data", "without-rule", "odd-rule", "no-tally"):
        yield f"scan --merge atlas-{name} -o new"


OTHERS = (
    "scan --merge gone -o new",
    "scan --merge pictures -o new",
    "scan --merge atlas atlas -o new",
    f"scan {SMALL} pictures -o atlas",
    f"scan {SMALL} pictures -o pictures/atlas",
    f"scan {SMALL} pictures -o texts",
    f"scan {SMALL} pictures -o atlas-tally-cut --resume",
    f"scan {SMALL} pictures -o atlas-tally-text --resume",
    f"scan {SMALL} pictures -o atlas-tally-other --resume",
    f"scan {SMALL} hollow -o atlas --resume",
    "scan base pictures -o atlas --resume",
    "scan",
    f"scan {SMALL}",
    "projct",
    "project",
    f"project {SMALL}",
    f"project {SMALL} cat.png --layer 0 --layer 0",
    f"project {SMALL} cat.png --layer 0 --channel 1 --top 3",
    "diagnose base atlas",
    "diagnose run atlas",
    f"compare {SMALL} {SMALL} pictures -o texts --layer 0,0,0",
    f"compare {SMALL} {SMALL} pictures --weights a --weights b --weights c",
    f"compare {SMALL} base pictures -o new --size 1,16,16",
    "train --data hollow",
    "train --data gone -o new",
    "train --data cat.png -o new",
    "train --data pictures -o run",
    "train --data hollow -o cat.png",
    "train --data hollow -o gone --resume",
    "train --data hollow -o run-none --resume",
    "evolve run --data gone",
    "evolve run --data cat.png",
    "evolve gone --data hollow",
    "evolve pictures --data hollow",
    "evolve run --data hollow --channel 1",
    "study --data gone -o new",
    "study --data hollow -o cat.png",
    "data cifar11",
    "data",
    "layers",
    "draw",
    "unit",
    *(f"project models.py:maps cat.png --answer {answer}" for answer in ("classes", "number")),
    *(f"sanity models.py:several cat.png --head {head}" for head in ("2", "c", "a.0", "text")),
    "occlude models.py:several cat.png --head b",
    "sanity models.py:several cat.png --head b --target 99",
    "layers models.py:grey --preprocess imagenet",
    "layers models.py:grey --mean 0,0,0 --std 1",
    *(f"project models.py:odd_{name} cat.png" for name in ("word", "number", "config", "part")),
    "project models.py:dropout cat.png",
    "project models.py:poisson cat.png --random freeze",
)


LINES = tuple(
    dict.fromkeys(
        [
            *_of_options(),
            *_of_models(),
            *_of_weights(),
            *_of_runs_and_pictures(),
            *_of_atlases(),
            *OTHERS,
        ]
    )
)


def python_world(folder: Path) -> SimpleNamespace:
    """Return what the mistaken calls of :data:`CALLS` are about."""
    net = cs.load(folder / SMALL)
    random = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 16, 16, generator=random)
    nothing = torch.full_like(images[:1], float("nan"))
    return SimpleNamespace(
        net=net, module=net.module, images=images, image=images[:1], nan=nothing, folder=folder
    )


Call = Callable[[Any], object]


def _calls() -> Iterator[tuple[str, Call]]:
    bad_images: dict[str, Call] = {
        "a path": lambda w: "gone.png",
        "a list": lambda w: ["gone.png"],
        "an array": lambda w: w.images.numpy(),
        "nothing": lambda w: None,
        "one without batch": lambda w: w.images[0],
        "rows first": lambda w: w.images.permute(0, 2, 3, 1),
        "one channel": lambda w: w.images[:, :1],
        "none": lambda w: w.images[:0],
        "a number": lambda w: torch.tensor(3.0),
        "NaN": lambda w: w.nan,
        "infinite": lambda w: w.image / 0,
        "complex": lambda w: w.image * 1j,
        "sparse": lambda w: w.image.to_sparse(),
        "without values": lambda w: w.image.to("meta"),
        "a truth": lambda w: True,
    }
    methods: dict[str, Callable[[Any, Any], object]] = {
        "project": lambda w, images: cs.project(w.net, images, "0"),
        "occlude": lambda w, images: cs.occlude(w.net, images, 8, 8),
        "checkerboard": lambda w, images: cs.checkerboard(w.net, images),
        "sanity": lambda w, images: cs.sanity(w.net, images, seeds=1),
        "invariance": lambda w, images: cs.invariance(w.net, images, steps=2),
        "scan": lambda w, images: cs.scan(w.net, images),
        "diagnose": lambda w, images: cs.diagnose(w.net, images),
        "compare": lambda w, images: cs.compare(w.net, w.net, images),
        "net": lambda w, images: w.net(images),
    }
    folders = ("scan", "diagnose", "compare")
    for name, call in methods.items():
        for kind, made in bad_images.items():
            if name in folders and kind in ("a list", "a path", "an array"):
                continue
            # A few broken pictures are left out and named; NaN in a map is said as such.
            yield f"{name}: images: {kind}", lambda w, call=call, made=made: call(w, made(w))
    nets: dict[str, Call] = {
        "a module": lambda w: w.module,
        "a name": lambda w: "base",
        "nothing": lambda w: None,
        "a class": lambda w: torch.nn.Conv2d,
    }
    whole: dict[str, Callable[[Any, Any], object]] = {
        "project": lambda w, net: cs.project(net, w.images, "0"),
        "occlude": lambda w, net: cs.occlude(net, w.image),
        "checkerboard": lambda w, net: cs.checkerboard(net, w.images),
        "sanity": lambda w, net: cs.sanity(net, w.image),
        "invariance": lambda w, net: cs.invariance(net, w.images),
        "correspondence": lambda w, net: cs.correspondence(net, [], w.images),
        "scan": lambda w, net: cs.scan(net, w.images),
        "diagnose": lambda w, net: cs.diagnose(net, w.images),
        "compare": lambda w, net: cs.compare(net, net, w.images),
        "draw": lambda w, net: cs.draw(net),
        "report": lambda w, net: cs.report(net, w.images, folder=w.folder / "new"),
    }
    for name, call in whole.items():
        for kind, made in nets.items():
            yield f"{name}: net: {kind}", lambda w, call=call, made=made: call(w, made(w))
    for words, call in VALUES.items():
        yield words, call


VALUES: dict[str, Call] = {
    "project: no such layer": lambda w: cs.project(w.net, w.images, "nope"),
    "project: a layer's number": lambda w: cs.project(w.net, w.images, 0),
    "project: a list of layers": lambda w: cs.project(w.net, w.images, ["0", 3]),
    "project: no such channel": lambda w: cs.project(w.net, w.images, "0", [99]),
    "project: a negative channel": lambda w: cs.project(w.net, w.images, "0", [-1]),
    "project: a channel for a list": lambda w: cs.project(w.net, w.images, "0", 1),
    "project: no channel": lambda w: cs.project(w.net, w.images, "0", []),
    "project: a text for channels": lambda w: cs.project(w.net, w.images, "0", "1"),
    "project: channels are fractions": lambda w: cs.project(w.net, w.images, "0", [0.5]),
    "project: channels of another shape": lambda w: cs.project(
        w.net, w.images, "0", torch.zeros(3, 1, dtype=torch.long)
    ),
    "project: channels as real numbers": lambda w: cs.project(
        w.net, w.images, "0", torch.zeros(2, 1)
    ),
    "project: a rule": lambda w: cs.project(w.net, w.images, "0", rule="lrp"),
    "project: a rule's number": lambda w: cs.project(w.net, w.images, "0", rule=1),
    "project: select": lambda w: cs.project(w.net, w.images, "0", select="max"),
    "project: no top": lambda w: cs.project(w.net, w.images, "0", top=0),
    "project: half a top": lambda w: cs.project(w.net, w.images, "0", top=1.5),
    "project: memory": lambda w: cs.project(w.net, w.images, "0", memory="much"),
    "project: memory is a list": lambda w: cs.project(w.net, w.images, "0", memory=[1]),
    "project: no memory": lambda w: cs.project(w.net, w.images, "0", memory=0),
    "project: progress": lambda w: cs.project(w.net, w.images, "0", progress=True),
    "occlude: patch": lambda w: cs.occlude(w.net, w.image, 0),
    "occlude: a large patch": lambda w: cs.occlude(w.net, w.image, 99),
    "occlude: patch as text": lambda w: cs.occlude(w.net, w.image, "8"),
    "occlude: patch of three": lambda w: cs.occlude(w.net, w.image, (4, 4, 4)),
    "occlude: patch of fractions": lambda w: cs.occlude(w.net, w.image, 4.5),
    "occlude: stride": lambda w: cs.occlude(w.net, w.image, 8, -1),
    "occlude: fill": lambda w: cs.occlude(w.net, w.image, 8, 8, "puce"),
    "occlude: fill is nothing": lambda w: cs.occlude(w.net, w.image, 8, 8, None),
    "occlude: fill is NaN": lambda w: cs.occlude(w.net, w.image, 8, 8, float("nan")),
    "occlude: fill of five colours": lambda w: cs.occlude(w.net, w.image, 8, 8, torch.rand(5)),
    "occlude: target": lambda w: cs.occlude(w.net, w.image, 8, 8, target=99),
    "occlude: target's name": lambda w: cs.occlude(w.net, w.image, 8, 8, target="dragon"),
    "occlude: half a target": lambda w: cs.occlude(w.net, w.image, 8, 8, target=0.5),
    "occlude: layer": lambda w: cs.occlude(w.net, w.image, 8, 8, layer="nope"),
    "occlude: channel": lambda w: cs.occlude(w.net, w.image, 8, 8, layer="0", channel=99),
    "occlude: channel alone": lambda w: cs.occlude(w.net, w.image, 8, 8, channel=0),
    "occlude: method": lambda w: cs.occlude(w.net, w.image, 8, 8, method="fast"),
    "occlude: budget": lambda w: cs.occlude(w.net, w.image, 8, 8, method="adaptive", budget="x"),
    "occlude: several": lambda w: cs.occlude_all(w.net, w.image, []),
    "checkerboard: a layer's number": lambda w: cs.checkerboard(w.net, w.images, 3),
    "checkerboard: no layer": lambda w: cs.checkerboard(w.net, w.images, []),
    "checkerboard: such a layer": lambda w: cs.checkerboard(w.net, w.images, ["nope"]),
    "checkerboard: units": lambda w: cs.checkerboard(w.net, w.images, top=0),
    "checkerboard: channel": lambda w: cs.checkerboard(w.net, w.images, ["0"], 99),
    "sanity: rules as text": lambda w: cs.sanity(w.net, w.image, rules="guided"),
    "sanity: no rule": lambda w: cs.sanity(w.net, w.image, rules=[]),
    "sanity: seeds": lambda w: cs.sanity(w.net, w.image, seeds=0),
    "sanity: a large seed": lambda w: cs.sanity(w.net, w.image, seed=10**30),
    "sanity: init": lambda w: cs.sanity(w.net, w.image, init="xavier"),
    "sanity: others": lambda w: cs.sanity(w.net, w.image, others=-1),
    "sanity: other": lambda w: cs.sanity(w.net, w.image, other=w.image[..., :9]),
    "sanity: target": lambda w: cs.sanity(w.net, w.image, 99),
    "sanity: budget": lambda w: cs.sanity(w.net, w.image, budget=-1),
    "invariance: transform": lambda w: cs.invariance(w.net, w.images, transform=["shear"]),
    "invariance: no transform": lambda w: cs.invariance(w.net, w.images, transform=[]),
    "invariance: steps": lambda w: cs.invariance(w.net, w.images, steps=0),
    "invariance: fill": lambda w: cs.invariance(w.net, w.images, fill="puce"),
    "invariance: targets": lambda w: cs.invariance(w.net, w.images, target=[0, 1, 0]),
    "invariance: amounts": lambda w: cs.invariance(w.net, w.images, amounts={"shear": [1]}),
    "invariance: amounts as list": lambda w: cs.invariance(w.net, w.images, amounts=[1]),
    "invariance: NaN": lambda w: cs.invariance(w.net, w.images, amounts={"scale": [float("nan")]}),
    "correspondence: parts": lambda w: cs.correspondence(w.net, [], w.images),
    "correspondence: no table": lambda w: cs.correspondence(w.net, "gone.csv"),
    "correspondence: parts of words": lambda w: cs.correspondence(w.net, ["nose"], w.images),
    "correspondence: an image that is not there": lambda w: cs.correspondence(
        w.net, w.images, [cs.Part(n, "nose", (2, 2, 6, 6)) for n in (0, 7)]
    ),
    "correspondence: outside": lambda w: cs.correspondence(
        w.net, w.images, [cs.Part(n, "nose", (2, 2, 60, 60)) for n in (0, 1)]
    ),
    "scan: a folder that is not there": lambda w: cs.scan(w.net, "gone"),
    "scan: a file": lambda w: cs.scan(w.net, w.folder / "cat.png"),
    "scan: a number": lambda w: cs.scan(w.net, 3),
    "scan: top": lambda w: cs.scan(w.net, w.images, top=0),
    "scan: only": lambda w: cs.scan(w.net, w.images, only=[9]),
    "scan: none": lambda w: cs.scan(w.net, w.images, only=[]),
    "scan: state": lambda w: cs.scan(w.net, w.images, state=w.folder / "nowhere" / "a.safetensors"),
    "merge: nothing": lambda w: cs.merge([]),
    "merge: names": lambda w: cs.merge(["a", "b"]),
    "diagnose: sample": lambda w: cs.diagnose(w.net, w.images, sample=0),
    "diagnose: thresholds": lambda w: cs.diagnose(w.net, w.images, thresholds={"dread": 1}),
    "diagnose: scanned": lambda w: cs.diagnose(w.net, w.images, scanned="atlas"),
    "thresholds": lambda w: cs.Thresholds(dead=-1),
    "thresholds as text": lambda w: cs.Thresholds(dead="much"),
    "compare: layers": lambda w: cs.compare(w.net, w.net, w.images, layers=[("0", "nope")]),
    "compare: sample": lambda w: cs.compare(w.net, w.net, w.images, sample=0),
    "report: where": lambda w: cs.report(w.net, w.images, folder=w.folder / "cat.png"),
    "report: budget": lambda w: cs.report(w.net, w.images, budget="x"),
    "load: nothing": lambda w: cs.load(None),
    "load: a module": lambda w: cs.load(w.module),
    "load: weights": lambda w: cs.load("base", 3),
    "load: a state": lambda w: cs.load("base", w.module.state_dict()),
    "load: size": lambda w: cs.load("base", size=32),
    "load: a short size": lambda w: cs.load("base", size=(3, 32)),
    "load: words": lambda w: cs.load("base", size=("a", "b", "c")),
    "load: device": lambda w: cs.load("base", device="nope"),
    "load: device's number": lambda w: cs.load("base", device=None),
    "Network: no example": lambda w: cs.Network(w.module, None),
    "Network: a size": lambda w: cs.Network(w.module, (16, 16)),
    "Network: an array": lambda w: cs.Network(w.module, w.images.numpy()),
    "Network: a batch": lambda w: cs.Network(w.module, w.images),
    "Network: three sides": lambda w: cs.Network(w.module, w.images[0]),
    "Network: a function": lambda w: cs.Network(torch.relu, w.image),
    "Network: a class": lambda w: cs.Network(torch.nn.ReLU, w.image),
    "Network: a state": lambda w: cs.Network(w.module.state_dict(), w.image),
    "Network: a name": lambda w: cs.Network("resnet18", w.image),
    "Network: classes": lambda w: cs.Network(w.module, w.image, classes=["cat"]),
    "Network: one text": lambda w: cs.Network(w.module, w.image, classes="cat"),
    "Network: a number of classes": lambda w: cs.Network(w.module, w.image, classes=2),
    **{
        f"Network: {words}": lambda w, given=given: cs.Network(w.module, w.image, **given)
        for words, given in {
            "preprocess": {"preprocess": "imagenett"},
            "preprocess is a number": {"preprocess": 3},
            "preprocess is a list": {"preprocess": [0.5, 0.5]},
            "preprocess is empty": {"preprocess": {}},
            "preprocess is a function": {"preprocess": torch.relu},
            "preprocess is a class": {"preprocess": cs.Preprocess},
            "preprocess lacks a std": {"preprocess": {"mean": [0.5] * 3}},
            "preprocess of words": {"preprocess": {"mean": ["a"] * 3, "std": [1] * 3}},
            "preprocess of one channel": {"preprocess": {"mean": [0.5], "std": [0.5]}},
            "preprocess of no mean": {"preprocess": {"mean": None, "std": None}},
            "a processor of words": {"preprocess": {"image_mean": "a", "image_std": [1] * 3}},
            "a processor without std": {"preprocess": {"image_mean": [0.5] * 3}},
            "unknown transforms": {"preprocess": SimpleNamespace(transforms=[torch.nn.ReLU()])},
            "transforms of nothing": {"preprocess": SimpleNamespace(transforms=None)},
            "preprocess and mean": {"preprocess": "none", "mean": 0.5, "std": 0.5},
            "preprocess and resize": {"preprocess": "none", "resize": 8},
            "mean alone": {"mean": 0.5},
            "std alone": {"std": 0.5},
            "mean of words": {"mean": "half", "std": 0.5},
            "mean of two": {"mean": (0.5, 0.5), "std": 0.5},
            "mean is NaN": {"mean": float("nan"), "std": 0.5},
            "mean is an object": {"mean": object(), "std": 0.5},
            "mean of nothing": {"mean": [], "std": 0.5},
            "std of zero": {"mean": 0, "std": 0},
            "std below zero": {"mean": 0, "std": -1},
            "std is infinite": {"mean": 0, "std": float("inf")},
            "std as a table": {"mean": 0, "std": torch.ones(3, 3)},
            "resize alone": {"resize": 8},
            "resize of zero": {"mean": 0, "std": 1, "resize": 0},
            "half a resize": {"mean": 0, "std": 1, "resize": 20.5},
            "resize to two sides": {"mean": 0, "std": 1, "resize": (20, 30)},
            "resize as text": {"mean": 0, "std": 1, "resize": "20"},
            "interpolation": {"mean": 0, "std": 1, "interpolation": "bilinearr"},
            "interpolation's number": {"mean": 0, "std": 1, "interpolation": 99},
            "interpolation alone": {"interpolation": "bicubic"},
            "answer": {"answer": "class"},
            "answer is a number": {"answer": 1},
            "head": {"head": 7},
            "head below zero": {"head": -1},
            "head's name": {"head": "aux"},
            "half a head": {"head": 0.5},
            "head is a list": {"head": [0]},
            "random": {"random": "freez"},
            "random is a truth": {"random": True},
            "fixed": {"fixed": {"timestep": 3}},
            "fixed is a list": {"fixed": [3]},
            "image": {"image": "pixels"},
        }.items()
    },
    **{
        f"Preprocess: {words}": lambda w, given=given: cs.Preprocess(*given)
        for words, given in {
            "std of zero": ((0.5,) * 3, (0.0,) * 3, (16, 16)),
            "other lengths": ((0.5,) * 3, (1.0,), (16, 16)),
            "no channel": ((), (), (16, 16)),
            "words": (("a",) * 3, (1.0,) * 3, (16, 16)),
            "no size": ((0.5,) * 3, (1.0,) * 3, (0, 16)),
            "a size": ((0.5,) * 3, (1.0,) * 3, 16),
            "half a resize": ((0.5,) * 3, (1.0,) * 3, (16, 16), 8.5),
            "a filter's name": ((0.5,) * 3, (1.0,) * 3, (16, 16), 8, "bicubic"),
        }.items()
    },
    **{
        f"load: {words}": lambda w, given=given: cs.load(w.folder / SMALL, **given)
        for words, given in {
            "range": {"range": (1, 0)},
            "range of three": {"range": (0, 1, 2)},
            "range as text": {"range": "0,4095"},
            "range is a number": {"range": 4095},
            "range is NaN": {"range": (0, float("nan"))},
            "preprocess": {"preprocess": "imagenett"},
            "mean alone": {"mean": 0.5},
            "answer": {"answer": "class"},
            "head": {"head": "aux"},
            "random": {"random": "freez"},
        }.items()
    },
    **{
        f"plot: {words}": lambda w, given=given: cs.draw(w.net).plot(**given)
        for words, given in {
            "width": {"width": "narrow"},
            "no width": {"width": 0},
            "width is nothing": {"width": None},
            "width is NaN": {"width": float("nan")},
            "a wide width": {"width": 1e9},
            "width is a pair": {"width": (3, 4)},
            "width is a list": {"width": [3]},
            "caption": {"caption": "long"},
            "caption is nothing": {"caption": None},
            "caption is a truth": {"caption": True},
            "caption is a list": {"caption": ["short"]},
            "options": {"colour": "red"},
        }.items()
    },
    "save: width": lambda w: cs.draw(w.net).save(w.folder / "new.png", width="narrow"),
    "save: caption": lambda w: cs.draw(w.net).save(w.folder / "new.svg", caption="long"),
    "save: an ending": lambda w: cs.draw(w.net).save(w.folder / "new.xyz"),
    "save: a number": lambda w: cs.draw(w.net).save(3),
    "show: width": lambda w: cs.draw(w.net).show(width="narrow"),
    "read_parts": lambda w: cs.read_parts("gone.csv", w.net.preprocess),
    "read_parts: a network": lambda w: cs.read_parts(w.folder / "parts.csv", w.net),
    "preset": lambda w: cs.preset("tinny"),
    "preset: a field": lambda w: cs.preset("tiny", epoch=3),
    "preset: epochs": lambda w: cs.preset("tiny", epochs=float("inf")),
    "preset: epochs as text": lambda w: cs.preset("tiny", epochs="3"),
    "preset: seed": lambda w: cs.preset("tiny", seed=10**30),
    "train: no data": lambda w: cs.train(cs.preset("tiny"), "gone", w.folder / "new"),
    "train: a preset's name": lambda w: cs.train("tiny", w.folder, w.folder / "new"),
    "evolve: no run": lambda w: cs.evolve("gone", w.images),
    "evolve: a network": lambda w: cs.evolve(w.net, w.images),
    "evolve: sample": lambda w: cs.evolve(w.folder / "run", w.images, sample=0),
    "evolve: channels": lambda w: cs.evolve(w.folder / "run", w.images, channels=["a"]),
    "evolve: images": lambda w: cs.evolve(w.folder / "run", torch.rand(2, 1, 32, 32)),
    "Run": lambda w: cs.Run.load(w.folder),
    "Scan": lambda w: cs.Scan.load(w.folder / "cat.png"),
}
CALLS = dict(_calls())
