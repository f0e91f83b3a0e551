"""Occlusion: windows against recomputing, against captum, and what must never change the answer."""

import math
import types
from random import Random

import captum.attr
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from architectures import ARCHITECTURES, build, images_for
from convscope.errors import ConvscopeError, ImageError, Interrupted, RuleError, UnitError
from convscope.figures.occlude import panels
from convscope.images import Preprocess
from convscope.methods import budget as budgets
from convscope.methods.occlude import adaptive as adaptive_module
from convscope.methods.occlude import call as occlude_module
from convscope.methods.occlude import occlude, occlude_all
from convscope.methods.occlude import passes as passes_module
from convscope.methods.occlude.adaptive import Sampling, estimated, nearest
from convscope.methods.occlude.passes import WindowedPasses
from convscope.methods.occlude.patches import FILLS, grid
from convscope.methods.occlude.result import Occlusion
from convscope.network import Network
from convscope.network.windows.differences import can_take_differences
from convscope.network.windows.windowed import WindowedWalk
from products import each_once, some

WINDOWS_PAY = WindowedPasses._pays
pytestmark = pytest.mark.usefixtures("by_windows")

LAYERS = {
    "plain": "features.8",
    "one channel": "features.5",
    "five channels": "features.2",
    "batch norm": "norm2",
    "residual": "layer2.0.shortcut",
    "dense": "transition",
    "inception": "cat",
    "depthwise": "net.6",
    "strided": "net.2",
    "overlapping pools": "net.5",
    "squeeze-excite": "relu",
    "hourglass": "last",
    "shuffled": "last",
}


class Classifier(nn.Module):
    """Any of the architectures, its maps averaged into logits where it gives maps."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.body = build(name)

    def forward(self, x: Tensor) -> Tensor:
        found = self.body(x)
        return found.mean((2, 3)) * 50 if found.dim() == 4 else found


@pytest.fixture(scope="module")
def networks():
    built = {}

    def network(name: str) -> tuple[nn.Module, Network, Tensor]:
        if name not in built:
            module = Classifier(name).eval()
            image = images_for(module, 1)
            built[name] = module, Network(module, image, preprocess="none"), image
        return built[name]

    return network


def assert_equal(found: Occlusion, expected: Occlusion, tolerance: float) -> None:
    """Both are the same within *tolerance* of the logits' range."""
    for kind in ("logit", "activation"):
        mine, other = found.values(kind), expected.values(kind)
        spread = (other.max() - other.min()).item() or 1.0
        assert (mine - other).abs().max().item() <= tolerance * max(spread, 1e-3)
    assert (found.probability - expected.probability).abs().max() <= tolerance
    assert torch.equal(found.predicted, expected.predicted)
    assert found.computed.all()
    assert not found.partial


@each_once("name, seed", [*ARCHITECTURES], range(4))
def test_windows_are_equal_to_recomputing(networks, name, seed):
    _, net, image = networks(name)
    random = Random(f"{name} {seed}")
    patch = random.randint(1, 20), random.randint(1, 20)
    stride = random.randint(2, 9), random.randint(2, 9)
    fill = random.choice([0.7, "local-mean", "noise", "image-mean"])
    memory = random.choice(["60kB", "1MB", "1GB"])
    options = {"layer": f"body.{LAYERS[name]}" if LAYERS[name] != "cat" else "body:cat"}
    exact = occlude(net, image, patch, stride, fill, memory=memory, **options)
    full = occlude(net, image, patch, stride, fill, method="full", **options)
    assert_equal(exact, full, 1e-10)


