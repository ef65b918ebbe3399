"""Least squares of fluid, whose signal has many valleys of off-resonance."""

from __future__ import annotations

import pytest
import torch

from bids_brnn.estimators.network import descent, fluid
from bids_brnn.estimators.network.descent import Descent
from bids_brnn.estimators.network.fluid import Fluid
from bids_brnn.estimators.network.fluid_points import FLUID, fluid_points
from bids_brnn.estimators.network.lowest import Task
from bids_brnn.estimators.nlls.starts import Starts
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
    rate, frequency = theta[:, :1], theta[:, 1:2]
    signal = torch.exp((1j * frequency - rate) * TIMES)
    return signal, torch.stack([-TIMES * signal, 1j * TIMES * signal], -1)


def fluid_of(*, folds=True, duration=1.4, simulate=decay):
    """Fluid that decays."""
    return Fluid(simulate, PARAMETERS, (0, 1), (), folds, duration)


def test_points_keep_to_bounds_and_to_the_ranges_of_fluid():
    # Long pulses, whose T2s may not be below 20 us.
    parameters = QMT.replace("T2s", lower=20e-6, upper=60e-6, start=30e-6)
    points = fluid_points(parameters, 64)
    lower, upper = parameters.bounds(points)
    assert ((points >= lower) & (points <= upper)).all()
    w0 = points[:, parameters.index(("w0",))[0]]
    assert w0.min() < 0.6 * lower[6] < 0.6 * upper[6] < w0.max()
    for name in ("R1f", "R2f", "B1"):
        values = points[:, QMT.index((name,))[0]]
        assert FLUID[name][0] <= values.min() < values.max() <= FLUID[name][1]
    inside = fluid_points(parameters, 64, (10.0, 20.0))[:, parameters.index(("w0",))[0]]
    assert 10 <= inside.min() < 11 < 19 < inside.max() <= 20


@pytest.mark.parametrize("folds", [True, False])
def test_cells_and_their_neighbours_hold_all_off_resonances(folds):
    fluid, cpu = fluid_of(folds=folds), torch.device("cpu")
    n = 5 if folds else 10
    edges = torch.linspace(0.0 if folds else -300.0, 300.0, n + 1)
    for number in range(n):
        w0 = PARAMETERS.from_unit(fluid.cell(number, cpu).unit)[:, 1]
        assert (w0 >= edges[number] - 1e-6).all()
        assert (w0 <= edges[number + 1] + 1e-6).all()
    assert fluid.cell(2, cpu) is fluid.cell(2, cpu), "simulated once"
    around = PARAMETERS.from_unit(fluid.around(0, cpu).unit)[:, 1]
    low = -60 if folds else -300
    assert low <= around.min() < low + 1
    assert low + 119 < around.max() <= low + (180 if folds else 120)


def test_mirrored_atoms_are_the_signals_of_their_parameters():
    atoms = fluid_of().around(0, torch.device("cpu"))
    theta = PARAMETERS.from_unit(atoms.unit)
    rows = (theta[:, 1] < 0).nonzero()[:4, 0]
    assert len(rows) == 4
    signal, slopes = decay(theta[rows])
    size = signal.norm(dim=-1, keepdim=True)
    expected = slopes * torch.tensor([49.9, 600.0]) / size[..., None]
    # Atoms are in single precision, their phases up to 90.
    torch.testing.assert_close(atoms.signal[rows], (signal / size).cfloat(), atol=1e-4, rtol=0)
    real, imaginary = atoms.slopes[rows].chunk(2, 1)
    found = torch.complex(real, imaginary)
    torch.testing.assert_close(found, expected.cfloat(), atol=1e-4 * 600, rtol=0)


@pytest.mark.parametrize("off", [0.0, 30.0, -300.0])
@pytest.mark.parametrize("duration", [{}, {"duration": None}])
def test_fluid_is_found_wherever_the_network_looks(off, duration):
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
    theta = truth + torch.tensor([0.5, off])
    left, best = fluid_of(**duration).least(task, theta)
    assert (left < 80).all()
    assert (best - truth).abs().median(0).values.tolist() < [0.1, 0.1]
    nothing = Task(task.data.flip(1), sigma, [0, 1], task.bounds, 80.0, 2 * 80.0)
    left, _ = fluid_of(**duration).least(nothing, theta)
    assert (left > 80).all(), "what grows is no decay"


