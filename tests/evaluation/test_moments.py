"""Statistics of estimators whose bias and variance are known."""

from __future__ import annotations

import pytest
import torch

from bids_brnn.evaluation import moments as evaluate
from bids_brnn.learning.critic import VarianceCritic
from bids_brnn.learning.training_set import TrainingSet
from bids_brnn.parameters import BALANCED, QMT


def _shrunk(factor: float):
    """Reads the slope off the data and multiplies it: linear in the noise."""

    def estimate(coefficients, theta):
        return factor * (coefficients[:, 1:] / coefficients[:, :1]).real

    return estimate


def _moments(line, factor, draws):
    data = line.data[:400]
    snr = torch.full((400,), 50.0)
    rng = torch.Generator().manual_seed(0)
    return data, evaluate.moments(_shrunk(factor), data, [0], snr, draws=draws, rng=rng)


def test_an_efficient_estimator_has_no_squared_bias_and_unit_variance(line):
    _, found = _moments(line, 1.0, 200)
    # 400 fingerprints x 200 draws: standard errors 0.0004 and 0.005
    assert float(found.squared_bias_over_bound.mean()) == pytest.approx(0.0, abs=0.002)
    assert float(found.variance_over_bound.mean()) == pytest.approx(1.0, abs=0.02)


def test_the_correction_for_few_draws_does_not_depend_on_their_number(line):
    for draws in (4, 100):
        data, found = _moments(line, 0.5, draws)
        expected = (0.5 * data.theta).square() * 50**2
        assert float(found.squared_bias_over_bound.mean()) == pytest.approx(
            float(expected.mean()), abs=0.05
        )
        assert float(found.variance_over_bound.mean()) == pytest.approx(0.25, rel=0.1)


def test_batches_do_not_change_the_draws(line):
    data = line.data[:20]
    snr = torch.full((20,), 30.0)
    one, other = (
        evaluate.moments(
            _shrunk(1.0), data, [0], snr, draws=10,
            rng=torch.Generator().manual_seed(2), batch=batch,
        )
        for batch in (10_000, 200)
    )  # fmt: skip
    torch.testing.assert_close(one.bias, other.bias)


def test_summaries_hold_means_and_shares(line):
    _, found = _moments(line, 1.2, 100)
    table = evaluate.summarise(found, ["slope"])
    assert set(table) == {"slope", "all"}
    assert table["slope"]["variance_over_crb"] == pytest.approx(1.44, rel=0.05)
    assert table["slope"]["variance_above_1.1"] > 0.85  # 100 draws know a variance to 14 %
    low, *_, high = table["slope"]["variance_over_crb_quantiles"]
    assert low < table["slope"]["variance_over_crb"] < high
    assert table["all"]["squared_bias_over_crb"] == table["slope"]["squared_bias_over_crb"]


def test_curves_give_percent_of_the_truth(line):
    tissue = line.data[:1]
    truth = float(tissue.theta[0, 0])
    table = evaluate.snr_curves(
        _shrunk(0.9), tissue, [0], ["slope"], [20.0, 40.0], draws=20_000,
        rng=torch.Generator().manual_seed(1), unbiased=torch.tensor([[4.0], [1.0]]) * truth**2,
    )  # fmt: skip
    errors = table["slope"]["bias_percent_standard_error"]
    for bias, error in zip(table["slope"]["bias_percent"], errors, strict=True):
        assert bias == pytest.approx(-10.0, abs=4 * error + 1)
    assert table["slope"]["std_over_bound"] == pytest.approx([0.9, 0.9], rel=0.03)
    expected = [100 / snr / abs(truth) for snr in (20, 40)]
    assert [abs(b) for b in table["slope"]["bound_percent"]] == pytest.approx(expected, rel=0.01)
    assert [abs(b) for b in table["slope"]["unbiased_percent"]] == pytest.approx([200, 100])


def test_sweeps_keep_the_order_of_the_swept_values(line):
    table = evaluate.sweep(
        _shrunk(1.0), line.data[:3], 0, [0], ["slope"], 20.0, draws=100,
        rng=torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert table["swept"] == pytest.approx(line.data.theta[:3, 0].tolist(), rel=1e-3)
    assert len(table["slope"]["bias"]) == 3


def test_the_difference_of_two_precisions_is_in_units_of_the_bound(line):
    offset = 0.03 / 50  # 0.03 standard deviations at SNR 50
    found = evaluate.precision_error(
        _shrunk(1.0), lambda c, t: _shrunk(1.0)(c, t) + offset, line.data[:500], [0], 50.0,
        rng=torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert found["rms"] == pytest.approx(0.03, rel=0.01)


def test_the_critic_learns_the_mean_of_noisy_variances():
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    theta = torch.rand(4000, 2, generator=rng)
    snr = torch.full((4000,), 20.0)
    truth = (0.5 + theta[:, :1]).repeat(1, 2)
    critic = VarianceCritic(2, 2, width=16)
    critic.standardise(theta)
    assert torch.equal(critic(theta, snr), torch.ones(4000, 2))
    optimiser = torch.optim.Adam(critic.parameters(), lr=1e-2)
    for _ in range(200):
        seen = truth * torch.randn(4000, 2, generator=rng).square()  # one degree of freedom
        loss = critic.loss(critic(theta, snr), seen)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    error = (critic(theta, snr).detach() / truth - 1).abs().mean()
    assert error < 0.05


@pytest.mark.parametrize("parameters", [QMT, BALANCED], ids=["two pools", "one pool"])
def test_the_band_is_a_share_of_the_range_of_off_resonance(parameters):
    theta = parameters.start(torch.zeros(1)).repeat(5, 1)
    column, edge = parameters.index(("w0",))[0], parameters["w0"].upper
    theta[:, column] = edge * torch.tensor([-0.7, -0.5, 0.0, 0.59, 0.61])
    data = TrainingSet(torch.ones(5, 3, dtype=torch.complex64), theta, torch.ones_like(theta))
    kept = evaluate.in_band(data, parameters).theta[:, column]
    assert kept.tolist() == theta[1:4, column].tolist()