@pytest.mark.parametrize("name", some(["batch norm", "inception", "strided"], ARCHITECTURES))
def test_windows_are_equal_to_recomputing_in_single_precision(networks, name):
    _, _, image = networks(name)
    net = Network(Classifier(name).float().eval(), image.float())
    layer = f"body.{LAYERS[name]}" if LAYERS[name] != "cat" else "body:cat"
    exact = occlude(net, image.float(), 5, 3, layer=layer)
    full = occlude(net, image.float(), 5, 3, layer=layer, method="full")
    assert_equal(exact, full, 1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_differences_are_equal_to_recomputing(networks, monkeypatch, name):
    # In the network's own precision nothing is rounded: what is left is whether it is right.
    monkeypatch.setitem(occlude_module.PRECISIONS, "bfloat16", torch.float64)
    _, net, image = networks(name)
    layer = f"body.{LAYERS[name]}" if LAYERS[name] != "cat" else "body:cat"
    options = {"patch": (6, 5), "stride": (4, 5), "fill": "noise", "layer": layer}
    found = occlude(net, image, method="adaptive", positions=999, precision="bfloat16", **options)
    assert_equal(found, occlude(net, image, method="full", **options), 1e-10)


def test_the_map_is_an_independent_recomputation(networks):
    module, net, image = networks("inception")
    found = occlude(net, image, (6, 4), (5, 3), 0.25, target=2, layer="body.three.3", channel=1)
    rows, columns = found.logit.shape
    with torch.no_grad():
        for row in range(rows):
            for column in range(columns):
                top, left = 5 * row, 3 * column
                hidden = image.clone()
                hidden[:, :, top : top + 6, left : left + 4] = 0.25
                logits = module(hidden)[0]
                unit = module.body.three(module.body.stem(hidden))[0, 1].sum()
                assert abs(found.logit[row, column] - logits[2]) < 1e-10
                assert abs(found.probability[row, column] - logits.softmax(0)[2]) < 1e-10
                assert abs(found.activation[row, column] - unit) < 1e-10
                assert found.predicted[row, column] == logits.argmax()
        assert found.clean["logit"] == pytest.approx(module(image)[0, 2].item())


@pytest.mark.parametrize(
    ("patch", "stride"), [((5, 7), (3, 4)), ((4, 4), (4, 4)), ((20, 26), (1, 1)), ((20, 3), (2, 3))]
)
def test_the_heatmap_equals_captum(networks, patch, stride):
    module, net, image = networks("overlapping pools")
    peer = captum.attr.Occlusion(module).attribute(
        image, (3, *patch), strides=(3, *stride), baselines=0.3, target=1
    )
    found = occlude(net, image, patch, stride, 0.3, target=1)
    spread = (found.logit.max() - found.logit.min()).item()
    # captum gives its answer in single precision, whatever the network's.
    assert (found.heatmap("logit") - peer[0, 0]).abs().max().item() < 1e-6 * max(spread, 1)


def test_several_targets_names_and_sizes(networks):
    module, _, image = networks("plain")
    names = ["ant", "bee", "cat", "dog", "Eel"]
    net = Network(module, image, classes=names)
    one = occlude(net, image, 8, 4, target="dog")
    assert (one.targets, one.classes["3"]) == (3, "dog")
    both = occlude(net, image, 8, 4, target=["eel", 3])
    assert both.targets == (4, 3)
    assert torch.equal(both.logit[1], one.logit)
    assert torch.equal(both.heatmap("probability")[1], one.heatmap())
    default = occlude(net, image, 8, 4)
    with torch.no_grad():
        assert default.targets == module(image).argmax().item() == default.clean["predicted"]
    sizes = occlude_all(net, image, [8, (4, 6)], 4, target=3)
    assert [o.patch for o in sizes] == [(8, 8), (4, 6)]
    assert torch.equal(sizes[0].logit, one.logit)


def test_a_single_logit_is_a_yes_or_no():
    module = nn.Sequential(nn.Conv2d(3, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    image = torch.randn(1, 3, 9, 9)
    o = occlude(Network(module, image, answer="labels"), image, 3, 3)
    assert o.targets == 0
    torch.testing.assert_close(o.probability, o.logit.sigmoid())


def test_a_network_without_classes_has_units(networks):
    torch.manual_seed(0)
    module = build("dense")
    image = images_for(module, 1)
    net = Network(module, image)
    o = occlude(net, image, 6, 5, layer="convs.1", channel=2)
    assert o.probability is o.logit is o.predicted is None
    full = occlude(net, image, 6, 5, layer="convs.1", channel=2, method="full")
    torch.testing.assert_close(o.activation, full.activation)
    with pytest.raises(UnitError, match="not one number a class: give a target"):
        occlude(net, image, 6, 5)
    with pytest.raises(UnitError, match="no logit in this occlusion: it is of a map only"):
        o.heatmap("logit")


def test_a_unit_above_the_maps(networks):
    _, net, image = networks("batch norm")
    o = occlude(net, image, 6, 5, layer="body.head", channel=1, target=1)
    torch.testing.assert_close(o.activation, o.logit)


def test_the_strongest_map_has_the_strongest_activation(networks):
    module, net, image = networks("plain")
    o = occlude(net, image, 9, 9, layer="body.features.6")
    with torch.no_grad():
        maps = module.body.features[:7](image)[0]
    assert o.channel == maps.amax((1, 2)).argmax()
    assert o.clean["activation"] == pytest.approx(maps[o.channel].sum().item())


@pytest.mark.parametrize("name", FILLS)
def test_fills_hide_with_what_they_say(name):
    class Identity(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)

    image = torch.rand(1, 3, 6, 7, dtype=torch.float64)
    preprocess = Preprocess((0.4, 0.5, 0.6), (0.2, 0.25, 0.3), (6, 7))
    net = Network(Identity(), image, preprocess=preprocess)
    o = occlude(net, image, (2, 3), (2, 2), name, target=list(range(3 * 6 * 7)))
    seen = o.logit[:, 1, 1].view(3, 6, 7)
    under = image[0, :, 2:4, 2:5]
    patch = seen[:, 2:4, 2:5].clone()
    seen[:, 2:4, 2:5] = under
    assert torch.equal(seen, image[0])  # nothing but the patch is touched
    pixels = preprocess.to_pixels(patch)
    expected = {
        "gray": torch.full_like(patch, 0.5),
        "black": torch.zeros_like(patch),
        "mean": torch.tensor([0.4, 0.5, 0.6], dtype=torch.float64)[:, None, None].expand_as(patch),
    }
    if name in expected:
        torch.testing.assert_close(pixels, expected[name], atol=1e-9, rtol=0)
    elif name == "image-mean":
        torch.testing.assert_close(patch, image[0].mean((1, 2))[:, None, None].expand_as(patch))
    elif name == "local-mean":
        torch.testing.assert_close(patch, under.mean((1, 2))[:, None, None].expand_as(patch))
    elif name == "noise":
        assert pixels.min() >= -1e-9
        assert pixels.max() <= 1 + 1e-9
        assert patch.unique().numel() == patch.numel()
    else:
        assert (patch - under).abs().max() > 0
        # A blur of a constant is the constant: its kernel sums to one, at the borders too.
        flat = occlude(net, torch.ones_like(image), 3, 3, name, target=[0, 41])
        torch.testing.assert_close(flat.logit, torch.ones_like(flat.logit))


def test_colours_numbers_and_tensors_as_fills(networks):
    _, net, image = networks("plain")
    by_number = occlude(net, image, 8, 8, 0.0)
    assert torch.equal(occlude(net, image, 8, 8, "#000000").logit, by_number.logit)
    per_channel = torch.tensor([1.0, 0.0, 0.2])
    by_colour = occlude(net, image, 8, 8, "#ff0033")
    torch.testing.assert_close(
        occlude(net, image, 8, 8, per_channel.double()).logit, by_colour.logit
    )
    pasted = torch.randn(3, 21, 26, dtype=torch.float64)
    exact = occlude(net, image, 8, 8, pasted)
    assert torch.equal(occlude(net, image, 8, 8, pasted, method="full").predicted, exact.predicted)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12))
def test_the_grid_covers_the_image_with_patches_cut_off(size, patch, stride):
    if patch > size:
        with pytest.raises(ImageError, match="larger than the image"):
            grid((size, size), (patch, patch), (stride, stride))
        return
    if patch == size:
        with pytest.raises(ImageError, match="hides the whole image"):
            grid((size, size), (patch, patch), (stride, stride))
        return
    corners = grid((size, size), (patch, patch), (stride, stride))[:, 0]
    assert corners[0, 0] == 0
    assert (np.diff(corners[:, 0]) == stride).all()
    assert ((corners[:, 2] == corners[:, 0] + patch) | (corners[:, 2] == size)).all()
    assert (corners[:, 0] < corners[:, 2]).all()
    covered = {pixel for top, _, bottom, _ in corners.tolist() for pixel in range(top, bottom)}
    if stride <= patch:
        assert covered == set(range(size))


def test_pixels_that_no_patch_covers_are_unknown(networks):
    _, net, image = networks("plain")
    o = occlude(net, image, 2, 5)
    heat = o.heatmap()
    assert heat.isnan().any()
    assert not heat[0, 0].isnan()
    assert heat[3, 3].isnan()


def test_a_record_comes_back_from_its_file(networks, tmp_path):
    _, net, image = networks("plain")
    o = occlude(net, image, 8, 8, layer="body.features.0", target=[1, 2])
    o.save(tmp_path / "o.safetensors")
    back = Occlusion.load(tmp_path / "o.safetensors")
    assert back.facts() == o.facts()
    assert all(torch.equal(back.arrays()[name], value) for name, value in o.arrays().items())
    assert torch.equal(back.heatmap("activation"), o.heatmap("activation"))
    unitless = occlude(net, image, 8, 8)
    unitless.save(tmp_path / "o.safetensors")
    assert Occlusion.load(tmp_path / "o.safetensors").activation is None


def test_stopping_hands_out_what_is_done_and_says_so(networks):
    _, net, image = networks("plain")
    seen = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        if done > 5:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        occlude(net, image, 6, 3, memory="200kB", method="full", progress=stop)
    o = stopped.value.result
    assert o.partial == "interrupted"
    assert 5 < o.computed.sum() < o.computed.numel()
    assert o.notes == (f"stopped early: {o.computed.sum()} of 48 positions were computed",)
    assert torch.equal(o.logit.isnan(), ~o.computed)
    assert torch.equal(o.predicted == -1, ~o.computed)
    complete = occlude(net, image, 6, 3)
    torch.testing.assert_close(o.logit[o.computed], complete.logit[o.computed])
    assert seen[0][1] == 48
    with pytest.raises(Interrupted) as stopped:
        occlude_all(net, image, [6, 4], 3, memory="200kB", method="full", progress=stop)
    assert len(stopped.value.result) == 1
    assert stopped.value.result.partial == "interrupted"


def test_images_that_were_done_before_it_was_stopped_are_kept(networks):
    _, net, image = networks("plain")
    images = torch.cat([image, image.flip(3)])

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        occlude_all(net, images, [6], 3, progress=stop)
    first = stopped.value.result[0]
    assert first.computed.all()
    assert torch.equal(first.logit, occlude(net, image, 6, 3).logit)


def test_nothing_done_is_nothing_returned(networks, monkeypatch):
    _, net, image = networks("plain")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(WindowedPasses, "answers", interrupted)
    with pytest.raises(KeyboardInterrupt):
        occlude(net, image, 6, 3)


def test_progress_counts_every_position_once(networks):
    _, net, image = networks("residual")
    seen = []
    occlude_all(net, image, [6, 9], 3, memory="1MB", progress=lambda *now: seen.append(now))
    assert seen[-1] == (48 + 35, 48 + 35)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_a_network_that_cannot_be_batched_goes_one_by_one():
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            maps = F.relu(self.conv(x))
            return maps.reshape(1, 4, -1).mean(2) if len(x) == 1 else maps.reshape(-1, 8)

    torch.manual_seed(0)
    image = torch.randn(1, 3, 12, 12)
    net = Network(torch.export.export(Fixed(), (image,), strict=False), image)
    assert not net.graph.batched
    exact, full = (occlude(net, image, 4, 4, method=m) for m in ("exact", "full"))
    torch.testing.assert_close(exact.logit, full.logit)


class Unpooling(nn.Module):
    """Passes a max pool's places on to the unpooling, as SegNet does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.last = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        pooled, places = F.max_pool2d(F.relu(self.conv(images)), 2, return_indices=True)
        return self.last(F.max_unpool2d(pooled, places, 2).mean((2, 3)))


class Mirrored(nn.Module):
    """Answers for an image and its mirror image, and takes the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.last = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        both = torch.stack([images, images.flip(3)], 1).flatten(0, 1)
        answers = self.last(F.relu(self.conv(both)).amax((2, 3)))
        return answers.unflatten(0, (-1, 2)).mean(1)


UNROUNDED = {
    "normalised over channels": nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.LocalResponseNorm(5), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 3),
    ),
    "unpooling": Unpooling(),
    "mirrored": Mirrored(),
}  # fmt: skip


