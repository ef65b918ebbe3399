"""Chi-squared of the residual: of a straight model, that of least squares within the bounds."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import lsq_linear

from bids_brnn.estimators.network.fit_test import fit_statistic, least_within

SAMPLES, VOXELS = 10, 40
BOUNDS = (torch.tensor([0.0, 0.0, -50.0]).double(), torch.tensor([1.0, 1.0, 50.0]).double())


@pytest.fixture(scope="module")
def straight():
    """Derivatives, and noisy data of which the first parameter would leave its bounds."""
    rng = torch.Generator().manual_seed(2)
    slopes = torch.randn(SAMPLES, 3, generator=rng).double()
    truth = torch.tensor([-0.5, 0.5, 3.0]).double()
    noise = torch.randn(VOXELS, SAMPLES, generator=rng).double()
    return slopes, slopes @ truth + 0.2 * noise


def _statistic(slopes, data, std: float):
    def linearize(theta):
        signal = theta @ slopes.T
        return signal.to(torch.complex128), slopes.expand(len(theta), -1, -1).to(torch.complex128)

    start = torch.tensor([0.3, 0.3, 0.0]).double().expand(VOXELS, -1)
    return fit_statistic(
        linearize, data.to(torch.complex128), start, ([0, 1], [2]),
        torch.full((VOXELS, 2), std), torch.full((VOXELS,), 0.2).double(), 14.0, BOUNDS, "one",
    )  # fmt: skip


def _least_squares(slopes, data, bounds=BOUNDS):
    limits = tuple(bound.numpy() for bound in bounds)
    costs = [2 * lsq_linear(slopes.numpy(), row.numpy(), limits, tol=1e-12).cost for row in data]
    return torch.tensor(costs).double() / 0.2**2


def test_parameters_that_the_network_tells_stay_between_their_bounds(straight):
    found, best = _statistic(*straight, std=1e3)
    expected = _least_squares(*straight)
    # The errors of the network count as 1e-6 of the information of the data
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert (best >= BOUNDS[0]).all()
    wide = (BOUNDS[0] - 100, BOUNDS[1] + 100)
    assert (found > _least_squares(*straight, wide) + 1).double().mean() > 0.9


def test_the_statistic_is_never_below_least_squares(straight):
    found, _ = _statistic(*straight, std=0.1)
    assert (found >= _least_squares(*straight) - 1e-6).all()


def test_several_parameters_at_their_bounds_leave_what_scipy_leaves():
    rng = torch.Generator().manual_seed(3)
    matrix = torch.randn(VOXELS, 12, 6, generator=rng).double()
    data = 3 * torch.randn(VOXELS, 12, generator=rng).double()
    low = -0.5 * torch.rand(VOXELS, 6, generator=rng).double()
    high = torch.full((6,), 0.3).double()
    found = least_within(
        matrix.mT @ matrix, (matrix.mT @ data[..., None])[..., 0], (low, high.expand(VOXELS, -1))
    )
    assert ((found >= low) & (found <= high)).all()
    expected = [
        2 * lsq_linear(*(part.numpy() for part in voxel), (least.numpy(), high.numpy())).cost
        for *voxel, least in zip(matrix, data, low, strict=True)
    ]
    left = (data - (matrix @ found[..., None])[..., 0]).square().sum(-1)
    # SciPy stops 1e-10 above the minimum. Several bounds are in the way in most voxels.
    torch.testing.assert_close(left, torch.tensor(expected).double(), rtol=1e-6, atol=0.0)
    at_bound = (found == low) | (found == high)
    assert (at_bound.sum(-1) > 1).double().mean() > 0.9
