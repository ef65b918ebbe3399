"""Which voxels tell the noise of a series that holds fluid, whose residuals are no noise."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bids_brnn.estimators.network.series import noise_of_network
from tests.estimators.network.test_fluid import PARAMETERS

DEGREES, SIGMA = 20, 0.3


class Found:
    """A network whose residuals are told: those of fluid are no noise before a search."""

    amplitude = "complex"
    model = SimpleNamespace(n_samples=12)
    parameters = PARAMETERS
    looks_for_fluid = True

    def __init__(self, fluid, freedom=DEGREES):
        self.fluid, self.searched = fluid, 0
        drawn = np.random.default_rng(1).chisquare(freedom, len(fluid)) * DEGREES / freedom
        self.noise = torch.from_numpy(drawn) * SIGMA**2

    def estimate(self, data, supplied):
        rows = data[:, 0].real.long()
        rate = torch.where(self.fluid[rows], 0.5, 12.0)
        theta = torch.stack([rate, torch.zeros_like(rate)], -1)
        return SimpleNamespace(theta=theta, residual=torch.ones(len(data)))

    def norms(self, data):
        return torch.ones(len(data))

    def residual_energy(self, data, supplied, *, sigma, fluid=False):
        rows = data[:, 0].real.long()
        if fluid:
            self.searched += len(rows)
            return self.noise[rows]
        worse = torch.from_numpy(np.random.default_rng(2).uniform(1, 50, len(rows)))
        return torch.where(self.fluid[rows], worse, 1.0) * self.noise[rows]


def told_by(network):
    n = len(network.fluid)
    data = torch.arange(n).to(torch.complex64)[:, None].expand(n, 12)
    places = torch.stack([torch.arange(n) % 40, torch.arange(n) // 40], -1)
    return noise_of_network(network, data, {}, places)


@pytest.mark.parametrize(
    ("n", "share", "searched"),
    [(4000, 0.5, 0), (4000, 0.15, 0), (2000, 1.0, 500), (2000, 0.9, 450), (200, 1.0, 200)],
)
def test_fluid_tells_no_noise_before_its_minimum_is_looked_for(n, share, searched):
    network = Found(torch.arange(n) % 20 < 20 * share)
    noise = told_by(network)
    assert network.searched == searched
    assert noise.freedom == DEGREES
    # 200 voxels tell a level to 1.4 %.
    torch.testing.assert_close(noise.sigma, torch.full_like(noise.sigma, SIGMA), rtol=0.05, atol=0)


def test_a_network_that_knows_no_exact_signal_is_not_asked_to_look_for_fluid():
    network = Found(torch.ones(400, dtype=torch.bool))
    network.looks_for_fluid = False
    assert told_by(network).freedom < DEGREES / 2
    assert not network.searched


def test_residuals_that_are_no_noise_without_fluid_either_are_those_of_all():
    network = Found(torch.arange(2000) % 100 < 2, freedom=6)
    network.searched = 0
    told = told_by(network)
    assert not network.searched
    assert told.freedom == pytest.approx(6, rel=0.15)