@pytest.mark.parametrize("name", UNROUNDED)
def test_what_cannot_be_rounded_is_not(name):
    """Operations without bfloat16, whole numbers among the values, several values an image."""
    image = torch.rand(1, 3, 14, 14, generator=torch.Generator().manual_seed(2))
    net = Network(UNROUNDED[name].eval(), image)
    exact = occlude(net, image, 4, 2)
    if not can_take_differences(net.graph):
        with pytest.raises(ConvscopeError, match="leave the precision out"):
            occlude(net, image, 4, 2, method="adaptive", precision="bfloat16")
        return
    o = occlude(
        net, image, 4, 2, method="adaptive", positions=exact.computed.numel(), precision="bfloat16"
    )
    change = (exact.logit - exact.clean["logit"]).abs().max()
    assert change > 0
    assert (o.logit - exact.logit).abs().max() < 0.05 * change


class TwoAnswers(nn.Module):
    """Two linear layers on one vector, the second of which may also see the map before it."""

    def __init__(self, around):
        super().__init__()
        torch.manual_seed(0)
        self.around = around
        self.maps, self.mixed = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 8)
        self.first, self.second = nn.Linear(8, 5), nn.Linear(8, 4)

    def forward(self, images):
        maps = self.maps(images).relu()
        vector = self.mixed(maps.mean((2, 3))).relu()
        other = vector + maps.amax((2, 3)) if self.around else vector
        return self.first(vector), self.second(other)


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("around", [False, True])
def test_a_function_of_an_output_beside_the_answer(around, rounded):
    """It goes by windows, in halves too, and where only the answer goes through the one vector."""
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    net = Network(TwoAnswers(around).eval(), image)
    options = {"target": lambda first, second: second[0, 0]}
    full = occlude(net, image, 5, 1, method="full", **options)
    if rounded:
        every = full.computed.numel()
        options |= {"method": "adaptive", "precision": "bfloat16", "positions": every}
    found = occlude(net, image, 5, 1, **options)
    assert found.computed.all()
    change = (full.number - full.clean["number"]).abs().max()
    assert (found.number - full.number).abs().max() < (0.05 if rounded else 1e-4) * change


