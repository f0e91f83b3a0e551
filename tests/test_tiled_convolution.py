"""Convolutions in training by Winograd's method: against plain ones, and where they are used."""

from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from convscope.models.plain import NetConfig, build
from convscope.network.winograd import POINTS
from convscope.study import tiled_convolution as module
from convscope.study.config import preset
from convscope.study.devices import make_fabric
from convscope.study.learner import Learner
from convscope.study.tiled_convolution import TiledConv2d, tile_side, with_tiles


def made(seed, *shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gradients(function, maps, weight, of_outputs):
    maps, weight = (t.clone().requires_grad_() for t in (maps, weight))
    found = function(maps, weight)
    found.backward(of_outputs)
    return found.detach(), maps.grad, weight.grad


@settings(deadline=None, max_examples=60)
@given(
    side=st.sampled_from(sorted(POINTS)),
    batch=st.integers(1, 5),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 15), st.integers(1, 15)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    of_outputs=st.sampled_from(["contiguous", "transposed", "expanded"]),
    seed=st.integers(0, 2**31),
)
def test_outputs_and_gradients_are_the_plain_ones(
    side, batch, channels, size, padding, layout, of_outputs, seed
):
    assume(all(length + 2 * beside >= 3 for length, beside in zip(size, padding, strict=True)))
    maps = made(seed, batch, channels[0], *size, dtype=torch.float64)
    weight = made(seed + 1, channels[1], channels[0], 3, 3, dtype=torch.float64)
    maps, weight = (t.contiguous(memory_format=layout) for t in (maps, weight))
    right = functional.conv2d(maps, weight, padding=padding)
    if of_outputs == "transposed":
        back = made(seed + 2, *right.mT.shape, dtype=torch.float64).mT
    else:
        back = made(seed + 2, *right.shape, dtype=torch.float64)
    if of_outputs == "expanded":
        back = back[:1, :, :1, :1].expand(right.shape)
    plain = gradients(lambda m, w: functional.conv2d(m, w, padding=padding), maps, weight, back)
    tiled = gradients(lambda m, w: module._Tiled.apply(m, w, padding, side), maps, weight, back)
    assert tiled[0].is_contiguous(memory_format=torch.channels_last)
    for found, expected in zip(tiled, plain, strict=True):
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 1e-11 * max(1, expected.abs().max())


@pytest.mark.parametrize("side", sorted(POINTS))
def test_the_gradient_is_that_of_small_changes(side):
    maps = made(0, 2, 3, 7, 8, dtype=torch.float64).requires_grad_()
    weight = made(1, 4, 3, 3, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda m, w: module._Tiled.apply(m, w, (1, 0), side), (maps, weight)
    )


@pytest.mark.parametrize("side", sorted(POINTS))
def test_in_single_precision_it_errs_by_far_less_than_halves_do(side):
    maps, weight = made(0, 8, 128, 12, 12).relu(), 0.05 * made(1, 128, 128, 3, 3)
    of_outputs = made(2, 8, 128, 12, 12)
    plain = gradients(
        lambda m, w: functional.conv2d(m, w, padding=1),
        maps.double(), weight.double(), of_outputs.double(),
    )  # fmt: skip
    tiled = gradients(
        lambda m, w: module._Tiled.apply(m, w, (1, 1), side), maps, weight, of_outputs
    )
    halves = functional.conv2d(maps.bfloat16(), weight.bfloat16(), padding=1)
    of_halves = float((halves - plain[0]).std() / plain[0].std())
    for found, expected in zip(tiled, plain, strict=True):
        error = float((found - expected).std() / expected.std())
        assert error < 1e-5
        assert error < of_halves / 200


