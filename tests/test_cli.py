"""The command line as a person meets it: what it answers, and how it refuses."""

import json
import os
import re
import struct
import subprocess
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import convscope as cs
from convscope.figures.sheet import Sheet
from convscope.methods import project as project_module

NETWORKS = '''
import torch
from torch import nn


def layers():
    return nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()


def small():
    """Two blocks; 24 x 24 pixels; names two classes."""
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    module = nn.Sequential(*layers(), *head)
    module.classes, module.preprocess = ("cat", "dog"), "none"
    return module, torch.zeros(1, 3, 24, 24)


def wide():
    """Five input channels, which no picture file has."""
    return nn.Sequential(nn.Conv2d(5, 4, 3), nn.ReLU()), torch.zeros(1, 5, 9, 9)


def smooth():
    """No rectifier at all."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh()), torch.zeros(1, 3, 9, 9)


def flat():
    """No feature maps: the image is taken as one long vector."""
    return nn.Sequential(nn.Flatten(), nn.Linear(243, 4), nn.ReLU()), torch.zeros(1, 3, 9, 9)


def endless():
    """Values that grow past what a float can hold."""
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())
    nn.init.constant_(module[0].weight, 3e38)
    return module, torch.zeros(1, 3, 9, 9)


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return nn.functional.relu(nn.functional.dropout(self.convolution(images)))


def noisy():
    return Noisy(), torch.zeros(1, 3, 9, 9)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, images):
        if images.sum() > 0:
            return self.convolution(images)
        return -self.convolution(images)


def branching():
    """What it does depends on the pixels."""
    return Branching(), torch.zeros(1, 3, 9, 9)


def chatty():
    """Prints, as people's files do."""
    print("building the network")
    return small()


def quits():
    """Is really a script."""
    raise SystemExit("usage: networks.py DATA")
'''


@dataclass(frozen=True)
class Place:
    """A folder with a file of networks and a picture in it."""

    folder: Path

    @property
    def picture(self) -> str:
        return str(self.folder / "picture.png")

    def model(self, function: str) -> str:
        return f"{self.folder / 'networks.py'}:{function}"

    def listing(self) -> set[str]:
        return {str(p) for p in self.folder.rglob("*") if "__pycache__" not in p.parts}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Place:
    (tmp_path / "networks.py").write_text(NETWORKS)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path)


@pytest.fixture
def run(answer):
    return answer


@pytest.fixture
def refused(place, run) -> Callable[..., str]:
    """Call the command line and return its one sentence, having checked that it is just that."""

    def call(*arguments: str) -> str:
        before = place.listing()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            answer = run(*arguments)
        assert answer.status == 2, answer
        assert answer.out == ""
        assert answer.err.startswith("convscope: ")
        assert answer.err.endswith("\n")
        assert answer.err.count("\n") == 1, answer.err
        assert "Traceback" not in answer.err
        assert not warned, [str(warning.message) for warning in warned]
        assert place.listing() == before
        return answer.err

    return call


@pytest.fixture
def idle(monkeypatch) -> None:
    """Fail if a model is loaded: what can be refused before the work must be."""

    def load(*arguments: object, **options: object) -> None:
        pytest.fail("a model was loaded before the mistake was found")

    monkeypatch.setattr("convscope.loading.load", load)


def command() -> str:
    return str(Path(sys.executable).with_name("convscope"))