def test_a_unit_behind_what_mixes_the_whole_map():
    """Past a group norm whole maps go up, and the unit's is still summed."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 6, 3),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    ).double()  # fmt: skip
    image = torch.rand(1, 3, 12, 15, dtype=torch.float64)
    net = Network(module, image)
    exact, full = (
        occlude(net, image, 5, 3, layer="4", channel=2, method=m) for m in ("exact", "full")
    )
    assert full.activation.std() > 0
    torch.testing.assert_close(exact.activation, full.activation)
    torch.testing.assert_close(exact.logit, full.logit)


def test_planning_in_parts_changes_nothing(networks, monkeypatch):
    _, net, image = networks("residual")
    whole = occlude(net, image, 5, 2)
    planned = []
    spans = WindowedWalk.spans
    monkeypatch.setattr(
        WindowedWalk, "spans", lambda walk, p: planned.append(len(p)) or spans(walk, p)
    )
    monkeypatch.setattr(passes_module, "FEWEST_PLANNED", 7)
    parts = occlude(net, image, 5, 2, memory=1)
    torch.testing.assert_close(parts.logit, whole.logit)
    assert max(planned) == 7
    assert sum(planned) == whole.logit.numel()


@pytest.mark.parametrize("number", [np.int64(3), torch.tensor(3), np.uint8(3), True + 2])
def test_numbers_may_be_numpys_or_torchs(networks, number):
    _, net, image = networks("plain")
    expected = occlude(net, image, 3, 9, target=3)
    found = occlude(net, image, number, 9, target=number)
    assert found.targets == 3
    assert type(found.targets) is int
    assert found.patch == (3, 3)
    torch.testing.assert_close(found.logit, expected.logit)
    assert occlude(net, image, 3, 9, target=torch.tensor([1, 3])).targets == (1, 3)


@pytest.mark.parametrize("rounded", [False, True])
def test_adaptive_tells_what_it_computed(networks, rounded):
    _, net, image = networks("plain")
    net = Network(net.module.float(), image.float(), preprocess="none")
    exact = occlude(net, image, 6, 1)
    precision = "bfloat16" if rounded else "float32"
    o = occlude(net, image, 6, 1, method="adaptive", positions=120, precision=precision)
    net.module.double()
    assert o.computed.sum() == 120
    change = (exact.logit - exact.clean["logit"]).abs().mean()
    off = (o.logit - exact.logit)[o.computed].abs().max() / change
    assert off < (0.1 if rounded else 1e-3)
    assert (off > 1e-4) == rounded
    assert o.logit.isfinite().all()
    assert (o.predicted >= 0).all()
    notes = ["120 of 336 positions were computed, the others are estimated"]
    notes += ["what a patch changes was computed in bfloat16"] * rounded
    assert o.notes == tuple(notes)
    error = (o.heatmap("logit") - exact.heatmap("logit")).abs().mean()
    # White noise is the worst image for it: nothing is smooth but by the patches' overlap.
    assert error < 0.35 * exact.heatmap("logit").std()


def test_adaptive_with_a_budget_for_everything_is_exact(networks):
    _, net, image = networks("plain")  # float64, which is never rounded
    everything = occlude(net, image, 6, 1, method="adaptive", positions=336)
    assert everything.computed.all()
    assert everything.notes == ()
    torch.testing.assert_close(everything.logit, occlude(net, image, 6, 1).logit)


def test_adaptive_sharpens_and_keeps_to_its_time(networks, monkeypatch):
    """By a clock on which every position takes a hundredth of a second."""
    _, net, image = networks("plain")
    clock = types.SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    for module in (adaptive_module, budgets):
        monkeypatch.setattr(module, "time", clock)

    def occluded(budget):
        began, shown = clock.now, []
        o = occlude(
            net, image, 6, 1, method="adaptive", budget=budget, preview=shown.append,
            progress=lambda done, _: setattr(clock, "now", began + done / 100),
        )  # fmt: skip
        return o, [int(found.computed.sum()) for found in shown]

    o, counts = occluded("1.505s")
    # One position in 24; then, of the densest lattices, one in 3 fits into the time; then the rest.
    assert counts == [13, 112, 150]
    assert o.logit.isfinite().all()
    o, counts = occluded("60 s")
    assert counts[-1] == 336
    assert o.computed.all()


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 900))
def test_a_budget_buys_the_densest_lattice_it_affords(rows, columns, positions):
    sampling = Sampling((rows, columns), positions)
    computed = np.zeros((rows, columns), dtype=bool)
    for chosen in (sampling.coarse, sampling.densest):
        computed.ravel()[chosen(computed)] = True
    assert computed.sum() <= positions
    lattices = map(sampling.lattice, (1, 2, 3, 4, 5, 6, 8, 12, 24))
    afforded = next((own for own in lattices if own.sum() <= positions), computed)
    # A denser one may be bought with two hundredths of it lacking.
    assert computed.sum() >= afforded.sum()
    if computed.sum() == afforded.sum():
        np.testing.assert_array_equal(computed, afforded)
    computed.ravel()[sampling.rest(computed)] = True
    assert computed.sum() == min(positions, rows * columns)


@pytest.mark.parametrize("spacing", [2, 3, 4, 5, 6, 8, 12, 24])
def test_each_row_of_a_lattice_has_its_share(spacing):
    lattice = Sampling((120, 120), 1).lattice(spacing)
    np.testing.assert_allclose(lattice.mean(1), 1 / spacing)
    if spacing != 6:  # whose shift, two, shares a factor with it
        np.testing.assert_allclose(lattice.mean(0), 1 / spacing)


@pytest.mark.parametrize("share", [1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 8])
def test_what_comes_first_is_part_of_the_lattice_that_follows(share):
    sampling = Sampling((53, 53), round(share * 53 * 53))
    lattice = sampling.lattice(round(1 / share)).ravel()
    first = sampling.coarse(np.zeros((53, 53), dtype=bool))
    assert lattice[first].all()
    assert 1 / 26 < len(first) / 53**2 < 1 / 23
    computed = np.zeros(53 * 53, dtype=bool)
    computed[first] = True
    computed[sampling.densest(computed.reshape(53, 53))] = True
    assert not (computed & ~lattice).any()
    assert (lattice & ~computed).sum() <= 0.02 * lattice.sum()


@given(st.integers(2, 9), st.integers(2, 9), st.floats(1, 5), st.floats(1, 5), st.integers(0, 99))
def test_estimates_solve_the_dense_system(rows, columns, down, across, seed):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(rows, columns))
    computed = generator.random((rows, columns)) < 0.5
    computed[0, 0] = True
    y, x = np.indices((rows, columns)).reshape(2, -1)
    d = 3**0.5 * np.hypot((y[:, None] - y) / down, (x[:, None] - x) / across)
    covariance = (1 + d) * np.exp(-d)
    known = np.flatnonzero(computed)
    system = covariance[np.ix_(known, known)] + 1e-3 * np.eye(len(known))
    own = values.ravel()[known]
    expected = own.mean() + covariance[:, known] @ np.linalg.solve(system, own - own.mean())
    expected[known] = own
    held = np.where(computed, values, np.nan)
    found = estimated(held, computed, (down, across))
    np.testing.assert_allclose(found, expected.reshape(rows, columns), atol=0.05)


def test_a_third_of_the_positions_buys_one_in_three():
    sampling = Sampling((53, 53), round(53 * 53 / 3))
    chosen = sampling.densest(np.zeros((53, 53), dtype=bool))
    assert (len(chosen), sampling.lattice(3).sum()) == (936, 937)
    assert sampling.lattice(3).ravel()[chosen].all()


def test_the_nearest_computed_position_stands_in():
    computed = np.array([[True, False, False], [False, False, True]])
    np.testing.assert_array_equal(nearest(computed), [[0, 0, 5], [0, 5, 5]])


def test_mistakes_are_named(networks):
    _, net, image = networks("plain")
    wrong = [
        (ImageError, "patch of 22×22 pixels is larger than the image, 21×26", {"patch": 22}),
        (ImageError, "patch of 21×26 pixels hides the whole image", {"patch": (21, 26)}),
        (ImageError, "patch must be at least 1 pixel, not 0", {"patch": 0}),
        (ImageError, "stride must be at least 1 pixel, not 0", {"stride": 0}),
        (ImageError, "stride must be at least 1 pixel, not -3", {"stride": (2, -3)}),
        (ImageError, r"patch is a whole number or \(height, width\), not 2.5", {"patch": 2.5}),
        (ImageError, r"patch is a whole number or", {"patch": (1, 2, 3)}),
        (ImageError, "unknown fill 'grey'; did you mean 'gray'", {"fill": "grey"}),
        (ImageError, "colour '#12' is not of the form #rrggbb", {"fill": "#12"}),
        (ImageError, r"fill of shape \[4\] does not fit", {"fill": torch.zeros(4)}),
        (ImageError, "a fill must be finite .*, not nan", {"fill": math.nan}),
        (ImageError, "not -inf", {"fill": torch.tensor([0.0, -math.inf, 0.0])}),
        (UnitError, "has classes 0 to 4, not 5", {"target": 5}),
        (UnitError, "has classes 0 to 4, not -1", {"target": -1}),
        (UnitError, "does not name its classes: give a number, 0 to 4", {"target": "cat"}),
        (UnitError, "list of targets is empty", {"target": []}),
        (UnitError, "a target is a whole number or a name, not 2.5", {"target": 2.5}),
        (UnitError, "no layer 'features.88'", {"layer": "features.88"}),
        (UnitError, "a layer is called by its name, not by 8", {"layer": 8}),
        (UnitError, "channels 0 to 11, not 12", {"layer": "body.features.8", "channel": 12}),
        (UnitError, "means nothing without its layer", {"channel": 1}),
        (ImageError, r"takes images \[N, 3, 21, 26\], not", {"image": image[:, :2]}),
        (ImageError, "one image at a time", {"image": image.repeat(2, 1, 1, 1)}),
        (ImageError, "images as a tensor, not a ndarray", {"image": image.numpy()}),
        (ImageError, "values that are not finite", {"image": image / 0}),
        (ConvscopeError, "unknown method 'exakt'; did you mean 'exact'", {"method": "exakt"}),
        (ConvscopeError, "a budget needs the method 'adaptive'", {"budget": 5}),
        (ConvscopeError, "a number of positions needs the method", {"positions": 5}),
        (ConvscopeError, "'5 m' is not a number of sec", {"method": "adaptive", "budget": "5 m"}),
        (ConvscopeError, "must be at least 1, not 0", {"method": "adaptive", "positions": 0}),
        (ConvscopeError, "not both", {"method": "adaptive", "positions": 9, "budget": 1}),
        (RuleError, "unknown rule 'deconv'", {"rule": "deconv"}),
        (ConvscopeError, "unknown precision 'half'", {"precision": "half"}),
        (ConvscopeError, "precision needs the method 'adaptive'", {"precision": "bfloat16"}),
        (ConvscopeError, "memory 'lots' is not an amount", {"memory": "lots"}),
    ]
    for kind, message, change in wrong:
        options = {"image": image, "patch": 4, "stride": 4, **change}
        with pytest.raises(kind, match=message):
            occlude(net, **options)
    with pytest.raises(ImageError, match="no patch size"):
        occlude_all(net, image, [])
    named = Network(net.module, image, classes=["crane", "Bee", "crane", "dog", "eel"])
    with pytest.raises(UnitError, match="no class 'Beet'; did you mean 'Bee'"):
        occlude(named, image, 4, target="Beet")
    with pytest.raises(UnitError, match=r"several classes are called 'crane': \[0, 2\]"):
        occlude(named, image, 4, target="crane")
    o = occlude(net, image, 4, 9)
    known = "unknown quantity 'logits'; did you mean 'logit'.*known: probability, logit, number"
    with pytest.raises(UnitError, match=known):
        o.heatmap("logits")
    with pytest.raises(UnitError, match="no activation in this occlusion: no layer was named"):
        o.heatmap("activation")


def test_whole_passes_are_taken_where_they_cost_less():
    """A network that sees all of a small image in its first layers, and one that never does."""
    torch.manual_seed(0)
    stem = [nn.Conv2d(3, 8, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(2)]
    deep = [part for _ in range(4) for part in (nn.Conv2d(8, 8, 5, 1, 2), nn.ReLU())]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)]
    shallow = [nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 8, 3), nn.ReLU()]
    for side, layers, pays in ((16, [*stem, *deep], False), (64, shallow, True)):
        image = torch.rand(1, 3, side, side)
        net = Network(nn.Sequential(*layers, *head), image)
        answer = net.answer
        question = passes_module.Question(net, image[0], answer, None, 0)
        passes = WindowedPasses(question, {}, 10**9)
        corners = grid((side, side), (side // 7, side // 7), (side // 14, side // 14))
        assert WINDOWS_PAY(passes, corners.reshape(-1, 4)) == pays
        full = occlude(net, image, method="full")
        torch.testing.assert_close(occlude(net, image).logit, full.logit)


class Convolved(TorchDispatchMode):
    """Counts the whole images that a convolution reads."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.shape, self.count = shape, 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        if "conv" in str(function) and arguments[0].shape[1:] == self.shape[1:]:
            self.count += len(arguments[0])
        return function(*arguments, **(options or {}))


