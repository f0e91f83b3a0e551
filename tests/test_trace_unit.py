"""Trees of channels: on paper, against channels masked by hand, and what the shares promise."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convscope as cs
from architectures import build, images_for

SIDE = 14


def on_paper() -> cs.Network:
    """Two channels, an image and twice the image, of which a unit reads a square of four."""
    below, above = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 1, 2, 2, bias=False)
    below.weight.data = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    above.weight.data = torch.tensor([[[[1.0, -1], [1, 1]], [[1, 0], [-1, 0.5]]]])
    return cs.Network(nn.Sequential(below, nn.ReLU(), above, nn.ReLU()).double(), (1, 1, 4, 4))


# The unit gets 1 - 2 + 0 + 3 from one channel, 2 + 0 + 0 + 3 from the other: 7 in all.
@pytest.mark.parametrize(
    ("rule", "relevance", "first", "second"),
    [
        ("epsilon", [5, 2], [[2, 0], [0, 3]], [[1, -2], [0, 3]]),
        ("z-plus", [35 / 9, 28 / 9], [[14 / 9, 0], [0, 21 / 9]], [[7 / 9, 0], [0, 21 / 9]]),
    ],
)
def test_a_case_on_paper(rule, relevance, first, second):
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 2:, :2] = torch.tensor([[1.0, 2.0], [0.0, 3.0]])
    found = cs.trace_unit(on_paper(), image, "3", 0, to="1", rule=rule)
    expected = torch.tensor([[7.0, *relevance]]).double()
    torch.testing.assert_close(found.activation, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.share, expected[0] / 7, atol=1e-5, rtol=0)
    assert found.channels.tolist() == [[0, 1, 0]]
    assert found.parent.tolist() == [-1, 0, 0]
    assert found.window[0, 0].tolist() == [2, 0, 4, 2]
    # Each channel's place with most relevance reads a single pixel, the lower right of the four.
    assert found.position[0, 1:].tolist() == [[3, 1], [3, 1]]
    for node, pixels in ((1, first), (2, second)):
        assert found.cropped(0, node).item() == pytest.approx(pixels[1][1], abs=1e-5)
    whole = sum(torch.tensor(own).double() for own in (first, second))
    torch.testing.assert_close(found.cropped(0, 0)[0], whole, atol=1e-5, rtol=0)


def test_a_map_that_lies_otherwise_in_memory_has_a_tree_too():
    net, image = on_paper(), torch.rand(1, 1, 4, 4, dtype=torch.float64) + 0.5

    class Turned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mT

    turned = cs.Network(nn.Sequential(*net.module[:3], Turned(), nn.ReLU()), (1, 1, 4, 4))
    plain, other = (
        cs.trace_unit(own, image, layer, 0, (1, 1), to="1")
        for own, layer in ((net, "3"), (turned, "4"))
    )
    torch.testing.assert_close(other.activation, plain.activation)
    torch.testing.assert_close(other.pixels, plain.pixels)


class Odd(nn.Module):
    """What no rule is written for."""

    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(3)


class Written(nn.Module):
    """One ReLU for all, as a function, and a skip: nothing for hooks."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        torch.manual_seed(4)
        sizes = ((2, 5), (5, 6), (6, 6), (6, 4))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, bias=bias) for a, b in sizes
        )

    def parts(self) -> list:
        """Return what to run one after another; each convolution begins one part."""
        first, second, third, fourth = self.convolutions
        return [[first], [second, 2], [third], [fourth, 2]]

    def forward(self, x: Tensor) -> Tensor:
        for convolution, *pool in self.parts():
            x = F.relu(convolution(x))
            x = F.max_pool2d(x, *pool) if pool else x
        return x


def image() -> Tensor:
    return torch.rand(1, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(2)).double()


def shared(part: list, below: Tensor, relevance: Tensor, rule: str) -> Tensor:
    """Share the relevance of one part's output by z-plus, or by epsilon, with torch's autograd."""
    convolution, *pool = part
    if pool:
        own = F.relu(convolution(below)).detach().requires_grad_()
        (relevance,) = torch.autograd.grad(F.max_pool2d(own, *pool), own, relevance)
    values, weight, bias = below.clone().requires_grad_(), convolution.weight, convolution.bias
    if rule == "z-plus":  # there are no values below zero
        weight, bias = weight.clamp(min=0), None if bias is None else bias.clamp(min=0)
    z = F.conv2d(values, weight, bias, padding=1)
    share = relevance / (z + torch.where(z < 0, -1e-6, 1e-6))
    (slope,) = torch.autograd.grad(z, values, share.detach())
    return (slope * values).detach()


