"""Attribution: against captum, against torch's own derivatives on paper, and what it promises."""

import copy

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convscope as cs
from convscope.errors import ConvscopeError, RuleError, UnitError
from convscope.methods.attribute import CAMS, METHODS, Attribution
from convscope.network.rules import OTHER, RULES

SHAPE = (3, 16, 16)
NOISY = pytest.mark.filterwarnings("ignore::UserWarning")  # captum tells of its hooks


def plain(pool: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), pool or nn.AvgPool2d(2), nn.Conv2d(8, 12, 3),
        nn.ReLU(), nn.Conv2d(12, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 10), nn.ReLU(),
        nn.Linear(10, 4),
    ).double().eval()  # fmt: skip


class Written(nn.Module):
    """The same ReLU in two places, a skip, a channels-last layer: what hooks do not see."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.mix, self.head = nn.Linear(6, 5), nn.Linear(5, 4)

    def features(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        return F.relu(x + F.relu(self.second(F.max_pool2d(x, 3, 1, 1))))

    def ending(self, maps: Tensor) -> Tensor:
        return self.head(self.mix(maps.permute(0, 2, 3, 1)).mean((1, 2)))

    def forward(self, x: Tensor) -> Tensor:
        return self.ending(self.features(x))


def images(seed: int = 0) -> Tensor:
    return torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(seed)).double()


def close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= 1e-8 * expected.abs().max())


@NOISY
def test_integrated_gradients_as_captum_has_them():
    module, baseline = plain(), images(5)[:1]
    net = cs.Network(module, (1, *SHAPE))
    found = cs.attribute(
        net, images(), 2, method="integrated-gradients", baseline=baseline, steps=20, memory="1MB"
    )
    expected = captum.attr.IntegratedGradients(module).attribute(
        images().requires_grad_(), baseline, target=2, n_steps=20
    )
    assert close(found.pixels[:, 0], expected)
    assert (found.missing.abs() < 0.1 * found.expected.abs()).all()


@NOISY
def test_deeplift_as_captum_has_it():
    module, baseline = plain(), images(5)[:1]
    net = cs.Network(module, (1, *SHAPE))
    found = cs.attribute(net, images(), 2, method="deeplift", baseline=baseline)
    lifted = captum.attr.DeepLift(copy.deepcopy(module))
    expected = lifted.attribute(images().requires_grad_(), baseline.expand(2, *SHAPE), target=2)
    assert close(found.pixels[:, 0], expected)


@pytest.mark.parametrize("module", [plain(nn.MaxPool2d(3, 2, 1)), Written().double().eval()])
def test_deeplift_adds_up_to_the_change_of_the_score(module):
    # With max pools captum 0.9 does not, though its formula for them is the one used here.
    net = cs.Network(module, (1, *SHAPE))
    found = cs.attribute(net, images(), [0, 3], method="deeplift", baseline=images(5)[:1])
    with torch.no_grad():
        change = module(images()) - module(images(5)[:1])
    torch.testing.assert_close(found.pixels.sum((2, 3, 4)), change[:, [0, 3]], rtol=1e-10, atol=0)
    torch.testing.assert_close(found.expected, change[:, [0, 3]])


class Between(nn.Module):
    """A convolution, any function and a linear layer."""

    def __init__(self, function) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.first, self.function = nn.Conv2d(3, 8, 3), function
        self.last = nn.LazyLinear(3)
        self.double()(images()[:1])

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(F.relu(self.first(x))).flatten(1))


def lifted(module: nn.Module, precision: torch.dtype = torch.float64) -> Attribution:
    """Return DeepLIFT of two images against one that has their first rows."""
    baseline = images(5)[:1]
    baseline[:, :, :4] = images()[:1, :, :4]
    net = cs.Network(copy.deepcopy(module).to(precision), torch.zeros(1, *SHAPE, dtype=precision))
    own = (value.to(precision) for value in (images(), baseline))
    return cs.attribute(net, next(own), 1, method="deeplift", baseline=next(own))


SECANTS = {
    "adaptive max pool": nn.AdaptiveMaxPool2d((2, 3)),
    "global max pool": nn.AdaptiveMaxPool2d(1),
    "amax": lambda x: x.amax((2, 3)),
    "amin": lambda x: (x - x.roll(1, 3)).amin((2, 3)),
    "max along": lambda x: x.flatten(2).max(-1).values,
    "max of two": lambda x: torch.maximum(x[:, :4], x[:, 4:, :1]),
    "min of two": lambda x: torch.minimum(x[:, :4], x[:, 4:]),
    "max pool of rows": lambda x: F.max_pool1d(x.flatten(2), 5, 3),
    "product": lambda x: x[:, :4] * torch.sigmoid(x[:, 4:, :1]),
    "square": lambda x: x * x,
    "root of zeros": lambda x: F.lp_pool2d((x - 0.4).relu(), 2, 2),
    "matrix product": lambda x: x.flatten(2) @ x.flatten(2).mT,
    "einsum": lambda x: torch.einsum("bchw,bdhw->bcd", x, x),
    "quotient": lambda x: x[:, :4] / (1 + x[:, 4:, :1]),
    "response norm": nn.LocalResponseNorm(3),
    "log1p": torch.log1p,
    "clamp": lambda x: x.clamp(0.1, 0.5),
    "log sigmoid": F.logsigmoid,
    "cumsum": lambda x: x.cumsum(2),
    "spectrum": lambda x: torch.fft.fft2(x).real,
}
DERIVED = {
    "topk": lambda x: x.flatten(2).topk(3).values,
    "logsumexp": lambda x: x.logsumexp((2, 3)),
    "softmax": nn.Softmax2d(),
    "group norm": lambda x: F.group_norm(x, 2),
    "layer norm": lambda x: F.layer_norm(x, x.shape[2:]),
    "linalg_vector_norm": lambda x: F.normalize(x, dim=1),
    "batch norm": nn.BatchNorm2d(8, track_running_stats=False),
}


@pytest.mark.parametrize("name", [*SECANTS, *DERIVED])
def test_deeplift_adds_up_or_says_where_it_has_derivatives(name):
    found = lifted(Between({**SECANTS, **DERIVED}[name]))
    told = [note for note in found.notes if "derivative" in note]
    if name in SECANTS:
        assert told == []
        assert (found.missing.abs() < 1e-9).all()
        assert (found.expected.abs() > 1e-4).all()
    else:
        assert told == [f"derivative instead of a rule at: {name}"]


def test_what_lies_behind_the_score_is_not_said_to_have_a_derivative():
    class Headed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own, self.more = Between(nn.ReLU()), Between(lambda x: x.softmax(1))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return F.log_softmax(self.own(x), 1), self.more(x)

    notes = lifted(Headed()).notes
    assert not any("derivative" in note for note in notes)
    behind = cs.attribute(cs.Network(Headed(), (1, *SHAPE), head=1), images(), 1, method="deeplift")
    assert behind.notes[-1] == "derivative instead of a rule at: softmax"


def test_deeplift_treats_adaptive_max_pools_as_the_plain_ones_that_they_are():
    pools = (nn.MaxPool2d(7), nn.AdaptiveMaxPool2d(2), lambda x: x.unflatten(3, (2, 7))
             .unflatten(2, (2, 7)).amax((3, 5)))  # fmt: skip
    plain, *others = (lifted(Between(pool)).pixels for pool in pools)
    assert all(close(other, plain) for other in others)


@pytest.mark.parametrize(("precision", "least"), [(torch.float16, 4e-3), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("name", ["adaptive max pool", "product", "log1p", "quotient"])
def test_deeplift_in_half_precision_is_that_of_double(name, precision, least):
    module = Between(SECANTS[name])
    found, expected = (lifted(module, own).pixels.double() for own in (precision, torch.float64))
    assert (found - expected).abs().max() < least * expected.abs().max()


@pytest.mark.parametrize("method", [name for name in CAMS if name != "guided-grad-cam"])
def test_class_activation_maps_of_small_slopes_in_half_precision(method):
    module = Between(nn.AdaptiveAvgPool2d(1))
    module.last.weight.data *= 0.01  # whose slopes' squares are nothing in half precision
    found, expected = (
        cs.attribute(
            cs.Network(copy.deepcopy(module).to(own), torch.zeros(1, *SHAPE, dtype=own)),
            images().to(own), 1, method=method,
        ).maps.double() for own in (torch.float16, torch.float64)
    )  # fmt: skip
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()


@NOISY
@pytest.mark.parametrize("layer", ["2", "4", "6"])
def test_guided_grad_cam_as_captum_has_it(layer):
    module = plain()
    net = cs.Network(module, (1, *SHAPE))
    found = cs.attribute(net, images(), 1, method="guided-grad-cam", layer=layer)
    guided = captum.attr.GuidedGradCam(module, module[int(layer)])
    expected = guided.attribute(images().requires_grad_(), target=1, interpolate_mode="bilinear")
    assert close(found.pixels[:, 0], expected)


def on_paper(method: str, values: Tensor, slopes: Tensor) -> Tensor:
    """Return a class activation map, [h, w], channel by channel."""
    total = torch.zeros_like(values[0])
    for a, g in zip(values, slopes, strict=True):
        if method == "grad-cam":
            total += g.mean() * a
        elif method == "hires-cam":
            total += g * a
        elif method == "layer-cam":
            total += g.relu() * a
        else:
            share = g**2 / (2 * g**2 + a.sum() * g**3 + 1e-6)
            total += (share * g.relu()).sum() * a
    return total.relu()


@pytest.mark.parametrize("method", [name for name in CAMS if name != "guided-grad-cam"])
def test_class_activation_maps_of_a_network_as_written(method):
    module = Written().double().eval()
    net = cs.Network(module, (1, *SHAPE))
    layer = next(name for name in net.layers if name.endswith("relu@2"))
    found = cs.attribute(net, images(), [0, 2], method=method, layer=layer)
    for n, image in enumerate(images()):
        for k, number in enumerate((0, 2)):
            maps = module.features(image[None]).detach().requires_grad_()
            (slopes,) = torch.autograd.grad(module.ending(maps)[0, number], maps)
            expected = on_paper(method, maps.detach()[0], slopes[0])
            torch.testing.assert_close(found.maps[n, k], expected, rtol=1e-9, atol=1e-12)
    assert found.pixels.shape == (2, 2, 1, *SHAPE[1:])
    assert found.layers == (layer,) * 2


def test_a_layer_whose_channels_come_last():
    module = Written().double().eval()
    net = cs.Network(module, (1, *SHAPE))
    found = cs.attribute(net, images(), 1, method="hires-cam", layer="mix")
    mixed = module.mix(module.features(images()).permute(0, 2, 3, 1)).detach().requires_grad_()
    (slopes,) = torch.autograd.grad(module.head(mixed.mean((1, 2)))[:, 1].sum(), mixed)
    torch.testing.assert_close(found.maps[:, 0], (mixed * slopes).sum(3).relu().detach())


def test_smoothgrad_is_the_mean_derivative_in_noise():
    module = Written().double().eval()
    net = cs.Network(module, (1, *SHAPE))
    still = cs.attribute(net, images(), 1, method="smoothgrad", noise=0.0, steps=3)
    inputs = images().requires_grad_()
    (slopes,) = torch.autograd.grad(module(inputs)[:, 1].sum(), inputs)
    torch.testing.assert_close(still.pixels[:, 0], slopes)
    one = cs.attribute(net, images(), 1, method="smoothgrad", seed=4, steps=5)
    same = cs.attribute(net, images(), 1, method="smoothgrad", seed=4, steps=5, memory="1MB")
    torch.testing.assert_close(one.pixels, same.pixels)


def test_expected_gradients_add_up_on_average():
    net = cs.Network(Written().double().eval(), (1, *SHAPE))
    few, many = (
        cs.attribute(net, images()[:1], 1, method="expected-gradients", baseline=images(5),
                     steps=steps).missing.abs().item()
        for steps in (10, 2000)
    )  # fmt: skip
    assert many < few / 4


@pytest.mark.parametrize("rule", ["gradient", "epsilon-plus"])
def test_a_rule_brings_the_score_itself_down(rule):
    module = plain()
    net = cs.Network(module, (1, *SHAPE))
    found = cs.attribute(net, images(), [1, 2], method=rule)
    projected = cs.project(net, images(), "10", [1, 2], rule=rule)
    signal = projected.activation if rule == "gradient" else torch.ones(2, 2)
    torch.testing.assert_close(
        found.pixels * signal[..., None, None, None], projected.pixels, rtol=1e-9, atol=1e-15
    )


@pytest.mark.parametrize("method", ["grad-cam", "integrated-gradients", "epsilon-plus"])
def test_it_is_a_result(tmp_path, method):
    net = cs.Network(plain(), (1, *SHAPE), classes=["cat", "dog", "bird", "car"])
    found = cs.attribute(net, images(), ["dog", "car"], method=method, steps=3)
    assert found.channels.tolist() == [[1, 3]] * 2
    assert found.names == (("1 dog", "3 car"),) * 2
    assert len(repr(found)) < 1_000
    assert [row["name"] for row in found.table()] == ["1 dog", "3 car"] * 2
    found.save(tmp_path / "a.png")
    found.save(tmp_path / "a.safetensors")
    again = cs.Attribution.load(tmp_path / "a.safetensors")
    assert torch.equal(again.pixels, found.pixels)
    assert (again.maps is None) == (method not in CAMS)
    text = "".join(t.get_text() for t in found.plot().texts)
    assert method in text
    assert "score" in text


def test_a_picture_tells_what_its_pixels_add_up_to_and_what_the_image_was_compared_with():
    net = cs.Network(plain(), (1, *SHAPE))
    found = cs.attribute(net, images()[:1], 1, method="integrated-gradients", steps=3)
    said = " ".join(" ".join(t.get_text() for t in found.plot(caption="full").texts).split())
    sums = float(found.pixels.sum()), float(found.expected)
    assert f"adds up to {sums[0]:.3g} of {sums[1]:.3g}" in said
    assert "Compared with zeros, the mean colour." in said
    assert "the sum over the image's channels" in said
    other = cs.attribute(net, images()[:1], 1, method="smoothgrad", steps=3).plot(caption="full")
    said = " ".join(" ".join(t.get_text() for t in other.texts).split())
    assert "adds up to" not in said
    assert "Compared with" not in said
    assert "Colours: red, green and blue as they are" in said


def test_a_class_activation_map_is_drawn_over_the_image_in_grey():
    convolution, head = nn.Conv2d(3, 1, 1, bias=False), nn.Linear(1, 2)
    for part in (convolution, head):
        nn.init.ones_(part.weight)
    module = nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    image = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    image[..., :8] *= -1  # where the ReLU is off
    net = cs.Network(module, (1, *SHAPE), preprocess="imagenet")
    found = cs.attribute(net, image, 1, method="hires-cam")
    shown = torch.tensor(found.plot().axes[1].images[0].get_array().astype(int))
    nothing, most = shown[:, :8].reshape(-1, 3), shown[found.pixels[0, 0, 0] == found.pixels.max()]
    assert ((nothing.amax(-1) - nothing.amin(-1)) <= 3).all()  # grey
    assert nothing.max() < 110  # dark, ...
    assert nothing.float().std() > 1  # ... and the image seen through it
    assert (most[..., 0] - most[..., 2] > 50).all()  # yellow


@pytest.mark.parametrize("rule", ["z-plus", "guided", "epsilon-plus", "gradient"])
def test_a_picture_says_where_it_hardly_depends_on_the_class(rule):
    net = cs.Network(plain(), (1, *SHAPE))
    text = "".join(t.get_text() for t in cs.attribute(net, images(), 1, method=rule).plot().texts)
    assert ("hardly depends on the class" in text) == (rule in ("z-plus", "guided"))
    unit = "".join(t.get_text() for t in cs.project(net, images(), "4", rule=rule).plot().texts)
    assert ("hardly depends on the class" in unit) == (rule == "z-plus")


def test_the_most_probable_class_by_default():
    module = plain()
    net = cs.Network(module, (1, *SHAPE))
    found = cs.attribute(net, images())
    with torch.no_grad():
        assert found.channels[:, 0].tolist() == module(images()).argmax(1).tolist()


def test_what_makes_no_sense_is_refused():
    net = cs.Network(plain(), (1, *SHAPE))
    with pytest.raises(RuleError, match="did you mean 'grad-cam'"):
        cs.attribute(net, images(), method="gradcam")
    with pytest.raises(UnitError, match="leave the layer out"):
        cs.attribute(net, images(), method="epsilon", layer="4")
    with pytest.raises(ConvscopeError, match="needs baselines"):
        cs.attribute(net, images(), method="expected-gradients")
    for method in ("integrated-gradients", "deeplift"):
        with pytest.raises(ConvscopeError, match="one baseline, not 3"):
            cs.attribute(net, images(), method=method, baseline=torch.rand(3, *SHAPE))
    with pytest.raises(ConvscopeError, match="grad-cam takes no baseline"):
        cs.attribute(net, images(), method="grad-cam", baseline=images()[:1])
    for noise in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ConvscopeError, match="the noise is a share"):
            cs.attribute(net, images(), method="smoothgrad", noise=noise)
    with pytest.raises(UnitError, match="not one number"):
        cs.attribute(cs.Network(nn.Conv2d(3, 2, 3), (1, *SHAPE)), torch.rand(1, *SHAPE))


class Unusual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cumsum(F.silu(self.first(x)), 2).mean((2, 3)))


def test_every_picture_under_a_rule_says_where_it_is_not_the_published_one():
    torch.manual_seed(0)
    net, image = cs.Network(Unusual().eval(), (1, 3, 9, 9)), torch.rand(1, 3, 9, 9)
    derived, taken = "derivative instead of a rule at: cumsum", "taken as rectifiers: silu"
    notes = [
        cs.attribute(net, image, method=method).notes[-2:]
        for method in ("guided", "guided-grad-cam")
    ]
    notes.append(cs.sanity(net, image, rules=["gradient", "guided"], seeds=1, others=1).notes[-2:])
    notes.append(cs.checkerboard(net, image, "cumsum").notes[-2:])
    notes.append(cs.occlude(net, image, patch=5, stride=5, layer="cumsum").notes[-2:])
    assert set(notes) == {(derived, taken)}
    assert cs.attribute(net, image, method="epsilon-plus").notes[-1] == derived
    assert cs.attribute(net, image, method="grad-cam").notes == net.notes
    assert cs.scan(net, torch.rand(4, 3, 9, 9)).plate().notes[-1] == taken
    both = cs.compare(net, net, torch.rand(12, 3, 9, 9), budget=1).notes
    assert {f"Unusual (A): {derived}", f"Unusual (B): {taken}"} <= {*both}
    linear = cs.Network(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(98, 2)), image)
    with pytest.raises(RuleError, match="no rectifier"):
        cs.attribute(linear, image, method="guided-grad-cam")


def test_every_method_says_its_source_and_promise():
    assert all(method.source and method.promise and method.shows for method in METHODS.values())


def test_a_channel_that_is_copied_gets_half_under_every_rule():
    torch.manual_seed(2)
    convolution = nn.Conv2d(3, 8, 3)
    convolution.weight.data[:, 1] = convolution.weight.data[:, 0]
    module = nn.Sequential(convolution, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(392, 4))
    image = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(1)).double()
    image[:, 1] = image[:, 0]
    net = cs.Network(module.double(), (1, *SHAPE))
    for method in [*RULES, "deeplift", "integrated-gradients"]:
        first, copied = cs.attribute(net, image, 1, method=method, steps=4).pixels[0, 0, :2]
        assert first.abs().sum() > 0, method
        torch.testing.assert_close(first, copied, msg=method)


def test_every_rule_says_what_its_pictures_keep():
    others = {name: [own[OTHER] for own in rule.kept.values()] for name, rule in RULES.items()}
    assert all(len(shares) == 2 and min(shares) >= 0 for shares in others.values())
    assert min(others["z-plus"]) > 0.8
    assert max(others["gradient"]) < 0.3
