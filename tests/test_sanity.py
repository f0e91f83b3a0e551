"""Sanity checks: random weights in a copy, and every number against a slow account of it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from architectures import build, images_for
from convscope.errors import (
    ConvscopeError,
    ImageError,
    Interrupted,
    RuleError,
    TraceError,
    UnitError,
)
from convscope.figures.sanity import _caption, _draw_curve
from convscope.figures.style import INK, PALE
from convscope.methods import sanity as module_under_test
from convscope.methods.budget import far_apart
from convscope.methods.chance import Chance
from convscope.methods.randomisation import INITIALISATIONS, randomised, stages_of
from convscope.methods.sanity import sanity
from convscope.methods.sanity_result import Kept, Sanity
from convscope.methods.similarity import MEASURES, Prepared, similarities
from convscope.methods.targets import Target
from convscope.network import Network
from convscope.network.constants import learned_constants
from noise import by_chance
from products import endings

RULES = ("deconvnet", "guided", "gradient")


class Tiny(nn.Module):
    """Two convolutions with pools, and scores that are maps, as SqueezeNet has them."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 6, 3, padding=1)
        self.two = nn.Conv2d(6, 8, 3, padding=1)
        self.scores = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.one(x)), 2)
        x = F.max_pool2d(F.relu(self.two(x)), 2)
        return F.relu(self.scores(x)).mean((2, 3))


@pytest.fixture(scope="module")
def tiny() -> tuple[Tiny, Network, Tensor]:
    torch.manual_seed(5)
    module = Tiny().double().eval()
    image = torch.randn(1, 3, 20, 24, dtype=torch.float64)
    return module, Network(module, image), image


def slow_projection(module: Tiny, image: Tensor, start: Tensor, rule: str, other: Tensor) -> Tensor:
    """Bring *start*, at the scores, down by hand, with the switches of *other*."""
    signal = F.conv_transpose2d(start, module.scores.weight)
    below, below_other = image, other
    layers = []
    for layer in (module.one, module.two):
        before, before_other = layer(below), layer(below_other)
        below = F.max_pool2d(F.relu(before), 2)
        below_other, switches = F.max_pool2d(F.relu(before_other), 2, return_indices=True)
        layers.append((layer, before, switches))
    for layer, before, switches in reversed(layers):
        signal = F.max_unpool2d(signal, switches, 2, output_size=before.shape)
        if rule != "gradient":
            signal = signal.clamp(min=0)
        if rule != "deconvnet":
            signal = signal * (before > 0)
        signal = F.conv_transpose2d(signal, layer.weight, padding=1)
    return signal[0].detach()


def slow_similarities(one: Tensor, other: Tensor) -> list[float]:
    found = []
    for fold in (lambda p: p.abs().sum(0), lambda p: p.sum(0)):
        if not other.any():
            return [math.nan] * 4
        pair = [fold(p).numpy() for p in (one, other)]
        found.append(scipy.stats.spearmanr(pair[0].ravel(), pair[1].ravel()).statistic)
    for fold, low in ((lambda p: p.abs().sum(0), 0), (lambda p: p.sum(0), -1)):
        pair = []
        for p in (one, other):
            m = fold(p).numpy()
            pair.append(np.clip(m / np.quantile(np.abs(m[m != 0]), 0.999, method="higher"), low, 1))
        found.append(
            structural_similarity(
                *pair, data_range=1 - low, gaussian_weights=True, use_sample_covariance=False
            )
        )
    return found


def scores_signal(channel: int, less: int = 0) -> Tensor:
    signal = torch.zeros(1, 4, 5, 6, dtype=torch.float64)
    signal[:, channel] = 1
    if less:
        signal[:, (channel - less) % 4] = -1
    return signal


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(11, 30), st.integers(11, 30), st.sampled_from([0, 2]))
def test_similarities_are_the_peers(seed, height, width, levels):
    generator = torch.Generator().manual_seed(seed)
    one, other = torch.randn(2, 3, height, width, generator=generator).double()
    other = 0.5 * one + other
    if levels:  # so that many values are equal
        one, other = ((levels * own).round() for own in (one, other))
    own, changed, nothing = map(Prepared.of, (one, other, torch.zeros_like(one)))
    assert similarities(own, changed).tolist() == pytest.approx(
        slow_similarities(one, other), abs=1e-10
    )
    assert similarities(own, own).tolist() == pytest.approx([1] * 4, abs=1e-12)
    assert similarities(own, nothing).isnan().all()


