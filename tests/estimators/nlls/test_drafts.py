"""Fits that start at the minima of a draft."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.estimators.nlls.estimator import NllsEstimator
from bids_brnn.parameters import MapItem, Parameter, ParameterSet
from bids_brnn.signals.base import forward_derivatives

PARAMETERS = ParameterSet(
    (
        Parameter(MapItem("R2", "1/s", "R2map", "rate"), 0.5, 200.0, 20.0, "estimated"),
        Parameter(MapItem("w0", "rad/s", "QMTmap", "offset"), -400.0, 400.0, 0.0, "nuisance"),
    )
)


@dataclass(frozen=True)
class Decay:
    """Decay and precession, in a draft with errors of rate and frequency."""

    slower: float = 1.0
    bent: float = 0.0
    parameters: ParameterSet = PARAMETERS
    n_samples: int = 20

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        assert basis is None
        time = torch.arange(1, self.n_samples + 1, dtype=theta.dtype) * 5e-3
        R2, w0 = theta[..., :1] * self.slower, theta[..., 1:]
        size = torch.exp(-R2 * time) * (1 + self.bent * torch.sin(R2 / 10 + 200 * time))
        return torch.complex(size * torch.cos(w0 * time), size * torch.sin(w0 * time))

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return forward_derivatives(lambda x: self(x, basis), theta)


@pytest.fixture(scope="module")
def data() -> Tensor:
    rng = torch.Generator().manual_seed(0)
    unit = torch.rand(100, 2, generator=rng, dtype=torch.float64)
    theta = torch.stack([10 + 30 * unit[:, 0], -350 + 700 * unit[:, 1]], -1)
    noise = torch.randn(100, 20, 2, generator=rng, dtype=torch.float64)
    return Decay()(theta) + 0.02 * torch.view_as_complex(noise)


def _cost(found) -> Tensor:
    return found.residual.square()


def test_a_good_draft_saves_evaluations_and_changes_no_minimum(data):
    usual = NllsEstimator(Decay()).estimate(data)
    drafted = NllsEstimator(Decay(), draft=Decay(bent=3e-3)).estimate(data)
    # Both end within 0.01 standard deviations: 1e-4 of 38 degrees of freedom.
    assert bool((_cost(drafted) <= _cost(usual) * (1 + 3e-6)).all())
    assert float((drafted.theta - usual.theta).div(usual.std).abs().max()) < 0.02
    spent = [found.quality["iterations"].double().mean() for found in (drafted, usual)]
    assert spent[0] < 0.75 * spent[1]


@pytest.mark.parametrize("draft", [Decay(slower=3.0), Decay(bent=0.9), Decay(bent=float("nan"))])
def test_a_wrong_draft_costs_time_but_no_minimum(data, draft):
    usual = NllsEstimator(Decay()).estimate(data)
    drafted = NllsEstimator(Decay(), draft=draft).estimate(data)
    assert bool((_cost(drafted) <= _cost(usual) * (1 + 3e-6)).all())


def test_start_values_come_before_a_draft(data):
    start = NllsEstimator(Decay()).estimate(data).theta
    plain = NllsEstimator(Decay()).estimate(data, start=start)
    drafted = NllsEstimator(Decay(), draft=Decay(slower=3.0)).estimate(data, start=start)
    torch.testing.assert_close(drafted.theta, plain.theta, rtol=0, atol=0)


def test_a_draft_of_another_model_is_refused():
    with pytest.raises(DataError, match="the draft has other parameters or samples"):
        NllsEstimator(Decay(), draft=Decay(n_samples=19))
