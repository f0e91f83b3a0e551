"""Augmentation, batches, schedule and Muon, each against values worked out apart."""

import math

import pytest
import torch

from convscope.errors import TrainError
from convscope.study.batches import (
    Batches,
    Changes,
    alternating_flip,
    generator_for,
)
from convscope.study.checkpoints import moments
from convscope.study.config import PRESETS, Augmentation, TrainConfig, preset
from convscope.study.optimizers import FilterMuon, one_cycle
from study_worker import pictures, small

NOWHERE = torch.zeros(2, 1, dtype=torch.int64)
STILL = torch.tensor([False])


def picked(picture: list[list[int]], changes: Changes, kind: Augmentation) -> list[list[int]]:
    """Return what becomes of a one-colour picture that is the second of its set."""
    image = torch.tensor(picture, dtype=torch.uint8)[None, :, :, None]
    images = torch.cat([torch.full_like(image, 99), image])
    before = images.clone()
    changed = changes.pick(images, torch.tensor([1]), kind, torch.tensor([7], dtype=torch.uint8))
    assert torch.equal(images, before)
    return changed[0, :, :, 0].tolist()


def test_a_shift_reflects_the_image_at_its_edge():
    # Offset 0 of reach 1 moves the picture one pixel down; offset 2, one to the left.
    changes = Changes(STILL, torch.tensor([[0], [2]]), NOWHERE)
    assert picked([[0, 1, 2], [3, 4, 5], [6, 7, 8]], changes, Augmentation(shift=1)) == [
        [4, 5, 4],
        [1, 2, 1],
        [4, 5, 4],
    ]


def test_a_mirrored_image_is_shifted_after():
    changes = Changes(~STILL, torch.tensor([[1], [2]]), NOWHERE)
    assert picked([[0, 1, 2, 3]] * 2, changes, Augmentation(shift=1)) == [[2, 1, 0, 1]] * 2


def test_cutout_fills_its_square_and_nothing_else():
    ones, kind = [[1] * 4] * 4, Augmentation(shift=0, cutout=2)
    inside = Changes(STILL, NOWHERE, torch.tensor([[1], [2]]))
    assert picked(ones, inside, kind) == [[1, 1, 1, 1], [1, 1, 7, 7], [1, 1, 7, 7], [1, 1, 1, 1]]
    outside = Changes(STILL, NOWHERE, torch.tensor([[-1], [3]]))
    assert picked(ones, outside, kind) == [[1, 1, 1, 7], *ones[:3]]


def test_flips_alternate_by_epoch():
    def coins():
        return torch.Generator().manual_seed(3)

    first, second, third = (alternating_flip(1000, epoch, coins()) for epoch in range(3))
    assert 400 < int(first.sum()) < 600
    assert torch.equal(second, ~first)
    assert torch.equal(third, first)


def test_drawn_shifts_and_squares_cover_their_range():
    kind = Augmentation(shift=2, cutout=4)
    drawn = Changes.draw(
        torch.ones(2000, dtype=torch.bool), (6, 8), kind, torch.Generator().manual_seed(0)
    )
    assert drawn.offsets.unique().tolist() == [0, 1, 2, 3, 4]
    assert drawn.holes[0].unique().tolist() == [*range(-2, 4)]
    assert drawn.holes[1].unique().tolist() == [*range(-2, 6)]
    assert not Changes.draw(
        torch.ones(3, dtype=torch.bool), (6, 8), Augmentation(flip=False), torch.Generator()
    ).mirrored.any()


def test_a_batch_is_a_function_of_its_step_alone():
    config, images = small(augmentation=Augmentation(shift=2, cutout=3)), pictures()
    cpu = torch.device("cpu")
    in_order = [Batches(images, config, cpu).batch(step) for step in range(9)]
    batches = Batches(images, config, cpu)
    for step in (8, 2, 5):
        pixels, labels = batches.batch(step)
        assert torch.equal(pixels, in_order[step][0])
        assert torch.equal(labels, in_order[step][1])


def test_processes_share_the_batch_of_one():
    config, images, cpu = small(), pictures(), torch.device("cpu")
    whole, labels = Batches(images, config, cpu).batch(7)
    shares = [Batches(images, config, cpu, rank, 4).batch(7) for rank in range(4)]
    assert torch.equal(torch.cat([pixels for pixels, _ in shares]), whole)
    assert torch.equal(torch.cat([part for _, part in shares]), labels)


