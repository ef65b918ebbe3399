"""Least squares of the test of the residual, against SciPy's in the same bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from bids_brnn.estimators.network.lowest import Task, lowest, raced
from bids_brnn.signals.base import forward_derivatives

TIMES = torch.linspace(0, 1, 12).double()
SIGMA, VOXELS = 0.02, 30
LIMIT = 2 * len(TIMES) - 5 + 10.0
LOW, HIGH = torch.tensor([0.5, -2.0, 0.0]).double(), torch.tensor([4.0, 2.0, 1.0]).double()


def signal(theta):
    """A decay that rotates, and a constant beside it."""
    rate, turn, share = theta[..., None].unbind(-2)
    return torch.exp(torch.complex(-rate * TIMES, turn * TIMES)) + share


@pytest.fixture(scope="module")
def noisy():
    """Voxels of which every third one has a share below its bound."""
    rng = torch.Generator().manual_seed(5)
    theta = LOW + torch.rand(VOXELS, 3, generator=rng).double() * (HIGH - LOW)
    theta[::3, 2] = -0.3
    noise = torch.randn(VOXELS, len(TIMES), 2, generator=rng).double() * SIGMA
    return (0.7 + 0.4j) * signal(theta) + torch.view_as_complex(noise)


def _task(data, enough):
    sigma = torch.full((len(data),), SIGMA).double()
    return Task(data, sigma, [0, 1, 2], (LOW, HIGH), enough, torch.inf)


def _left(data, theta):
    """Residual over sigma with M0 solved for, as SciPy wants it."""
    values = signal(torch.from_numpy(theta)).numpy()
    rest = data - values * (np.vdot(values, data) / np.vdot(values, values))
    return np.concatenate([rest.real, rest.imag]) / SIGMA


def test_no_more_is_left_than_scipy_leaves_within_the_bounds(noisy):
    start = ((LOW + HIGH) / 2).expand(VOXELS, -1)
    found, best = lowest(
        lambda theta, _: forward_derivatives(signal, theta), _task(noisy, 1e-3), start, 30
    )
    expected = [
        2
        * least_squares(lambda at, d=row: _left(d, at), start[0].numpy(), bounds=(LOW, HIGH)).cost
        for row in noisy.numpy()
    ]
    # An iteration ends where a step promises less than 1e-5; SciPy's may end in another minimum.
    ratio = found.numpy() / np.array(expected)
    assert ratio.max() < 1 + 1e-3
    assert (ratio > 1 - 1e-3).mean() > 0.9
    assert ((best >= LOW) & (best <= HIGH)).all()
    assert (best[::3, 2] == LOW[2]).sum() > VOXELS // 6


def test_no_voxel_is_simulated_after_it_is_decided(noisy):
    counts = torch.zeros(VOXELS, dtype=torch.long)

    def counted(theta, rows):
        counts[rows] += 1
        return forward_derivatives(signal, theta)

    start = ((LOW + HIGH) / 2).expand(VOXELS, -1)
    found, _ = lowest(counted, _task(noisy, LIMIT), start, 30)
    least, _ = lowest(lambda at, _: forward_derivatives(signal, at), _task(noisy, 1e-3), start, 30)
    assert torch.equal(found <= LIMIT, least <= LIMIT)
    assert counts[found > LIMIT].max() > counts[found <= LIMIT].min()
    counts.zero_()
    lowest(counted, _task(noisy, 1e9), start, 30)
    assert (counts == 1).all()


def test_a_race_ends_where_its_best_start_does_and_asks_less_of_the_others(noisy):
    rng = torch.Generator().manual_seed(8)
    starts = LOW + torch.rand(VOXELS, 12, 3, generator=rng).double() * (HIGH - LOW)
    counts = torch.zeros(VOXELS, dtype=torch.long)

    def counted(theta, rows):
        counts.index_add_(0, rows, torch.ones_like(rows))
        return forward_derivatives(signal, theta)

    task = _task(noisy, 1e-3)
    left, best = raced(counted, task, starts, ((0, 6), (3, 2), (30, 1)))
    each, _ = lowest(
        lambda theta, _: forward_derivatives(signal, theta),
        task.rows(torch.arange(VOXELS).repeat_interleave(12)), starts.flatten(0, 1), 30,
    )  # fmt: skip
    least = each.view(VOXELS, 12).min(1).values
    assert (left < least * (1 + 1e-3)).double().mean() > 0.9
    assert counts.max() <= 12 + 6 * 3 + 2 * 30 < 12 * 30
    rest = lowest(lambda at, _: forward_derivatives(signal, at), task, best, 1)[0]
    torch.testing.assert_close(rest, left)
