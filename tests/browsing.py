"""A page as a reader meets it: in a real browser, at a size, in light or dark, and on paper."""

import shutil
from pathlib import Path

import numpy as np
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SCREENS = [(390, "dark"), pytest.param(1360, "light", marks=pytest.mark.slow)]
"""A page of a result is narrow in the quick suite, where most goes wrong."""
SIZES = [
    pytest.param((1280, "light"), id="wide"),
    pytest.param((390, "dark"), id="narrow", marks=pytest.mark.slow),
]
"""The explorer's page is wide in the quick suite, but for one test of it."""

SHOWN = """([selector, width, expected]) => {
    const canvas = document.querySelector(selector);
    const times = canvas ? canvas.width / width : 0;
    if (times < 1 || !Number.isInteger(times)) return false;
    const drawn = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    return expected.every((value, place) => {
        const pixel = Math.floor(place / 3), row = Math.floor(pixel / width);
        const at = row * times * canvas.width + (pixel % width) * times;
        return drawn[4 * at + (place % 3)] === value;
    });
}"""


def show(page, canvas: str, expected: np.ndarray) -> None:
    """Wait until a canvas shows a picture, each of its pixels enlarged alike."""
    page.wait_for_function(SHOWN, arg=[canvas, expected.shape[1], expected.ravel().tolist()])


def watched(tab) -> tuple[list[str], list[str]]:
    """Return lists that fill with what a tab complains of, and with what it asks for."""
    complaints, requests = [], []
    tab.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    return complaints, requests


def check_in_browser(browser, path: Path, width: int, colours: str, pictures: int) -> None:
    """Open a page and look for what is broken, fetched, too wide, or leads nowhere."""
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=colours)
    complaints, requests = watched(tab)
    tab.goto(path.as_uri())
    broken = "() => [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert tab.evaluate(broken) == 0
    assert tab.locator("img").count() >= pictures
    # Wide pictures and tables are moved sideways inside the page, never the page itself.
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= width
    dangling = (
        "() => [...document.querySelectorAll('nav a')].filter("
        "a => !document.querySelector(a.getAttribute('href'))).length"
    )
    assert tab.evaluate(dangling) == 0
    tab.emulate_media(media="print", color_scheme=colours)
    paper = "() => getComputedStyle(document.body).backgroundColor"
    assert tab.evaluate(paper) == "rgb(255, 255, 255)"
    pdf = tab.pdf(format="A4", prefer_css_page_size=True)
    tab.close()
    assert not complaints
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert pdf.startswith(b"%PDF")
