"""``convscope occlude`` as a person meets it, and the figure and numbers it writes."""

import json
from dataclasses import replace
from functools import cache
from itertools import takewhile

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image, ImageDraw, ImageSequence
from torch import nn

import convscope as cs
from convscope.errors import OutputError
from convscope.figures.occlude import check_fits
from convscope.figures.occlude_film import EDGE, INK, LINE, SIDE, WARNING
from convscope.figures.style import PALE, style
from convscope.methods.occlude import passes
from products import endings


@pytest.fixture(scope="module")
def net(world):
    return cs.load(f"{world}/networks.py:small")


@pytest.fixture
def run(there, answer):
    return lambda *given, network="small": answer("occlude", f"networks.py:{network}", *given)


def test_a_figure_and_the_numbers(run, tmp_path):
    status, out, err = run(
        "one.png", "--patch", "8", "--patch", "6,10", "--stride", "4",
        "--target", "dog", "--target", "2", "--layer", "4", "--json",
    )  # fmt: skip
    assert status == 0, err
    answer = json.loads(out)
    assert answer["output"] == "occlusion.png"
    assert [(o["title"], o["patch"], o["targets"]) for o in answer["maps"]] == [
        ("one.png", patch, [1, 2]) for patch in ([8, 8], [6, 10])
    ]
    first = answer["maps"][0]
    assert np.array(first["probability"]).shape == (2, 5, 5)
    assert first["layer"] == "4"
    assert -1 <= first["agreement"] <= 1
    with Image.open(tmp_path / "occlusion.png") as figure:
        assert (figure.width, figure.height > 3 * figure.width) == (1540, True)  # four rows


def test_a_film_says_what_it_is(run, net, tmp_path, monkeypatch):
    drawn = []
    original = ImageDraw.ImageDraw.text

    def text(self, place, written, ink, font):
        drawn.append((written, ink))
        original(self, place, written, ink, font)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    status, _, err = run("one.png", "two.png", "--patch", "8", "--stride", "4", "-o", "a.gif")
    assert status == 0, err
    said = " ".join(written for written, ink in drawn if ink == INK)
    # The foot is drawn once an image, and pasted below every frame.
    assert said.startswith("networks.py:small, one.png, patch 8×8 (grey), red mark on a bar: ")
    assert said.count("unoccluded, 25 of 25 positions") == 2
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 50

    found = cs.occlude(net, tmp_path / "one.png", 8, 8)
    drawn.clear()
    replace(found, notes=("random weights", "another " * 20)).save(tmp_path / "b.gif")
    written = list(takewhile(lambda line: "P(" not in line, (line for line, _ in drawn)))
    warned = " ".join(line for line, ink in drawn if ink == WARNING).split()
    assert warned == ["random", "weights;", *["another"] * 20]
    with Image.open(tmp_path / "b.gif") as film:
        assert film.n_frames == 9
        assert film.height == SIDE + len(written) * LINE + EDGE
        for frame in ImageSequence.Iterator(film):
            foot = np.asarray(frame.convert("RGB"))[SIDE:].astype(int)
            assert (foot[..., 0] - foot[..., 1:].max(-1)).max() > 90


def test_the_arrays_are_the_librarys(run, net, tmp_path):
    status, out, _ = run("one.png", "two.png", "--patch", "8", "--stride", "8", "-o", "o.npz")
    assert status == 0
    assert "one.png: " in out
    assert "two.png: " in out
    expected = cs.occlude(net, net.preprocess(tmp_path / "one.png"), 8, 8)
    with np.load(tmp_path / "o.npz") as arrays:
        np.testing.assert_allclose(arrays["maps/0/logit"], expected.logit, rtol=1e-5)
        np.testing.assert_allclose(
            arrays["maps/0/heatmap_logit"], expected.heatmap("logit"), rtol=1e-4
        )
        facts = json.loads(str(arrays["facts"]))["maps"][0]
    assert (facts["stride"], facts["fill"]) == ([8, 8], "gray")


