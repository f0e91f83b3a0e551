import datetime
import hashlib
import os
import pickle
import threading
from argparse import Namespace
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from convscope.errors import ModelError
from convscope.loading import load
from convscope.models.loading import OFFICIAL, fetch
from convscope.models.weight_files import read_weights
from convscope.models.weights import fill, load_into


def make_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return {
        name: torch.rand(value.shape, generator=generator)
        if value.is_floating_point()
        else value.clone()
        for name, value in make_net().state_dict().items()
    }


State = dict[str, torch.Tensor]


class Settings:
    """A class that files hold, and that reading them must not need."""

    def __init__(self, depth: int) -> None:
        self.depth = depth


def net_of(state: State) -> nn.Module:
    net = make_net()
    net.load_state_dict(state)
    return net


def loaded(path: Path) -> dict[str, torch.Tensor]:
    net = make_net()
    load_into(net, read_weights(path), path)
    return net.state_dict()


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


# --- reading -----------------------------------------------------------------------------------


def test_safetensors_and_torch_files_give_the_same(tmp_path, state):
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pth")
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    for name in ("a.safetensors", "a.pth", "a.pt"):
        assert same(loaded(tmp_path / name), state)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("nests", [[], ["state_dict"], ["model"], ["model", "state_dict"]])
def test_common_wrappers_are_taken_off(tmp_path, state, prefix, nests):
    wrapped: object = {prefix + name: value for name, value in state.items()}
    for nest in nests:
        wrapped = {"epoch": 3, nest: wrapped}
    torch.save(wrapped, tmp_path / "w.pth")
    assert same(loaded(tmp_path / "w.pth"), state)


# What people's files hold, from the network's state dict and another one that does not fit; each
# with what the line about what is left must name.
KEPT: dict[str, tuple[Callable[[State, State], object], tuple[str, ...]]] = {
    "lightning, model": (
        lambda own, other: {
            "epoch": 3,
            "global_step": 90,
            "state_dict": {
                **{f"model.{name}": value for name, value in own.items()},
                "criterion.weight": torch.ones(2),
                "train_acc.correct": torch.tensor(3),
                "confusion.confmat": torch.zeros(2, 2, dtype=torch.long),
            },
            "optimizer_states": [{"state": {0: {"exp_avg": own["0.weight"]}}}],
            "hyper_parameters": Namespace(lr=0.1, depth=Path("a")),
        },
        ("epoch", "global_step", "optimizer_states"),
    ),
    "lightning, net": (
        lambda own, other: {"state_dict": {f"net.{name}": value for name, value in own.items()}},
        (),
    ),
    "lightning, itself": (
        lambda own, other: {"state_dict": {**own, "criterion.weight": torch.ones(2)}},
        ("criterion.weight",),
    ),
    "teacher that does not fit": (
        lambda own, other: {
            **{f"student.{name}": value for name, value in own.items()},
            **{f"teacher.{name}": value for name, value in other.items()},
        },
        ("teacher",),
    ),
    "compiled inside": (
        lambda own, other: {
            f"_orig_mod.{name.replace('.', '._orig_mod.')}": value for name, value in own.items()
        },
        (),
    ),
    "averaged": (
        lambda own, other: {
            "n_averaged": torch.tensor(7),
            **{f"module.{name}": value for name, value in own.items()},
        },
        ("n_averaged",),
    ),
    "averaged, saved by torch": (
        lambda own, other: AveragedModel(net_of(own)).state_dict(),
        ("n_averaged",),
    ),
    "ema alone": (lambda own, other: {"state_dict_ema": own, "epoch": 1}, ("epoch",)),
    "params": (lambda own, other: {"params": own}, ()),
    "model_state": (lambda own, other: {"model_state": own, "best": np.float64(0.5)}, ("best",)),
    "list": (lambda own, other: {"models": [other, own]}, ("models.0",)),
    "parameter": (
        lambda own, other: {
            n: nn.Parameter(v) if v.is_floating_point() else v for n, v in own.items()
        },
        (),
    ),
    "numbers of numpy": (
        lambda own, other: {
            "net": own,
            "best": np.float32(0.5),
            "history": np.arange(3.0),
            "args": Namespace(lr=0.1),
            "counts": defaultdict(int, a=1),
            "when": datetime.datetime(2026, 1, 1),
        },
        ("best", "history", "args"),
    ),
    "a class of one's own beside": (
        lambda own, other: {"net": own, "config": Settings(3)},
        ("config",),
    ),
    "parts": (
        lambda own, other: {
            "0": {n[2:]: v for n, v in own.items() if n[0] == "0"},
            "1": {n[2:]: v for n, v in own.items() if n[0] == "1"},
        },
        (),
    ),
}


