"""Diagnosis: planted faults are found and named, healthy networks get no finding."""

import io
import json
import re
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.text import Text
from PIL import Image
from torch import Tensor, nn

import convscope as cs
from convscope.errors import ConvscopeError, DataError
from convscope.methods.diagnosis.aliasing import ImageSpectrum, first_layer, response_of
from convscope.methods.diagnosis.importance import WithoutLayers
from convscope.methods.diagnosis.receptive_field import receptive_fields
from convscope.methods.kernels import kernels_of
from convscope.methods.moments import PairMoments
from convscope.methods.scanning.units import scanned_layers
from convscope.network import Network
from convscope.samples import SAMPLES
from convscope.study.data import load_cifar10
from planting import FAULTS, plant
from products import each_once, endings, some


def noise(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def kinds(found: cs.Diagnosis) -> list[tuple[str, str]]:
    return [(finding.kind, finding.layer) for finding in found.findings]


def network(*layers: nn.Module, side: int = 12, channels: int = 3) -> Network:
    return Network(nn.Sequential(*layers).eval(), torch.zeros(1, channels, side, side))


# The networks that planting is tried on.


@pytest.fixture(scope="module")
def base() -> Network:
    return cs.load("base")


@pytest.fixture(scope="module")
def crops(base) -> list[Tensor]:
    """Crops of the four sample photographs, of many sizes, as inputs of 32 x 32."""
    found = []
    for sample in SAMPLES:
        with Image.open(io.BytesIO(sample.content())) as opened:
            picture = opened.convert("RGB")
        short = min(picture.size)
        for parts in (1, 2, 3):
            side = short // parts
            for top in range(0, picture.height - side + 1, side):
                for left in range(0, picture.width - side + 1, side):
                    crop = picture.crop((left, top, left + side, top + side))
                    found.append(base.preprocess(crop.resize((32, 32)))[0])
    return found


def planted_in(base: Network, fault: str, seed: int):
    planted = plant(base.module, fault, seed)
    return planted, Network(
        planted.module, torch.zeros(1, *base.input_shape), preprocess=base.preprocess
    )


def test_the_bundled_network_is_healthy_on_photographs(base, crops):
    assert len(crops) >= 50
    found = cs.diagnose(base, crops)
    assert found.healthy, [finding.sentence for finding in found.findings]
    assert found.images == found.sampled == found.answered == len(crops)


@each_once("fault, seed", [*FAULTS], range(2))
def test_planted_faults_are_found_on_photographs(base, crops, fault, seed):
    planted, net = planted_in(base, fault, seed)
    found = cs.diagnose(net, crops, budget=0)
    assert kinds(found) == [(planted.kind, planted.layer)]
    assert found.findings[0].channels == planted.channels


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found_on_cifar(base, data, fault, tmp_path):
    images = cifar(data, tmp_path, base)
    for seed in range(20):
        planted, net = planted_in(base, fault, seed)
        found = cs.diagnose(net, images)
        last = found.findings[-1]  # before it, that its answers are no better than chance
        assert kinds(found)[:-1] in ([], [("hardly better than chance", "the network")])
        assert (last.kind, last.layer, last.channels) == (
            planted.kind, planted.layer, planted.channels,
        )  # fmt: skip


@pytest.mark.slow
def test_the_bundled_network_is_healthy_on_cifar(base, data, tmp_path):
    found = cs.diagnose(base, cifar(data, tmp_path, base))
    assert found.healthy, [finding.sentence for finding in found.findings]
    assert found.accuracy > 0.85


def cifar(data, folder, net) -> list[tuple[Tensor, int]]:
    """300 test images of CIFAR-10 with their labels."""
    script = data / "cifar10" / "unpack.py"
    if not script.exists():
        pytest.skip("needs CIFAR-10")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    part = load_cifar10(folder, "test").part(torch.arange(300))
    inputs = net.preprocess.to_inputs(part.images / 255)
    return list(zip(inputs, part.labels.tolist(), strict=True))


def test_labels_stand_for_the_outputs_of_their_names(tmp_path):
    """Folders come in the order of the alphabet, and a network's outputs in their own."""
    for name, grey in (("bright", 200), ("dark", 40)):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("L", (4, 4), grey + number).save(tmp_path / name / f"{number}.png")
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        module[0].weight[:] = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1)
        module[0].bias[:] = torch.tensor([0.5, -0.5])  # the first answers to dark, the other not
    for classes, accuracy in (
        (("dark", "bright"), 1.0),
        (("bright", "dark"), 0.0),
        (("bright", "other"), 0.0),  # three images have a label that the network knows
        (("cat", "dog"), None),
        (None, 0.0),
    ):
        net = Network(module, torch.zeros(1, 1, 4, 4), classes=classes)
        assert cs.diagnose(net, tmp_path).accuracy == accuracy


