"""A share of fluid where one compartment does not explain the data: fraction, tissue, std."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binom

from bids_brnn.estimators.csf import TAKEN_BY_CHANCE, CsfEstimator, fluid_mixture
from bids_brnn.estimators.maps import named_maps
from bids_brnn.estimators.network.unmixing import moved_by, promise
from bids_brnn.estimators.nlls.estimator import NllsEstimator
from bids_brnn.estimators.series_noise import SeriesNoise
from bids_brnn.priors import tissue_values
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.signals.base import forward_derivatives
from bids_brnn.signals.mixture import FRACTION
from bids_brnn.signals.one_pool.fisp import EpgFisp
from bids_brnn.signals.subspace import CompressedSignal, Subspace
from bids_brnn.zoo.recipe import EstimatorRecipe

DRAWS = 60
SNR = 60.0


@pytest.fixture(scope="module")
def mixture():
    model = EpgFisp(jiang_like_train(300))
    rng = torch.Generator().manual_seed(0)
    lower, upper = torch.tensor([0.2, 0.5, 0.8]), torch.tensor([2.0, 25.0, 1.2])
    theta = (lower + (upper - lower) * torch.rand(200, 3, generator=rng)).double()
    return fluid_mixture(CompressedSignal(model, Subspace.from_model(model, theta, 8)), "MRFmap")


def _voxels(mixture, fraction: float, seed: int = 1):
    like = torch.zeros((), dtype=torch.float64)
    tissue = tissue_values(mixture.model.parameters, "WM", like)
    theta = torch.cat([tissue, tissue.new_tensor([fraction])])[None]
    signal = mixture(theta).repeat(DRAWS, 1)
    noise = torch.randn(*signal.shape, 2, generator=torch.Generator().manual_seed(seed)).double()
    return theta[0], signal + torch.view_as_complex(noise) / SNR, {"B1": torch.ones(DRAWS)}


def test_the_derivatives_of_a_mixture_are_those_of_its_signal(mixture):
    theta, _, _ = _voxels(mixture, 0.3)
    theta = theta[None] * torch.tensor([1.0, 1.1, 0.95, 1.0])
    signal, slopes = mixture.linearize(theta)
    expected, by_forward = forward_derivatives(mixture, theta)
    torch.testing.assert_close(signal, expected)
    # Two ways to the same derivative, in double precision
    torch.testing.assert_close(slopes, by_forward, rtol=1e-6, atol=1e-9)


def test_fraction_and_tissue_are_found_with_their_deviations(mixture):
    theta, data, known = _voxels(mixture, 0.3)
    found = CsfEstimator(NllsEstimator(mixture.model), mixture).estimate(
        data, known, sigma=1 / SNR
    )
    assert found.quality["csf"].all()
    columns = mixture.parameters.index(("R1", "R2", FRACTION))
    away = (found.theta[:, columns] - theta[columns]) / found.std[:, columns]
    # The mean of 60 draws has a standard error of 0.13; bias of second order is below that
    assert float(away.mean(0).abs().max()) < 0.5
    # The spread of 60 draws is known to 9 %
    assert float(away.std(0).min()) > 0.7
    assert float(away.std(0).max()) < 1.35
    alone = NllsEstimator(mixture.model).estimate(data, known, sigma=1 / SNR).theta
    assert (alone[:, 1].mean() - theta[1]).abs() > 5 * (found.theta[:, 1].mean() - theta[1]).abs()


def test_round_off_makes_no_gain_of_a_fraction_negative(mixture):
    """One such voxel would make the middle of what a series asks for NaN, and hide all fluid."""
    theta, _, _ = _voxels(mixture, 0.0)
    signal, slopes = mixture.linearize(theta.repeat(400, 1))
    rng = torch.Generator().manual_seed(1)
    # Nearly all that is left lies along the tissue, so that the gain is a difference of 1e12s.
    along = 1e3 * torch.randn(len(signal), 2, generator=rng).to(slopes.dtype)
    noise = torch.randn(*signal.shape, 2, generator=rng).double() * 1e-5
    data = signal + (slopes[..., :2] @ along[..., None])[..., 0] + torch.view_as_complex(noise)
    tissue, ones = theta[:-1].repeat(400, 1), torch.ones(400)
    _, gain = promise(mixture, tissue, data, {"B1": ones}, 1e-5 * ones.double())
    assert (gain >= 0).all()
    assert (gain > 0).any()


def test_tissue_alone_stays_as_it_is(mixture):
    _, data, known = _voxels(mixture, 0.0)
    base = NllsEstimator(mixture.model)
    plain = base.estimate(data, known, sigma=1 / SNR)
    found = CsfEstimator(base, mixture).estimate(data, known, sigma=1 / SNR)
    taken = found.quality["csf"] > 0
    assert int(taken.sum()) <= binom.ppf(0.999, DRAWS, TAKEN_BY_CHANCE)
    assert (found.theta[~taken, -1] == 0).all()
    assert found.std[~taken, -1].isnan().all()
    for now, before in ((found.theta, plain.theta), (found.std, plain.std)):
        torch.testing.assert_close(now[~taken, :-1], before[~taken], rtol=0, atol=0)


def test_a_region_of_mixtures_does_not_hide_itself_where_the_noise_is_declared(
    mixture, monkeypatch
):
    def raised(self, first, data, supplied, *_):
        # As the residuals of a region tell it in which every voxel holds fluid.
        return SeriesNoise(data.real.new_full(data.shape[:1], 1.7 / SNR), self._degrees(supplied))

    estimator = CsfEstimator(NllsEstimator(mixture.model), mixture)
    _, data, known = _voxels(mixture, 0.15)
    alone = estimator.estimate(data, known, sigma=1 / SNR).quality["csf"]
    _, plain, _ = _voxels(mixture, 0.0)
    monkeypatch.setattr(CsfEstimator, "_noise", raised)
    found = estimator.estimate(data, known, sigma=1 / SNR).quality["csf"]
    assert int(alone.sum()) > DRAWS / 2
    assert torch.equal(found, alone)
    hidden = estimator.estimate(data, known).quality["csf"]
    assert int(hidden.sum()) < int(alone.sum()) / 2, "nobody knows that it is no noise"
    taken = estimator.estimate(plain, known, sigma=1 / SNR).quality["csf"]
    assert int(taken.sum()) <= binom.ppf(0.999, DRAWS, TAKEN_BY_CHANCE)


def test_nor_does_it_where_residuals_tell_the_noise(mixture):
    parts = [_voxels(mixture, share, seed)[1] for seed, share in enumerate([0.0] * 7 + [0.12] * 2)]
    data, n = torch.cat(parts), 9 * DRAWS
    at = torch.arange(n)
    places = torch.stack([at // 6, at % 6, torch.zeros_like(at)], -1)
    estimator, known = CsfEstimator(NllsEstimator(mixture.model), mixture), {"B1": torch.ones(n)}
    declared = estimator.estimate(data, known, sigma=1 / SNR)
    told = estimator.estimate(data, known, places=places)
    there = slice(7 * DRAWS, None)
    most, taken = (int(found.quality["csf"][there].sum()) for found in (declared, told))
    assert most > DRAWS
    # noise that is told is known to a few per cent, and a gain of 6.6 to twice as many
    assert taken > 0.9 * most
    pure = int(told.quality["csf"][: 7 * DRAWS].sum())
    assert pure <= binom.ppf(0.999, 7 * DRAWS, TAKEN_BY_CHANCE)


def test_where_fluid_leaves_more_than_noise_does_the_limit_grows_with_it(mixture):
    _, data, known = _voxels(mixture, 0.15)
    odd = torch.randn(data.shape[1], 2, generator=torch.Generator().manual_seed(8)).double()
    estimator = CsfEstimator(NllsEstimator(mixture.model), mixture)
    alone = estimator.estimate(data, known, sigma=1 / SNR).quality["csf"]
    assert float(alone.double().mean()) > 0.5
    # Four standard deviations per channel, along no direction of fluid
    misfit = 4 * torch.view_as_complex(odd) / SNR
    found = estimator.estimate(data + misfit, known, sigma=1 / SNR)
    assert int(found.quality["csf"].sum()) <= binom.ppf(0.999, DRAWS, TAKEN_BY_CHANCE)


def test_the_score_test_tells_where_fluid_is_worth_a_try(mixture):
    _, data, known = _voxels(mixture, 0.3)
    plain = NllsEstimator(mixture.model).estimate(data, known, sigma=1 / SNR).theta
    sigma = torch.full((DRAWS,), 1 / SNR, dtype=torch.float64)
    before, gain = promise(mixture, plain, data, known, sigma)
    assert (gain > 10).all()
    assert (before > gain).all()
    _, data, known = _voxels(mixture, 0.0)
    plain = NllsEstimator(mixture.model).estimate(data, known, sigma=1 / SNR).theta
    _, gain = promise(mixture, plain, data, known, sigma)
    # Half of the draws would need a negative fraction; the other half are chi-squared of one
    assert float((gain == 0).double().mean()) == pytest.approx(0.5, abs=0.2)
    assert float(gain.max()) < 15


@pytest.mark.parametrize("fraction", [0.0, 0.3])
def test_deviations_of_a_supplied_map_are_part_of_those_of_one_and_two_compartments(
    mixture, fraction
):
    _, data, known = _voxels(mixture, fraction)
    unsure = {"B1": torch.full((DRAWS,), 0.05, dtype=torch.float64)}
    estimator = CsfEstimator(NllsEstimator(mixture.model), mixture)
    sure = estimator.estimate(data, known, sigma=1 / SNR)
    found = estimator.estimate(data, known, sigma=1 / SNR, spread=unsure)
    torch.testing.assert_close(found.theta, sure.theta)
    above, below = (
        estimator.estimate(data, {"B1": known["B1"] + sign * 0.05}, sigma=1 / SNR).theta
        for sign in (1, -1)
    )
    column = mixture.parameters.index(("R2",))[0]
    told = (found.quality["csf"] > 0) == (fraction > 0)
    expected = (sure.std.square() + ((above - below) / 2).square()).sqrt()[told, column]
    # To first order; 5 % of B1 is small
    assert float((found.std[told, column] / expected).median()) == pytest.approx(1, abs=0.1)
    assert float((expected / sure.std[told, column]).median()) > 1.1


def test_a_network_and_least_squares_move_alike_with_a_supplied_value(mixture):
    theta, data, known = _voxels(mixture, 0.3)
    sigma = torch.full((DRAWS,), 1 / SNR, dtype=torch.float64)
    unsure = {"B1": torch.full((DRAWS,), 0.02, dtype=torch.float64)}
    moved = moved_by(mixture, theta.expand(DRAWS, -1), data, (known, unsure), sigma)
    estimator = NllsEstimator(mixture, start=theta.expand(DRAWS, -1), n_starts=1)
    above, below = (
        estimator.estimate(data, {"B1": known["B1"] + sign * 0.02}).theta for sign in (1, -1)
    )
    columns = mixture.parameters.index(("R1", "R2", FRACTION))
    # At the truth instead of at the estimate
    torch.testing.assert_close(
        moved[:, 0, columns].mean(0), (above - below)[:, columns].mean(0) / 2, rtol=0.15, atol=1e-3
    )


def test_an_option_of_a_recipe_asks_for_it_and_the_fraction_becomes_a_map(mixture):
    basis = mixture.model.subspace.basis.numpy()
    train = jiang_like_train(300)
    options = {"csf_fraction": True}
    recipe = EstimatorRecipe("nlls", "fisp", train, basis, estimator_options=options)
    estimator = recipe.build()
    _, data, known = _voxels(mixture, 0.3)
    found = estimator.estimate(data[:5], {"B1": known["B1"][:5]}, sigma=1 / SNR)
    maps = {item.item.name: item for item in named_maps(found, estimator.parameters, "MRFmap")}
    assert maps[FRACTION].item.suffix == "MRFmap"
    assert maps[FRACTION].std is not None
    assert (maps["flags"].values.long() & 256 > 0).all()
