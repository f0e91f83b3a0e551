"""The channel on the live page: its kernel, its patches in an atlas, its faults, its trust."""

from __future__ import annotations

import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from queue import Queue

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import convscope as cs
from browsing import SIZES, watched
from convscope.atlas.atlas import Atlas
from convscope.cli import app
from convscope.display import Display, to_display
from convscope.errors import DataError
from convscope.explorer.answers import QUESTIONS
from convscope.explorer.channel import faults
from convscope.explorer.session import Session

FACTORY = """
import torch
from torch import nn

def network():
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 12, 3, padding=1, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(768, 4),
    ).eval()
    with torch.no_grad():
        module[0].bias[:2] = -100.0
    return module
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with a network's file, pictures, and their atlas."""
    folder = tmp_path_factory.mktemp("channel")
    (folder / "net.py").write_text(FACTORY)
    (folder / "photos").mkdir()
    generator = np.random.default_rng(0)
    for number in range(60):
        coarse = Image.fromarray(generator.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        coarse.resize((16, 16), Image.Resampling.BICUBIC).save(folder / f"photos/{number:02d}.png")
    made = ["scan", f"{folder}/net.py:network", f"{folder}/photos", "-o", f"{folder}/atlas"]
    made += ["--size", "3,16,16"]
    assert CliRunner().invoke(app, made, catch_exceptions=False).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def net(home) -> cs.Network:
    return cs.load(f"{home}/net.py:network", size=(3, 16, 16))


@pytest.fixture(scope="module")
def address(net, home) -> str:
    ready: Queue[str] = Queue()
    given = {"atlas": home / "atlas", "port": 0, "browser": False, "ready": ready.put}
    picture = home / "photos/00.png"
    serve = lambda: cs.explore(net, picture, **given)  # noqa: E731
    threading.Thread(target=serve, name="serving", daemon=True).start()
    return ready.get(timeout=60)


@pytest.fixture(scope="module")
def client(address):
    with httpx.Client(base_url=address.partition("?")[0], timeout=60) as opened:
        assert opened.get(address).status_code == 303
        yield opened


def picture(client, question: str, **given: object) -> tuple[dict, np.ndarray]:
    answer = client.get(question, params=given)
    assert answer.status_code == 200, answer.text
    length = int.from_bytes(answer.content[:4], "big")
    png = Image.open(io.BytesIO(answer.content[4 + length :]))
    return json.loads(answer.content[4 : 4 + length]), np.asarray(png)


def test_a_first_kernel_is_shown_in_the_colours_it_reads(client, net):
    weight = net.module[0].weight[4:5].double()
    for layer in ("0", "1"):  # by the convolution, and by where its units are read
        facts, shown = picture(client, "kernel", layer=layer, channel=4)
        assert (shown == to_display(weight, Display().scale_of(weight))[0]).all()
        assert facts["limit"] == pytest.approx(weight.abs().max().item())
        assert (facts["convolution"], facts["size"], facts["of"]) == ("0", [3, 3], 3)


def test_a_deeper_kernel_is_shown_by_its_strongest_inputs(client, home, tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 20, 1), nn.ReLU(), nn.Conv2d(20, 4, 3, padding=1)).eval()
    weight = module[2].weight[1].double()
    order = weight.flatten(1).norm(dim=1).argsort(descending=True)[:9]
    own = cs.Network(module, torch.zeros(1, 3, 16, 16))
    ready: Queue[str] = Queue()
    given = {"port": 0, "browser": False, "ready": ready.put}
    image = torch.rand(1, 3, 16, 16)
    threading.Thread(target=lambda: cs.explore(own, image, **given), daemon=True).start()
    address = ready.get(timeout=60)
    with httpx.Client(base_url=address.partition("?")[0], timeout=60) as opened:
        opened.get(address)
        facts, shown = picture(opened, "kernel", layer="2", channel=1)
        no_atlas = opened.get("patches", params={"layer": "2", "channel": 1})
    assert facts["inputs"] == order.tolist()
    scale = Display().scale_of(weight[order][:, None])
    expected = np.hstack([*to_display(weight[order][:, None], scale)])
    assert (shown == expected).all()
    assert "no atlas was given" in no_atlas.json()["error"]


