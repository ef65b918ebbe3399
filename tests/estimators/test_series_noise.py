"""What residuals tell of the noise of a series: level, variation over space, whiteness."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from bids_brnn.errors import DataError
from bids_brnn.estimators.series_noise import FALSE_ALARMS, chi_squared_limit, series_noise

FREEDOM = 20


@pytest.fixture
def places() -> torch.Tensor:
    return torch.from_numpy(np.argwhere(np.ones((60, 60, 1), dtype=bool)))


def _energy(sigma: torch.Tensor, freedom: int, seed: int = 0) -> torch.Tensor:
    """Squared residuals of mean ``20 sigma^2``, as wide as chi-squared of ``freedom``."""
    drawn = np.random.default_rng(seed).chisquare(freedom, len(sigma)) * FREEDOM / freedom
    return sigma.square() * torch.from_numpy(drawn)


def test_white_noise_of_one_level_is_found_as_such(places):
    noise = series_noise(_energy(torch.full((3600,), 0.3), FREEDOM), places, FREEDOM, places)
    # The median of 3600 sums is known to 0.7 %; one level is simpler than any other
    torch.testing.assert_close(noise.sigma, torch.full_like(noise.sigma, 0.3), rtol=0.02, atol=0)
    assert noise.freedom > 17


@pytest.mark.parametrize("shape", ["ramp", "centre"])
def test_noise_that_varies_by_two_is_followed_and_rare_misfits_are_not(places, shape):
    x, y = (places[:, :2].double() / 60).unbind(-1)
    change = {"ramp": 2 ** (x - 0.5), "centre": 2 ** (0.5 - 2 * ((x - 0.5) ** 2 + (y - 0.5) ** 2))}
    sigma = 0.1 * change[shape]
    energy = _energy(sigma, FREEDOM)
    misfit = (x > 0.2) & (x < 0.5) & (y > 0.3) & (y < 0.6)
    energy[misfit] *= 6
    noise = series_noise(energy, places, FREEDOM, places)
    ratio = noise.sigma / sigma
    assert float(ratio.min()) > 0.9
    assert float(ratio.max()) < 1.1
    test = energy / noise.sigma.square() > chi_squared_limit(FREEDOM, noise.freedom)
    # 3276 voxels at 0.5 %: 16 expected, and less than 1 % with a probability above 0.999
    assert float(test[~misfit].double().mean()) < 0.01
    assert float(test[misfit].double().mean()) > 0.95


def test_residuals_that_voxels_share_have_fewer_degrees_of_freedom(places):
    energy = _energy(torch.full((3600,), 0.3), 8)
    noise = series_noise(energy, places, FREEDOM, places)
    assert noise.freedom == pytest.approx(8, abs=1)
    torch.testing.assert_close(noise.sigma, torch.full_like(noise.sigma, 0.3), rtol=0.04, atol=0)
    share = (energy / noise.sigma.square() > chi_squared_limit(FREEDOM, noise.freedom)).double()
    assert float(share.mean()) < 0.01
    as_white = (energy / noise.sigma.square() > chi_squared_limit(FREEDOM)).double()
    assert float(as_white.mean()) > 0.02


@pytest.mark.parametrize(("freedom", "white"), [(FREEDOM, 1.0), (3, 0.0)])
@pytest.mark.parametrize("n", [50, 200])
def test_few_voxels_are_white_unless_they_contradict_it(places, n, freedom, white):
    few = places[:n]
    told = [
        series_noise(_energy(torch.full((n,), 0.3), freedom, seed), few, FREEDOM, few).freedom
        for seed in range(100)
    ]
    # Two standard deviations: 2 of 100 draws of white noise at most, but for chance.
    assert np.mean(np.array(told) >= 0.75 * FREEDOM) == pytest.approx(white, abs=0.07)


def test_the_limit_is_exceeded_at_the_stated_rate():
    assert chi2.sf(chi_squared_limit(20), 20) == pytest.approx(FALSE_ALARMS)
    assert chi2.sf(chi_squared_limit(20, 8) * 8 / 20, 8) == pytest.approx(FALSE_ALARMS)


def test_a_declared_level_is_followed_within_a_factor_of_two(places):
    noise = series_noise(_energy(torch.full((3600,), 0.3), FREEDOM), places, FREEDOM, places)
    assert (noise.near(0.1) == 0.2).all()
    assert (noise.near(1.0) == 0.5).all()
    torch.testing.assert_close(noise.near(0.3), noise.sigma)


def test_few_voxels_have_one_level_and_none_are_refused(places):
    few = places[:10]
    noise = series_noise(_energy(torch.full((10,), 0.3), FREEDOM), few, FREEDOM, few)
    assert float(noise.sigma.max() - noise.sigma.min()) == pytest.approx(0, abs=1e-12)
    with pytest.raises(DataError, match="no residual is above zero"):
        series_noise(torch.zeros(10), few, FREEDOM, few)


def test_a_single_voxel_tells_a_level_too():
    """Of a reference in a sample of one: its own residual, without numbers that are not finite."""
    with np.errstate(all="raise"):
        found = series_noise(torch.tensor([12.0]), torch.zeros(1, 3), 6, torch.zeros(1, 3))
    assert float(found.sigma[0]) == pytest.approx((12.0 / chi2.ppf(0.5, 6)) ** 0.5, rel=1e-3)
