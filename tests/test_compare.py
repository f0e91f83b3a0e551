"""Two networks side by side: partners by a slow oracle, and the page in a real browser."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import convscope as cs
from architectures import Plain
from browsing import SCREENS, check_in_browser
from convscope.errors import ConvscopeError, DataError, UnitError
from convscope.figures.compare import NARROWEST_PAIR, attributions_figure, pairs_figure
from convscope.figures.lettering import width_of
from convscope.figures.pieces import sheet_of
from convscope.figures.sheet import number
from convscope.figures.style import FOOT_POINTS, Style
from convscope.images import Preprocess
from convscope.methods import compare as comparing
from convscope.methods.compare import corresponding
from convscope.methods.compare_matching import Matcher
from convscope.methods.scanning.sources import GivenImages, SomeImages
from convscope.methods.scanning.units import scanned_layers
from convscope.network import Layer
from convscope.pages.compare import _lead, write_comparison
from convscope.pages.layer_tables import lined_up
from products import endings


def network(seed: int = 0, width: int = 6, name: str = "net") -> cs.Network:
    torch.manual_seed(seed)
    module = nn.Sequential(
        *(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(width, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1)),
        *(nn.Flatten(), nn.Linear(8, 4)),
    ).eval()
    return cs.Network(
        module,
        torch.zeros(1, 3, 16, 16),
        name=name,
        preprocess=Preprocess.identity(3, (16, 16)),
        classes=("red", "green", "blue", "grey"),
    )


def pictures(count: int = 24, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return list(torch.rand(count, 3, 16, 16, generator=generator))


class Labelled:
    classes = ("blue", "red")

    def __init__(self, images: list[torch.Tensor], labels: list[int]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        return self.images[number], self.labels[number]


def test_partners_are_those_of_numpys_correlation():
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(5, 4, 6, 6, generator=generator)
    second = torch.randn(5, 7, 3, 3, generator=generator)
    second[:, 2] = -5 * torch.nn.functional.avg_pool2d(first, 2)[:, 1] + 100
    second[:, 5] = 4 * torch.nn.functional.avg_pool2d(first, 2)[:, 1] - 7
    second[:, 6] = 3.25  # never changes
    matcher = Matcher(("a", "b"), ((4, 6, 6), (7, 3, 3)))
    for part in (slice(0, 2), slice(2, 3), slice(3, 5)):
        matcher.add(first[part], second[part])
    found = matcher.match()

    def rows(maps: torch.Tensor, size: int) -> np.ndarray:
        cells = maps.double().numpy().reshape(5, maps.shape[1], 3, size, 3, size).mean((3, 5))
        return cells.transpose(1, 0, 2, 3).reshape(maps.shape[1], -1)

    expected = np.corrcoef(rows(first, 2), rows(second, 1)[:6])[:4, 4:]
    assert found.grid == (3, 3)
    assert found.first.partner.tolist() == expected.argmax(1).tolist()
    assert found.first.correlation.numpy() == pytest.approx(expected.max(1), abs=1e-6)
    assert found.second.partner.tolist() == [*expected.argmax(0).tolist(), -1]
    assert found.second.correlation[:6].numpy() == pytest.approx(expected.max(0), abs=1e-6)
    assert found.second.correlation[6].isnan()
    assert found.first.partner[1] == 5
    assert found.pairs[0][:2] == (1, 5)
    assert found.pairs[0][2] == pytest.approx(1, abs=1e-6)


def of_one_envelope(channels: tuple[int, int], seed: int = 0) -> list[torch.Tensor]:
    """Return maps that have nothing in common but where, and in which images, they are large."""
    generator = torch.Generator().manual_seed(seed)
    envelope = torch.exp(1.5 * torch.randn(120, 1, 8, 8, generator=generator))
    return [torch.rand(120, own, 8, 8, generator=generator) * envelope for own in channels]


def test_what_one_envelope_brings_counts_as_chance():
    first, second = of_one_envelope((16, 32))
    second[:, 3] = 2 * first[:, 5] + 1
    matcher = Matcher(("a", "b"), ((16, 8, 8), (32, 8, 8)))
    matcher.add(first, second)
    found = matcher.match()
    assert found.first.median > 0.8
    assert found.first.median_chance == pytest.approx(found.first.median, abs=0.05)
    assert found.first.chance_level >= found.first.median_chance
    for own, planted in ((found.first, 5), (found.second, 3)):
        beyond = own.beyond_chance.nonzero().flatten().tolist()
        assert planted in beyond
        assert len(beyond) <= 0.2 * len(own.partner)
    shuffled = Matcher(("a", "b"), ((16, 8, 8), (32, 8, 8)))
    shuffled.add(first, second[torch.randperm(120, generator=torch.Generator().manual_seed(1))])
    assert shuffled.match().first.median < 0.3


def test_chance_is_the_same_however_the_images_come_in():
    first, second = of_one_envelope((5, 6))
    second[:30, 2] = 0.0
    found = []
    for size in (1, 7, 120):
        matcher = Matcher(("a", "b"), ((5, 8, 8), (6, 8, 8)))
        for begin in range(0, 120, size):
            matcher.add(first[begin : begin + size], second[begin : begin + size])
        found.append(matcher.match())
    for one in found[1:]:
        assert torch.allclose(one.first.chance, found[0].first.chance, rtol=1e-9)
        assert torch.allclose(one.second.chance, found[0].second.chance, rtol=1e-9)


def test_one_image_has_no_chance_level_and_nothing_is_beyond_it():
    matcher = Matcher(("a", "b"), ((2, 4, 4), (1, 4, 4)))
    matcher.add(torch.rand(1, 2, 4, 4), torch.rand(1, 1, 4, 4))
    found = matcher.match()
    assert found.first.chance.isnan().all()
    assert not found.first.beyond_chance.any()
    assert not found.first.correlation.isnan().any()


@given(st.integers(0, 10_000), st.floats(0.01, 50), st.floats(-20, 20), st.permutations(range(5)))
@settings(max_examples=25, deadline=None)
def test_scales_and_orders_of_channels_do_not_matter(seed, scale, shift, order):
    maps = torch.randn(8, 5, 4, 4, generator=torch.Generator().manual_seed(seed))
    matcher = Matcher(("a", "b"), ((5, 4, 4), (5, 4, 4)))
    matcher.add(maps, scale * maps[:, order] + shift)
    found = matcher.match()
    assert [order[partner] for partner in found.first.partner.tolist()] == list(range(5))
    assert found.first.correlation.min() > 0.999
    assert len(found.pairs) == 5


def test_a_network_agrees_with_itself_and_permuted_channels_are_found():
    one, other = network(0), network(0, name="permuted")
    order = [3, 1, 5, 0, 2, 4]
    convolution, following = other.module[0], other.module[3]
    with torch.no_grad():
        convolution.weight.copy_(one.module[0].weight[order])
        convolution.bias.copy_(one.module[0].bias[order])
        following.weight.copy_(one.module[3].weight[:, order])
    found = cs.compare(one, other, pictures())
    partners = found.matches[0].first.partner.tolist()
    assert [order[p] for c, p in enumerate(partners) if p >= 0] == [
        c for c, p in enumerate(partners) if p >= 0
    ]
    assert found.matches[0].first.median > 0.999
    assert found.agreement == 1.0
    assert found.sides[0].right is None
    assert found.images == 24


def test_the_strongest_images_are_the_highest_peaks():
    one, other = network(0), network(1)
    images = pictures()
    found = cs.compare(one, other, images, sample=9)
    numbers = [round(n * 23 / 8) for n in range(9)]
    peaks = torch.relu(one.module[0](torch.stack(images)[numbers])).amax((2, 3))
    assert found.matches[0].strongest[0].tolist() == [numbers[n] for n in peaks.argmax(0)]
    assert found.images == 9


def test_labels_are_held_to_the_class_of_their_name():
    one, other = network(0), network(1)
    images = pictures(10)
    answers = one(torch.stack(images)).argmax(1)
    labels = [0 if n % 2 else 1 for n in range(10)]  # blue, red, ...
    found = cs.compare(one, other, Labelled(images, labels))
    wanted = torch.tensor([{0: 2, 1: 0}[label] for label in labels])
    assert found.sides[0].labelled == 10
    assert found.sides[0].right == int((answers == wanted).sum())
    theirs = other(torch.stack(images)).argmax(1)
    assert found.agreement == float((answers == theirs).double().mean())


def test_networks_of_other_builds_are_compared_at_the_same_share_of_the_depth():
    torch.manual_seed(0)
    deep = cs.Network(Plain().eval(), torch.zeros(1, 3, 16, 16))
    shallow = network()
    pairs = corresponding(scanned_layers(deep), scanned_layers(shallow))
    assert [(a.name, b.name) for a, b in pairs] == [("features.0", "0"), ("features.8", "3")]
    found = cs.compare(deep, shallow, pictures(6), [("features.1", "0"), ("features.5", "4")])
    assert [match.layers for match in found.matches] == [("features.0", "0"), ("features.5", "3")]
    assert found.agreement is None  # one names its classes by number only


def test_some_images_are_spread_evenly():
    net = network()
    some = SomeImages(GivenImages(pictures(10), net), 4)
    assert [some.original(n) for n in range(len(some))] == [0, 3, 6, 9]
    whole = SomeImages(GivenImages(pictures(3), net), 5)
    assert [whole.original(n) for n in range(len(whole))] == [0, 1, 2]
    assert some.fingerprint() != whole.fingerprint()


def layer(op: str, name: str, parameters: int = 0) -> Layer:
    return Layer(name, op, (1,), None, (0, 0), (1, 1), None, (1, 1), parameters, 0)


def test_layers_of_the_same_kind_stand_side_by_side():
    first = [layer(op, f"a{n}") for n, op in enumerate(["c", "n", "r", "c", "r"])]
    second = [layer(op, f"b{n}") for n, op in enumerate(["c", "r", "c", "r", "p"])]
    found = [(a and a.name, b and b.name) for a, b in lined_up(first, second)]
    assert found == [
        ("a0", "b0"), ("a1", None), ("a2", "b1"), ("a3", "b2"), ("a4", "b3"), (None, "b4"),
    ]  # fmt: skip
    weighed = [layer("r", "a"), layer("c", "b", 9)], [layer("c", "c", 9), layer("r", "d")]
    found = [(a and a.name, b and b.name) for a, b in lined_up(*weighed)]
    assert found == [("a", None), ("b", "c"), (None, "d")]


def test_what_cannot_be_compared_is_refused():
    one = network()
    with pytest.raises(DataError, match="hold 3 and 4 images"):
        cs.compare(one, one, (pictures(3), pictures(4)))
    with pytest.raises(ConvscopeError, match="at least 1 image"):
        cs.compare(one, one, pictures(3), sample=0)
    with pytest.raises(UnitError, match="no layer 'nowhere'"):
        cs.compare(one, one, pictures(3), [("nowhere", "0")])
    with pytest.raises(ConvscopeError, match="is no convolution"):
        cs.compare(one, one, pictures(3), [("7", "0")])


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    nets = network(0), network(1, 10, "other")
    images = Labelled(pictures(20), [n % 2 for n in range(20)])
    found = cs.compare(*nets, images)
    return found, write_comparison(found, folder / "out")


def test_the_page_says_what_the_numbers_say(page):
    found, path = page
    text = path.read_text("utf-8")
    side = found.sides[0]
    assert f"{side.right:,} of {side.labelled:,} ({side.accuracy:.1%})" in text
    assert f"{found.sides[1].parameters:,}" in text
    numbers = json.loads((path.parent / "numbers.json").read_text("utf-8"))
    assert numbers["agreement"] == found.agreement
    partners = numbers["matches"][0]["first"]["partner"]
    assert partners == found.matches[0].first.partner.tolist()
    one = replace(found, images=1)
    assert _lead(one).startswith("Two networks on the same 1 image of ")
    unlabelled = replace(found.sides[1], right=None, labelled=0)
    named = replace(found, data="shots", sides=(found.sides[0], unlabelled))
    alike = f"They give the same answer to {found.agreed}."
    assert _lead(named) == f"Two networks on the same 20 images of “shots”. {alike}"
    assert "http" not in text.replace("http://www.w3.org", "").replace("https://arxiv.org", "")


@pytest.mark.parametrize("width", [NARROWEST_PAIR + 0.3, 7.0, 16.0])
def test_a_long_file_name_never_takes_the_peak_or_the_scale_from_a_pair(page, width):
    shown = page[0].shown[0]
    units = tuple(
        replace(p, titles=("n02105641_Old_English_sheepdog" * 3 + ".jpg",) * len(p.titles))
        for p in shown.units
    )
    sheet = pairs_figure(page[0], replace(shown, units=units), Style(width))
    feet = [text.get_text() for text in sheet.figure.texts if text.get_text().startswith("peak ")]
    p = units[0]
    start = f"peak {number(p.activation[0, 0].item())}, ±{number(p.scales()[0][0].limit)}"
    side = sheet.figure.axes[0].get_position().width * width
    assert len(feet) == 2 * len(p.channels)
    assert feet[0].startswith(start)
    for foot in feet:
        assert foot.endswith(".jpg") or ";" not in foot
        assert width_of(foot, FOOT_POINTS) <= 2 * side + 0.05


@pytest.mark.parametrize("width", [3.4, 7.0])
def test_below_what_an_answer_hangs_on_stand_all_of_its_numbers(page, width):
    sheet = attributions_figure(page[0], Style(width))
    written = " ".join(text.get_text() for text in sheet.figure.texts)
    for p in page[0].attributions:
        for n in range(len(p.titles)):
            score, scale = number(p.activation[n, 0].item()), number(p.scales()[n][0].limit)
            told = f"{p.names[n][0]}: score {score} {p.adds_up(n, 0)} ±{scale}"
            assert told in written


def test_other_rules_and_methods_show_what_project_and_attribute_do(page):
    nets, images = (network(0), network(1)), pictures(5)
    found = cs.compare(*nets, images, [("0", "0")], rule="z-plus", method="integrated-gradients")
    answers = [net(torch.stack(images)).argmax(1) for net in nets]
    # Those that the two answer differently come first.
    order = sorted(range(5), key=lambda n: bool(answers[0][n] == answers[1][n]))[:3]
    for net, own, theirs in zip(nets, found.attributions, answers, strict=True):
        looked_at = torch.stack([images[n] for n in order])
        expected = cs.attribute(net, looked_at, method="integrated-gradients")
        torch.testing.assert_close(own.pixels, expected.pixels)
        assert own.channels.flatten().tolist() == theirs[order].tolist()
        assert [title.split(":")[0] for title in own.titles] == [f"image {n}" for n in order]
    units = found.shown[0].units[0]
    expected = cs.project(nets[0], units.images, "1", units.channels, rule="z-plus")
    torch.testing.assert_close(units.pixels, expected.pixels)
    assert (
        "Each pixel's share in each unit's" in pairs_figure(found, found.shown[0], Style(7)).words
    )
    assert page[0].attributions[1].rule == "epsilon-plus"
    with pytest.raises(cs.RuleError, match="unknown rule 'zplus'"):
        cs.compare(*nets, images, rule="zplus")
    with pytest.raises(cs.RuleError, match="unknown method 'cam'"):
        cs.compare(*nets, images, method="cam")
    left_out = cs.compare(*nets, images, [("0", "0")], method="expected-gradients").left_out
    assert left_out[0].startswith("what the answers hang on: expected-gradients needs baselines")


def test_what_one_networks_answers_cannot_show_is_shown_of_neither(tmp_path):
    plain = nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    nets = [
        cs.Network(nn.Sequential(plain[0], act, *plain[1:]), (1, 3, 12, 12))
        for act in (nn.ReLU(), nn.Tanh())
    ]
    found = cs.compare(*nets, list(torch.rand(4, 3, 12, 12)), method="guided")
    assert found.attributions == ()
    assert any(text.startswith("what the answers hang on: ") for text in found.left_out)
    found.save(tmp_path / "page")
    assert "hang on" in (tmp_path / "page" / "index.html").read_text()


def test_every_note_says_of_which_network_it_is(tmp_path, monkeypatch):
    nets = network(0), network(1)
    for net, note in zip(nets, ("random weights (seed 0)", "half precision"), strict=True):
        monkeypatch.setattr(net, "notes", (note,))
    found = cs.compare(*nets, pictures(6), [("0", "0")])
    assert found.names == ("net (A)", "net (B)")
    drawn = []

    def kept(style, pieces, caption, notes, **options):
        drawn.append("; ".join(notes))
        return sheet_of(style, pieces, caption, notes, **options)

    monkeypatch.setattr("convscope.figures.compare.sheet_of", kept)
    page = write_comparison(found, tmp_path)
    wanted = "net (A): random weights (seed 0); net (B): half precision"
    # The chart, the first filters, the answers, the pairs; for wide screens and for phones.
    assert drawn.count(wanted) == 2 * (3 + len(found.shown))
    # What both have is there once.
    assert sorted(path.name for path in (tmp_path / "parts").glob("arch*")) == [
        "architecture-0-narrow.svg", "architecture-0.svg",
    ]  # fmt: skip
    text = page.read_text("utf-8")
    assert '<p class="warning">net (B): half precision</p>' in text
    # Both diagnoses stand beside each other.
    assert 'class="column-1"' in text
    assert 'class="column-2"' in text


def test_what_is_left_out_says_of_which_network_and_of_which_share(monkeypatch):
    nets = network(0), network(1)
    original = comparing.diagnose

    def cut(net, *arguments, **options):
        found = original(net, *arguments, **options)
        why = f"importance of 0: the budget of {options['budget']:g} s was spent"
        return replace(found, left_out=(why,))

    monkeypatch.setattr(comparing, "diagnose", cut)
    left_out = cs.compare(*nets, pictures(4), budget=1e-3).left_out
    said = "importance of 0: its share of the budget, 0 s, was spent"
    assert left_out[-2:] == (f"net (A): {said}", f"net (B): {said}")


@pytest.mark.parametrize(("width", "colours"), SCREENS)
def test_the_page_is_whole_in_a_browser(browser, page, width, colours):
    check_in_browser(browser, page[1], width, colours, pictures=9)


@pytest.mark.slow
def test_the_command_compares(tmp_path, monkeypatch, answer):
    rng = np.random.default_rng(0)
    from PIL import Image

    (tmp_path / "images").mkdir()
    for n in range(6):
        pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{n}.png")
    (tmp_path / "nets.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "def one():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())\n\n\n"
        "def two():\n    return nn.Sequential(nn.Conv2d(3, 5, 5), nn.ReLU())\n"
    )
    monkeypatch.chdir(tmp_path)
    options = ("images", "-o", "out", "--size", "3,16,16")
    status, out, error = answer("compare", "nets.py:one", "nets.py:two", *options, "--json")
    assert status == 0, error
    numbers = json.loads(out)
    assert numbers["output"] == "out"
    status, out, error = answer("compare", "nets.py:one", "nets.py:one", *options)
    assert status == 0, error
    assert out.startswith("out/index.html\n6 images of images\n")
    assert "  nets.py:one (A): 112 parameters" in out
    assert "  nets.py:one (B): 112 parameters" in out
    assert [net["parameters"] for net in numbers["networks"]] == [112, 380]
    assert numbers["images"] == 6
    assert (tmp_path / "out" / "index.html").is_file()


def test_images_with_values_that_are_not_finite_are_left_out_and_named():
    one, other = network(0), network(1)
    with torch.no_grad():
        other.module[0].weight *= 1e5
    images = pictures(12)
    images[3], images[7] = images[3] * 1e36, images[7] * 1e36
    good = [image for n, image in enumerate(images) if n not in (3, 7)]
    found, expected = cs.compare(one, other, images), cs.compare(one, other, good)
    assert found.images == expected.images == 10
    why = "the network's activations are not finite from 0 on"
    assert found.bad == found.to_dict()["bad"] == {"image 3": why, "image 7": why}
    assert found.summary().endswith(f"2 images left out:\n  image 3: {why}\n  image 7: {why}")
    assert found.agreement == expected.agreement
    for own, theirs in zip(found.matches, expected.matches, strict=True):
        assert own.first.partner.tolist() == theirs.first.partner.tolist()
        assert torch.allclose(own.first.correlation, theirs.first.correlation, equal_nan=True)
        assert own.first.median == pytest.approx(theirs.first.median)
        numbers = [n for n in range(12) if n not in (3, 7)]
        assert own.strongest[1].tolist() == [numbers[n] for n in theirs.strongest[1].tolist()]
    with pytest.raises(DataError, match="image 0: the network's activations are not"):
        cs.compare(one, other, [images[3], images[7]])


def test_logits_that_are_not_finite_leave_an_image_out():
    one, other = network(0), network(1)
    with torch.no_grad():
        for place in (0, 3, 7):
            other.module[place].bias.zero_()
        other.module[3].weight *= 1e30
        other.module[7].weight *= 1e30
    images = [torch.zeros(3, 16, 16), *pictures(3)]
    found = cs.compare(one, other, images, [("0", "0")])
    assert found.images == 1
    assert [*found.bad] == ["image 1", "image 2", "image 3"]


@pytest.mark.parametrize("order", [1, -1])
def test_networks_of_other_numbers_of_classes_lose_no_image(order):
    torch.manual_seed(0)
    nets = [
        cs.Network(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, classes)),
            torch.zeros(1, 3, 16, 16),
            name=f"of {classes}",
        )
        for classes in (2, 5)
    ]
    images = pictures(10)
    labels = [n % 5 for n in range(10)]
    found = cs.compare(*nets[::order], list(zip(images, labels, strict=True)))
    sides = found.sides[::order]
    assert found.images == 10
    assert [side.labelled for side in sides] == [4, 10]
    for side, net in zip(sides, nets, strict=True):
        answers = net(torch.stack(images)).argmax(1).tolist()
        assert side.right == sum(a == b for a, b in zip(answers, labels, strict=True))
    note = "6 of 10 images have a label that is none of the 2 classes, and count as without one"
    assert [text for text in found.left_out if "label" in text] == [f"of 2: {note}"]


def test_ctrl_c_hands_out_what_was_matched_by_then(monkeypatch):
    nets = network(0), network(1)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(comparing, "diagnose", stop)
    with pytest.raises(cs.Interrupted) as stopped:
        cs.compare(*nets, pictures(6))
    found = stopped.value.result
    assert (found.partial, found.images) == ("interrupted", 6)
    assert found.sides[0].diagnosis is None
    assert "partial: interrupted" in found.summary()
    monkeypatch.setattr(comparing._ComparisonWork, "_take", stop)
    with pytest.raises(cs.Interrupted) as stopped:
        cs.compare(*nets, pictures(6))
    assert stopped.value.result is None


def test_what_is_found_shows_itself_and_comes_back_from_a_file(page, tmp_path):
    found, _ = page
    for ending in endings(cs.Comparison):
        found.save(tmp_path / f"it{ending}", width="column")
    again = cs.Comparison.load(tmp_path / "it.safetensors")
    assert json.loads(again.to_json()) == json.loads(found.to_json())
    mine, theirs = found.arrays(), again.arrays()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(v.nan_to_num(), theirs[name].nan_to_num()) for name, v in mine.items())
    assert len(repr(found)) < 1000
    rows = found.table()
    assert len(rows) == 6 + 10 + 8 + 8
    assert rows[0]["partner"] == int(found.matches[0].first.partner[0])
    assert rows[6]["network"] == "other"
    found.save(tmp_path / "page")
    assert (tmp_path / "page/index.html").is_file()
    assert found.plot(width="slide").get_size_inches()[0] == 10
    with pytest.raises(cs.OutputError, match="none for a folder"):
        found.save(tmp_path / "it.gif")


def test_channels_no_better_than_chance_are_grey(page):
    found, _ = page
    axes = found.plot().axes[0]
    sides = (found.matches[0].first, found.matches[0].second)
    for dots, own in zip(axes.collections[1:6:3], sides, strict=True):
        known = ~own.correlation.isnan()
        greys = (dots.get_facecolors()[:, :3].std(axis=1) < 1e-6).tolist()
        assert greys == (~own.beyond_chance[known]).tolist()


def test_an_image_that_cannot_be_read_is_named_in_text_numbers_and_page(tmp_path):
    for n, pixels in enumerate((torch.rand(6, 16, 16, 3) * 255).byte().numpy()):
        Image.fromarray(pixels).save(tmp_path / f"{n}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = cs.compare(network(0), network(1), tmp_path)
    ((title, why),) = found.bad.items()
    assert (title, found.images) == ("broken.png", 6)
    assert found.summary().endswith(f"1 image left out:\n  broken.png: {why}")
    assert found.to_dict()["bad"] == {title: why}
    found.save(tmp_path.with_name("page"))
    assert "broken.png: " in (tmp_path.with_name("page") / "index.html").read_text()


def test_a_chance_that_is_not_known_is_not_a_number():
    found = cs.compare(network(0), network(1), pictures(1))
    own = found.matches[0].first
    assert f"median correlation {own.median:.2f} (by chance: unknown)" in found.summary()
    assert {row["by_chance"] for row in found.table()} == {None}


def test_of_maps_of_one_value_chance_is_another_image():
    matcher = Matcher(("a", "b"), ((1, 1, 1), (1, 1, 1)))
    first, second = torch.rand(2, 8, 1, 1, 1, generator=torch.Generator().manual_seed(0)) + 1
    for size in (slice(0, 3), slice(3, 8)):
        matcher.add(first[size], second[size])
    expected = np.corrcoef(first[1:].flatten(), second[:-1].flatten())[0, 1]
    assert float(matcher.match().first.chance) == pytest.approx(expected)