def test_no_tick_is_named_where_no_bars_have_one(browser):
    own = cs.Network(
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()), torch.zeros(1, 3, 16, 16)
    )
    ready: Queue[str] = Queue()
    given = {"port": 0, "browser": False, "ready": ready.put}
    image = torch.rand(1, 3, 16, 16)
    threading.Thread(target=lambda: cs.explore(own, image, **given), daemon=True).start()
    page = browser.new_page()
    page.goto(f"{ready.get(timeout=60)}#layer=0&channel=1")
    page.wait_for_selector("body[data-ready]")
    page.focus("#image")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "() => /of the clean$/.test(document.querySelector('#said').textContent)"
    )
    assert page.text_content("#said").startswith("patch at row ")
    page.close()


def test_patches_are_those_of_the_atlas(client, home):
    unit = Atlas(home / "atlas").unit("3", 7)
    facts, shown = picture(client, "patches", layer="3", channel=7)
    assert facts["count"] == 9
    assert facts["titles"] == list(unit.titles)
    height, width = unit.patches.shape[1:3]
    for rank in range(9):
        row, column = divmod(rank, 3)
        for half, tiles in enumerate((unit.patches, unit.projections)):
            top, left = row * height, (3 * half + column) * width
            cut = shown[top : top + height, left : left + width]
            assert (cut == tiles[rank].numpy()).all()


def test_an_atlas_of_another_network_is_refused(home):
    with pytest.raises(DataError, match="is an atlas of"):
        cs.explore(cs.load("base"), home / "photos/00.png", atlas=home / "atlas", port=0)


def test_faults_are_those_of_the_diagnosis(client, net, home):
    expected = cs.diagnose(net, home / "photos")
    own = [one for one in expected.findings if one.layer == "0"]
    assert any(one.kind == "dead units" and one.channels == (0, 1) for one in own)
    for channel, is_own in ((1, True), (5, False)):
        said = client.get("faults", params={"layer": "1", "channel": channel}).json()
        assert [one["sentence"] for one in said["faults"]] == [one.sentence for one in own]
        assert {one["own"] for one in said["faults"]} >= {is_own}
        assert said["note"] == "from 60 images of photos"


def test_trust_is_what_the_sanity_check_says(client, net, home):
    image = home / "photos/00.png"
    rules = ("deconvnet", "guided", "gradient", "z-plus")
    found = cs.sanity(net, image, layer="4", channel=7, rules=rules, seeds=2, others=5)
    asked = {"image": 0, "layer": "4", "channel": 7, "rule": "z-plus"}
    said = client.get("trust", params=asked).json()
    assert said["changes"] == ["random weights", "another unit", "other switches"]
    assert list(said["rules"]) == [*rules]
    for rule in rules:
        tests = [("randomised", len(found.layers) - 1), ("units", None), ("switches", None)]
        kept = [found.kept(rule, *test) for test in tests]
        assert all(one.known for one in kept)
        assert said["rules"][rule] == [f"{one.share:.0%}" if one.word else "noise" for one in kept]


