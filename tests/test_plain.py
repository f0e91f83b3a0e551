"""The network family: shapes, options, first weights and what it costs."""

import pytest
import torch
from torch import nn

from convscope.errors import ModelError
from convscope.models.plain import NetConfig, build, multiply_adds, smallest_side
from convscope.study.config import PRESETS

SMALL = ((4,), (6, 8))


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def test_the_smallest_side_is_the_last_that_runs():
    for padding in ("same", "valid"):
        for widths in (((3,),), ((3, 3), (3,)), ((3,), (3, 3), (3,))):
            config = NetConfig(widths=widths, padding=padding)
            network, side = build(config, 0).eval(), smallest_side(config)
            assert network(torch.zeros(1, 3, side, side)).isfinite().all()
            with pytest.raises(RuntimeError):
                network(torch.zeros(1, 3, side - 1, side - 1))


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize(("padding", "sides"), [("same", [16, 8, 8]), ("valid", [14, 5, 3])])
def test_options_do_what_they_say(batch_norm, padding, sides):
    network = build(NetConfig(SMALL, batch_norm, padding), seed=0)
    seen = []
    for module in convolutions(network):
        module.register_forward_hook(lambda _m, _i, maps: seen.append(maps.shape[-1]))
    assert network(torch.zeros(2, 3, 16, 16)).shape == (2, 10)
    assert seen == sides
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == (3 if batch_norm else 0)
    assert all((module.bias is None) == batch_norm for module in convolutions(network))


def test_modules_are_named_for_their_convolution():
    names = [name for name, _ in build(NetConfig(SMALL), seed=0).features.named_children()]
    assert names == (
        "conv1 pool1 norm1 relu1 conv2 norm2 relu2 conv3 norm3 relu3 pool2".split()  # noqa: SIM905
    )


def test_pooling_before_the_rectifier_changes_nothing_without_batch_norm():
    network = build(NetConfig(SMALL, batch_norm=False), seed=0)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    by_name = dict(network.features.named_children())
    maps = images
    for name in "conv1 relu1 pool1 conv2 relu2 conv3 relu3 pool2".split():  # noqa: SIM905
        maps = by_name[name](maps)
    usual = network.classifier(maps.flatten(1)) * network.config.logit_scale
    assert torch.equal(usual, network(images))


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_multiply_adds_are_those_of_the_modules(padding):
    config = NetConfig(((4,), (6, 8)), padding=padding)
    network, counted = build(config, seed=0), [0]

    def count(module, _inputs, maps):
        counted[0] += module.weight[0].numel() * maps.numel()

    for module in [*convolutions(network), network.classifier]:
        module.register_forward_hook(count)
    network.eval()(torch.zeros(1, 3, 18, 18))
    assert multiply_adds(config, side=18) == counted[0]


def test_vgg16_has_its_thirteen_convolutions_and_ends_in_one_value_a_channel():
    network = build(PRESETS["vgg16"].net, seed=0).eval()
    assert len(convolutions(network)) == 13
    assert network.features(torch.zeros(1, 3, 32, 32)).shape == (1, 512, 1, 1)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(14.7e6, rel=0.01)


def test_convolutions_start_by_passing_channels_on():
    second = convolutions(build(NetConfig(SMALL), seed=0))[1]
    maps = torch.randn(1, 4, 5, 5)
    torch.testing.assert_close(second(maps)[:, :4], maps)


def test_a_seed_makes_the_same_weights_and_leaves_torchs_generator_alone():
    before = torch.random.get_rng_state()
    first, again, other = (build(NetConfig(SMALL), seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["features.conv1.weight"], other["features.conv1.weight"])


def test_a_network_that_cannot_be_is_refused():
    for widths in ((), ((4,), ()), ((0,),)):
        with pytest.raises(ModelError, match="at least"):
            NetConfig(widths)
    with pytest.raises(ModelError, match="'same' or 'valid', not 'full'"):
        NetConfig(SMALL, padding="full")
