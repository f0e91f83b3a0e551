"""Grids of strides: counted, against closed forms and torch's own transposed convolutions."""

import itertools
import math
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional

import convscope as cs
from convscope.methods.gridding.lattice import Lattice, unevenness
from convscope.methods.gridding.spectrum import Band, GridMeter
from convscope.methods.gridding.structure import variation_at_pixels
from convscope.models.architectures import alexnet
from convscope.network.blocks import feature_maps
from convscope.network.windows.relations import Sliding, Transposed


def closed_form(kernel: int, stride: int, dilation: int = 1) -> float:
    """Taps reach one phase in gcd(stride, dilation); of those, kernel % phases get one more."""
    phases = stride // math.gcd(stride, dilation)
    each, more = divmod(kernel, phases)
    squares = more * (each + 1) ** 2 + (phases - more) * each**2
    return math.sqrt(squares / stride / (kernel / stride) ** 2 - 1)


KERNELS = list(itertools.product(range(1, 12), repeat=2))


def test_along_one_axis_it_is_the_closed_form():
    for (kernel, stride), dilation, padding in itertools.product(KERNELS, (1, 2, 3, 4), (0, 2)):
        steps = Sliding(kernel, stride, padding, dilation)
        expected = closed_form(kernel, stride, dilation)
        assert unevenness(steps, Sliding()) == pytest.approx(expected, abs=1e-7)
        assert unevenness(Sliding(), steps) == pytest.approx(expected, abs=1e-7)


def test_without_dilation_the_closed_form_is_short():
    for kernel, stride in KERNELS:
        more = kernel % stride
        assert closed_form(kernel, stride) == pytest.approx(
            math.sqrt(more * (stride - more)) / kernel, abs=1e-7
        )


def test_two_axes_are_the_product():
    for (kernel, stride), (other, across) in zip(KERNELS, reversed(KERNELS), strict=True):
        product = (1 + closed_form(kernel, stride) ** 2) * (1 + closed_form(other, across) ** 2)
        found = unevenness(Sliding(kernel, stride), Sliding(other, across))
        assert found == pytest.approx(math.sqrt(product - 1), abs=1e-7)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(3, 2, 1, 1), (4, 2, 1, 1), (5, 3, 0, 2), (2, 3, 1, 1), (3, 2, 0, 2), (11, 4, 2, 1)],
)
def test_it_is_what_torchs_transposed_convolution_makes(kernel, stride, padding, dilation):
    ones = torch.ones(1, 1, 40, 40, dtype=torch.float64)
    weight = torch.ones(1, 1, kernel, kernel, dtype=torch.float64)
    made = functional.conv_transpose2d(ones, weight, None, stride, padding, 0, 1, dilation)[0, 0]
    start = -(-made.shape[0] // 4 // stride) * stride
    inner = made[start : start + 12 * stride, start : start + 12 * stride]
    steps = Sliding(kernel, stride, padding, dilation)
    found = Lattice.even().spread(steps, 0).spread(steps, 1)
    torch.testing.assert_close(
        torch.from_numpy(found.period), inner[:stride, :stride] / inner.mean(), atol=1e-12, rtol=0
    )


def test_gathering_is_the_convolution():
    steps = Sliding(kernel=3, stride=2, padding=1)
    values = torch.arange(6, dtype=torch.float64) ** 2
    found = Lattice(values.numpy()[None]).gathered(steps, 1).period
    # By hand: means of the rows 5 0 1, 1 2 3 and 3 4 5 of a map that goes on without end.
    expected = [(25 + 0 + 1) / 3, (1 + 4 + 9) / 3, (9 + 16 + 25) / 3]
    assert found[0].tolist() == pytest.approx(expected)


def ones_pass(module: nn.Module) -> float:
    """The slow way: backpropagate ones through a copy whose weights are all ones."""
    image = torch.zeros(1, 3, 96, 96, dtype=torch.float64, requires_grad=True)
    for parameter in module.double().parameters():
        nn.init.ones_(parameter)
    module(image).sum().backward()
    inner = image.grad[0, 0, 24:72, 24:72]
    return float(inner.std(correction=0) / inner.mean())


class TwoWays(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1, bias=False)
        self.wide = nn.Conv2d(4, 4, 5, 3, 2, bias=False)
        self.narrow = nn.Conv2d(4, 4, 1, 3, bias=False)
        self.last = nn.Conv2d(4, 4, 3, padding=1, bias=False)

    def forward(self, x):
        x = self.first(x)
        # The count of taps weighs the branches here as each branch's mean does there.
        return self.last(self.wide(x) / 25 + self.narrow(x))


CHAINS = {
    "chain": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 5, 2, 2, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, bias=False),
        nn.Conv2d(4, 4, 4, 3, 1, bias=False),
        nn.Conv2d(4, 4, 3, 1, 2, dilation=2, bias=False),
    ),
    "pooled": lambda: nn.Sequential(
        nn.Conv2d(3, 4, (3, 4), (2, 3), bias=False), nn.AvgPool2d(3, 2)
    ),
    "branches": TwoWays,
    "up and down": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 7, 4, 3, bias=False),
        nn.ConvTranspose2d(4, 4, 3, 2, 1, 1, bias=False),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(4, 4, 5, 2, 2, bias=False),
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_through_many_layers_it_is_the_backward_pass_of_ones(name):
    module = CHAINS[name]()
    expected = ones_pass(module)
    net = cs.Network(module.float(), torch.zeros(1, 3, 96, 96))
    assert variation_at_pixels(net, net.graph.output) == pytest.approx(expected, abs=1e-6)