@pytest.mark.parametrize(("layer", "channel"), [("4", 7), ("2", 5)])
def test_what_a_channel_wants_stands_beside_a_real_patch(client, net, home, layer, channel):
    facts, shown = picture(client, "wanted", image=0, layer=layer, channel=channel)
    found = cs.visualize(net, layer, [channel], steps=64)
    assert facts["activation"] == pytest.approx(float(found.activation[0]))
    if layer == "4":  # of which the atlas has patches
        unit = Atlas(home / "atlas").unit("3", channel)
        expected, title, real = unit.patches[0].numpy(), unit.titles[0], float(unit.peak[0])
    else:
        peak = cs.project(net, home / "photos/00.png", layer, [channel])
        top, left, bottom, right = peak.window[0, 0].tolist()
        image = net.preprocess.to_pixels(peak.images[0])[:, top:bottom, left:right]
        expected = (image * 255).round().byte().movedim(0, 2).numpy()
        title, real = "00.png", float(peak.activation[0, 0])
    assert (facts["title"], facts["real"]) == (title, pytest.approx(real))
    made = (found.pixels[0] * 255).round().byte().movedim(0, 2).numpy()
    middle = shown.shape[1] // 2
    for half, own in ((shown[:, :middle], made), (shown[:, middle:], expected)):
        top, left = ((middle - side) // 2 for side in own.shape[:2])
        assert (half[top : top + own.shape[0], left : left + own.shape[1]] == own).all()


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("recommended (epsilon-plus)", {}),
        ("grad-cam", {"method": "grad-cam", "layer": "1"}),
        ("integrated-gradients", {"method": "integrated-gradients"}),
    ],
)
def test_an_attribution_is_that_of_the_call(client, net, home, method, given):
    facts, shown = picture(client, "attribution", image=0, layer="1", method=method)
    found = cs.attribute(net, home / "photos/00.png", **given)
    expected = found.shown(0, 0, Display())
    scale = Display().scale_of(expected)
    assert (shown == to_display(expected, scale)).all()
    assert (facts["name"], facts["limit"]) == (found.names[0][0], pytest.approx(scale.limit))


def test_the_thread_that_serves_answers_all_that_is_quick(client, monkeypatch):
    names = []
    whole = Session.read

    @wraps(whole)
    def read(*given, **more):
        names.append(threading.current_thread().name)
        return whole(*given, **more)

    monkeypatch.setitem(QUESTIONS, "reading", read)
    assert client.get("reading", params={"image": 0}).status_code == 200
    assert client.get("reading", params={"image": 9}).json() == {"error": "there is no image 9"}
    assert names == ["serving", "serving"]


