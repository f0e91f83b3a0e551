"""Chance: noise of a picture's support and envelope, and what is more alike than it."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from convscope.methods.chance import Chance, noise_like
from noise import by_chance


def faded(seed: int) -> Tensor:
    """Return noise of three colours that falls off from the middle, and is zero in holes."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    fade = torch.exp(-((rows - 20) ** 2 + (columns - 30) ** 2) / 300)
    holes = torch.rand(48, 64, generator=torch.Generator().manual_seed(9)) < 0.4
    return torch.randn(3, 48, 64, generator=generator).double() * fade * ~holes


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def absolute(one: Tensor, other: Tensor) -> Tensor:
    ranked = (maps.abs().sum(0).flatten() for maps in (one, other))
    return torch.tensor(scipy.stats.spearmanr(*ranked).statistic)


def test_noise_has_the_support_and_the_envelope_and_nothing_else():
    picture = faded(0)
    noise = noise_like(picture, seeded(1))
    there = (picture != 0).any(0)
    assert torch.equal((noise != 0).any(0), there)
    assert torch.equal(noise, noise_like(picture, seeded(1)))
    assert not torch.equal(noise, noise_like(picture, seeded(2)))
    for part in (slice(14, 26), slice(26, 38), slice(38, 48)):  # as strong where it is strong
        own, other = (p[:, part].abs().mean().item() for p in (picture, noise))
        assert other == pytest.approx(own, rel=0.15)
    signed = scipy.stats.spearmanr(picture.sum(0)[there], noise.sum(0)[there]).statistic
    assert abs(signed) < 4 / math.sqrt(int(there.sum()))


def test_noise_of_what_is_never_negative_is_not_either():
    maps = torch.rand(5, 4, 1, 9, 9, generator=torch.Generator().manual_seed(0)).relu()
    maps[:, 2] = 0
    noise = noise_like(maps, seeded(0))
    assert noise.shape == maps.shape
    assert (noise >= 0).all()
    assert not noise[:, 2].any()


@pytest.mark.parametrize("envelope", ["faded", 5, 9])
def test_noise_is_no_more_alike_than_chance(envelope):
    """Neither what falls off smoothly nor what follows an image's texture exceeds it."""
    texture = torch.randn(3, 48, 64, generator=seeded(3)).double().abs().exp()
    for seed in range(20):
        one, other = faded(2 * seed), faded(2 * seed + 1)
        if envelope != "faded":
            local = avg_pool2d(texture, envelope, 1, envelope // 2)
            one, other = (
                torch.randn(3, 48, 64, generator=seeded(n)) * local for n in (seed, -seed - 1)
            )
        chance = by_chance(absolute, one, other)
        similarity = absolute(one, other)
        assert similarity > 0.05
        assert not chance.exceeded_by(similarity), seed
        assert chance.exceeded_by(absolute(one, one + 0.3 * other))


def test_what_is_drawn_is_read_off():
    draws = torch.linspace(0.2, 0.4, 21).expand(2, 21).double()
    chance = Chance(draws)
    assert chance.mean.tolist() == pytest.approx([0.3, 0.3])
    assert chance.level.tolist() == pytest.approx([0.39, 0.39])
    assert chance.effect(torch.tensor([0.65, 0.3])).tolist() == pytest.approx([0.5, 0], abs=1e-6)
    # Above the level, but by no effect that is worth a word.
    assert Chance(draws * 0.1).exceeded_by(torch.tensor([0.06, 0.2])).tolist() == [False, True]
    assert not Chance(draws * np.nan).exceeded_by(torch.tensor([0.9, 0.9])).any()
    assert not chance.exceeded_by(torch.tensor([0.385, math.nan])).any()
