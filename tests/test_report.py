"""The report: what it says, that it goes on where it was, and its page in a real browser."""

import html
import io
import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import convscope as cs
from browsing import SCREENS, check_in_browser
from convscope.errors import DataError, OutputError, UnitError
from convscope.figures import pieces
from convscope.figures.pieces import key, sheet_of, space, stack
from convscope.figures.sheet import Sheet
from convscope.figures.style import FOOT_POINTS, MARGIN, Style
from convscope.images import Preprocess
from convscope.methods.scanning.sources import SomeImages, images_of
from convscope.pages import report as reporting
from convscope.pages import report_sections as sections
from convscope.pages.document import Document
from convscope.pages.layer_tables import HEAD, MEASURED, layers_table
from convscope.pages.report_result import document
from convscope.pages.report_sections import _where
from convscope.pages.section import Notice, Picture, Section, Shelf, Table
from convscope.results import Result
from products import some

NAMES = [task.name for task in reporting.TASKS]


def network(seed: int = 0) -> cs.Network:
    torch.manual_seed(seed)
    module = nn.Sequential(
        *(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1)),
        *(nn.Flatten(), nn.Linear(8, 3)),
    ).eval()
    with torch.no_grad():
        module[0].weight[2] = 0  # a dead filter, for something to be found
        module[0].bias[2] = -1
    return cs.Network(
        module,
        torch.zeros(1, 3, 24, 24),
        name="small",
        preprocess=Preprocess.identity(3, (24, 24)),
        classes=("red", "green", "blue"),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(60):
        pixels = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((24, 24), Image.Resampling.BICUBIC).save(
            found / f"{number:02}.png"
        )
    return found


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    return cs.report(network(), folder, [3], folder=tmp_path_factory.mktemp("report") / "out")


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "out"
    made.save(out)
    assert sorted(path.name for path in out.iterdir()) == [
        ".convscope",
        "index.html",
        "numbers.json",
    ]
    return out / "index.html"


def test_it_holds_every_section(made, page):
    assert [section.name for section in made.sections] == NAMES
    assert not made.missing
    assert made.partial == ""
    text = page.read_text("utf-8")
    assert re.findall(r'<section id="(.*?)">', text) == ["findings", *NAMES]
    assert page.stat().st_size < 10_000_000


def test_it_shows_what_feeds_the_strongest_channel_of_the_deepest_block(made, page, folder):
    net, picture = network(), folder / "03.png"
    best = cs.project(net, picture, top=3)
    layer = best.layers[-1]
    channel = int(best.channels[0, best.layers.index(layer)])
    tree = cs.trace_unit(net, picture, layer, channel, top=3)
    text = page.read_text("utf-8")
    assert html.escape(tree.summary()) in text
    title = f"What feeds {layer} channel {channel}, on 03.png"
    assert text.count(f"<figcaption>{title}</figcaption>") == 2  # for wide screens and for phones
    # How to read a picture stands below it, not below the next one.
    for section in ("projections", "occlusion"):
        own = text.split(f'<section id="{section}">')[1].split("</section>")[0]
        first, *_, last = (figure for figure in own.split("<figure")[1:] if "wide" in figure[:20])
        reading = {"projections": "Above: the patch", "occlusion": "A grey patch is itself"}[
            section
        ]
        assert reading in first
        assert reading not in last


def test_it_shows_sums_up_and_saves_itself(made, page, tmp_path, monkeypatch):
    assert len(repr(made)) < 1000
    assert repr(made).startswith("small over 60 images of ")
    assert "0: dead units" in repr(made)
    frame = made._repr_html_()
    assert frame.startswith("<iframe title=")
    assert html.unescape(frame).count(page.read_text("utf-8").split("<footer>")[0]) == 1
    titles = [row["finding"] for row in made.table()]
    assert "0: dead units" in titles
    made.save(tmp_path / "it.csv")
    assert (tmp_path / "it.csv").read_text().startswith("finding,text,severity\n")
    made.save(tmp_path / "it.safetensors")
    loaded = cs.Report.load(tmp_path / "it.safetensors")
    assert loaded.to_json() == made.to_json()
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again" / "index.html").read_text("utf-8") == page.read_text("utf-8")
    with pytest.raises(OutputError, match=r"ending must be one of .json, .csv, .npz, .safetensors"):
        made.save(tmp_path / "it.png")
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    made.show()
    assert opened[0].endswith("/page/index.html")


def test_what_was_fed_is_said_on_the_page_and_in_the_numbers(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(reporting, "TASKS", [])
    net = cs.Network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.zeros(1, 3, 24, 24))
    found = cs.report(net, folder, [0])
    note = "pixels 0 to 1, not normalised: no mean and std were given"
    assert note in found.notes
    assert note in found.to_dict()["notes"]
    found.save(tmp_path / "out")
    assert note in (tmp_path / "out" / "index.html").read_text("utf-8")
    # The page says it at its head, and each picture itself; the captions do not repeat it.
    about = Picture("a.webp", "", 1, 1, caption=f"{note}; random weights. What it shows.")
    assert document(found).notes == (note,)
    assert document(found).caption(about) == "random weights. What it shows."
    page = replace(document(found), notes=(f"mine.py:net: {note}",))
    assert page.caption(about) == "random weights. What it shows."


def test_its_findings_are_those_of_the_methods(made, page, folder):
    found = cs.diagnose(network(), folder)
    named = [f"{f.layer}: {f.kind}" for f in found.findings]
    assert "0: dead units" in named
    text = page.read_text("utf-8")
    # A stride of 2 under a kernel of 3: two methods find it, and the page says it once.
    assert "0: checkerboard" in named
    assert sorted(re.findall("<h3>(.*?)</h3>", text)) == sorted(named)
    assert [line.partition(": ")[0] for line in made.to_dict()["findings"]] == ["0"] * len(named)
    numbers = json.loads(page.with_name("numbers.json").read_text("utf-8"))
    assert numbers == json.loads(made.to_json())
    assert numbers["sections"]["diagnosis"]["layers"][0]["dead"] == [2]
    assert numbers["parameters"] == sum(p.numel() for p in network().module.parameters())
    layers = next(s for s in made.sections if s.name == "layers").tables[0]
    assert layers.rows[0][-5] == "1 (2)"
    assert layers.rows[-1][5] == f"{numbers['parameters']:,}"
    occlusion = numbers["sections"]["occlusion"]["occlusions"][0]
    image = network().preprocess(folder / "03.png")
    chance = network()(image).softmax(1)[0].max().item()
    assert occlusion["clean"]["probability"] == pytest.approx(chance, rel=1e-4)
    shares = numbers["sections"]["occlusion"]["attributions"]
    best = network()(image).max().item()
    assert shares["activation"][0][0] == pytest.approx(best, rel=1e-4)
    assert "share in the answer's score, under epsilon-plus" in html.unescape(text)


def test_a_second_time_only_the_page_is_made(folder, tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("made again")

    kept = [task for task in reporting.TASKS if task.name in ("diagnosis", "layers", "projections")]
    monkeypatch.setattr(reporting, "TASKS", kept)
    made = cs.report(network(), folder, [3], folder=tmp_path / "out")
    tasks = [replace(task, make=never) if task.share else task for task in kept]
    monkeypatch.setattr(reporting, "TASKS", tasks)
    again = cs.report(network(), folder, [3], folder=tmp_path / "out")
    for found, name in ((made, "first"), (again, "second")):
        found.save(tmp_path / name)
    pages = [(tmp_path / name / "index.html").read_text("utf-8") for name in ("first", "second")]
    assert pages[0] == pages[1]


def test_the_place_that_is_told_is_that_of_the_lowest_probability_measured():
    net = network()
    found = cs.occlude(net, torch.rand(1, 3, 24, 24), 12, 12)
    planted = replace(
        found,
        logit=torch.tensor([[-9.0, 1.0], [2.0, 2.0]]),
        probability=torch.tensor([[0.4, 0.3], [0.9, 0.1]]),
        computed=torch.tensor([[True, True], [True, False]]),  # the last one is an estimate
        clean={**found.clean, "probability": 0.8},
        targets=1,
        classes={"1": "green"},
    )
    assert _where(planted, "cat") == (
        "cat: hiding rows 0 to 11 and columns 12 to 23 takes P(green) from 0.800 to 0.300."
    )


def fast(name: str, calls: list[str], error: type[BaseException] | None = None):
    def make(subject, seconds, progress):
        calls.append(name)
        if error:
            raise error("because")
        progress(1, 2)
        return Section(name, name.capitalize(), sentences=(f"{name} was made",))

    return make


def test_ctrl_c_keeps_what_is_done_and_the_same_call_goes_on(folder, tmp_path, monkeypatch):
    calls: list[str] = []
    plain = [
        reporting.Task(name, name.capitalize(), fast(name, calls), 1) for name in ("a", "b", "c")
    ]
    broken = [plain[0], replace(plain[1], make=fast("b", calls, KeyboardInterrupt)), plain[2]]
    monkeypatch.setattr(reporting, "TASKS", broken)
    with pytest.raises(cs.Interrupted) as stopped:
        cs.report(network(), folder, [0], folder=tmp_path)
    found = stopped.value.result
    assert found.partial == "interrupted"
    assert calls == ["a", "b"]
    assert [s.name for s in found.sections] == ["a"]
    assert len(found.missing) == 2
    assert found.missing[1] == "C: interrupted; the same call goes on from here"
    found.save(tmp_path)
    assert "a was made" in (tmp_path / "index.html").read_text("utf-8")
    monkeypatch.setattr(reporting, "TASKS", plain)
    found = cs.report(network(), folder, [0], folder=tmp_path)
    assert calls == ["a", "b", "b", "c"]
    assert [s.name for s in found.sections] == ["a", "b", "c"]
    assert not found.missing
    page = (tmp_path / "index.html").read_text("utf-8")
    for given in ((network(1), folder, [0]), (network(), folder, [1])):  # other weights, pictures
        with pytest.raises(OutputError, match="a report of another network or of other pictures"):
            cs.report(*given, folder=tmp_path)
        with pytest.raises(OutputError, match="a report of another network or of other pictures"):
            cs.report(*given).save(tmp_path)
    assert (tmp_path / "index.html").read_text("utf-8") == page


def test_an_image_that_cannot_be_read_is_named_and_not_counted(folder, tmp_path, monkeypatch):
    tasks = [task for task in reporting.TASKS if task.name == "diagnosis"]
    monkeypatch.setattr(reporting, "TASKS", tasks)
    own = tmp_path / "own"
    own.mkdir()
    for name in ("1.png", "2.png"):
        (own / name).write_bytes((folder / f"0{name}").read_bytes())
    (own / "3.png").write_bytes(b"no picture")
    found = cs.report(network(), own)
    ((title, why),) = found.bad.items()
    assert title == "3.png"
    assert found.summary().startswith("small over 2 images of own")
    assert found.summary().endswith(f"1 image left out:\n  3.png: {why}")
    assert found.to_dict()["bad"] == {title: why}
    found.save(tmp_path / "out")
    assert "3.png: " in (tmp_path / "out" / "index.html").read_text("utf-8")


def test_no_target_is_advised_where_none_can_be_given(folder, monkeypatch):
    tasks = [task for task in reporting.TASKS if task.name == "sanity"]
    monkeypatch.setattr(reporting, "TASKS", tasks)
    maps = cs.Network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.zeros(1, 3, 24, 24))
    (missing,) = cs.report(maps, folder, [0]).missing
    assert missing.endswith("gives [4, 22, 22], not one number a class")


def test_a_report_is_not_written_among_other_files_or_the_pictures_it_reads(folder, tmp_path):
    (tmp_path / "letter.txt").touch()
    for out, why in ((tmp_path, "holds other files, and no report"), (folder / "a", "be among")):
        with pytest.raises(OutputError, match=why):
            cs.report(network(), folder, folder=out)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    assert not (folder / "a").exists()


def test_what_means_nothing_here_is_said_and_the_rest_is_made(folder, tmp_path, monkeypatch):
    calls: list[str] = []
    tasks = [
        reporting.Task("a", "Pictures", fast("a", calls, UnitError), 1),
        reporting.Task("b", "Numbers", fast("b", calls), 1),
    ]
    monkeypatch.setattr(reporting, "TASKS", tasks)
    found = cs.report(network(), folder, [0], folder=tmp_path)
    assert found.missing == ("Pictures: because",)
    assert [s.name for s in found.sections] == ["b"]


def test_a_grid_is_said_where_no_diagnosis_said_it(folder, tmp_path, monkeypatch):
    tasks = [task for task in reporting.TASKS if task.name == "checkerboard"]
    monkeypatch.setattr(reporting, "TASKS", tasks)
    found = cs.report(network(), folder, [0], folder=tmp_path)
    assert [f.title for f in found.sections[0].findings] == ["0: checkerboard"]


def test_a_diagnosis_cut_short_names_its_share_of_the_budget(folder, tmp_path, monkeypatch):
    plain = sections.diagnose
    late = lambda *given, **options: plain(*given, **{**options, "budget": 1e-9})  # noqa: E731
    monkeypatch.setattr(sections, "diagnose", late)
    subject = sections.Subject(
        network(), SomeImages(images_of(folder, network()), 5), torch.zeros(1, 3, 24, 24), ("it",),
        Shelf(tmp_path, {}), "1GB",
    )  # fmt: skip
    section = sections.diagnosis(subject, 10.0, lambda *_: None)
    assert (
        "Left out: importance of all layers: its share of the budget, 1e-09 s, was spent."
    ) in section.sentences[0]
    assert not section.whole
    assert section.sentences[0].startswith("5 images were looked at.")
    alone = replace(subject, images=SomeImages(subject.images, 1))
    said = sections.diagnosis(alone, None, lambda *_: None).sentences[0]
    assert said.startswith("1 image was looked at.")


def test_the_budget_is_shared_and_what_it_leaves_out_is_said(folder, tmp_path, monkeypatch):
    given: list[float] = []

    def make(subject, seconds, progress):
        given.append(seconds)
        return Section(f"t{len(given)}", "T", whole=len(given) > 1)

    tasks = [
        reporting.Task(f"t{n + 1}", f"T{n + 1}", make, share) for n, share in enumerate([3, 1])
    ]
    monkeypatch.setattr(reporting, "TASKS", tasks)
    found = cs.report(network(), folder, [0], folder=tmp_path, budget=40)
    assert given[0] == pytest.approx(30, abs=5)
    assert given[1] == pytest.approx(40, abs=5)
    assert found.missing == ("T1: cut short by the budget; more of it makes the rest",)
    cs.report(network(), folder, [0], folder=tmp_path, budget=40)
    assert len(given) == 3  # the first one again


def test_pictures_are_two_of_the_images_that_can_be_read(folder, tmp_path, monkeypatch):
    seen = []

    def make(subject, seconds, progress):
        seen.append((subject.titles, subject.pictures.shape))
        return Section("a", "A")

    monkeypatch.setattr(reporting, "TASKS", [reporting.Task("a", "A", make, 1)])
    own = tmp_path / "own"
    own.mkdir()
    for name in ("1.png", "3.png"):
        (own / name).write_bytes((folder / f"0{name}").read_bytes())
    (own / "0.png").write_bytes(b"no picture")
    cs.report(network(), own)
    assert seen == [(("1.png", "3.png"), (2, 3, 24, 24))]
    for file in own.glob("*.png"):
        file.write_bytes(b"no picture")
    with pytest.raises(DataError, match="no image of own can be read"):
        cs.report(network(), own)


def test_a_section_is_read_as_it_was_written(tmp_path):
    section = Section(
        "a", "A", ("one", "two"), (Picture("a.webp", "words", 3, 4, "title"),),
        (Table("caption", ("x", "y"), (("1", "2"), ("3", "4")), (1,)),),
        (Notice("f", "text", 0.5),), "how", {"values": [1, 2.5]}, 1.25, False,
    )  # fmt: skip
    shelf = Shelf(tmp_path, {"weights": "x"})
    shelf.keep(section)
    assert shelf.find("a") is None  # its picture is missing
    (tmp_path / "a.webp").write_bytes(b"")
    assert shelf.find("a") == section
    assert Shelf(tmp_path, {"weights": "y"}).find("a") is None
    (tmp_path / "a.json").write_text("{")
    assert shelf.find("a") is None


def test_the_worst_finding_comes_first_and_everything_is_escaped(tmp_path):
    shelf = Shelf(tmp_path / "parts", {})
    sections = [
        Section("a", "A & B", findings=(Notice("mild", "<b>", 0.1),)),
        Section("b", "B", findings=(Notice("worst", "text", 0.9),)),
    ]
    page = Document("T<", "lead", (), (), sections).write(shelf, tmp_path, {})
    text = page.read_text("utf-8")
    assert text.index("worst") < text.index("mild")
    assert "&lt;b&gt;" in text
    assert "A &amp; B" in text


def test_what_was_not_measured_of_a_layer_is_said(folder):
    net = network()
    found = cs.diagnose(net, folder)
    first = replace(found.layers[0], without=None)
    table = layers_table(list(net.layers.values()), (first, *found.layers[1:]))
    places = {row[0]: row for row in table.rows}
    assert places["1"][-5:] == ("–",) * 5  # a rectifier, which is never diagnosed
    assert places["0"][-5] == "1 (2)"
    assert places["0"][-1] == "–"
    assert table.caption.endswith("; –: not measured.")


def test_letters_on_paper_can_be_read(made):
    sections = {section.name: section for section in made.sections}
    for name in ("projections", "checkerboard", "invariance", "sanity"):
        for picture in (one for one in sections[name].pictures if not one.narrow):
            # As document.css prints it on A4: at most 186 by 245 mm.
            shown = min(1, 186 / 25.4 * 96 / picture.width, 245 / 25.4 * 96 / picture.height)
            assert FOOT_POINTS * shown >= 6, (name, picture)


@pytest.mark.slow
def test_a_long_figure_is_cut_between_its_rows(tmp_path):
    shelf = Shelf(tmp_path, {})
    picture_of = partial(pieces.picture, width=3, aspect="auto", vmin=0, vmax=6)
    rows = [stack(picture_of(np.array([[row]])), space(height=2)) for row in range(6)]
    sheet = sheet_of(Style(8.4), rows, ["caption", "how", "it was made"], ["random weights"], gap=0)
    whole = sheet.figure.get_size_inches()[1]
    found = shelf.drawn(_Drawn(sheet), "rows", "What it shows.")
    assert [picture.narrow for picture in found] == [False, False, False, True]
    heights = [picture.height / 96 for picture in found[:3]]
    assert heights == pytest.approx([10 + MARGIN, 10, whole - 20 - MARGIN], abs=0.01)
    assert [picture.part for picture in found[:3]] == [
        f"Part {n} of 3; random weights" for n in (1, 2, 3)
    ]
    assert found[1].alternative == "Part 2 of 3. What it shows."
    assert found[2].caption == found[3].caption == "random weights. caption"
    assert found[2].more == found[3].more == "how it was made"
    painted = [_on_white(tmp_path, picture) for picture in found]
    # On white, letters and photographs together are the figure as it was.
    np.testing.assert_allclose(np.concatenate(painted[:3]), painted[3], atol=1)
    buffer = io.BytesIO()
    sheet.figure.savefig(buffer, format="png")
    expected = np.asarray(Image.open(buffer).convert("RGB"), dtype=float)
    np.testing.assert_allclose(painted[3], expected, atol=2)
    short, _ = shelf.drawn(
        lambda style: sheet_of(style, [space(height=5)], [], []), "short", "Short."
    )
    assert (short.file, short.photographs, short.part) == ("short.webp", "", "")


class _Drawn(Result):
    """A result whose figure is one sheet, whatever the width."""

    def __init__(self, sheet: Sheet) -> None:
        object.__setattr__(self, "notes", ("random weights",))
        object.__setattr__(self, "only", sheet)

    def sheet(self, width, caption, **options):
        return self.only


def _on_white(folder: Path, picture: Picture) -> np.ndarray:
    shown = None
    for file in picture.files:
        layer = np.asarray(Image.open(folder / file).convert("RGBA"), dtype=float)
        opacity = layer[..., 3:] / 255
        below = 255.0 if shown is None else shown
        shown = layer[..., :3] * opacity + below * (1 - opacity)
    return shown


LONG_NAME = "features.denseblock4.denselayer32.expand3x3_activation"


@pytest.mark.parametrize("width", some([390], [390, 1280]))
def test_a_long_table_is_not_cut_off_and_its_caption_stays(browser, tmp_path, width):
    row = (LONG_NAME, "concatenation", "1024×111×111", "16", "207", "1,235,496", "349,151,936")
    row += ("10 of 1024", "10", "100", "48.0%", "100.0%")
    table = Table("Every layer. " * 20, (*HEAD, *MEASURED), (row, row))
    shelf, black = Shelf(None, {}), pieces.picture(np.zeros((2, 2, 3), np.uint8), 0.5)
    drawn = shelf.drawn(lambda style: sheet_of(style, [black], [], []), "it", "", LONG_NAME)
    section = Section("layers", "Layers", (f"At {LONG_NAME}.",), drawn, (table, table))
    page = Document("T", "lead", (), (), [section]).write(shelf, tmp_path, {})
    tab = browser.new_page(viewport={"width": width, "height": 800})
    tab.goto(page.as_uri())
    boxes = tab.evaluate(
        "() => [...document.querySelectorAll('.scroll')].map(e => [e.clientWidth, "
        "e.scrollWidth, document.getElementById(e.getAttribute('aria-labelledby'))"
        ".getBoundingClientRect().right])"
    )
    first = tab.evaluate("() => document.querySelector('tbody th').textContent")
    named = tab.get_by_role("table", name="Every layer.").count()
    assert tab.evaluate("() => document.documentElement.scrollWidth") == width
    tab.close()
    assert len(boxes) == 2
    assert named == 2
    for shown, whole, right in boxes:
        assert (whole <= shown) == (width == 1280)
        assert right <= width
    assert first == LONG_NAME


@pytest.mark.parametrize(("width", "colours"), SCREENS)
def test_the_page_is_whole_in_a_browser(browser, page, width, colours):
    check_in_browser(browser, page, width, colours, pictures=7)


def test_the_command_reports(folder, tmp_path, monkeypatch, answer):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\ndef build():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU())\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reporting, "TASKS", reporting.TASKS[:3])
    options = ("-o", "out", "--size", "3,24,24", "--picture", folder / "05.png", "--json")
    status, out, error = answer("report", "net.py:build", folder, *options)
    assert status == 0, error
    numbers = json.loads(out)
    assert numbers["output"] == "out"
    assert numbers["titles"] == ["05.png"]
    assert list(numbers["sections"]) == NAMES[:3]
    text = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert "05.png" in text