# Dead units.


def test_dead_units_are_those_that_never_answer():
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU())
    torch.manual_seed(0)
    with torch.no_grad():
        module[0].weight[2:5] = 0
        module[0].bias[2:5] = torch.tensor([-1.0, 0.0, 3.0])  # the last is on, and the same
    found = cs.diagnose(Network(module, torch.zeros(1, 3, 12, 12)), list(noise(60, 3, 12, 12)))
    assert found.layers[0].dead == (2, 3, 4)
    assert kinds(found) == [("dead units", "0")]
    assert "3 of 8 units (38%)" in found.findings[0].evidence
    assert "3 of them by their own weights" in found.findings[0].evidence


def test_few_images_call_nothing_dead_but_what_has_no_weights():
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    with torch.no_grad():
        module[0].bias[:] = 0.5
        module[0].weight[:2] = 0
        module[0].bias[5:] = -1e4
    net, images = Network(module, torch.zeros(1, 3, 12, 12)), list(noise(60, 3, 12, 12))
    assert cs.diagnose(net, images[:20]).layers[0].dead == (0, 1)
    assert cs.diagnose(net, images).layers[0].dead == (0, 1, 5, 6, 7)


@pytest.mark.parametrize(
    ("rectifier", "dead"),
    [(nn.ReLU(), (0, 1, 2)), (nn.ReLU6(), (0, 1, 2)), (nn.LeakyReLU(0.1), (2,)), (nn.SiLU(), (2,))],
)
def test_what_varies_below_zero_is_not_dead(rectifier, dead):
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 8, 3)
    with torch.no_grad():
        convolution.weight[:3] *= torch.tensor([0.3, 0.3, 0.0])[:, None, None, None]
        convolution.bias[:3] = -2.0  # the first two vary, and never come above zero
    found = cs.diagnose(network(convolution, rectifier), list(noise(60, 3, 12, 12)), budget=0)
    assert found.layers[0].dead == dead
    assert found.layers[0].almost_dead == ()


@pytest.mark.parametrize(
    ("killed", "ends"),
    [
        (8, "or a leaky one keeps units alive."),
        (6, "keeps units alive; if accuracy is good, a layer of 2 channels does as well."),
    ],
)
def test_a_smaller_layer_is_suggested_where_one_is_left(killed, ends):
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 8, 3)
    with torch.no_grad():
        convolution.bias[:killed] = -1e4
    found = cs.diagnose(network(convolution, nn.ReLU()), list(noise(60, 3, 12, 12)), budget=0)
    assert found.findings[0].suggestion.endswith(ends)


def test_what_follows_from_a_fault_below_is_a_consequence():
    """A unit that only reads dead ones is dead for no fault of its own."""
    torch.manual_seed(1)
    first, second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3)
    with torch.no_grad():
        first.weight[:4] = 0
        first.bias[:4] = 0
        second.weight[:3, 4:] = 0
        second.bias[:] = -0.01
    net = network(first, nn.ReLU(), second, nn.ReLU())
    found = cs.diagnose(net, list(noise(60, 3, 12, 12)))
    assert kinds(found) == [("dead units", "0")]
    assert found.layers[1].dead == (0, 1, 2)
    assert found.findings[0].consequences == ("Above it 3 units of 2 are dead.",)
    assert found.findings[0].above == ("2",)
    assert "3 units of 2 are dead" in found.findings[0].sentence


# Dominating and duplicate filters.


def test_batch_norm_is_folded_into_the_weights():
    convolution, norm = nn.Conv2d(2, 3, 1, bias=False), nn.BatchNorm2d(3, eps=0.0)
    with torch.no_grad():
        convolution.weight[:] = torch.tensor([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]])[:, :, None, None]
        norm.weight[:] = torch.tensor([2.0, -1.0, 1.0])
        norm.running_var[:] = torch.tensor([4.0, 1.0, 0.25])
    net = network(convolution, norm, nn.ReLU(), channels=2)
    kernels = kernels_of(net, scanned_layers(net)[0])
    np.testing.assert_allclose(kernels.strength, [5.0, 2.0, 2.0])


def test_a_large_filter_that_its_batch_norm_undoes_dominates_nothing():
    torch.manual_seed(2)
    convolution, norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
    images = noise(60, 3, 12, 12)
    with torch.no_grad():
        convolution.weight[3] *= 50
        norm.train()(convolution(images))
        norm.momentum = None  # take the mean over all batches: the one below
        norm.reset_running_stats()
        norm(convolution(images))
    net = network(convolution, norm, nn.ReLU())
    assert cs.diagnose(net, list(images)).healthy
    with torch.no_grad():
        convolution.weight[3] *= 50
    found = cs.diagnose(network(convolution, norm, nn.ReLU()), list(images))
    assert kinds(found) == [("dominating filter", "0")]
    assert found.findings[0].channels == (3,)
    assert found.layers[0].largest_weights == pytest.approx(50, rel=0.3)


