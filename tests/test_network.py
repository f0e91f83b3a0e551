"""Tracing: any module, left as it was, and the same answers as the module itself."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, export

from architectures import ARCHITECTURES, build, images_for
from convscope.errors import ImageError, TraceError, UnitError
from convscope.methods.project import project
from convscope.network import Network
from products import each_once, some


@each_once("name, count", [*ARCHITECTURES], [1, 3])
def test_the_network_answers_as_the_module_does(name, count):
    module = build(name)
    images = images_for(module, count, (19, 24))
    net = Network(module, images[:1])
    with torch.no_grad():
        expected = module(images)
    assert (net(images) - expected).abs().max() <= 1e-12 * expected.abs().max()


class Mixed(nn.Module):
    """Half in training mode, half frozen, with hooks and a buffer that counts calls."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Conv2d(4, 2, 1)
        self.fails = False

    def forward(self, x: Tensor) -> Tensor:
        if self.fails and x.sum() > 0:
            return x
        return self.head(self.drop(F.relu(self.norm(self.conv(x)))))


def state_of(module: nn.Module) -> dict[str, object]:
    return {
        "modes": [part.training for part in module.modules()],
        "learns": [(p.requires_grad, p.grad is None) for p in module.parameters()],
        "hooks": [
            (list(part._forward_hooks), list(part._forward_pre_hooks), list(part._backward_hooks))
            for part in module.modules()
        ],
        "parts": [(name, id(part)) for name, part in module.named_modules()],
        "tensors": [
            (name, id(t), t._version) for name, t in module.state_dict(keep_vars=True).items()
        ],
        "attributes": [sorted(vars(part)) for part in module.modules()],
    }


@pytest.mark.parametrize("fails", [False, True])
def test_the_module_is_left_exactly_as_it_was(fails):
    module = Mixed()
    module.train()
    module.norm.eval()
    module.conv.weight.requires_grad_(False)
    module.head.register_forward_hook(lambda *_: None)
    module.fails = fails
    values = {name: t.clone() for name, t in module.state_dict().items()}
    before = state_of(module)
    if fails:
        with pytest.raises(TraceError, match="Mixed cannot be traced on an input of shape"):
            Network(module, torch.zeros(1, 3, 8, 8))
    else:
        net = Network(module, torch.zeros(1, 3, 8, 8))
        for rule in ("deconvnet", "guided", "gradient"):
            project(net, torch.randn(2, 3, 8, 8), "head", [0], rule=rule)
    assert state_of(module) == before
    assert all(torch.equal(values[name], t) for name, t in module.state_dict().items())


def test_a_module_that_cannot_be_traced_says_why_and_what_to_try():
    module = Mixed()
    module.fails = True
    with pytest.raises(TraceError) as caught:
        Network(module, torch.zeros(1, 3, 8, 8))
    message = str(caught.value)
    assert "data-dependent" in message
    assert "move Python branches that depend on pixel values out of its forward" in message
    assert "\n" not in message


def test_an_input_that_the_module_refuses_is_told_with_torchs_reason():
    with pytest.raises(TraceError, match=r"shape \[1, 4, 8, 8\].*channels"):
        Network(nn.Conv2d(3, 2, 3), torch.zeros(1, 4, 8, 8))
    with pytest.raises(TraceError, match=r"example must be \[1, C, H, W\], not \[2, 3, 8, 8\]"):
        Network(nn.Conv2d(3, 2, 3), torch.zeros(2, 3, 8, 8))


def test_weights_without_values_are_refused():
    with pytest.raises(TraceError, match="weights have no values"):
        Network(nn.Conv2d(3, 2, 3, device="meta"), torch.zeros(1, 3, 8, 8))


class FixedBatch(nn.Module):
    """A forward with a batch of one written into it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4 * 64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.conv(x)).view(1, 4 * 64))


class BatchStatistics(nn.Module):
    """Batch norm that keeps no running statistics, so that images of a batch meet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)
        self.head = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.conv(x))))


