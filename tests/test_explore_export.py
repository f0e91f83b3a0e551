"""The live page as files: they open from a disk, and show what the library finds."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import convscope as cs
from browsing import SIZES, show, watched
from convscope.cli import app
from convscope.display import Display, to_display
from convscope.samples import SAMPLES

LAYERS = ["features.relu2", "features.relu4"]
PATCH, STRIDE = 8, 6


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "<b>cat.jpg"
    path.write_bytes(SAMPLES[0].content())
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory, picture) -> Path:
    folder = tmp_path_factory.mktemp("export") / "page"
    command = ["explore", "base", str(picture), "--export", str(folder)]
    layers = [part for layer in LAYERS for part in ("--layer", layer)]
    given = ["--top", "5", "--patch", str(PATCH), "--stride", str(STRIDE)]
    done = CliRunner().invoke(app, [*command, *layers, *given], catch_exceptions=False)
    assert done.stdout.strip() == str(folder / "index.html")
    return folder / "index.html"


@pytest.fixture(scope="module")
def net() -> cs.Network:
    return cs.load("base")


@pytest.fixture(params=SIZES)
def page(request, browser, exported):
    width, colours = request.param
    tab = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=colours)
    complaints, requests = watched(tab)
    tab.goto(exported.as_uri())
    tab.wait_for_selector("body[data-ready]")
    yield tab
    assert tab.text_content("#error") == ""
    assert complaints == []
    folder = exported.parent.as_uri()
    assert [url for url in requests if not url.startswith((folder, "blob:"))] == []
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= width
    tab.close()


SAYS = "([what, words]) => document.querySelector(what).textContent.startsWith(words)"
FIRST = "words => document.querySelector('#classes .value').textContent === words"


def choose(page, layer: str) -> list[int]:
    """Choose a layer and return the channels of it that can be chosen."""
    page.click(f'#strip [data-layer="{layer}"]')
    page.wait_for_function(SAYS, arg=["#layer-name", layer])
    enabled = page.locator("#grid button:enabled")
    return [int(own) for own in enabled.evaluate_all("all => all.map(b => b.dataset.channel)")]


def test_files_show_what_project_returns(page, net, picture):
    display = Display()
    for layer in LAYERS:
        best = cs.project(net, picture, layer, top=5, rank="relative").channels[0].tolist()
        channels = choose(page, layer)
        assert channels == sorted(best)
        for channel in channels:
            page.click(f'#grid [data-channel="{channel}"]')
            page.wait_for_function(SAYS, arg=["#unit-name", f"{layer}, channel {channel}"])
            conv = layer.replace("relu", "conv")
            page.wait_for_function(SAYS, arg=["#kernel figcaption", f"kernel of {conv}, 3×3"])
            for rule in ("deconvnet", "guided", "gradient"):
                found = cs.project(net, picture, layer, [channel], rule=rule).shown(0, 0, display)
                expected = to_display(found, display.scale_of(found))
                show(page, f'[data-rule="{rule}"] canvas', expected)


def test_files_show_what_occlude_returns(page, net, picture):
    kept = cs.look(net, picture)
    best = kept.read().probability.topk(5).indices.tolist()
    box = page.locator("#image").bounding_box()
    corners = [(row, column) for row in (0, 12, 24) for column in (0, 6, 12, 18)]
    for row, column in corners:
        middle = [(own + PATCH / 2 + 1) / 32 for own in (column, row)]  # a pixel off the place
        page.mouse.click(box["x"] + middle[0] * box["width"], box["y"] + middle[1] * box["height"])
        page.wait_for_function("p => location.hash.includes(p)", arg=f"top={row}&left={column}")
        expected = kept.occlude(row, column, PATCH).probability
        words = {net.classes[n]: f"{expected[n].item():.3f}" for n in best}
        page.wait_for_function(
            """words => [...document.querySelectorAll('#classes > div')].every(line =>
                words[line.querySelector('.name').textContent] ===
                line.querySelector('.value').textContent)""",
            arg=words,
        )
        assert page.locator("#said").inner_text().startswith("tick: without the patch; ")
    assert page.locator("#classes b:visible").count() == 5
    page.click("#clear")
    page.wait_for_function("() => !location.hash.includes('top')")
    page.wait_for_selector("#classes b", state="hidden")


def test_it_opens_on_the_strongest_channel_and_what_was_computed_comes_first(page, net, picture):
    for layer in LAYERS:
        best = cs.project(net, picture, layer, top=5, rank="relative").channels[0].tolist()
        choose(page, layer)
        page.wait_for_function(SAYS, arg=["#unit-name", f"{layer}, channel {best[0]}"])
        order = page.locator("#grid button").evaluate_all("all => all.map(b => b.dataset.channel)")
        rest = (n for n in range(net.layers[layer].shape[0]) if n not in best)
        assert [*map(int, order)] == [*sorted(best), *rest]
    page.goto(page.url.split("#")[0])
    page.reload()
    page.wait_for_selector("#unit-name:has-text('channel')")


def test_what_was_not_computed_is_pale_and_says_so(page):
    # The maps themselves are not: black is zero in all of them.
    last = page.locator("#grid button:disabled").last
    shown = last.evaluate(
        "b => [b, b.children[0], b.children[1]].map(p => getComputedStyle(p).opacity)"
    )
    assert shown == ["1", "1", "0.5"]
    assert "not computed ahead" in page.locator("#ahead").inner_text()
    assert page.locator("#patch").is_disabled()
    assert page.locator("#fill").is_disabled()
    assert page.get_by_role("button", name="Add a picture").is_disabled()
    names = page.locator("#strip button:enabled").evaluate_all(
        "all => all.map(b => b.dataset.layer)"
    )
    assert names == LAYERS
    assert page.locator("#grid button:disabled").count() > 0
    assert page.locator("#pictures button").first.inner_text() == "<b>cat.jpg"


def test_a_channel_is_switched_off_in_files_and_kept_alone(page, net, picture):
    channel = choose(page, LAYERS[1])[0]
    page.click(f'#grid [data-channel="{channel}"]')
    page.wait_for_function(SAYS, arg=["#unit-name", f"{LAYERS[1]}, channel {channel}"])
    kept = cs.look(net, picture)
    clean = kept.read().probability
    page.fill("#factor", "0")
    off = kept.with_units(LAYERS[1], off=[channel]).probability
    page.wait_for_function(FIRST, arg=f"{off[clean.argmax()].item():.3f}")
    page.click("#undo")
    page.wait_for_function(FIRST, arg=f"{clean.max().item():.3f}")
    page.click("#only")
    alone = kept.with_units(LAYERS[1], only=[channel]).probability
    page.wait_for_function(FIRST, arg=f"{alone[clean.argmax()].item():.3f}")


def test_a_folder_of_other_files_is_left_alone(exported, net, picture, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(exported.parent / "assets", mine)
    with pytest.raises(cs.OutputError, match="holds other files"):
        cs.explore(net, picture, export=mine)