@pytest.mark.parametrize(
    ("target", "less", "called"),
    [
        (2, 0, "class 2"),
        ("2-1", 1, "class 2 − class 1"),
        (Target(2, minus=0), 2, "class 2 − class 0"),
    ],
)
def test_every_test_is_its_slow_account(tiny, target, less, called):
    module, net, image = tiny
    other = torch.randn(1, 3, 20, 24, dtype=torch.float64)
    found = sanity(net, image, target=target, seeds=2, others=2, other=other)
    assert found.layers == ("scores", "two", "one")
    assert (found.start, found.channel, found.class_name) == ("scores", 2, called)
    stages = stages_of(net.graph, net.step("scores"))
    for r, rule in enumerate(RULES):
        own = slow_projection(module, image, scores_signal(2, less), rule, image)
        assert torch.allclose(found.pictures[r, 0], own, atol=1e-12)
        switched = slow_projection(module, image, scores_signal(2, less), rule, other)
        assert found.switches[r].tolist() == pytest.approx(
            slow_similarities(own, switched), abs=1e-9, nan_ok=True
        )
        for k, channel in enumerate(found.other_units):
            unit = slow_projection(module, image, scores_signal(channel, less), rule, image)
            assert found.units[r, :, k].tolist() == pytest.approx(
                slow_similarities(own, unit), abs=1e-9, nan_ok=True
            )
        for s in range(2):
            weights = randomised(net.graph, stages, "centred", found.seeds[s])
            twin = Tiny().double().eval()
            twin.load_state_dict(module.state_dict())
            for t, (name, replaced) in enumerate(zip(found.layers, weights, strict=True)):
                for parameter in (f"{name}.weight", f"{name}.bias"):
                    new = replaced[module.get_parameter(parameter)]
                    twin.get_parameter(parameter).data.copy_(new)
                random = slow_projection(twin, image, scores_signal(2, less), rule, image)
                expected = slow_similarities(own, random)
                assert found.randomised[r, :, s, t].tolist() == pytest.approx(
                    expected, abs=1e-9, nan_ok=True
                )

    assert (~found.units.isnan()).any()
    assert (~found.switches.isnan()).any()
    assert (~found.randomised.isnan()).double().mean() > 0.5