@pytest.mark.parametrize("kind", KEPT)
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_as_people_keep_them(tmp_path, state, kind, zipped, caplog):
    make, left = KEPT[kind]
    other = nn.Conv2d(1, 3, 5).state_dict()
    path = tmp_path / "w.ckpt"
    torch.save(make(state, other), path, _use_new_zipfile_serialization=zipped)
    net = make_net()
    fill(net, path)
    assert same(net.state_dict(), state)
    lines = caplog.messages
    assert len(lines) == bool(left)
    assert all(name in lines[0] for name in left), lines


def test_of_several_that_fit_one_is_named(tmp_path, state):
    ema = {name: value + 1 for name, value in state.items()}
    torch.save({"state_dict": state, "state_dict_ema": ema}, tmp_path / "w.pth")
    with pytest.raises(ModelError) as caught:
        fill(make_net(), tmp_path / "w.pth")
    for key in ("state_dict", "state_dict_ema"):
        assert f"{tmp_path / 'w.pth'}#{key}" in str(caught.value)
    for key, right in (("state_dict", state), ("state_dict_ema", ema)):
        net = make_net()
        fill(net, f"{tmp_path / 'w.pth'}#{key}")
        assert same(net.state_dict(), right)
    with pytest.raises(ModelError, match="no weights under 'ema', but state_dict, state_dict_ema"):
        fill(make_net(), f"{tmp_path / 'w.pth'}#ema")


def test_one_dictionary_under_two_names_is_one_set(tmp_path, state):
    torch.save({"model": state, "ema": state}, tmp_path / "w.pth")
    assert same(loaded(tmp_path / "w.pth"), state)


def test_a_deeper_network_does_not_pass_for_a_part_of_it(tmp_path, state):
    torch.save({**state, "3.weight": torch.ones(2, 2, 3, 3)}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"extra 1 \(3\.weight\)"):
        loaded(tmp_path / "w.pth")


def test_files_that_hold_themselves_end(tmp_path, state):
    for content in ({}, {"epoch": 3}, {"net": state}):
        content["model"] = content  # type: ignore[assignment]
        content["list"] = [content, [content]]
        torch.save(content, tmp_path / "w.pth")
        if "net" in content:
            assert same(loaded(tmp_path / "w.pth"), state)
        else:
            with pytest.raises(ModelError, match="holds no state dict"):
                loaded(tmp_path / "w.pth")


def test_the_nearest_names_and_shapes_are_told(tmp_path):
    torch.save(
        {"convolution.weight": torch.ones(2, 1, 3, 3), "convolution.bias": torch.ones(2)},
        tmp_path / "w.pth",
    )
    net = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 3)))
    with pytest.raises(ModelError) as caught:
        fill(net, tmp_path / "w.pth")
    assert "nearest: convolution.weight [2, 1, 3, 3] for conv.weight [2, 1, 3, 3]" in str(
        caught.value
    )


