"""What a visitor does on the live page: paints, splits it, turns on a camera, uses keys alone."""

from __future__ import annotations

import threading
from queue import Queue

import numpy as np
import pytest
import torch
from PIL import Image

import convscope as cs
from browsing import SIZES, show, watched
from convscope.display import Display, to_display
from convscope.reading import decode_image
from convscope.samples import SAMPLES

LAYER = "features.relu4"
PICTURES = [decode_image(one.content(), one.file) for one in SAMPLES[:2]]


@pytest.fixture(scope="module")
def net() -> cs.Network:
    return cs.load("base")


@pytest.fixture(scope="module")
def other() -> cs.Network:
    return cs.load("base", weights="random")


@pytest.fixture(scope="module")
def address(net, other) -> str:
    """Return where a page of two networks is served, by a thread that ends with the tests."""
    ready: Queue[str] = Queue()
    given = {"against": [other], "titles": ["a cat", "a horse"], "port": 0, "browser": False}
    serve = lambda: cs.explore(net, PICTURES, ready=ready.put, **given)  # noqa: E731
    threading.Thread(target=serve, daemon=True).start()
    return ready.get(timeout=60)


@pytest.fixture(params=SIZES)
def page(request, browser, address):
    width, colours = request.param
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=colours)
    tab = context.new_page()
    complaints, requests = watched(tab)
    tab.goto(f"{address}#layer={LAYER}&channel=7")
    tab.wait_for_selector("body[data-ready]")
    yield tab
    assert complaints == []
    assert [url for url in requests if not url.startswith(address.partition("?")[0])] == []
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= width
    context.close()


def until(page, probability: torch.Tensor, net, box: str = "#classes") -> None:
    """Wait until the bars say how probable the five best classes are, to three digits."""
    best = probability.topk(5).indices.tolist()
    words = {net.classes[number]: f"{probability[number]:.3f}" for number in best}
    page.wait_for_function(
        """([box, words]) => Object.entries(words).every(([name, value]) =>
            [...document.querySelectorAll(`${box} > div`)].some(line =>
                line.querySelector('.name').textContent === name &&
                line.querySelector('.value').textContent === value))""",
        arg=[box, words],
    )


def pixels(page, canvas: str) -> np.ndarray:
    height, width, values = page.evaluate(
        """canvas => {
            const {height, width} = document.querySelector(canvas);
            const context = document.querySelector(canvas).getContext('2d');
            return [height, width, [...context.getImageData(0, 0, width, height).data]];
        }""",
        canvas,
    )
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def inputs(net, shown: np.ndarray) -> torch.Tensor:
    """Return the pixels of a page's image as the network takes them."""
    return net.preprocess(Image.fromarray(shown))


def disc(row: int, column: int, size: int) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    return (rows - row) ** 2 + (columns - column) ** 2 < (size / 2) ** 2


def test_a_dab_of_the_brush_is_an_occlusion_of_its_shape(page, net):
    clean = cs.look(net, PICTURES[0]).read().probability
    page.click("[data-tool=brush]")
    page.wait_for_function("() => location.hash.includes('tool=brush')")
    page.focus("#image")
    for key in ("ArrowUp", "ArrowLeft", "Space"):
        page.keyboard.press(key)
    page.wait_for_function("() => location.hash.includes('image=')")
    hidden = cs.occlude(net, PICTURES[0], masks=disc(15, 15, 5)[None], target=list(range(10)))
    expected = hidden.probability.flatten()
    until(page, expected, net)
    page.wait_for_function("() => !document.querySelector('#status').textContent")
    page.keyboard.press("Control+z")
    until(page, clean, net)
    page.go_back()
    until(page, expected, net)
    page.click("[data-tool=eraser]")
    page.fill("#patch", "31")
    page.focus("#image")
    for key in ("ArrowUp", "ArrowDown", "Space"):
        page.keyboard.press(key)
    until(page, clean, net)
    page.click("#undo-stroke")
    until(page, expected, net)


def test_the_mouse_paints_a_line(page):
    before = pixels(page, "#image")
    page.click("[data-tool=brush]")
    page.select_option("#fill", "black")
    page.wait_for_function("() => location.hash.includes('fill=black')")
    page.wait_for_function("() => !document.querySelector('#status').textContent")
    box = page.locator("#image").bounding_box()
    middle = box["y"] + 16.5 * box["height"] / 32
    page.mouse.move(box["x"] + 4.5 * box["width"] / 32, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 20.5 * box["width"] / 32, middle)
    page.mouse.up()
    page.wait_for_selector("#undo-stroke:not([disabled])")
    line = torch.stack([disc(16, column, 5) for column in range(4, 21)]).any(0).numpy()
    after = pixels(page, "#image")
    assert (after[line] == 0).all()
    assert (after[~line] == before[~line]).all()