def start(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [command(), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,  # type: ignore[call-overload]
    )


# --- as a process of its own -------------------------------------------------------------------


def test_help_answers_in_under_half_a_second():
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        answer = start("--help")
        seconds.append(time.perf_counter() - began)
        assert answer.returncode == 0
        assert "project" in answer.stdout
        assert "layers" in answer.stdout
        assert answer.stderr == ""
    assert min(seconds) < 0.5


def test_importing_convscope_imports_nothing_heavy():
    heavy = "torch", "matplotlib", "numpy"
    code = f"import sys, convscope; print([m for m in {heavy} if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "[]\n"


def test_the_installed_command_answers_on_stdout(place):
    done = start("layers", place.model("chatty"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["name"] == "0"
    assert done.stderr == "building the network\n"
    wrong = start("projekt")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("convscope: No such command 'projekt'")


def test_a_reader_that_stops_reading_gets_no_traceback(place):
    line = f"{command()} layers {place.model('small')} | head -n 1 >/dev/null"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.stderr == ""


# --- what it answers ---------------------------------------------------------------------------


def test_version(run):
    assert run("--version").out == f"convscope {cs.__version__}\n"


def test_without_a_command_it_shows_its_help(run):
    answer = run()
    assert answer.status == 0
    assert "Usage: convscope" in answer.out
    assert "..." not in answer.out.partition("Commands:")[2]  # what each does is told whole
    assert answer.err == ""


def test_every_command_explains_its_options(run):
    for name in ("layers", "project"):
        answer = run(name, "--help")
        assert answer.status == 0
        assert "--weights" in answer.out
        assert "MODEL" in answer.out


def test_layers_as_a_table_and_as_json(place, run):
    table = run("layers", place.model("small")).out
    assert "convolution" in table
    # 6 * 3 * 9 + 6 and 8 * 6 * 9 + 8 and 8 * 2 + 2 learned values.
    assert "168" in table
    assert "440" in table
    assert "626" in table
    rows = json.loads(run("layers", place.model("small"), "--json").out)
    assert [row["name"] for row in rows][:5] == ["0", "1", "2", "3", "4"]
    assert rows[3]["shape"] == [8, 9, 9]
    assert rows[3]["receptive_field"] == [8, 8]
    assert rows[3]["stride"] == [2, 2]
    assert rows[3]["parameters"] == 440
    assert rows[3]["multiply_adds"] == 8 * 81 * 54


def test_layers_of_an_exported_program(place, run):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    torch.export.save(torch.export.export(module, (torch.zeros(1, 3, 9, 9),)), "net.pt2")
    rows = json.loads(run("layers", "net.pt2", "--json").out)
    assert [row["shape"] for row in rows] == [[4, 7, 7], [4, 7, 7]]


def test_json_numbers_are_those_of_the_python_call(place, run):
    net = cs.load(place.model("small"))
    image = net.preprocess(place.picture)
    strong = cs.project(net, image, layer="4", top=2).channels[0].tolist()
    expected = cs.project(net, image, layer="4", channels=strong[::-1])
    chosen = (text for channel in strong[::-1] for text in ("--channel", str(channel)))
    arguments = ("--layer", "4", *chosen, "-o", "out.npz", "--json")
    answer = json.loads(run("project", place.model("small"), place.picture, *arguments).out)

    record = answer
    assert record["channels"] == [strong[::-1]]
    assert record["activation"][0][1] > record["activation"][0][0] > 0
    assert record["layers"] == ["4", "4"]
    assert record["rule"] == "deconvnet"
    assert record["activation"] == [pytest.approx(expected.activation[0].tolist(), rel=1e-6)]
    assert record["position"] == expected.position.tolist()
    assert record["window"] == expected.window.tolist()
    assert answer["titles"][0].startswith("picture.png: ")
    assert answer["titles"][0].split()[1] in {"cat", "dog"}

    with np.load("out.npz") as saved:
        np.testing.assert_allclose(saved["pixels"], expected.pixels.numpy(), rtol=1e-6)
        assert saved["window"].tolist() == expected.window.tolist()
        assert json.loads(str(saved["facts"]))["select"] == "peak"
    for tile in (0, 1):
        cropped = expected.pixels[0, tile].abs()
        limit = answer["display"]["limits"][0][tile]
        share = (cropped[cropped > 0] > limit).double().mean().item()
        assert answer["display"]["clipped"][0][tile] == pytest.approx(share)


def test_without_a_layer_it_shows_one_map_a_block(place, run):
    lines = run("project", place.model("small"), place.picture).out.splitlines()
    assert lines[0] == "projection.png"
    assert lines[1].startswith("picture.png: ")
    assert [line.split()[0] for line in lines[2:]] == ["1", "4"]
    assert "; ±" in lines[2]
    assert "% clipped" in lines[2]


def test_with_a_layer_it_shows_the_strongest_channels(place, run):
    def channels(*arguments: str) -> list[int]:
        record = json.loads(
            run("project", place.model("small"), place.picture, "--json", *arguments).out
        )
        peaks = record["activation"][0]
        assert peaks == sorted(peaks, reverse=True)
        return record["channels"][0]

    six = channels("--layer", "4")
    assert len(six) == 6
    assert channels("--layer", "4", "--top", "2") == six[:2]
    assert len(channels("--layer", "4", "--top", "99")) == 8


def test_channels_are_taken_of_each_layer_named(place, run):
    arguments = ("--layer", "1", "--layer", "4", "--channel", "3", "--json")
    answer = json.loads(run("project", place.model("small"), place.picture, *arguments).out)
    assert answer["layers"] == ["1", "4"]
    assert answer["channels"] == [[3, 3]]


def test_a_rule_and_a_selection_reach_the_record(place, run):
    options = ("--rule", "guided", "--select", "map", "--scale", "shared", "--memory", "20MB")
    answer = json.loads(run("project", place.model("small"), place.picture, "--json", *options).out)
    assert answer["rule"] == "guided"
    assert answer["select"] == "map"
    assert answer["display"]["scale"] == "shared"
    assert len({limit for row in answer["display"]["limits"] for limit in row}) == 1


@pytest.mark.parametrize(
    ("name", "magic"),
    [
        ("out.png", b"\x89PNG\r\n\x1a\n"),
        ("OUT.PNG", b"\x89PNG\r\n\x1a\n"),
        ("out.svg", b"<?xml"),
        ("out.pdf", b"%PDF-1."),
        ("out.npz", b"PK\x03\x04"),
    ],
)
def test_every_kind_of_output_is_a_file_of_its_kind(place, run, name, magic):
    before = place.listing()
    assert run("project", place.model("small"), place.picture, "-o", name).status == 0
    assert Path(name).read_bytes().startswith(magic)
    assert place.listing() - before == {str(place.folder / name)}


def test_a_picture_of_any_mode_is_read(place, run):
    Image.new("RGBA", (20, 30), (9, 80, 20, 128)).save("rgba.png")
    Image.new("I;16", (20, 30), 40_000).save("deep.png")
    Image.new("CMYK", (20, 30)).save("cmyk.jpg")
    Image.new("P", (20, 30)).save("palette.gif")
    pictures = ("rgba.png", "deep.png", "cmyk.jpg", "palette.gif")
    answer = run("project", place.model("small"), *pictures, "--json")
    assert answer.status == 0, answer.err
    titles = json.loads(answer.out)["titles"]
    assert [title.partition(": ")[0] for title in titles] == list(pictures)
    assert answer.err == ""


def test_a_picture_may_have_any_name(place, run):
    no_text = os.fsdecode(b"\xff.png")
    names = ["$x_1$.png", "$\\foo$.png", "猫.png", "two\nlines.png", "%s{}.png", no_text]
    for name in names:
        Path(name).write_bytes(Path(place.picture).read_bytes())
    answer = run("project", place.model("small"), *names)
    assert answer.status == 0, answer.err
    assert answer.err == ""
    assert "\n?.png: " in answer.out


def test_values_that_are_not_finite_are_named_by_their_layer(place, run):
    Image.new("RGB", (9, 9), "white").save("white.png")
    found = run("project", place.model("endless"), "white.png", "--layer", "1", "--json")
    assert found.status == 0, found.err
    assert "values are not finite from layer '0' on" in json.loads(found.out)["notes"]


def test_noise_that_stays_on_is_refused_frozen_or_found(run, refused, place):
    said = refused("project", place.model("noisy"), place.picture)
    assert "dropout stays on in evaluation" in said
    assert "--random freeze" in said
    frozen = run("project", place.model("noisy"), place.picture, "--random", "freeze")
    assert frozen.status == 0, frozen.err
    assert "switched off: dropout at" in frozen.err
    pictures = place.folder / "pictures"
    pictures.mkdir()
    for number in range(3):
        Image.new("RGB", (9, 9), (40 * number, 90, 200)).save(pictures / f"{number}.png")
    found = run("diagnose", place.model("noisy"), str(pictures), "--budget", "0")
    assert found.status == 0, found.err
    assert "randomness. Dropout stays on in evaluation: " in " ".join(found.out.split())


# --- what it refuses: models and weights -------------------------------------------------------


def test_unknown_models(refused, place):
    assert "did you mean 'vgg16'" in refused("layers", "vgg61")
    assert "did you mean 'small'?" in refused("layers", place.model("smalll"))
    assert "did you mean 'networks.py'?" in refused("layers", "network.py:small")
    assert "does not exist" in refused("layers", "missing.pt2")
    assert "FUNCTION" in refused("layers", "networks.py")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ("3", "three numbers"),
        ("a,b,c", "three numbers"),
        ("3,0,24", "at least 1"),
        ("1,24,24", "channels"),
        ("3,4,4", "itself fails on an input of shape [1, 3, 4, 4]"),
    ],
)
def test_bad_sizes(refused, place, size, words):
    assert words in refused("project", place.model("small"), place.picture, "--size", size)


def test_a_network_that_cannot_be_traced_says_why_and_what_to_try(refused, place):
    sentence = refused("project", place.model("branching"), place.picture)
    assert "Branching cannot be traced" in sentence
    assert "data-dependent" in sentence
    lines = (place.folder / "networks.py").read_text().splitlines()
    line = 1 + lines.index("        if images.sum() > 0:")
    assert f"networks.py:{line}, `if images.sum() > 0:`" in sentence
    assert "move Python branches that depend on pixel values out of its forward" in sentence


def test_a_script_is_no_factory(refused, place):
    assert "failed: SystemExit" in refused("layers", place.model("quits"))


def test_no_rectifier(refused, run, place):
    sentence = refused("project", place.model("smooth"), place.picture)
    assert "has no rectifier" in sentence
    assert "use rule 'gradient'" in sentence
    assert run("project", place.model("smooth"), place.picture, "--rule", "gradient").status == 0


def test_no_feature_maps(refused, place):
    assert "name a layer" in refused("project", place.model("flat"), place.picture)


def test_a_network_that_takes_no_pictures(refused, place):
    assert "5 channels" in refused("project", place.model("wide"), place.picture)


@pytest.fixture
def good(place) -> dict[str, torch.Tensor]:
    """The weights of the small network, as they should be."""
    return cs.load(place.model("small")).module.state_dict()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_that_do_not_fit_are_named(refused, place, good, suffix):
    def with_weights(**weights: torch.Tensor | None) -> str:
        state = {**good, **{name.replace("_", "."): w for name, w in weights.items()}}
        state = {name: weight for name, weight in state.items() if weight is not None}
        path = place.folder / f"weights{suffix}"
        save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
        return refused("project", place.model("small"), place.picture, "--weights", str(path))

    assert "missing 1 (3.weight)" in with_weights(**{"3_weight": None})
    assert "extra 1 (9.bias)" in with_weights(**{"9_bias": torch.zeros(2)})
    sentence = with_weights(**{"0_bias": torch.zeros(7)})
    assert "misshapen 1 (0.bias is [7], not [6])" in sentence
    assert "NaN or infinite weights in 1 tensors (0.bias)" in with_weights(
        **{"0_bias": torch.full((6,), torch.nan)}
    )
    assert "NaN or infinite" in with_weights(**{"3_bias": torch.full((8,), -torch.inf)})


def test_a_file_of_weights_that_is_none(refused, place):
    def with_weights(path: str) -> str:
        return refused("project", place.model("small"), place.picture, "--weights", path)

    assert "does not exist" in with_weights("missing.safetensors")
    assert "is a folder" in with_weights(".")
    Path("empty.safetensors").touch()
    assert "cannot be read" in with_weights("empty.safetensors")
    Path("cut.pth").write_bytes(b"PK\x03\x04 and no more")
    with_weights("cut.pth")


class Malicious:
    """Unpickled, it makes a folder."""

    def __reduce__(self):
        return os.mkdir, ("was_run",)


def test_a_pickle_that_wants_to_run_code_is_refused_and_not_run(refused, place, good):
    torch.save({**good, "more": Malicious()}, "evil.pth")
    sentence = refused("project", place.model("small"), place.picture, "--weights", "evil.pth")
    assert "could run code" in sentence
    assert not Path("was_run").exists()


@pytest.mark.parametrize("device", ["foo", "cuda:99", "meta", "cpu:x", ""])
def test_devices_that_cannot_be_used(refused, place, device):
    sentence = refused("project", place.model("small"), place.picture, "--device", device)
    assert f"the device {device!r} cannot be used" in sentence


def test_an_exported_program_on_a_device_that_cannot_be_used(refused, place):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    torch.export.save(torch.export.export(module, (torch.zeros(1, 3, 9, 9),)), "net.pt2")
    sentence = refused("project", "net.pt2", place.picture, "--device", "foo")
    assert "the device 'foo' cannot be used" in sentence


# --- what it refuses: layers, channels and words -----------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--layer", "44"], "has no layer '44'"),
        (["--layer", "4", "--channel", "8"], "has channels 0 to 7, not 8"),
        (["--layer", "4", "--channel", "-1"], "has channels 0 to 7, not -1"),
        (["--layer", "1", "--layer", "4", "--channel", "7"], "'1' has channels 0 to 5, not 7"),
    ],
)
def test_layers_and_channels_that_are_not_there(refused, place, options, words):
    assert words in refused("project", place.model("small"), place.picture, *options)