class Maps(nn.Module):
    """Four classes a place, at half the size, and a row of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.maps = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 4, 1)
        self.row = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.one(x))
        return self.maps(x), self.row(x.mean((2, 3)))


@pytest.mark.parametrize("target", ["2@2,4,12,20", Target(2, box=(2, 4, 12, 20)), "2,3,5", "both"])
def test_targets_of_maps_and_of_several_outputs(target):
    torch.manual_seed(3)
    module, image = Maps().double().eval(), torch.randn(1, 3, 20, 24, dtype=torch.float64)

    def value(maps: Tensor, row: Tensor, by: int = 0) -> Tensor:
        if target == "both":
            return maps.roll(-by, 1)[0, 1, 4].sum() * 2 + row.roll(-by, 1)[0, 0]
        own = maps[0, (2 + by) % 4]
        return own[3, 5] if target == "2,3,5" else own[1:6, 2:10].mean()

    asked = value if target == "both" else target
    found = sanity(Network(module, image), image, asked, rules=["gradient"], seeds=1, others=3)

    def gradient(by: int) -> Tensor:
        given = image.clone().requires_grad_()
        return torch.autograd.grad(value(*module(given), by), given)[0][0]

    assert torch.allclose(found.pictures[0, 0], gradient(0), atol=1e-12)
    base = 2 if found.channel == 2 else 0
    for k, channel in enumerate(found.other_units):
        expected = slow_similarities(gradient(0), gradient(channel - base))
        assert found.units[0, :, k].tolist() == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert "another target instead" in found.columns
    asked_for = "class" if found.channel == 2 else "target"
    assert f"the {asked_for} asked for" in found.verdict("gradient")
    assert found.window == (0, 0, 20, 24)


def test_a_difference_is_the_score_of_a_network_that_makes_it():
    torch.manual_seed(4)
    body = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * 9 * 11, 4)]
    module, image = nn.Sequential(*body).double(), torch.randn(1, 3, 20, 24, dtype=torch.float64)
    head = nn.Linear(6 * 9 * 11, 1, bias=False).double()
    head.weight.data = (body[-1].weight[2] - body[-1].weight[1])[None].detach()
    other = nn.Sequential(*body[:-1], head)
    given = {"rules": ["deconvnet", "guided", "gradient", "rectgrad"], "seeds": 1}
    one = sanity(Network(module, image), image, Target(2, minus=1), **given)
    two = sanity(Network(other, image), image, 0, **given)
    assert torch.allclose(one.pictures[:, 0], two.pictures[:, 0], atol=1e-12)
    for name in ("switches", "edges"):
        assert torch.allclose(getattr(one, name), getattr(two, name), atol=1e-9, equal_nan=True)
    assert one.unit == "class 2 − class 1, at 4"
    with pytest.raises(UnitError, match="one target is tested at a time, not 2"):
        sanity(Network(module, image), image, [1, 2])


def test_the_network_is_not_touched(tiny):
    module, net, image = tiny
    before = {name: value.clone() for name, value in module.state_dict().items()}
    graph, answer = net.graph, net(image)
    sanity(net, image, seeds=1, others=1)
    assert net.graph is graph
    assert torch.equal(net(image), answer)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("name", ["batch norm", "inception", "squeeze-excite"])
def test_new_constants_compute_what_a_module_with_them_computes(name):
    module, other = build(name), build(name)
    image = images_for(module, 1)
    net = Network(module, image)
    replaced = {}
    for (own, old), (_, new) in zip(
        module.named_parameters(), other.named_parameters(), strict=True
    ):
        new.data = old.detach() * 0.7 + 0.01 * (1 + len(own) % 3)
        replaced[old] = new.data
    assert torch.allclose(net.with_constants(replaced)(image), other(image), rtol=1e-10)
    assert not torch.allclose(net(image), other(image))


def test_every_learned_tensor_belongs_to_one_stage():
    for name in ("plain", "residual", "squeeze-excite"):
        module = build(name)
        net = Network(module, images_for(module, 1))
        stages = stages_of(net.graph, net.graph.output)
        read = [
            id(weights)
            for stage in stages
            for index in stage.steps
            for weights in learned_constants(net.graph.steps[index]).values()
        ]
        assert {id(p) for p in module.parameters()} == set(read), name
        assert [stage.steps[0] for stage in stages] == sorted(
            (stage.steps[0] for stage in stages), reverse=True
        )


class Tied(nn.Module):
    """One convolution used twice, and weight norm, whose weights are computed from others."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(3, 3, 3, padding=1)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.shared(torch.relu(self.shared(x)))
        return self.normed(torch.relu(self.normed(torch.relu(x))))


def test_weights_used_twice_stay_one():
    torch.manual_seed(0)
    module = Tied().eval()
    net = Network(module, torch.zeros(1, 3, 12, 12))
    stages = stages_of(net.graph, net.graph.output)
    assert [len(stage.steps) for stage in stages] == [2, 2]
    for replaced, stage in zip(randomised(net.graph, stages, "draw", 0), stages, strict=True):
        kernels = [replaced[learned_constants(net.graph.steps[i])["weight"]] for i in stage.steps]
        assert torch.equal(*kernels)


