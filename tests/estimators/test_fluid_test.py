"""What a whole series asks of a fraction of fluid is a misfit of the model, and bounded."""

from __future__ import annotations

import pytest
import torch

from bids_brnn.estimators.fluid_test import largest_variance, usual_gain
from bids_brnn.estimators.series_noise import chi_squared_limit

DEGREES, VOXELS = 20, 2000
LIMIT = chi_squared_limit(DEGREES)
COLOURED = torch.tensor([1.0, *[10.0] * 4, *[1.0] * 15], dtype=torch.float64)
"""Variances by direction: about 8 effective degrees of freedom."""


def _series(variances: torch.Tensor, shift: float, seed: int = 3) -> tuple[torch.Tensor, ...]:
    """Chi-squared, gain of the first direction, and noise level of residuals."""
    rng = torch.Generator().manual_seed(seed)
    rest = torch.randn(VOXELS, DEGREES, generator=rng, dtype=torch.float64) * variances.sqrt()
    rest[:, 0] += shift
    return rest.square().sum(-1), rest[:, 0].clamp_min(0), torch.ones(VOXELS).double()


def test_white_noise_asks_for_nothing_whatever_fluid_there_is():
    white = torch.ones(DEGREES, dtype=torch.float64)
    for shift in (0.0, 2.0, 4.0):  # the last two: fluid in every voxel
        assert usual_gain(*_series(white, shift), DEGREES, LIMIT) == 0


def test_a_misfit_of_every_voxel_is_what_the_fraction_is_compared_with():
    near, gain, level = _series(COLOURED, 1.0)
    usual = usual_gain(near, gain, level, DEGREES, 4 * LIMIT)
    # A median of 2000 voxels is known to 0.03
    assert usual == pytest.approx(1.0, abs=0.1)


def test_it_is_never_more_than_one_direction_can_hold():
    near, gain, level = _series(COLOURED, 0.0)
    most = (largest_variance(DEGREES, 1.0) - 1) ** 0.5
    usual = usual_gain(near, gain + 100, level, DEGREES, 4 * LIMIT)
    assert 1 < usual < most


@pytest.mark.parametrize("largest", [1.0, 3.0, 10.0])
def test_the_largest_variance_is_found_from_effective_degrees_of_freedom(largest):
    others = DEGREES - 1
    freedom = (others + largest) ** 2 / (others + largest**2)
    expected = largest * DEGREES / (others + largest)
    assert largest_variance(DEGREES, freedom) == pytest.approx(expected)


def test_few_voxels_tell_nothing():
    near, gain, level = (values[:100] for values in _series(COLOURED, 1.0))
    assert usual_gain(near, gain, level, DEGREES, 4 * LIMIT) == 0
