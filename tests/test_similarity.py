"""Similarity: against scikit-image and scipy, which share no code with it."""

import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import skimage.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.methods.similarity import edges, rank_correlation, structural_similarity


def maps(seed: int, height: int, width: int, levels: int | None) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    one = generator.normal(size=(height, width))
    other = 0.6 * one + generator.normal(size=(height, width))
    return (one, other) if levels is None else (np.round(one * levels), np.round(other * levels))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(11, 30), st.integers(11, 30), st.sampled_from([None, 2]))
def test_structural_similarity_is_scikit_images(seed, height, width, levels):
    one, other = maps(seed, height, width, levels)
    expected = skimage.metrics.structural_similarity(
        one, other, data_range=2.5, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    found = structural_similarity(torch.from_numpy(one), torch.from_numpy(other), 2.5)
    assert found == pytest.approx(expected, abs=1e-10)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.sampled_from([None, 1, 3]))
def test_rank_correlation_is_scipys(seed, side, levels):
    one, other = maps(seed, side, side + 1, levels)
    if min(np.ptp(one), np.ptp(other)) == 0:
        return
    expected = scipy.stats.spearmanr(one.ravel(), other.ravel()).statistic
    found = rank_correlation(torch.from_numpy(one), torch.from_numpy(other))
    assert found == pytest.approx(expected, abs=1e-12)


def test_rank_correlation_by_hand():
    one = torch.tensor([10.0, 20.0, 20.0, 40.0])  # ranks 1, 2.5, 2.5, 4
    other = torch.tensor([1.0, 3.0, 2.0, 4.0])  # ranks 1, 3, 2, 4
    # Deviations (-1.5, 0, 0, 1.5) and (-1.5, 0.5, -0.5, 1.5): 4.5 / sqrt(4.5 * 5).
    assert rank_correlation(one, other) == pytest.approx(4.5 / math.sqrt(22.5), abs=1e-15)
    assert math.isnan(rank_correlation(one, torch.ones(4)))


def test_only_the_order_counts():
    one, other = (torch.from_numpy(m) for m in maps(3, 8, 8, None))
    plain = rank_correlation(one, other)
    assert rank_correlation(one.exp() * 5, other**3) == pytest.approx(plain, abs=1e-15)
    assert rank_correlation(-one, other) == pytest.approx(-plain, abs=1e-15)


def test_a_map_smaller_than_the_window_has_no_structural_similarity():
    assert math.isnan(structural_similarity(torch.rand(10, 40), torch.rand(10, 40), 1.0))


def test_edges_are_sobels():
    pixels = torch.rand(3, 9, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grey = pixels.mean(0).numpy()
    across, down = (scipy.ndimage.sobel(grey, axis, mode="nearest") / 8 for axis in (1, 0))
    np.testing.assert_allclose(edges(pixels).numpy(), np.hypot(across, down), atol=1e-14)
