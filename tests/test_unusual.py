"""Unusual networks: whatever they do inside, the gradient rule is torch's own gradient."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, export

import convscope as cs
from convscope.errors import TraceError, UnitError
from convscope.methods.occlude import occlude
from convscope.methods.project import project
from convscope.network import Network
from products import each_once

pytestmark = pytest.mark.usefixtures("by_windows")


class Unusual(nn.Module):
    """A convolution, something unusual, and a rectifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.last = nn.Conv2d(4, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.unusual(F.relu(self.first(x))))


class Unpooled(Unusual):
    """Uses a pool's switches by itself, as SegNet does."""

    def unusual(self, maps: Tensor) -> Tensor:
        pooled, switches = F.max_pool2d(maps, 2, return_indices=True)
        return self.last(F.max_unpool2d(pooled, switches, 2))


class BiasFromTheImage(Unusual):
    """Adds to each map a bias that is computed from the image."""

    def unusual(self, maps: Tensor) -> Tensor:
        bias = maps.mean((0, 2, 3))[:3]
        return F.conv2d(maps, self.last.weight, bias)


class ChannelAttention(Unusual):
    """Gates each map by a convolution along the channels (ECA-Net)."""

    def __init__(self) -> None:
        super().__init__()
        self.along = nn.Conv1d(1, 1, 3, padding=1)

    def unusual(self, maps: Tensor) -> Tensor:
        gate = torch.sigmoid(self.along(maps.mean((2, 3)).unsqueeze(1)))
        return self.last(maps * gate.transpose(1, 2).unsqueeze(-1))


class Coordinates(Unusual):
    """Gives the rows' and columns' numbers along as maps (CoordConv), and a map of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(7, 3, 3)

    def unusual(self, maps: Tensor) -> Tensor:
        count, _, height, width = maps.shape
        rows = torch.arange(height).view(1, 1, height, 1).expand(count, 1, height, width)
        columns = torch.arange(width).to(maps).repeat(count, 1, height, 1) / width * 2 - 1
        zeros = torch.zeros(count, 1, height, width, dtype=maps.dtype)
        return self.last(torch.cat([maps, rows.to(maps), columns, zeros], 1))


class OneNumberAnImage(Unusual):
    """Standardises all that an image gives by its own mean and deviation."""

    def unusual(self, maps: Tensor) -> Tensor:
        return self.last((maps - maps.mean()) / maps.std() + maps.max())


class SeveralRowsAnImage(Unusual):
    """Puts halves of the channels into the batch, to treat them alike."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(2, 2, 3)

    def unusual(self, maps: Tensor) -> Tensor:
        halves = self.shared(maps.reshape(-1, 2, *maps.shape[2:]))
        pooled = F.max_pool2d(F.silu(halves), 2)
        return self.last(pooled.reshape(-1, 4, *pooled.shape[2:]))


class BrokenScale(Unusual):
    """Shrinks maps by a factor that does not give whole rows, of which it drops the first."""

    def unusual(self, maps: Tensor) -> Tensor:
        return F.interpolate(maps, scale_factor=0.3, mode="nearest")[:, :, -100:, 1:]


class WrittenInto(Unusual):
    """Writes into slices of its maps: a sum, one value, and values of fewer channels."""

    def unusual(self, maps: Tensor) -> Tensor:
        maps = maps * 1.5
        maps[:, :2] += 0.7 * maps[:, 2:]
        maps[:, 2, 1:3] = 0.3
        maps[:, :, 4] = maps[:, 1:2, 5] - 0.5
        return self.last(maps)


class KernelsFromTheImage(Unusual):
    """Convolves each image with kernels that it mixes itself (CondConv)."""

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Linear(4, 2)

    def unusual(self, maps: Tensor) -> Tensor:
        share = torch.softmax(self.share(maps.mean((2, 3))), 1)
        kernels = torch.stack([self.last.weight, self.last.weight.flip(2)])
        weight = torch.einsum("ne,eoihw->noihw", share, kernels).flatten(0, 1)
        found = F.conv2d(maps.reshape(1, -1, *maps.shape[2:]), weight, groups=len(maps))
        return found.view(len(maps), 3, *found.shape[2:])


