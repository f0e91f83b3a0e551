"""The atlas: its tables, its pictures, its commands, and its pages in a real browser."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from torch import nn
from typer.testing import CliRunner

import convscope as cs
from convscope.atlas import build
from convscope.atlas.atlas import Atlas
from convscope.atlas.build import write_atlas
from convscope.atlas.place import ARRAYS, STRONGEST, TALLY, UNITS
from convscope.atlas.similar import chance
from convscope.atlas.sprites import CELLS, cell, mosaic
from convscope.cli import app
from convscope.display import averaged, display_scale, to_display
from convscope.errors import ConvscopeError, DataError, UnitError
from convscope.figures.sheet import Sheet
from convscope.figures.sheet import number as number_text
from convscope.methods.scanning.sources import PictureFolder
from convscope.methods.scanning.tiles import fitted, hatched
from convscope.outputs import claim_folder
from convscope.wording import counted

TABLES = (UNITS, STRONGEST, ARRAYS, TALLY)
SIDE = 20
FACTORY = f"""
import torch
from torch import nn

input_size = (3, {SIDE}, {SIDE})

def network():
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Conv2d(3, 40, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(40, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ).eval()
    with torch.no_grad():
        module[3].bias[2] = -100.0
        module[5].bias[1] = -100.0
    return module
"""


def paint(folder: Path, count: int = 14) -> None:
    """Write smooth noise as pictures of two classes, one of them with a hostile name."""
    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        name = "</script><b>.png" if number == 3 else f"{number}.png"
        path = folder / ("cat" if number % 3 else "dog") / name.replace("/", "∕")
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a network's file, pictures, one of them broken, and their atlas."""
    folder = tmp_path_factory.mktemp("atlas")
    (folder / "net.py").write_text(FACTORY)
    paint(folder / "photos")
    (folder / "photos" / "cat" / "broken.png").write_bytes(b"nothing")
    run("scan", f"{folder}/net.py:network", folder / "photos", *SIZE, "-o", folder / "whole")
    return folder


SIZE = ("--size", f"3,{SIDE},{SIDE}")


def run(*arguments: object) -> str:
    found = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.stdout


def network(home: Path) -> cs.Network:
    return cs.load(f"{home}/net.py:network", size=f"3,{SIDE},{SIDE}")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_tables_hold_every_unit_and_entry(home):
    scan = cs.Scan.load(home / "whole" / TALLY)
    units = rows(home / "whole" / UNITS)
    assert len(units) == 40 + 6 + 4
    for row in units:
        layer, channel = scan.layers[row["layer"]], int(row["channel"])
        assert row["read_at"] == layer.read_at
        assert row["dead"] == ("true" if layer.dead[channel] else "false")
        assert float(row["mean"]) == pytest.approx(layer.mean[channel], rel=1e-8)
        assert (row["selectivity"] == "") == bool(np.isnan(layer.selectivity[channel]))
        assert row["top_class"] in ("", "cat", "dog")
    entries = rows(home / "whole" / STRONGEST)
    assert len(entries) == sum(int(row["entries"]) for row in units)
    first = entries[0]
    layer = scan.layers["0"]
    assert int(first["image"]) == layer.image[0, 0]
    top, left = (int(first[key]) for key in ("row", "column"))
    assert int(first["top"]) == max(top - 1, 0)
    assert int(first["right"]) == min(left + 2, SIDE)
    arrays = load_file(home / "whole" / ARRAYS)
    assert arrays["0/image"].tolist() == layer.image.tolist()
    assert arrays["3/histogram"].sum() == 6 * 14
    facts = json.loads((home / "whole" / "atlas.json").read_text())
    assert facts["images_counted"] == 14
    assert list(facts["bad"]) == ["cat/broken.png"]


def test_a_channel_below_zero_without_a_rectifier_is_not_dead(home):
    units = {(row["layer"], row["channel"]): row for row in rows(home / "whole" / UNITS)}
    for place, dead, entries in ((("3", "2"), "true", "0"), (("5", "1"), "false", "9")):
        row = units[place]
        assert (row["dead"], row["active_images"], row["entries"]) == (dead, "0", entries)
        assert row["top_class"] == ""
    assert float(units["5", "1"]["std"]) > 0
    facts = json.loads((home / "whole" / "atlas.json").read_text())
    assert [layer["dead"] for layer in facts["layers"]][1:] == [1, 0]
    for page, said in (("01-3", True), ("02-5", False)):
        text = (home / "whole" / "layers" / f"{page}.html").read_text("utf-8")
        assert ("1 channel was never active" in text) == said


def test_tiles_show_the_patch_and_the_projection(home):
    net = network(home)
    source = PictureFolder(home / "photos", net.preprocess)
    scan = cs.Scan.load(home / "whole" / TALLY)
    layer, atlas = scan.layers["3"], Atlas(home / "whole")
    channel = int(np.flatnonzero(~layer.dead)[0])
    unit = atlas.unit("3", channel)
    assert repr(unit).startswith(f"{scan.network}, 3, channel {channel}\n  ")
    assert f"{len(scan.layers)} layers, {scan.images} images of photos)" in repr(atlas)
    for rank in range(len(unit.titles)):
        image = source.load(int(layer.image[channel, rank]))[0]
        p = cs.project(net, image[None], "4", [channel])
        assert p.position[0, 0].tolist() == layer.position[channel, rank].tolist()
        assert unit.position[rank].tolist() == p.position[0, 0].tolist()
        top, left, bottom, right = p.window[0, 0].tolist()
        assert unit.window[rank].tolist() == [top, left, bottom, right]
        shown = to_display(values := p.pixels[0, 0][:, top:bottom, left:right],
                           scale := display_scale(values))  # fmt: skip
        assert float(unit.limit[rank]) == pytest.approx(scale.limit, rel=1e-3)
        # The field is 8 pixels, 64 in the tile; beyond the image it is hatched.
        tile = unit.projections[rank].numpy()
        assert tile.shape == (64, 64, 3)
        rows_out = 8 - (bottom - top) if top == 0 else 0
        columns_out = 8 - (right - left) if left == 0 else 0
        assert (tile[: rows_out * 8] == hatched(64, 64)[: rows_out * 8]).all()
        assert (tile[:, : columns_out * 8] == hatched(64, 64)[:, : columns_out * 8]).all()
        inside = tile[rows_out * 8 :, columns_out * 8 :][::8, ::8]
        found = inside[: bottom - top, : right - left].astype(int)
        assert np.abs(found - shown).max() <= 1
        patch = unit.patches[rank].numpy()[rows_out * 8 :, columns_out * 8 :][::8, ::8]
        pixels = (image[:, top:bottom, left:right] * 255).round().movedim(0, -1).numpy()
        assert np.abs(patch[: bottom - top, : right - left] - pixels).max() <= 1


def test_what_lies_beyond_the_image_is_hatched_at_any_size():
    generator = np.random.default_rng(0)
    # 24 rows and 16 columns of a large field lie beyond the image; then 1 of 3 rows of a small one.
    large = np.array(hatched(96, 96))
    large[24:, 16:] = inside = generator.integers(100, 160, (72, 80, 3))
    small = np.array(hatched(66, 66))
    small[22:] = pixels = generator.integers(0, 256, (2, 3, 3)).repeat(22, 0).repeat(22, 1)
    for signed in (False, True):
        shown = fitted(large, 0.4, 48, signed=signed)
        assert (shown[:12] == hatched(48, 48)[:12]).all()
        assert (shown[:, :8] == hatched(48, 48)[:, :8]).all()
        values = averaged(inside - np.float32(128), 36, 40)
        # As if there were nothing beyond, on a scale of the whole tile: hatching counts as zero.
        whole = np.moveaxis(np.pad(values, ((12, 0), (8, 0), (0, 0))), -1, 0)
        painted = to_display(whole, display_scale(whole))[12:, 8:] if signed else values + 128
        assert np.abs(shown[12:, 8:] - painted.astype(float)).max() <= 1
        enlarged = fitted(small, 22, 48, signed=signed)
        assert (enlarged[:16] == hatched(48, 48)[:16]).all()
        assert (enlarged[16:] == pixels[::22, ::22].repeat(16, 0).repeat(16, 1)).all()


def test_chance_is_what_independent_channels_reach():
    generator = np.random.default_rng(0)
    for dimensions, others in ((39, 63), (9, 5), (147, 40)):
        own = generator.normal(size=(4000, 1, dimensions))
        rest = generator.normal(size=(4000, others, dimensions))
        found = (own * rest).sum(-1) / np.linalg.norm(rest, axis=-1) / np.linalg.norm(own, axis=-1)
        assert (found.max(1) <= chance(dimensions, others)).mean() == pytest.approx(0.95, abs=0.01)
    # The correlation over N images is the cosine of what is left without the mean.
    images = generator.normal(size=(4000, 6, 12))
    images -= images.mean(-1, keepdims=True)
    images /= np.linalg.norm(images, axis=-1, keepdims=True)
    found = (images[:, :1] * images[:, 1:]).sum(-1).max(1)
    assert (found <= chance(11, 5)).mean() == pytest.approx(0.95, abs=0.01)


def test_sheets_hold_a_cell_a_channel(home):
    with Image.open(home / "whole" / "layers" / "00-0" / "sheet-1.jpg") as sheet:
        assert sheet.width == 4 * 2 * mosaic(48)  # fields of 3 pixels, each of them 16
        shown = np.asarray(sheet)
    unit = Atlas(home / "whole").unit("0", CELLS + 1)
    top, left = cell(CELLS + 1, 48)
    assert (top, left) == cell(1, 48) == (0, 2 * mosaic(48))
    tile = unit.patches[0].numpy()[::22, ::22].repeat(16, 0).repeat(16, 1).astype(int)
    assert np.abs(shown[top : top + 48, left : left + 48] - tile).mean() < 8


def test_the_first_page_says_how_far_the_drawing_is(home, tmp_path, monkeypatch):
    net = network(home)
    source = PictureFolder(home / "photos", net.preprocess)
    scan = cs.scan(net, source)
    said: list[str] = []
    monkeypatch.setattr(build, "TOLD_EVERY", -1)
    first = tmp_path / "atlas" / "index.html"
    write_atlas(
        scan, tmp_path / "atlas", memory="100KB",
        progress=lambda *_: said.append(first.read_text("utf-8")),
    )  # fmt: skip
    shares = [float(page.split('<progress max="1" value="')[1].split('"')[0]) for page in said]
    assert shares == sorted(shares)
    assert shares[0] < 0.2
    assert shares[-1] > 0.9
    assert all(" left. Layers" in page or "just begun. Layers" in page for page in said)
    linked = [page.count('href="layers/') for page in said]
    assert linked[0] == 0
    assert linked[-1] == 2  # of three layers, while the last is drawn
    assert 'http-equiv="refresh"' in said[0]
    done = first.read_text("utf-8")
    assert "<progress" not in done
    assert "http-equiv" not in done
    assert done.count('href="layers/') == 3


def assert_same_tables(one: Path, other: Path) -> None:
    """Compare what was counted in another order: to the byte but for what is a mean."""
    for table in (UNITS, STRONGEST):  # nine digits of each number
        assert (one / table).read_bytes() == (other / table).read_bytes()
    arrays, expected = load_file(one / ARRAYS), load_file(other / ARRAYS)
    assert list(arrays) == list(expected)
    for name, values in arrays.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-12, atol=1e-7)


