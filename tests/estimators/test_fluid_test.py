"""What a whole series asks of a fraction of fluid is a misfit of the model, and bounded."""

from __future__ import annotations

import pytest
import torch

from bids_brnn.estimators.fluid_test import (
    largest_variance,
    share_beside_fluid,
    usual_gain,
)
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


def _share(variances: torch.Tensor, shift: float) -> torch.Tensor:
    """Of a line of voxels whose last half is shifted, at a level that the shift has raised."""
    near, gain, _ = _series(variances, 0.0)
    rest, half = gain.clone(), VOXELS // 2
    shifted, lifted, _ = _series(variances, shift, seed=4)
    near[half:], rest[half:] = shifted[half:], lifted[half:]
    raised = torch.where(
        torch.arange(VOXELS) < half, 1.0, (1 + shift**2 / DEGREES) ** 0.5
    ).double()
    at = torch.stack([torch.arange(VOXELS), *torch.zeros(2, VOXELS).long()], -1)
    scale = raised.square()
    rows = torch.arange(VOXELS)
    return share_beside_fluid(near / scale, rest.square() / scale, raised, (rows, at), DEGREES)


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_what_fluid_adds_to_the_noise_of_a_region_is_taken_out_of_it(shift):
    share = _share(torch.ones(DEGREES).double(), shift)
    half = VOXELS // 2
    raised = (1 + shift**2 / DEGREES) ** 0.5
    # The level of half of the voxels is known to 0.5 %; a degree too few makes it 1.3 % larger.
    assert float(share[:half].median()) == pytest.approx(1.0, abs=0.03)
    assert float(share[half:].median()) * raised == pytest.approx(1.0, abs=0.03)


def test_residuals_that_are_no_white_noise_keep_their_level():
    assert bool((_share(COLOURED, 3.0) == 1).all())