def test_every_ending_holds_the_occlusions(world, net, tmp_path):
    files = [world / "one.png", world / "two.png"]
    found = cs.occlude_all(net, files, [8, (6, 10)], 4, layer="4", target=["dog", 2])
    assert len(repr(found)) < 1000
    assert len(repr(found[0])) < 1000
    assert len(json.loads(found.to_json())["maps"]) == 4
    rows = found.table()
    assert len(rows) == 2 * 2 * (5 * 5 + 6 * 5)
    assert (rows[0]["image"], rows[0]["patch"], rows[0]["target"]) == ("one.png", "8x8", 1)
    assert rows[-1]["logit"] == found[3].logit[1, -1, -1].item()
    for result in (found, found[1]):
        for ending in endings(type(result)):
            result.save(tmp_path / f"it{ending}", width="column")
            assert (tmp_path / f"it{ending}").stat().st_size > 100, ending
        again = type(result).load(tmp_path / "it.safetensors")
        assert again.to_json() == result.to_json()
        for name, values in result.arrays().items():
            assert torch.equal(again.arrays()[name], values), name
    assert torch.equal(again.hidden(7), found[1].hidden(7))


def test_a_wrong_image_is_said_not_hidden(run):
    _, out, _ = run("one.png", "--patch", "8", "--json")
    (found,) = json.loads(out)["maps"]
    other = str((found["targets"] + 1) % 3)
    _, out, _ = run("one.png", "--patch", "8", "--target", other)
    assert "the network takes this image for" in out


