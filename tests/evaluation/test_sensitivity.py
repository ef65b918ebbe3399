"""The slope of the expected estimate, on estimators whose slope is known."""

from __future__ import annotations

import pytest
import torch

from bids_brnn.errors import DataError
from bids_brnn.evaluation.sensitivity import sensitivity
from tests.estimators.network.test_network import Polynomial

THETA = torch.tensor([[0.5, -0.4, 1.0], [0.3, 0.6, 0.8]], dtype=torch.float64)


def _slopes(estimate, **options):
    defaults = {"draws": 400, "rng": torch.Generator().manual_seed(3)}
    return sensitivity(estimate, Polynomial(), THETA, [0, 1], 50.0, **{**defaults, **options})


def _ratios(coefficients):
    return (coefficients[:, 1:3] / coefficients[:, :1]).real


def test_an_estimator_that_follows_has_slope_one_and_no_cross_terms():
    found = _slopes(lambda data, theta: _ratios(data))
    # Noise is the same on both sides: 400 draws know the slope of a ratio to 0.01.
    assert bool(((found.own - 1).abs() < 4 * found.own_error + 1e-6).all())
    assert found.own_error.max() < 0.01
    cross = found.cross[:, [0, 1], [1, 0]]
    assert cross.abs().max() < 0.02


def test_shrinking_to_a_point_shows_even_where_there_is_no_bias():
    centre = THETA[0, :2].float()
    found = _slopes(lambda data, theta: centre + 0.5 * (_ratios(data) - centre))
    assert abs(float(found.bias[0].abs().max())) < 0.01
    torch.testing.assert_close(found.own[0], torch.full((2,), 0.5).double(), atol=0.01, rtol=0)
    # Half the slope at half the deviation: what counts is their ratio.
    plain = _slopes(lambda data, theta: _ratios(data))
    torch.testing.assert_close(found.std / found.own, plain.std / plain.own, rtol=1e-3, atol=0)


def test_what_leaks_from_one_parameter_into_another_is_told_in_deviations():
    found = _slopes(lambda data, theta: _ratios(data) @ torch.tensor([[1.0, 0.0], [0.3, 1.0]]))
    expected = 0.3 * found.bound[:, 1] / found.bound[:, 0]
    torch.testing.assert_close(found.cross[:, 0, 1], expected, atol=0.02, rtol=0)


def test_batches_change_nothing():
    whole = _slopes(lambda data, theta: _ratios(data))
    parts = _slopes(lambda data, theta: _ratios(data), batch=77)
    torch.testing.assert_close(whole.own, parts.own)


def test_a_fingerprint_on_a_bound_is_refused():
    theta = THETA.clone()
    theta[1, 0] = 2.0
    with pytest.raises(DataError, match="fingerprint 1: a lies within"):
        sensitivity(
            lambda data, theta: _ratios(data), Polynomial(), theta, [0, 1], 50.0, draws=10,
            rng=torch.Generator(),
        )  # fmt: skip
