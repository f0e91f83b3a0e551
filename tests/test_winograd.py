"""Winograd's convolution: against the plain one in double precision, and where it is used."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from convscope.methods.descents import project_units
from convscope.methods.occlude import occlude
from convscope.methods.occlude.passes import Question, WindowedPasses
from convscope.network import Network
from convscope.network.rules import RULES
from convscope.network.windows import winograd as module
from convscope.network.windows.cone_descent import Units
from convscope.network.windows.winograd import (
    TurnedFilters,
    WinogradConvolution,
    bytes_needed,
    is_even,
    is_suited,
    padding_of,
    pays,
    transforms,
)


def whole_numbers(count):
    return st.lists(st.integers(-50, 50), min_size=count, max_size=count)


@given(whole_numbers(6), whole_numbers(3))
def test_a_row_of_four_outputs_takes_six_products(inputs, taps):
    turn_outputs, turn_filters, turn_inputs = transforms()
    assert turn_outputs.shape == (4, 6)
    found = turn_outputs @ ((turn_filters @ taps) * (turn_inputs @ inputs))
    by_hand = [sum(taps[k] * inputs[j + k] for k in range(3)) for j in range(4)]
    assert found == pytest.approx(by_hand, abs=1e-9)


def test_whole_tiles_are_turned_without_rounding_the_matrices():
    for matrix, row in zip(module.both_ways(torch.float32), transforms(), strict=True):
        assert (matrix.double().numpy() == np.float32(np.kron(row, row))).all()


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(1, 5),
    channels=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    size=st.tuples(st.integers(3, 19), st.integers(3, 19)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    bias=st.booleans(),
    layout=st.sampled_from(["contiguous", "channels last", "expanded"]),
    seed=st.integers(0, 2**31),
)
def test_it_is_the_plain_convolution(batch, channels, size, padding, bias, layout, seed):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(batch, channels[0], *size, generator=generator)
    weight = torch.randn(channels[1], channels[0], 3, 3, generator=generator)
    if layout == "channels last":
        maps = maps.contiguous(memory_format=torch.channels_last)
        weight = weight.contiguous(memory_format=torch.channels_last)
    elif layout == "expanded":
        maps = maps[:1].expand(batch, -1, -1, -1)
    added = 10 * torch.randn(channels[1], generator=generator) if bias else None
    found = WinogradConvolution.of(weight, added).run(maps, padding)
    right = functional.conv2d(
        maps.double(), weight.double(), None if added is None else added.double(), padding=padding
    )
    assert found.shape == right.shape
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found - right).abs().max() <= 1e-5 * max(right.abs().max(), 1)


def test_at_256_channels_it_errs_by_a_millionth_of_the_outputs_deviation():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 256, 14, 14, generator=generator).relu()
    weight = torch.randn(256, 256, 3, 3, generator=generator)
    right = functional.conv2d(maps.double(), weight.double())
    error = WinogradConvolution.of(weight, None).run(maps, (0, 0)) - right
    assert error.std() < 1.5e-6 * right.std()


def test_in_chunks_it_gives_the_same(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    maps, weight = torch.randn(9, 64, 9, 9, generator=generator), torch.ones(64, 64, 3, 3)
    convolution = WinogradConvolution.of(weight, torch.ones(64))
    chunks, turned = [], module.turned_inputs
    monkeypatch.setattr(module, "turned_inputs", lambda *a: chunks.append(len(a[0])) or turned(*a))
    right = functional.conv2d(maps.double(), weight.double(), padding=1) + 1
    one = 9 * 36 * 64 * 4  # an image's tiles: nine of 36 numbers of 64 channels each
    # At most as much as the filters: they take the room of seven images' tiles.
    for room, sizes in ((3 * one, [3, 3, 3]), (1, [1] * 9), (2**30, [7, 2])):
        monkeypatch.setattr(module, "CHUNK_BYTES", room)
        found = convolution.run(maps, (1, 1))
        assert (found - right).abs().max() < 1e-5 * right.abs().max()
        assert chunks == sizes
        chunks.clear()


def test_filters_are_turned_in_parts_to_the_same(monkeypatch):
    weight = torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    whole = WinogradConvolution.of(weight, None).filters
    by_hand = np.einsum("ai,bj,kcij->abck", transforms()[1], transforms()[1], weight.double())
    assert np.abs(whole.numpy() - by_hand.reshape(36, 5, 6)).max() < 1e-6
    monkeypatch.setattr(module, "FILTERS_AT_ONCE", 7)
    assert torch.equal(WinogradConvolution.of(weight, None).filters, whole)


def call_of(layer, size=14, dtype=torch.float32):
    image = torch.zeros(1, layer.in_channels, size, size, dtype=dtype)
    graph = Network(layer.to(dtype), image).graph
    (call,) = (s.call for s in graph.steps if s.made_by is not None and s.operation.is_layer)
    return call


@pytest.mark.parametrize(
    ("layer", "suited"),
    [
        (nn.Conv2d(8, 8, 3), True),
        (nn.Conv2d(8, 8, 3, padding="same"), True),
        (nn.Conv2d(8, 8, 3, padding=(1, 2), bias=False), True),
        (nn.Conv2d(8, 8, 5), False),
        (nn.Conv2d(8, 8, (3, 1)), False),
        (nn.Conv2d(8, 8, 3, stride=2), False),
        (nn.Conv2d(8, 8, 3, dilation=2), False),
        (nn.Conv2d(8, 8, 3, groups=2), False),
        (nn.ConvTranspose2d(8, 8, 3), False),
    ],
)
def test_it_suits_dense_convolutions_of_3_by_3(layer, suited):
    assert is_suited(call_of(layer)) == suited


class Computed(nn.Module):
    """Convolutions whose bias, or whose filters, come from the image."""

    def __init__(self, what):
        super().__init__()
        self.what = what
        self.weight = nn.Parameter(torch.ones(8, 8, 3, 3))

    def forward(self, x):
        mean = x.mean((0, 2, 3))
        if self.what == "bias":
            return functional.conv2d(x, self.weight, mean)
        return functional.conv2d(x, self.weight * mean.view(-1, 1, 1, 1))


@pytest.mark.parametrize("what", ["bias", "filters"])
def test_it_suits_fixed_filters_only(what):
    graph = Network(Computed(what), torch.zeros(1, 8, 9, 9)).graph
    (call,) = (s.call for s in graph.steps if s.made_by is not None and s.call.name == "conv2d")
    assert not is_suited(call)


def test_it_suits_the_processor_only():
    call = call_of(nn.Conv2d(8, 8, 3))
    elsewhere = {**call.arguments, "weight": torch.ones(8, 8, 3, 3, device="meta")}
    assert is_suited(call)
    assert not is_suited(replace(call, arguments=elsewhere))


def test_it_suits_single_precision_only():
    assert not is_suited(call_of(nn.Conv2d(8, 8, 3), dtype=torch.float64))


def test_padding_is_told_in_every_way_of_writing_it():
    layers = [nn.Conv2d(2, 2, 3, padding=p) for p in ("same", "valid", 1, (0, 2))]
    assert [padding_of(call_of(layer)) for layer in layers] == [(1, 1), (0, 0), (1, 1), (0, 2)]


def test_it_pays_where_channels_are_many_and_tiles_are_filled():
    call = call_of(nn.Conv2d(256, 256, 3))
    assert [pays(call, torch.Size((9, 256, side, side))) for side in (3, 4, 6, 7, 14)] == [
        False, False, True, False, True,
    ]  # fmt: skip
    assert not pays(call_of(nn.Conv2d(32, 32, 3)), torch.Size((9, 32, 14, 14)))
    assert not pays(call, torch.Size((3, 256, 6, 6)))  # three tiles
    assert pays(call, torch.Size((4, 256, 6, 6)))
    assert bytes_needed(call) == 256 * 256 * 36 * 4


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan, 1e5, -1e5])
def test_maps_with_a_value_beside_which_others_drown_are_told(value):
    maps = torch.randn(2, 8, 12, 12, generator=torch.Generator().manual_seed(0))
    assert is_even(maps)
    assert is_even(1e12 * maps)
    assert is_even(torch.zeros(1, 8, 6, 6))
    maps[1, 3, 4, 5] = value
    assert not is_even(maps)


class Wide(nn.Module):
    """Two convolutions wide enough for it, and one that is not."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 192, 3, padding=1), nn.ReLU(), nn.Conv2d(192, 192, 3, padding=1),
            nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(192, 192, 3, padding="same"), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(192, 10)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.08 * torch.randn(parameter.shape, generator=generator))

    def forward(self, x):
        return self.head(self.layers(x).amax((2, 3)))


