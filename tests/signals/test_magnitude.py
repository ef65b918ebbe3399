"""The magnitude of a model: values, derivatives, projection, and what estimation makes of them."""

from __future__ import annotations

import pytest
import torch

from bids_brnn.errors import DataError
from bids_brnn.estimators.dictionary.estimator import DictionaryEstimator
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.signals import build_model
from bids_brnn.signals.magnitude import MagnitudeSignal
from bids_brnn.signals.supplied import SuppliedModel
from bids_brnn.zoo.recipe import EstimatorRecipe

TISSUES = torch.tensor([[1 / 0.85, 1 / 0.06, 1.0], [1 / 1.33, 1 / 0.11, 1.0]], dtype=torch.float64)


@pytest.fixture(scope="module")
def models():
    complex_model = SuppliedModel(build_model("fisp", jiang_like_train(300)), ("B1",))
    return complex_model, MagnitudeSignal(complex_model)


def test_values_are_magnitudes_and_derivatives_are_theirs(models):
    of, magnitude = models
    signal, slopes = magnitude.linearize(TISSUES)
    torch.testing.assert_close(signal, of(TISSUES).abs().to(signal.dtype))
    torch.testing.assert_close(signal, magnitude(TISSUES))
    assert not slopes.imag.any()
    step = 1e-6
    for column in range(3):
        other = TISSUES.clone()
        other[:, column] += step
        difference = (magnitude(other) - signal).real / step
        # Central difference is not needed: the second derivative times the step is below 1e-5 of
        # the slope; frames that cross zero within the step are left out.
        same = of(other).imag.sgn() == of(TISSUES).imag.sgn()
        scale = slopes[..., column].abs().max()
        error = ((difference - slopes[..., column].real).abs() / scale)[same]
        assert error.max() < 1e-4
        assert same.float().mean() > 0.99


def test_a_basis_is_applied_to_magnitudes(models):
    _, magnitude = models
    basis = torch.linalg.qr(torch.randn(300, 4, generator=torch.Generator().manual_seed(1)))[0]
    basis = basis.double()
    signal, slopes = magnitude.linearize(TISSUES)
    projected, projected_slopes = magnitude.linearize(TISSUES, basis)
    wide = basis.to(signal.dtype)
    torch.testing.assert_close(projected, signal @ wide)
    torch.testing.assert_close(projected_slopes, (slopes.mT @ wide).mT)
    torch.testing.assert_close(magnitude(TISSUES, basis), projected)


def test_matching_magnitudes_finds_tissues_and_their_spread(models):
    of, magnitude = models
    n, snr = 300, 100.0
    rng = torch.Generator().manual_seed(2)
    clean = of(TISSUES).repeat_interleave(n, 0)
    channels = torch.randn((*clean.shape, 2), generator=rng, dtype=torch.float64) / snr
    phase = torch.rand(len(clean), 1, generator=rng, dtype=torch.float64)
    data = (clean + torch.view_as_complex(channels)) * torch.exp(2j * torch.pi * phase)
    sup = {"B1": torch.ones(len(data))}
    estimator = DictionaryEstimator(magnitude, channels=1)
    found = estimator.estimate(data.abs().to(torch.complex64), sup)
    truth = TISSUES.repeat_interleave(n, 0)
    for tissue in range(2):
        rows = slice(tissue * n, (tissue + 1) * n)
        for column in range(2):
            values = found.theta[rows, column].double()
            spread = float(values.std())
            # The noise floor shifts by up to 1 % at this SNR; 4 standard errors beside it.
            limit = 0.01 * truth[rows, column][0] + 4 * spread / n**0.5
            assert abs(values.mean() - truth[rows, column][0]) < limit
            # Dark frames carry more than the linear bound says: up to a third here.
            told = float(found.std[rows, column].median())
            assert 0.85 < spread / told < 1.35


def test_matching_magnitudes_with_complex_atoms_would_be_wrong(models):
    """What the model of magnitudes is for: complex atoms miss the sign after the inversion."""
    of, magnitude = models
    data = of(TISSUES).abs().to(torch.complex64)
    sup = {"B1": torch.ones(len(data))}
    right = DictionaryEstimator(magnitude, channels=1, with_std=False).estimate(data, sup)
    wrong = DictionaryEstimator(of, with_std=False).estimate(data, sup)
    truth = TISSUES[:, :2]
    assert ((right.theta[:, :2] / truth - 1).abs() < 0.01).all()
    assert ((wrong.theta[:, 0] / truth[:, 0] - 1).abs() > 0.1).all()


def test_recipes_know_magnitudes(tmp_path):
    train = jiang_like_train(30)
    plain = EstimatorRecipe(estimator="dict", model="fisp", sequence=train)
    recipe = EstimatorRecipe(estimator="dict", model="fisp", sequence=train, magnitude=True)
    again = EstimatorRecipe.from_file(recipe.to_file(tmp_path / "r.json"))
    assert again.magnitude
    assert again.digest == recipe.digest != plain.digest
    estimator = again.build()
    assert isinstance(estimator.model, MagnitudeSignal)
    assert estimator.channels == 1
    for name in ("nlls", "brnn"):
        other = EstimatorRecipe(estimator=name, model="fisp", sequence=train, magnitude=True)
        with pytest.raises(DataError, match=r"needs? complex data"):
            other.build()
    basis = torch.eye(train.n_samples)[:, :3].numpy()
    coefficients = EstimatorRecipe(
        estimator="dict", model="fisp", sequence=train, basis=basis, magnitude=True
    )
    with pytest.raises(DataError, match="magnitudes of coefficients"):
        coefficients.build()