def test_a_layer_almost_right_gets_near_matches(refused, place):
    module = """
from torch import nn, zeros


def named():
    module = nn.Sequential()
    module.add_module("stem_conv", nn.Conv2d(3, 4, 3))
    module.add_module("stem_relu", nn.ReLU())
    return module, zeros(1, 3, 9, 9)
"""
    Path("named.py").write_text(module)
    sentence = refused("project", "named.py:named", place.picture, "--layer", "stem_rleu")
    assert "did you mean 'stem_relu'" in sentence


def test_two_names_for_one_layer_are_refused(refused, place):
    wrapped = (
        NETWORKS
        + """

def wrapped():
    return nn.Sequential(nn.Sequential(*layers())), torch.zeros(1, 3, 24, 24)
"""
    )
    Path("networks.py").write_text(wrapped)
    options = ("--layer", "0", "--layer", "0.4")
    sentence = refused("project", place.model("wrapped"), place.picture, *options)
    assert "'0' and '0.4' are the same layer" in sentence


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--channel", "1"], "a channel number means nothing without its layer"),
        (["--layer", "4", "--layer", "4"], "layer 4 is given twice"),
        (["--layer", "4", "--channel", "1", "--top", "2"], "top takes the strongest"),
        (["--top", "0"], "must be at least 1, not 0"),
        (["--top", "-3"], "must be at least 1, not -3"),
        (["--top", "x"], "'--top'"),
        (["--rule", "deconvnat"], "did you mean 'deconvnet'?"),
        (["--select", "peek"], "did you mean 'peak'?"),
        (["--scale", "tiles"], "did you mean 'tile'?"),
        (["--memory", "much"], "512MB"),
        (["--memory", "0"], "512MB"),
        (["--memory", "-1GB"], "512MB"),
        (["--layr", "4"], "--layr"),
    ],
)
def test_what_means_nothing_is_refused_before_the_work(refused, place, options, words):
    assert words in refused("project", place.model("small"), place.picture, *options)