@pytest.mark.parametrize("kind", [FixedBatch, BatchStatistics])
def test_where_images_would_meet_they_run_one_by_one(kind):
    torch.manual_seed(0)
    module = kind().double()
    images = torch.randn(3, 3, 8, 8).double()
    net = Network(module, images[:1])
    assert not net.graph.batched
    with torch.no_grad():
        alone = torch.cat([module.eval()(image[None]) for image in images])
    assert (net(images) - alone).abs().max() < 1e-12
    together = project(net, images, "head", [0, 2]).pixels
    singly = torch.cat([project(net, image[None], "head", [0, 2]).pixels for image in images])
    assert (together - singly).abs().max() <= 1e-12 * singly.abs().max()


def programs(module: nn.Module, images: Tensor) -> dict[str, object]:
    """Return exported programs of *module* as people make them."""
    batch = ({0: Dim("batch")},)
    pair = torch.cat([images[:1], images[:1]])
    return {
        "training": export(module, (pair,), dynamic_shapes=batch),
        "core ATen": export(module, (pair,), dynamic_shapes=batch).run_decompositions(),
        "batch of one": export(module, (images[:1],)),
    }


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "name", some(["batch norm"], ["batch norm", "residual", "inception", "hourglass"])
)
def test_exported_programs_give_what_their_module_gives(name):
    module = build(name)
    images = images_for(module, 2, (16, 20))
    net = Network(module, images[:1])
    layer = net.graph.steps[net.graph.output - (1 if name == "batch norm" else 0)].name
    for kind, program in programs(module, images).items():
        other = Network(program, images[:1], name=name)
        assert (other(images) - net(images)).abs().max() < 1e-12, kind
        for rule in ("deconvnet", "guided", "gradient"):
            convolution = next(k for k, v in net.layers.items() if v.op == "convolution"
                               and k != layer and v.shape[1] < 16)  # fmt: skip
            expected = project(net, images, convolution, [0, 1], rule=rule).pixels
            found = project(other, images, convolution, [0, 1], rule=rule).pixels
            assert (found - expected).abs().max() <= 1e-10 * expected.abs().max(), (kind, rule)


def test_a_program_for_a_fixed_batch_is_refused():
    program = export(nn.Conv2d(3, 2, 3), (torch.zeros(4, 3, 8, 8),))
    with pytest.raises(TraceError, match="batches of exactly 4 images"):
        Network(program, torch.zeros(1, 3, 8, 8))


def test_control_flow_and_other_inputs_are_refused():
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    image = torch.zeros(1, 3, 8, 8)
    with pytest.raises(TraceError, match="exactly one batch of images"):
        Network(export(Two(), (image, image)), image)

    class Deaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.constant = nn.Parameter(torch.ones(2))

        def forward(self, x: Tensor) -> Tensor:
            return self.constant * 2

    with pytest.raises(TraceError, match="does not depend on the images"):
        Network(Deaf(), image)


class SeveralOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.aside = nn.Conv2d(2, 1, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = F.relu(self.conv(x))
        return {"out": maps, "aux": self.aside(maps)}


def test_of_several_outputs_the_first_counts_and_all_are_layers():
    torch.manual_seed(0)
    module = SeveralOutputs().double()
    images = torch.randn(2, 1, 6, 6).double()
    net = Network(module, images[:1])
    assert torch.equal(net(images), module(images)["out"].detach())
    assert list(net.layers) == ["conv", "relu", "aside"]
    assert project(net, images, "aside", [0]).activation.shape == (2, 1)


def test_weights_made_from_weights_are_computed_once():
    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return F.conv2d(x, weight / weight.std((1, 2, 3), keepdim=True), self.bias)

    torch.manual_seed(0)
    module = nn.Sequential(Standardised(3, 4, 3), nn.ReLU()).double()
    images = torch.randn(2, 3, 7, 7).double()
    net = Network(module, images[:1])
    assert [step.name for step in net.graph.steps] == ["images", "0", "1"]
    assert (net(images) - module(images)).abs().max() < 1e-12


def test_parameters_are_counted_where_weights_are_computed_from_them():
    module = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.ReLU())
    net = Network(module, torch.zeros(1, 3, 8, 8))
    # A direction of 4 x 3 x 3 x 3, 4 lengths and 4 biases.
    assert net.layers["0"].parameters == 108 + 4 + 4


