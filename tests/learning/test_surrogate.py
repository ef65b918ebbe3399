"""The surrogate imitates a signal and its derivatives."""

from __future__ import annotations

import pytest
import torch

from bids_brnn.estimators.candidates import spread_candidates
from bids_brnn.information.bounds import covariance
from bids_brnn.learning.surrogate import SurrogateModel, SurrogateNetwork
from bids_brnn.learning.surrogate_training import train_surrogate
from bids_brnn.learning.training_set import simulate_fingerprints
from bids_brnn.parameters import RELAXATION, W0, Parameter, ParameterSet
from bids_brnn.priors import Prior, TissueClass, uniform
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.signals.base import SignalModel, forward_derivatives
from bids_brnn.signals.one_pool.fisp import EpgFisp
from bids_brnn.signals.subspace import CompressedSignal, Subspace

RANGES = {"R1": uniform(0.5, 2), "R2": uniform(5, 20), "B1": uniform(0.8, 1.2)}
PRIOR = Prior(RELAXATION, (TissueClass("all", 1, RANGES),))


def _between_bounds(model, n, seed):
    theta = spread_candidates(RELAXATION, n, seed).float()
    return theta, model(theta)


@pytest.fixture(scope="module")
def imitation():
    frames = EpgFisp(jiang_like_train(200))
    rng = torch.Generator().manual_seed(0)
    model = CompressedSignal(frames, Subspace.from_signals(frames(PRIOR.sample(200, rng=rng)), 5))
    data = simulate_fingerprints(model, PRIOR.sample(3000, rng=rng, dtype=torch.float32))
    losses = []
    surrogate = train_surrogate(
        data, RELAXATION, _between_bounds(model, 3000, 1),
        width=32, blocks=2, steps=600, batch=512,
        log=lambda step, error: losses.append(error),
    )  # fmt: skip
    return model, data, surrogate, losses


def test_it_is_a_signal_model_that_agrees_within_percents(imitation):
    _, data, surrogate, losses = imitation
    assert isinstance(surrogate, SignalModel)
    assert losses[-1] < losses[0]
    signal = surrogate(data.theta)
    error = (signal - data.coefficients).norm(dim=-1) / data.coefficients.norm(dim=-1)
    assert float(error.median()) < 0.03  # seconds of training


def test_it_holds_anywhere_between_the_bounds(imitation):
    model, _, surrogate, _ = imitation
    theta, truth = _between_bounds(model, 500, 2)
    assert float(theta[:, 1].min()) < 1 < 50 < float(theta[:, 1].max())  # far from the prior
    error = (surrogate(theta) - truth).norm(dim=-1) / truth.norm(dim=-1)
    # seconds of training; without such fingerprints half of them are off by more than a third
    assert float(error.median()) < 0.05
    assert float(error.quantile(0.9)) < 0.2


def test_its_derivatives_give_the_bound(imitation):
    _, data, surrogate, _ = imitation
    signal, derivatives = surrogate.linearize(data.theta[:200])
    bound = covariance(signal, derivatives[..., :2]).diagonal(dim1=-2, dim2=-1)
    # a short training: the root of the bound is right within some percent
    ratio = (bound / data.bound[:200, :2]).sqrt()
    assert float((ratio - 1).abs().median()) < 0.1


@pytest.mark.parametrize("conjugate", [False, True])
@pytest.mark.parametrize(("logarithmic", "harmonics"), [((), 0), ((0, 1), 0), ((1,), 3)])
def test_derivatives_by_hand_are_those_of_automatic_differentiation(
    conjugate, logarithmic, harmonics
):
    parameters = ParameterSet((*RELAXATION.items[:2], Parameter(W0, -9.0, 9.0, 0.0, "nuisance")))
    torch.manual_seed(0)
    network = SurrogateNetwork(3, 4, 16, 2, logarithmic, (2, 9.0, harmonics))
    surrogate = SurrogateModel(network, parameters, conjugate=conjugate)
    theta = torch.rand(300, 3) * torch.tensor([2.0, 20.0, 18.0]) + torch.tensor([0.1, 0.1, -9.0])
    signal, slopes = forward_derivatives(surrogate, theta)
    # round-off of single precision
    plain = surrogate.linearize(theta)
    torch.testing.assert_close(plain, (signal, slopes), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        surrogate.along(theta, [2, 0])[1], slopes[..., [2, 0]], rtol=1e-4, atol=1e-6
    )
    with torch.autocast("cpu", torch.bfloat16):
        assert all(map(torch.equal, surrogate.linearize(theta), plain))


def test_derivatives_in_bfloat16_lose_a_percent_and_depend_on_no_other_voxel():
    parameters = ParameterSet((*RELAXATION.items[:2], Parameter(W0, -9.0, 9.0, 0.0, "nuisance")))
    torch.manual_seed(0)
    surrogate = SurrogateModel(SurrogateNetwork(3, 4, 128, 3), parameters, conjugate=True)
    theta = torch.rand(700, 3) * torch.tensor([2.0, 20.0, 18.0]) - torch.tensor([0.0, 0.0, 9.0])
    signal, slopes = surrogate.along(theta, [0, 2])
    half = surrogate.along(theta, [0, 2], half=True)
    # round-off of single precision: signals are computed in it
    torch.testing.assert_close(half[0], signal, rtol=1e-5, atol=1e-6)
    lost = (half[1] - slopes).abs().square().sum(1).sqrt() / slopes.abs().square().sum(1).sqrt()
    # 2^-9 of each of a dozen roundings, of which some cancel
    assert 1e-4 < float(lost.median()) < 0.02
    alone = surrogate.along(theta[640:643], [0, 2], half=True)
    torch.testing.assert_close(alone, tuple(part[640:643] for part in half), rtol=0.0, atol=0.0)


def test_the_sign_of_off_resonance_conjugates_exactly():
    parameters = ParameterSet((*RELAXATION.items[:2], Parameter(W0, -9.0, 9.0, 0.0, "nuisance")))
    torch.manual_seed(0)
    surrogate = SurrogateModel(SurrogateNetwork(3, 4, 16, 1), parameters, conjugate=True)
    theta = torch.tensor([[1.0, 10.0, 5.0], [1.0, 10.0, -5.0]], dtype=torch.float64)
    plus, minus = surrogate(theta)
    assert plus.dtype == torch.complex128
    assert plus.imag.abs().max() > 0
    torch.testing.assert_close(minus, plus.conj().resolve_conj())
    basis = torch.linalg.qr(torch.randn(4, 2, dtype=torch.float64))[0]
    torch.testing.assert_close(surrogate(theta, basis), surrogate(theta) @ basis.to(plus.dtype))
