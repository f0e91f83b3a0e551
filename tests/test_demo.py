"""The demo as a reader runs it: a real process, and its page in a real browser."""

import json
import resource
import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import convscope as cs
from browsing import SCREENS, check_in_browser
from convscope.errors import OutputError
from convscope.samples import SAMPLES
from convscope.study.data import load_cifar10
from convscope.study.record import StudyRecord
from convscope.study.variants import VARIANTS

SECONDS = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, dict]:
    """Run the demo in an empty folder; return that and what it printed."""
    folder = tmp_path_factory.mktemp("empty")
    command = [sys.executable, "-m", "convscope", "demo", "--json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert found.returncode == 0, found.stderr
    # Processor time of all threads: a busy machine's clock would say nothing.
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < SECONDS
    return folder, json.loads(found.stdout)


@pytest.fixture(scope="module")
def cat(made):
    return cs.load("vgg16_features").preprocess(made[0] / "convscope-demo" / "cat.jpg")


def test_it_writes_one_page_and_the_pictures_it_is_about(made):
    folder, numbers = made
    assert [path.name for path in folder.iterdir()] == ["convscope-demo"]
    names = {path.name for path in (folder / "convscope-demo").iterdir()}
    assert names == {".convscope", "index.html", *(sample.file for sample in SAMPLES)}
    assert numbers["page"] == "convscope-demo/index.html"
    assert (folder / "convscope-demo" / "index.html").stat().st_size < 3_000_000


def test_its_blocks_are_those_of_project(made, cat):
    found = cs.project(cs.load("vgg16_features"), cat)
    told = made[1]["blocks"]
    assert told["layers"] == list(found.layers)
    assert told["channels"][0] == found.channels[0].tolist()
    assert told["window"][0] == found.window[0].tolist()
    assert told["activation"][0] == pytest.approx(found.activation[0].tolist(), rel=1e-4)


def test_ties_are_what_plain_torch_counts(made, cat):
    """Go up and down by hand, and sum what arrives at windows of zeros."""
    features = cs.load("vgg16_features").module.features
    maps, switches, tied = [cat], {}, {}
    with torch.no_grad():
        for place, layer in enumerate(features[:30]):
            if isinstance(layer, torch.nn.MaxPool2d):
                pooled, switches[place] = functional.max_pool2d(maps[-1], 2, return_indices=True)
                tied[place] = pooled == 0
                maps.append(pooled)
            else:
                maps.append(layer(maps[-1].clone()))
        numbers = made[1]["checkerboard"]
        channel = numbers["layers"][0]["channel"]
        signal = torch.zeros_like(maps[30])
        signal[:, channel] = maps[30][:, channel]
        energy = {}
        for place in range(29, -1, -1):
            layer = features[place]
            if place in switches:
                energy[place] = (signal.square() * tied[place]).sum() / signal.square().sum()
                signal = functional.max_unpool2d(signal, switches[place], 2)
            elif isinstance(layer, torch.nn.ReLU):
                signal = signal.relu()
            else:
                signal = functional.conv_transpose2d(signal, layer.weight, padding=1)
    assert [one["pool"] for one in numbers["ties"]] == [f"features.{place}" for place in energy]
    for place, one in zip(energy, numbers["ties"], strict=True):
        assert one["windows"] == pytest.approx(tied[place].double().mean().item(), abs=1e-4)
        assert one["energy"] == pytest.approx(energy[place].item(), abs=1e-3)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.folder)
def test_the_first_layers_projections_on_record_are_its_filters(variant):
    """One convolution down from one value of a map gives the filter, whatever the image."""
    record = StudyRecord.bundled()
    net, facts = record.network(variant), record.variant(variant)
    (first, filters), *_ = facts["strongest"].items()
    colours = torch.tensor(net.preprocess.std)[:, None, None]
    kernels = dict(net.module.named_parameters())["features.conv1.weight"].detach() * colours
    pixels = record.projections(variant, "strongest", first)
    assert len(pixels) == len(filters) == 8
    for one, projected in zip(filters, pixels, strict=True):
        top, left, bottom, right = one["window"]
        corners = [
            projected[:, row : row + 3, column : column + 3].flatten()
            for row in range(top, bottom - 2)
            for column in range(left, right - 2)
        ]
        likeness = [
            functional.cosine_similarity(corner, kernels[one["channel"]].flatten(), dim=0).abs()
            for corner in corners
        ]
        # At the image's edge, same padding cuts a part of the filter off.
        cut = variant.padding == "same" and min(bottom - top, right - left) < 4
        assert cut or max(likeness) > 0.999


