"""Which voxels the test of the residual finds a minimum of, whatever is known of them."""

from __future__ import annotations

import pytest
import torch

from bids_brnn.estimators.network.corrected import Corrected
from bids_brnn.estimators.network.lowest import Task
from bids_brnn.estimators.network.search import HOPELESS, Estimates, Search
from bids_brnn.estimators.network.usual import Usual
from tests.estimators.network.test_fluid import PARAMETERS, TIMES, decay, fluid_of

LIMIT = 80.0
"""46 degrees of freedom: chi-squared exceeds it in one voxel of 700."""
N = 30


class Off:
    """An imitation of a decay that is of no use."""

    parameters = PARAMETERS

    def __call__(self, theta):
        return decay(theta)[0] + torch.cos(40 * TIMES)

    def along(self, theta, columns, *, half):
        signal, slopes = decay(theta)
        return signal + torch.cos(40 * TIMES), slopes[..., columns]


def nothing(rows, start):
    """No error of a network excuses what is left."""
    return torch.full((len(rows),), torch.inf, dtype=torch.float64), start


def left_of(theta, task, others, *, white=True, limit=lambda _: LIMIT, pools=None):
    usual = Usual(decay, PARAMETERS)
    corrected = Corrected(Off(), lambda values: decay(values)[0], half=False)
    search = Search(Off(), decay, corrected, usual, pools or [fluid_of()], lowest_snr=1e-3)
    rest = torch.ones(len(theta))
    return search(task, Estimates(theta, rest, others, nothing, white, limit))


@pytest.fixture(scope="module")
def fluid():
    """Fluid, and the noise and unit data of it."""
    rng = torch.Generator().manual_seed(5)
    truth = torch.stack(
        [0.3 + torch.rand(N, generator=rng), 500 * torch.rand(N, generator=rng) - 250], -1
    )
    noise = torch.view_as_complex(torch.randn(N, len(TIMES), 2, generator=rng))
    data, size = decay(truth)[0] + 0.02 * noise, decay(truth)[0].norm(dim=-1)
    return truth, data / size[:, None], 0.02 / size


@pytest.mark.parametrize("known", [(), (1,), (0,)])
def test_fluid_is_found_whatever_is_supplied(fluid, known):
    truth, data, sigma = fluid
    free = [column for column in (0, 1) if column not in known]
    theta = torch.stack([torch.full((N,), 1.9), truth[:, 1] + 30], -1)  # of a network
    theta[:, list(known)] = truth[:, list(known)]
    task = Task(data, sigma, free, PARAMETERS.bounds(theta), LIMIT, HOPELESS * LIMIT)
    others = [column for column in free if column == 1]
    found = left_of(theta, task, others)
    assert (found.left < LIMIT).all()
    # Known values go through units of their range, in double precision.
    kept = found.best[:, list(known)], truth[:, list(known)]
    torch.testing.assert_close(*kept, rtol=1e-6, atol=1e-5)
    untried = left_of(theta, task, others, white=False)
    assert (untried.left > LIMIT).any(), "else atoms were not needed"


@pytest.mark.parametrize("n", [0, 1])
def test_few_voxels_are_searched_too(fluid, n):
    truth, data, sigma = (part[:n] for part in fluid)
    task = Task(data, sigma, [0, 1], PARAMETERS.bounds(truth), LIMIT, HOPELESS * LIMIT)
    found = left_of(truth + torch.tensor([0.5, 30.0]), task, [1])
    assert found.left.shape == (n,)
    assert (found.left < LIMIT).all()


def test_fluid_is_compared_with_the_limit_of_its_own_parameters(fluid):
    truth, data, sigma = fluid
    task = Task(data, sigma, [0, 1], PARAMETERS.bounds(truth), 1.0, HOPELESS)
    asked = []

    def limit(free):
        asked.append(free)
        return LIMIT

    found = left_of(truth + torch.tensor([0.5, 10.0]), task, [1], limit=limit)
    assert asked == [2]
    assert (found.left < 1).all(), "in units of the limit of all parameters"