@pytest.mark.usefixtures("idle")
def test_missing_arguments_and_commands(refused, place):
    assert "MODEL" in refused("project")
    assert "IMAGE" in refused("project", place.model("small"))
    assert "projekt" in refused("projekt")


# --- what it refuses: pictures -----------------------------------------------------------------


def zero_sized_png() -> bytes:
    header = struct.pack(">II5B", 0, 7, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )


def test_pictures_that_cannot_be_read(refused, place):
    whole = Path(place.picture).read_bytes()
    Path("text.png").write_text("not a picture")
    Path("cut.png").write_bytes(whole[: len(whole) // 2])
    Path("empty.png").touch()
    Path("zero.png").write_bytes(zero_sized_png())
    Path("folder.png").mkdir()
    for name, words in (
        ("text.png", "is not an image"),
        ("cut.png", "is cut short or damaged"),
        ("empty.png", "is empty"),
        ("zero.png", "size of zero"),
        ("folder.png", "is a folder"),
        ("pictur.png", "did you mean 'picture.png'"),
    ):
        sentence = refused("project", place.model("small"), place.picture, name)
        assert name in sentence
        assert words in sentence


# --- what it refuses: outputs ------------------------------------------------------------------


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("missing/out.png", "there is no folder missing"),
        ("picture.png/out.png", "there is no folder picture.png"),
        ("folder.png", "it is a folder"),
        ("/proc/out.png", "cannot write /proc/out.png"),
        ("out.jpg", ".png, .svg, .pdf, .json, .csv, .npz"),
        ("out.pgn", "did you mean '.png'"),
        ("out", "its ending must be one of"),
        ("x" * 300 + ".png", "name too long"),
    ],
)
def test_an_output_that_cannot_be_written_is_found_before_the_work(refused, place, output, words):
    Path("folder.png").mkdir()
    sentence = refused("project", place.model("small"), place.picture, "-o", output)
    assert words.lower() in sentence.lower()


