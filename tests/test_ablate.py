"""Channels switched off or scaled: equal to a hook in plain torch, in every method."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import convscope as cs


class Skips(nn.Module):
    """Functional and reused rectifiers, a norm, and a way around the middle."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.relu = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()
        self.inner, self.norm = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.last = nn.Conv2d(6, 8, 3, stride=2)
        self.hidden, self.head = nn.Linear(8, 7), nn.Linear(7, 4)
        self.norm.running_mean.normal_()

    def forward(self, x):
        x = self.relu(self.stem(x))
        x = functional.max_pool2d(x + functional.relu(self.norm(self.inner(x))), 2)
        x = functional.relu(self.last(x)).mean((2, 3))
        return self.head(functional.relu(self.hidden(x)))


MODULE = Skips().double().eval()
IMAGES = torch.rand(5, 3, 14, 14, generator=torch.Generator().manual_seed(1)).double()
FACTORS = torch.tensor([0, 1, -0.5, 2, 1, 1, 0.25, 1], dtype=torch.float64)
GIVEN = {"off": [0], "scale": {2: -0.5, 3: 2.0}}


def times(factors: torch.Tensor):
    """Return a hook that multiplies channels."""
    return lambda module, inputs, maps: (
        maps * factors[: maps.shape[1]].view(1, -1, *[1] * (maps.dim() - 2))
    )


@pytest.fixture
def hooked():
    """Return a function that hooks a layer of the module for as long as the test runs."""
    handles = []

    def hook(layer: str, factors: torch.Tensor) -> nn.Module:
        handles.append(getattr(MODULE, layer).register_forward_hook(times(factors)))
        return MODULE

    yield hook
    for handle in handles:
        handle.remove()


@pytest.fixture(scope="module")
def net() -> cs.Network:
    return cs.Network(MODULE, IMAGES[:1])


@pytest.mark.parametrize("layer", ["relu", "norm", "hidden"])
def test_every_method_sees_the_channels_as_a_hook_leaves_them(net, hooked, layer):
    changed, own = net.with_units(layer, **GIVEN), net(IMAGES)
    module = hooked(layer, FACTORS)
    expected = module(IMAGES)
    assert torch.allclose(changed(IMAGES), expected, rtol=0, atol=1e-14)
    assert not torch.allclose(own, expected)
    # What the hook does is traced with the module: a second way to the same network.
    traced = cs.Network(module, IMAGES[:1])
    here, there = (cs.project(o, IMAGES, "last", [1, 3], rule="guided") for o in (changed, traced))
    assert torch.allclose(here.pixels, there.pixels, rtol=0, atol=1e-12)
    for method in ["integrated-gradients", "epsilon"]:
        here, there = (cs.attribute(o, IMAGES, 1, method=method) for o in (changed, traced))
        assert torch.allclose(here.pixels, there.pixels, rtol=0, atol=1e-10)
    assert "channel 0 off, 2 times -0.5, 3 times 2" in here.notes[-1]
    here, there = (cs.occlude(o, IMAGES[:1], 4, 3, target=2) for o in (changed, traced))
    assert torch.allclose(here.logit, there.logit, rtol=0, atol=1e-12)
    here, there = (cs.scan(o, IMAGES, "last", top=1).layers["last"] for o in (changed, traced))
    assert here.peak == pytest.approx(there.peak)


def test_a_changed_layer_keeps_its_name_and_shows_what_is_left(net):
    changed = net.with_units("relu", **GIVEN)
    assert changed.layers == net.layers
    left, own = (cs.look(one, IMAGES[:1]).maps("relu") for one in (changed, net))
    assert torch.equal(left, own * FACTORS[:6].view(6, 1, 1))
    p = cs.project(changed, IMAGES[:1], "relu", [0, 3])
    assert p.activation[0].tolist() == [0, own[3].max() * 2]
    scans = (cs.scan(o, IMAGES, layer="stem", top=1) for o in (changed, net))
    found, whole = (scan.layers["stem"] for scan in scans)
    assert found.read_at == "relu"
    assert found.peak[:4, 0] == pytest.approx(whole.peak[:4, 0] * [0, 1, 0, 2])


def test_rounded_patches_go_through_factors():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 8)
    net = cs.Network(nn.Sequential(*layers, nn.Flatten()), (1, 3, 12, 12))
    given = net.with_units("1", off=[0], scale={1: 3.0}), IMAGES[:1, :, :12, :12].float(), 4, 2
    exact = cs.occlude(*given).logit
    rounded = cs.occlude(*given, method="adaptive", precision="bfloat16", positions=exact.numel())
    assert torch.allclose(rounded.logit, exact, rtol=0, atol=0.05 * float(exact.std()))


def test_changes_add_up_and_leave_the_network_alone(net):
    before = net(IMAGES)
    twice = net.with_units("norm", off=[0]).with_units("norm", scale={0: 5.0, 1: 2.0})
    assert torch.equal(twice(IMAGES), net.with_units("norm", scale={0: 0.0, 1: 2.0})(IMAGES))
    assert twice.layers == net.layers
    alone = net.with_units("norm", only=[4])
    assert torch.equal(alone(IMAGES), net.with_units("norm", off=[0, 1, 2, 3, 5])(IMAGES))
    assert torch.equal(net(IMAGES), before)
    with pytest.raises(cs.ConvscopeError, match="with_units's off must be"):
        net.with_units("relu", off=["0"])
    with pytest.raises(cs.UnitError, match="channels 0 to 5"):
        net.with_units("norm", off=[6])