def test_an_epoch_shows_every_image_once_and_resizes_on_time():
    plain = Augmentation(shift=0, flip=False)
    config, images = small(augmentation=plain, sides=(), batch_size=52), pictures()
    batches = Batches(images, config, torch.device("cpu"))
    assert batches.steps_per_epoch == 5
    seen = torch.cat([batches.batch(step)[0] for step in range(5)])
    every = config.inputs(images.images)
    assert torch.allclose(seen.sum((1, 2, 3)).sort()[0], every.sum((1, 2, 3)).sort()[0], atol=1e-3)
    batches = Batches(images, small(), torch.device("cpu"))
    sides = [batches.batch(step)[0].shape[-1] for step in range(batches.steps)]
    turn = math.ceil(0.3 * batches.steps)
    assert sides == [12] * turn + [16] * (batches.steps - turn)


def test_inputs_are_in_standard_deviations():
    config, images = small(mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.3)), pictures().images[:4]
    found = config.inputs(images)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (config.mean, config.std))
    torch.testing.assert_close(found, (images / 255 - mean) / std, rtol=1e-5, atol=1e-5)


def test_batches_refuse_what_they_cannot_share():
    with pytest.raises(TrainError, match="fewer than a batch of 300"):
        Batches(pictures(), small(batch_size=300), torch.device("cpu"))
    with pytest.raises(TrainError, match="cannot be shared evenly by 3"):
        Batches(pictures(), small(), torch.device("cpu"), 0, 3)


def test_generators_differ_by_seed_purpose_and_number():
    seeds = {
        generator_for(small(seed=seed), purpose, number).initial_seed()
        for seed in (0, 1)
        for purpose in ("step", "order")
        for number in (0, 1)
    }
    assert len(seeds) == 8


def test_muon_steps_are_orthogonal_of_the_momentum_and_hold_the_filters_norm():
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(6, 4, 3, 3, generator=generator) for _ in range(4)]
    first, *gradients = (values.contiguous(memory_format=torch.channels_last) for values in drawn)
    filters = torch.nn.Parameter(first.clone(memory_format=torch.preserve_format))
    optimizer = FilterMuon([filters], lr=0.1, momentum=0.6)
    mean = torch.zeros_like(first)
    for gradient in gradients:
        before = filters.detach() * 6**0.5 / filters.detach().norm()
        filters.grad = gradient.clone()
        optimizer.step()
        mean = 0.6 * mean + 0.4 * gradient
        left, _, right = torch.linalg.svd((0.4 * gradient + 0.6 * mean).flatten(1), False)
        step = (before - filters.detach()).flatten(1) / 0.1
        # In the same directions, by Newton and Schulz's iteration each about one long.
        lengths = left.T @ step @ right.T
        assert lengths.diagonal().min() > 0.6
        assert lengths.diagonal().max() < 1.3
        assert (lengths - lengths.diagonal().diag()).abs().max() < 0.05
    optimizer.zero_grad()
    assert filters.grad is None


def test_muon_trains_the_filters_themselves_or_refuses():
    with pytest.raises(RuntimeError, match="view"):
        FilterMuon([torch.nn.Parameter(torch.zeros(4, 3, 3, 3))], lr=0.1, momentum=0.6)


def test_one_cycle_rises_to_its_peak_and_falls_to_nothing():
    rates = [one_cycle(step, 1000, 0.2) for step in range(1000)]
    assert rates.index(max(rates)) in (199, 200)
    assert max(rates) > 0.99
    assert max(rates[0], rates[-1]) < 0.01


def test_moments_are_geometric_and_end_with_the_training():
    assert moments(25 * 90, 90) == (0, 5, 11, 22, 45, 90, 180, 450, 900, 1800, 2250)
    assert moments(1, 90) == (0, 1)


def test_configurations_survive_json_and_refuse_nonsense():
    for name, config in PRESETS.items():
        assert preset(name) == TrainConfig.from_json(config.to_json())
    with pytest.raises(TrainError, match="unknown preset 'tini'; did you mean 'tiny'"):
        preset("tini")
    with pytest.raises(TrainError, match="no such field"):
        preset("tiny", epoch=3)
    with pytest.raises(TrainError, match="this is no training's configuration"):
        TrainConfig.from_json({"net": {}})
    for field, value in (("epochs", 0.0), ("momentum", 1.0), ("warmup", 0.0), ("batch_size", 0)):
        with pytest.raises(TrainError, match=f"{field} cannot be {value}"):
            preset("tiny", **{field: value})
    with pytest.raises(TrainError, match="cannot be negative"):
        Augmentation(shift=-1)
