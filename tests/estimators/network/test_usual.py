"""Where least squares of the test of the residual may start in tissue."""

from __future__ import annotations

import pytest
import torch

from bids_brnn.estimators.network.usual import Usual, tissue_points
from bids_brnn.parameters import QMT
from tests.estimators.network.test_fluid import PARAMETERS, decay


def test_points_keep_to_bounds_that_leave_tissue_out():
    # Long pulses, whose T2s may not be below 20 us; all tissue is.
    parameters = QMT.replace("T2s", lower=20e-6, upper=60e-6, start=30e-6)
    points = tissue_points(parameters, 8)
    lower, upper = parameters.bounds(points)
    assert ((points >= lower) & (points <= upper)).all()
    w0 = points[:, parameters.index(("w0",))[0]]
    assert w0.min() < 0.6 * lower[6] < 0.6 * upper[6] < w0.max()


def test_atoms_are_signals_of_unit_norm_and_simulated_once():
    usual = Usual(decay, PARAMETERS)
    atoms, norm = usual.atoms(torch.device("cpu"))
    assert usual.atoms(torch.device("cpu"))[0] is atoms
    theta = PARAMETERS.from_unit(atoms.unit[:5])
    signal, slopes = decay(theta)
    size = signal.norm(dim=-1, keepdim=True)
    # Atoms are in single precision, their phases up to 400.
    torch.testing.assert_close(atoms.signal[:5], (signal / size).cfloat(), atol=1e-4, rtol=0)
    real, imaginary = atoms.slopes[:5].chunk(2, 1)
    expected = slopes * torch.tensor([49.9, 600.0]) / size[..., None]
    found = torch.complex(real, imaginary)
    torch.testing.assert_close(found, expected.cfloat(), atol=1e-4 * 600, rtol=0)
    assert norm == pytest.approx(
        float(decay(PARAMETERS.from_unit(atoms.unit))[0].norm(dim=-1).median())
    )


def test_an_atom_without_a_signal_is_none():
    def broken(theta):
        signal, slopes = decay(theta)
        signal[theta[:, 1] > 200] = torch.nan
        return signal, slopes

    atoms, norm = Usual(broken, PARAMETERS).atoms(torch.device("cpu"))
    whole = Usual(decay, PARAMETERS).atoms(torch.device("cpu"))[0]
    assert 0 < len(atoms.unit) < len(whole.unit)
    assert PARAMETERS.from_unit(atoms.unit)[:, 1].max() <= 200
    assert norm > 0
