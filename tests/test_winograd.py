"""Winograd's convolution: against the plain one in double precision, and where it is used."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from convscope.methods.occlude import occlude
from convscope.methods.passes import WindowedPasses
from convscope.network import Network
from convscope.network import winograd as module
from convscope.network.winograd import (
    WinogradConvolution,
    bytes_needed,
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


def test_inputs_and_outputs_are_turned_by_numbers_that_single_precision_holds():
    for matrix in (transforms()[0], transforms()[2]):
        assert (torch.from_numpy(matrix).float().double().numpy() == matrix).all()
    assert all(Fraction(point).denominator in (1, 2, 8) for point in module.POINTS)


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(1, 5),
    channels=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    size=st.tuples(st.integers(3, 19), st.integers(3, 19)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    bias=st.booleans(),
    last=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_it_is_the_plain_convolution(batch, channels, size, padding, bias, last, seed):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(batch, channels[0], *size, generator=generator)
    if last:
        maps = maps.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(channels[1], channels[0], 3, 3, generator=generator)
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
    maps, weight = torch.randn(7, 8, 9, 9, generator=generator), torch.ones(4, 8, 3, 3)
    convolution = WinogradConvolution.of(weight, torch.ones(4))
    at_once = convolution.run(maps, (1, 1))
    # Three images' tiles: nine of 36 numbers of eight channels each.
    monkeypatch.setattr(module, "CHUNK_BYTES", 3 * 9 * 36 * 8 * 4)
    torch.testing.assert_close(convolution.run(maps, (1, 1)), at_once, rtol=0, atol=5e-5)
    monkeypatch.setattr(module, "CHUNK_BYTES", 1)
    torch.testing.assert_close(convolution.run(maps, (1, 1)), at_once, rtol=0, atol=5e-5)


def call_of(layer, size=14, dtype=torch.float32):
    image = torch.zeros(1, layer.in_channels, size, size, dtype=dtype)
    graph = Network(layer.to(dtype), image).graph
    (call,) = (s.call for s in graph.steps if s.call is not None and s.operation.is_layer)
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
    assert bytes_needed(call) == 256 * 256 * 36 * 4


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
    assert float((exact.logit - full.logit).abs().max()) < 1e-4 * spread
    spread = float(full.activation.max() - full.activation.min())
    assert float((exact.activation - full.activation).abs().max()) < 1e-4 * spread


def test_a_network_that_takes_its_image_out_of_the_batch_is_convolved_plainly(monkeypatch):
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    counted = used(monkeypatch)
    found = occlude(Network(Single(), image), image, 8, 8, target=3)
    assert not counted
    torch.testing.assert_close(
        found.logit, occlude(Network(Wide(), image), image, 8, 8, target=3).logit,
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip


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
    question = pytest.importorskip("convscope.methods.passes").Question
    passes = WindowedPasses(question(Network(Wide(), image), image[0], True, None, 0), 4000)
    assert passes.walk.filters_memory == 1000
