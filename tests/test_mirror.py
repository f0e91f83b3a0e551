"""Networks whose filters come in mirrored pairs, at the start and while they learn."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from convscope.errors import ModelError
from convscope.models.mirror import twin
from convscope.models.plain import NetConfig, build
from convscope.study.config import preset
from convscope.study.devices import make_fabric
from convscope.study.learner import Learner

PAIRS = NetConfig(widths=((8, 12), (16,), (6,)), mirrored=True)


def images(count: int, side: int = 16) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def in_double(network: nn.Module) -> nn.Module:
    return network.double().eval()


@pytest.fixture
def learned() -> nn.Module:
    """A network of pairs after twenty steps, by Muon and with batch norm."""
    learner = Learner(replace(preset("tiny"), net=PAIRS), make_fabric("cpu", "float32"))
    generator = torch.Generator().manual_seed(2)
    for _ in range(20):
        labels = torch.randint(10, (32,), generator=generator)
        learner.step(torch.randn(32, 3, 16, 16, generator=generator), labels, 1.0)
    network = build(PAIRS, 0)
    network.load_state_dict(learner.weights())
    return network


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_at_the_start_an_image_and_its_mirror_image_get_one_answer(batch_norm, padding):
    config = replace(PAIRS, batch_norm=batch_norm, padding=padding)
    side = 16 if padding == "same" else 20  # maps of even sides before every pooling
    network = in_double(build(config, 3))
    seen = images(4, side).double()
    answers = network(seen)
    torch.testing.assert_close(answers, network(seen.flip(3)), atol=1e-12, rtol=1e-12)
    assert answers.std() > 1e-3


def test_without_pairs_the_two_answers_differ():
    network = in_double(build(replace(PAIRS, mirrored=False), 3))
    seen = images(4).double()
    assert (network(seen) - network(seen.flip(3))).abs().max() > 1e-3


def test_after_learning_they_still_get_one_answer(learned):
    network, seen = in_double(learned), images(4).double()
    moved = build(PAIRS, 0).features.conv2.weight - learned.features.conv2.weight
    assert moved.abs().max() > 0.01
    torch.testing.assert_close(network(seen), network(seen.flip(3)), atol=1e-12, rtol=1e-12)


def test_one_channel_of_a_pair_sees_the_mirror_image_as_the_other_sees_the_picture(learned):
    maps, mirrored = (in_double(learned).features[:6](x.double()) for x in both_ways())
    half = maps.shape[1] // 2
    torch.testing.assert_close(maps[:, :half].flip(3), mirrored[:, half:], atol=1e-12, rtol=1e-12)
    assert (maps[:, :half] - maps[:, half:]).abs().max() > 0.01


def both_ways() -> tuple[torch.Tensor, torch.Tensor]:
    return images(3), images(3).flip(3)


def test_a_filter_of_the_first_layer_is_its_partners_mirror_image():
    bank = build(PAIRS, 0).features.conv1.weight
    assert torch.equal(bank[:4].flip(3), bank[4:])


def test_later_filters_read_the_other_channel_of_each_pair():
    """By hand: two channels in and out, a filter that reads channel 0 one to the left."""
    layer = nn.Conv2d(2, 2, 3, padding=1)
    bank = torch.zeros(2, 2, 3, 3)
    bank[0, 0, 1, 0] = 5.0
    expected = torch.zeros(2, 2, 3, 3)
    expected[1, 1, 1, 2] = 5.0
    assert torch.equal(twin(layer, bank), expected)
    assert torch.equal(twin(layer, expected), bank)


def test_odd_widths_are_refused():
    with pytest.raises(ModelError, match="pairs only where all widths are even"):
        NetConfig(widths=((4, 5),), mirrored=True)
