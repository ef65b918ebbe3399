"""Compiled models of saturation rates are their formulas, with exact derivatives."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bids_brnn.information.averaged import Whitened
from bids_brnn.parameters import Z_SPECTRUM
from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals import build_model
from bids_brnn.signals.base import amplitude_of
from bids_brnn.signals.two_pools.z_spectrum.absorption import LINES
from bids_brnn.signals.two_pools.z_spectrum.dual_steps import equilibrium, then, under

sys.path.insert(0, str(Path(__file__).parent))
import by_tensors

MODELS = ("ramani", "yarnykh", "sled-pike-cw", "sled-pike-rp")
ANGLE, OFFSET = np.radians([0.0, 142.0, 426.0, 300.0]), np.array([0.0, 1088.0, 6862.0, -2000.0])


def protocol(**changes: object) -> ZSpectrum:
    pulse = MTPulse("GAUSSHANN", 0.0102, 200.0)
    scan = ZSpectrum(ANGLE, OFFSET, pulse, math.radians(30), 0.025, 0.003, 0.0018)
    return replace(scan, **changes)


def tissues(n: int) -> torch.Tensor:
    lower, upper = Z_SPECTRUM.bounds(torch.zeros((), dtype=torch.float64))
    rng = torch.Generator().manual_seed(3)
    return lower + (upper - lower) * torch.rand(n, 8, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("divided", [False, True])
@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("name", MODELS)
def test_signal_and_derivatives_are_those_of_the_formulas(name, line, divided):
    model = build_model(name, protocol(normalised=divided), lineshape=line)
    theta = tissues(40)
    signal, slopes = model.linearize(theta)
    exact, expected = by_tensors.linearize(model, theta)
    # Cubic pieces of the line err by 1e-11 (slopes 1e-7), Chebyshev series of the pulse by 1e-8
    # (slopes 1e-6 over the whole interval).
    assert (signal.real - exact).abs().max() < 1e-7
    lower, upper = Z_SPECTRUM.bounds(theta)
    away = ((slopes.real - expected) * (upper - lower)).abs().amax((0, 1))
    assert (away < 2e-5 * (expected * (upper - lower)).abs().amax((0, 1))).all()
    # Without derivatives the same formulas are summed in another order.
    torch.testing.assert_close(model(theta), signal, rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", ["ramani", "yarnykh"])
def test_the_strongest_pulse_leaves_numbers(name):
    scan = protocol(mt_flip_angle=np.radians([1e4] * 4), repetition_time=1.0)
    signal, slopes = build_model(name, scan).linearize(tissues(50))
    assert torch.isfinite(signal.real).all()
    assert torch.isfinite(slopes.real).all()
    assert ((signal.real > 0) & (signal.real < 1)).all()


@pytest.mark.parametrize("name", ["sled-pike-cw", "sled-pike-rp"])
def test_known_fields_change_neither_signals_nor_other_derivatives(name):
    averaged = protocol(weights=np.array([2.0, 1.0, 1.0, 1.0]))
    model, theta = Whitened(build_model(name, averaged)), tissues(6)
    rows = torch.tensor([3, 1, 0, 2, 5, 4])
    known = {"w0": theta[:, 6][rows.argsort()], "B1": theta[:, 7][rows.argsort()]}
    bound = model.for_voxels(known)(rows)
    signal, slopes = model.linearize(theta)
    found, by = bound.linearize(theta)
    # The same sums in another order.
    torch.testing.assert_close(found, signal, rtol=0, atol=1e-13)
    torch.testing.assert_close(by[..., :6], slopes[..., :6], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(bound(theta), found, rtol=1e-13, atol=0)
    assert amplitude_of(bound) == amplitude_of(model)
    assert model.for_voxels({"B1": known["B1"]})(rows).model is model.model


def test_a_basis_is_applied_to_signals_and_derivatives():
    model, theta = build_model("yarnykh", protocol()), tissues(3)
    basis = torch.linalg.qr(torch.randn(4, 2, dtype=torch.complex128))[0]
    signal, slopes = model.linearize(theta)
    found, by = model.linearize(theta, basis)
    torch.testing.assert_close(found, signal @ basis.conj())
    torch.testing.assert_close(by, torch.einsum("vnp,nr->vrp", slopes, basis.conj()))


@pytest.mark.parametrize(("Wf", "Ws"), [(0.0, 0.0), (2.0, 50.0), (300.0, 1e5)])
def test_steps_compose_and_lead_to_equilibrium(Wf, Ws):
    theta = np.array([0.15, 0.9, 20.0, 20.0, 1.0, 1e-5, 0.0, 1.0])
    work, whole, first, later, both = (np.empty((6, 9)) for _ in range(5))
    under(0.03, theta, Wf, Ws, work, whole)
    under(0.01, theta, Wf, Ws, work, first)
    under(0.02, theta, Wf, Ws, work, later)
    then(first, later, both)
    np.testing.assert_allclose(both, whole, rtol=1e-9, atol=1e-13)
    under(1e3, theta, Wf, Ws, work, whole)
    for row in range(2):
        equilibrium(theta, Wf, Ws, row, work[row])
    np.testing.assert_allclose(whole[4:], work[:2], rtol=1e-12, atol=1e-15)
    assert Wf > 0 or work[:2, 0] == pytest.approx([0.85, 0.15])


@pytest.mark.parametrize("name", MODELS)
def test_the_same_in_single_precision_and_in_any_shape(name):
    model, theta = build_model(name, protocol()), tissues(6)
    narrow, slopes = model.linearize(theta.float().reshape(2, 3, 8))
    assert (narrow.dtype, slopes.dtype) == (torch.complex64, torch.complex64)
    assert (narrow.shape, slopes.shape) == ((2, 3, 4), (2, 3, 4, 8))
    # float32 parameters: 1e-7 of each.
    torch.testing.assert_close(
        narrow.reshape(6, 4).to(torch.complex128), model(theta), rtol=1e-5, atol=1e-6
    )