def test_parts_merge_into_the_same_tables(home):
    for part in (1, 2, 3):
        run("scan", f"{home}/net.py:network", home / "photos", *SIZE, "--part", f"{part}/3",
            "-o", home / f"part{part}")  # fmt: skip
    run("scan", "--merge", home / "part2", home / "part3", home / "part1", "-o", home / "merged")
    assert_same_tables(home / "merged", home / "whole")
    one, other = ((home / name / "layers" / "01-3.js").read_text() for name in ("merged", "whole"))
    assert one.replace("merged", "whole") == other
    said = [Atlas(home / name).facts["scan_notes"] for name in ("merged", "whole")]
    assert said[0] == said[1]
    assert any(note.startswith("labels do not tell") or "in this order" in note for note in said[1])


def test_resumed_at_its_end_nothing_is_drawn_again(home, monkeypatch):
    before = {path: path.read_bytes() for path in (home / "whole").rglob("*") if path.is_file()}
    monkeypatch.setattr(build._Drawing, "_draw", lambda *_: pytest.fail("drawn again"))
    again = (
        "scan",
        f"{home}/net.py:network",
        home / "photos",
        *SIZE,
        "-o",
        home / "whole",
        "--resume",
    )
    found = json.loads(run(*again, "--json"))
    assert list(found["bad"]) == ["cat/broken.png"]
    assert {path: path.read_bytes() for path in before} == before
    assert re.search(r"^scanning took \d s, drawing \d s$", run(*again), re.MULTILINE)