@pytest.mark.usefixtures("idle")
def test_a_folder_that_cannot_be_made_is_found_before_the_work(refused, place):
    model = place.model("small")
    for command in (["compare", model, model], ["report", model]):
        sentence = refused(*command, "folder", "-o", "picture.png/out")
        assert "cannot make the folder picture.png/out: picture.png is a file" in sentence


def test_too_many_tiles_for_a_figure_are_refused_before_the_work(refused, run, place, monkeypatch):
    pictures = [place.picture] * 300
    with monkeypatch.context() as patched:
        patched.setattr(project_module, "ascend", lambda *a, **o: pytest.fail("too late"))
        sentence = refused("project", place.model("small"), *pictures)
    assert "inches high: take fewer images" in sentence
    assert "a .npz file" in sentence
    assert run("project", place.model("small"), *pictures, "-o", "all.npz").status == 0
    with np.load("all.npz") as saved:
        assert saved["pixels"].shape == (300, 2, 3, 24, 24)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (OSError(28, "No space left on device"), 2, "cannot write out.png: No space left"),
        (KeyboardInterrupt(), 130, "stopped"),
        (MemoryError(), 2, "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 2, "memory"),
    ],
)
def test_a_failure_while_writing_leaves_the_old_file(place, run, monkeypatch, error, status, words):
    def half(drawn: Sheet, path: Path) -> None:
        path.write_bytes(b"half a picture")
        raise error

    Path("out.png").write_text("the old picture")
    before = place.listing()
    monkeypatch.setattr(Sheet, "save", half)
    answer = run("project", place.model("small"), place.picture, "-o", "out.png")
    assert answer.status == status
    assert words in answer.err
    assert answer.err.count("\n") == 1
    assert answer.out == ""
    assert Path("out.png").read_text() == "the old picture"
    assert place.listing() == before


