"""What is said of a network follows the loss that it was trained with."""

from __future__ import annotations

from typing import get_args

import pytest

from bids_brnn.learning.loss_words import loss_words
from bids_brnn.learning.losses import LossName
from bids_brnn.zoo.card import LOSSES_BY_PREFERENCE


@pytest.mark.parametrize("name", get_args(LossName))
def test_every_loss_has_words(name):
    words = loss_words({"name": name, "weight": 1.0})
    assert words.short
    assert words.short in words.algorithm
    assert words.short in words.methods
    assert name in LOSSES_BY_PREFERENCE


@pytest.mark.parametrize(
    ("loss", "limits"),
    [
        ({"name": "mse"}, False),
        ({"name": "mse-crb", "weight": 1.0}, False),
        ({"name": "bias-reduced", "weight": 1.0}, True),
        ({"name": "bias-constrained", "weight": 1.0}, True),
        ({"name": "bias-constrained", "weight": 0.0}, False),
        ({"name": "efficient", "weight": 0.0, "excess": 0.0}, False),
        ({"name": "efficient", "weight": 8.0, "excess": 1.0}, True),
        ({"name": "of tomorrow"}, False),
        ({}, False),
    ],
)
def test_bias_is_spoken_of_where_it_is_part_of_the_loss(loss, limits):
    words = loss_words(loss)
    assert words.limits_bias == limits
    assert ("bias-reduced" in words.algorithm) == limits
    assert ("squared bias" in words.methods) == limits
    assert ("not penalised" in words.methods) == (not limits and bool(loss))


def test_variance_is_spoken_of_where_it_costs_something():
    assert "variance" not in loss_words({"name": "efficient", "weight": 8.0}).methods
    words = loss_words({"name": "efficient", "weight": 8.0, "excess": 1.0, "slack": 1.2})
    assert "the variance above 1.2 bounds" in words.methods
