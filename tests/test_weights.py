import hashlib
import os
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from convscope.errors import ModelError
from convscope.models import load
from convscope.models.weights import OFFICIAL, OfficialWeights, fetch, load_into, read_weights


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


def test_a_prefix_of_some_names_only_is_kept(tmp_path):
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "w.pth")
    assert set(read_weights(tmp_path / "w.pth")) == {"module.a", "b"}


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


def test_a_bare_pickle_and_a_whole_module_are_refused(tmp_path):
    marker = tmp_path / "marker"
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Intruder(marker)))
    torch.save(make_net(), tmp_path / "module.pth")
    for name in ("bare.pth", "module.pth"):
        with pytest.raises(ModelError, match=f"{name} is refused"):
            read_weights(tmp_path / name)
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
        (torch.ones(2), "but an object of type Tensor"),
    ],
)
def test_files_without_a_state_dict(tmp_path, content, words):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=words):
        read_weights(tmp_path / "w.pth")


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
    """A server of CONTENT; gives its address and the paths asked for. ``sent``: stop midway."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:sent])

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
        official = OfficialWeights(f"{address}/net-{RIGHT}.pth")
        path = fetch(official)
        assert path == cache / f"net-{RIGHT}.pth"
        assert path.read_bytes() == CONTENT
        assert fetch(official) == path
    assert asked == [f"/net-{RIGHT}.pth"]


@pytest.mark.parametrize(
    ("options", "name", "words"),
    [
        ({}, "net-00000000.pth", "invalid hash"),
        ({"status": 404}, f"net-{RIGHT}.pth", "404"),
        ({"sent": 5000}, f"net-{RIGHT}.pth", "invalid hash"),
    ],
)
def test_a_failed_fetch_leaves_no_file(cache, options, name, words):
    with serving(**options) as (address, _), pytest.raises(ModelError, match=words) as caught:
        fetch(OfficialWeights(f"{address}/{name}"))
    assert list(cache.iterdir()) == []
    for part in (name, str(cache), "--weights"):
        assert part in str(caught.value)


def test_an_unreachable_host(cache):
    with serving() as (address, _):
        pass  # now nothing listens there
    with pytest.raises(ModelError, match="refused") as caught:
        fetch(OfficialWeights(f"{address}/net-{RIGHT}.pth"))
    assert str(cache) in str(caught.value)
    assert "--weights" in str(caught.value)
    assert list(cache.iterdir()) == []


def test_a_cached_file_with_another_hash_is_not_used(cache):
    cache.mkdir(parents=True)
    (cache / "squeezenet1_1-b8a52dc0.pth").write_bytes(CONTENT)
    with pytest.raises(ModelError, match=r"is not used: .* starts with b8a52dc0; delete it"):
        load("squeezenet1_1")
    assert (cache / "squeezenet1_1-b8a52dc0.pth").read_bytes() == CONTENT


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "hub").write_text("in the way")
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    with pytest.raises(ModelError, match="--weights"):
        fetch(OfficialWeights("http://127.0.0.1:9/net-00000000.pth"))


def test_the_official_names_carry_their_hashes():
    assert {name: (w.file, w.hash_prefix) for name, w in OFFICIAL.items()} == {
        "vgg16": ("vgg16-397923af.pth", "397923af"),
        "vgg16_bn": ("vgg16_bn-6c64b313.pth", "6c64b313"),
        "alexnet": ("alexnet-owt-7be5be79.pth", "7be5be79"),
        "squeezenet1_1": ("squeezenet1_1-b8a52dc0.pth", "b8a52dc0"),
    }
