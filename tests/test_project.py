"""Projection: against captum on whole networks, and what must never change the answer."""

import captum.attr
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from architectures import ARCHITECTURES, build, images_for
from convscope.errors import ConvscopeError, ImageError, RuleError, UnitError
from convscope.methods.budget import parse_bytes
from convscope.methods.project import project
from convscope.network import Network
from products import each_once, some

PEERS = {
    "deconvnet": captum.attr.NeuronDeconvolution,
    "guided": captum.attr.NeuronGuidedBackprop,
    "gradient": captum.attr.NeuronGradient,
}
LAST_LAYERS = {
    "plain": "features.8",
    "one channel": "features.8",
    "five channels": "features.5",
    "batch norm": "conv",
    "residual": "layer2.1.conv2",
    "dense": "last",
    "inception": "reduce",
    "depthwise": "net.8",
    "strided": "net.4",
    "overlapping pools": "net.6",
    "squeeze-excite": "last",
    "hourglass": "last",
    "shuffled": "last",
}


@pytest.fixture(scope="module")
def networks():
    built = {}

    def network(name: str) -> tuple[nn.Module, Network, Tensor]:
        if name not in built:
            module = build(name)
            images = images_for(module)
            built[name] = module, Network(module, images[:1], preprocess="none"), images
        return built[name]

    return network


def peer_pixels(rule: str, module: nn.Module, layer: str, images: Tensor, selector) -> Tensor:
    method = PEERS[rule](module, module.get_submodule(layer))
    return method.attribute(images.clone().requires_grad_(), selector).detach()


def own_activation(channel: int, row=slice(None), column=slice(None)):
    """Return a selector whose derivative is the activation itself, which is where we start."""

    def selector(out: Tensor) -> Tensor:
        chosen = out[:, channel, row, column].reshape(len(out), -1)
        return (chosen * chosen.detach()).sum(1)

    return selector


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert expected.abs().max() > 0, "nothing to compare"
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
@each_once("name, rule", [*ARCHITECTURES], [*PEERS])
def test_whole_networks_agree_with_captum(networks, name, rule):
    module, net, images = networks(name)
    layer = LAST_LAYERS[name]
    channels = project(net, images[:1], layer, top=2).channels[0].tolist()
    peak = project(net, images, layer, channels, rule=rule)
    whole = project(net, images, layer, channels, rule=rule, select="map")
    for k, channel in enumerate(channels):
        for n, image in enumerate(images):
            place = channel, *peak.position[n, k].tolist()
            expected = peer_pixels(rule, module, layer, image[None], own_activation(*place))
            assert_close(peak.pixels[n, k], expected[0])
            expected = peer_pixels(rule, module, layer, image[None], own_activation(channel))
            assert_close(whole.pixels[n, k], expected[0])


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
@pytest.mark.parametrize("rule", some(["guided"], PEERS))
def test_squeezenet_in_single_precision_agrees_with_captum(rule):
    from convscope.loading import load

    net = load("squeezenet1_1", weights=None, size=(3, 64, 64))
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    p = project(net, image, "features.9.expand3x3", [7], rule=rule)
    selector = (7, *p.position[0, 0].tolist())
    expected = peer_pixels(rule, net.module, "features.9.expand3x3", image, selector)
    assert_close(p.pixels[0, 0], expected[0] * p.activation[0, 0])


class FunctionalRectifiers(nn.Module):
    """One ReLU module used twice, a functional one, an in-place one and a method."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(6))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.convs[0](x))
        x = self.relu(self.convs[1](x))
        x = F.relu(self.convs[2](x))
        x = F.relu_(self.convs[3](x))
        x = self.convs[4](x).clamp(min=0)
        return self.convs[5](x)


class SeparateRectifiers(nn.Module):
    """Its twin, as captum wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(6))
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        for conv, relu in zip(self.convs, self.relus, strict=False):
            x = relu(conv(x))
        return self.convs[5](x)