class Single(Wide):
    """The same on one image at a time, without a batch."""

    def forward(self, x):
        return self.head(self.layers(x[0]).amax((1, 2)))[None]


def used(monkeypatch):
    """Count the batches that it convolves."""
    counted = []
    run = WinogradConvolution.run
    monkeypatch.setattr(
        WinogradConvolution, "run", lambda self, *a: counted.append(self) or run(self, *a)
    )
    return counted


def test_occlusion_uses_it_and_answers_as_recomputing_does(monkeypatch):
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    net = Network(Wide(), image)
    counted = used(monkeypatch)
    exact = occlude(net, image, 8, 4, target=3, layer="layers.5")
    assert len({id(one) for one in counted}) == 2
    counted.clear()
    full = occlude(net, image, 8, 4, target=3, layer="layers.5", method="full")
    assert not counted
    spread = float(full.logit.max() - full.logit.min())
    assert float((exact.logit - full.logit).abs().max()) < 3e-5 * spread
    spread = float(full.activation.max() - full.activation.min())
    assert float((exact.activation - full.activation).abs().max()) < 3e-5 * spread


def test_a_network_that_takes_its_image_out_of_the_batch_is_convolved_plainly(monkeypatch):
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    counted = used(monkeypatch)
    found = occlude(Network(Single(), image), image, 8, 8, target=3)
    assert not counted
    torch.testing.assert_close(
        found.logit, occlude(Network(Wide(), image), image, 8, 8, target=3).logit,
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip


@pytest.mark.parametrize("patch", [1, 8])
def test_a_huge_fill_does_no_harm(monkeypatch, patch):
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    net = Network(Wide(), image)
    found = occlude(net, image, patch, 4, 1e6, target=3)
    right = occlude(net, image, patch, 4, 1e6, target=3, method="full")
    spread = float(right.logit.max() - right.logit.min())
    assert float((found.logit - right.logit).abs().max()) < 3e-5 * spread


def test_maps_with_outliers_are_convolved_plainly(monkeypatch):
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    net, counted = Network(Wide(), image), used(monkeypatch)
    monkeypatch.setattr(module, "is_even", lambda maps: False)
    occlude(net, image, 8, 4, target=3)
    assert not counted


def test_for_a_few_windows_the_filters_are_not_made_ready(monkeypatch):
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    net, counted = Network(Wide(), image), used(monkeypatch)
    monkeypatch.setattr(module, "FEWEST_WINDOWS", 17)
    occlude(net, image, 8, 8, target=3)
    assert not counted
    monkeypatch.setattr(module, "FEWEST_WINDOWS", 16)
    occlude(net, image, 8, 8, target=3)
    assert counted


def test_filters_take_a_fourth_of_the_memory_at_most(monkeypatch):
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    net = Network(Wide(), image)
    each = 192 * 192 * 36 * 4
    counted = used(monkeypatch)
    small = occlude(net, image, 8, 4, target=3, memory=4 * each + 1000)
    assert len({id(one) for one in counted}) == 1
    counted.clear()
    none = occlude(net, image, 8, 4, target=3, memory=4 * each - 1000)
    assert not counted
    torch.testing.assert_close(small.logit, none.logit, rtol=1e-4, atol=1e-4)


def test_in_double_precision_it_is_left_out(monkeypatch):
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2)).double()
    counted = used(monkeypatch)
    occlude(Network(Wide().double(), image), image, 8, 8, target=3)
    assert not counted