REFUSED: dict[str, tuple[Callable[[State], object], str]] = {
    "sparse": (lambda s: {**s, "0.bias": s["0.bias"].to_sparse()}, "sparse tensor: .*to_dense"),
    "sparse rows": (
        lambda s: {**s, "0.weight": s["0.weight"].reshape(2, 9).to_sparse_csr()},
        "misshapen",
    ),
    "quantised": (
        lambda s: {**s, "0.weight": torch.quantize_per_tensor(s["0.weight"], 0.1, 0, torch.qint8)},
        "is quantised: save the weights from before",
    ),
    "whole numbers": (
        lambda s: {**s, "0.weight": s["0.weight"].to(torch.int8)},
        r"whole numbers \(int8\)",
    ),
    "complex": (
        lambda s: {**s, "0.weight": s["0.weight"] * 1j},
        "is complex, and the network's is real",
    ),
    "too large": (
        lambda s: {**s, "0.weight": s["0.weight"].double() + 1e300},
        r"too large for float32, which become infinite, in 1 tensors \(0\.weight\)",
    ),
    "no values": (lambda s: {n: v.to("meta") for n, v in s.items()}, "has a shape but no values"),
    "whole network": (
        lambda s: make_net(),
        r"holds a whole pickled network \(torch\.nn\.\S*Sequential\)",
    ),
    "network inside": (
        lambda s: {"epoch": 3, "model": make_net()},
        "holds a whole pickled network",
    ),
    "script": (lambda s: torch.jit.script(make_net()), r"is a TorchScript program.*state_dict\(\)"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore")  # torch's, of making such files
def test_what_cannot_be_used_is_told_what_to_do(tmp_path, state, kind):
    make, words = REFUSED[kind]
    content = make(state)
    if isinstance(content, torch.jit.ScriptModule):
        content.save(str(tmp_path / "w.pth"))
    else:
        torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=words) as caught:
        loaded(tmp_path / "w.pth")
    assert "\n" not in str(caught.value)


def test_files_of_other_programs(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.ones(1))
    (tmp_path / "pointer.pth").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    for name, words in (("w.npz", "a zip file, but not torch's"), ("pointer.pth", "git lfs pull")):
        with pytest.raises(ModelError, match=words):
            read_weights(tmp_path / name)


class Intruder:
    """Unpickling this creates a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path, state, zipped):
    marker, path = tmp_path / "marker", tmp_path / "evil.pth"
    content = {**state, "x": Intruder(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match=r"evil\.pth is refused: .* could run code") as caught:
        read_weights(path)
    assert not marker.exists()
    assert "\n" not in str(caught.value)
    # The file does what it is feared to do, so the test can fail.
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_a_bare_pickle_is_refused(tmp_path):
    marker = tmp_path / "marker"
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Intruder(marker)))
    with pytest.raises(ModelError, match=r"bare\.pth is refused"):
        read_weights(tmp_path / "bare.pth")
    assert not marker.exists()


def test_another_kind_of_file_is_said(tmp_path):
    for content in (b"hello\n", b"\xff\xd8\xff\xe0", b"import torch\n"):
        for name, message in (
            ("w.jpg", "it is no torch file, and its name does not end in .safetensors"),
            ("w.safetensors", "it is no safetensors file, or a damaged one"),
        ):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ModelError) as caught:
                read_weights(tmp_path / name)
            assert f"{name} cannot be read as weights: {message}" in str(caught.value)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_damaged_files_are_one_sentence(tmp_path, state, name):
    path = tmp_path / name
    save_file(state, path) if name.endswith("safetensors") else torch.save(state, path)
    whole = path.read_bytes()
    for content in (b"", b"no weights", whole[: len(whole) // 2], whole[: len(whole) - 3]):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"cannot be read as weights|is refused") as caught:
            read_weights(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"epoch": 3, "best": 0.5}, "but a dictionary of epoch, best"),
        ({}, "but an empty dictionary"),
        (torch.ones(2), "but a Tensor"),
    ],
)
def test_files_without_a_state_dict(tmp_path, content, words):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=words):
        loaded(tmp_path / "w.pth")


def test_missing_file_has_near_matches(tmp_path):
    (tmp_path / "weights.pth").touch()
    with pytest.raises(ModelError, match=r"does not exist; did you mean 'weights\.pth'"):
        read_weights(tmp_path / "weight.pth")
    with pytest.raises(ModelError, match="is a folder"):
        read_weights(tmp_path)


# --- fitting -----------------------------------------------------------------------------------


def test_faults_of_all_kinds_are_named_and_nothing_is_loaded(state):
    net = make_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    del state["0.bias"], state["1.weight"], state["1.bias"], state["1.running_mean"]
    state["extra"] = torch.ones(1)
    state["0.weight"] = torch.ones(2, 3, 3, 3)
    with pytest.raises(ModelError) as caught:
        load_into(net, state, "w.pth")
    assert str(caught.value) == (
        "w.pth does not fit the network: missing 4 (0.bias, 1.weight, 1.bias, ...); "
        "extra 1 (extra); misshapen 1 (0.weight is [2, 3, 3, 3], not [2, 1, 3, 3])"
    )
    assert same(net.state_dict(), before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(state, value):
    state["1.running_var"][1] = value
    with pytest.raises(
        ModelError, match=r"NaN or infinite weights in 1 tensors \(1\.running_var\)"
    ):
        load_into(make_net(), state, "w.pth")


def test_half_precision_is_cast_and_a_missing_counter_tolerated(state):
    state = {name: value.half() for name, value in state.items() if value.is_floating_point()}
    for device in ("cpu", "meta"):
        with torch.device(device):
            net = make_net()
        load_into(net, state, "w.pth")
        result = net.state_dict()
        assert result.pop("1.num_batches_tracked").item() == 0
        assert all(value.dtype == torch.float32 for value in result.values())
        assert all(torch.equal(result[name], state[name].float()) for name in result)
        assert all(parameter.requires_grad for parameter in net.parameters())


# --- fetching ----------------------------------------------------------------------------------

CONTENT = b"weights, more or less" * 1000
RIGHT = hashlib.sha256(CONTENT).hexdigest()[:8]


@contextmanager
def serving(status: int = 200, sent: int | None = None) -> Iterator[tuple[str, list[str]]]:
    """A server of CONTENT; gives its address and what was asked for. ``sent``: stop there."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "bytes=0-")
            asked.append(f"{self.path} {wanted}")
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206 if first else status)
            self.send_header("Content-Length", str(len(CONTENT) - first))
            self.end_headers()
            self.wfile.write(CONTENT[first:sent])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "hub" / "checkpoints"