@pytest.mark.parametrize("rule", PEERS)
def test_functional_and_reused_rectifiers_give_what_modules_give(rule):
    torch.manual_seed(0)
    functional, separate = FunctionalRectifiers().double(), SeparateRectifiers().double()
    separate.load_state_dict(functional.state_dict())
    images = torch.randn(2, 3, 9, 9).double()
    found = [
        project(Network(m, images[:1]), images, "convs.5", [0, 2], rule=rule, select="map").pixels
        for m in (functional, separate)
    ]
    assert_close(found[0], found[1], 1e-12)
    gradient = project(Network(separate, images[:1]), images, "convs.5", [0, 2], rule="gradient",
                       select="map").pixels  # fmt: skip
    if rule != "gradient":
        assert (found[0] - gradient).abs().max() > 0.01 * gradient.abs().max()


@pytest.mark.parametrize("layer", [9, 7, 4])
def test_rectgrad_lets_two_percent_through_layer_by_layer(layer):
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, 3, 16, 16, generator=generator).double()
    module = nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(80, 4)),
    ).double()
    for weight in module.parameters():
        weight.data = torch.randn(weight.shape, generator=generator).double() / 3
    found = project(Network(module, image), image, str(layer), [1, 3], rule="rectgrad")
    maps = [image]
    for part in module[: layer + 1]:
        maps.append(part(maps[-1]).detach())
    for k, channel in enumerate((1, 3)):
        place = (0, channel, *found.position[0, k].tolist())[: maps[-1].dim()]
        signal = torch.zeros_like(maps[-1])
        signal[place] = maps[-1][place]
        for part, below, above in reversed(list(zip(module, maps, maps[1:], strict=False))):
            if isinstance(part, nn.ReLU):  # Kim et al., eq. 3, with q = 98
                importance = (signal * above).numpy()
                signal = signal * torch.from_numpy(importance > np.percentile(importance, 98))
            else:
                leaf = below.clone().requires_grad_()
                (signal,) = torch.autograd.grad(part(leaf), leaf, signal)
        assert signal.count_nonzero() > 20
        torch.testing.assert_close(found.pixels[0, k], signal[0], rtol=1e-10, atol=1e-14)


def test_a_derivative_does_not_depend_on_how_the_signal_lies_in_memory():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.InstanceNorm2d(6), nn.ReLU()).double()
    images = torch.randn(1, 3, 9, 9).double().requires_grad_()
    activation = own_activation(2)(module.eval()(images))
    (expected,) = torch.autograd.grad(activation.sum(), images)
    net = Network(module, images.detach())
    found = project(net, images.detach(), "2", [2], rule="gradient", select="map")
    assert_close(found.pixels[:, 0], expected, 1e-12)


@pytest.mark.parametrize("select", ["peak", "map"])
def test_neither_batch_nor_memory_changes_the_answer(networks, select):
    _, net, _ = networks("residual")
    images = torch.randn(5, 3, 21, 26, generator=torch.Generator().manual_seed(5)).double()
    options = {"layer": "layer2", "channels": [0, 3, 5, 7], "select": select}
    together = project(net, images, **options)
    tight = project(net, images, **options, memory="20kB")
    assert_close(tight.pixels, together.pixels, 1e-12)
    alone = torch.cat([project(net, image[None], **options).pixels for image in images])
    assert_close(alone, together.pixels, 1e-12)
    one_channel = project(net, images, "layer2", [5], select=select)
    assert_close(one_channel.pixels[:, 0], together.pixels[:, 2], 1e-12)
    assert torch.equal(one_channel.position[:, 0], together.position[:, 2])