def test_figures_are_as_sharp_as_pages_are_wide_and_their_pictures_begin_on_whole_pixels():
    shelf = Shelf(None, {})
    row = pieces.row([pieces.picture(np.zeros((2, 2, 3), np.uint8), 0.41)] * 9, 0.07)
    wide, narrow = shelf.drawn(lambda style: sheet_of(style, [row] * 5, [], []), "it", "squares")
    for picture, least in ((wide, 1184), (narrow, 2 * 358)):
        shown = np.asarray(Image.open(io.BytesIO(shelf.files[picture.photographs])))
        assert shown.shape[1] >= least
        assert not shown[shown[..., 3] == 255].reshape(-1, 4)[:, :3].any()  # no white at an edge


def test_the_colours_of_a_pictures_key_are_kept_on_a_dark_page_and_a_lines_change_with_the_line():
    square = {"marker": "s", "linestyle": "none", "color": "#d62728"}
    entries = [("cat", square), ("curve", {"color": "#1f77b4", "linewidth": 4})]
    shelf = Shelf(None, {})
    shown = [pieces.picture(np.zeros((2, 2, 3), np.uint8), 0.5), key(entries, 3.0)]
    wide, _ = shelf.drawn(lambda style: sheet_of(style, shown, [], []), "it", "a key")
    kept = np.asarray(Image.open(io.BytesIO(shelf.files[wide.photographs])).convert("RGBA"))
    kept = kept[kept[..., 3] == 255][:, :3]
    assert (kept == (0xD6, 0x27, 0x28)).all(1).any()
    assert not (kept == (0x1F, 0x77, 0xB4)).all(1).any()
    red, white = (int((kept == colour).all(1).sum()) for colour in ((0xD6, 0x27, 0x28), 255))
    assert white < red  # the pixels at its edge, and not what is beside it
    wide, _ = shelf.drawn(lambda style: sheet_of(style, shown[1:], [], []), "chart", "a key")
    assert not wide.photographs
