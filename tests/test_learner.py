"""A step of a training, for networks of several towers."""

from dataclasses import replace
from threading import Barrier, current_thread

import pytest
import torch

from convscope.models.plain import NetConfig
from convscope.study.config import TrainConfig, preset
from convscope.study.data import ImageSet
from convscope.study.devices import make_fabric
from convscope.study.learner import Learner

NET = NetConfig(widths=((8, 12), (16,)))


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def learner_of(config: TrainConfig) -> Learner:
    return Learner(config, make_fabric("cpu", "float32"))


@pytest.mark.parametrize("optimizer", ["muon", "sgd"])
def test_every_tower_learns_as_if_it_were_alone(optimizer):
    config = replace(preset("tiny"), net=NET, optimizer=optimizer, label_smoothing=0.1)
    together = learner_of(replace(config, net=replace(NET, towers=2)))
    alone = []
    for number in range(2):
        own = together.weights()
        prefix = f"towers.{number}."
        one = learner_of(config)
        one.restore(
            {f"network/{k.removeprefix(prefix)}": v.clone() for k, v in own.items() if prefix in k}
        )
        alone.append(one)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        images = torch.randn(20, 3, 8, 8, generator=generator)
        labels = torch.randint(10, (20,), generator=generator)
        loss, _ = together.step(images, labels, 0.5)
        losses = [one.step(images, labels, 0.5)[0] for one in alone]
        torch.testing.assert_close(loss, (losses[0] + losses[1]) / 2)
    for number, one in enumerate(alone):
        for name, expected in one.weights().items():
            found = together.weights()[f"towers.{number}.{name}"]
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4, msg=name)


def test_a_restored_learner_of_mirrored_towers_goes_on_alike():
    config = replace(preset("tiny"), net=replace(NET, towers=2, mirrored=True))
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(20, 3, 8, 8, generator=generator), torch.arange(20) % 10) for _ in range(4)
    ]
    through, first, second = (learner_of(config) for _ in range(3))
    for batch in batches:
        through.step(*batch, 0.5)
    for batch in batches[:2]:
        first.step(*batch, 0.5)
    second.restore({name: tensor.clone() for name, tensor in first.state().items()})
    for batch in batches[2:]:
        second.step(*batch, 0.5)
    expected, found = through.weights(), second.weights()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_towers_learn_at_the_same_time_each_with_its_share_of_the_threads(four_threads):
    learner = learner_of(replace(preset("tiny"), net=replace(NET, towers=2)))
    together, seen = Barrier(2), []

    def watch(module, inputs):
        together.wait(timeout=30)  # for the other tower, which an error ends if it never comes
        seen.append((current_thread(), torch.get_num_threads()))

    for tower in learner._network.towers:
        tower.register_forward_pre_hook(watch)
    images, labels = torch.zeros(20, 3, 8, 8), torch.arange(20) % 10
    learner.step(images, labels, 0.5)
    pixels = torch.zeros(20, 3, 8, 8, dtype=torch.uint8)
    learner.accuracy(ImageSet(pixels, labels, tuple("abcdefghij")), 8)
    threads, shares = zip(*seen, strict=True)
    assert len(seen) == 4
    assert len(set(threads)) == 2
    assert shares == (2, 2, 2, 2)
    assert torch.get_num_threads() == 4


def test_threads_change_nothing_but_the_last_digits(four_threads):
    config = replace(preset("tiny"), net=replace(NET, towers=2, mirrored=True))
    in_threads, in_turn = learner_of(config), learner_of(config)
    in_turn._threads = None
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        images, labels = torch.randn(20, 3, 8, 8, generator=generator), torch.arange(20) % 10
        found, expected = (one.step(images, labels, 0.5) for one in (in_threads, in_turn))
        torch.testing.assert_close(found, expected)
    for name, expected in in_turn.weights().items():
        found = in_threads.weights()[name]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4, msg=name)


def test_an_error_in_a_tower_is_the_learners_own(four_threads):
    learner = learner_of(replace(preset("tiny"), net=replace(NET, towers=2)))
    with pytest.raises(RuntimeError, match="channels"):
        learner.step(torch.zeros(20, 4, 8, 8), torch.arange(20) % 10, 0.5)
