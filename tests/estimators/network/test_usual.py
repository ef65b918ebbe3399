"""Where least squares of the test of the residual may start."""

from __future__ import annotations

import pytest
import torch

from bids_brnn.estimators.network.lowest import Task
from bids_brnn.estimators.network.usual import (
    FLUID,
    Usual,
    fluid_points,
    least_from_atoms,
    tissue_points,
)
from bids_brnn.parameters import QMT, Parameter, ParameterSet

PARAMETERS = ParameterSet(
    (
        Parameter(QMT["R2f"].item, 0.1, 50.0, 8.0, "estimated"),
        Parameter(QMT["w0"].item, -300.0, 300.0, 0.0, "nuisance"),
    )
)
TIMES = torch.linspace(0.0, 1.4, 24)
"""s: valleys of off-resonance are 4.5 rad/s apart."""


def decay(theta):
    """Signal and derivatives of a free induction decay."""
    rate, frequency = theta[:, :1], theta[:, 1:]
    signal = torch.exp((1j * frequency - rate) * TIMES)
    return signal, torch.stack([-TIMES * signal, 1j * TIMES * signal], -1)


def test_points_keep_to_bounds_that_leave_tissue_out():
    # Long pulses, whose T2s may not be below 20 us; all tissue is.
    parameters = QMT.replace("T2s", lower=20e-6, upper=60e-6, start=30e-6)
    for points in (tissue_points(parameters, 8), fluid_points(parameters, 64)):
        lower, upper = parameters.bounds(points)
        assert ((points >= lower) & (points <= upper)).all()
        w0 = points[:, parameters.index(("w0",))[0]]
        assert w0.min() < 0.6 * lower[6] < 0.6 * upper[6] < w0.max()
    fluid = fluid_points(QMT, 64)
    for name in ("R1f", "R2f", "B1"):
        values = fluid[:, QMT.index((name,))[0]]
        assert FLUID[name][0] <= values.min() < values.max() <= FLUID[name][1]


@pytest.mark.parametrize("kind", ["tissue", "fluid"])
def test_mirrored_atoms_are_the_signals_of_their_parameters(kind):
    folded = Usual(decay, PARAMETERS, True)
    atoms, norm = folded.atoms(kind, torch.device("cpu"))
    assert folded.atoms(kind, torch.device("cpu"))[0] is atoms, "simulated once"
    rows = torch.tensor([3, len(atoms.unit) // 2 + 3])
    theta = PARAMETERS.from_unit(atoms.unit[rows])
    assert theta[0, 1] == pytest.approx(-float(theta[1, 1]))
    signal, slopes = decay(theta)
    size = signal.norm(dim=-1, keepdim=True)
    expected = slopes * torch.tensor([49.9, 600.0]) / size[..., None]
    # Atoms are in single precision, their phases up to 400.
    torch.testing.assert_close(atoms.signal[rows], (signal / size).cfloat(), atol=1e-4, rtol=0)
    real, imaginary = atoms.slopes[rows].chunk(2, 1)
    found = torch.complex(real, imaginary)
    torch.testing.assert_close(found, expected.cfloat(), atol=1e-4 * 600, rtol=0)
    assert 0 < norm < len(TIMES) ** 0.5


def test_an_atom_without_a_signal_is_none():
    def broken(theta):
        signal, slopes = decay(theta)
        signal[theta[:, 1] > 200] = torch.nan
        return signal, slopes

    atoms, norm = Usual(broken, PARAMETERS, False).atoms("tissue", torch.device("cpu"))
    whole = Usual(decay, PARAMETERS, False).atoms("tissue", torch.device("cpu"))[0]
    assert 0 < len(atoms.unit) < len(whole.unit)
    assert PARAMETERS.from_unit(atoms.unit)[:, 1].max() <= 200
    assert norm > 0


def test_fluid_is_found_whatever_its_off_resonance():
    rng = torch.Generator().manual_seed(5)
    truth = torch.stack(
        [0.3 + torch.rand(40, generator=rng), 500 * torch.rand(40, generator=rng) - 250], -1
    )
    clean = decay(truth)[0]
    noise = torch.view_as_complex(torch.randn(40, len(TIMES), 2, generator=rng))
    data, size = clean + 0.02 * noise, clean.norm(dim=-1)
    sigma = 0.02 / size
    # 46 degrees of freedom: chi-squared exceeds 80 in one voxel of 700.
    task = Task(data / size[:, None], sigma, [0, 1], PARAMETERS.bounds(truth), 80.0, 1e9)
    usual = Usual(decay, PARAMETERS, True)
    left, best = least_from_atoms(lambda theta, _: decay(theta), task, {}, usual, "fluid", 15)
    assert (left < 80).all()
    assert (best - truth).abs().median(0).values.tolist() < [0.1, 0.1]
    nothing = Task(task.data.flip(1), sigma, [0, 1], task.bounds, 80.0, 2 * 80.0)
    left, _ = least_from_atoms(lambda theta, _: decay(theta), nothing, {}, usual, "fluid", 15)
    assert (left > 80).all(), "what grows is no decay"