@pytest.mark.parametrize("why", ["bias", "reading", "statistics"])
def test_a_unit_that_dominates_by_ordinary_weights_is_said_to(why):
    torch.manual_seed(0)
    images = noise(60, 3, 12, 12) - 0.5
    convolution = nn.Conv2d(3, 8, 3)
    norm = nn.BatchNorm2d(8)
    with torch.no_grad():
        convolution.bias.zero_()
        if why == "bias":
            convolution.bias[3] = 100.0
        elif why == "reading":
            images[:, 0] += 100.0
            convolution.weight[:, 0] -= convolution.weight[:, 0].mean((1, 2), keepdim=True)
            convolution.weight[3, 0] += 0.1
        else:
            norm.running_mean[3] = -100.0  # as of other images
    layers = [convolution, *([norm] if why == "statistics" else []), nn.ReLU()]
    (finding,) = cs.diagnose(network(*layers), list(images)).findings
    assert (finding.kind, finding.channels) == ("dominating filter", (3,))
    ratio = re.search(r"weights.* are ordinary, ([\d.]+) times", finding.evidence)
    assert ratio
    assert float(ratio[1]) < 2
    assert "Renormalise each filter" not in finding.suggestion
    told = {"bias": "; its bias is 100, its mean 1", "reading": "; its bias is 0, its mean 8",
            "statistics": "; the norm makes 1 of what it was trained on, and 1"}  # fmt: skip
    assert told[why] in finding.evidence
    advice = {"bias": "Its bias makes it so", "reading": "look at the channels below that it reads",
              "statistics": "The norm's running statistics are not those"}  # fmt: skip
    assert advice[why] in finding.suggestion


def test_duplicates_need_the_same_weights_and_the_same_activations():
    torch.manual_seed(3)
    convolution = nn.Conv2d(3, 8, 3)
    with torch.no_grad():
        convolution.weight[5] = 2 * convolution.weight[1]
        convolution.bias[5] = 2 * convolution.bias[1]
        convolution.weight[6] = convolution.weight[1] * 0.5
        convolution.bias[6] = convolution.bias[1] * 0.5
        convolution.weight[7] = convolution.weight[2]
        convolution.bias[7] = -0.8  # the same kernel, active elsewhere
        convolution.bias[2] = 0.0
    found = cs.diagnose(network(convolution, nn.ReLU()), list(noise(60, 3, 12, 12)))
    assert kinds(found) == [("duplicate filters", "0")]
    assert found.layers[0].duplicates == ((1, 5, 6),)
    assert found.findings[0].channels == (1, 5, 6)
    assert found.layers[0].duplicate_share == 2 / 8


def test_correlation_is_numpys():
    maps = noise(50, 6, 3, 5) + torch.linspace(0, 3, 50)[:, None, None, None]
    maps[:, 4] = 7.0
    moments = [PairMoments.none(6, 6) for _ in range(2)]
    for number, part in enumerate(maps.movedim(1, 3).split(16)):
        moments[number % 2].add(part.flatten(0, 2), part.flatten(0, 2))
    moments[0].merge(moments[1])
    values = maps.double().movedim(1, 0).flatten(1).numpy()
    expected = np.corrcoef(np.delete(values, 4, axis=0))
    found = moments[0].correlation().numpy()
    np.testing.assert_allclose(np.delete(np.delete(found, 4, 0), 4, 1), expected, atol=1e-12)
    assert np.isnan(found[4]).all()
    variance = moments[0].first.variance.numpy()
    np.testing.assert_allclose(variance, values.var(1), rtol=1e-12, atol=1e-25)


# The first layer.


def spectrum_of(images: Tensor) -> ImageSpectrum:
    spectrum = ImageSpectrum(tuple(images.shape[1:]))
    spectrum.add(images)
    return spectrum


@pytest.mark.parametrize(
    ("stride", "folded", "octaves"), [(1, 0.0, 0.0), (2, 3 / 4, 0.459), (4, 15 / 16, 1.324)]
)
def test_a_stride_folds_back_what_it_cannot_carry(stride, folded, octaves):
    """White noise through a filter of one weight: the share is that of the plane."""
    net = network(nn.Conv2d(1, 1, 1, stride), side=64, channels=1)
    response = response_of(
        net, first_layer(net, scanned_layers(net)), spectrum_of(noise(200, 1, 64, 64))
    )
    assert response.aliased()[0] == pytest.approx(folded, abs=0.02)
    assert response.folded_octaves()[0] == pytest.approx(octaves, abs=0.02)  # by integration
    assert response.power.sum() == pytest.approx(1)


