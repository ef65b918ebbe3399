"""A network that knows the errors of another one, on a problem whose errors are known."""

from __future__ import annotations

import torch

from bids_brnn.learning.config import Stage, TrainingConfig
from bids_brnn.learning.error_network import ErrorNetwork, likelihood, train_error_network
from bids_brnn.learning.losses import Loss
from bids_brnn.learning.networks import build_network
from bids_brnn.learning.spec import NetworkSpec
from bids_brnn.learning.training_set import TrainingSet
from bids_brnn.parameters import MapItem, Parameter, ParameterSet

N = 4000


def _parameter(name):
    return Parameter(MapItem(name, "1", "QMTmap", name), -9.0, 9.0, 0.0, "estimated")


PARAMETERS = ParameterSet((_parameter("a"), _parameter("b")))


def _problem():
    """Coefficients (4, a, b); a network that reads off a + b and b with different weights."""
    rng = torch.Generator().manual_seed(0)
    theta = torch.rand(N, 2, generator=rng) * 2 - 1
    channels = torch.cat([torch.full((N, 1), 4.0), theta], dim=1)
    data = TrainingSet(channels.to(torch.complex64), theta, torch.ones(N, 2))
    network = build_network(NetworkSpec(3, ("a", "b"), width=8, blocks=1))
    return network, data


class Sums(torch.nn.Module):
    """Inputs are normalised to unit norm; multiplied back by the first, which is known to be 4."""

    def __init__(self, network):
        super().__init__()
        self.spec, self.output_centre = network.spec, network.output_centre
        self.prepare, self.n_features = network.prepare, network.n_features
        self.weight = torch.nn.Parameter(torch.ones(1))

    def with_features(self, inputs):
        a, b = (4 * inputs[:, k] / inputs[:, 0] for k in (1, 2))
        found = torch.stack([a + 0.5 * b, b], dim=-1)
        return found, torch.cat([inputs, found], dim=-1)


def test_it_learns_deviations_and_correlations_of_errors():
    network, data = _problem()
    sums = Sums(network)
    # The truth is what the network estimates: no bias.
    truth = torch.stack([data.theta[:, 0] + 0.5 * data.theta[:, 1], data.theta[:, 1]], dim=1)
    data = TrainingSet(data.coefficients, truth, data.bound)
    config = TrainingConfig(
        stages=(Stage(Loss("mse"), 1),), snr_range=(20.0, 40.0), precision="float32"
    )
    errors = train_error_network(
        sums, data, PARAMETERS, config, ("a", "b"), width=16, blocks=1, steps=600, batch=512
    )
    inputs = sums.prepare(data.coefficients[:500], {})
    _, features = sums.with_features(inputs)
    size = data.coefficients[:500].abs().square().sum(-1).sqrt()
    found = errors.covariance(features, 1 / (30 * size))
    # Linear in the noise, sd 1/30 in each channel; the first coefficient adds little.
    first = 1 / 4 * truth[:500].abs() / 30
    expected = torch.tensor([[1.25, 0.5], [0.5, 1.0]]) / 900
    spread = found.diagonal(dim1=-2, dim2=-1).sqrt()
    wanted = (expected.diagonal() + first**2).sqrt()
    # 600 steps know a deviation to some per cent.
    assert ((spread / wanted).log().abs().mean() < 0.06).all()
    correlation = found[:, 0, 1] / spread.prod(-1)
    assert abs(float(correlation.mean()) - 0.5 / 1.25**0.5) < 0.08
    torch.testing.assert_close(errors.deviations(features, 1 / (30 * size)), spread)


def test_deviations_scale_with_the_noise_and_stay_finite():
    errors = ErrorNetwork(5, 3, width=8, blocks=1).eval()
    features = torch.randn(7, 5, generator=torch.Generator().manual_seed(1)) * 1e6
    for noise in (0.0, 1e-12, 0.1, 1e6):
        found = errors.deviations(features, torch.full((7,), noise))
        assert bool(found.isfinite().all())
    assert bool((errors.deviations(features, torch.zeros(7)) == 0).all())


def test_the_likelihood_is_that_of_a_gaussian_together_and_alone():
    rng = torch.Generator().manual_seed(2)
    errors = ErrorNetwork(4, 3, width=8, blocks=1)
    features, noise = torch.randn(6, 4, generator=rng), torch.full((6,), 0.1)
    drawn = 0.1 * torch.randn(6, 3, generator=rng)
    std, rows = errors(features, noise)
    covariance = errors.covariance(features, noise)
    joint = torch.distributions.MultivariateNormal(torch.zeros(3), covariance).log_prob(drawn)
    alone = torch.distributions.Normal(0.0, std).log_prob(drawn).sum(-1)
    constant = 3 * torch.tensor(2 * torch.pi).log()
    torch.testing.assert_close(likelihood(std, rows, drawn), -(joint + alone) - constant)