def test_an_image_goes_up_once_for_its_answers_and_for_its_windows():
    """And a position besides, in full, to see that windows answer as the whole network does."""
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)]
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    net = Network(nn.Sequential(*layers, *head), image)
    with Convolved(image.shape) as convolved:
        occlude(net, image, 9, 3, layer="3", rule=None)
    assert convolved.count == 2


class Fixed(nn.Module):
    """Answers the same whatever it sees, with a little of the image's mean."""

    def __init__(self, values: list[float], share: float = 0.0) -> None:
        super().__init__()
        self.values, self.share = torch.tensor(values), share

    def forward(self, x):
        return self.values + self.share * x.mean((1, 2, 3))[:, None]


def test_where_nothing_lowers_the_answer_no_patch_is_marked():
    image = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    o = occlude(Network(Fixed([1.0, 2, 3]), image), image, 4, 4)
    assert not o.is_lowered
    assert o.summary().endswith("; nothing that was hidden lowers it")
    first, *_, drop = panels(o)
    assert (first.title, first.frame) == ("(a) nothing hidden\nlowers the logit", None)
    assert not drop.picture.any()
    said = " ".join(text.get_text() for text in o.plot().findobj(Text))
    assert "constant: 0\n" in said
    assert "-0\n" not in said


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_an_answer_that_is_not_finite_is_said_and_no_class_is_chosen(tmp_path):
    image = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), Fixed([float("nan"), float("nan")]))
    o = occlude(Network(module, image), image, 4, 4, layer="1")
    assert "values are not finite from layer '2' on" in o.notes
    assert o.heading == "image"
    assert "  class 0: not a finite number" in o.summary()
    assert "nan" not in o.summary()
    assert set(o.predicted.flatten().tolist()) == {-1}
    for name in ("it.png", "it.csv", "it.gif"):
        o.save(tmp_path / name)
    assert "nan" not in (tmp_path / "it.csv").read_text()


def test_a_small_range_about_a_large_value_is_written_in_full():
    image = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0)).double()
    o = occlude(Network(Fixed([0.3371], 1e-3), image), image, 6, 6)
    figure = o.plot()
    figure.canvas.draw()
    (bar,) = (axes for axes in figure.axes if axes.get_xlabel() == "output 0")
    texts = [own.get_text() for own in bar.get_xticklabels()]
    found = [float(text.replace("−", "-")) for text in texts]
    assert found == pytest.approx(bar.get_xticks(), rel=1e-6)
    assert len(found) >= 2