def test_in_chunks_it_gives_the_same(monkeypatch):
    shapes = (9, 5, 8, 8), (6, 5, 3, 3), (9, 6, 8, 8)
    maps, weight, of_outputs = (made(i, *s, dtype=torch.float64) for i, s in enumerate(shapes))
    parts, cut = [], module._chunks
    monkeypatch.setattr(module, "_chunks", lambda *a: parts.append(cut(*a)) or parts[-1])
    found = []
    for room in (2**30, 4 * 36 * 4 * 6 * 8, 1):  # all, four images' tiles, one
        monkeypatch.setattr(module, "CHUNK_BYTES", room)
        found.append(
            gradients(lambda m, w: module._Tiled.apply(m, w, (1, 1), 4), maps, weight, of_outputs)
        )
    assert [len(part) for part in parts] == [1, 1, 3, 3, 9, 9]
    for chunked in found[1:]:
        for one, whole in zip(chunked, found[0], strict=True):
            torch.testing.assert_close(one, whole, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("frozen", ["maps", "weight"])
def test_what_needs_no_gradient_gets_none(frozen):
    tensors = {"maps": made(0, 2, 3, 7, 7), "weight": made(1, 4, 3, 3, 3)}
    learned = next(tensor for name, tensor in tensors.items() if name != frozen)
    learned.requires_grad_()
    right = functional.conv2d(*tensors.values(), padding=1)
    back = made(2, *right.shape)
    (expected,) = torch.autograd.grad(right, learned, back)
    module._Tiled.apply(*tensors.values(), (1, 1), 4).backward(back)
    assert tensors[frozen].grad is None
    torch.testing.assert_close(learned.grad, expected, rtol=1e-4, atol=1e-4)


def test_the_side_is_that_of_the_fewest_products():
    def side(batch, channels, *size, kernels=256, padding=(1, 1)):
        return tile_side(torch.Size((batch, channels, *size)), kernels, padding)

    assert [side(500, 256, n, n) for n in (*range(2, 9), 24)] == [2, 3, 4, 5, 6, 4, 4, 6]
    assert side(500, 256, 7, 8, padding=(0, 0)) == 6  # 5 by 6 outputs: one tile
    # Of the nine taps on a single pixel one reads it, and turning even that costs more.
    assert side(500, 256, 1, 1) is None
    assert side(500, 3, 24, 24, kernels=64) is None  # turning tiles costs more than it saves
    assert side(1, 256, 4, 4) is None  # turning filters does
    assert side(500, 256, 1, 9, padding=(0, 0)) is None  # no outputs: PyTorch says what is wrong
    assert side(0, 256, 9, 9) is None


@pytest.fixture
def sides(monkeypatch):
    """Collect the sides of tiles that layers convolve by."""
    found, apply = [], module._Tiled.apply
    monkeypatch.setattr(module._Tiled, "apply", lambda *a: found.append(a[-1]) or apply(*a))
    return found


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_learns_and_answers_tiled(sides, bias):
    plain = nn.Conv2d(64, 64, 3, padding="same", bias=bias)
    tiled = with_tiles(nn.Sequential(plain))[0]
    assert type(tiled) is TiledConv2d
    assert tiled.weight is plain.weight
    assert tiled.bias is plain.bias
    maps = made(0, 64, 64, 12, 12).requires_grad_()
    right, found = plain(maps), tiled.eval()(maps)
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4)
    found = tiled.train()(maps)
    assert sides == [6, 6]
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4)
    back, learned = made(1, *right.shape), [maps, *plain.parameters()]
    expected = torch.autograd.grad(right, learned, back)
    for one, other in zip(torch.autograd.grad(found, learned, back), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def test_what_it_is_not_made_for_is_convolved_plainly(sides):
    plain = nn.Conv2d(64, 64, 3, padding=1)
    tiled = with_tiles(nn.Sequential(plain))[0]
    maps = made(0, 64, 64, 12, 12)
    assert torch.equal(tiled(maps[0]), plain(maps[0]))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tiled(maps), plain(maps))
    in_double = nn.Conv2d(64, 64, 3, padding=1).double()
    tiled_in_double = with_tiles(nn.Sequential(in_double))
    assert torch.equal(tiled_in_double(maps.double()), in_double(maps.double()))
    assert tiled.to("meta")(maps.to("meta")).shape == maps.shape
    with pytest.raises(RuntimeError, match="can't be greater than actual input size"):
        with_tiles(nn.Sequential(nn.Conv2d(64, 64, 3)))(made(0, 64, 64, 1, 1))
    assert sides == []


def test_its_outputs_can_be_changed_in_place(sides):
    plain = nn.Conv2d(64, 64, 3, padding=1, bias=False)
    tiled = with_tiles(nn.Sequential(plain))[0]
    maps = made(0, 64, 64, 12, 12).requires_grad_()
    # As an in-place ReLU does, but without its kink, where rounding decides the gradient.
    expected = torch.autograd.grad(plain(maps).mul_(2).sum(), maps)[0]
    found = torch.autograd.grad(tiled(maps).mul_(2).sum(), maps)[0]
    assert sides == [6]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_replacing_draws_nothing_and_keeps_the_mode():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3).eval())
    torch.set_rng_state(before)
    with_tiles(net)
    assert torch.equal(torch.get_rng_state(), before)
    assert [layer.training for layer in net] == [True, False]


def test_only_dense_3x3_convolutions_of_stride_1_are_replaced():
    others = [
        nn.Conv2d(4, 4, 5), nn.Conv2d(4, 4, (3, 1)), nn.Conv2d(4, 4, 3, stride=2),
        nn.Conv2d(4, 4, 3, dilation=2), nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.ConvTranspose2d(4, 4, 3),
    ]  # fmt: skip
    net = with_tiles(nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 3)), *others))
    assert type(net[0][0]) is TiledConv2d
    assert list(net)[1:] == others


def test_a_training_in_single_precision_on_the_cpu_uses_it(monkeypatch, sides):
    config = replace(preset("tiny"), net=NetConfig(widths=((64, 128), (128,))))
    images, labels = made(0, 64, 3, 12, 12), torch.arange(64) % 10
    in_halves = Learner(config, make_fabric("cpu", "bfloat16"))
    assert not any(type(layer) is TiledConv2d for layer in in_halves._network.modules())

    def losses():
        learner = Learner(config, make_fabric("cpu", "float32"))
        assert set(learner.weights()) == set(build(config.net, 0).state_dict())
        return [float(learner.step(images, labels, 0.05)[0]) for _ in range(4)]

    tiled = losses()
    assert sides == [6, 6] * 4
    monkeypatch.setattr(module, "WORTH", 0.0)
    plain = losses()
    assert len(sides) == 8
    assert tiled == pytest.approx(plain, rel=1e-3)
    assert plain[-1] < plain[0]
