"""Models at the known fields of voxels are the models."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bids_brnn.parameters import Z_SPECTRUM
from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals import build_model
from bids_brnn.signals.base import amplitude_of, for_voxels, keeps_tables, silent_of, weights_of
from bids_brnn.signals.supplied import SuppliedModel
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1
from bids_brnn.signals.two_pools.z_spectrum.quantities import free_pool_rate


@pytest.fixture(scope="module")
def scan() -> ZSpectrum:
    pulse = MTPulse("GAUSSHANN", 0.01, 200.0)
    angle, offset = np.radians([0.0, 426.0]), np.array([1e3, 6e3])
    averages = np.array([1.0, 4.0])
    return ZSpectrum(angle, offset, pulse, math.radians(7), 0.025, 0.003, 0.0018, weights=averages)


@pytest.mark.parametrize("divided", [False, True])
def test_tables_at_the_fields_of_a_voxel_give_the_same_signals(scan, divided):
    model = build_model("gbloch-zspectrum", scan)
    model = model.normalised() if divided else model
    observed = SuppliedModel(ObservedR1(model), ("R1", "B1", "w0"))
    theta = observed.parameters.start(torch.zeros((), dtype=torch.float64)).repeat(5, 1)
    known = {
        "B1": torch.tensor([0.9, 1.0, 1.1]).double(),
        "w0": torch.tensor([0, 80.0, -30]).double(),
    }
    voxels = torch.tensor([2, 0, 1, 1, 2])
    theta[:, 0] = torch.linspace(0.02, 0.3, 5)
    theta[:, 5] = torch.linspace(8e-6, 16e-6, 5)  # both halves of the table
    theta[:, 6], theta[:, 7] = known["w0"][voxels], known["B1"][voxels]
    bound = for_voxels(observed, known)(voxels)
    signal, slopes = observed.linearize(theta)
    found, by = bound.linearize(theta)
    # The same sums in another order.
    torch.testing.assert_close(found, signal, rtol=0, atol=1e-13)
    torch.testing.assert_close(bound(theta), signal, rtol=0, atol=1e-13)
    torch.testing.assert_close(by[..., :6], slopes[..., :6], rtol=1e-9, atol=1e-11)
    assert not by[..., 6:].any()
    assert silent_of(bound) == {"B1", "w0"}
    assert not silent_of(observed)
    assert amplitude_of(bound) == amplitude_of(observed) == ("one" if divided else "real")
    assert weights_of(bound).tolist() == [1, 4]


def test_without_both_fields_a_model_is_used_as_it_is(scan):
    for name in ("gbloch-zspectrum", "ramani"):
        model = build_model(name, scan)
        assert for_voxels(model, {"B1": torch.ones(2)})(torch.tensor([0])) is model
        assert keeps_tables(SuppliedModel(ObservedR1(model), ("R1",))) == (name != "ramani")


def test_slopes_of_the_free_pool_rate_are_those_of_its_formula(scan):
    rng = torch.Generator().manual_seed(0)
    low = torch.tensor([0.3, 0.0, 0.1, 0.3], dtype=torch.float64)
    high = torch.tensor([5.0, 0.5, 60.0, 4.0], dtype=torch.float64)
    points = low + (high - low) * torch.rand(400, 4, generator=rng, dtype=torch.float64)
    parts = [column.clone().requires_grad_() for column in points.unbind(-1)]
    rate = free_pool_rate(*parts)
    exact = torch.stack(torch.autograd.grad(rate.sum(), parts), -1)
    theta = Z_SPECTRUM.start(points).repeat(len(points), 1)
    theta[:, [1, 0, 3, 4]] = points  # the observed rate in the place of R1f
    pools, slopes = map(
        torch.from_numpy, ObservedR1(build_model("ramani", scan)).of_pools(theta.numpy())
    )
    torch.testing.assert_close(pools[:, 1], rate.detach(), rtol=1e-14, atol=0)
    assert bool((pools[:, 1] == Z_SPECTRUM["R1f"].upper).any())  # held ones are among them
    torch.testing.assert_close(slopes, exact, rtol=1e-12, atol=1e-14)
