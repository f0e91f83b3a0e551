"""Pictures found by optimisation: what they drive, and that a part of the image is enough."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import convscope as cs
from convscope.atlas.atlas import Atlas
from convscope.errors import DataError, UnitError

SIDE = 40


class Branches(nn.Module):
    """Two ways that read differently much, meet, and are pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(3, 4, 1)
        self.wide = nn.Conv2d(3, 4, 3, padding=2, dilation=2)
        self.norm = nn.BatchNorm2d(4)
        self.end = nn.Conv2d(4, 5, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        met = functional.relu(self.norm(self.narrow(x) + self.wide(x)))
        return functional.relu(self.end(functional.max_pool2d(met, 2)))


class Gated(Branches):
    """The same behind a gate that reads the whole map: no part of the image is enough."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * torch.sigmoid(x.mean((2, 3), keepdim=True)))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def made(module: nn.Module, side: int = SIDE) -> cs.Network:
    torch.manual_seed(0)
    module = module.double().eval().requires_grad_(requires_grad=False)
    for own in module.modules():
        if isinstance(own, nn.BatchNorm2d):
            nn.init.uniform_(own.running_mean, -1, 1)
            nn.init.uniform_(own.running_var, 0.5, 2)
            nn.init.ones_(own.bias)  # so that no channel behind it is dead
    example = torch.zeros(1, 3, side, side, dtype=torch.float64)
    return cs.Network(module, example, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))


@pytest.mark.parametrize("kind", [Branches, Gated])
def test_the_activation_is_that_of_the_whole_network_with_the_picture_in_its_place(kind):
    module = kind()
    net = made(module)
    layer = [*net.layers][-1]
    found = cs.visualize(net, layer, [0, 3], steps=3)
    height, width = found.pixels.shape[2:]
    row = column = net.layers[layer].shape[1] // 2
    top, left, bottom, right = net.receptive_fields.window(net.step(layer), row, column)
    if kind is Gated:
        assert (height, width) == (SIDE, SIDE)
        top = left = 0
    else:
        assert (height, width) == (bottom - top, right - left)
    for picture, channel, activation in zip(
        found.pixels, found.channels, found.activation, strict=True
    ):
        image = torch.rand(1, 3, SIDE, SIDE, dtype=torch.float64)  # what lies around is not read
        image[0, :, top : top + height, left : left + width] = picture
        answer = module(net.preprocess.to_inputs(image))[0, channel, row, column].detach()
        assert float(answer) == pytest.approx(float(activation), rel=1e-9, abs=1e-12)


def test_a_field_larger_than_the_image_meets_its_padding():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 5, padding=2)
    )
    net = made(module, side=10)
    found = cs.visualize(net, "3", [1], steps=2)
    assert found.pixels.shape[2:] == (10, 10)
    answer = module(net.preprocess.to_inputs(found.pixels))[0, 1, 2, 2].detach()
    assert float(answer) == pytest.approx(float(found.activation[0]), rel=1e-9)


@pytest.mark.parametrize("above", [nn.PixelShuffle(2), nn.ZeroPad2d((0, 17, 0, 0))])
def test_a_unit_whose_window_is_not_known_is_still_one_unit(above):
    # Behind a shuffle of pixels it was the mean of the whole map; in padding alone, a crash.
    module = nn.Sequential(nn.Conv2d(3, 8, 3), above, nn.ELU())
    net = made(module, side=10)
    found = cs.visualize(net, "2", [1], steps=2)
    maps = module(net.preprocess.to_inputs(found.pixels))
    answer = maps[0, 1, maps.shape[2] // 2, maps.shape[3] // 2].detach()
    assert float(answer) == pytest.approx(float(found.activation[0]), rel=1e-9, abs=1e-12)


def test_a_network_that_writes_into_zeros_of_the_batchs_size_is_driven():
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            maps = functional.elu(self.a(x))
            moved = torch.zeros_like(maps)
            moved[:, :2, 1:] = maps[:, :2, :-1]
            return self.b(moved)

    module = Shifted()
    net = made(module)
    found = cs.visualize(net, "b", [1], steps=2)
    answer = module(net.preprocess.to_inputs(found.pixels))[0, 1, 18, 18].detach()
    assert float(answer) == pytest.approx(float(found.activation[0]), rel=1e-9)


def test_a_network_that_measures_the_whole_image_is_driven():
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x / x.flatten(1).norm(dim=1)[:, None, None, None])

    module = Normed()
    net = made(module)
    found = cs.visualize(net, "a", [1], steps=2)
    answer = module(net.preprocess.to_inputs(found.pixels))[0, 1, 19, 19].detach()
    assert float(answer) == pytest.approx(float(found.activation[0]), rel=1e-9)


def test_the_picture_of_a_linear_unit_is_its_kernel_in_black_and_white():
    convolution = nn.Conv2d(1, 2, 5, bias=False)
    net = cs.Network(nn.Sequential(convolution, nn.ReLU()), torch.zeros(1, 1, 11, 11))
    stripes = torch.tensor([-1.0, -1, 2, 2, -1]).expand(5, 5)
    with torch.no_grad():
        convolution.weight.copy_(torch.stack([stripes, stripes.T])[:, None])
    found = cs.visualize(net, "1", [0, 1], steps=200)
    for picture, weights in zip(found.pixels[:, 0], (stripes, stripes.T), strict=True):
        assert torch.equal(picture > 0.5, weights > 0)
    best = float(stripes.clamp(min=0).sum())
    assert (found.activation > 0.8 * best).all()
    assert (found.activation <= best).all()


def test_a_channel_has_the_same_picture_alone_and_among_others():
    net = made(Branches())
    together = cs.visualize(net, "end", [4, 0, 2], steps=5)
    split = cs.visualize(net, "end", [4, 0, 2], steps=5, memory=1)
    alone = cs.visualize(net, "end", [0], steps=5)
    torch.testing.assert_close(together.pixels, split.pixels, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(together.pixels[1:2], alone.pixels, rtol=1e-9, atol=1e-9)
    other = cs.visualize(net, "end", [0], steps=5, seed=1)
    assert (other.pixels - alone.pixels).abs().max() > 0.01


def test_more_steps_drive_further_and_a_map_drives_its_mean():
    module = Branches()
    net = made(module)
    few, many = (cs.visualize(net, "end", [1], steps=steps).activation for steps in (2, 60))
    assert many[0] > few[0]
    found = cs.visualize(net, "end", [1], select="map", steps=40)
    assert found.pixels.shape == (1, 3, SIDE, SIDE)
    mean = (
        module.end(
            functional.max_pool2d(
                functional.relu(
                    module.norm(
                        module.narrow(x := net.preprocess.to_inputs(found.pixels)) + module.wide(x)
                    )
                ),
                2,
            )
        )[0, 1]
        .mean()
        .detach()
    )
    assert float(found.activation[0]) == pytest.approx(float(mean), rel=1e-9)


def test_a_class_is_driven_too():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    net = made(module, side=12)
    gray = module(net.preprocess.to_inputs(torch.full((1, 3, 12, 12), 0.5, dtype=torch.float64)))
    found = cs.visualize(net, "4", [2], steps=30)
    assert float(found.activation[0]) > float(gray[0, 2])
    assert float(module(net.preprocess.to_inputs(found.pixels))[0, 2]) == pytest.approx(
        float(found.activation[0]), rel=1e-9
    )


def test_natural_frequencies_keep_their_strength():
    net = made(Branches())
    one, other = (
        cs.visualize(net, "end", range(5), select="map", frequencies="natural", steps=steps).pixels
        for steps in (1, 8)
    )
    # On the canvas they are the same to rounding; what is seen is its middle, so nearly.
    strengths = [torch.fft.rfft2(p.logit()).abs().mean((0, 1))[1:5, 1:5] for p in (one, other)]
    assert (one - other).abs().max() > 0.1
    torch.testing.assert_close(*strengths, rtol=0.5, atol=0.0)


def test_real_patches_stand_beside_it(tmp_path: Path):
    net = made(Branches())
    torch.manual_seed(1)
    scan = cs.scan(net, [torch.randn(3, SIDE, SIDE, dtype=torch.float64) for _ in range(4)])
    found = cs.visualize(net, "end", [2, 1], steps=2, atlas=scan)
    peaks = scan.layers["end"].peak
    assert [row["real"] for row in found.table()] == [float(peaks[2, 0]), float(peaks[1, 0])]
    found.save(tmp_path / "v.png")
    found.save(tmp_path / "v.safetensors")
    again = cs.Visualization.load(tmp_path / "v.safetensors")
    assert torch.equal(again.pixels, found.pixels)
    assert again.to_json() == found.to_json()


def test_ctrl_c_hands_out_the_channels_that_are_done():
    net = made(Branches())

    def stop(done: int, _: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(cs.Interrupted) as stopped:
        cs.visualize(net, "end", [3, 1, 2], steps=2, memory=1, progress=stop)
    assert stopped.value.result.channels == (3, 1)
    assert stopped.value.result.partial == "interrupted"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"channels": []}, "no channel was named"),
        ({"channels": [5]}, "5"),
        ({"select": "pek"}, "did you mean"),
        ({"frequencies": "loud"}, "known: free, natural"),
        ({"steps": 0}, "at least 1"),
    ],
)
def test_mistakes_get_a_sentence(options, text):
    with pytest.raises(cs.UnitError, match=text):
        cs.visualize(made(Branches()), "end", options.pop("channels", [0]), **options)


def test_the_command_writes_the_picture(tmp_path: Path, answer):
    given = ("visualize", "base", "--layer", "features.relu2", "--channel", "1", "--steps", "2")
    status, out, error = answer(*given, "-o", tmp_path / "v.png", "--json")
    assert status == 0, error
    found = json.loads(out)
    expected = cs.visualize(cs.load("base"), "features.relu2", [1], steps=2)
    assert found["rows"][0]["activation"] == pytest.approx(float(expected.activation[0]), rel=1e-4)
    assert (tmp_path / "v.png").stat().st_size > 1000


class Doubled(nn.Module):
    """A unit that is off until all it reads is bright, behind its rectifier joined with another."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3)
        nn.init.ones_(self.convolution.weight)
        nn.init.constant_(self.convolution.bias, -8.0)

    def forward(self, x: Tensor) -> Tensor:
        rectified = functional.relu(self.convolution(x))
        return torch.cat([rectified, rectified], 1)


def test_a_unit_that_is_off_at_first_is_reached_through_what_follows_its_rectifier():
    net = cs.Network(Doubled().eval(), torch.zeros(1, 1, 7, 7))
    found = cs.visualize(net, [*net.layers][-1], [0, 3], steps=150)
    assert (found.activation > 0.5).all()  # of 1 at the most
    assert (found.pixels > 0.8).all()


def test_trained_units_behind_joined_rectifiers_go_beyond_their_typical_peaks():
    found = cs.visualize(cs.load("squeezenet1_1"), "features.7", [142, 0, 43], steps=60)
    assert (found.activation > 2 * found.typical).all()


def test_patches_of_another_network_and_frequencies_of_other_channels_are_refused(tmp_path):
    net = made(Branches())
    cs.scan(net, torch.rand(3, 3, SIDE, SIDE).double()).save(tmp_path / "atlas")
    cs.visualize(net, "end", [0], steps=1, atlas=Atlas(tmp_path / "atlas"))
    with torch.no_grad():
        net.module.end.weight.mul_(2)
    with pytest.raises(DataError, match="an atlas of other weights than Branches's"):
        cs.visualize(net, "end", [0], steps=1, atlas=Atlas(tmp_path / "atlas"))
    five = cs.Network(nn.Sequential(nn.Conv2d(5, 2, 3), nn.ReLU()), (1, 5, 9, 9))
    with pytest.raises(UnitError, match="1 or 3 channels and the network's input 5"):
        cs.visualize(five, "1", [0], steps=1, frequencies="natural")
