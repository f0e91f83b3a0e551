"""Any units of any images, together and in any order, against each alone and a slow account."""

import copy
import random
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import convscope as cs
from convscope.methods.descents import project_units
from convscope.network.rules import RULES
from convscope.network.windows.cone_descent import Units
from convscope.study.checkpoints import Tracker
from convscope.study.evolve import evolve
from convscope.study.filters import strongest_filters
from drawn import SIGNALS, Account, Traced, differences, drawn_case, drawn_network, trained

SIZES = st.sampled_from([16, 24, 32, 48])


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32), st.tuples(SIZES, SIZES))
def test_units_of_drawn_networks(seed, size):
    rng = random.Random(seed)
    traced = drawn_network(rng, size)
    for _ in range(4 if traced else 0):
        case = drawn_case(rng, traced)
        assert case.failures() == [], case


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_units_of_many_drawn_networks(seed):
    rng = random.Random(seed)
    traced = drawn_network(rng, (rng.choice([16, 32, 64, 96, 224]), rng.choice([16, 32, 64])))
    for _ in range(10 if traced else 0):
        case = drawn_case(rng, traced)
        assert case.failures() == [], case


@pytest.mark.parametrize("name", ["squeezenet1_1", "vgg16-features"])
def test_units_of_networks_trained_on_imagenet(name, data):
    rng = random.Random(0)
    traced = trained(name, 64, data)
    for _ in range(2):
        case = drawn_case(rng, traced, most=6)
        assert case.failures() == [], case


@cache
def base() -> tuple[Traced, Tensor]:
    """Return the bundled network's maps and two images, in float64."""
    torch.manual_seed(0)
    return trained("base", 32), torch.randn(2, 3, 32, 32, dtype=torch.float64)


@pytest.mark.parametrize("rule", SIGNALS)
def test_peaks_of_the_bundled_network_at_the_defaults(rule):
    # As a user asks: two images, three channels each. This was off by a seventh of the peak pixel.
    traced, images = base()
    p = cs.project(traced.net, images, "relu6", rule=rule)
    account = Account(traced.module, "relu6", images, rule)
    expected = [account.project(n, int(c), *p.position[n, k].tolist())
                for n in range(2) for k, c in enumerate(p.channels[n])]  # fmt: skip
    assert differences("peak", p.pixels.flatten(0, 1), torch.stack(expected)) == []


def test_tiles_of_an_atlas():
    # The atlas brings the units of several layers down from one walk, many of each image.
    traced, images = base()
    rng, units, expected = random.Random(0), [], []
    for layer in ("relu3", "relu6", "relu5"):
        case = drawn_case(rng, Traced("", traced.module, traced.net), most=24)
        _, channels, height, width = traced.net.graph.steps[traced.net.step(layer)].shape
        places = [(n % 2, c % channels, row % height, column % width)
                  for n, c, row, column in case.places]  # fmt: skip
        units.append(Units(traced.net.step(layer), *torch.tensor(places).T))
        account = Account(traced.module, layer, images, "deconvnet")
        expected.append(torch.stack([account.project(*place) for place in places]))
    found = project_units(traced.net, images, units, RULES["deconvnet"], 2**26)
    for pixels, own in zip(found, expected, strict=True):
        assert differences("tile", pixels, own) == []


def test_maps_that_the_checkerboard_is_measured_on():
    traced, images = base()
    found = cs.checkerboard(traced.net, images, ["relu5", "relu6"], top=3)
    for place, layer in enumerate(found.layers):
        assert layer in ("relu5", "relu6")
        account = Account(traced.module, layer, images, "deconvnet")
        expected = account.project(0, int(found.channels[place, 0, 0]))
        assert differences(layer, found.pixels[place][None], expected[None]) == []


def test_pictures_of_the_sanity_checks():
    traced, images = base()
    found = cs.sanity(traced.net, images[:1], layer="relu6", channel=7, seeds=1, others=1)
    top, left, bottom, right = found.window
    for number, rule in enumerate(found.rules):
        account = Account(traced.module, "relu6", images[:1], rule)
        row, column = found.position
        expected = account.project(0, 7, row, column) / account.maps[0][0, 7, row, column]
        expected = expected[:, top:bottom, left:right].detach()  # which starts as one there
        assert differences(rule, found.pictures[number, :1], expected[None]) == []


def test_filters_that_an_evolution_follows(tmp_path):
    traced, images = base()
    module = copy.deepcopy(traced.module)
    with Tracker(tmp_path, module, steps_per_epoch=1) as tracker:
        with torch.no_grad():
            module.conv3.weight.mul_(-1)
        tracker.step()
    found = evolve(tmp_path, images, module=module, layer=["relu5", "relu6"])
    for followed in found.filters:
        for moment, kind in enumerate((traced.module, module)):
            account = Account(kind, followed.layer, images, "deconvnet")
            image = int(followed.number[moment])
            maps = account.maps[image][0, followed.channel]
            row, column = divmod(int(maps.argmax()), maps.shape[1])
            expected = account.project(image, followed.channel, row, column)
            off = (followed.pixels[moment] - expected).abs().max()
            assert off <= 1e-6 * expected.abs().max()  # checkpoints are kept in single precision


def test_strongest_filters_of_a_study():
    traced, images = base()
    account = Account(traced.module, "relu6", images, "deconvnet")
    peaks = torch.cat(account.maps).detach().amax((2, 3))
    found = strongest_filters(traced.net, images, "relu6", peaks, 12)
    p = found.projection
    expected = [account.project(int(n), int(p.channels[k, 0]), *p.position[k, 0].tolist())
                for k, n in enumerate(found.image)]  # fmt: skip
    assert differences("filter", p.pixels[:, 0], torch.stack(expected)) == []