class DataOfAMap(Unusual):
    """Pads a shortcut's channels by ``.data``, which has no gradient (ResNet's option A)."""

    def unusual(self, maps: Tensor) -> Tensor:
        short = F.avg_pool2d(maps, 1, 2)
        zeros = torch.zeros(len(maps), 2, *short.shape[2:], dtype=short.dtype)
        wide = torch.cat([short.data[:, :2], zeros], 1)
        return self.last(wide + F.conv2d(maps, self.last.weight.repeat(2, 1, 1, 1)[:4], None, 2, 1))


class SparseGate(Unusual):
    """Gates each map by a product with a sparse tensor."""

    def unusual(self, maps: Tensor) -> Tensor:
        gate = maps.mean((2, 3)).to_sparse() @ (maps.new_ones(4, 4) + torch.eye(4))
        return self.last(maps * gate[:, :, None, None])


UNUSUAL = [
    SparseGate,
    DataOfAMap,
    KernelsFromTheImage,
    WrittenInto,
    BrokenScale,
    Unpooled,
    BiasFromTheImage,
    ChannelAttention,
    Coordinates,
    OneNumberAnImage,
    SeveralRowsAnImage,
]


@cache
def made(kind: type[nn.Module]) -> tuple[nn.Module, Tensor, Network]:
    torch.manual_seed(0)
    module, images = kind().double().eval(), torch.randn(3, 3, 12, 14).double()
    return module, images, Network(module, images[:1], preprocess="none")


def assert_the_gradient_is_torchs(net: Network, module: nn.Module, images: Tensor) -> None:
    channels = [0, 2]
    last = list(net.layers)[-1]
    p = project(net, images, last, channels, rule="gradient", select="map")
    for n, image in enumerate(images):
        for k, channel in enumerate(channels):
            leaf = image[None].clone().requires_grad_()
            maps = module(leaf)[0, channel]
            (expected,) = torch.autograd.grad(maps, leaf, maps.detach())
            assert expected.abs().max() > 0, "nothing to compare"
            assert (p.pixels[n, k] - expected[0]).abs().max() <= 1e-10 * expected.abs().max()
            top, left, bottom, right = p.window[n, k].tolist()
            expected[..., top:bottom, left:right] = 0
            assert expected.abs().max() == 0, "the window is too small"


@pytest.mark.parametrize("kind", UNUSUAL)
def test_the_gradient_is_torchs(kind):
    module, images, net = made(kind)
    with torch.no_grad():
        alone = torch.cat([module(image[None]) for image in images])
    assert (net(images) - alone).abs().max() < 1e-12
    assert_the_gradient_is_torchs(net, module, images)
    assert_the_gradient_is_torchs(net, module, images[:1])


@each_once("kind, memory", UNUSUAL, [3_000, 100_000])
def test_units_that_come_down_in_parts_are_those_of_each_alone(kind, memory):
    module, images, net = made(kind)
    last = list(net.layers)[-1]
    p = project(net, images, last, [2, 0, 1], rule="gradient", memory=memory)
    for n, image in enumerate(images):
        leaf = image[None].clone().requires_grad_()
        maps = module(leaf)[0]
        for k, channel in enumerate([2, 0, 1]):
            value = maps[(channel, *p.position[n, k])]
            assert value == maps[channel].max()
            (expected,) = torch.autograd.grad(value, leaf, value.detach(), retain_graph=True)
            assert (p.pixels[n, k] - expected[0]).abs().max() <= 1e-10 * expected.abs().max()


@pytest.mark.parametrize("kind", UNUSUAL)
def test_occlusion_is_what_each_patch_gives(kind):
    module, images, net = made(kind)
    last = list(net.layers)[-1]
    found = occlude(net, images[:1], 3, 4, 0.2, layer=last, channel=1)
    for (top, left, bottom, right), value in zip(
        found.positions.flatten(0, 1).tolist(), found.activation.flatten(), strict=True
    ):
        hidden = images[:1].clone()
        hidden[..., top:bottom, left:right] = 0.2
        with torch.no_grad():
            assert value == pytest.approx(float(module(hidden)[0, 1].sum()), rel=1e-10)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_convolution_along_one_dimension_may_come_as_a_general_one():
    module, images, _ = made(ChannelAttention)
    program = export(module, (images,), dynamic_shapes=({0: Dim("batch")},)).run_decompositions()
    assert_the_gradient_is_torchs(Network(program, images[:1]), module, images)