def test_a_bug_is_not_passed_off_as_the_users_mistake(place, run, monkeypatch):
    def broken(drawn: Sheet, path: Path) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Sheet, "save", broken)
    for asked in (False, True):
        if asked:
            monkeypatch.setenv("CONVSCOPE_TRACEBACK", "1")
        status, _, said = run("project", place.model("small"), place.picture)
        assert status == 1
        assert "convscope: a fault of convscope itself (RuntimeError: a bug)" in said
        assert ("Traceback" in said) is asked


def test_a_range_is_given_and_little_of_one_said_of_deep_pictures(place, run):
    values = np.random.default_rng(0).integers(0, 4096, (30, 40)).astype(np.uint16)
    Image.fromarray(values).save("x-ray.png")
    command = ("project", place.model("small"), "x-ray.png", "--json", "-o", "out.npz")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        plain, ranged = run(*command), run(*command, "--range", "0,4095")
    assert (plain.status, ranged.status, ranged.err) == (0, 0, "")
    assert plain.err.startswith("convscope: note: a picture uses under a tenth of its range")
    assert plain.err.count("\n") == 1
    found = [json.loads(answer.out)["activation"] for answer in (plain, ranged)]
    assert found[0] != found[1]
    for wrong in ("4095", "5,5", "nan,1", "0,inf", "a,b"):
        answer = run(*command, "--range", wrong)
        assert answer.status == 2
        assert f"--range is LOW,HIGH with LOW below HIGH, as 0,4095, not {wrong!r}" in answer.err


def test_what_one_image_takes_is_said_where_it_is_more_than_the_memory(place, run):
    (place.folder / "photos").mkdir()
    Image.open(place.picture).save(place.folder / "photos" / "a.png")
    command = ("diagnose", place.model("small"), "photos", "--budget", "0", "-o", "out.png")
    assert "below the least" not in run(*command).err
    answer = run(*command, "--memory", "1KB")
    assert answer.status == 0
    assert re.search(
        r"note: --memory 1KB is below the least that .* needs for one picture, about [\d,]+ MB; "
        r"it takes that much", answer.err
    )  # fmt: skip
