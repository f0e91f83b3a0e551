"""The demo as a reader runs it: a real process, and its page in a real browser."""

import json
import resource
import shutil
import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest
import torch

import convscope as cs
from convscope.demo import make_demo
from convscope.display import DisplayScale
from convscope.errors import OutputError
from convscope.samples import SAMPLES

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
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


def test_it_writes_one_page_and_the_pictures_it_is_about(made):
    folder, numbers = made
    assert [path.name for path in folder.iterdir()] == ["convscope-demo"]
    names = {path.name for path in (folder / "convscope-demo").iterdir()}
    assert names == {"index.html", *(sample.file for sample in SAMPLES)}
    assert numbers["output"] == "convscope-demo/index.html"
    assert (folder / "convscope-demo" / "index.html").stat().st_size < 1_000_000


def test_its_numbers_are_those_of_the_library(made):
    folder, numbers = made
    net = cs.load("base")
    picture = numbers["pictures"][0]
    images = net.preprocess(folder / picture["file"])
    probability, best = net(images).softmax(1)[0].max(0)
    name, said = next(iter(picture["answers"].items()))
    assert (name, said) == (net.classes[int(best)], pytest.approx(probability.item(), rel=1e-4))
    assert name == "cat"
    found = cs.project(net, images, top=3)
    for number, block in enumerate(picture["blocks"]):
        part = slice(3 * number, 3 * number + 3)
        assert {block["layer"]} == set(found.layers[part])
        assert block["channels"] == found.channels[0, part].tolist()
        assert block["windows"] == found.window[0, part].tolist()
        assert block["activations"] == pytest.approx(found.activation[0, part].tolist(), rel=1e-5)
        for k, scale in enumerate(block["scales"]):
            top, left, bottom, right = found.window[0, part][k].tolist()
            std = torch.tensor(net.preprocess.std)[:, None, None]
            shown = (found.pixels[0, part][k] * std)[:, top:bottom, left:right].abs()
            assert DisplayScale(**scale).limit <= shown.max() * 1.0001
            assert (shown > scale["limit"]).sum() <= 0.001 * (shown > 0).sum()


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")
@pytest.mark.parametrize(("width", "colours"), [(1360, "light"), (390, "dark")])
def test_the_page_is_whole_in_a_browser(made, width, colours):
    playwright = pytest.importorskip("playwright.sync_api")
    page_file = made[0] / "convscope-demo" / "index.html"
    complaints, requests = [], []
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=colours)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(page_file.as_uri())
        pictures = page.evaluate(
            "[...document.images].map(i => [i.complete && i.naturalWidth > 0, i.alt.length > 5])"
        )
        across = page.evaluate("document.documentElement.scrollWidth")
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        browser.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file://", "data:"))] == []
    # Four pictures, each twice, and two tiles for each of three units in each of four blocks.
    assert pictures == [[True, True]] * (4 * (2 + 4 * 3 * 2))
    assert across <= width
    assert (background == "rgb(22, 22, 21)") == (colours == "dark")


def test_its_command_is_right(made, monkeypatch, tmp_path):
    from convscope import cli

    page = (made[0] / "convscope-demo" / "index.html").read_text()
    command = f"convscope project base convscope-demo/{SAMPLES[0].file} --top 3"
    assert command in page
    monkeypatch.chdir(made[0])
    output = tmp_path / "cat.png"
    monkeypatch.setattr(sys, "argv", [*command.split(), "-o", str(output)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 0
    assert output.stat().st_size > 10_000


def test_open_shows_the_page(made, monkeypatch, tmp_path, capsys):
    from convscope import demo as demo_module
    from convscope.cli.demo import demo

    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    page = made[0] / "convscope-demo" / "index.html"
    shown = demo_module.Shown(SAMPLES[0], page, "the command", "", "", [("cat", 0.5)], [])
    monkeypatch.setattr(demo_module, "make_demo", lambda *_: demo_module.Demo(page, [shown]))
    demo(tmp_path, opened=True, as_json=False)
    assert opened == [page.as_uri()]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [str(page), "  a cat: cat (50%)"]
    assert "  the command" in lines


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make the folder"):
        make_demo(tmp_path / "file" / "below")


def test_every_sample_has_a_licence():
    from importlib.resources import files

    licences = (files("convscope.samples") / "LICENCES.md").read_text()
    for sample in SAMPLES:
        assert f"`{sample.file}`" in licences
        assert len(sample.content()) < 40_000
