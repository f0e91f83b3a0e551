"""Correspondence: against loops over pairs of images, and tables of parts as people write them."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer
from PIL import Image
from torch import Tensor, nn

from convscope.errors import ConvscopeError, DataError, ImageError, Interrupted
from convscope.figures.style import PALE
from convscope.images import Preprocess
from convscope.methods.correspondence import (
    Correspondence,
    correspondence,
    differences,
    jackknife_error,
    mean_of_pairs,
)
from convscope.methods.parts import Part, read_parts
from convscope.network import Network
from products import endings


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, padding=1)
        self.two = nn.Conv2d(4, 5, 3)
        self.scores = nn.Linear(5, 3)

    def features(self, x: Tensor) -> list[Tensor]:
        first = F.relu(self.one(x))
        second = F.relu(self.two(F.max_pool2d(first, 2)))
        return [first, second]

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.features(x)[1].mean((2, 3)))


@pytest.fixture(scope="module")
def small() -> tuple[Small, Network, Tensor]:
    torch.manual_seed(4)
    module = Small().double().eval()
    images = torch.rand(4, 3, 14, 16, dtype=torch.float64)
    return module, Network(module, images[:1], preprocess="none"), images


PARTS = [
    Part(0, "eye", (2, 3, 6, 8)),
    Part(1, "eye", (3, 3, 7, 9)),
    Part(3, "eye", (0, 0, 4, 5)),
    Part(0, "nose", (9, 9, 14, 16)),
    Part(2, "nose", (5, 5, 10, 12)),
]


def signs(module: Small, image: Tensor, box: tuple[int, int, int, int]) -> list[list[int]]:
    top, left, bottom, right = box
    hidden = image.clone()
    hidden[:, top:bottom, left:right] = 0.5
    pairs = zip(module.features(image[None]), module.features(hidden[None]), strict=True)
    return [
        [int(np.sign(round(value, 12))) for value in (old - new).flatten().tolist()]
        for old, new in pairs
    ]


def hamming(rows: list[list[int]]) -> float:
    shares = [
        sum(a != b for a, b in zip(one, other, strict=True)) / len(one)
        for one, other in itertools.combinations(rows, 2)
    ]
    return sum(shares) / len(shares)


def test_differences_are_hamming_distances_of_signs(small):
    module, net, images = small
    found = correspondence(net, PARTS, images, ["relu", "relu@1"], repeats=2)
    assert (found.parts, found.counts) == (("eye", "nose"), (3, 2))
    for p, name in enumerate(found.parts):
        marks = [part for part in PARTS if part.name == name]
        changes = [signs(module, images[part.image], part.box) for part in marks]
        for at in range(2):
            rows = [change[at] for change in changes]
            assert found.difference[p, at].item() == pytest.approx(hamming(rows), abs=1e-12)
            changed = np.mean([value != 0 for row in rows for value in row])
            assert found.changed[p, at].item() == pytest.approx(changed, abs=1e-12)
    rows = [signs(module, images[part.image], part.box)[0] for part in PARTS[:3]]
    leave_one_out = [hamming(rows[:n] + rows[n + 1 :]) for n in range(3)]
    error = math.sqrt(2 / 3 * sum((x - np.mean(leave_one_out)) ** 2 for x in leave_one_out))
    assert found.error[0, 0].item() == pytest.approx(error, abs=1e-12)
    assert found.error[1, 0].isnan()


def test_only_what_sees_the_part_changes(small):
    """In single precision too, nothing changes outside what the first layer's units read."""
    _, _, images = small
    net = Network(Small().eval(), images[:1].float())
    parts = [Part(n, "p", (4, 5, 7, 9)) for n in range(4)]
    found = correspondence(net, parts, images.float(), ["relu"], repeats=1)
    assert found.changed.item() <= (5 * 6) / (14 * 16)
    assert found.changed.item() > 0


def test_identical_images_correspond_wholly(small):
    _, net, images = small
    same = images[:1].expand(3, -1, -1, -1)
    parts = [Part(n, "p", (4, 5, 9, 9)) for n in range(3)]
    found = correspondence(net, parts, same, repeats=4, seed=1)
    assert (found.difference == 0).all()
    assert (found.error == 0).all()
    assert (found.same_place == 0).all()
    assert (found.random[:, 0].mean(-1) > 0).all()


