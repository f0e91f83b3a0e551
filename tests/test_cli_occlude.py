"""``convscope occlude`` as a person meets it, and the figure and numbers it writes."""

import json
import sys
from dataclasses import replace
from itertools import takewhile

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageSequence

import convscope as cs
from convscope import cli
from convscope.figures.occlusion import CELL, OccludedImage, occlusion_figure
from convscope.figures.sheet import MARGIN
from convscope.figures.sliding import EDGE, INK, LINE, SIDE, WARNING, save_animation
from convscope.methods import passes
from convscope.methods.agreement import projection_agreement
from convscope.methods.patches import fill_for
from convscope.pages.section import PAPER_WIDTH

NETWORK = """
import torch
from torch import nn


def small():
    torch.manual_seed(3)
    body = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()
    module = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    module.classes = "cat", "dog", "$eel$"
    return module, torch.zeros(1, 3, 24, 24)


def constant():
    module, example = small()
    nn.init.zeros_(module[-1].weight)
    return module, example


def maps():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.zeros(1, 3, 24, 24)
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in a folder with networks.py, one.png and two.png; return what it said."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "networks.py").write_text(NETWORK)
    generator = np.random.default_rng(0)
    for name in ("one.png", "two.png"):
        pixels = generator.integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)

    def command(*arguments: str, network: str = "small") -> tuple[int, str, str]:
        whole = ["convscope", "occlude", f"networks.py:{network}", *arguments]
        monkeypatch.setattr(sys, "argv", whole)
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said = capsys.readouterr()
        return stopped.value.code, said.out, said.err

    return command


def test_a_figure_an_animation_and_the_numbers(run, tmp_path):
    status, out, err = run(
        "one.png", "--patch", "8", "--patch", "6,10", "--stride", "4",
        "--target", "dog", "--target", "2", "--layer", "4", "--animate", "a.gif", "--json",
    )  # fmt: skip
    assert status == 0, err
    answer = json.loads(out)
    assert answer["output"] == "occlusion.png"
    assert [(o["image"], o["patch"], o["targets"]) for o in answer["occlusions"]] == [
        ("one.png", patch, target) for patch in ([8, 8], [6, 10]) for target in (1, 2)
    ]
    first = answer["occlusions"][0]
    assert np.array(first["probability"]).shape == (5, 5)
    assert first["layer"] == "4"
    assert -1 <= first["projection_correlation"] <= 1
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.n_frames == 25
    with Image.open(tmp_path / "occlusion.png") as figure:
        assert (figure.width, figure.height > 4 * figure.width) == (785, True)  # four rows


def test_a_film_says_what_it_is(run, tmp_path, monkeypatch):
    drawn = []
    original = ImageDraw.ImageDraw.text

    def text(self, place, written, ink, font):
        drawn.append((written, ink))
        original(self, place, written, ink, font)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    status, _, err = run("one.png", "--patch", "8", "--stride", "4", "--animate", "a.gif")
    assert status == 0, err
    said = " ".join(written for written, ink in drawn if ink == INK)
    # The foot is drawn once, and pasted below every frame.
    assert said.startswith("networks.py:small, one.png, patch 8 x 8 (gray), red mark on a bar: ")
    assert said.count("unoccluded, 25 of 25 positions") == 1

    net = cs.load(f"{tmp_path}/networks.py:small")
    image = net.preprocess(tmp_path / "one.png")
    record = replace(cs.occlude(net, image, 8, 8), notes=("random weights", "another " * 20))
    fill = fill_for("gray", image[0], net.preprocess, (8, 8))
    drawn.clear()
    save_animation(tmp_path / "b.gif", record, image[0], fill, net.preprocess, "one.png")
    written = list(takewhile(lambda line: "P(" not in line, (line for line, _ in drawn)))
    warned = " ".join(line for line, ink in drawn if ink == WARNING).split()
    assert warned == ["random", "weights;", *["another"] * 20]
    with Image.open(tmp_path / "b.gif") as film:
        assert film.height == SIDE + len(written) * LINE + EDGE
        for frame in ImageSequence.Iterator(film):
            foot = np.asarray(frame.convert("RGB"))[SIDE:].astype(int)
            assert (foot[..., 0] - foot[..., 1:].max(-1)).max() > 90


def test_the_arrays_are_the_librarys(run, tmp_path):
    status, out, _ = run("one.png", "two.png", "--patch", "8", "--stride", "8", "-o", "o.npz")
    assert status == 0
    assert "one.png: " in out
    assert "two.png: " in out
    net = cs.load(f"{tmp_path}/networks.py:small")
    expected = cs.occlude(net, net.preprocess(tmp_path / "one.png"), 8, 8)
    with np.load(tmp_path / "o.npz") as arrays:
        np.testing.assert_allclose(arrays["0/logit"], expected.logit, rtol=1e-5)
        np.testing.assert_allclose(arrays["0/heatmap_logit"], expected.heatmap("logit"), rtol=1e-4)
        facts = json.loads(str(arrays["facts"]))["occlusions"][0]
    assert (facts["stride"], facts["fill"]) == ([8, 8], "gray")


def test_a_wrong_image_is_said_not_hidden(run):
    _, out, _ = run("one.png", "--patch", "8", "--json")
    (found,) = json.loads(out)["occlusions"]
    other = str((found["targets"] + 1) % 3)
    _, out, _ = run("one.png", "--patch", "8", "--target", other)
    assert "the network takes this image for" in out


def test_constant_maps_and_single_positions_are_shown(run):
    for network, options in (("constant", ("--layer", "4")), ("small", ("--patch", "23"))):
        status, _, err = run("one.png", *options, "--patch", "8", network=network)
        assert status == 0, err
    status, out, _ = run("one.png", "--layer", "1", "--patch", "8", network="maps")
    assert status == 0
    assert "correlation of |projection| with the drop" in out


def test_stopping_writes_what_is_done(run, monkeypatch):
    original = passes.FullPasses.answers

    def stopping(self, *arguments):
        yield next(original(self, *arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(passes.FullPasses, "answers", stopping)
    status, out, err = run(
        "one.png", "--patch", "8", "--stride", "2", "--method", "full", "--memory", "100kB"
    )
    assert status == 0, err
    assert "partial: stopped early" in out


MISTAKES = [
    (("--patch", "25"), "a patch of 25 x 25 pixels is larger than the image, 24 x 24"),
    (("--patch", "x"), "--patch is a number of pixels or two as 16,24, not 'x'"),
    (("--stride", "0"), "the stride must be at least 1 pixel, not 0"),
    (("--stride", "-4"), "the stride must be at least 1 pixel, not -4"),
    (("--target", "3"), "has classes 0 to 2, not 3"),
    (("--target", "catt"), "has no class 'catt'; did you mean 'cat'?"),
    (("--fill", "nan"), "a fill must be finite in the network's input space, not nan"),
    (("--fill", "gry"), "unknown fill 'gry'; did you mean 'gray'"),
    (("--channel", "1"), "a channel number means nothing without its layer"),
    (("--layer", "99"), "has no layer '99'"),
    (("--method", "quick"), "unknown method 'quick'"),
    (("--budget", "5"), "a budget needs the method 'adaptive'"),
    (("--scale", "sharde"), "the scale is 'tile' or 'shared', not 'sharde'"),
    (("-o", "o.gif"), "its ending must be one of .png, .svg, .pdf, .npz"),
    (("--animate", "o.png"), "its ending must be one of .gif"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_mistakes_are_one_sentence_and_code_2(run, options, message):
    patch = () if "--patch" in options else ("--patch", "8")
    status, out, err = run("one.png", *patch, *options)
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_the_agreement_is_pearsons(run, tmp_path):
    run("one.png", "--patch", "8")
    net = cs.load(f"{tmp_path}/networks.py:small")
    image = net.preprocess(tmp_path / "one.png")
    o = cs.occlude(net, image, 8, 4, layer="4", channel=2)
    projection = cs.project(net, image, "4", [2], select="map").pixels[0, 0]
    drops, under = [], []
    for row in range(5):
        for column in range(5):
            top, left, bottom, right = o.positions[row, column].tolist()
            patch = projection[:, top:bottom, left:right].abs().sum(0)
            under.append(patch.mean().item())
            drops.append(o.clean["activation"] - o.activation[row, column].item())
    expected = np.corrcoef(under, drops)[0, 1]
    assert projection_agreement(projection, o) == pytest.approx(expected, abs=1e-4)
    assert projection_agreement(torch.zeros(3, 24, 24), o) is None


def test_rows_can_share_one_scale(run, tmp_path):
    run("one.png", "--patch", "8")
    net = cs.load(f"{tmp_path}/networks.py:small")
    rows = []
    for name in ("one.png", "two.png"):
        image = net.preprocess(tmp_path / name)
        o = cs.occlude(net, image, 8, 8, layer="1", channel=0)
        rows.append(OccludedImage(o, image[0], image[0], name))
    for scale, scales in (("tile", 2), ("shared", 1)):
        figure = occlusion_figure(rows, net.preprocess, scale).figure
        limits = {
            axes.images[-1].get_clim()
            for axes in figure.axes
            if axes.images and axes.images[-1].get_cmap().name == "RdBu_r"
        }
        assert len(limits) == scales


def written(figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def rows_of(run, tmp_path, names, **options) -> tuple[cs.Network, list[OccludedImage]]:
    run("one.png", "--patch", "8")
    net = cs.load(f"{tmp_path}/networks.py:small")
    rows = []
    for name in names:
        image = net.preprocess(tmp_path / name)
        for o in cs.occlude(net, image, 8, 8, **options).singles():
            projection = torch.randn(3, 24, 24) if o.layer else None
            rows.append(OccludedImage(o, image[0], image[0], name, projection))
    return net, rows


def test_the_panels_that_are_there_are_lettered_and_laid_out_without_gaps(run, tmp_path):
    for layer, letters in ((None, "abc"), ("4", "abcde")):
        net, rows = rows_of(run, tmp_path, ["one.png"], layer=layer)
        figure = occlusion_figure(rows, net.preprocess).figure
        starts = [text[1] for text in written(figure) if text[0] == "(" and text[2:4] == ") "]
        assert starts == list(letters)
        assert figure.get_size_inches()[0] == pytest.approx(2 * MARGIN + 2 * CELL)
        pictures = [axes for axes in figure.axes if axes.images]
        assert len(pictures) % 2 == 0


def test_on_paper_its_letters_keep_their_size_and_it_is_cut_between_rows(run, tmp_path):
    net, rows = rows_of(run, tmp_path, ["one.png", "two.png"], layer="4")
    sheet = occlusion_figure(rows, net.preprocess).sheet
    width, height = sheet.figure.get_size_inches()
    assert width <= PAPER_WIDTH
    edges = [
        (height * (1 - box.y1), height * (1 - box.y0))
        for box in (axes.get_position() for axes in sheet.figure.axes if axes.images)
    ]
    assert len(sheet.cuts) == 2
    for number, cut in enumerate(sheet.cuts, start=1):
        assert sum(bottom < cut for _, bottom in edges) == 6 * number
        assert all(bottom < cut or top > cut for top, bottom in edges)


def test_a_heading_stands_nearer_to_its_own_row_and_names_its_target(run, tmp_path):
    net, rows = rows_of(run, tmp_path, ["one.png", "two.png"], target=[0, 1])
    figure = occlusion_figure(rows, net.preprocess).figure
    height = figure.get_size_inches()[1]
    places = {text.get_text(): height * text.get_position()[1] for text in figure.texts}
    headings = [text for text in places if "; target" in text]
    assert headings == [
        f"{name}; target {target}" for name in ("one.png", "two.png") for target in ("cat", "dog")
    ]
    bottoms = [height * axes.get_position().y0 for axes in figure.axes if axes.images]
    titles = [height * t.get_position()[1] for t in figure.texts if t.get_text().startswith("(a)")]
    for heading, title in zip(headings[1:], titles[1:], strict=True):
        above = min(bottom for bottom in bottoms if bottom > places[heading])
        # A title hangs up from its place, two lines high; a heading hangs down from its own.
        to_title = places[heading] - (title + 2 * 7.5 * 1.2 / 72)
        assert above - places[heading] > to_title > 0
    net, (row,) = rows_of(run, tmp_path, ["one.png"])
    assert "one.png" in written(occlusion_figure([row], net.preprocess).figure)


def test_a_small_drop_has_its_power_in_the_label(run, tmp_path):
    net, (row,) = rows_of(run, tmp_path, ["one.png"])
    o = row.occlusion
    drops = 1e-6 * torch.linspace(-5, 5, o.probability.numel()).reshape(o.probability.shape)
    small = replace(o, probability=o.clean["probability"] - drops)
    for occlusion, power in ((o, ""), (small, " (1e−6)")):
        figure = occlusion_figure([replace(row, occlusion=occlusion)], net.preprocess).figure
        figure.canvas.draw()
        bars = {axes.get_ylabel(): axes for axes in figure.axes if axes.get_ylabel()}
        (bar,) = (axes for label, axes in bars.items() if label.startswith("drop of the prob"))
        assert bar.get_ylabel() == f"drop of the probability{power}"
        assert not bar.yaxis.get_offset_text().get_visible()


def test_the_projections_scale_is_in_the_caption(run, tmp_path):
    net, (row,) = rows_of(run, tmp_path, ["one.png"], layer="4")
    figure = occlusion_figure([row], net.preprocess).figure
    said = " ".join(" ".join(written(figure)).split())
    # 2 of the 1728 values lie beyond the 99.9 % quantile.
    assert "(c): deconvnet, zero is mid-grey, ± the 99.9% quantile of |value|, 0.06% of" in said


def test_a_picture_of_parts_is_hidden_part_by_part(run, tmp_path):
    parts = tmp_path / "parts.png"
    Image.fromarray(np.repeat(np.array([[0, 90, 200]], np.uint8), 8, 1).repeat(24, 0)).save(parts)
    status, out, err = run("one.png", "--mask", str(parts), "--json")
    assert status == 0, err
    (found,) = json.loads(out)["occlusions"]
    assert np.shape(found["probability"]) == (1, 3)
    assert (found["answer"], found["output"]) == ("classes", "one of 3 classes: logits")
    status, out, err = run("one.png", "--answer", "number", "--target", "1", "--patch", "8")
    assert status == 0, err
    assert "output: 3 numbers" in out
    assert "  dog " in out
    status, _, err = run("one.png", "--answer", "age")
    assert status == 2
    assert "unknown answer 'age'" in err
    status, _, err = run("one.png", "--head", "aux")
    assert status == 2
    assert "has no output 'aux'" in err
