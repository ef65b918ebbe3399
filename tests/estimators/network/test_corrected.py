"""Least squares on a surrogate that exact signals correct, against those of the exact signal."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from bids_brnn.estimators.network.corrected import Corrected, Minimum
from bids_brnn.estimators.network.lowest import Task, lowest
from bids_brnn.signals.base import forward_derivatives

TIMES = torch.linspace(0, 1, 12)
SIGMA, VOXELS = 0.02, 60
LIMIT = 36.0  # chi-squared of 19 degrees of freedom exceeds it in 1 % of voxels
LOW, HIGH = torch.tensor([0.5, -2.0, 0.0]), torch.tensor([4.0, 2.0, 1.0])


def exact(theta):
    """A decay that rotates, and a constant beside it."""
    rate, turn, share = theta[..., None].unbind(-2)
    return torch.exp(torch.complex(-rate * TIMES, turn * TIMES)) + share


def surrogate_of(error):
    """The exact signal and an ``error`` ``(v, R)`` that ``theta`` decides."""

    def signal(theta):
        return exact(theta) + error(theta)

    def along(theta, columns, *, half):
        assert not half
        value, slopes = forward_derivatives(signal, theta)
        return value, slopes[..., columns]

    class Surrogate:
        __call__ = staticmethod(signal)

    Surrogate.along = staticmethod(along)
    return Surrogate()


def steady(theta):
    return 0.02j * torch.cos(9 * TIMES) + 0 * theta[..., :1]


def wild(theta):
    return 0.1 * torch.sin(9 * theta[..., :1] + 20 * TIMES)


@pytest.fixture(scope="module")
def voxels():
    """Noisy data and where to begin; every third voxel has something that no parameter makes."""
    rng = torch.Generator().manual_seed(11)
    theta = LOW + (0.3 + 0.4 * torch.rand(VOXELS, 3, generator=rng)) * (HIGH - LOW)
    noise = torch.view_as_complex(SIGMA * torch.randn(VOXELS, len(TIMES), 2, generator=rng))
    data = (0.7 + 0.4j) * exact(theta) + noise
    data[::3] += 0.1 * torch.cos(14 * TIMES)
    start = theta + 0.05 * (HIGH - LOW) * torch.randn(theta.shape, generator=rng)
    task = Task(data, torch.full((VOXELS,), SIGMA), [0, 1, 2], (LOW, HIGH), LIMIT, 15 * LIMIT)
    return task, start


def _left(task, theta):
    signal = exact(theta)
    m0 = (signal.conj() * task.data).sum(-1) / signal.abs().square().sum(-1)
    return (task.data - m0[:, None] * signal).abs().square().sum(-1).double() / SIGMA**2


def _exactly(task, start):
    all_of_it = Task(task.data, task.sigma, task.free, task.bounds, 1e-3, torch.inf)
    return lowest(lambda theta, _: forward_derivatives(exact, theta), all_of_it, start, 30)[0]


def _counted(error):
    """Of a surrogate with that ``error``, and how many exact signals it has asked for."""
    asked = SimpleNamespace(n=0)

    def signal(theta):
        asked.n += len(theta)
        return exact(theta)

    return Corrected(surrogate_of(error), signal, half=False), asked


@pytest.mark.parametrize("error", [steady, wild])
def test_a_voxel_passes_only_by_an_exact_signal_within_the_bounds(voxels, error):
    task, start = voxels
    found = _counted(error)[0].minimum(task, start)
    passed = found.left <= LIMIT
    assert passed.any()
    # Round-off of single precision
    torch.testing.assert_close(
        found.left[passed], _left(task, found.best)[passed], rtol=1e-4, atol=0.0
    )
    assert ((found.best >= LOW) & (found.best <= HIGH)).all()
    assert found.settled[passed].all()


def test_a_steady_error_of_the_surrogate_changes_no_decision(voxels):
    task, start = voxels
    corrected, asked = _counted(steady)
    found = corrected.minimum(task, start)
    least = _exactly(task, start)
    assert found.settled.double().mean() > 0.9  # the others are within 10 % of the limit
    assert torch.equal(found.left[found.settled] <= LIMIT, (least <= LIMIT)[found.settled])
    assert 10 < int((found.left > LIMIT).sum()) < VOXELS // 2
    assert asked.n <= 3 * VOXELS
    above = found.settled & (found.left > LIMIT)
    # Iterations end where a step promises less than 1 % of the limit.
    torch.testing.assert_close(found.left[above], least[above], rtol=0.02, atol=0.0)


def test_a_surrogate_that_is_far_off_decides_against_no_voxel(voxels):
    task, start = voxels
    found = _counted(wild)[0].minimum(task, start)
    far = found.error > LIMIT
    assert far.double().mean() > 0.9
    assert not (found.settled & far & (found.left > LIMIT)).any()


def test_what_is_lower_is_taken_over():
    def of(left, best, settled):
        values = torch.tensor(left).double()
        return Minimum(values, torch.tensor(best)[:, None], torch.tensor(settled), values * 0)

    found = of([3.0, 9.0, 5.0], [0.1, 0.2, 0.3], [False, False, True])
    found.lower(torch.tensor([1, 2]), of([4.0, 6.0], [0.5, 0.6], [True, False]))
    assert found.left.tolist() == [3.0, 4.0, 5.0]
    assert found.settled.tolist() == [False, True, True]
    torch.testing.assert_close(found.best[:, 0], torch.tensor([0.1, 0.5, 0.3]))