def test_a_response_is_that_of_the_convolution_itself():
    """Its power spectrum, against convolving whole images and transforming the outcome."""
    torch.manual_seed(4)
    convolution = nn.Conv2d(3, 4, 5, 2, bias=False, dtype=torch.float64)
    net = Network(nn.Sequential(convolution), torch.zeros(1, 3, 32, 32, dtype=torch.float64))
    images = noise(40, 3, 32, 32).double().cumsum(2).cumsum(3)
    response = response_of(net, scanned_layers(net)[0], spectrum_of(images))
    window = torch.hann_window(32, dtype=torch.float64)
    pieces = (images - images.mean((2, 3), keepdim=True)) * window[:, None] * window
    with torch.no_grad():
        around = F.pad(pieces, (0, 4, 0, 4), mode="circular")
        outcome = F.conv2d(around, convolution.weight)
    power = torch.fft.fft2(outcome).abs().square().mean(0)
    expected = power / power.sum((1, 2), keepdim=True)
    np.testing.assert_allclose(response.power, expected.numpy(), rtol=1e-9, atol=1e-15)


def waves(frequencies: list[float], side: int) -> Tensor:
    """Filters that each answer to one frequency, in cycles a pixel along the rows."""
    at = torch.arange(side) - side // 2
    window = torch.hann_window(side + 2)[1:-1]
    found = [torch.cos(2 * torch.pi * f * at) * window for f in frequencies]
    return torch.stack([(wave[:, None] * window)[None].expand(3, -1, -1) for wave in found])


@pytest.mark.parametrize(
    ("frequencies", "stride", "expected"),
    [
        ([0.0] * 4 + [0.4] * 4, 1, ["frequency gap"]),
        ([0.0, 0.02, 0.15, 0.18, 0.2, 0.15, 0.35, 0.4], 1, []),
        ([0.02, 0.2, 0.2, 0.22, 0.2, 0.2, 0.3, 0.3], 4, ["aliasing", "checkerboard"]),
        ([0.0, 0.02, 0.05, 0.05, 0.06, 0.07, 0.1, 0.16], 4, ["checkerboard"]),
    ],
)
def test_filters_of_known_frequencies(frequencies, stride, expected):
    convolution = nn.Conv2d(3, 8, 11, stride, bias=False)
    with torch.no_grad():
        convolution.weight[:] = waves(frequencies, 11)
        convolution.weight[:] += 0.02 * noise(8, 3, 11, 11) * convolution.weight.std()
    found = cs.diagnose(
        network(convolution, nn.ReLU(), side=64), list(noise(60, 3, 64, 64)),
        thresholds={"same_weights": 1.0}, budget=0,
    )  # fmt: skip
    assert [finding.kind for finding in found.findings] == expected


def test_constant_images_get_no_share_of_their_response():
    torch.manual_seed(7)
    net = network(nn.Conv2d(3, 24, 4, 4))
    images = [torch.full((3, 12, 12), 0.02 * number) for number in range(60)]
    found = cs.diagnose(net, images, budget=0).findings
    (aliasing,) = (finding for finding in found if finding.kind == "aliasing")
    assert aliasing.evidence.endswith("comes back as lower frequencies.")


@pytest.mark.parametrize(("filters", "expected"), [(48, []), (24, ["aliasing"])])
def test_patches_written_in_as_many_numbers_lose_nothing(filters, expected):
    torch.manual_seed(7)
    net = network(nn.Conv2d(3, filters, 4, 4))
    found = cs.diagnose(net, list(noise(60, 3, 12, 12)), budget=0)
    assert [finding.kind for finding in found.findings] == expected


@pytest.mark.parametrize(
    ("kernel", "stride", "percent", "remedies"),
    [
        (11, 3, "18%", ["12×12", "9×9"]),  # taps of 4, 4 and 3 a phase along each axis
        (3, 2, "48%", ["4×4", "2×2"]),  # taps of 2 and 1
        (4, 2, None, []),
        (7, 1, None, []),
    ],
)
def test_a_stride_that_does_not_divide_its_kernel(kernel, stride, percent, remedies):
    net = network(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, kernel, stride), side=40)
    found = cs.diagnose(net, list(noise(60, 3, 40, 40)), budget=0).findings
    grids = [finding for finding in found if finding.kind == "checkerboard"]
    assert [finding.layer for finding in grids] == (["2"] if percent else [])
    for finding in grids:
        assert f"varies by {percent} of its mean" in finding.evidence
        assert all(remedy in finding.suggestion for remedy in remedies)