def test_the_study_says_of_the_cat_what_its_networks_say(made):
    numbers = made[1]["study"]
    assert [one["variant"] for one in numbers["variants"]] == [v.name for v in VARIANTS]
    page = (made[0] / "convscope-demo" / "index.html").read_text()
    for variant, facts in zip(VARIANTS, numbers["variants"], strict=True):
        net = StudyRecord.bundled().network(variant)
        chances = net(net.preprocess(made[0] / "convscope-demo" / "cat.jpg")).softmax(1)[0]
        assert f"{net.classes[int(chances.argmax())]} ({chances.max():.0%})" in page
        assert f"{facts['test_accuracy']['mean']:.1%}" in page


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.folder)
def test_the_studys_networks_are_as_accurate_as_they_say(variant, data, tmp_path):
    unpack = [sys.executable, str(data / "cifar10" / "unpack.py"), str(tmp_path)]
    subprocess.run(unpack, check=True, capture_output=True)
    images, record = load_cifar10(tmp_path, "test"), StudyRecord.bundled()
    net = record.network(variant)
    batches = zip(images.images.split(500), images.labels.split(500), strict=True)
    right = sum(
        int((net(net.preprocess.to_inputs(some.float() / 255)).argmax(1) == labels).sum())
        for some, labels in batches
    )
    promised = record.variant(variant)["test_accuracy"]["mean"]
    assert right / len(images.labels) == pytest.approx(promised, abs=0.002)


def test_hiding_an_eye_lowers_the_eye_unit(made):
    unit = made[1]["occlusion"]["unit"]
    activation = torch.tensor(unit["activation"])
    row, column = divmod(int(activation.argmin()), activation.shape[1])
    # The cat's left eye is at rows 55 to 115 and columns 50 to 115.
    assert 40 <= row * 16 <= 115
    assert 30 <= column * 16 <= 115
    assert activation.min() < 0.9 * unit["clean"]["activation"]
    assert unit["agreement"] > unit["agreement_by_chance"]


@pytest.mark.parametrize(("width", "colours"), SCREENS)
def test_the_page_is_whole_in_a_browser(browser, made, width, colours):
    # Two tiles for each of five units in each of four pictures, and thirteen close-ups.
    pictures = 4 * 5 * 2 + 13
    check_in_browser(browser, made[0] / "convscope-demo" / "index.html", width, colours, pictures)


def test_its_first_command_is_right(made, monkeypatch, tmp_path, answer):
    page = (made[0] / "convscope-demo" / "index.html").read_text()
    command = "convscope project vgg16_features convscope-demo/cat.jpg -o cat.png"
    assert command in page
    monkeypatch.chdir(made[0])
    output = tmp_path / "cat.png"
    assert answer(*command.split()[1:-1], output).status == 0
    assert output.stat().st_size > 10_000


def test_open_shows_the_page(made, monkeypatch, capsys):
    from convscope.cli.demo import demo
    from convscope.pages import demo as pages

    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    page = made[0] / "convscope-demo" / "index.html"
    found = pages.Demo(page, {"architecture": 0.5}, {})
    monkeypatch.setattr(pages, "demo", lambda *_, **__: found)
    demo(page.parent, opened=True, as_json=False)
    assert opened == [page.as_uri()]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [str(page), "  architecture 0.5 s"]


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make the folder"):
        cs.demo(tmp_path / "file" / "below")


def test_every_sample_has_a_licence():
    from importlib.resources import files

    licences = (files("convscope.samples") / "LICENCES.md").read_text()
    for sample in SAMPLES:
        assert f"`{sample.file}`" in licences
        assert len(sample.content()) < 40_000