def test_the_walk_is_given_a_fourth_of_the_memory():
    image = torch.zeros(1, 3, 32, 32)
    net = Network(Wide(), image)
    passes = WindowedPasses(Question(net, image[0], net.answer, None, 0), {}, 4000)
    assert passes.walk.turned.room == 1000


def test_pictures_come_down_by_it_as_by_plain_convolutions():
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((3, 128), *[(128, 128)] * 3):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        if before == 128:
            layers.append(nn.MaxPool2d(2))
    net = Network(nn.Sequential(*layers), torch.zeros(1, 3, 48, 48))
    images, step = torch.rand(2, 3, 48, 48), net.step("10")
    places = torch.tensor([(0, 3, 3, 2), (1, 7, 0, 5), (1, 90, 4, 3)])
    units, turned = [Units(step, *places.T)], TurnedFilters(2**26)
    plain, quick = (
        next(project_units(net, images, units, RULES["deconvnet"], 2**28, given))
        for given in (None, turned)
    )
    assert not torch.equal(plain, quick)
    assert (plain - quick).abs().max() < 1e-5 * plain.abs().max()
    full = next(project_units(net, images, units, RULES["deconvnet"], 2**28, TurnedFilters(1)))
    assert torch.equal(plain, full)  # no room, no quick convolutions