def test_random_boxes_follow_the_seed(small):
    _, net, images = small
    one, two, other = (correspondence(net, PARTS, images, repeats=3, seed=s) for s in (0, 0, 1))
    assert torch.equal(one.random, two.random)
    assert not torch.equal(one.random, other.random)
    more = correspondence(net, PARTS, images, repeats=5, seed=0)
    assert torch.equal(more.random[..., :3], one.random)
    mean, error = one.control("random")
    values = one.random.numpy()
    np.testing.assert_allclose(mean, values.mean(2), atol=1e-12)
    np.testing.assert_allclose(error, values.std(2, ddof=1) / math.sqrt(3), atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(1, 9), st.integers(0, 10**6))
def test_pairs_by_loops(count, features, seed):
    values = np.random.default_rng(seed).integers(-1, 2, (count, features))
    pairs = differences(torch.from_numpy(values))
    assert mean_of_pairs(pairs) == pytest.approx(hamming(values.tolist()), abs=1e-12)
    assert 0 <= mean_of_pairs(pairs) <= 1
    assert math.isnan(jackknife_error(pairs)) == (count == 2)


def test_stopping_early_gives_the_parts(small, tmp_path):
    _, net, images = small
    seen = []
    found = correspondence(
        net, PARTS, images, repeats=2, budget=1e-9, progress=lambda *a: seen.append(a)
    )
    assert found.partial
    assert not found.difference.isnan().any()
    assert found.random.isnan().all()
    assert seen[-1] == (5, 25)
    found.save(tmp_path / "c.safetensors")
    again = Correspondence.load(tmp_path / "c.safetensors")
    assert again.to_json() == found.to_json()
    assert json.loads(found.to_json())["boxes"][1] == [1, 0, 3, 3, 7, 9]


def test_an_unknown_error_is_not_drawn_as_none(small):
    _, net, images = small
    record = correspondence(net, PARTS, images, ["relu"], repeats=3)
    figure = record.plot(caption="full")
    chart = next(axes for axes in figure.axes if axes.containers)
    bars = [c for c in chart.containers if isinstance(c, BarContainer)]
    # The eye is marked in three images, the nose in two.
    whiskers = bars[0].errorbar.lines[2][0].get_segments()
    reach = [np.ptp(whisker[:, 1]) for whisker in whiskers if len(whisker)]
    assert reach == pytest.approx([2 * float(record.error[0, 0])])
    written = " ".join(text.get_text() for text in figure.texts)
    assert "there is no error from two images (nose)." in " ".join(written.split())
    once = correspondence(net, PARTS[:3], images, ["relu"], repeats=1)
    written = " ".join(text.get_text() for text in once.plot(caption="full").texts)
    assert "there is no error from one draw." in " ".join(written.split())


