"""Which voxels the test of the residual finds a minimum of, whatever is known of them."""

from __future__ import annotations

import pytest
import torch

from bids_brnn.estimators.network.corrected import Corrected
from bids_brnn.estimators.network.fluid import Fluid
from bids_brnn.estimators.network.lowest import Task
from bids_brnn.estimators.network.nuisances import scanned
from bids_brnn.estimators.network.search import HOPELESS, Estimates, Search
from bids_brnn.estimators.network.usual import Usual
from bids_brnn.parameters import QMT, Parameter, ParameterSet
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


def left_of(
    theta,
    task,
    others,
    *,
    white=True,
    limit=lambda _: LIMIT,
    surrogate=None,
    exact=decay,
    pool=None,
):
    surrogate = surrogate or Off()
    usual = Usual(exact, surrogate.parameters)
    corrected = Corrected(surrogate, lambda values: exact(values)[0], half=False)
    searched = Search(surrogate, exact, corrected, usual, [pool or fluid_of()], lowest_snr=1e-3)
    rest = torch.ones(len(theta))
    return searched(task, Estimates(theta, rest, others, nothing, white, limit))


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


def test_fluid_tells_noise_at_a_minimum_though_not_every_valley_is_looked_into(fluid):
    truth, data, sigma = fluid
    points = []

    def counted(theta):
        points.append(len(theta))
        return decay(theta)

    pool, surrogate = fluid_of(simulate=counted), Off()
    corrected = Corrected(surrogate, lambda values: decay(values)[0], half=False)
    search = Search(surrogate, decay, corrected, Usual(decay, PARAMETERS), [pool], 1e-3)
    task = Task(data, sigma, [0, 1], PARAMETERS.bounds(truth), 1.0, torch.inf)
    expected = pool.least_here(task, truth)[0]
    spent = []
    for usual in (1.0, LIMIT, 1.0, LIMIT):  # the first ones simulate atoms
        points.clear()
        left, fitted = search.fluid_alone(
            task, truth + torch.tensor([0.5, 10.0]), lambda _, usual=usual: usual
        )
        spent.append(sum(points))
        assert fitted == 2
        torch.testing.assert_close(left, expected, rtol=1e-3, atol=1e-3)
    assert spent[3] < spent[2] / 2


class Right(Off):
    """An imitation without an error."""

    def __call__(self, theta):
        return decay(theta)[0]

    def along(self, theta, columns, *, half):
        signal, slopes = decay(theta)
        return signal, slopes[..., columns]


def test_valleys_beside_are_scanned_finely(fluid):
    truth, data, _ = fluid
    theta = truth + torch.tensor([0.0, 37.0])
    starts, _ = scanned(Right(), data, theta, 1, [1], within=60.0)
    assert ((starts[:, 0, 1] - truth[:, 1]).abs() < 1).all(), "valleys are 4.5 rad/s apart"
    everywhere, _ = scanned(Right(), data, theta, 1, [1])
    assert ((everywhere[:, 0, 1] - truth[:, 1]).abs() > 1).any()


class Both(Off):
    """Two pools of which the second one has no effect."""

    parameters = ParameterSet(
        (*PARAMETERS, Parameter(QMT["m0s"].item, 0.0, 0.5, 0.1, "estimated"))
    )

    def along(self, theta, columns, *, half):
        signal, slopes = both(theta)
        return signal + torch.cos(40 * TIMES), slopes[..., columns]


def both(theta):
    """Signal and derivatives."""
    signal, slopes = decay(theta[:, :2])
    return signal, torch.nn.functional.pad(slopes, (0, 1))


@pytest.mark.parametrize("white", [True, False])
def test_an_empty_pool_has_the_limit_of_the_other_one(fluid, white):
    truth, data, sigma = fluid
    theta = torch.nn.functional.pad(truth, (0, 1), value=0.2)
    bounds = Both.parameters.bounds(theta)
    theta[:, 0] = 8.0  # not taken for fluid
    task = Task(data, sigma, [0, 1, 2], bounds, 1.0, HOPELESS)
    pool = Fluid(decay, PARAMETERS, (0, 1), (2,), True, 1.4)
    found = left_of(
        theta, task, [1], white=white, limit=lambda free: LIMIT if free == 2 else 1.0,
        surrogate=Both(), exact=both, pool=pool,
    )  # fmt: skip
    assert bool((found.left < 1).all()) == white
    assert bool((found.best[:, 2] == 0).all()) == white