def by_hooks(
    hooked, layer: str, count: int, own: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how far each image's class falls with each channel off, and whether it still wins."""
    scores, rows = MODULE(IMAGES), torch.arange(len(IMAGES))
    falls, wins = [], []
    for channel in range(count):
        factors = torch.ones(count, dtype=torch.float64)
        factors[channel] = 0
        handle = getattr(MODULE, layer).register_forward_hook(times(factors))
        off = MODULE(IMAGES)
        handle.remove()
        falls.append(scores[rows, own] - off[rows, own])
        wins.append((scores.argmax(1) == own).double() - (off.argmax(1) == own).double())
    return torch.stack(falls).detach(), torch.stack(wins)


@pytest.mark.parametrize("layer", ["relu", "norm", "hidden", "head"])
@pytest.mark.parametrize("memory", ["1GB", "20kB"])
def test_a_channel_costs_what_a_hook_makes_it_cost(net, layer, memory):
    labels = [0, 3, 3, 1, 0]
    found = cs.ablate(net, IMAGES, layer, labels=labels, memory=memory)
    own = torch.tensor(labels)
    falls, wins = by_hooks(None, layer, len(found.channels), own)
    assert found.classes == ("class 0", "class 1", "class 3")
    assert found.counts.tolist() == [2, 1, 2]
    for place, number in enumerate([0, 1, 3]):
        of = own == number
        assert torch.allclose(found.score[:, place], falls[:, of].mean(1), rtol=0, atol=1e-12)
        assert torch.equal(found.accuracy[:, place], wins[:, of].mean(1))
    assert torch.allclose(found.cost, falls.mean(1), rtol=0, atol=1e-12)
    assert torch.allclose(found.error, falls.std(1) / 5**0.5, rtol=1e-6, atol=1e-12)
    assert found.order[0] == falls.mean(1).argmax()


def test_an_image_without_a_label_counts_for_what_it_is_taken_for(net):
    found = cs.ablate(net, IMAGES, "relu")
    own = MODULE(IMAGES).argmax(1)
    falls, wins = by_hooks(None, "relu", 6, own)
    assert found.labelled == 0
    assert found.clean.tolist() == [1.0] * len(own.unique())
    assert f"over {len(own)} images of those given" in found.summary()
    ticks = found.plot(width="column").axes[0].get_xticks()
    assert all(tick == round(tick) for tick in ticks)  # a channel's rank is a whole number
    assert torch.allclose(found.cost, falls.mean(1), rtol=0, atol=1e-12)
    assert torch.allclose(found.lost, wins.mean(1), rtol=0, atol=1e-12)


def test_a_fall_is_called_a_fall_and_images_left_out_are_named():
    net = cs.Network(nn.Sequential(nn.ReLU(), nn.Flatten()), (1, 2, 1, 1), preprocess="none")
    broken = torch.tensor([torch.nan, 0]).view(2, 1, 1)
    images = [torch.tensor([3.0, 1]).view(2, 1, 1), torch.tensor([0.0, 2]).view(2, 1, 1), broken]
    found = cs.ablate(net, images, "0", labels=[0, 1, 0])
    _, first, second, *rest = found.summary().splitlines()
    # Without its channel the first image ties and is taken for the other: half of all.
    told = "logit falls by 1.5, accuracy falls by 50.0 points; most of class 0, whose logit falls"
    assert told in first
    assert "channel 1: logit falls by 1, " in second
    assert rest == ["1 image left out:", f"  image 2: {found.bad['image 2']}"]
    assert found.to_dict()["bad"] == {"image 2": "holds values that are not finite"}
    alone = cs.ablate(net, images[:1], "0", labels=[0])
    assert "over 1 image of" in alone.summary()


def test_answers_that_are_not_finite_are_left_out_with_their_layer():
    class Logarithm(nn.Module):
        def forward(self, x):
            return torch.log(x.flatten(1))

    module = nn.Sequential(nn.Tanh(), Logarithm())
    net = cs.Network(module, torch.ones(1, 2, 1, 1), preprocess="none")
    images = torch.tensor([[1.0, 2], [-1, 1]]).view(2, 2, 1, 1)
    found = cs.ablate(net, images, "0")
    assert found.counts.tolist() == [1]
    assert found.bad == {"image 1": "the network's activations are not finite from 1 on"}
    with pytest.raises(cs.DataError, match="image 0: the network's activations are not finite"):
        cs.ablate(net, images[1:], "0")


def test_a_channel_without_which_nothing_is_finite_is_said():
    class Shares(nn.Module):
        def forward(self, x):
            return x.flatten(1) / x.flatten(1).sum(1, keepdim=True)

    net = cs.Network(nn.Sequential(nn.ReLU(), Shares()), (1, 2, 1, 1), preprocess="none")
    images = torch.tensor([[3.0, 0], [1, 2]]).view(2, 2, 1, 1)
    found = cs.ablate(net, images, "0", labels=[0, 1])
    assert "values are not finite with 1 channel off" in found.notes
    assert "channel 0: logit is not finite" in found.summary()
    assert found.table()[0]["score"] is None
    assert "nan" not in found.summary()
