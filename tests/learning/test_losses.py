"""Losses on Gaussian estimates whose bias and variance are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.learning.losses import (
    Loss,
    bias_constrained,
    bias_reduced,
    efficient_regression,
    mean_squared_error,
    weighted_mse,
)
from bids_brnn.learning.statistics import mirrored_noise, squared_bias, variance

BOUND = torch.tensor([4.0, 1e-10])  # very different units, like R2f and T2s
N = 20_000  # fingerprints: statistical errors of the means below 1 %


def _estimates(bias: float, std: float, draws: int, *, mirrored: bool = False) -> tuple:
    """Linear estimator with bias and std in units of the bound's root."""
    rng = torch.Generator().manual_seed(draws)

    def draw(n: int) -> Tensor:
        return torch.randn(n, N, 2, generator=rng)

    noise = mirrored_noise(draw, draws, mirrored=mirrored)
    truth = BOUND.sqrt() * torch.randn(N, 2, generator=rng)
    return truth + BOUND.sqrt() * (bias + std * noise), truth, BOUND.expand(N, 2)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("draws", [4, 8])
def test_the_unbiased_squared_bias_and_variance_have_no_floor(draws, mirrored):
    estimates, truth, bound = _estimates(0.3, 0.9, draws, mirrored=mirrored)
    bias = (squared_bias(estimates, truth, mirrored=mirrored) / bound).mean(0)
    spread = (variance(estimates, mirrored=mirrored) / bound).mean(0)
    torch.testing.assert_close(bias, torch.full((2,), 0.09), rtol=0.1, atol=0)
    torch.testing.assert_close(spread, torch.full((2,), 0.81), rtol=0.03, atol=0)


@pytest.mark.parametrize("draws", [4, 16])
def test_the_published_squared_bias_has_a_floor_of_variance_over_draws(draws):
    estimates, truth, bound = _estimates(0.3, 0.9, draws)
    bias = (squared_bias(estimates, truth, unbiased=False) / bound).mean(0)
    torch.testing.assert_close(bias, torch.full((2,), 0.09 + 0.81 / draws), rtol=0.05, atol=0)


@pytest.mark.parametrize("mirrored", [False, True])
def test_efficient_regression_is_zero_for_the_efficient_estimator_only(mirrored):
    estimates, truth, bound = _estimates(0.0, 1.0, 4, mirrored=mirrored)
    loss = efficient_regression(estimates, estimates, bound, weight=4.0, mirrored=mirrored)
    torch.testing.assert_close(loss, torch.zeros(2), rtol=0, atol=0)
    shrunk = truth + 0.8 * (estimates - truth) + 0.3 * BOUND.sqrt()
    # 0.2^2 of the variance, and the squared bias once as error and four times as penalty
    loss = efficient_regression(shrunk, estimates, bound, weight=4.0, mirrored=mirrored)
    torch.testing.assert_close(loss, torch.full((2,), 0.04 + 5 * 0.09), rtol=0.02, atol=0)


def test_the_efficient_loss_asks_for_its_target():
    with pytest.raises(DataError, match="efficient estimates"):
        Loss("efficient")(*_estimates(0.0, 1.0, 4))


def test_mirrored_draws_know_the_bias_of_a_linear_estimator_exactly():
    estimates, truth, bound = _estimates(0.3, 0.9, 4, mirrored=True)
    bias = squared_bias(estimates, truth, mirrored=True) / bound
    # round-off of float32 differences; independent draws scatter by 0.5 here
    torch.testing.assert_close(bias, torch.full((N, 2), 0.09), rtol=1e-3, atol=0)


def test_even_parts_of_the_noise_count_as_variance_too():
    rng = torch.Generator().manual_seed(1)
    noise = mirrored_noise(lambda n: torch.randn(n, N, 1, generator=rng), 6, mirrored=True)
    estimates = noise + 0.5 * noise.square()  # Var = 1 + 0.25 * 2
    assert float(variance(estimates, mirrored=True).mean()) == pytest.approx(1.5, rel=0.03)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_hinge_with_a_known_variance_is_exact(mirrored):
    for std, expected in ((0.9, 0.0), (1.2, 0.44)):
        estimates, truth, bound = _estimates(0.3, std, 4, mirrored=mirrored)
        known = torch.full((N, 2), std**2)
        loss = bias_reduced(
            estimates, truth, bound, mirrored=mirrored, expected_variance=known, weight=2.0
        )
        torch.testing.assert_close(loss, torch.full((2,), 0.09 + 2 * expected), rtol=0.1, atol=0)


def test_a_hinge_on_the_noisy_variance_charges_an_estimator_below_the_slack():
    estimates, truth, bound = _estimates(0.0, 0.95, 8)
    plain = bias_reduced(estimates, truth, bound, unbiased=False)
    gated = bias_reduced(estimates, truth, bound)
    known = bias_reduced(estimates, truth, bound, expected_variance=torch.full((N, 2), 0.95**2))
    assert (plain > 0.2).all()  # floor 1/8 of the bias and an open hinge
    assert (gated.abs() < 0.1).all()
    assert (known.abs() < 0.01).all()


def test_a_larger_slack_and_a_smaller_weight_charge_less():
    estimates, truth, bound = _estimates(0.0, 1.5, 16)
    full = bias_reduced(estimates, truth, bound, unbiased=False)
    assert (bias_reduced(estimates, truth, bound, unbiased=False, slack=2.0) < full).all()
    assert (bias_reduced(estimates, truth, bound, unbiased=False, weight=0.1) < full).all()


def test_squared_errors_split_into_bias_and_variance():
    estimates, truth, bound = _estimates(0.3, 0.9, 8)
    expected = 0.09 + 0.81
    torch.testing.assert_close(
        weighted_mse(estimates, truth, bound), torch.full((2,), expected), rtol=0.03, atol=0
    )
    torch.testing.assert_close(
        mean_squared_error(estimates, truth), BOUND * expected, rtol=0.03, atol=0
    )
    constrained = bias_constrained(estimates, truth, bound, weight=10.0)
    torch.testing.assert_close(constrained, torch.full((2,), expected + 0.9), rtol=0.06, atol=0)


@pytest.mark.parametrize("name", ["mse", "mse-crb", "bias-constrained", "bias-reduced"])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("unbiased", [False, True])
def test_every_loss_is_finite_with_the_fewest_realisations_and_an_infinite_bound(
    name, mirrored, unbiased
):
    loss = Loss(name, mirrored=mirrored, unbiased=unbiased, gate="halves")
    estimates, truth, bound = _estimates(0.1, 1.0, loss.fewest_realisations, mirrored=mirrored)
    bound = bound.clone()
    bound[:100] = torch.inf
    estimates.requires_grad_()
    value = loss(estimates, truth, bound).sum()
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(estimates.grad).all()
    assert estimates.grad.abs().max() > 0


def test_too_few_realisations_and_unknown_names_are_refused():
    estimates, truth, bound = _estimates(0.0, 1.0, 1)
    with pytest.raises(DataError, match="two independent draws"):
        bias_reduced(estimates, truth, bound, expected_variance=bound)
    with pytest.raises(DataError, match="at least four"):
        bias_reduced(*_estimates(0.0, 1.0, 3))
    with pytest.raises(DataError, match="even number"):
        squared_bias(*_estimates(0.0, 1.0, 3)[:2], mirrored=True)
    with pytest.raises(DataError, match="bias-reduced"):
        Loss("huber")
