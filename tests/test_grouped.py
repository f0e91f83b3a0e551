"""Batch norm over groups of images, against the formula in float64."""

import pytest
import torch
from torch import nn

from convscope.models.plain import NetConfig, build
from convscope.study.grouped import GroupedBatchNorm2d, grouped

EPS = 1e-3


@pytest.fixture
def maps() -> torch.Tensor:
    maps = torch.randn(12, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    maps[:4] += 7  # the groups must differ, or normalising them together would pass
    return maps.to(torch.float64)


def layer(images: int) -> GroupedBatchNorm2d:
    norm = GroupedBatchNorm2d(3, images, EPS, 0.4).double()
    norm.weight.data, norm.bias.data = torch.tensor([[1.0, 2.0, -3.0], [0.5, 0.0, 4.0]]).double()
    return norm


def by_formula(norm: nn.BatchNorm2d, maps: torch.Tensor, images: int) -> torch.Tensor:
    """Normalise one group after the other as the paper writes it."""
    parts = []
    for begin in range(0, len(maps), images):
        group = maps[begin : begin + images]
        centred = group - group.mean((0, 2, 3), keepdim=True)
        variance = centred.square().mean((0, 2, 3), keepdim=True)
        scale = norm.weight.view(1, -1, 1, 1)
        parts.append(centred / (variance + EPS).sqrt() * scale + norm.bias.view(1, -1, 1, 1))
    return torch.cat(parts)


def test_each_group_is_normalised_by_its_own_statistics_and_so_are_its_gradients(maps):
    norm, weights = layer(4), torch.linspace(-1, 1, maps.numel()).view_as(maps).sin().double()
    inputs = [maps.clone().requires_grad_() for _ in range(2)]
    found, wanted = norm(inputs[0]), by_formula(norm, inputs[1], 4)
    torch.testing.assert_close(found, wanted)
    leaves = [norm.weight, norm.bias]
    here = torch.autograd.grad((found * weights).sum(), [inputs[0], *leaves])
    there = torch.autograd.grad((wanted * weights).sum(), [inputs[1], *leaves])
    torch.testing.assert_close(here, there)


def test_running_statistics_follow_the_groups_average(maps):
    norm = layer(6)
    norm(maps)
    groups = [maps[:6].transpose(0, 1).flatten(1), maps[6:].transpose(0, 1).flatten(1)]
    mean = sum(group.mean(1) for group in groups) / 2
    variance = sum(group.var(1) for group in groups) / 2
    torch.testing.assert_close(norm.running_mean, 0.4 * mean)
    torch.testing.assert_close(norm.running_var, 0.6 + 0.4 * variance)
    assert norm.num_batches_tracked == 1


def test_one_group_is_the_plain_layer_and_so_is_evaluation(maps):
    norm, plain = layer(12), nn.BatchNorm2d(3, EPS, 0.4).double()
    plain.load_state_dict(norm.state_dict())
    torch.testing.assert_close(norm(maps), plain(maps))
    torch.testing.assert_close(norm.state_dict(), plain.state_dict())
    torch.testing.assert_close(norm.eval()(maps[:5]), plain.eval()(maps[:5]), rtol=0, atol=0)


def test_a_networks_layers_are_replaced_with_their_tensors():
    network = build(NetConfig(widths=((4,), (6, 8))), seed=3)
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    norms = [module for module in grouped(network, 5).modules() if type(module) is not nn.ReLU]
    assert [norm.images for norm in norms if isinstance(norm, nn.BatchNorm2d)] == [5, 5, 5]
    assert network.state_dict().keys() == tensors.keys()
    torch.testing.assert_close(dict(network.state_dict()), tensors, rtol=0, atol=0)