def fluid_task(columns, n=30):
    """Noisy fluid of which ``columns`` are free, and its parameters."""
    rng = torch.Generator().manual_seed(6)
    truth = torch.stack(
        [0.3 + torch.rand(n, generator=rng), 500 * torch.rand(n, generator=rng) - 250], -1
    )
    clean = decay(truth)[0]
    noise = torch.view_as_complex(torch.randn(n, len(TIMES), 2, generator=rng))
    data, size = clean + 0.02 * noise, clean.norm(dim=-1)
    bounds = PARAMETERS.bounds(truth)
    return Task(data / size[:, None], 0.02 / size, columns, bounds, 80.0, 1e9), truth


@pytest.mark.parametrize("columns", [[0], [1], []])
def test_what_is_supplied_is_kept(columns):
    task, truth = fluid_task(columns)
    left, best = fluid_of().least(task, truth)
    assert (left < 80).all()
    kept = [column for column in (0, 1) if column not in columns]
    torch.testing.assert_close(best[:, kept], truth[:, kept], rtol=1e-6, atol=1e-4)


def test_how_many_points_race_together_changes_nothing(monkeypatch):
    task, truth = fluid_task([0, 1])
    theta = truth + torch.tensor([0.2, 11.2])
    expected = fluid_of().least_beside(task, theta)
    points = []
    raced = descent.raced

    def counted(along, task, starts, rounds):
        points.append(starts.shape[0] * starts.shape[1])
        return raced(along, task, starts, rounds)

    monkeypatch.setattr(descent, "raced", counted)
    monkeypatch.setattr(descent, "_TOGETHER", 60)
    found = fluid_of().least_beside(task, theta)
    assert len(points) > 5
    assert max(points) <= 60
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_atoms_around_a_cell_are_not_kept_beside_those_of_the_cells():
    one, cpu = fluid_of(folds=False), torch.device("cpu")
    for number in range(1, 9):
        one.around(number, cpu)
    assert len(one._known) == 10
    assert sum(len(atoms.unit) for atoms in one._known.values()) == 10 * fluid._ATOMS


def test_starts_in_one_valley_do_not_keep_out_those_in_others():
    task, truth = fluid_task([0, 1])
    found = Descent(fluid_of(), task, truth + torch.tensor([0.2, 11.2]))
    found.from_here()
    rows = found.worth()
    assert len(rows)
    away = torch.tensor([11.2, 11.2, 11.3, 0.0])  # the last is promised least
    points = truth[rows, None].repeat(1, 4, 1).double()
    points[..., 1] += away
    unit = PARAMETERS.to_unit(points).clamp(0, 1)
    cost = torch.linspace(0, 1e-3, 4, dtype=torch.float64).repeat(len(rows), 1)
    found.from_starts(Starts(unit.clone(), cost.clone()), rows)
    assert set(rows.tolist()) <= set(found.above().tolist())
    found.from_apart(Starts(unit, cost), rows, 2, ((3, 2), (10, 1)))
    assert not set(rows.tolist()) & set(found.above().tolist())


def test_valleys_beside_are_looked_into():
    task, truth = fluid_task([0, 1])
    pool = fluid_of()
    found = Descent(pool, task, truth + torch.tensor([0.0, 2 * pool.valley]))
    found.least[:] = 100.0
    found.beside(((-1, 0.0), (2, 0.0)), ((1, 1),))
    assert (found.least == 100).all()
    found.beside(((2, 0.0), (-2, 0.0)), ((1, 1),))
    assert (found.least < 80).all()
    torch.testing.assert_close(found.best, truth, rtol=1e-6, atol=1e-3)


def test_differences_of_a_known_field_are_not_tried(monkeypatch):
    task, truth = fluid_task([0, 1])
    sizes = []

    def counted(along, task, starts, rounds):
        sizes.append(starts.shape[1])
        return starts.new_full((len(starts),), 1e9).double(), starts[:, 0]

    monkeypatch.setattr(descent, "raced", counted)
    found = Descent(fluid_of(), task, truth + torch.tensor([0.2, 11.2]))
    found.from_here()
    found.beside(((1, 0.0), (1, 0.02), (2, 0.0)), ((10, 1),))
    assert sizes == [2]