def layers(net: cs.Network) -> list[str]:
    """Return the names of what each part gives, from the last down."""
    ends = [n for n, layer in net.layers.items() if layer.op != "convolution"]
    kept = [n for n, after in zip(ends, [*ends[1:], ""], strict=True) if "max_pool" not in after]
    return kept[::-1]


@pytest.mark.parametrize("rule", ["z-plus", "epsilon"])
@pytest.mark.parametrize("position", [None, (0, 2)])
def test_as_with_channels_masked_by_hand(rule, position):
    module = Written().double()
    net = cs.Network(module, (1, 2, SIDE, SIDE))
    top, *below = layers(net)
    parts, maps = module.parts()[::-1], [image()]
    for convolution, *pool in module.parts():
        own = F.relu(convolution(maps[-1]))
        maps.append((F.max_pool2d(own, *pool) if pool else own).detach())
    maps = maps[::-1]
    channel = int(maps[0][0, :, 0, 2].argmax())
    found = cs.trace_unit(net, image(), top, channel, position, to=below, top=2, rule=rule)
    assert [len(found.feeders(n)) for n in (0, 1, 2, 3, 7)] == [2, 2, 2, 2, 0]
    row, column = position or divmod(int(maps[0][0, channel].argmax()), SIDE // 4)
    start = torch.zeros_like(maps[0])
    start[0, channel, row, column] = maps[0][0, channel, row, column]
    signals = {0: (0, start)}
    for node in range(len(found.layers)):
        deep, signal = signals[node]
        torch.testing.assert_close(found.activation[0, node], signal.sum(), rtol=1e-10, atol=0)
        feeders = found.feeders(node)
        for part, map_below in zip(parts[deep:], maps[deep + 1 :], strict=True):
            signal = shared(part, map_below, signal, rule)
            if feeders:
                sums = signal.sum((0, 2, 3))
                strongest = sums.abs().topk(2).indices.tolist()
                assert found.channels[0, feeders].tolist() == strongest
                for feeder, own in zip(feeders, strongest, strict=True):
                    only = torch.zeros_like(signal)
                    only[:, own] = signal[:, own]
                    signals[feeder] = deep + 1, only
                feeders = []
        rows, columns = (slice(*found.window[0, node, a::2].tolist()) for a in (0, 1))
        expected = signal[0].sum(0)[rows, columns]
        torch.testing.assert_close(found.cropped(0, node)[0], expected, rtol=1e-9, atol=1e-15)


def test_shares_add_up_without_biases():
    net = cs.Network(Written(bias=False).double(), (1, 2, SIDE, SIDE))
    top, *below = layers(net)
    channel = int(net(image()).amax((0, 2, 3)).argmax())
    found = cs.trace_unit(net, image(), top, channel, to=below, top=6, rule="excitation")
    for node in range(len(found.layers)):
        if feeders := found.feeders(node):
            assert found.share[feeders].sum().item() == pytest.approx(1, abs=1e-4)
            assert (found.share[feeders].diff() <= 0).all()


@pytest.mark.parametrize("name", ["strided", "hourglass", "dense", "overlapping pools"])
def test_nothing_is_lost_on_the_way_down(name):
    module = build(name)
    pictures = images_for(module, 1, (16, 19)).abs()
    net = cs.Network(module, tuple(pictures.shape))
    last = [n for n, layer in net.layers.items() if max(layer.shape[1:], default=1) > 1][-1]
    channel = int(cs.project(net, pictures, last, top=1).channels)
    narrow = cs.trace_unit(net, pictures, last, channel, top=1, rule="excitation").layers[-1]
    found = cs.trace_unit(net, pictures, last, channel, to=narrow, top=99, rule="excitation")
    assert found.share[1:].sum().item() == pytest.approx(1, abs=1e-3)
    assert found.pixels[0, 0].sum().item() == pytest.approx(found.activation[0, 0].item(), rel=1e-3)


def test_a_whole_map_of_a_sum_is_shared():
    net = cs.Network(build("residual"), (1, 3, 16, 16))
    name = next(n for n in net.layers if n.endswith("add"))
    pictures = images_for(net.module, 1, (16, 16))
    found = cs.project(net, pictures, name, [0], rule="epsilon", select="map")
    peak = cs.project(net, pictures, name, [0], rule="epsilon")
    assert found.pixels.isfinite().all()
    assert found.pixels.abs().sum() > peak.pixels.abs().sum()


def test_layers_and_memory_as_they_come():
    net = cs.load("base", "random")
    pictures = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    whole = cs.trace_unit(net, pictures, "classifier", 3, top=2)
    little = cs.trace_unit(net, pictures, "classifier", 3, top=2, memory="1MB")
    # A value's own block counts too, a map's does not.
    assert list(dict.fromkeys(whole.layers))[1:] == [f"features.relu{n}" for n in (7, 5, 3)]
    below = cs.trace_unit(net, pictures, "features.relu5", 7, top=1)
    assert below.layers == ("features.relu5", "features.relu3", "features.relu1")
    assert whole.channels.tolist() == little.channels.tolist()
    torch.testing.assert_close(whole.pixels, little.pixels, rtol=1e-4, atol=1e-7)


def test_it_is_a_result(tmp_path):
    net = cs.Network(Written().double(), (1, 2, SIDE, SIDE))
    top, *below = layers(net)
    channel = int(net(image()).amax((0, 2, 3)).argmax())
    found = cs.trace_unit(net, image(), top, channel, to=below[:2], top=2, title="noise")
    assert [row["parent"] for row in found.table()] == [-1, 0, 0, 1, 1, 2, 2]
    assert len(found.summary().splitlines()) == 3
    found.save(tmp_path / "it.safetensors")
    again = cs.UnitTrace.load(tmp_path / "it.safetensors")
    assert torch.equal(again.pixels, found.pixels)
    assert again.summary() == found.summary()
    words = " ".join(text.get_text() for text in found.plot().texts)
    assert f"{found.share[1]:.1%}" in words
    assert "Achtibat" not in words
    narrow = [text.get_text() for text in found.plot(width=2.5).texts]
    assert "".join(narrow).startswith("".join(found.layers[n] for n in (0, 1, 3)))  # none is cut
    shares = [line for text in narrow for line in text.split("\n") if line.endswith("%")]
    assert len(shares) == 6  # with a line of their own, where they find no room beside the channel
    odd = cs.Network(nn.Sequential(nn.Conv2d(1, 2, 3), Odd(), nn.Conv2d(2, 2, 3)), (1, 1, 8, 8))
    notes = cs.trace_unit(odd, torch.rand(1, 1, 8, 8), "2", 0, to="0").notes
    assert any("derivative instead of a rule" in note for note in notes)
    assert "Achtibat" in " ".join(text.get_text() for text in found.plot(caption="full").texts)


def test_what_makes_no_sense_is_refused():
    net = cs.Network(Written().double(), (1, 2, SIDE, SIDE))
    for words, layer, channel, options in (
        ("0 to 5", "relu@2", 6, {}),
        ("does not lie", "relu@2", 0, {"position": (3, 70)}),
        ("at least 1", "relu@2", 0, {"top": 0}),
        ("no feeder", "relu@2", 0, {"to": "relu@3"}),
    ):
        with pytest.raises(cs.UnitError, match=words):
            cs.trace_unit(net, image(), layer, channel, **options)
    with pytest.raises(cs.UnitError, match="nothing feeds it"):
        cs.trace_unit(on_paper(), torch.zeros(1, 1, 4, 4), "3", 0)
    with pytest.raises(cs.ImageError, match="one image at a time is traced through, not 2"):
        cs.trace_unit(net, image().expand(2, -1, -1, -1), "relu@2", 0)


def test_on_the_command_line_it_is_one_sentence(answer):
    from convscope import samples

    cat = str(Path(samples.__file__).with_name("cat.jpg"))
    unit = ["trace-unit", "base", cat, "--layer", "features.relu4", "--channel", "0"]
    for words, options in (
        ("as 3,7", ["--position", "3"]),
        ("shares no relevance", ["--rule", "guided"]),
        ("no feeder", ["--to", "features.relu5"]),
    ):
        status, _, said = answer(*unit, *options)
        assert status == 2
        assert words in said
        assert said.count("\n") == 1