def test_fetched_once_into_torch_hubs_cache(cache):
    with serving() as (address, asked):
        official = f"{address}/net-{RIGHT}.pth"
        path = fetch(official)
        assert path == cache / f"net-{RIGHT}.pth"
        assert path.read_bytes() == CONTENT
        assert fetch(official) == path
    assert asked == [f"/net-{RIGHT}.pth bytes=0-"]
    assert list(cache.iterdir()) == [path]


def test_a_broken_download_goes_on_where_it_stopped(cache):
    with (
        serving(sent=5000) as (address, _),
        pytest.raises(ModelError, match=r"broke off.* try again to go on") as caught,
    ):
        fetch(f"{address}/net-{RIGHT}.pth")
    assert str(cache) in str(caught.value)
    part = cache / f"net-{RIGHT}.pth.part"
    had = part.stat().st_size
    assert part.read_bytes() == CONTENT[:had]
    with serving() as (address, asked):
        path = fetch(f"{address}/net-{RIGHT}.pth")
    assert asked == [f"/net-{RIGHT}.pth bytes={had}-"]
    assert 0 < had <= 5000
    assert path.read_bytes() == CONTENT
    assert list(cache.iterdir()) == [path]


@pytest.mark.parametrize(
    ("options", "name", "words"),
    [
        ({}, "net-00000000.pth", rf"has the SHA256 {RIGHT}\w+, not 00000000"),
        ({"status": 404}, f"net-{RIGHT}.pth", "404"),
    ],
)
def test_a_failed_fetch_leaves_no_file(cache, options, name, words):
    with serving(**options) as (address, _), pytest.raises(ModelError, match=words) as caught:
        fetch(f"{address}/{name}")
    assert list(cache.iterdir()) == []
    for part in (name, str(cache), "--weights"):
        assert part in str(caught.value)


def test_an_unreachable_host(cache):
    with serving() as (address, _):
        pass  # now nothing listens there
    with pytest.raises(ModelError, match="refused") as caught:
        fetch(f"{address}/net-{RIGHT}.pth")
    assert str(cache) in str(caught.value)
    assert "--weights" in str(caught.value)
    assert list(cache.iterdir()) == []


def test_a_cached_file_with_another_hash_is_not_used(cache):
    cache.mkdir(parents=True)
    (cache / "alexnet-owt-7be5be79.pth").write_bytes(CONTENT)
    with pytest.raises(ModelError, match=r"is not used: .* starts with 7be5be79; delete it"):
        load("alexnet")
    assert (cache / "alexnet-owt-7be5be79.pth").read_bytes() == CONTENT


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "hub").write_text("in the way")
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    with pytest.raises(ModelError, match="--weights"):
        fetch("http://127.0.0.1:9/net-00000000.pth")


def test_the_official_names_carry_their_hashes():
    assert {name: url.rpartition("/")[2] for name, url in OFFICIAL.items()} == {
        "vgg16": "vgg16-397923af.pth",
        "vgg16_bn": "vgg16_bn-6c64b313.pth",
        "alexnet": "alexnet-owt-7be5be79.pth",
        "squeezenet1_1": "squeezenet1_1-b8a52dc0.pth",
    }
