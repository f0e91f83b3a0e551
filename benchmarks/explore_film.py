"""Film the live page, as the README shows it: a patch that is dragged, a unit that is chosen.

    python benchmarks/explore_film.py [-o docs/pictures/explore-film.webp]

A browser opens the page of a real server; each frame waits for its answers. Needs playwright and
Chromium.
"""

import argparse
import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

SIZE, WIDE = {"width": 1280, "height": 800}, 960
"""Of the browser; and how wide the film is."""

CAT = Path("src/convscope/samples/cat.jpg")
LAYER, UNITS = "features.7", (212, 142)
PATH = ((30, 40), (55, 48), (80, 60), (100, 80), (112, 105), (118, 130), (122, 152), (124, 168))
"""Rows and columns of the patch's middle, in the image."""

LOSSY = {"quality": 60, "method": 4}


class Film:
    """Frames of a page, and how long each stands, in milliseconds."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.frames: list[Image.Image] = []
        self.durations: list[int] = []
        page.evaluate("""() => {
            const hand = document.createElement('div');
            hand.id = 'hand';
            hand.style.cssText = 'position:fixed;width:18px;height:18px;border-radius:9px;' +
                'border:3px solid #fff;background:#ff8c1acc;box-shadow:0 0 4px #000;' +
                'pointer-events:none;z-index:9;transform:translate(-50%,-50%);left:-40px';
            document.body.append(hand);
        }""")

    def take(self, milliseconds: int) -> None:
        """Take a frame once all questions are answered."""
        self.page.wait_for_load_state("networkidle")
        shot = Image.open(BytesIO(self.page.screenshot())).convert("RGB")
        self.frames.append(shot.resize((WIDE, round(WIDE * shot.height / shot.width))))
        self.durations.append(milliseconds)

    def point(self, x: float, y: float) -> None:
        """Move the mouse, and what shows where it is."""
        place = "([x, y]) => { hand.style.left = `${x}px`; hand.style.top = `${y}px`; }"
        self.page.evaluate(place, [x, y])
        self.page.mouse.move(x, y)

    def save(self, path: Path) -> None:
        """Write the film, which begins again."""
        first, *rest = self.frames
        first.save(
            path, save_all=True, append_images=rest, duration=self.durations, loop=0, **LOSSY
        )


def play(film: Film) -> None:
    """Drag the patch from the cat's ear over its eye, then choose two units."""
    page = film.page
    page.click(f'#strip [data-layer="{LAYER}"]')
    page.select_option("#sort", "relative")
    film.take(1200)
    box = page.locator("#image").bounding_box()
    assert box

    def at(row: float, column: float) -> tuple[float, float]:
        return box["x"] + column / 224 * box["width"], box["y"] + row / 224 * box["height"]

    film.point(*at(*PATH[0]))
    page.mouse.down()
    for row, column in PATH:
        film.point(*at(row, column))
        film.take(450)
    page.mouse.up()
    film.take(1200)
    for unit in UNITS:
        tile = page.locator(f'#grid [data-channel="{unit}"]')
        tile.scroll_into_view_if_needed()
        tile_box = tile.bounding_box()
        assert tile_box
        film.point(tile_box["x"] + tile_box["width"] / 2, tile_box["y"] + 30)
        film.take(500)
        tile.click()
        named = f"{LAYER}, channel {unit}"
        page.wait_for_function(
            "n => document.querySelector('#unit-name').textContent === n", arg=named
        )
        page.wait_for_timeout(1000)
        film.take(1900)


def main() -> None:
    """Serve the page, film it, write the film and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default="docs/pictures/explore-film.webp")
    options = parser.parse_args()
    command = [sys.executable, "-m", "convscope", "explore", "squeezenet1_1", str(CAT)]
    command += ["--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = re.match(r"\S+", server.stdout.readline())
        assert address
        with sync_playwright() as player:
            chromium = shutil.which("chromium")
            browser = player.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport=SIZE, color_scheme="light")
            page.set_default_timeout(120_000)
            page.goto(address[0])
            page.wait_for_load_state("networkidle")
            film = Film(page)
            play(film)
            browser.close()
        server.terminate()
    film.save(options.output)
    print(f"{options.output}: {len(film.frames)} frames, {options.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
