"""Where the noise is small, least squares is efficient: no bias, and the variance of the bound.

For every case 2000 noise realisations of one tissue. Their mean error has a standard deviation of
0.022 bound deviations, so "below 0.1" is told from a bias of 0.2 at more than four deviations;
the ratio of standard deviations has one of 0.016, and 0.07 is again more than four.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bids_brnn.bounds import cramer_rao_bound
from bids_brnn.estimators.base import Estimate
from bids_brnn.estimators.nlls import NllsEstimator
from bids_brnn.estimators.nlls_start import spread_candidates
from bids_brnn.signals.base import SignalModel
from bids_brnn.signals.epg import EpgFisp
from bids_brnn.subspace import CompressedSignal, Subspace
from bids_brnn.trains import jiang_like_train

N_REALISATIONS = 2000
BIAS, SPREAD = 0.1, 0.07


def _realisations(
    model: SignalModel, theta: Tensor, *, precision: float, supplied: tuple[str, ...], seed: int
) -> tuple[Estimate, Tensor, Tensor]:
    """Estimates, errors over the bound, and bound of noisy copies of one signal.

    The noise is such that the worst determined of the parameters has the relative standard
    deviation ``precision``: small enough for the model to be linear within the noise.
    """
    for name in supplied:
        model = _Known(model, name)
    bound = cramer_rao_bound(model, theta).sqrt()
    wanted = model.parameters.columns("estimated")
    sigma = float(precision / (bound / theta)[wanted].max())
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn(N_REALISATIONS, model.n_samples, 2, generator=rng, dtype=torch.float64)
    data = (0.6 - 0.8j) * model(theta) + sigma * torch.view_as_complex(noise)
    maps = {name: torch.full((N_REALISATIONS,), _value(model, theta, name)) for name in supplied}
    # Started at the truth: how the minimum scatters is the question, not how it is found.
    start = theta.expand(N_REALISATIONS, -1)
    result = NllsEstimator(model).estimate(data, maps, sigma=sigma, start=start)
    free = model.parameters.columns("estimated", "nuisance")
    return result, ((result.theta - theta) / (sigma * bound))[:, free], sigma * bound[free]


class _Known:
    """A model one of whose parameters is known."""

    def __init__(self, model: SignalModel, name: str) -> None:
        self.model, self.n_samples = model, model.n_samples
        self.parameters = model.parameters.with_role(name, "supplied")

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        return self.model(theta, basis)

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.model.linearize(theta, basis)


def _value(model: SignalModel, theta: Tensor, name: str) -> float:
    return float(theta[model.parameters.index((name,))[0]])


def _assert_efficient(result: Estimate, errors: Tensor, bound: Tensor) -> None:
    free = errors.shape[-1]
    print(f"bias / bound {errors.mean(0).tolist()}, sd / bound {errors.std(0).tolist()}")
    assert (result.quality["stop"] == 1).all()
    assert (errors.mean(0).abs() < BIAS).all()
    assert ((errors.std(0) - 1).abs() < SPREAD).all()
    told = result.std[:, result.std[0] > 0]
    assert told.shape[-1] == free
    torch.testing.assert_close(told.mean(0), bound, rtol=0.03, atol=0)


@pytest.fixture(scope="module")
def fingerprinting() -> SignalModel:
    model = EpgFisp(jiang_like_train(200))
    signals = model(spread_candidates(model.parameters, 300))
    return CompressedSignal(
        model, Subspace(torch.linalg.svd(signals.mH, full_matrices=False)[0][:, :8])
    )


@pytest.mark.parametrize(
    ("tissue", "R1", "R2"),
    [("WM", 1 / 0.83, 1 / 0.07), ("GM", 1 / 1.3, 1 / 0.09), ("CSF", 1 / 4.0, 1 / 1.8)],
)
def test_fingerprinting_is_efficient(fingerprinting, tissue, R1, R2):
    theta = torch.tensor([R1, R2, 0.95], dtype=torch.float64)
    _assert_efficient(
        *_realisations(fingerprinting, theta, precision=0.02, supplied=("B1",), seed=3)
    )