@pytest.mark.parametrize("name", INITIALISATIONS)
def test_random_weights_keep_what_they_should(name):
    weights = torch.randn(64, 32, 3, 3, dtype=torch.float64) * 0.3 + 0.2
    made = INITIALISATIONS[name](weights, torch.Generator().manual_seed(1))
    error = 5 * 0.3 / math.sqrt(weights.numel())
    assert made.std().item() == pytest.approx(0.3, abs=error)
    assert made.mean().item() == pytest.approx(0.0 if name == "centred" else 0.2, abs=error)
    assert abs(np.corrcoef(made.flatten(), weights.flatten())[0, 1]) < 0.04
    if name == "permute":
        assert torch.equal(made.flatten().sort().values, weights.flatten().sort().values)
    scales = INITIALISATIONS[name](torch.ones(9), torch.Generator())
    assert torch.equal(scales, torch.ones(9))


def test_a_unit_is_compared_within_what_it_reads(tiny):
    module, net, image = tiny
    maps = F.relu(module.two(F.max_pool2d(F.relu(module.one(image)), 2)))[0]
    found = sanity(net, image, layer="two", channel=3, seeds=1, others=3)
    assert found.position == divmod(int(maps[3].argmax()), maps.shape[2])
    assert found.layers == ("two", "one")
    top, left, bottom, right = found.window
    assert found.pictures.shape[-2:] == (bottom - top, right - left)
    assert bottom - top <= 8
    assert found.edge_map.shape == (bottom - top, right - left)


def test_another_class_is_called_by_its_name(tiny):
    module, net, image = tiny
    # Of the four classes in the seed's order, the first that is not the target.
    other = next(int(c) for c in np.random.default_rng(0).permutation(4) if c != 2)
    names = ("cat", "dog", "eel", "fox")
    named = Network(module, image, classes=names)
    for tested, expected in ((named, f"class {names[other]}"), (net, f"class {other}")):
        columns = sanity(tested, image, target=2, seeds=1, others=2).columns
        assert f"{expected} instead" in columns
    found = sanity(named, image, layer="two", channel=3, seeds=1, others=2)
    assert any(column.startswith("channel ") for column in found.columns)


def test_without_pools_there_are_no_switches():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 3))
    image = torch.rand(1, 1, 16, 16)
    found = sanity(Network(module, image), image, seeds=1, others=2)
    assert found.other is None
    assert found.switches.isnan().all()
    assert "switches" not in found.verdict("guided")


def test_an_image_without_edges_is_like_none():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 3))
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    net = Network(module, image)
    plain, other = (
        sanity(net, pixels, seeds=1, others=2).verdict("gradient")
        for pixels in (torch.ones_like(image), image)
    )
    assert "nan" not in plain
    assert "edges" not in plain
    assert plain.endswith(".")
    assert "like the image's edges" in other


def test_a_silent_projection_is_said(tiny):
    module, _, image = tiny
    twin = Tiny().double().eval()
    twin.load_state_dict(module.state_dict())
    twin.two.weight.data.fill_(-0.1)  # a draw of deviation zero: it stays, and stops the deconvnet
    twin.scores.weight.data.abs_()
    found = sanity(Network(twin, image), image, seeds=1, others=1, init="permute")
    assert found.silent[0].all()
    assert "nothing arrives at the pixels" in found.verdict("deconvnet")
    assert found.plot()  # though that rule has no curve


def test_stopping_early_gives_what_is_done(tiny, monkeypatch):
    _, net, image = tiny
    whole = sanity(net, image, seeds=2, others=1)
    assert not whole.partial
    stopped = sanity(net, image, seeds=2, others=1, budget=1e-9)
    assert stopped.partial
    assert stopped.notes[-1] == "stopped early: 1 of 6 randomised networks"
    known = ~stopped.randomised.isnan()
    assert known[:, :, 0, 2].all()
    assert known.sum() == 3 * 4
    assert torch.equal(stopped.randomised[known], whole.randomised[known])
    cut = sanity(net, image, seeds=1, others=3, budget=1e-9)
    assert (len(cut.other_units), cut.units.shape[2], cut.signals.shape[2]) == (1, 1, 1)
    calls = []
    original = module_under_test.randomised

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(module_under_test, "randomised", interrupted)
    with pytest.raises(Interrupted) as stop:
        sanity(net, image, seeds=2, others=1)
    assert stop.value.result.partial == "interrupted"
    assert stop.value.result.notes[-1] == "stopped early: 3 of 6 randomised networks"