def test_forwards_it_is_the_ones_pass_of_a_decoder():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 4, 4, bias=False),
        nn.ConvTranspose2d(4, 4, 3, 2, 1, 1, bias=False),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 3, 5, 2, 2, 1, bias=False),
        nn.Conv2d(3, 3, 3, padding=1, bias=False),
    )
    net = cs.Network(module, torch.zeros(1, 3, 96, 96))
    for parameter in module.double().parameters():
        nn.init.ones_(parameter)
    by_name = {layer.name: layer for layer in cs.strided_layers(net)}
    for name in ("1", "3"):
        ones = torch.ones(1, 4, 48, 48, dtype=torch.float64)
        made = module[int(name) :](ones)[0, 0].detach()
        inner = made[36:60, 36:60]
        layer = by_name[name]
        assert layer.forwards
        assert layer.alone == pytest.approx(unevenness(*[Transposed(*layer.kernel[:1], 2)] * 2))
        assert layer.reached == pytest.approx(
            float(inner.std(correction=0) / inner.mean()), abs=1e-6
        )
    assert [finding.layer.name for finding in cs.structural_findings(net)] == ["1", "3"]


def test_findings_and_their_alternatives():
    net = cs.Network(nn.Sequential(nn.Conv2d(3, 2, 3, 2), nn.ReLU()), torch.zeros(1, 3, 33, 33))
    (found,) = cs.structural_findings(net)
    assert found.layer.alone == pytest.approx(math.sqrt((1 + 1 / 9) ** 2 - 1))
    assert [(a.kernel, a.stride, a.alone, a.reached, a.weights) for a in found.alternatives] == [
        ((4, 4), (2, 2), 0, 0, 16 / 9),
        ((2, 2), (2, 2), 0, 0, 4 / 9),
        ((3, 3), (1, 1), 0, 0, 1),
    ]


def test_alexnets_first_layer_is_found_and_its_pools_are_not():
    net = cs.Network(
        nn.Sequential(OrderedDict(features=alexnet().features)), torch.zeros(1, 3, 127, 127)
    )
    (found,) = cs.structural_findings(net)
    assert found.layer.name == "features.0"
    assert found.layer.alone == pytest.approx(math.sqrt((1 + 3 / 121) ** 2 - 1))
    assert found.alternatives[0].kernel == (12, 12)
    pools = [layer for layer in cs.strided_layers(net) if layer.op == "max pool"]
    assert [(pool.fixed, round(pool.alone, 3)) for pool in pools] == [(False, 0.484)] * 3


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(4, 4, 3)],
        [nn.Conv2d(3, 4, 4, 2), nn.ReLU(), nn.Conv2d(4, 4, 9, 3, 4), nn.MaxPool2d(2)],
        [nn.Conv2d(3, 4, 8, 8), nn.ConvTranspose2d(4, 3, 4, 2, 1), nn.AvgPool2d(2)],
        [nn.Conv2d(3, 4, 3, dilation=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)],
    ],
)
def test_a_healthy_network_gives_no_finding(layers):
    net = cs.Network(nn.Sequential(*layers), torch.zeros(1, 3, 48, 48))
    assert cs.structural_findings(net) == []


def test_the_bundled_network_gives_no_finding():
    assert cs.structural_findings(cs.load("base")) == []


def test_a_dilation_that_shares_a_factor_with_the_stride_is_found():
    net = cs.Network(nn.Conv2d(3, 4, 4, 2, dilation=2), torch.zeros(1, 3, 32, 32))
    (found,) = cs.structural_findings(net)
    assert found.layer.alone == pytest.approx(math.sqrt(3))  # one position in four is written to
    assert [(a.kernel, a.stride) for a in found.alternatives] == [((4, 4), (1, 1))]


def test_the_meter_finds_a_grid_and_nothing_but_a_grid():
    generator = torch.Generator().manual_seed(1)
    smooth = functional.avg_pool2d(torch.randn(12, 2, 76, 76, generator=generator), 13, 1)
    rows, columns = torch.arange(64)[:, None], torch.arange(64)
    grid = 1 + 0.5 * ((rows % 4 == 1) & (columns % 4 == 2))
    coarse, fine = Band((2, 2), (2, 2)), Band((1, 1), (2, 2))
    for pictures, expected in ((smooth, 0.0), (smooth * grid, None)):
        meters = [GridMeter(band, (64, 64)) for band in (coarse, fine)]
        for meter in meters:
            meter.add(pictures[:5])
            meter.add(pictures[5:])
        lines, beside = zip(*(meter.energies() for meter in meters), strict=True)
        variations = [max(a - b, 0) ** 0.5 for a, b in zip(lines, beside, strict=True)]
        if expected is None:
            # Energies by phase: once 2.25, fifteen times 1; the grids of 2 and of 4 are its parts.
            energies = torch.ones(4, 4)
            energies[1, 2] = 2.25
            spectrum = (torch.fft.fft2(energies) / energies.sum()).abs().square()
            half = float(spectrum[::2, ::2].sum() - 1)
            quarter = float(spectrum.sum() - 1) - half
            assert variations[0] == pytest.approx(math.sqrt(quarter), rel=0.06)
            assert variations[1] == pytest.approx(math.sqrt(half), rel=0.06)
            assert min(a / b for a, b in zip(lines, beside, strict=True)) > 30
        else:
            assert max(variations) < 0.03


def test_feature_maps_are_one_a_stage():
    net = cs.load("squeezenet1_1", weights="random")
    names = [net.graph.steps[index].name for index in feature_maps(net.graph)]
    assert names[:3] == ["features.1", "features.3.squeeze_activation", "features.3"]
    assert names[-2:] == ["features.12", "classifier.2"]
    assert len(names) == 18
    base = cs.load("base")
    named = [base.graph.steps[index].name for index in feature_maps(base.graph)]
    assert named == [f"features.relu{number}" for number in range(1, 8)]