def test_maps_of_coordinates_leave_windows_as_they_are():
    _, images, net = made(Coordinates)
    assert list(net.layers) == ["first", "relu", "cat", "last", "relu@1"]
    assert net.layers["last"].receptive_field == (5, 5)
    p = project(net, images, "last", [0])
    assert p.notes == ()


def test_a_number_made_of_the_number_of_images_is_refused():
    class Shared(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x) * (1.0 / x.shape[0])

    with pytest.raises(TraceError, match="computes with the number of images in a batch"):
        Network(Shared(), torch.zeros(1, 3, 4, 4))


@pytest.mark.parametrize(
    "mixing",
    [
        lambda x: x * torch.softmax(x, 0),
        lambda x: torch.cumsum(x, -4),
        lambda x: x.sort(0).values,
        lambda x: x + 2 * x.flip(0),
        lambda x: x + 2 * x.flipud(),
        lambda x: x.roll(5),
        lambda x: x + x.roll((1, 2), (0, 3)),
        lambda x: torch.fft.fftn(x).real,
        lambda x: x.reshape(-1, 10).softmax(0).view_as(x),
        lambda x: x.repeat(2, 1, 1, 1)[::2],
        lambda x: x.flatten(1).tril(30).view_as(x),
    ],
)
def test_images_that_a_network_mixes_run_one_by_one(mixing):
    class Mixing(Unusual):
        def unusual(self, maps: Tensor) -> Tensor:
            return self.last(mixing(maps))

    module, images, net = made(Mixing)
    alone = torch.cat([module(image[None]) for image in images]).detach()
    assert alone.any()
    assert (net(images) - alone).abs().max() < 1e-12
    exact, full = (
        occlude(net, images[:1], 3, 4, 0.2, layer="relu@1", channel=1, rule=None, method=method)
        for method in ("exact", "full")
    )
    hidden = images[:1].clone()
    top, left, bottom, right = full.positions[1, 1].tolist()
    hidden[..., top:bottom, left:right] = 0.2
    expected = float(module(hidden)[0, 1].detach().sum())
    assert float(full.activation[1, 1]) == pytest.approx(expected, rel=1e-10)
    assert torch.allclose(exact.activation, full.activation, rtol=1e-10)


def test_a_broken_scale_reads_within_the_window():
    _, images, net = made(BrokenScale)
    p = project(net, images, list(net.layers)[-1], [0, 1, 2, 3], rule="gradient")
    for n in range(3):
        for k in range(4):
            top, left, bottom, right = p.window[n, k].tolist()
            outside = p.pixels[n, k].clone()
            outside[:, top:bottom, left:right] = 0
            assert outside.abs().max() == 0


def test_a_peak_in_padding_alone_shows_the_whole_image_and_says_so():
    # A convolution of one pixel with padding: its corners read nothing, and may be largest.
    torch.manual_seed(0)
    padded = nn.Conv2d(4, 3, 1, padding=1)
    nn.init.constant_(padded.bias, 3.0)
    padded.weight.data.abs_().neg_()
    end = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)
    net = Network(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), padded, nn.ReLU(), *end), (1, 1, 9, 8)
    )
    image = torch.rand(1, 1, 9, 8, generator=torch.Generator().manual_seed(1))
    p = project(net, image, "3", [1])
    assert (p.position.tolist(), p.window.tolist()) == ([[[0, 0]]], [[[0, 0, 9, 8]]])
    assert not p.pixels.any()
    assert "layer 3: a peak that reads padding alone, no pixel" in p.notes
    assert p.plot()  # which failed, as of an image without pixels
    tree = cs.trace_unit(net, image, "3", 1)
    assert (tree.activation.tolist(), tree.pixels.any()) == ([[3.0]], False)
    with pytest.raises(UnitError, match="reads padding alone"):
        cs.sanity(net, image, layer="3", channel=1)
