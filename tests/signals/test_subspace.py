"""Subspaces: orthonormality, energy and bounds."""

from __future__ import annotations

import math

import pytest
import torch

from bids_brnn.errors import DataError
from bids_brnn.information.bounds import covariance
from bids_brnn.signals import subspace as module
from bids_brnn.signals.subspace import Subspace, efficient_directions


def _rng(seed: int = 2) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _largest_angle(first: Subspace, second: Subspace) -> float:
    """Largest principal angle between two spans, rad."""
    outside = first.basis - second.basis @ (second.basis.mH @ first.basis)
    return math.asin(min(1.0, float(torch.linalg.matrix_norm(outside, 2))))


def _lost_energy(subspace: Subspace, signals: torch.Tensor) -> torch.Tensor:
    """Fraction of the energy of signals ``(..., N)`` outside the subspace."""
    outside = signals - subspace.compress(signals) @ subspace.like(signals).mT.to(signals.dtype)
    return outside.abs().square().sum(-1) / signals.abs().square().sum(-1)


def _fingerprints(n: int = 60, n_samples: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """A toy with relaxation, recovery and off-resonance, and its analytic derivatives."""
    t = torch.linspace(0.01, 3, n_samples, dtype=torch.float64)
    r1, r2, w = (
        low + (high - low) * torch.rand(n, 1, generator=_rng(seed), dtype=torch.float64)
        for seed, low, high in ((11, 0.4, 2.0), (12, 2.0, 15.0), (13, -3.0, 3.0))
    )
    recovery = 1 - 2 * torch.exp(-r1 * t)
    decay = torch.exp(-r2 * t) + 0.3
    phase = torch.exp(1j * w * t)
    signal = recovery * decay * phase
    derivatives = torch.stack(
        [
            2 * t * torch.exp(-r1 * t) * decay * phase,
            -t * torch.exp(-r2 * t) * recovery * phase,
            1j * t * signal,
        ],
        dim=-1,
    )
    return signal, derivatives


def _inflation(subspace: Subspace, signal: torch.Tensor, derivatives: torch.Tensor):
    full = covariance(signal, derivatives).diagonal(dim1=-2, dim2=-1)
    compressed = subspace.compress(derivatives.mT).mT
    part = covariance(subspace.compress(signal), compressed).diagonal(dim1=-2, dim2=-1)
    return (part / full).sqrt()


def test_basis_is_real_orthonormal_and_holds_most_energy():
    signals, _ = _fingerprints()
    rank = 5
    basis = Subspace.from_signals(signals, rank)
    assert not basis.basis.is_complex()
    real = torch.cat([signals.real, signals.imag])
    tail = torch.linalg.svdvals(real)[rank:].square().sum() / real.square().sum()
    kept = (signals.abs() ** 2).sum(-1)
    mean = float((_lost_energy(basis, signals) * kept).sum() / kept.sum())
    assert mean == pytest.approx(float(tail), rel=1e-6)


def test_sign_of_the_columns_is_fixed():
    signals, _ = _fingerprints()
    basis = Subspace.from_signals(signals, 4).basis
    flipped = Subspace.from_signals(-signals.flip(0), 4).basis
    torch.testing.assert_close(flipped, basis, rtol=0, atol=1e-9)


def test_iterative_path_agrees_with_the_full_decomposition(monkeypatch):
    signals, _ = _fingerprints(n=150)
    exact = Subspace.from_signals(signals, 6)
    monkeypatch.setattr(module, "_EXACT_LIMIT", 10)
    iterative = Subspace.from_signals(signals, 6)
    # 12 passes with 26 extra directions: far below the float32 in which bases are stored.
    assert _largest_angle(exact, iterative) < 1e-8
    torch.testing.assert_close(iterative.basis, exact.basis, rtol=0, atol=1e-7)


def test_efficient_directions_see_their_own_parameter_only():
    signals, derivatives = _fingerprints(n=7)
    directions = efficient_directions(signals, derivatives)
    inner = (directions.mH @ derivatives).real
    scale = derivatives.abs().square().sum(-2).sqrt()[:, None, :]
    off_diagonal = (inner / scale) * (1 - torch.eye(3, dtype=torch.float64))
    assert float(off_diagonal.abs().max()) < 1e-10
    assert float((inner / scale).diagonal(dim1=-2, dim2=-1).min()) > 0.01
    for scaled in (signals, 1j * signals):  # any complex M0
        overlap = (scaled.conj()[:, None] @ directions).real / scaled.norm(dim=-1)[:, None, None]
        assert float(overlap.abs().max()) < 1e-10
    torch.testing.assert_close(directions.norm(dim=-2), torch.ones(7, 3).double())


def test_variance_along_the_efficient_direction_is_the_bound():
    signals, derivatives = _fingerprints(n=7)
    directions = efficient_directions(signals, derivatives)
    gain = (directions.mH @ derivatives).real.diagonal(dim1=-2, dim2=-1)
    bound = covariance(signals, derivatives).diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(1 / gain**2, bound, rtol=1e-8, atol=0)


def test_a_parameter_without_effect_has_no_direction():
    signals, derivatives = _fingerprints(n=3)
    derivatives[..., 1] = 0
    directions = efficient_directions(signals, derivatives)
    assert float(directions[..., 1].abs().max()) == 0
    assert bool(torch.isfinite(directions.abs()).all())


def test_derivative_basis_has_lower_bounds_than_energy_basis_of_equal_rank():
    signals, derivatives = _fingerprints()
    rank = 5
    energy = _inflation(Subspace.from_signals(signals, rank), signals, derivatives)
    bound = _inflation(
        Subspace.from_derivatives(signals, derivatives, rank, 0.7), signals, derivatives
    )
    assert float(bound.median()) < float(energy.median())
    assert float(bound.min()) >= 1 - 1e-9  # compression never lowers the bound


def test_weight_zero_is_the_energy_basis_of_unit_signals_and_columns_select():
    signals, derivatives = _fingerprints()
    unit = signals / signals.norm(dim=-1, keepdim=True)
    plain = Subspace.from_derivatives(signals, derivatives, 4, 0.0)
    assert _largest_angle(plain, Subspace.from_signals(unit, 4)) < 1e-6
    only = Subspace.from_derivatives(signals, derivatives, 8, 1.0, columns=[1])
    directions = efficient_directions(signals, derivatives)
    lost = [float(_lost_energy(only, directions[..., k]).mean()) for k in range(3)]
    assert lost[1] < lost[0]
    assert lost[1] < lost[2]


@pytest.mark.parametrize("weight", [-0.1, 1.1])
def test_weight_outside_its_range_is_refused(weight):
    signals, derivatives = _fingerprints(n=5)
    with pytest.raises(DataError, match="outside"):
        Subspace.from_derivatives(signals, derivatives, 3, weight)


@pytest.mark.parametrize(
    ("signals", "rank", "message"),
    [
        (torch.ones(2, 9), 3, "rank 3 needs"),
        (torch.ones(9, 2), 0, "rank 0"),
        (torch.full((4, 4), math.nan), 2, "not finite"),
        (torch.ones(4), 1, "sets, samples"),
    ],
)
def test_impossible_training_sets_are_refused(signals, rank, message):
    with pytest.raises(DataError, match=message):
        Subspace.from_signals(signals, rank)