def test_the_layer_that_reads_the_images_is_found():
    class Normalising(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.inner((x - 0.5) / 0.2).relu()

    net = Network(Normalising(), torch.zeros(1, 3, 8, 8))
    assert first_layer(net, scanned_layers(net)).name == "inner"
    late = network(nn.AvgPool2d(2), nn.Conv2d(3, 4, 3), side=8)
    assert first_layer(late, scanned_layers(late)) is None


# Saturation, receptive fields and what each layer matters.


@pytest.mark.parametrize(
    ("function", "factor", "stuck"),
    [(nn.Tanh(), 1.0, 0), (nn.Tanh(), 300.0, 8), (nn.Sigmoid(), 300.0, 8), (nn.ReLU6(), 1.0, 0)],
)
def test_saturated_units_lie_at_a_flat_end(function, factor, stuck):
    torch.manual_seed(5)
    convolution = nn.Conv2d(3, 8, 3)
    with torch.no_grad():
        convolution.weight *= factor
    found = cs.diagnose(network(convolution, function), list(noise(60, 3, 12, 12)))
    assert kinds(found) == ([("saturation", "0")] if stuck else [])
    assert [len(finding.channels) for finding in found.findings] == [stuck] * bool(stuck)


def test_the_effective_receptive_field_is_counted_by_hand():
    """One row of five weights, of which one is 4 % of the largest: too little to count."""
    convolution = nn.Conv2d(1, 1, (1, 5), bias=False)
    with torch.no_grad():
        convolution.weight[:] = torch.tensor([0.04, 0.5, 1.0, -0.05, 0.0])
    net = network(convolution, channels=1)
    fields = receptive_fields(net, scanned_layers(net)[0], noise(3, 1, 12, 12), 2**20)
    assert (fields.theoretical, fields.effective) == (5, 3)
    two = network(convolution, nn.Conv2d(1, 1, (5, 1)), channels=1)
    with torch.no_grad():
        two.module[1].weight[:] = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0])[:, None]
    fields = receptive_fields(two, scanned_layers(two)[1], noise(3, 1, 12, 12), 2**20)
    assert (fields.theoretical, fields.effective) == (25, 6)


