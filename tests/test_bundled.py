"""The networks that ship with their weights: what they are, that they fit, that a wheel has them.

Without a network in the other sense: no connection is made.
"""

import hashlib
import io
import json
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from runpy import run_path

import pytest
import torch
from safetensors.torch import load_file

import convscope as cs
from convscope import samples
from convscope.errors import ConvscopeError, ModelError
from convscope.models import bundled
from convscope.models.parts import IMAGENET
from convscope.study.data import load_cifar10

FOLDER = Path(bundled.__file__).parent
ROOT = Path(__file__).parents[1]
PICTURES = Path(samples.__file__).parent


@pytest.fixture
def unplugged(monkeypatch, tmp_path) -> None:
    """No connection, no cache and no folder of data."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setenv("CONVSCOPE_DATA", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was made"))


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
    with pytest.raises(ModelError, match=r"lacks the bundled file 'base\.json': install it again"):
        cs.load("base")
    bundled.bundle_facts.cache_clear()


def test_vgg16s_features_come_without_a_network_or_classes(unplugged):
    net = cs.load("vgg16_features")
    assert net.notes == ()
    assert net.classes is None
    assert (net.preprocess.mean, net.preprocess.std) == (IMAGENET.mean, IMAGENET.std)
    assert net.layers["features.29"].shape == (512, 14, 14)
    # The first kernel value and bias of conv5_3, as an independent print-out of the authors' file.
    weights = net.module.state_dict()
    assert weights["features.28.weight"][0, 0, 0, 0].item() == pytest.approx(0.00040788, rel=2**-11)
    assert weights["features.28.bias"][0].item() == pytest.approx(0.18837857, rel=2**-11)
    assert cs.load("vgg16_features", "random", size="3,64,64").notes == ("random weights (seed 0)",)


def test_squeezenet_knows_a_cat_and_a_rocket_without_a_network(unplugged):
    net = cs.load("squeezenet1_1")
    assert net.notes == ()
    pictures = [net.preprocess(PICTURES / name) for name in ("cat.jpg", "rocket.jpg")]
    best = net(torch.cat(pictures)).argmax(1)
    assert [net.classes[i] for i in best] == ["Egyptian cat", "missile"]


@pytest.mark.parametrize(
    "call",
    [
        cs.occlude,
        partial(cs.occlude, target="tabby"),
        cs.sanity,
    ],
)
def test_features_say_that_they_have_no_classes(call):
    with pytest.raises(ConvscopeError) as said:
        call(cs.load("vgg16_features", size="3,64,64"), PICTURES / "cat.jpg")
    assert "class" in str(said.value)
    assert "\n" not in str(said.value)


def test_the_script_that_compares_with_the_published_files(tmp_path, monkeypatch, capsys):
    # The bundled numbers with the first layer taken back to the authors' preprocessing.
    script = run_path(str(ROOT / "benchmarks" / "bundled_weights.py"))
    squeezenet = load_file(FOLDER / "squeezenet1_1.safetensors")
    vgg = {n: t.double() for n, t in load_file(FOLDER / "vgg16_features.safetensors").items()}
    mean, std = 255 * torch.tensor([IMAGENET.mean, IMAGENET.std], dtype=torch.float64)
    vgg["features.0.weight"] /= std[:, None, None]
    shift = mean - torch.tensor([123.68, 116.779, 103.939], dtype=torch.float64)
    vgg["features.0.bias"] -= vgg["features.0.weight"].sum((2, 3)) @ shift
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    vgg["classifier.0.weight"] = torch.full((2, 2), torch.nan)  # as the published file has it
    with serving({"vgg": vgg, "squeeze": squeezenet}) as urls:
        monkeypatch.setattr(sys, "argv", ["", "--vgg16", urls[0], "--squeezenet1_1", urls[1]])
        with pytest.raises(SystemExit) as ended:
            script["main"]()
    told = capsys.readouterr().out
    assert ended.value.code == 0, told
    assert told.count("numbers, largest difference") == 26 + 52
    squeezenet["features.0.bias"] = squeezenet["features.0.bias"] + 0.01
    assert not script["compare"]("squeezenet1_1", squeezenet)
    assert "features.0.bias: 64 numbers" in capsys.readouterr().out


@contextmanager
def serving(files: dict[str, dict[str, torch.Tensor]]) -> Iterator[list[str]]:
    """A server of weights; gives their addresses, which end in their hash as the published do."""
    contents = {}
    for name, tensors in files.items():
        torch.save(tensors, content := io.BytesIO())
        digest = hashlib.sha256(content.getvalue()).hexdigest()[:8]
        contents[f"/{name}-{digest}.pth"] = content.getvalue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(contents[self.path])))
            self.end_headers()
            self.wfile.write(contents[self.path])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield [f"http://127.0.0.1:{server.server_port}{path}" for path in contents]
        server.shutdown()
        thread.join()


def test_a_misspelt_name_is_near_it():
    with pytest.raises(ModelError, match="did you mean 'base'"):
        cs.load("bas")


def test_the_table_of_its_layers(answer):
    rows = json.loads(answer("layers", "base", "--json")[1])
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
    assert wheel.stat().st_size < 40e6
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= {
        "convscope/models/bundled/base.safetensors",
        "convscope/models/bundled/base.json",
        "convscope/models/bundled/vgg16_features.safetensors",
        "convscope/models/bundled/vgg16_features.md",
        "convscope/models/bundled/squeezenet1_1.safetensors",
        "convscope/models/bundled/squeezenet1_1.md",
        "convscope/models/bundled/study.safetensors",
        "convscope/models/bundled/study.json",
        "convscope/samples/cat.jpg",
        "convscope/samples/LICENCES.md",
        "convscope/pages/templates/demo.html",
        "convscope/pages/assets/demo.css",
    }