class LargestTensor(TorchDispatchMode):
    """Notes how many bytes the largest tensor took that any operation made."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in (t for t in tree_leaves(made) if isinstance(t, Tensor)):
            self.largest = max(self.largest, tensor.numel() * tensor.element_size())
        return made


def test_a_large_kernel_on_few_channels_keeps_to_the_memory():
    module = nn.Sequential(nn.Conv2d(3, 16, 11, stride=4), nn.ReLU())
    images = torch.randn(1, 3, 63, 63)
    net = Network(module, images)
    with LargestTensor() as seen:
        p = project(net, images, "1", range(16), select="map", memory="800kB")
    # One walk's tensors may take an eighth of the budget each; all pixels are the result itself.
    assert seen.largest <= max(p.pixels.numel() * 4, 800 * 1024 // 8)


def test_activation_position_and_window_are_those_of_the_peak(networks):
    module, net, images = networks("plain")
    p = project(net, images, "features.5", [2, 9])
    maps = module.features[:6](images).detach()
    for n in range(2):
        for k, channel in enumerate((2, 9)):
            assert_close(p.activation[n, k], maps[n, channel].max(), 1e-12)
            row, column = p.position[n, k].tolist()
            assert maps[n, channel, row, column] == maps[n, channel].max()
            # By hand: 3x3 twice, a pool of 2, 3x3 without padding: 10 pixels, stride 2, offset 2.
            top, left = max(0, 2 * row - 2), max(0, 2 * column - 2)
            assert p.window[n, k].tolist() == [
                top, left, min(21, 2 * row + 8), min(26, 2 * column + 8)
            ]  # fmt: skip
            outside = p.pixels[n, k].clone()
            outside[:, top : 2 * row + 8, left : 2 * column + 8] = 0
            assert outside.abs().max() == 0
    assert p.receptive_field == (10, 10)


def test_the_strongest_channels_are_each_images_own(networks):
    module, net, images = networks("plain")
    p = project(net, images, "features.8", top=3)
    peaks = module.features[:9](images).amax((2, 3)).detach()
    assert torch.equal(p.channels, peaks.argsort(dim=1, descending=True)[:, :3])
    assert_close(p.activation, peaks.sort(dim=1, descending=True).values[:, :3], 1e-12)
    own = project(net, images, "features.8", p.channels)
    assert torch.equal(own.pixels, p.pixels)


def test_blocks_end_where_the_resolution_changes(networks):
    ends = {
        name: list(project(networks(name)[1], networks(name)[2]).layers)
        for name in ("plain", "batch norm", "residual", "inception", "dense", "squeeze-excite")
    }
    assert ends == {
        "plain": ["features.3", "features.6", "features.9"],
        "batch norm": ["act", "act2"],
        "residual": ["layer1.1.relu2", "layer2.1.relu2"],
        "inception": ["stem.1", "cat", "reduce"],
        "dense": ["transition", "last"],
        "squeeze-excite": ["last"],
    }


def test_blocks_are_those_on_the_way_to_the_output():
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Conv2d(3, 4, 3)
            self.two = nn.Conv2d(4, 5, 3)
            self.aside = nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            maps = F.relu(self.one(x))
            return self.two(F.max_pool2d(maps, 2)), self.aside(maps)

    images = torch.randn(1, 3, 12, 12)
    net = Network(Auxiliary(), images)
    assert project(net, images).layers == ("relu", "two")


def test_vgg16_has_one_picture_a_block():
    from convscope.loading import load
    from convscope.network.blocks import block_ends

    net = load("vgg16", weights=None, size=(3, 32, 32))
    names = [net.graph.steps[index].name for index in block_ends(net.graph)]
    assert names == ["features.3", "features.8", "features.15", "features.22", "features.29"]


def test_a_linear_layer_projects_its_logits(networks):
    module, net, images = networks("plain")
    p = project(net, images, "classifier", [4], rule="gradient")
    leaf = images.clone().requires_grad_()
    logits = module(leaf)[:, 4]
    (expected,) = torch.autograd.grad(logits.sum(), leaf)
    assert_close(p.pixels[:, 0], expected * logits.detach()[:, None, None, None])
    assert p.window[0, 0].tolist() == [0, 0, 21, 26]
    assert p.position.abs().max() == 0


def test_the_record_says_what_a_picture_must_say(networks):
    _, net, images = networks("squeeze-excite")
    notes = project(net, images, "last", [0]).notes
    assert notes == ("derivative instead of a rule at: product, sigmoid",)
    assert project(net, images, "last", [0], rule="gradient").notes == ()
    smooth = Network(
        nn.Sequential(nn.Conv2d(3, 2, 3), nn.SiLU(), nn.Conv2d(2, 2, 3)),
        torch.zeros(1, 3, 9, 9), preprocess="none", notes=["random weights (seed 0)"],
    )  # fmt: skip
    p = project(smooth, torch.randn(1, 3, 9, 9), "2", [0])
    assert p.notes == ("random weights (seed 0)", "taken as rectifiers: silu")


def test_progress_counts_every_unit_once(networks):
    _, net, images = networks("plain")
    seen = []
    project(net, images, "features.8", [0, 1, 2], memory="50kB",
            progress=lambda done, total: seen.append((done, total)))  # fmt: skip
    assert seen[-1] == (6, 6)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_mistakes_are_named(networks):
    _, net, images = networks("plain")
    wrong = [
        (UnitError, "no layer 'features.88'; did you mean", {"layer": "features.88"}),
        (UnitError, "channels 0 to 11, not 12", {"channels": [3, 12]}),
        (UnitError, "not -1", {"channels": [-1]}),
        (UnitError, "one such list an image", {"channels": torch.zeros(3, 1, dtype=torch.int64)}),
        (UnitError, "one such list an image", {"channels": []}),
        (UnitError, "at least 1, not 0", {"channels": None, "top": 0}),
        (UnitError, "unknown select 'peek'; did you mean 'peak'", {"select": "peek"}),
        (RuleError, "unknown rule 'deconv'; did you mean 'deconvnet'", {"rule": "deconv"}),
        (ImageError, r"takes images \[N, 3, 21, 26\], not", {"images": images[:, :2]}),
        (ImageError, "no image in the batch", {"images": images[:0]}),
        (ConvscopeError, "memory 'lots' is not an amount", {"memory": "lots"}),
    ]
    for kind, message, change in wrong:
        options = {"images": images, "layer": "features.8", "channels": [0], **change}
        with pytest.raises(kind, match=message):
            project(net, **options)


def test_no_rectifier_is_refused_with_the_reason():
    net = Network(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Tanh()), torch.zeros(1, 3, 8, 8))
    images = torch.randn(1, 3, 8, 8)
    for rule in ("deconvnet", "guided"):
        with pytest.raises(RuleError, match=r"has no rectifier .* use rule 'gradient'"):
            project(net, images, "1", [0], rule=rule)
    assert project(net, images, "1", [0], rule="gradient").pixels.abs().max() > 0


def test_a_layer_without_maps_is_refused():
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 2, 2)
            self.relu = nn.ReLU()
            self.mix = nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.mix(self.relu(self.conv(x)).flatten(2).transpose(1, 2))

    net = Network(Tokens(), torch.zeros(1, 3, 8, 8))
    with pytest.raises(UnitError, match=r"'mix' gives \[1, 16, 5\], which has no feature maps"):
        project(net, torch.randn(1, 3, 8, 8), "mix", [0])


@pytest.mark.parametrize(
    ("text", "count"),
    [("1", 1), (2048, 2048), ("3kB", 3072), ("1 MiB", 2**20), ("0.5g", 2**29), ("2T", 2**41)],
)
def test_amounts_of_memory(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "1 kg", "1e9", None])
def test_what_is_no_amount_of_memory(text):
    with pytest.raises(ConvscopeError, match="is not an amount"):
        parse_bytes(text)


def test_a_block_ends_at_its_rectified_maps_where_pooling_comes_first():
    from convscope.models.plain import NetConfig, PlainNet

    net = Network(PlainNet(NetConfig(widths=((4, 6), (8, 8), (5,)))), torch.randn(1, 3, 16, 16))
    images = torch.randn(1, 3, 16, 16)
    expected = ["features.relu1", "features.relu3", "features.relu5"]
    assert list(project(net, images).layers) == expected