class Shortcut(nn.Module):
    """One block: a wide main path beside a shortcut that reads a pixel in four."""

    def __init__(self, side: int):
        super().__init__()
        torch.manual_seed(0)
        self.main = nn.Conv2d(3, 4, side, 2, padding=side // 2)
        self.around = nn.Conv2d(3, 4, 1, 2)

    def forward(self, x):
        return (self.main(x) + self.around(x)).relu()


@pytest.mark.parametrize(("side", "named"), [(9, []), (3, ["main"])])
def test_a_shortcut_is_not_the_last_layer(side, named):
    net = Network(Shortcut(side).eval(), torch.zeros(1, 3, 32, 32))
    assert scanned_layers(net)[-1].name == "around"
    found = cs.diagnose(net, list(noise(20, 3, 32, 32)))
    fields = [finding for finding in found.findings if finding.kind == "receptive field"]
    assert [finding.layer for finding in fields] == named
    for finding in fields:
        assert "moved by 9 pixels, of 9 that it reads" in finding.evidence


class Residual(nn.Module):
    """Two branches, of which one does next to nothing, and a layer that only hands on."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(6)
        self.start, self.idle = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.same, self.work = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)
        with torch.no_grad():
            self.idle.weight *= 1e-4
            self.idle.bias.zero_()
            nn.init.dirac_(self.same.weight)
            self.same.weight += 1e-4 * torch.randn_like(self.same.weight)
            self.same.bias.zero_()
            self.head.bias.zero_()

    def forward(self, x):
        x = self.start(x).relu()
        x = x + self.idle(x).relu()
        x = self.work(self.same(x).relu()).relu()
        return self.head(x.mean((2, 3)) * 40)


def test_layers_that_the_answer_does_not_need_are_named():
    module = Residual().eval()
    net = Network(module, torch.zeros(1, 3, 12, 12))
    images = 2 * noise(80, 3, 12, 12)
    images += 2 * noise(80, 3, 1, 1, seed=1)
    answers = module(images).argmax(1)
    found = cs.diagnose(net, [(i, int(a)) for i, a in zip(images, answers, strict=True)])
    assert found.accuracy == 1.0
    assert sorted(kinds(found)) == [("unneeded layer", "idle"), ("unneeded layer", "same")]
    rows = {row.name: row for row in found.layers}
    assert rows["idle"].without == rows["idle"].without_accuracy
    assert rows["start"].skipped is None


def test_a_few_images_do_not_call_a_layer_unneeded():
    net = Network(Residual().eval(), torch.zeros(1, 3, 12, 12))
    images = list(2 * noise(30, 3, 12, 12) + 2 * noise(30, 3, 1, 1, seed=1))
    found = cs.diagnose(net, images)
    assert (kinds(found), found.answered) == ([], 30)
    assert found.left_out == ("unneeded layers: so few images (30) show nothing; it takes 50",)
    asked = cs.diagnose(net, images, thresholds={"images": 30})
    assert sorted(kinds(asked)) == [("unneeded layer", "idle"), ("unneeded layer", "same")]
    assert asked.left_out == ()


def test_an_ablation_is_the_network_with_that_layer_replaced():
    module = Residual().double().eval()
    net = Network(module, torch.zeros(1, 3, 12, 12, dtype=torch.float64))
    images = noise(20, 3, 12, 12).double()
    layers = {layer.name: layer for layer in scanned_layers(net)}
    ablation = WithoutLayers(net, list(layers.values()), images, torch.full((20,), -1), 6)
    with torch.no_grad():
        below = module.start(images).relu()
        below = below + module.idle(below).relu()
        inner = module.same(below).relu()
        clean = module(images).argmax(1)
        ways = {
            "without": module.work(inner.mean(0, keepdim=True).expand_as(inner)).relu(),
            "skipping": module.work(below).relu(),
        }
        for name, maps in ways.items():
            expected = module.head(maps.mean((2, 3)) * 40).argmax(1) == clean
            found = getattr(ablation, name)(layers["same"])
            assert found.same == pytest.approx(expected.double().mean().item())
            assert found.accuracy is None


# The whole.


def test_healthy_small_networks_get_no_finding():
    for seed in range(3):
        torch.manual_seed(seed)
        net = network(
            nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Flatten(), nn.Linear(16 * 64, 4),
        )  # fmt: skip
        found = cs.diagnose(net, list(noise(80, 3, 12, 12)))
        assert found.healthy, found.findings


def test_it_is_saved_and_loaded_whole(tmp_path):
    planted = plant(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), "killed", 0)
    net = Network(planted.module, torch.zeros(1, 3, 12, 12), notes=["random weights"])
    found = cs.diagnose(net, list(noise(60, 3, 12, 12)))
    found.save(tmp_path / "d.safetensors")
    loaded = cs.Diagnosis.load(tmp_path / "d.safetensors")
    assert loaded.findings == found.findings
    assert loaded.layers == found.layers
    assert loaded.thresholds == found.thresholds
    assert torch.equal(loaded.spectra, found.spectra)
    assert loaded.to_dict() == json.loads(json.dumps(found.to_dict()), object_hook=dict) or (
        json.loads(json.dumps(loaded.to_dict())) == json.loads(json.dumps(found.to_dict()))
    )
    assert loaded.to_dict()["findings"][0]["sentence"] == found.findings[0].sentence


def test_the_budget_bounds_what_is_slow_and_says_so():
    net = network(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(800, 3))
    images = list(noise(60, 3, 12, 12))
    hasty = cs.diagnose(net, images, budget=0)
    assert hasty.left_out == (
        "effective receptive field of all layers: the budget of 0 s was spent",
        "importance of all layers: the budget of 0 s was spent",
    )
    assert hasty.layers[0].effective_field is hasty.layers[0].without is None
    assert cs.diagnose(net, images, budget="0s").left_out == hasty.left_out
    whole = cs.diagnose(net, images, budget="9000 s")
    assert whole.left_out == ()
    assert whole.layers[0].without is not None
    assert whole.layers[0].dead == hasty.layers[0].dead


def test_a_scan_alone_will_do_for_what_it_holds():
    planted = plant(nn.Sequential(nn.Conv2d(3, 20, 3), nn.ReLU()), "killed", 0)
    net = Network(planted.module, torch.zeros(1, 3, 12, 12))
    images = list(noise(60, 3, 12, 12))
    scanned = cs.scan(net, images)
    found = cs.diagnose(net, scanned)
    assert kinds(found) == [("dead units", "0")]
    assert found.left_out == ("whatever needs the images: there is only a scan of them",)
    assert cs.diagnose(net, images, scanned=scanned).findings == cs.diagnose(net, images).findings
    other = network(nn.Conv2d(3, 20, 3), nn.ReLU())
    weight = net.module[0].weight
    twin = net.with_constants({weight: weight + 1})
    for changed in (other, twin):
        with pytest.raises(DataError, match="the scan is of other weights"):
            cs.diagnose(changed, scanned)
    same = twin.with_constants({twin.graph.steps[1].call.arguments["weight"]: weight})
    assert cs.diagnose(same, scanned).findings == found.findings


def test_it_is_a_table_a_summary_and_a_picture(tmp_path):
    planted = plant(nn.Sequential(nn.Conv2d(3, 20, 3, 2), nn.ReLU()), "killed", 0)
    net = Network(planted.module, torch.zeros(1, 3, 12, 12))
    found = cs.diagnose(net, list(noise(60, 3, 12, 12)), budget=0)
    assert found.partial == "budget"
    (row,) = found.table()
    assert (row["layer"], row["units"], row["dead"]) == ("0", 20, len(found.layers[0].dead))
    assert "dead units" in row["findings"]
    assert "0: dead units." in found.summary()
    assert len(repr(found)) < 1000
    for ending in endings(cs.Diagnosis):
        found.save(tmp_path / f"d{ending}", width="column")
        assert (tmp_path / f"d{ending}").stat().st_size > 100
    assert json.loads((tmp_path / "d.json").read_text())["partial"] == "budget"
    assert (tmp_path / "d.csv").read_text().splitlines()[1].startswith("0,20,")
    with pytest.raises(cs.ConvscopeError, match=r"ending must be one of \.png"):
        found.save(tmp_path / "d.txt")


@pytest.mark.parametrize("width", some(["column"], ["column", "text", "slide"]))
def test_letters_of_the_figure_stay_legible_and_inside(width):
    torch.manual_seed(0)
    net = network(nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3))
    drawn = cs.diagnose(net, list(noise(60, 3, 12, 12))).plot(width=width)
    drawn.canvas.draw()
    said = " ".join(text.get_text() for text in drawn.texts)
    assert "In no layer: units that are dead or almost; duplicates." in said
    bars = [bar for axes in drawn.axes for bar in axes.patches if bar.get_height() == 0.7]
    assert bars
    assert all(bar.get_width() > 0 for bar in bars)  # no chart is empty
    across, high = drawn.canvas.get_width_height()
    texts = [t for t in drawn.findobj(Text) if t.get_text().strip() and t.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= 7
    for text in drawn.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0, text.get_text()
        assert box.x1 <= across + 1, text.get_text()
        assert 0 <= box.y0 < box.y1 <= high, text.get_text()


def test_an_interrupt_hands_out_what_was_measured():
    net = network(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(800, 3))

    def stop(done: int, total: int) -> None:
        if done == total - 1:
            raise KeyboardInterrupt

    with pytest.raises(cs.Interrupted) as stopped:
        cs.diagnose(net, list(noise(60, 3, 12, 12)), progress=stop)
    found = stopped.value.result
    assert found.partial == "interrupted"
    assert found.images == 60
    assert found.layers[0].without is None


def test_wrong_preprocessing_is_the_first_suspect():
    """A classifier that is right on its own pictures, and then is given them turned inside out."""
    torch.manual_seed(0)
    convolution, linear = nn.Conv2d(3, 3, 1, bias=False), nn.Linear(3, 3)
    with torch.no_grad():
        convolution.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
        linear.weight.copy_(torch.eye(3))
        linear.bias.zero_()
    module = nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    net = Network(module, torch.zeros(1, 3, 8, 8), preprocess="none", classes=["r", "g", "b"])
    labels = [n % 3 for n in range(60)]
    pictures = [torch.eye(3)[n].view(3, 1, 1) + 0.2 * torch.rand(3, 8, 8) for n in labels]
    right = list(zip(pictures, labels, strict=True))
    wrong = list(zip([1 - picture for picture in pictures], labels, strict=True))
    assert cs.scan(net, right).accuracy == 1.0
    assert cs.scan(net, right).notes == ()
    assert "hardly better than chance" not in [f.kind for f in cs.diagnose(net, right).findings]
    (note,) = cs.scan(net, wrong).notes
    assert note.startswith("0.0% of 60 labelled images are answered rightly, and chance alone")
    assert "Suspect the preprocessing first" in note
    assert "Suspect the preprocessing first" in cs.scan(net, wrong).summary()
    found = cs.diagnose(net, wrong, budget=0)
    assert found.findings[0].kind == "hardly better than chance"
    assert "Suspect the preprocessing first" in repr(found) + found.summary()
    assert cs.scan(net, wrong[:15]).notes == ()  # so few say nothing


def test_bad_images_are_left_out_and_named():
    images = list(noise(60, 3, 12, 12))
    images[7] = torch.full((3, 12, 12), torch.nan)
    images[9] = torch.zeros(3, 5, 5)
    torch.manual_seed(0)
    found = cs.diagnose(network(nn.Conv2d(3, 8, 3), nn.ReLU()), images)
    assert (found.images, found.sampled, len(found.bad)) == (58, 58, 2)
    assert found.bad["image 7"] == "holds values that are not finite"


def test_progress_ends_at_its_total():
    net = network(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(800, 3))
    seen = []
    cs.diagnose(net, list(noise(60, 3, 12, 12)), progress=lambda *done: seen.append(done))
    assert seen[-1] == (122, 122)
    assert seen == sorted(seen)


MISTAKES = [
    ({"thresholds": {"ded": 0.1}}, "unknown threshold 'ded'; did you mean 'dead'"),
    ({"thresholds": {"dead": 2}}, "'dead' is a share from 0 to 1, not 2"),
    ({"thresholds": {"dead": "0.2"}}, "'dead' is a share from 0 to 1, not '0.2'"),
    ({"thresholds": {"images": None}}, "'images' is a number from 0 up, not None"),
    ({"budget": -1}, "the budget -1 is not a number of seconds"),
    ({"budget": "soon"}, "the budget 'soon' is not a number of seconds"),
    ({"sample": 0}, "the sample must be at least 1 image, not 0"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_mistakes_are_said_in_a_sentence(options, message):
    net = network(nn.Conv2d(3, 8, 3), nn.ReLU())
    with pytest.raises(ConvscopeError, match=message):
        cs.diagnose(net, list(noise(3, 3, 12, 12)), **options)


def test_the_figure_writes_findings_in_words():
    planted = plant(nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU()), "killed", 0)
    net = Network(planted.module, torch.zeros(1, 3, 12, 12), notes=["random weights"])
    drawn = cs.diagnose(net, list(noise(60, 3, 12, 12))).plot(caption="full")
    text = " ".join(item.get_text() for item in drawn.texts)
    assert "0: dead units" in text
    assert "random weights" in text
    assert "Yellow: what the stride 2×2 can carry" in text


def test_the_caption_gives_every_threshold_and_the_filters_scales():
    convolution = nn.Conv2d(3, 2, 3)
    with torch.no_grad():
        convolution.weight.copy_(torch.linspace(-1, 1, 54).reshape(2, 3, 3, 3))
        convolution.weight[1] *= 0.5
    net = network(convolution, nn.ReLU())
    found = cs.diagnose(net, list(noise(60, 3, 12, 12)), thresholds={"grid": 0.2}, budget=0)
    texts = [item.get_text() for item in found.plot(width="slide", caption="full").texts]
    said = " ".join(" ".join(texts).split())
    listed = said.partition("Thresholds, as --threshold takes them: ")[2]
    listed = f"{listed} ".partition(". ")[0]
    given = dict(text.split(" ") for text in listed.split(", "))
    assert {name: float(value) for name, value in given.items()} == asdict(found.thresholds)
    assert "own scale: ± the 99.9% quantile of |value|, from ±0.5 to ±1; at most 0.00%" in said


# The command line.

FILE = """
import torch
from torch import nn


def small():
    torch.manual_seed(3)
    body = nn.Conv2d(3, 20, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 8, 3), nn.ReLU()
    module = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    module.classes = "cat", "dog"
    return module, torch.zeros(1, 3, 24, 24)


def killed():
    module, example = small()
    with torch.no_grad():
        module[0].weight[:6] = 0
    return module, example
"""


@pytest.fixture
def run(tmp_path, monkeypatch, answer):
    """Run a command in a folder with networks.py and two class folders of pictures."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "networks.py").write_text(FILE)
    generator = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for number in range(30):
            pixels = generator.integers(0, 255, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / label / f"{number}.png")
    (tmp_path / "pictures" / "cat" / "broken.png").write_bytes(b"no picture")
    return answer


def test_the_command_names_what_it_finds(run, tmp_path):
    status, out, err = run("diagnose", "networks.py:killed", "pictures", "--json")
    assert status == 0, err
    answer = json.loads(out)
    # Nothing was ever trained, and the pictures are noise.
    kinds = [f["kind"] for f in answer["findings"]]
    assert kinds == ["hardly better than chance", "dead units"]
    assert answer["findings"][1]["channels"][:6] == [0, 1, 2, 3, 4, 5]
    assert (answer["images"], list(answer["bad"])) == (60, ["cat/broken.png"])
    assert answer["accuracy"] is not None
    with Image.open(tmp_path / "diagnosis.png") as figure:
        assert figure.width == 1540


def test_the_command_goes_on_from_an_atlas(run, tmp_path):
    status, _, err = run("scan", "networks.py:killed", "pictures", "-o", "atlas")
    assert status == 0, err
    status, out, err = run("diagnose", "networks.py:killed", "atlas", "-o", "d.safetensors")
    assert status == 0, err
    assert re.search(r"2\. 0: dead units\. \d of 20 units", out)
    assert "1 image left out" in out
    found = cs.Diagnosis.load(tmp_path / "d.safetensors")
    assert (found.images, found.answered) == (60, 60)
    status, out, _ = run("diagnose", "networks.py:small", "atlas")
    assert (status, out) == (2, "")


def test_the_commands_thresholds_are_options(run):
    arguments = ("diagnose", "networks.py:killed", "pictures", "-o", "d.png", "--budget", "0")
    status, out, _ = run(*arguments, "--threshold", "dead=0.4")
    assert status == 0
    assert "dead units" not in out
    assert "left out: importance of all layers" in out
    for text, message in (
        ("dead", "--threshold is NAME=NUMBER, such as dead=0.2, not 'dead'"),
        ("dea=1", "unknown threshold 'dea'; did you mean 'dead'"),
    ):
        status, out, err = run(*arguments, "--threshold", text)
        assert (status, out) == (2, "")
        assert message in err