def test_stopping_hands_out_what_is_done(small):
    _, net, images = small

    def stop(done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        correspondence(net, PARTS, images, repeats=2, progress=stop)
    found = stopped.value.result
    assert found.partial == "interrupted"
    assert not found.difference.isnan().any()
    assert found.notes[-1] == "stopped early: 7 of 25 boxes were hidden"


def test_a_part_corresponds_if_it_beats_every_random_box(small):
    _, net, images = small
    found = correspondence(net, PARTS, images, ["relu", "relu@1"], repeats=2)
    # The eye's first two boxes overlap; the nose's two share rows 9 and columns 9 to 12.
    apart = tuple((n, p, *box) for n, p, *box in found.boxes if p == 0)
    apart += ((0, 1, 9, 9, 14, 16), (2, 1, 0, 0, 5, 7))
    planted = replace(
        found,
        boxes=apart,
        difference=torch.tensor([[0.1, 0.3], [0.1, 0.3]], dtype=torch.float64),
        random=torch.tensor([[[0.2, 0.4]] * 2] * 2, dtype=torch.float64),
        same_place=torch.tensor([[[0.05, 0.2]] * 2] * 2, dtype=torch.float64),
    )
    # Of the nose, marked in two places, what one random place gives is no measure.
    assert planted.corresponds.tolist() == [[False, False], [True, False]]
    assert planted.summary().count("no better than chance") == 3
    undone = replace(planted, random=torch.full((2, 2, 2), math.nan, dtype=torch.float64))
    assert not undone.corresponds.any()
    charts = [axes for axes in planted.plot().axes if axes.containers]
    colours = [
        [to_hex(bar.get_facecolor()) for bar in chart.containers[1].patches] for chart in charts
    ]
    assert [[own == PALE for own in row] for row in colours] == [[True, False], [True, True]]


@pytest.mark.parametrize(("width", "across"), [("column", 1), ("text", 3), ("slide", 3)])
def test_it_is_drawn_at_any_width(small, width, across):
    _, net, images = small
    found = correspondence(net, PARTS, images, ["relu", "relu@1", "mean"], repeats=1)
    figure = found.plot(width=width)
    charts = [axes for axes in figure.axes if axes.containers]
    assert len({round(axes.get_position().x0, 3) for axes in charts}) == across
    assert sum(bool(axes.images) for axes in figure.axes) == 4
    letters = [text.get_fontsize() for text in figure.texts]
    letters += [text.get_fontsize() for legend in figure.legends for text in legend.get_texts()]
    assert min(letters) >= 7


def test_it_saves_and_sums_up_itself(small, tmp_path):
    _, net, images = small
    found = correspondence(net, PARTS, images, ["relu", "relu@1"], repeats=2, titles=list("abcd"))
    assert len(repr(found)) < 1000
    for ending in endings(Correspondence):
        found.save(tmp_path / f"c{ending}")
        assert (tmp_path / f"c{ending}").stat().st_size > 100, ending
    again = Correspondence.load(tmp_path / "c.safetensors")
    assert again.to_json() == found.to_json()
    assert torch.equal(again.images, found.images)
    rows = found.table()
    assert [(row["layer"], row["part"]) for row in rows] == [
        ("relu", "eye"), ("relu", "nose"), ("relu@1", "eye"), ("relu@1", "nose")
    ]  # fmt: skip
    assert rows[3]["random"] == found.control("random")[0][1, 1].item()


def test_a_table_is_taken_by_its_name(small, tmp_path):
    _, net, _ = small
    generator = np.random.default_rng(0)
    for name in ("one.png", "two.png"):
        pixels = generator.integers(0, 255, (14, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    table = tmp_path / "p.csv"
    table.write_text(HEAD + "one.png,nose,2,3,8,9\ntwo.png,nose,8,3,14,9\n")
    marked = read_parts(table, net.preprocess)
    options = {"layer": "relu", "repeats": 2}
    found = correspondence(net, table, **options)
    assert found.titles == ("one.png", "two.png")
    assert found.to_json() == correspondence(net, marked, **options).to_json()
    listed = correspondence(net, marked.parts, [tmp_path / t for t in found.titles], **options)
    assert listed.to_json() == found.to_json()
    with pytest.raises(DataError, match="a table of parts names its own images"):
        correspondence(net, table, marked.images)
    with pytest.raises(DataError, match="needs the images"):
        correspondence(net, marked.parts)


def test_mistakes_are_said(small):
    _, net, images = small
    for parts, message in (
        ([], "no part is marked"),
        ([Part(0, "eye", (0, 0, 2, 2))], "'eye' is marked in one image only"),
        ([Part(0, "eye", (0, 0, 2, 2))] * 2, "'eye' is marked twice in one image"),
        ([Part(7, "eye", (0, 0, 2, 2))], "'eye' is marked in image 7 of 4"),
        ([Part(0, "eye", (0, 0, 2, 17))], "'eye' of image 0 does not lie in it"),
    ):
        with pytest.raises(DataError, match=message):
            correspondence(net, parts, images)
    with pytest.raises(ConvscopeError, match="the number of repeats must be at least 1"):
        correspondence(net, PARTS, images, repeats=0)
    with pytest.raises(ConvscopeError, match="the seed must be from 0 to 4,294,967,295, not -2"):
        correspondence(net, PARTS, images, seed=-2)


@pytest.mark.parametrize(("size", "resize"), [((40, 30), 24), ((30, 50), 24), ((17, 40), None)])
def test_boxes_follow_the_picture_into_the_network(size, resize):
    """A white box on black comes out where window() says, to a pixel of interpolation."""
    preprocess = Preprocess.identity(3, (16, 20))
    preprocess = Preprocess(preprocess.mean, preprocess.std, (16, 20), resize)
    picture = Image.new("RGB", size)
    box = (size[0] // 3, size[1] // 3, 2 * size[0] // 3, 2 * size[1] // 3)
    picture.paste((255, 255, 255), box)
    top, left, bottom, right = preprocess.window(size, box)
    shown = preprocess(picture)[0, 0] > 0.5
    rows, columns = (torch.where(shown.any(dim))[0] for dim in (1, 0))
    ends = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
    assert all(abs(int(e) - w) <= 1 for e, w in zip(ends, (top, left, bottom, right), strict=True))


def test_a_box_that_is_cropped_away_is_said():
    preprocess = Preprocess((0.0,) * 3, (1.0,) * 3, (10, 10), 10)
    with pytest.raises(ImageError, match="nothing of the box 0, 0, 5, 10 lies in the part"):
        preprocess.window((40, 10), (0, 0, 5, 10))


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (20, 10), "white").save(tmp_path / name)
    return tmp_path


HEAD = "image,part,left,top,right,bottom\n"


def test_a_box_that_is_cut_is_said(small, tmp_path):
    _, net, _ = small
    shown = Preprocess((0.5,) * 3, (0.25,) * 3, (14, 16), resize=14)
    for name in "ab":
        Image.fromarray(np.full((14, 32, 3), ord(name), np.uint8)).save(tmp_path / f"{name}.png")
    table = "image,part,left,top,right,bottom\n"
    # The network is shown columns 8 to 24 of 32.
    rows = "a.png,eye,9,2,14,8\nb.png,eye,8,2,24,8\na.png,nose,4,2,14,8\nb.png,nose,9,2,14,8\n"
    (tmp_path / "parts.csv").write_text(table + rows)
    marked = read_parts(tmp_path / "parts.csv", shown)
    assert [part.cut for part in marked.parts] == [False, False, True, False]
    record = correspondence(
        net, replace(marked, images=marked.images.double()), None, ["relu"], repeats=1
    )
    assert record.notes == ("cut to what the network is shown: nose in 1 image",)


def test_a_table_is_read(folder):
    (folder / "p.csv").write_text(
        "\ufeffpart,image,left,top,right,bottom,who\nnose,b.png,2,1,6.5,5,x\n", encoding="utf-8"
    )
    found = read_parts(folder / "p.csv", Preprocess.identity(3, (10, 20)))
    assert found.parts == (Part(0, "nose", (1, 2, 5, 6)),)
    assert found.files == (folder / "b.png",)
    assert found.images.shape == (1, 3, 10, 20)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs the columns image, part, left, top, right, bottom, and has no image"),
        ("image,part,left,top,right\n", "has no bottom"),
        (HEAD, "is empty"),
        (HEAD + "a.png,nose,1,2,x,4\n", "line 2 of .*: left, top, right and bottom are numbers"),
        (HEAD + "a.png,nose,1,2\n", "line 2 of .*: left, top, right and bottom are numbers"),
        (HEAD + "a.png,nose,1,2,21,4\n", "the box 1, 2, 21, 4 does not lie in the picture, 20×"),
        (HEAD + "a.png,nose,5,2,3,4\n", "does not lie in the picture"),
        (HEAD + "a.png,nose,nan,2,3,4\n", "does not lie in the picture"),
    ],
)
def test_a_damaged_table_is_said(folder, text, message):
    (folder / "p.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_parts(folder / "p.csv", Preprocess.identity(3, (10, 20)))


def test_a_missing_picture_is_said(folder):
    (folder / "p.csv").write_text(HEAD + "c.png,nose,1,2,3,4\n")
    with pytest.raises(ImageError, match=r"c\.png does not exist"):
        read_parts(folder / "p.csv", Preprocess.identity(3, (10, 20)))