def test_constant_maps_and_single_positions_are_shown(run):
    for network, options in (("constant", ("--layer", "4")), ("small", ("--patch", "23"))):
        status, _, err = run("one.png", *options, "--patch", "8", network=network)
        assert status == 0, err
    status, out, _ = run("one.png", "--layer", "1", "--patch", "8", network="maps")
    assert status == 0
    assert "correlation of |projection| with the drop: " in out


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
    (("--patch", "25"), "a patch of 25×25 pixels is larger than the image, 24×24"),
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
    (("--patch", "24"), "a patch of 24×24 pixels hides the whole image"),
    (("--budget", "5"), "a budget needs the method 'adaptive'"),
    (("--scale", "sharde"), "unknown scale 'sharde'; did you mean 'shared'? (known: tile, shared)"),
    (("-o", "o.jpg"), "must be one of .png, .svg, .pdf, .gif, .mp4, .json, .csv, .npz, .safe"),
    (("--width", "wide"), "the width is 'column', 'text', 'slide'"),
    (("--rule", "deconv"), "unknown rule 'deconv'"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_mistakes_are_one_sentence_and_code_2(run, options, message):
    patch = () if "--patch" in options else ("--patch", "8")
    status, out, err = run("one.png", *patch, *options)
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


@pytest.fixture(scope="module")
def occluded(world, net):
    """Return what occludes pictures by the same network."""

    @cache
    def occlude(*names: str, **options) -> cs.Occlusions:
        return cs.occlude_all(net, [world / name for name in names], [8], 8, **options)

    return occlude


def test_the_agreement_is_pearsons(world, net):
    o = cs.occlude(net, world / "one.png", 8, 4, layer="4", channel=2)
    projection = cs.project(net, world / "one.png", "4", [2], select="map").pixels[0, 0]
    assert torch.equal(o.projection, projection)
    drops, under = np.empty((5, 5)), np.empty((5, 5))
    for row in range(5):
        for column in range(5):
            top, left, bottom, right = o.positions[row, column].tolist()
            patch = projection[:, top:bottom, left:right].abs().sum(0)
            under[row, column] = patch.mean().item()
            drops[row, column] = o.clean["activation"] - o.activation[row, column].item()
    expected = np.corrcoef(under.ravel(), drops.ravel())[0, 1]
    assert o.agreement == pytest.approx(expected, abs=1e-4)
    shifted = [
        np.corrcoef(np.roll(under, (down, across), (0, 1)).ravel(), drops.ravel())[0, 1]
        for down in range(5)
        for across in range(5)
    ]
    assert o.agreement_by_chance == pytest.approx(np.quantile(shifted, 0.95), abs=1e-4)


def test_an_agreement_no_better_than_chance_is_grey_and_says_so(occluded):
    (o,) = occluded("one.png", layer="4")
    for agreement, told, colour in ((0.4, "by chance up to", "#222222"), (0.2, "no better", PALE)):
        planted = replace(o, agreement=agreement, agreement_by_chance=0.3)
        assert told in planted.summary()
        (text,) = (t for t in planted.plot().texts if t.get_text().startswith("correlation"))
        assert text.get_text().endswith(", chance 0.30")
        assert text.get_color() == colour


def test_without_a_rule_there_is_no_projection(occluded):
    (o,) = occluded("one.png", layer="4", rule=None)
    assert o.projection is o.rule is o.agreement is None
    assert "no correlation with a projection" in o.summary()


def test_rows_can_share_one_scale(occluded):
    found = occluded("one.png", "two.png", layer="1", channel=0)
    for scale, scales in (("tile", 2), ("shared", 1)):
        limits = {
            axes.images[-1].get_clim()
            for axes in found.plot(scale=scale).axes
            if axes.images and axes.images[-1].get_cmap().name == "RdBu_r"
        }
        assert len(limits) == scales


def test_a_nearly_flat_probability_is_on_its_own_range_and_classes_lie_on_the_image(occluded):
    (o,) = occluded("one.png")
    for low, high, limits in ((0.5, 0.6, (0.5, 0.6)), (0.2, 0.9, (0.0, 1.0))):
        values = torch.linspace(low, high, o.probability.numel()).view_as(o.probability)
        axes = [a for a in replace(o, probability=values).plot().axes if a.images]
        assert axes[1].images[0].get_clim() == pytest.approx(limits)
    classes = torch.zeros_like(o.predicted)
    classes[:, -1] = 1
    axes = [a for a in replace(o, predicted=classes).plot().axes if a.images]
    grey = axes[3].images[0].get_array().mean(-1, keepdims=True)  # below the drops
    colours = np.where((np.arange(24) < 16)[:, None], to_rgb("tab:blue"), to_rgb("tab:orange"))
    laid = axes[2].images[0].get_array()
    np.testing.assert_allclose(laid, 0.4 * grey + 0.6 * colours, atol=1e-6)


def test_panels_are_as_flat_as_the_image_and_headings_are_whole():
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = cs.Network(module, (1, 3, 8, 40), preprocess="none", classes=["yes", "no"])
    title = "a long name of a photograph " * 5
    o = cs.occlude(net, torch.rand(1, 3, 8, 40), 3, 4, layer="0", title=title)
    figure = o.plot(width="column")
    boxes = [axes.get_window_extent() for axes in figure.axes if axes.images]
    assert all(box.height < 0.25 * box.width for box in boxes)
    assert (
        title.split() == " ".join(written(figure)).replace(":", " ").split()[: len(title.split())]
    )


def written(figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


@pytest.mark.parametrize(
    ("width", "across"),
    [("column", (2, 2)), ("text", (4, 3)), pytest.param("slide", (4, 6), marks=pytest.mark.slow)],
)
def test_all_panels_are_lettered_and_fill_the_width(occluded, width, across):
    for layer, letters, columns in zip((None, "4"), ("abcd", "abcdef"), across, strict=True):
        figure = occluded("one.png", layer=layer).plot(width=width, caption="full")
        starts = [text[1] for text in written(figure) if text[0] == "(" and text[2:4] == ") "]
        assert sorted(starts) == list(letters)
        assert figure.get_size_inches()[0] == style(width, "none").width
        places = [axes.get_position() for axes in figure.axes if axes.images]
        assert len({round(place.x0, 2) for place in places}) == columns
        assert sum(place.width for place in places) / len(places) * columns > 0.88
        assert max(place.x1 for place in places) > 0.96
        assert min(text.get_fontsize() for text in figure.texts) >= 7


def test_it_is_cut_between_rows(occluded):
    sheet = occluded("one.png", "two.png", layer="4").sheet("text", "short")
    height = sheet.figure.get_size_inches()[1]
    edges = [
        (height * (1 - box.y1), height * (1 - box.y0))
        for box in (axes.get_position() for axes in sheet.figure.axes if axes.images)
    ]
    assert len(sheet.cuts) == 1
    for number, cut in enumerate(sheet.cuts, start=1):
        assert sum(bottom < cut for _, bottom in edges) == 6 * number
        assert all(bottom < cut or top > cut for top, bottom in edges)


def test_too_many_rows_are_refused_before_the_work():
    check_fits(160, style("text", "short"))
    with pytest.raises(OutputError, match="inches high: take fewer images"):
        check_fits(180, style("text", "short"))


def test_a_heading_stands_nearer_to_its_own_row_and_names_its_target(occluded):
    figure = occluded("one.png", "two.png", target=(0, 1)).plot()
    height = figure.get_size_inches()[1]
    places = {text.get_text(): height * text.get_position()[1] for text in figure.texts}
    headings = [text for text in places if "; target" in text]
    assert [(text.partition(":")[0], text.partition("; ")[2]) for text in headings] == [
        (name, f"target {target}") for name in ("one.png", "two.png") for target in ("cat", "dog")
    ]
    bottoms = [height * axes.get_position().y0 for axes in figure.axes if axes.images]
    titles = [height * t.get_position()[1] for t in figure.texts if t.get_text().startswith("(a)")]
    for heading, title in zip(headings[1:], titles[1:], strict=True):
        above = min(bottom for bottom in bottoms if bottom > places[heading])
        # A title hangs up from its place; a heading hangs down from its own.
        to_title = places[heading] - (title + 7.5 * 1.2 / 72)
        assert above - places[heading] > to_title > 0
    (heading,) = (t for t in written(occluded("one.png").plot()) if t.startswith("one.png: "))
    assert "target" not in heading


def test_a_small_drop_has_its_power_in_the_label(occluded):
    (o,) = occluded("one.png")
    drops = 1e-6 * torch.linspace(-5, 5, o.probability.numel()).reshape(o.probability.shape)
    small, large = (replace(o, probability=o.clean["probability"] - s * drops) for s in (1, 1e5))
    for occlusion, power in ((large, ""), (small, " (1e−6)")):
        figure = occlusion.plot()
        figure.canvas.draw()
        bars = {axes.get_xlabel(): axes for axes in figure.axes if axes.get_xlabel()}
        (bar,) = (axes for label, axes in bars.items() if label.startswith("drop of the prob"))
        assert bar.get_xlabel() == f"drop of the probability{power}"
        assert not bar.xaxis.get_offset_text().get_visible()


def test_the_projections_scale_is_in_the_caption(occluded):
    (o,) = occluded("one.png", layer="4")
    noise = torch.randn(3, 24, 24, generator=torch.Generator().manual_seed(0))
    figure = replace(o, projection=noise).plot(caption="full")
    said = " ".join(" ".join(written(figure)).split())
    # 2 of the 1728 values lie beyond the 99.9 % quantile.
    assert "(c): deconvnet, zero is mid-grey, ± the 99.9% quantile of |value|, 0.06% of" in said


def test_a_picture_of_parts_is_hidden_part_by_part(run, tmp_path):
    parts = tmp_path / "parts.png"
    Image.fromarray(np.repeat(np.array([[0, 90, 200]], np.uint8), 8, 1).repeat(24, 0)).save(parts)
    status, out, err = run("one.png", "--masks", str(parts), "--json")
    assert status == 0, err
    (found,) = json.loads(out)["maps"]
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
