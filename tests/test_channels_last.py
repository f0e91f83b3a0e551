"""Layers that keep their channels last, as ConvNeXt's and Swin's do: shown, projected, occluded."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convscope as cs
from convscope.network import Network

pytestmark = pytest.mark.usefixtures("by_windows")


class Block(nn.Module):
    """A block of ConvNeXt's kind, with a norm of maps [N, W, C, H] besides."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(2, 6, 2, 2)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.norm = nn.LayerNorm(6)
        self.widen, self.gelu, self.narrow = nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 6)
        self.odd = nn.BatchNorm2d(7)
        self.relu = nn.ReLU()
        self.head = nn.Linear(6, 3)
        for values in (self.odd.weight.data, self.odd.bias.data):
            values.uniform_(0.5, 2)
        self.odd.running_mean.normal_()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        x = x + self.narrow(self.gelu(self.widen(y))).permute(0, 3, 1, 2)
        x = self.relu(self.odd(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        return self.head(x.mean((2, 3)))


MODULE = Block().double().eval()
IMAGES = torch.randn(2, 2, 12, 14, generator=torch.Generator().manual_seed(1)).double()
# The layer, and how its hook's output becomes [N, C, H, W].
LAYERS = {
    "norm": (0, 3, 1, 2), "widen": (0, 3, 1, 2), "gelu": (0, 3, 1, 2), "narrow": (0, 3, 1, 2),
    "odd": (0, 2, 3, 1), "relu": (0, 2, 3, 1), "depthwise": (0, 1, 2, 3),
}  # fmt: skip


def hooked(layer: str, images: Tensor) -> Tensor:
    seen: list[Tensor] = []
    handle = getattr(MODULE, layer).register_forward_hook(lambda m, i, o: seen.append(o))
    MODULE(images)
    handle.remove()
    return seen[0].permute(LAYERS[layer])


@pytest.fixture(scope="module")
def net() -> Network:
    return Network(MODULE, IMAGES[:1])


@pytest.mark.parametrize("layer", LAYERS)
def test_channels_are_first_wherever_the_network_has_them(net, layer):
    maps = hooked(layer, IMAGES)
    assert net.layers[layer].shape == tuple(maps.shape[1:])
    channels = [0, maps.shape[1] - 1]
    p = cs.project(net, IMAGES, layer, channels, rule="gradient")
    for n, k in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        own = maps[n, channels[k]]
        row, column = p.position[n, k].tolist()
        assert torch.isclose(p.activation[n, k], own.max(), rtol=1e-12)
        assert torch.isclose(own[row, column], own.max(), rtol=1e-12)
        leaf = IMAGES[n : n + 1].clone().requires_grad_()
        value = hooked(layer, leaf)[0, channels[k], row, column]
        (gradient,) = torch.autograd.grad(value.square() / 2, leaf)
        assert torch.allclose(p.pixels[n, k], gradient[0], rtol=0, atol=1e-12)
        top, left, bottom, right = p.window[n, k].tolist()
        gradient[:, :, top:bottom, left:right] = 0
        assert not gradient.any()

    options = {"layer": layer, "channel": 1, "rule": None}
    o = cs.occlude(net, IMAGES[:1], (3, 4), (4, 5), "black", **options)
    assert o.notes == net.notes
    for place, found in zip(o.positions.flatten(0, 1), o.activation.flatten(), strict=True):
        top, left, bottom, right = place.tolist()
        hidden = IMAGES[:1].clone()
        hidden[:, :, top:bottom, left:right] = 0
        assert torch.isclose(found, hooked(layer, hidden)[0, 1].sum(), rtol=0, atol=1e-10)


def test_layers_are_listed_once_and_the_whole_map_goes_down(net):
    assert [name for name in net.layers if name.startswith("norm")] == ["norm"]
    p = cs.project(net, IMAGES, "gelu", [3], rule="gradient", select="map")
    leaf = IMAGES.clone().requires_grad_()
    (hooked("gelu", leaf)[:, 3].square().sum() / 2).backward()
    assert torch.allclose(p.pixels[:, 0], leaf.grad, rtol=0, atol=1e-12)
    assert F.mse_loss(net(IMAGES), MODULE(IMAGES)) < 1e-24


@pytest.mark.parametrize("layer", ["narrow", "relu"])
def test_a_channel_is_switched_off_wherever_the_network_has_it(net, layer):
    def off(module, inputs, output):
        kept = output.permute(LAYERS[layer]).clone()
        kept[:, 1] = 0
        return kept.permute(*sorted(range(4), key=LAYERS[layer].__getitem__))

    handle = getattr(MODULE, layer).register_forward_hook(off)
    expected = MODULE(IMAGES)
    handle.remove()
    assert torch.allclose(net.with_units(layer, off=[1])(IMAGES), expected, rtol=0, atol=1e-14)
    said = cs.look(net, IMAGES[:1]).with_units(layer, off=[1])
    assert torch.allclose(said.logit, expected[0], rtol=0, atol=1e-14)
    assert not torch.allclose(expected, net(IMAGES))
