"""A kept look answers as the calls that walk up anew do, and as the plain module does."""

from io import BytesIO

import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

import convscope as cs
from convscope.samples import SAMPLES
from products import each_once

CAT = SAMPLES[0]


class Branches(nn.Module):
    """Two ways up that meet, and a classifier: nothing about it is a plain stack."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.left = nn.Conv2d(8, 8, 3, padding=1)
        self.right = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        x = functional.relu(self.left(x)) + functional.relu(self.right(x))
        return self.head(functional.max_pool2d(x, 2).mean((2, 3)))


def picture() -> Image.Image:
    return Image.open(BytesIO(CAT.content()))


@pytest.fixture(scope="module")
def branches() -> tuple[cs.Network, torch.Tensor]:
    torch.manual_seed(3)
    net = cs.Network(Branches().double(), (1, 3, 24, 24), preprocess="none")
    return net, torch.rand(1, 3, 24, 24, dtype=torch.float64)


@pytest.fixture(scope="module")
def base() -> tuple[cs.Network, torch.Tensor]:
    net = cs.load("base")
    return net, net.preprocess(picture())


SOME_RULES = ["deconvnet", "guided", "gradient", "z-plus", "epsilon-plus-flat"]


@each_once("network, rule", ["branches", "base"], SOME_RULES)
def test_a_projection_is_that_of_project(request, network, rule):
    net, image = request.getfixturevalue(network)
    kept = cs.look(net, image)
    for layer in [name for name, one in net.layers.items() if len(one.shape) == 3]:
        expected = cs.project(net, image, layer, [1, 5], rule=rule)
        for place, channel in enumerate((1, 5)):
            own = kept.project(layer, channel, rule=rule)
            assert own.position[0, 0].tolist() == expected.position[0, place].tolist()
            pixels, most = expected.pixels[0, place], float(expected.pixels[0, place].abs().max())
            torch.testing.assert_close(own.pixels[0, 0], pixels, rtol=1e-5, atol=1e-6 * most)
            assert own.notes == expected.notes


@pytest.mark.parametrize("rule", ["deconvnet", "guided", "gradient"])
def test_one_projection_is_that_of_project_to_the_bit(base, rule):
    net, image = base
    kept = cs.look(net, image)
    for channel in range(10):
        expected = cs.project(net, image, "features.relu4", [channel], rule=rule)
        assert torch.equal(
            kept.project("features.relu4", channel, rule=rule).pixels, expected.pixels
        )


def test_a_patch_that_is_dragged_for_long_answers_as_the_module():
    torch.manual_seed(0)
    wide = [
        nn.Conv2d(3, 192, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(192, 192, 3, padding=1),
        nn.ReLU(),
    ]
    module = nn.Sequential(*wide, nn.MaxPool2d(8), nn.Flatten(), nn.Linear(192 * 16, 4))
    image = torch.rand(1, 3, 32, 32)
    kept = cs.look(cs.Network(module, (1, 3, 32, 32), preprocess="none"), image)
    for turn in range(30):
        row, column = turn % 25, 7 * turn % 25
        covered = image.clone()
        covered[:, :, row : row + 8, column : column + 8] = 0
        said = kept.occlude(row, column, 8, "black")
        torch.testing.assert_close(said.logit, module(covered)[0].detach(), rtol=1e-4, atol=1e-5)


def test_a_position_is_the_gradient_there(branches):
    net, image = branches
    kept = cs.look(net, image)
    pixels = image.clone().requires_grad_()
    net.module.stem(pixels)[0, 4, 3, 7].backward()
    value = kept.maps("stem")[4, 3, 7]
    own = kept.project("stem", 4, position=(3, 7), rule="gradient")
    assert own.activation.item() == value
    torch.testing.assert_close(own.pixels[0, 0], pixels.grad[0] * value)


@pytest.mark.parametrize("network", ["branches", "base"])
def test_a_patch_is_the_position_of_occlude(request, network):
    net, image = request.getfixturevalue(network)
    kept = cs.look(net, image)
    layer, channel = next(n for n, one in net.layers.items() if one.shape[1:2] > (4,)), 2
    whole = cs.occlude(net, image, 7, 5, "black", layer=layer, channel=channel, target=1)
    for row in range(0, whole.positions.shape[0], 2):
        for column in range(whole.positions.shape[1]):
            top, left = whole.positions[row, column, :2].tolist()
            said = kept.occlude(top, left, 7, "black", layer, channel)
            assert said.probability[1].item() == pytest.approx(
                whole.probability[row, column].item(), abs=1e-6
            )
            assert said.logit[1].item() == pytest.approx(whole.logit[row, column].item(), rel=1e-4)
            assert said.predicted == whole.predicted[row, column]
            assert said.activation == pytest.approx(
                whole.activation[row, column].item(), rel=1e-5, abs=1e-5
            )
    clean = kept.read(layer, channel)
    assert clean.activation == pytest.approx(whole.clean["activation"])
    assert clean.probability[1].item() == pytest.approx(whole.clean["probability"])


def test_a_patch_may_stick_out_of_the_image(branches):
    net, image = branches
    covered = image.clone()
    covered[:, :, :4, 20:] = 0
    said = cs.look(net, image).occlude(-3, 20, 7, "black")
    torch.testing.assert_close(said.logit, net.module(covered)[0].detach())


@pytest.mark.parametrize(
    ("scale", "only", "factors"),
    [
        ({0: 0.0, 3: 2.5}, None, [0, 1, 1, 2.5, 1, 1, 1, 1]),
        (None, [2, 6], [0, 0, 1, 0, 0, 0, 1, 0]),
        ({2: 0.5}, [2, 6], [0, 0, 0.5, 0, 0, 0, 1, 0]),
    ],
)
def test_channels_are_scaled_as_a_hook_does(branches, scale, only, factors):
    net, image = branches
    said = cs.look(net, image).with_units("left", scale=scale, only=only)
    weights = torch.tensor(factors, dtype=torch.float64).view(1, -1, 1, 1)
    hook = net.module.left.register_forward_hook(lambda _, __, maps: maps * weights)
    expected = net.module(image)[0].detach()
    hook.remove()
    torch.testing.assert_close(said.logit, expected)
    torch.testing.assert_close(said.probability, expected.softmax(0))


def test_the_maps_are_those_of_the_module(branches):
    net, image = branches
    kept = cs.look(net, image, title="noise")
    torch.testing.assert_close(kept.maps("stem.1"), net.module.stem[:2](image)[0].detach())
    torch.testing.assert_close(kept.output, net(image))
    assert repr(kept) == "Look('Branches', 'noise')"


def test_a_look_takes_a_picture_and_what_has_no_classes():
    torch.manual_seed(0)
    stack = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    kept = cs.look(cs.Network(stack, (1, 3, 32, 32), preprocess="none"), picture(), title="cat")
    assert kept.title == "cat"
    assert kept.read() == cs.Reading()
    said = kept.occlude(0, 0, 8, layer="1", channel=3)
    assert said.probability is None
    assert said.activation <= kept.read("1", 3).activation + kept.maps("1").abs().max() * 81


@pytest.mark.parametrize(
    ("ask", "error", "words"),
    [
        (lambda kept: kept.project("left", 0, (12, 0)), cs.UnitError, r"map of \(12, 12\)"),
        (lambda kept: kept.project("lift", 0), cs.UnitError, "no layer 'lift'"),
        (lambda kept: kept.occlude(24, 0, 4), cs.ImageError, "does not touch the image"),
        (lambda kept: kept.occlude(0, 0, 4, "grey-ish"), cs.ImageError, "grey-ish"),
        (lambda kept: kept.with_units("left", off=[8]), cs.UnitError, "channels 0 to 7"),
    ],
)
def test_what_does_not_exist_is_refused(branches, ask, error, words):
    with pytest.raises(error, match=words):
        ask(cs.look(*branches))


def test_one_image_at_a_time(branches):
    net, image = branches
    with pytest.raises(cs.ImageError, match="one image at a time is looked at, not 2"):
        cs.look(net, image.repeat(2, 1, 1, 1))