def test_two_images_stand_side_by_side_with_one_patch_and_one_unit(page, net):
    page.select_option("#choose", "0")
    page.evaluate("location.hash += '&other=1'")
    page.reload()
    page.wait_for_selector("#image-2")
    looks = [cs.look(net, picture) for picture in PICTURES]
    for kept, end in zip(looks, ("", "-2"), strict=True):
        until(page, kept.read().probability, net, f"#classes{end}")
        found = kept.project(LAYER, 7)
        shown = found.shown(0, 0, Display())
        expected = to_display(shown, Display().scale_of(shown))
        show(page, f"#rules{end} [data-rule=deconvnet] canvas", expected)
    page.focus("#image-2")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => location.hash.includes('top=')")
    for kept, end in zip(looks, ("", "-2"), strict=True):
        best = kept.read().probability.topk(5).indices
        said = kept.occlude(14, 14, 5).probability
        alone = torch.zeros_like(said).scatter(0, best, said[best])
        until(page, alone, net, f"#classes{end}")
    page.click("#split")
    page.wait_for_function("() => !document.querySelector('#image-2')")


def test_two_networks_stand_side_by_side(page, net, other):
    page.click("#split")
    page.wait_for_selector("#image-2")
    until(page, cs.look(net, PICTURES[0]).read().probability, net)
    until(page, cs.look(other, PICTURES[0]).read().probability, other, "#classes-2")
    assert page.input_value("#choose-2") == "1"
    page.get_by_role("button", name="a horse").nth(0).click()
    until(page, cs.look(other, PICTURES[1]).read().probability, other, "#classes-2")
    page.go_back()
    until(page, cs.look(other, PICTURES[0]).read().probability, other, "#classes-2")


def test_what_an_address_asks_for_in_vain_is_left_out(page, net):
    page.evaluate(f"location.hash = '#image=9&layer={LAYER}&channel=999'")
    page.get_by_text("what is not here: image 9, channel 999").wait_for()
    until(page, cs.look(net, PICTURES[0]).read().probability, net)
    assert page.url.endswith(f"#layer={LAYER}")
    page.get_by_role("button", name="a horse").press("Enter")
    until(page, cs.look(net, PICTURES[1]).read().probability, net)
    assert page.locator("#error").is_hidden()
    assert page.evaluate("document.activeElement.textContent") == "a horse"


def test_a_heat_map_ends_with_the_image_that_it_is_of(page, net):
    page.get_by_role("button", name="a horse").click()
    until(page, cs.look(net, PICTURES[1]).read().probability, net)
    page.focus("#image")
    page.keyboard.press("ArrowRight")
    heat = "document.querySelector('#heat').getContext('2d')"
    covered = f"() => {heat}.getImageData(14, 14, 5, 5).data.some(v => v)"
    page.wait_for_function(covered)
    kept = cs.look(net, PICTURES[1])
    before, after = kept.read().probability, kept.occlude(14, 14, 5).probability
    lost = abs(before.max() - after[before.argmax()]).item()
    assert f"full red takes {lost:.3g} of the answer away" in page.text_content("#scale")
    assert "patch at row 14, column 14; most probable: " in page.text_content("#said")
    page.keyboard.press("Escape")
    page.go_back()
    until(page, cs.look(net, PICTURES[0]).read().probability, net)
    assert not page.evaluate(covered)


def test_a_camera_is_watched_live(page, net):
    page.click("#camera")
    status = "() => document.querySelector('#status').textContent.includes('images a second')"
    page.wait_for_function(status)
    first = pixels(page, "#image")
    for _ in range(100):
        if (pixels(page, "#image") != first).any():
            break
        page.wait_for_timeout(50)
    else:
        pytest.fail("the camera's image does not move")
    page.click("#camera")
    page.wait_for_selector("#camera[aria-pressed=false]")
    page.wait_for_function("() => !document.querySelector('#status').textContent")
    frozen = cs.look(net, inputs(net, pixels(page, "#image")))
    until(page, frozen.read().probability, net)
    assert page.text_content("#unit-name") == f"{LAYER}, channel 7"
    assert "camera" in page.locator("#pictures button").all_text_contents()


@pytest.mark.parametrize(
    ("name", "words"),
    [("NotFoundError", "there is no camera"), ("NotAllowedError", "did not allow the camera")],
)
def test_without_a_camera_one_sentence_says_so(browser, address, name, words):
    tab = browser.new_page()
    tab.add_init_script(
        f"navigator.mediaDevices.getUserMedia = () => "
        f"Promise.reject(new DOMException('no', '{name}'))"
    )
    tab.goto(address)
    tab.wait_for_selector("body[data-ready]")
    tab.click("#camera")
    tab.wait_for_selector("#error:not([hidden])")
    assert words in tab.text_content("#error")
    assert tab.get_attribute("#camera", "aria-pressed") == "false"
    tab.close()


def test_everything_is_reached_by_keys_and_has_a_name(page):
    parts = "button, select, input:not([type=file]), canvas[tabindex]"
    unnamed = """parts => [...document.querySelectorAll(parts)].filter(part =>
        part.offsetParent && !part.disabled &&
        !(part.ariaLabel || part.labels?.[0]?.textContent.trim() || part.textContent.trim()))
        .map(part => part.outerHTML)"""
    assert page.evaluate(unnamed, parts) == []
    reached = set()
    page.evaluate("document.activeElement?.blur()")
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.id || document.activeElement.textContent")
        )
    wanted = {"image", "patch", "fill", "watch", "complete", "clear", "camera", "split", "sort"}
    wanted |= {"find", "map", "factor", "only", "undo", "Patch", "Brush", "Eraser", "a horse"}
    assert wanted <= reached