def test_progress_counts_to_the_end(tiny):
    _, net, image = tiny
    seen = []
    sanity(net, image, seeds=2, others=3, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == 3 * (2 + 3 + 3 + 2 * 3)
    assert [done for done, _ in seen] == list(range(3, 43, 3))


def test_it_shows_and_saves_itself(tiny, tmp_path):
    _, net, image = tiny
    found = sanity(net, image, target=2, seeds=2, others=2, title="cat.png")
    assert len(repr(found)) < 1000
    assert found.summary().startswith("cat.png: class 2, at scores\n  deconvnet: the picture ")
    for ending in endings(Sanity):
        found.save(tmp_path / f"s{ending}")
        assert (tmp_path / f"s{ending}").stat().st_size > 100, ending
    again = Sanity.load(tmp_path / "s.safetensors")
    assert again.to_json() == found.to_json()
    for name, values in found.arrays().items():
        assert torch.equal(again.arrays()[name].nan_to_num(9.0), values.nan_to_num(9.0)), name
    facts = json.loads(found.to_json())
    assert facts["measures"] == list(MEASURES)
    assert facts["verdicts"] == found.verdicts()
    assert facts["edges"] == found.edges.tolist()
    rows = found.table()
    assert len(rows) == 3 * (2 * 3 + 2 + 2 + 1 + 1 + 2)
    first = {"rule": "deconvnet", "test": "randomised", "changed": "scores", "seed": 0}
    assert rows[0].items() >= first.items()
    assert rows[0]["rank correlation"] == found.randomised[0, 0, 0, 0].item()


@pytest.mark.parametrize(("width", "tiles", "charts"), [("column", 4, 2), ("text", 7, 4)])
def test_it_is_drawn_at_any_width(tiny, width, tiles, charts):
    _, net, image = tiny
    found = sanity(net, image, target=2, seeds=1, others=1)
    columns = ("down to features.9.squeeze.convolution", *found.columns[1:])
    figure = replace(found, columns=columns).plot(width=width)
    written = [text.get_text() for text in figure.texts]
    assert "down tofeatures.9.squeeze.convolution" in "".join(written)  # in lines, and whole
    assert not any("…" in text for text in written)
    assert not any("…" in axes.get_title(loc="left") for axes in figure.axes)
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 2 + 3 * tiles
    assert len(figure.axes) - len(shown) == charts
    assert min(text.get_fontsize() for text in figure.texts) >= 7
    edge = max(axes.get_position().x1 for axes in figure.axes)
    assert edge <= 1


def test_every_similarity_stands_beside_what_noise_reaches(tiny):
    _, net, image = tiny
    found = sanity(net, image, target=2, seeds=2, others=3)
    for name, chance in found.chance.items():
        values = getattr(found, name)
        assert chance.draws.shape[:-1] == values.shape, name
        assert torch.equal(chance.draws[..., 0].isnan(), values.isnan()), name
        # Twenty in all that a verdict takes the mean of.
        pooled = {"randomised": 2, "units": 3, "signals": 3, "edges_randomised": 2}.get(name, 1)
        assert 20 <= chance.draws.shape[-1] * pooled < 28, name
    # Against the slow way, with other draws: what noise like either picture reaches.
    original, switched = (
        found.pictures[0, found.columns.index(name)] for name in ("as it is", "other switches")
    )
    expected = by_chance(
        lambda a, b: similarities(Prepared.of(a), Prepared.of(b)), original, switched, draws=80
    )
    own = found.chance["switches"]
    assert own.mean[0].tolist() == pytest.approx(expected.mean.tolist(), abs=0.05)
    assert found.alike[0, found.columns.index("other switches")].tolist() == pytest.approx(
        [float(found.switches[0, 0]), float(own.level[0, 0])]
    )


def test_a_verdict_takes_what_exceeds_noise(tiny):
    _, net, image = tiny
    found = sanity(net, image, target=2, rules=["gradient"], seeds=1, others=1)
    for value, noise, word, grey in (
        (0.95, 0.1, "hardly depends on", False),
        (0.7, 0.1, "depends only in part on", False),
        (0.96, 0.9, "depends only in part on", False),  # six tenths of the way from 0.9 to 1
        (0.4, 0.1, "mostly depends on", False),
        (0.3, 0.1, "mostly depends on", False),
        (0.95, 0.949, "may or may not depend on", False),  # as alike, and no sign of anything
        (0.3, 0.4, "may or may not depend on", True),
    ):
        chance = {k: Chance(torch.full_like(c.draws, noise)) for k, c in found.chance.items()}
        full = {
            name: torch.full_like(getattr(found, name), value) for name in ("units", "randomised")
        }
        alike = torch.tensor([value, noise]).expand_as(found.alike)
        planted = replace(found, **full, chance=chance, alike=alike)
        assert f"{word} the class asked for" in planted.verdict("gradient")
        assert f"{word} the weights of all 3 layers" in planted.brief("gradient")
        assert f"alike {value:.2f}, noise up to {noise:.2f}" in planted.verdict("gradient")
        colours = {t.get_color() for t in planted.plot().texts if t.get_text().endswith(" alike")}
        assert colours == {PALE if grey else INK}
    # Where the places are kept and the signs are not, it is half of the picture at most.
    assert Kept((0.9, 0.0), (0.1, 0.05), (0.6, 0.0)).word == "mostly depends"


@pytest.mark.slow
def test_noise_gets_no_verdict(monkeypatch):
    """Under no rule, though |noise| of one support and envelope is as alike as real pictures."""
    original = module_under_test.descend
    torch.manual_seed(2)
    image = torch.randn(1, 3, 40, 48, dtype=torch.float64)
    fade = torch.linspace(-2, 2, 48).square().neg().exp() * torch.linspace(0, 3, 40).exp()[:, None]
    net = Network(Tiny().double().eval(), image)

    def noise(*arguments, **more):
        pixels = original(*arguments, **more) * fade
        smooth = 5 if seed % 2 else 15
        local = F.avg_pool2d(pixels.abs().mean(1, keepdim=True), smooth, 1, smooth // 2)
        return torch.randn_like(pixels) * local * (pixels != 0)

    monkeypatch.setattr(module_under_test, "descend", noise)
    verdicts, alike = [], []
    for seed in range(20):
        torch.manual_seed(seed)
        found = sanity(net, image, target=seed % 4, seeds=1, others=1, seed=seed)
        verdicts += [
            clause for rule in RULES for clause in found.brief(rule).split(": ")[1].split("; ")
        ]
        alike.append(float(found.randomised[:, 0].max()))
    told = [clause for clause in verdicts if not clause.startswith("may or may not depend on ")]
    assert len(verdicts) == 20 * 3 * 4
    assert told == []
    assert max(alike) > 0.5  # which "depends only in part" was said of


def test_the_curve_is_the_mean_and_deviation_over_the_seeds(tiny):
    _, net, image = tiny
    found = sanity(net, image, seeds=3, others=1)
    mean, deviation = found.curve("guided", "signed SSIM")
    values = found.randomised[1, 3].numpy()
    np.testing.assert_allclose(mean, values.mean(0), atol=1e-12)
    np.testing.assert_allclose(deviation, values.std(0, ddof=1), atol=1e-12)


def test_every_number_has_its_own_count_of_seeds(tiny):
    _, net, image = tiny
    whole = sanity(net, image, rules=["gradient"], seeds=2, others=1)
    assert "of the upper 2 layers (2 seeds; " in whole.verdict("gradient")
    assert "mean of 2 seeds, shaded: ±" in _caption(whole)[2]
    values = whole.randomised.clone()
    values[:, :, 1, :-1] = math.nan  # as a budget leaves it: of the last seed the last stage only
    cut = replace(whole, randomised=values, partial=True)
    left, spread = float(values[0, 0, :, 2].mean()), float(values[0, 0, :, 2].std())
    assert "of the upper 2 layers (1 seed; " in cut.verdict("gradient")
    assert "of all 3 layers (2 seeds; " in cut.verdict("gradient")
    caption = _caption(cut)[2]
    assert "mean of 1 to 2 seeds, shaded where there are several: ±" in caption
    axes = Figure().add_subplot()
    _draw_curve(axes, cut, "gradient", MEASURES[0])
    band, line = axes.collections
    assert {x for path in band.get_paths() for x in path.vertices[:, 0]} == {3.0}  # of no width
    (segment,) = line.get_segments()
    assert segment == pytest.approx(np.array([[3, left - spread], [3, left + spread]]))


def test_mistakes_are_said(tiny):
    _, net, image = tiny
    for options, kind, message in (
        ({"rules": ["gided"]}, RuleError, "did you mean 'guided'"),
        ({"rules": []}, ConvscopeError, "no rule was named"),
        ({"seeds": 0}, ConvscopeError, "the number of seeds must be at least 1, not 0"),
        ({"others": 0}, ConvscopeError, "the number of others must be at least 1"),
        ({"seed": -1}, ConvscopeError, "the seed must be from 0 to 4,294,967,295, not -1"),
        ({"init": "permutee"}, ConvscopeError, "did you mean 'permute'"),
        ({"budget": "soon"}, ConvscopeError, "the budget 'soon' is not a number of seconds"),
        ({"target": 4}, UnitError, "has classes 0 to 3, not 4"),
        ({"channel": 1}, UnitError, "a channel number means nothing without its layer"),
        ({"layer": "two", "target": 1}, UnitError, "a target or a unit of a layer"),
        ({"layer": "two", "channel": 8}, UnitError, "has channels 0 to 7, not 8"),
        ({"other": image[:, :2]}, ImageError, "the network takes images"),
    ):
        with pytest.raises(kind, match=message):
            sanity(net, image, **options)
    with pytest.raises(ImageError, match="one image at a time is tested, not 2"):
        sanity(net, image.expand(2, -1, -1, -1))
    with pytest.raises(TraceError, match="cannot become one of shape"):
        net.with_constants({tiny[0].one.weight: torch.zeros(1)})
    with pytest.raises(TraceError, match="1 of the tensors to replace are not the graph's"):
        net.with_constants({torch.zeros(2): torch.zeros(2)})


def test_all_stages_come_once():
    for count in range(1, 40):
        order = far_apart(count)
        assert sorted(order) == list(range(count))
        assert order[0] == count - 1


@pytest.mark.slow
def test_the_real_network_keeps_the_known_order(data):
    """Guided backprop and the deconvnet change less than the gradient (Adebayo et al., fig. 2).

    So much so that the weights of the upper layers matter little to them; and on each of eight
    pictures what is said of the gradient is that it depends on them.
    """
    import convscope as cs

    net = cs.load(
        "squeezenet1_1", weights=data / "squeezenet1_1" / "squeezenet1_1-imagenet.safetensors"
    )
    files = sorted((data / "imagenet-sample" / "images").iterdir())
    compared = 0
    for path in files[:: len(files) // 8][:8]:
        found = sanity(net, net.preprocess(path), layer="features.7", seeds=1, others=1)
        upper, whole = (
            {rule: found.kept(rule, "randomised", stage) for rule in RULES} for stage in (6, 12)
        )
        for kept in (upper, whole):
            if not all(own.known for own in kept.values()):
                continue  # with random weights nothing may arrive
            compared += 1
            assert kept["guided"].share > kept["gradient"].share + 0.15, path.name
            assert kept["deconvnet"].share > kept["gradient"].share + 0.15, path.name
            assert kept["gradient"].word in ("depends", "mostly depends")
        assert upper["deconvnet"].word in ("hardly depends", "depends only in part")
        assert upper["guided"].word in ("hardly depends", "depends only in part", "")
    assert compared >= 8
