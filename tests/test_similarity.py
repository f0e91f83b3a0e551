"""Similarity, by hand and against scipy; test_sanity sets it against scikit-image too."""

import math

import numpy as np
import pytest
import scipy.ndimage
import torch

from convscope.methods.similarity import Prepared, edges, similarities


def of_maps(one: torch.Tensor, other: torch.Tensor) -> list[float]:
    return similarities(*(Prepared.of(maps[None]) for maps in (one, other))).tolist()


def test_rank_correlation_by_hand():
    one = torch.tensor([[10.0, 20.0], [20.0, 40.0]])  # ranks 1, 2.5, 2.5, 4
    other = torch.tensor([[1.0, 3.0], [2.0, 4.0]])  # ranks 1, 3, 2, 4
    # Deviations (-1.5, 0, 0, 1.5) and (-1.5, 0.5, -0.5, 1.5): 4.5 / sqrt(4.5 * 5).
    magnitude, signed, *windows = of_maps(one, other)
    assert magnitude == signed == pytest.approx(4.5 / math.sqrt(22.5), abs=1e-15)
    assert of_maps(-one, other)[:2] == pytest.approx([magnitude, -signed], abs=1e-15)
    # Nor has a map smaller than the window a structural similarity.
    assert all(map(math.isnan, (*windows, *of_maps(one, torch.ones(2, 2)))))


def test_edges_are_sobels():
    pixels = torch.rand(3, 9, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grey = pixels.mean(0).numpy()
    across, down = (scipy.ndimage.sobel(grey, axis, mode="nearest") / 8 for axis in (1, 0))
    np.testing.assert_allclose(edges(pixels).numpy(), np.hypot(across, down), atol=1e-14)
