"""Invariance: transformations against loops over pixels, distances against a slow account."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from convscope.errors import ConvscopeError, ImageError, Interrupted, OutputError, UnitError
from convscope.images import Preprocess
from convscope.methods import invariance as module
from convscope.methods.invariance import Invariance, invariance
from convscope.methods.transformations import NEUTRAL, SOURCES, transformed
from convscope.network import Network
from convscope.pages.report_sections import _moved as said_in_the_report
from products import endings, some

PLAIN = Preprocess.identity(2, (7, 9))


def picture(height: int = 7, width: int = 9, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, height, width, generator=generator, dtype=torch.float64)


def mirrored(place: int, size: int) -> int:
    """Where a place beyond the image lies if the image is mirrored at its borders."""
    place %= 2 * size
    return place if place < size else 2 * size - 1 - place


def slow(image: Tensor, kind: str, amount: float, beyond: float | None) -> Tensor:
    """Move, enlarge or turn pixel by pixel; *beyond* is a brightness, or None to mirror."""
    channels, height, width = image.shape
    found = torch.zeros_like(image)
    for r in range(height):
        for c in range(width):
            y, x = r - (height - 1) / 2, c - (width - 1) / 2
            if kind == "translation":
                y -= amount
            elif kind == "scale":
                y, x = y / amount, x / amount
            else:  # y points down, so a counterclockwise turn takes (0, 1) to (-1, 0)
                turn = math.radians(amount)
                y, x = (
                    y * math.cos(turn) + x * math.sin(turn),
                    x * math.cos(turn) - y * math.sin(turn),
                )
            y, x = y + (height - 1) / 2, x + (width - 1) / 2
            for row in (math.floor(y), math.floor(y) + 1):
                for column in (math.floor(x), math.floor(x) + 1):
                    weight = (1 - abs(y - row)) * (1 - abs(x - column))
                    inside = 0 <= row < height and 0 <= column < width
                    for k in range(channels):
                        if inside or beyond is None:
                            value = image[k, mirrored(row, height), mirrored(column, width)]
                        else:
                            value = beyond
                        found[k, r, c] += weight * value
    return found


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([("translation", -9.0, 9.0), ("scale", 0.4, 3.0), ("rotation", -400.0, 400.0)]),
    st.floats(0, 1),
    st.sampled_from([("gray", 0.5), ("black", 0.0), ("reflect", None)]),
)
def test_transformations_are_loops_over_pixels(kind, share, fill):
    name, low, high = kind
    amount = low + share * (high - low)
    found = transformed(picture(), name, amount, fill[0], PLAIN)
    assert (found - slow(picture(), name, amount, fill[1])).abs().max() < 1e-9


def test_whole_pixels_quarter_turns_and_nothing_are_exact():
    image = picture(8, 8)
    moved = transformed(image, "translation", 3, "black", PLAIN)
    assert (moved[:, 3:] - image[:, :5]).abs().max() < 1e-12
    assert moved[:, :3].abs().max() < 1e-12
    for quarters in (1, 2, 3):
        turned = transformed(image, "rotation", 90 * quarters, "gray", PLAIN)
        assert (turned - torch.rot90(image, quarters, (1, 2))).abs().max() < 1e-12
    for kind in SOURCES:
        assert transformed(image, kind, NEUTRAL[kind], "gray", PLAIN) is image
    upwards = transformed(image, "translation", -2, "reflect", PLAIN)
    assert (upwards[:, 6:] - image[:, [7, 6]]).abs().max() < 1e-12


def test_colours_beyond_the_image_are_in_the_input_space():
    preprocess = Preprocess((0.4, 0.4, 0.4), (0.2, 0.2, 0.2), (6, 6))
    image = torch.zeros(3, 6, 6, dtype=torch.float64)
    moved = transformed(image, "translation", 2, "#ff0000", preprocess)
    assert torch.allclose(moved[:, 0, 0], torch.tensor([3.0, -2, -2], dtype=torch.float64))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(2, 4, 3, padding=1)
        self.two = nn.Conv2d(4, 5, 3, padding=1)
        self.scores = nn.Linear(5, 3)

    def features(self, x: Tensor) -> list[Tensor]:
        first = F.relu(self.one(x))
        second = F.relu(self.two(F.max_pool2d(first, 2)))
        return [first, second, second.mean((2, 3))]

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.features(x)[2])


@pytest.fixture(scope="module")
def small() -> tuple[Small, Network, Tensor]:
    torch.manual_seed(2)
    module = Small().double().eval()
    images = torch.stack([picture(12, 14, seed) for seed in (0, 1)])
    return module, Network(module, images[:1]), images


@torch.no_grad()
def test_distances_and_answers_are_their_slow_account(small):
    module, net, images = small
    amounts = {"translation": [-3, 0, 2.5], "scale": [0.8, 1.4], "rotation": [33.0]}
    found = invariance(net, images, target=[2, 0], amounts=amounts, fill="gray")
    assert found.layers == ("relu", "relu@1", "mean")
    assert found.amounts[1].tolist()[:2] == [0.8, 1.4]
    assert found.amounts[1, 2].isnan()
    for k, kind in enumerate(found.transforms):
        for s, amount in enumerate(amounts[kind]):
            for n, (image, target) in enumerate(zip(images, (2, 0), strict=True)):
                turned = slow(image, kind, amount, 0.5)[None]
                pairs = zip(module.features(turned), module.features(image[None]), strict=True)
                for at, (new, old) in enumerate(pairs):
                    distance = math.sqrt(float(((new - old) ** 2).sum()))
                    norm = math.sqrt(float((old**2).sum()))
                    assert found.norm[at, n].item() == pytest.approx(norm, abs=1e-12)
                    assert found.distance[k, at, n, s].item() == pytest.approx(
                        distance / norm, abs=1e-8
                    )
                chance = module(turned).softmax(1)[0]
                assert found.probability[k, n, s].item() == pytest.approx(
                    chance[target].item(), abs=1e-8
                )
                assert found.predicted[k, n, s] == chance.argmax()
    clean = module(images).softmax(1)
    assert found.clean == pytest.approx((clean[0, 2].item(), clean[1, 0].item()), abs=1e-12)


def test_what_is_not_transformed_is_not_moved(small):
    _, net, images = small
    found = invariance(net, images, steps=5)
    for k, kind in enumerate(found.transforms):
        at = found.amounts[k].tolist().index(NEUTRAL[kind])
        assert (found.distance[k, :, :, at] == 0).all()
        assert found.probability[k, :, at].tolist() == pytest.approx(found.clean, abs=1e-12)
    full_turn = found.amounts[2].tolist().index(360.0)
    assert found.distance[2, :, :, full_turn].max() < 1e-10
    assert found.amounts[0][~found.amounts[0].isnan()].tolist() == [-3, -2, 0, 2, 3]
    assert found.amounts[1].tolist() == pytest.approx([1, 1.2, 1.4, 1.6, 1.8])


def test_the_image_as_it_is_counts_neither_for_the_median_nor_for_the_share(small):
    _, net, images = small
    amounts = {"translation": [-3, 0, 3], "scale": [1.0, 1.3], "rotation": [0.0, 45.0, 360.0]}
    found = invariance(net, images[:1], target=[1], amounts=amounts)
    assert [found.changed(k).tolist() for k in range(3)] == [
        [True, False, True], [False, True, False], [False, True, False],
    ]  # fmt: skip
    distance = torch.tensor([[[[0.5, 0.0, 0.7]]], [[[0.0, 0.9, torch.nan]]]], dtype=torch.float64)
    planted = replace(
        found,
        transforms=("translation", "rotation"),
        units=("pixels down", "degrees counterclockwise"),
        layers=("one",),
        amounts=torch.tensor([[-3.0, 0, 3], [0, 90, 360]], dtype=torch.float64),
        distance=distance,
        predicted=torch.tensor([[[2, 1, 1]], [[1, 2, 1]]]),
    )
    assert planted.medians(0) == pytest.approx([0.6])
    assert planted.medians(1) == pytest.approx([0.9])
    assert (planted.kept(0), planted.kept(1)) == ((1, 2), (0, 1))
    assert planted.summary().splitlines()[:3] == [
        "translation, -3 to 3 pixels down:",
        "  one: median distance 0.600 of the features' length",
        "  the target is the answer for 1 of 2 transformed images",
    ]
    assert said_in_the_report(planted, 0) == (
        "Translation from −3 to 3 pixels down: the features move by a median of 0.6 at one, of "
        "their length; the answer stays for 1 of 2 transformed pictures."
    )
    undone = replace(planted, predicted=torch.full((2, 1, 3), -1))
    assert undone.kept(0) == (0, 0)
    still = invariance(net, images, transform="scale", amounts={"scale": [1.0]})
    assert all(map(math.isnan, still.medians(0)))
    assert still.kept(0) == (0, 0)


def test_memory_never_changes_an_answer(small):
    _, net, images = small
    one, other = (invariance(net, images, steps=4, memory=m) for m in ("1kB", "1GB"))
    assert torch.allclose(one.distance, other.distance, atol=1e-12, equal_nan=True)


def test_half_of_the_memory_holds_the_plain_images_features(small, monkeypatch):
    _, net, images = small
    kept, result = [], module._InvarianceWork.result
    monkeypatch.setattr(
        module._InvarianceWork,
        "result",
        lambda self, *a: kept.append(len(self.plain)) or result(self, *a),
    )
    layers = invariance(net, images, steps=2).layers
    each = sum(math.prod(net.layers[name].shape) for name in layers) * images.element_size()
    for memory, images_kept in ((2 * each, 1), (2 * each - 2, 0)):
        invariance(net, images, steps=2, memory=memory)
        assert kept == [len(images), images_kept]
        kept.pop()


def test_a_network_of_maps_has_no_answers():
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU())
    net = Network(module, torch.zeros(1, 2, 12, 14))
    found = invariance(net, picture(12, 14)[None].float(), "1", "scale", steps=3)
    assert found.probability is None
    assert found.targets == ()
    with pytest.raises(UnitError, match="is no classifier"):
        invariance(net, picture(12, 14)[None].float(), ["1"], target=[0])


def test_stopping_early_gives_what_is_done(small, tmp_path):
    _, net, images = small
    whole = invariance(net, images, steps=6)
    found = invariance(net, images, steps=6, budget=1e-9)
    assert found.partial
    assert found.notes[-1].startswith("stopped early: 8 of ")
    known = ~found.distance.isnan()
    assert known.sum() == 8 * 3
    assert torch.allclose(found.distance[known], whole.distance[known], atol=1e-12)
    found.save(tmp_path / "i.safetensors")
    again = Invariance.load(tmp_path / "i.safetensors")
    assert again.to_json() == found.to_json()
    assert json.loads(found.to_json())["units"][0] == "pixels down"


def test_mistakes_are_said(small):
    _, net, images = small
    for options, kind, message in (
        ({"transform": "rotaton"}, ImageError, "did you mean 'rotation'"),
        ({"transform": []}, ConvscopeError, "no transformation was named"),
        ({"fill": "noise"}, ImageError, "the fill 'noise' is for patches"),
        (
            {"fill": "relfect"},
            ImageError,
            "unknown fill 'relfect'; did you mean 'reflect'. "
            r"\(known: reflect, gray, black, mean, image-mean, or a colour such as #808080\)",
        ),
        ({"steps": 1}, ConvscopeError, "the number of steps must be at least 2"),
        ({"target": [1]}, UnitError, "2 images need 2 target classes, not 1"),
        ({"target": [1, 7]}, UnitError, "has classes 0 to 2, not 7"),
        ({"layer": "thre"}, UnitError, "has no layer 'thre'"),
        ({"amounts": {"scale": [0.0]}}, ImageError, "cannot be transformed by scale 0"),
        ({"amounts": {"scale": []}}, ConvscopeError, "no amounts were given for the scale"),
    ):
        with pytest.raises(kind, match=message):
            invariance(net, images, **options)


def test_one_image_needs_one_class(small):
    _, net, images = small
    with pytest.raises(UnitError, match=r"^1 image needs 1 target class, not 2$"):
        invariance(net, images[:1], target=[1, 2])


def test_one_class_may_be_that_of_all_images(small):
    _, net, images = small
    one, both = (invariance(net, images, steps=2, target=target) for target in (1, [1, 1]))
    assert one.targets == (1, 1)
    assert torch.equal(one.probability.nan_to_num(9), both.probability.nan_to_num(9))


def test_few_steps_are_each_shown_once(small):
    _, net, images = small
    figure = invariance(net, images[:1], transform="translation", steps=3).plot()
    below = [text.get_text() for text in figure.texts]
    assert [text for text in below if text in ("−3", "0", "3")] == ["−3", "0", "3"]
    assert len(figure.axes) == 3 + 3 + 1  # examples, distances, the probability


WIDE = [("column", 2), ("text", 2), ("slide", 4)]


@pytest.mark.parametrize("across", some(WIDE[:1], WIDE))
def test_it_is_drawn_at_any_width(small, across):
    (width, across), (_, net, images) = across, small
    figure = invariance(net, images, steps=2).plot(width=width)
    charts = [axes for axes in figure.axes if not axes.images]
    assert len(charts) == 3 * 4
    assert len({round(axes.get_position().x0, 3) for axes in charts}) == across
    letters = [text.get_fontsize() for text in figure.texts]
    letters += [label.get_fontsize() for axes in charts for label in axes.get_xticklabels()]
    assert min(letters) >= 7
    with pytest.raises(OutputError, match="11 images are too many for one figure"):
        invariance(net, images[:1].expand(11, -1, -1, -1), steps=2).plot()


def test_it_saves_and_sums_up_itself(small, tmp_path):
    _, net, images = small
    found = invariance(net, images, steps=3, titles=["a.png", "b.png"])
    assert len(repr(found)) < 1000
    for ending in endings(Invariance):
        found.save(tmp_path / f"i{ending}")
        assert (tmp_path / f"i{ending}").stat().st_size > 100, ending
    again = Invariance.load(tmp_path / "i.safetensors")
    assert again.to_json() == found.to_json()
    assert torch.equal(again.images, found.images)
    rows = found.table()
    assert len(rows) == 3 * 2 * 3
    assert rows[4]["image"] == "b.png"
    assert rows[4]["distance at relu"] == found.distance[0, 0, 1, 1].item()
    assert rows[4]["probability"] == found.probability[0, 1, 1].item()


def test_stopping_hands_out_what_is_done(small):
    _, net, images = small

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        invariance(net, images, steps=6, progress=stop)
    assert stopped.value.result.partial == "interrupted"
    assert stopped.value.result.notes[-1].startswith("stopped early: 8 of ")


@pytest.fixture
def run(there, answer):
    """Run a command beside two pictures and parts.csv."""
    Path("parts.csv").write_text(
        "image,part,left,top,right,bottom\n"
        "one.png,nose,2,3,8,9\ntwo.png,nose,12,3,18,9\n"
        "one.png,$ear$,0,0,5,6\ntwo.png,$ear$,19,18,24,24\n"
    )
    return lambda verb, *arguments: answer(verb, "networks.py:small", *arguments)


def test_the_command_invariance(run, tmp_path):
    status, out, err = run("invariance", "one.png", "two.png", "--steps", "4", "--json")
    assert status == 0, err
    answer = json.loads(out)
    assert answer["titles"] == ["one.png", "two.png"]
    assert np.array(answer["distance"], dtype=float).shape == (3, 3, 2, 4)
    with Image.open(tmp_path / "invariance.png") as figure:
        assert figure.width == 1540
    status, out, err = run(
        "invariance", "one.png", "--transform", "scale", "--steps", "3", "--target", "dog",
        "--budget", "900", "--fill", "gray", "-o", "i.safetensors",
    )  # fmt: skip
    assert status == 0, err
    assert "P(dog)" in out
    assert Invariance.load("i.safetensors").fill == "gray"


def test_the_command_correspondence(run, tmp_path):
    status, out, err = run("correspondence", "parts.csv", "--repeats", "2", "--json")
    assert status == 0, err
    answer = json.loads(out)
    assert answer["parts"] == ["nose", "$ear$"]
    with Image.open(tmp_path / "correspondence.png") as figure:
        assert figure.width == 1540
    status, out, err = run("correspondence", "parts.csv", "--repeats", "2", "--layer", "1")
    assert status == 0, err
    assert "share of features whose change has another sign" in out
    status, out, err = run("correspondence", "parts.csv", "-o", "c.safetensors", "--repeats", "1")
    assert status == 0, err


def test_the_command_sanity(run, tmp_path):
    status, out, err = run("sanity", "one.png", "--seeds", "2", "--others", "2", "--json")
    assert status == 0, err
    answer = json.loads(out)
    assert answer["title"] == "one.png"
    assert set(answer["verdicts"]) == {"deconvnet", "guided", "gradient"}
    assert np.array(answer["randomised"], dtype=float).shape == (3, 4, 2, 3)
    with Image.open(tmp_path / "sanity.png") as figure:
        assert figure.width == 1540
    status, out, err = run(
        "sanity", "one.png", "--rule", "guided", "--layer", "4", "--seeds", "1", "--others", "1",
        "--other", "two.png", "--init", "permute", "--budget", "900", "-o", "s.safetensors",
    )  # fmt: skip
    assert status == 0, err
    assert "guided: the picture" in out


MISTAKES = [
    (("sanity", "one.png", "--rule", "gided"), "did you mean 'guided'"),
    (("sanity", "one.png", "--init", "drawn"), "unknown init 'drawn'"),
    (("sanity", "one.png", "--budget", "0"), "the budget '0' is not a number of seconds"),
    (("sanity", "one.png", "-o", "s.gif"), "its ending must be one of"),
    (("invariance", "one.png", "--transform", "shear"), "unknown transformation 'shear'"),
    (("invariance", *["one.png"] * 11), "11 images are too many for one figure"),
    (("correspondence", "part.csv"), "the table of parts part.csv cannot be read"),
    (("correspondence", "one.png"), "the table of parts one.png cannot be read"),
    (("correspondence", "parts.csv", "--repeats", "0"), "the number of repeats must be at least 1"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_one_sentence_and_code_2(run, arguments, message):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