@pytest.mark.parametrize("position", [None, (2, 5)])
def test_the_tree_of_channels_is_that_of_the_call(client, net, home, position):
    found = cs.trace_unit(net, home / "photos/00.png", "4", 7, position, top=3)
    place = {} if position is None else dict(zip(("row", "column"), position, strict=True))
    answer = client.get("tree", params={"image": 0, "layer": "4", "channel": 7, **place}).content
    length = int.from_bytes(answer[:4], "big")
    assert json.loads(answer[4 : 4 + length]) == {"said": found.summary()}
    drawn = Image.open(io.BytesIO(answer[4 + length :]))
    letters, pictures = (
        drawn.crop((half * drawn.width // 2, 0, (half + 1) * drawn.width // 2, drawn.height))
        for half in (0, 1)
    )
    page = Image.new("RGBA", letters.size, "white")
    for layer in (letters, pictures):
        page = Image.alpha_composite(page, layer)
    expected = Image.open(io.BytesIO(found.png("column"))).convert("RGB")
    assert np.abs(np.subtract(page.convert("RGB"), expected, dtype=np.int16)).max() <= 2


def slow(*_: object, progress, **__: object) -> None:
    for done in range(2000):
        progress(done, 2000)
        time.sleep(0.01)


def test_a_long_question_tells_how_far_it_is_and_is_stopped(client, monkeypatch):
    monkeypatch.setattr("convscope.explorer.session.attribute", slow)
    asked = {"image": 0, "layer": "1", "method": "smoothgrad", "kind": "mine", "turn": 1}
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(client.get, "attribution", params=asked)
        while (told := client.get("progress", params={"kind": "mine"}).json())[0] < 3:
            assert told[1] in (0, 2000)
        assert client.get("progress", params={"kind": "another's"}).json() == [0, 0]
        client.get("stop", params={"kind": "another's", "turn": 5})
        assert not answer.done()
        client.get("stop", params={"kind": "mine", "turn": 2})
        assert answer.result(timeout=10).status_code == 204
    assert client.get("progress", params={"kind": "mine"}).json() == [0, 0]
    monkeypatch.undo()
    assert client.get("attribution", params={**asked, "turn": 3}).status_code == 200


def test_what_cannot_be_checked_says_why(client):
    for given in ({"layer": "x", "channel": 0}, {"layer": "2", "channel": 0}):
        assert client.get("kernel", params=given).status_code == 400
    no_unit = {"image": 0, "layer": "4", "channel": 99, "rule": "smoothgrad"}  # nor a rule
    said = client.get("trust", params=no_unit).json()
    assert (said["rules"], "99" in said["note"]) == ({}, True)


def test_rules_that_mean_nothing_on_a_network_are_not_offered():
    blank = torch.zeros(1, 3, 8, 8)
    net = cs.Network(nn.Sequential(nn.Conv2d(3, 2, 3), nn.AvgPool2d(2)), blank)
    said = Session(net, blank).describe()
    assert said["rules"] == ["gradient"]
    assert "rectgrad" not in said["more"]


def test_a_layer_is_told_of_the_fault_below_that_it_suffers_from():
    torch.manual_seed(1)
    first, second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3)
    with torch.no_grad():
        first.weight[:4] = first.bias[:4] = 0
        second.weight[:3, 4:] = 0
        second.bias[:] = -0.01
    images = torch.randn(60, 3, 12, 12)
    module = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
    net = cs.Network(module, images[:1], preprocess="none")
    said = faults(Session(net, images), "3", 0, lambda done, total: None)
    assert "Above it 3 units of 2 are dead" in said["faults"][0]["sentence"]
    assert not said["faults"][0]["own"]
    assert said["elsewhere"] == []


@pytest.mark.parametrize("screen", SIZES)
def test_the_page_shows_them(browser, address, screen, monkeypatch):
    width, colours = screen
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=colours)
    complaints, _ = watched(page)
    page.goto(f"{address}#layer=1&channel=1")
    page.wait_for_selector("body[data-ready]")
    page.wait_for_selector("#kernel:not([hidden])")
    assert "kernel of 0, 3×3" in page.text_content("#kernel figcaption")
    assert "off in all of 60 images" in page.text_content("#patches figcaption")
    page.click("#ask-faults")
    page.get_by_text("0: dead units.").get_by_text("Channel 1 is one of them").wait_for()
    page.click("#grid [data-channel='5']")
    page.get_by_text("is one of them").wait_for(state="detached")
    page.wait_for_function(
        "() => document.querySelector('#patches figcaption').textContent.includes('strongest')"
    )
    page.click("#ask-trust")
    page.wait_for_selector("#told table")
    assert page.locator("#told tr").count() == 4
    page.select_option("#rule", "epsilon")
    page.wait_for_selector("#rules figure:nth-child(4)[data-rule=epsilon]")
    page.select_option("#rule", "grad-cam")
    page.get_by_text("grad-cam of class").wait_for()
    page.click("#ask-wanted")
    page.wait_for_selector("#told figure:nth-child(2)")
    assert "real, in " in page.text_content("#told")
    page.click("#ask-tree")
    page.wait_for_selector("#told .drawn")
    assert page.get_attribute("#told .drawn", "aria-label").startswith("1  channel 5  activation ")
    monkeypatch.setattr("convscope.explorer.channel.visualize", slow)
    page.click("#ask-wanted")
    page.get_by_text(" %").wait_for()
    page.click("#told button")
    page.wait_for_selector("#told :first-child", state="detached")
    page.click("#strip [data-layer='2']")
    page.click("#grid [data-channel='1']")
    page.wait_for_function("() => document.querySelector('#kernel').hidden")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    page.close()
    assert complaints == []


def test_files_hold_patches_and_trust_where_they_were_asked_for(net, home, browser, tmp_path):
    given = {"layer": "4", "top": 1, "patch": 8, "stride": 8, "trust": True}
    cs.explore(net, home / "photos/00.png", atlas=home / "atlas", export=tmp_path, **given)
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    complaints, _ = watched(page)
    page.goto((tmp_path / "index.html").as_uri())
    page.click("#strip [data-layer='4']")
    page.click("#grid button:enabled")
    page.get_by_text("its strongest in 60 images of").wait_for()
    page.click("#ask-trust")
    page.get_by_text("What stays of the picture").wait_for()
    assert page.locator("#told tr").count() == 4
    assert page.locator("#ask-tree").is_disabled()
    page.close()
    assert complaints == []