@pytest.mark.slow
def test_processes_share_the_images_and_the_first_merges(home):
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m"),
        *("convscope", "scan", f"{home}/net.py:network", home / "photos", *SIZE),
        *("-o", home / "shared"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert_same_tables(home / "shared", home / "whole")
    assert not list((home / "shared").glob("rank-*"))


def test_unit_is_drawn_from_the_atlas(home, tmp_path):
    said = run("unit", home / "whole", "3", 0, "-o", tmp_path / "unit.png")
    with Image.open(tmp_path / "unit.png") as drawn:
        assert drawn.width > 600
    written, unit, *entries = said.splitlines()
    assert written == str(tmp_path / "unit.png")
    assert unit.endswith("3, channel 0")
    assert len(entries) == 9
    run("unit", home / "whole", "4", 2, "-o", tmp_path / "dead.png")
    assert (tmp_path / "dead.png").exists()


def test_a_units_figure_names_its_images_and_units(home, tmp_path, monkeypatch):
    sheets = []
    monkeypatch.setattr(Sheet, "save", lambda sheet, path: sheets.append(sheet) or path.touch())
    run("unit", home / "whole", "3", 0, "-o", tmp_path / "unit.png", "--caption", "full")
    texts = [text.get_text() for text in sheets[0].figure.texts]
    scan, images = cs.Scan.load(home / "whole" / TALLY), titles(home)
    layer = scan.layers["3"]
    feet = [text.split("\npeak ") for text in texts if "\npeak " in text]
    assert feet == [
        [images[number], number_text(peak)]
        for number, peak in zip(layer.image[0].tolist(), layer.peak[0].tolist(), strict=True)
    ]
    said = " ".join(" ".join(texts).split())
    assert "The 9 strongest of 14 images of photos." in said
    assert "given the switches" in said
    assert "given below each projection; at most" in said


def titles(home) -> list[str]:
    folder = home / "photos"
    files = sorted(
        (path.relative_to(folder) for path in folder.rglob("*.png")), key=lambda p: p.parts
    )
    return [path.as_posix() for path in files]


def test_mistakes_are_one_sentence(home, tmp_path):
    atlas = home / "whole"
    with pytest.raises(UnitError, match="no layer 'nine'"):
        run("unit", atlas, "nine", 0, "-o", tmp_path / "unit.png")
    with pytest.raises(UnitError, match="has channels 0 to 5, not 6"):
        run("unit", atlas, "3", 6, "-o", tmp_path / "unit.png")
    with pytest.raises(DataError, match="holds no atlas"):
        run("unit", tmp_path, "3", 0, "-o", tmp_path / "unit.png")
    with pytest.raises(ConvscopeError, match="holds a scan already: --resume"):
        run("scan", "vgg16", home / "photos", "-o", atlas)
    with pytest.raises(ConvscopeError, match="needs a MODEL and IMAGES"):
        run("scan", "vgg16")
    with pytest.raises(ConvscopeError, match="--part is K/N"):
        run("scan", "vgg16", home / "photos", "--part", "3/2", "-o", tmp_path / "a")
    with pytest.raises(DataError, match="overlap"):
        run("scan", "--merge", atlas, atlas, "-o", tmp_path / "b")


def test_a_mistake_leaves_no_folder_behind(home, tmp_path):
    net, pictures, atlas = f"{home}/net.py:network", tmp_path / "pictures", tmp_path / "atlas"
    file = tmp_path / "file.txt"
    file.write_text("text")
    pictures.mkdir()
    for images, more in (
        (pictures, ()),
        (tmp_path / "missing", ()),
        (file, ()),
        (home / "photos", ("--top", "0")),
        (home / "photos", ("--rule", "none")),
    ):
        with pytest.raises(ConvscopeError):
            run("scan", net, images, *SIZE, *more, "-o", atlas)
        assert not atlas.exists()
    (pictures / "bad.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no image can be scanned"):
        run("scan", net, pictures, *SIZE, "-o", atlas)
    assert not atlas.exists()
    (pictures / "good.png").write_bytes((home / "photos" / "dog" / "0.png").read_bytes())
    run("scan", net, pictures, *SIZE, "-o", atlas)
    assert cs.Scan.load(atlas / TALLY).images == 1


def test_an_atlas_is_not_written_among_other_files(home, tmp_path):
    net, photos = f"{home}/net.py:network", home / "photos"
    for output in (photos, photos / "cat" / "atlas"):
        with pytest.raises(ConvscopeError, match="its pictures would be among those of"):
            run("scan", net, photos, *SIZE, "-o", output)
    (tmp_path / "letter.txt").write_text("text")
    with pytest.raises(ConvscopeError, match="holds other files, and no atlas"):
        run("scan", net, photos, *SIZE, "-o", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    assert not (photos / "cat" / "atlas").exists()
    # An empty folder will do, and so will one where another process has begun.
    hidden, begun = tmp_path / "hidden", claim_folder(tmp_path / "begun", "atlas")
    for folder, name in ((hidden, ".settings"), (begun, "rank-1-of-2.safetensors")):
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
        run("scan", net, photos, *SIZE, "-o", folder)
        assert (folder / UNITS).read_bytes() == (home / "whole" / UNITS).read_bytes()


@pytest.fixture
def page(browser):
    """A page that holds every complaint, and every address asked for, against the test."""
    page = browser.new_page()
    complaints, asked = [], []
    page.on("console", lambda m: m.type in ("error", "warning") and complaints.append(m.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    page.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def channels_of(page) -> list[int]:
    return [int(link.get_attribute("data-channel")) for link in page.query_selector_all("#grid a")]


def test_grid_sorts_filters_and_finds(home, page):
    scan = cs.Scan.load(home / "whole" / TALLY)
    layer = scan.layers["3"]
    page.goto((home / "whole" / "layers" / "01-3.html").as_uri())
    assert channels_of(page) == list(range(6))
    page.select_option("#sort", "peak")
    assert channels_of(page) == np.argsort(-layer.peak[:, 0], kind="stable").tolist()
    page.select_option("#sort", "selectivity")
    selectivity = np.nan_to_num(layer.selectivity, nan=-1)
    assert channels_of(page) == np.argsort(-selectivity, kind="stable").tolist()
    page.select_option("#sort", "sparsity")
    assert channels_of(page)[-1] == 2
    page.select_option("#sort", "similarity")
    assert sorted(channels_of(page)) == list(range(6))
    assert channels_of(page)[0] == int(layer.peak[:, 0].argmax())
    page.check("#dead")
    assert 2 not in channels_of(page)
    assert page.inner_text("#count") == "5 of 6"
    page.fill("#find", "4")
    assert channels_of(page) == [4]
    page.fill("#find", "no such thing")
    assert channels_of(page) == []


def test_a_channel_below_zero_is_called_so(home, page):
    page.goto((home / "whole" / "layers" / "02-5.html").as_uri())
    assert "peak -99.9" in page.inner_text("#grid a[data-channel='1']")
    page.check("#dead")
    assert 1 in channels_of(page)
    page.click("#grid a[data-channel='1']")
    page.wait_for_selector("#unit-view h2")
    assert "above zero in none of the images" in page.inner_text("#unit-view")
    assert page.locator("#unit-view .entries > li").count() == 9


@pytest.fixture(scope="module")
def small_atlas(home):
    """An atlas of three pictures, fewer than a channel's nine."""
    paint(home / "three", 3)
    run("scan", f"{home}/net.py:network", home / "three", *SIZE, "-o", home / "small")
    return home / "small"


def test_pages_of_a_few_images_say_how_many(small_atlas, page):
    page.goto((small_atlas / "index.html").as_uri())
    assert "the 3 images from “three” that drive each channel most" in page.inner_text(".lead")
    assert page.query_selector(".thumb .sprite").bounding_box()["height"] == 48  # one row of three
    assert not page.query_selector_all(".thumb .empty")
    page.goto(f"{small_atlas.as_uri()}/layers/00-0.html#1")
    layer = cs.Scan.load(small_atlas / TALLY).layers["0"]
    text = page.inner_text("main")
    assert "a channel's strongest images, at most 3, cropped" in text.replace("\n", " ")
    peaks = page.query_selector(".panels svg")
    assert peaks.query_selector("text").text_content() == counted(layer.histogram[1].max(), "image")
    # Correlations over three images are cosines in a plane; kernels of 3 by 3 by 3 have 27 numbers.
    for title, limit in (("weights", chance(27, 39)), ("activation", chance(2, 39))):
        own = page.locator(".panels > div", has=page.get_by_text(f"Most alike by {title}"))
        assert f"By chance up to {limit:.2f}: of 39 independent channels" in own.inner_text()
        values = own.locator(".channel .quiet").all_inner_texts()
        within = [float(text.split()[-1]) <= round(limit, 2) for text in values]
        assert own.locator(".by-chance").count() == sum(within)


def test_fewer_than_nine_images_leave_no_empty_tiles(small_atlas, page):
    page.emulate_media(color_scheme="dark")
    page.goto((small_atlas / "layers" / "00-0.html").as_uri())
    for show, count in (("patches", 1), ("both", 2)):
        page.select_option("#show", show)
        page.wait_for_timeout(300)
        shown = page.query_selector_all("#grid a >> nth=0 >> .sprite")
        assert len(shown) == count
        for half in shown:
            box = half.bounding_box()  # a row of three, and no slab below
            assert (box["height"], box["width"]) == (48, mosaic(48))


def test_keys_lead_to_a_channel_and_back(home, page):
    page.goto((home / "whole" / "index.html").as_uri())
    page.click("a.layer >> nth=1")
    page.focus("#grid a")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector("#unit-view h2")
    assert page.inner_text("#unit-view h2") == "Channel 1"
    assert len(page.query_selector_all(".entry")) == 9
    for picture in page.query_selector_all(".entry img"):
        assert picture.get_attribute("alt")
        picture.scroll_into_view_if_needed()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('#unit-view h2').textContent == 'Channel 2'")
    assert "active in none" in page.inner_text("#unit-view")
    page.keyboard.press("Escape")
    page.wait_for_selector("#grid-view:not([hidden])")
    assert page.evaluate("document.activeElement.dataset.channel") == "2"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "find"


def test_pages_fit_a_phone_and_name_their_pictures(home, page):
    page.set_viewport_size({"width": 360, "height": 740})
    for place in ("index.html", "layers/00-0.html", "layers/00-0.html#3"):
        page.goto(f"{(home / 'whole').as_uri()}/{place}")
        page.wait_for_timeout(100)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        unnamed = "[...document.querySelectorAll('[role=img]')].filter(e => !e.ariaLabel).length"
        assert page.evaluate(unnamed) == 0


def test_another_memory_draws_the_same_atlas(tmp_path):
    """With little of it, layers are drawn one after the other, and images go up anew for each."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 40, 3), nn.ReLU(), nn.Conv2d(40, 6, 3), nn.ReLU())
    images = list(torch.rand(12, 3, 16, 16))
    net = cs.Network(module, images[0][None])
    scan = cs.scan(net, images)
    for name, memory in (("small", "2MB"), ("large", "1GB")):
        scan.save(tmp_path / name, memory=memory)
    one, other = (
        {path.relative_to(tmp_path / name): path for path in (tmp_path / name).rglob("*.*")}
        for name in ("small", "large")
    )
    assert one.keys() == other.keys()
    for path in one:
        if path.suffix in (".png", ".html", ".csv"):
            assert one[path].read_bytes() == other[path].read_bytes(), path
    data = [files[Path("layers/00-0.js")].read_text() for files in (one, other)]
    assert data[0].replace("/small", "/large") == data[1]


def vgg_sized(folder: Path, count: int) -> Path:
    """Write an atlas of VGG16's 4,224 channels, over smooth noise, by a net of 1x1 kernels."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    before = 3
    for width in (64, 64, 128, 128, 256, 256, 256, *[512] * 6):
        layers += [nn.Conv2d(before, width, 1), nn.ReLU()]
        nn.init.kaiming_normal_(layers[-2].weight, nonlinearity="relu")
        before = width
    net = cs.Network(nn.Sequential(*layers), torch.zeros(1, 3, 8, 8), name="VGG16-sized")
    images = list(torch.rand(count, 3, 8, 8))
    scan = cs.scan(net, images)
    return write_atlas(scan, folder)


@pytest.mark.slow
def test_first_page_of_4224_channels_opens_within_a_second(tmp_path, page, monkeypatch):
    def blank(drawing, progress):
        for number, layer in enumerate(drawing._scan.layers.values()):
            slug = build.place.layer_slug(number, layer.name)
            folder = tmp_path / "layers" / slug
            folder.mkdir()
            for sheet in range(-(-layer.shape[0] // CELLS)):
                Image.new("RGB", (8 * mosaic(48), 8 * mosaic(48))).save(
                    folder / f"sheet-{sheet}.jpg"
                )

        drawing._ready.update(drawing._scan.layers)
        drawing._first_page(None)

    monkeypatch.setattr(build._Drawing, "draw", blank)
    first = vgg_sized(tmp_path, 10)
    page.goto(first.as_uri())  # the browser's own start is not the page's
    page.goto(first.as_uri())
    timing = "performance.getEntriesByType('navigation')[0].loadEventEnd"
    page.wait_for_function(f"{timing} > 0")
    assert page.evaluate(timing) < 1000
    assert "4,224" in page.inner_text("main")


@pytest.mark.slow
def test_no_page_of_4224_channels_loads_10_megabytes(tmp_path, page):
    vgg_sized(tmp_path, 12)
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    page.goto((tmp_path / "layers" / "12-24.html").as_uri())
    sheets: set[str] = set()
    for step in range(600):  # pictures come as they are scrolled to, late on a busy machine
        page.evaluate("step => scrollTo(0, step * 500 % document.body.scrollHeight)", step)
        page.wait_for_timeout(50)
        sheets = {url for url in loaded if "/sheet-" in url}
        if len(sheets) == 512 // CELLS:
            break
    assert len(sheets) == 512 // CELLS
    files = {Path(url.removeprefix("file://")) for url in loaded}
    assert sum(file.stat().st_size for file in files) < 10e6
