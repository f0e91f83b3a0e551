"""Targets beyond one class: against torch's own derivatives of what they stand for."""

import captum.attr
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convscope as cs
from convscope.errors import UnitError

SHAPE = (2, 12, 16)


def double(seed: int, module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for weight in module.parameters():
        weight.data = torch.randn(weight.shape, generator=generator) / 3
    return module.double().eval()


class Heads(nn.Module):
    """Maps of 3 classes at half the size, boxes as a detector has them, and a row of logits."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.maps = nn.Conv2d(2, 5, 3, 2, 1), nn.Conv2d(5, 3, 1)
        self.boxes, self.row = nn.Conv2d(5, 6, 3, 2, 1), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = F.relu(self.first(x))
        x = x + F.relu(x - 0.1)
        boxes = self.boxes(x).flatten(2)
        return {"maps": self.maps(x), "boxes": boxes, "row": self.row(x.mean((2, 3)))}


MODULE = double(1, Heads())
BOX = (2, 4, 8, 10)  # of the image's rows and columns: rows 1-3, columns 2-4 of the maps


def image(seed: int = 0) -> Tensor:
    return torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(seed)).double()


def mask() -> Tensor:
    found = torch.zeros(SHAPE[1:], dtype=torch.bool)
    found[1, 3] = found[4:7, 8] = True
    return found


def both(maps: Tensor, boxes: Tensor, row: Tensor) -> Tensor:
    return row.softmax(1)[0, 1] * boxes[0, 2].max() + maps.square().mean()


TARGETS = {
    "a difference": ("row", cs.Target(2, minus=0), lambda o: o["row"][:, 2] - o["row"][:, 0]),
    "a difference in words": ("row", "2-0", lambda o: o["row"][:, 2] - o["row"][:, 0]),
    "maps": ("maps", 1, lambda o: o["maps"][:, 1].mean((1, 2))),
    "a box": ("maps", cs.Target(1, box=BOX), lambda o: o["maps"][:, 1, 1:4, 2:5].mean((1, 2))),
    "a box in words": ("maps", "1-2@2,4,8,10",
                       lambda o: (o["maps"][:, 1] - o["maps"][:, 2])[:, 1:4, 2:5].mean((1, 2))),
    # A quarter of one place lies inside, half of another, a quarter of a third.
    "a mask": ("maps", cs.Target(0, mask=mask()), lambda o: (
        o["maps"][:, 0, 0, 1] + 2 * o["maps"][:, 0, 2, 4] + o["maps"][:, 0, 3, 4]) / 4),
    "a box in a mask": ("maps", cs.Target(0, mask=mask(), box=(4, 0, 6, 16)),
                        lambda o: o["maps"][:, 0, 2, 4]),
    "an element": ("boxes", "4,9", lambda o: o["boxes"][:, 4, 9]),
    "a function": ("row", both, lambda o: torch.stack([
        both(*(o[name][n : n + 1] for name in ("maps", "boxes", "row")))
        for n in range(len(o["row"]))
    ])),
}  # fmt: skip


def slopes(made, inputs: Tensor) -> Tensor:
    inputs = inputs.clone().requires_grad_()
    return torch.autograd.grad(made(MODULE(inputs)).sum(), inputs)[0]


@pytest.mark.parametrize("name", TARGETS)
def test_as_torch_derives_them(name):
    head, target, made = TARGETS[name]
    net = cs.Network(MODULE, (1, *SHAPE), head=head)
    found = cs.attribute(net, image(), target, method="gradient")
    torch.testing.assert_close(found.pixels[0], slopes(made, image()), rtol=1e-9, atol=1e-14)
    assert found.activation.item() == pytest.approx(made(MODULE(image())).item(), abs=1e-12)
    path = cs.attribute(net, image(), target, method="integrated-gradients", steps=7)
    places, shares = np.polynomial.legendre.leggauss(7)
    expected = sum(
        share / 2 * slopes(made, (1 + place) / 2 * image()) * image()
        for place, share in zip(places, shares, strict=True)
    )
    torch.testing.assert_close(path.pixels[0], expected, rtol=1e-9, atol=1e-14)
    change = made(MODULE(image())) - made(MODULE(torch.zeros(1, *SHAPE).double()))
    torch.testing.assert_close(path.expected[0], change, rtol=1e-9, atol=1e-12)
    assert len(cs.attribute(net, image(), [target, target], method="gradient").names[0]) == 2


@pytest.mark.parametrize("name", TARGETS)
def test_occlusion_as_brute_force_has_it(name):
    head, target, made = TARGETS[name]
    net = cs.Network(MODULE, (1, *SHAPE), head=head)
    found = cs.occlude(net, image(), patch=3, stride=4, fill=0.5, target=target)
    assert found.predicted is None or head == "row"
    assert found.probability is None
    for row in range(3):
        for column in range(4):
            hidden = image()
            hidden[:, :, 4 * row : 4 * row + 3, 4 * column : 4 * column + 3] = 0.5
            expected = made(MODULE(hidden)).item()
            assert found.number[row, column].item() == pytest.approx(expected, abs=1e-12)
    assert found.clean["number"] == pytest.approx(made(MODULE(image())).item(), abs=1e-12)
    assert found.class_name(found.targets) in found.summary()
    drawn = [text.get_text() for text in found.plot().texts]
    assert any(found.class_name(found.targets)[:20] in text for text in drawn)


def test_occlusion_by_windows_of_a_box_and_a_class_at_once():
    module = double(3, nn.Sequential(nn.Conv2d(2, 4, 3, 1, 1), nn.ReLU(), nn.Conv2d(4, 3, 3, 1, 1)))
    image = torch.randn(1, 2, 40, 48, generator=torch.Generator().manual_seed(0)).double()
    net = cs.Network(module, image)
    targets = [cs.Target(1, box=(4, 4, 20, 24)), 2, lambda maps: maps[0, 0].max()]
    windows, full = (
        cs.occlude(net, image, 8, 8, 0.0, targets, "2", 1, method=method)
        for method in ("exact", "full")
    )
    torch.testing.assert_close(windows.number, full.number, rtol=1e-10, atol=1e-12)
    assert windows.number.shape == (3, 5, 6)
    assert (windows.drop()[0] != 0).any(1).tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("method", ["exact", "adaptive"])
def test_a_class_beside_another_target_keeps_its_probability(method, tmp_path):
    net = cs.Network(MODULE, (1, *SHAPE), head="row")
    options = {"patch": 3, "stride": 4, "fill": 0.5, "method": method}
    both = cs.occlude(net, image(), target=[2, "2-0"], **options)
    assert both.clean["probability"][0] == pytest.approx(both.singles()[0].clean["probability"])
    both.save(tmp_path / "both.safetensors")
    for found in (both, cs.Occlusion.load(tmp_path / "both.safetensors")):
        for one, target, kinds in zip(
            found.singles(), (2, "2-0"), (("probability", "logit"), ("number",)), strict=True
        ):
            alone = cs.occlude(net, image(), target=target, **options)
            assert one.kind == alone.kind == kinds[0]
            for kind in kinds:
                torch.testing.assert_close(one.values(kind), alone.values(kind))
                assert one.clean[kind] == pytest.approx(alone.clean[kind])
            assert one.summary() == alone.summary()
            assert one.table() == [pytest.approx(row) for row in alone.table()]
    drawn = [text.get_text() for text in both.plot(caption="full").texts]
    name = both.targets[1]
    assert any(f"lowers the probability or {name};" in " ".join(text.split()) for text in drawn)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_one_number_of_an_output_as_captum_has_it():
    class Boxes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return MODULE(x)["boxes"]

    net = cs.Network(MODULE, (1, *SHAPE), head="boxes")
    found = cs.attribute(net, image(), "4,9", method="integrated-gradients", steps=9)
    expected = captum.attr.IntegratedGradients(Boxes()).attribute(
        image().requires_grad_(), target=(4, 9), n_steps=9
    )
    torch.testing.assert_close(
        found.pixels[0], expected, rtol=0, atol=1e-7
    )  # its steps are float32


def test_relevance_and_deeplift_of_a_difference_are_those_of_both_classes():
    net = cs.Network(MODULE, (1, *SHAPE), head="row", classes=["cat", "dog-like", "bird", "car"])
    for method in ("epsilon", "deeplift", "gradient"):
        found = cs.attribute(net, image(), ["dog-like-cat", "dog-like", "cat"], method=method)
        less = found.pixels[0, 1] - found.pixels[0, 2]
        torch.testing.assert_close(found.pixels[0, 0], less, rtol=1e-8, atol=1e-12)
    assert found.names[0] == ("1 dog-like − 0 cat", "1 dog-like", "0 cat")
    assert found.channels.tolist() == [[1, 1, 0]]


def test_a_class_activation_map_of_a_box():
    net = cs.Network(MODULE, (1, *SHAPE), head="maps")
    found = cs.attribute(net, image(), cs.Target(1, box=BOX), method="hires-cam")
    x = F.relu(MODULE.first(image()))
    x = (x + F.relu(x - 0.1)).detach().requires_grad_()
    (slope,) = torch.autograd.grad(MODULE.maps(x)[0, 1, 1:4, 2:5].mean(), x)
    torch.testing.assert_close(found.maps[0], (slope * x).sum(1).relu().detach())
    assert found.names[0][0] == "class 1 in rows 2-7, columns 4-9"
    assert found.plot()
    inside = cs.attribute(net, image(), cs.Target(1, mask=mask()), method="hires-cam")
    assert inside.names[0][0] == "class 1 in a mask"


@pytest.mark.parametrize("last", [(), (nn.Flatten(0),)], ids=["a column", "no dimension"])
def test_one_number_of_a_regression(last):
    module = double(2, nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(420, 1), *last))
    net = cs.Network(module, (1, *SHAPE))
    found = cs.attribute(net, image(), method="integrated-gradients")
    assert found.missing.abs().item() < 1e-10
    assert found.expected.item() != 0
    hidden = image()
    hidden[:, :, :6, :8] = 0
    number = cs.occlude(net, image(), patch=(6, 8), stride=(6, 8), fill=0.0).number[0, 0]
    assert number.item() == pytest.approx(module(hidden).item(), abs=1e-12)


@pytest.mark.parametrize(
    ("head", "target", "words"),
    [
        ("row", "1@0,0,4,4", "one number a class"),
        ("maps", "7", "0 to 2, not 7"),
        ("maps", "1@40,0,44,4", "holds nothing of the image"),
        ("maps", cs.Target(1, mask=torch.ones(3, 3)), "as large as the image"),
        ("maps", None, "give a target, such as"),
        ("boxes", cs.Target((4, 9), minus=1), "nothing is taken from it"),
        ("boxes", "4,9@0,0,4,4", "it has no part"),
        ("boxes", "4,99", "no place in an output"),
        ("boxes", 4, "not one number a class"),
        ("row", lambda *_: torch.ones(3), "one number"),
        ("row", lambda *_: torch.ones(1), "no derivative"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused(head, target, words):
    net = cs.Network(MODULE, (1, *SHAPE), head=head)
    with pytest.raises(cs.UnitError, match=words):
        cs.attribute(net, image(), target, method="gradient")


@pytest.mark.parametrize(
    "given",
    [{"of": None}, {"of": (1, 2.0)}, {"of": 1, "box": (0, 1, 3)}, {"of": 1, "box": (0.5, 1, 3, 4)},
     {"of": 1, "mask": np.ones((12, 16))}],
)  # fmt: skip
def test_a_target_of_other_types_is_refused_by_name(given):
    with pytest.raises(cs.ConvscopeError, match=f"Target's {[*given][-1]} must be"):
        cs.Target(**given)


def test_deeplift_of_a_function_is_refused():
    with pytest.raises(cs.RuleError, match="what a function makes"):
        cs.attribute(cs.Network(MODULE, (1, *SHAPE)), image(), both, method="deeplift")


def test_a_box_is_called_what_of_it_lies_in_the_image():
    net = cs.Network(MODULE, (1, *SHAPE), head="maps")
    height = SHAPE[1]
    beyond = cs.attribute(net, image(), cs.Target(1, box=(4, -3, 900, 12)))
    within = cs.attribute(net, image(), cs.Target(1, box=(4, 0, height, 12)))
    assert torch.equal(beyond.pixels, within.pixels)
    assert beyond.names == within.names
    assert f"rows 4-{height - 1}, columns 0-11" in within.names[0][0]


def test_what_a_function_raises_is_one_sentence():
    net = cs.Network(MODULE, (1, *SHAPE), head="maps")
    with pytest.raises(UnitError, match="the function that is the target fails: IndexError: "):
        cs.attribute(net, image(), lambda maps, boxes, row: row[0, 99])
    with pytest.raises(UnitError, match="the function that is the target fails: TypeError: "):
        cs.attribute(net, image(), lambda: 3)
