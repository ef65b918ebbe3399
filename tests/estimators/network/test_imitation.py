"""The signal that a network has learnt, seen from the data."""

from __future__ import annotations

import torch

from bids_brnn.estimators.network.imitation import imitation_of
from bids_brnn.information.noise import whitened
from bids_brnn.signals.subspace import CompressedSignal, Subspace
from bids_brnn.zoo.match import load_network
from bids_brnn.zoo.store import load_model


def _exact(turn: torch.Tensor):
    """The exact model of a shipped network, in a turned basis."""
    from bids_brnn.sequences.designs import jiang_like_train
    from bids_brnn.signals.one_pool.fisp import EpgFisp

    stored = load_model("mrf-jiang")
    assert stored.basis is not None
    basis = stored.basis.to(torch.complex128) @ turn
    return CompressedSignal(EpgFisp(jiang_like_train()), Subspace(basis))


def test_it_is_near_the_exact_signal_in_any_basis_of_the_span():
    rng = torch.Generator().manual_seed(2)
    rank = load_model("mrf-jiang").network.spec.n_coefficients
    turn = torch.linalg.qr(torch.randn(rank, rank, generator=rng, dtype=torch.complex128))[0]
    model = _exact(turn)
    draft = imitation_of(load_network(model, "fisp"))
    assert draft is not None
    assert draft.parameters.names == model.parameters.names
    theta = torch.tensor([[1.2, 12.0, 1.0], [0.7, 9.0, 0.95]], dtype=torch.float64)
    exact, slopes = model.linearize(theta)
    near, near_slopes = draft.linearize(theta)
    torch.testing.assert_close(draft(theta), near, rtol=1e-5, atol=1e-5)
    # Per cents are what networks of this size reach.
    assert float(((near - exact).norm(dim=-1) / exact.norm(dim=-1)).max()) < 0.02
    wrong = (near_slopes - slopes).norm(dim=1) / slopes.norm(dim=1)
    assert float(wrong.max()) < 0.2
    assert whitened(draft, near).shape == near.shape


def test_there_is_none_of_time_frames():
    model = _exact(
        torch.eye(load_model("mrf-jiang").network.spec.n_coefficients).to(torch.complex128)
    )
    assert imitation_of(load_network(model.model, "fisp")) is None
