"""Shipped models fit the series that the package itself makes, and reach what their cards say."""

from __future__ import annotations

import pytest
import torch

from bids_brnn.information.bounds import cramer_rao_bound
from bids_brnn.information.noise import add_noise
from bids_brnn.phantom.series import mrf_series, qmt_series
from bids_brnn.priors import tissue_values
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
from bids_brnn.zoo.match import load_network
from bids_brnn.zoo.places import SHIPPED
from bids_brnn.zoo.store import list_cards

NAMES = {card.name for _, card in list_cards([SHIPPED])}
DRAWS = 2000


def _tissue(model, tissue: str, snr: float):
    """Truth, noisy data and bounds of one tissue."""
    theta = tissue_values(model.parameters, tissue, torch.zeros(1, dtype=torch.float64))
    signal = model(theta[None]).to(torch.complex64)
    rng = torch.Generator().manual_seed(0)
    data = add_noise(signal.expand(DRAWS, -1), snr, rng=rng)
    return theta, data, cramer_rao_bound(model, theta[None])[0].sqrt() / snr


@pytest.mark.parametrize("tissue", ["WM", "GM"])
def test_fingerprinting_from_time_frames_is_unbiased_and_efficient(tissue):
    model = mrf_series(jiang_like_train()).model
    theta, data, bound = _tissue(model, tissue, 30.0)
    estimator = load_network(model, "fisp", spread="jacobian", precision="float32")
    result = estimator.estimate(data, sigma=1 / 30)
    for column in (0, 1):
        # 2000 draws know a mean to 0.022 and a std to 1.6 % of the bound
        bias = (result.theta[:, column].mean() - theta[column]) / bound[column]
        assert abs(float(bias)) < 0.2
        std = float(result.theta[:, column].std() / bound[column])
        assert std == pytest.approx(1.0, abs=0.08)
        assert float(result.std[:, column].mean() / bound[column]) == pytest.approx(std, abs=0.08)
    assert float((result.quality["distance"] > 1).double().mean()) < 0.05


def test_qmt_of_the_demo_finds_its_network():
    model = qmt_series(hybrid_state_train(), 15).model
    theta, data, bound = _tissue(model, "WM", 30.0)
    result = load_network(model, "gbloch", precision="float32").estimate(data, sigma=1 / 30)
    columns = model.parameters.columns("estimated")
    bias = (result.theta.mean(0) - theta)[columns] / bound[columns]
    assert float(bias.abs().max()) < 1.0
    spread = result.theta.std(0)[columns] / bound[columns]
    assert float(spread.max()) < 1.2
    assert float((result.quality["distance"] > 1).double().mean()) < 0.05


def test_every_shipped_model_has_its_comparison():
    # Of the published method: for pulse trains.
    plain = {
        name for name in NAMES if not name.endswith("-msecrb") and not name.startswith("spgr")
    }
    assert {name + "-msecrb" for name in plain} <= NAMES


def test_shipped_cards_tell_loss_and_field_strength():
    for _, card in list_cards([SHIPPED]):
        assert card.field_strength == 3.0
        assert card.last_loss["name"] == card.loss
        assert "weight" in card.last_loss
