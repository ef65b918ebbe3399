"""Training sets: what is in them, and the cache."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bids_brnn.errors import DataError, ReadError
from bids_brnn.information.bounds import cramer_rao_bound
from bids_brnn.learning.training_set import (
    TrainingSet,
    load_training_set,
    save_training_set,
    simulate_fingerprints,
)
from bids_brnn.parameters import W0, Parameter, ParameterSet
from bids_brnn.priors import relaxation_prior
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.signals.one_pool.fisp import EpgFisp
from bids_brnn.signals.subspace import CompressedSignal, Subspace


@pytest.fixture(scope="module")
def model():
    frames = EpgFisp(jiang_like_train(50))
    theta = relaxation_prior().sample(100, rng=torch.Generator().manual_seed(0))
    return CompressedSignal(frames, Subspace.from_signals(frames(theta), 5))


def test_coefficients_and_bounds_are_those_of_the_model(model):
    reports = []
    theta = relaxation_prior().sample(50, rng=torch.Generator().manual_seed(1))
    data = simulate_fingerprints(
        model, theta, chunk=20, progress=lambda done, total: reports.append((done, total))
    )
    assert reports == [(20, 50), (40, 50), (50, 50)]
    assert (data.coefficients.dtype, data.bound.dtype) == (torch.complex64, torch.float32)
    torch.testing.assert_close(data.theta, theta.float())
    expected = model(theta).to(torch.complex64)
    torch.testing.assert_close(data.coefficients, expected, rtol=1e-5, atol=1e-7)
    bound = cramer_rao_bound(model, theta).float()
    torch.testing.assert_close(data.bound, bound, rtol=1e-3, atol=0)
    assert (data.bound[:, 2] == 0).all()  # B1 is supplied


def test_held_out_fingerprints_are_not_trained_with(model):
    rng = torch.Generator().manual_seed(1)
    data = simulate_fingerprints(model, relaxation_prior().sample(30, rng=rng))
    train, held_out = data.split(10)
    assert (len(train), len(held_out)) == (20, 10)
    assert not (train.theta[:, None] == held_out.theta[None]).all(-1).any()
    with pytest.raises(DataError, match="hold out 30 of 30"):
        data.split(30)


def test_the_cache_returns_the_same_set_for_the_same_key_only(line, tmp_path):
    path = tmp_path / "deep" / "set.safetensors"
    data = line.data[:7]
    assert load_training_set(path, key="a") is None
    save_training_set(path, data, key="a")
    again = load_training_set(path, key="a")
    for name in ("coefficients", "theta", "bound"):
        torch.testing.assert_close(getattr(again, name), getattr(data, name), rtol=0, atol=0)
    assert load_training_set(path, key="b") is None
    path.write_bytes(b"not safetensors")
    with pytest.raises(ReadError, match="delete it"):
        load_training_set(path, key="a")


def test_conjugation_moves_fingerprints_to_the_opposite_off_resonance(line):
    parameters = ParameterSet(
        (Parameter(W0, -10.0, 10.0, 0.0, "nuisance"), line.model.parameters.items[0])
    )
    coefficients = torch.tensor([[1 + 1j, 2 - 3j], [4 + 5j, 6j]], dtype=torch.complex64)
    gain = torch.full((2, 2, 2), 1 + 2j, dtype=torch.complex64)
    theta = torch.tensor([[3.0, 1.0], [-4.0, 2.0]])
    data = TrainingSet(coefficients, theta, torch.ones(2, 2), gain)
    flipped = data.conjugated(torch.tensor([True, False]), parameters)
    torch.testing.assert_close(flipped.theta, torch.tensor([[-3.0, 1.0], [-4.0, 2.0]]))
    torch.testing.assert_close(flipped.coefficients[0], coefficients[0].conj().resolve_conj())
    torch.testing.assert_close(flipped.coefficients[1], coefficients[1])
    assert data.theta[0, 0] == 3.0
    # the efficient estimate of conjugate noise is the same, off-resonance with the other sign
    assert flipped.gain is not None
    assert (flipped.gain[0, 0] == -1 + 2j).all()
    assert (flipped.gain[0, 1] == 1 - 2j).all()
    assert (flipped.gain[1] == 1 + 2j).all()
    assert (gain == 1 + 2j).all()


def test_gains_are_cached_with_the_set(line, tmp_path):
    data = simulate_fingerprints(line.model, line.data.theta[:5], with_gain=True)
    assert data.gain is not None
    save_training_set(tmp_path / "set.safetensors", data, key="a")
    again = load_training_set(tmp_path / "set.safetensors", key="a")
    assert again is not None
    assert again.gain is not None
    torch.testing.assert_close(again.gain, data.gain, rtol=0, atol=0)
    assert again[:2].gain is not None
    # noise of the slope channel is the error of the slope, that of the other is not seen at zero
    torch.testing.assert_close(data.bound, data.gain.abs().square().sum(-1), rtol=1e-5, atol=0)


def test_parts_of_different_length_are_refused(line):
    with pytest.raises(DataError, match="differ in length"):
        replace(line.data, theta=line.data.theta[:-1])