def test_a_network_of_mixed_precision_goes_down_as_it_went_up():
    class Widened(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 3).bfloat16()
            self.register_buffer("scale", torch.full((1, 4, 1, 1), 2.0))

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.first(x)) * self.scale + 1

    torch.manual_seed(0)
    module = Widened()
    images = torch.randn(2, 3, 8, 8).bfloat16()
    net = Network(module, images[:1])
    p = project(net, images, "add", [1], rule="gradient", select="map")
    leaf = images.clone().requires_grad_()
    output = module(leaf)[:, 1]
    (expected,) = torch.autograd.grad(output, leaf, output.detach())
    assert p.pixels.dtype == torch.bfloat16
    assert (p.pixels[:, 0] - expected).abs().max() <= 0.02 * expected.abs().max()


def test_layers_have_the_names_of_their_modules():
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
            self.relu = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(self.block(x) + x)
            return F.relu(self.relu(self.block(x) * 2) - 1)

    net = Network(Named(), torch.zeros(1, 3, 4, 4))
    assert list(net.layers) == [
        "block.0", "block.1", "add", "relu", "block.0@1", "block.1@1", "mul", "relu@1", "sub",
        "relu@2",
    ]  # fmt: skip
    assert net.step("block") == net.step("block.1@1")
    assert repr(net) == "Network('Named', input [3, 4, 4], 10 layers)"
    with pytest.raises(UnitError, match=r"no layer 'blok\.0'; did you mean 'block.0'"):
        net.step("blok.0")
    with pytest.raises(UnitError, match=r"no layer 'zzz' \(`convscope layers` lists its 10\)"):
        net.step("zzz")


def test_images_of_another_shape_are_refused():
    net = Network(nn.Conv2d(3, 2, 3), torch.zeros(1, 3, 8, 8))
    for shape in [(2, 1, 8, 8), (3, 8, 8)]:
        with pytest.raises(ImageError, match=r"takes images \[N, 3, 8, 8\], not"):
            net(torch.zeros(shape))
    assert net(torch.zeros(2, 3, 8, 8, dtype=torch.float64)).dtype == torch.float32


def test_what_is_no_picture_is_refused():
    net = Network(nn.Conv2d(3, 2, 3), torch.zeros(1, 3, 8, 8))
    with pytest.raises(ImageError, match="images as a tensor, not a list"):
        net([[0.0]])
    images = torch.zeros(2, 3, 8, 8)
    images[1, 0, 3, 3] = torch.nan
    with pytest.raises(ImageError, match="values that are not finite"):
        net(images)


def test_every_output_of_a_classifier_has_a_name():
    module, example = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), torch.zeros(1, 3, 2, 2)
    assert Network(module, example, classes=list("abcde")).classes == tuple("abcde")
    for names in ("ab", "abcdefgh"):
        with pytest.raises(TraceError, match=f"has 5 outputs, and {len(names)} names of classes"):
            Network(module, example, classes=list(names))


def test_a_pools_places_are_no_layer():
    class Places(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            pooled, places = F.max_pool2d(x, 2, return_indices=True)
            return F.max_unpool2d(pooled, places, 2)

    net = Network(Places(), torch.zeros(1, 3, 8, 8))
    assert [layer.op for layer in net.layers.values()] == ["max pool", "max_unpool2d"]


def test_a_program_for_one_image_of_any_size_is_traced_or_refused_plainly():
    sizes = {2: Dim("height", min=4, max=64), 3: Dim("width", min=4, max=64)}
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())
    program = export(module, (torch.zeros(1, 3, 8, 8),), dynamic_shapes=(sizes,))
    net = Network(program, torch.zeros(1, 3, 8, 8))
    image = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(net(image), module(image))
