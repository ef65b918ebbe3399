"""The free pool alone: the two-pool model where the other pool is empty."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_brnn.errors import ParameterError
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.signals.base import free_pool_of, train_duration
from bids_brnn.signals.one_pool.fisp import EpgFisp
from bids_brnn.signals.subspace import CompressedSignal, Subspace
from bids_brnn.signals.supplied import SuppliedModel
from bids_brnn.signals.two_pools.generalized_bloch import GeneralizedBloch
from tests.signals.two_pools.kernel.test_run import random_trains, tissues

COLUMNS = [1, 2, 6, 7]


def empty(rng, n=5, dtype=torch.float64):
    """Parameters of two pools, the second of which is empty."""
    theta = torch.tensor(tissues(rng, n), dtype=dtype)
    theta[:, 0] = 0
    return theta


@pytest.mark.parametrize("method", ["compiled", "split"])
@pytest.mark.parametrize("start", ["antiperiodic", "thermal", "inversion"])
def test_is_the_model_of_two_pools_at_m0s_0(start, method):
    rng = np.random.default_rng(ord(start[0]))
    model = GeneralizedBloch(random_trains(rng, start, "random"), method=method)
    theta = empty(rng)
    signal, slopes = model.linearize(theta)
    free = model.free_pool()
    assert free.parameters.names == ("R1f", "R2f", "w0", "B1")
    found, derivatives = free.linearize(theta[:, COLUMNS])
    # The same operations, less those with 0.
    torch.testing.assert_close(found, signal, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(derivatives, slopes[..., COLUMNS], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(free(theta[:, COLUMNS]), signal, rtol=1e-10, atol=1e-12)


def test_one_longitudinal_rate_is_that_of_the_free_pool():
    rng = np.random.default_rng(1)
    model = GeneralizedBloch(random_trains(rng, "periodic", "none"), apparent_R1=True)
    names = model.parameters.names
    theta = empty(rng)[:, [0, 1, 2, 3, 5, 6, 7]]  # without R1s
    columns = [names.index(name) for name in ("R1a", "R2f", "w0", "B1")]
    free = model.free_pool()
    assert free.parameters.names == ("R1a", "R2f", "w0", "B1")
    for found, expected in zip(
        free.linearize(theta[:, columns]), model.linearize(theta), strict=True
    ):
        expected = expected[..., columns] if expected.ndim == 3 else expected
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coefficients_of_what_stands_around_it(dtype):
    rng = np.random.default_rng(2)
    inner = GeneralizedBloch(random_trains(rng, "antiperiodic", "alternating"))
    basis = torch.linalg.qr(torch.randn(inner.n_samples, 5, dtype=torch.float64))[0]
    model = SuppliedModel(CompressedSignal(inner, Subspace(basis)), ("B1", "T2s"))
    free = free_pool_of(model)
    assert free.n_samples == 5
    roles = {item.name: item.role for item in free.parameters}
    assert roles["B1"] == "supplied"
    assert roles["R1f"] == "estimated"
    theta = empty(rng, 40, dtype)
    signal, slopes = model.linearize(theta)
    found, derivatives = free.linearize(theta[:, COLUMNS])
    scale = 1e-5 if dtype == torch.float32 else 1e-12  # of the largest
    torch.testing.assert_close(found, signal, rtol=0, atol=scale * float(signal.abs().max()))
    for column, place in enumerate(COLUMNS):
        own = slopes[..., place]
        own_scale = scale * float(own.abs().max())
        torch.testing.assert_close(derivatives[..., column], own, rtol=0, atol=own_scale)
    assert train_duration(free) == pytest.approx(
        float(inner.sequence.repetition_time.sum(1).mean())
    )


def test_values_outside_of_bounds_are_named():
    rng = np.random.default_rng(3)
    free = GeneralizedBloch(random_trains(rng, "thermal", "none")).free_pool()
    theta = empty(rng)[:, COLUMNS]
    theta[2, 1] = 1e4
    with pytest.raises(ParameterError, match="R2f = 10000 in row 3"):
        free(theta)


def test_a_model_of_one_pool_has_none():
    assert free_pool_of(EpgFisp(jiang_like_train())) is None
    assert train_duration(object()) is None
