"""Signals between the atoms: as exact as they say, with derivatives, or not at all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from bids_brnn.estimators.dictionary.estimator import DictionaryEstimator
from bids_brnn.estimators.dictionary.interpolant import axes_of, interpolate
from bids_brnn.estimators.dictionary.library import Group, Library, b1_groups
from bids_brnn.estimators.dictionary.taylor import tabulate
from bids_brnn.parameters import RELAXATION
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.signals.one_pool.fisp import EpgFisp
from bids_brnn.signals.subspace import CompressedSignal, Subspace

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> CompressedSignal:
    frames = EpgFisp(jiang_like_train(200))
    signals = frames(points(200, 1))
    basis = torch.linalg.svd(signals.mH, full_matrices=False)[0][:, :8]
    return CompressedSignal(frames, Subspace(basis))


@pytest.fixture(scope="module")
def made(model):
    return interpolate(model, axes_of(RELAXATION, {}), CPU)


def points(n: int, seed: int, b1: tuple[float, float] = (0.5, 1.5)) -> Tensor:
    """T1 from 0.2 to 5 s, T2 from 10 ms to 2 s and below T1."""
    rng = torch.Generator().manual_seed(seed)
    unit = torch.rand(n, 3, dtype=torch.float64, generator=rng)
    t1 = 0.2 * 25 ** unit[:, 0]
    t2 = 0.01 * (t1.clamp_max(2.0) / 0.01) ** unit[:, 1]
    return torch.stack([1 / t1, 1 / t2, b1[0] + (b1[1] - b1[0]) * unit[:, 2]], 1)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_errors_are_those_that_it_tells(model, made, precision):
    table = tabulate(made, None, {2: (0.975, 1.025)}, precision, CPU)
    theta = points(600, 2, (0.975, 1.025))
    exact, slopes = model.linearize(theta)
    near = theta.to(precision)
    index, offset, inside = table.near(table.coordinates(near))
    assert bool(inside.all())
    signal = table.signal(index, offset) * table.phase
    error = (signal - exact).norm(dim=-1) / exact.norm(dim=-1)
    # What a table tells is an estimate from polynomials that it has of those that it has not.
    assert float((error < table.errors[index] + 2e-6).double().mean()) > 0.99
    assert float((error < 2 * table.errors[index] + 2e-6).double().mean()) > 0.999
    tissue = theta[:, 1] > 5
    assert float(error[tissue].max()) < 1e-4
    assert float(error[tissue].median()) < 3e-6
    found = table.derivatives(near)
    # By R1 and R2, in which the signal is smooth everywhere.
    off = (found - slopes).norm(dim=1) / slopes.norm(dim=1)
    assert float(off[tissue][:, :2].max()) < 1e-3


def test_steps_between_points_of_the_lattice_are_small(made):
    """Two polynomials meet where both are used."""
    table = tabulate(made, None, {2: (0.95, 1.05)}, torch.float64, CPU)
    index = torch.arange(len(table.values) - 1)
    size = table.signal(index, torch.zeros(len(index), 3, dtype=torch.float64)).norm(dim=-1)
    for column in range(3):
        stride = math.prod(table.counts[column + 1 :])
        inner = index[(index // stride) % table.counts[column] < table.counts[column] - 1]
        half = torch.zeros(len(inner), 3, dtype=torch.float64)
        half[:, column] = table.spacing[column] / 2
        step = table.signal(inner, half) - table.signal(inner + stride, -half)
        assert float((step.norm(dim=-1) / size[inner]).max()) < 1e-3
        assert float((step.norm(dim=-1) / size[inner]).median()) < 1e-6


def test_a_model_that_is_not_smooth_has_none(model):
    @dataclass(frozen=True)
    class Folded:
        """Magnitudes have a kink where the signal changes its sign."""

        inner: CompressedSignal

        @property
        def parameters(self):
            return self.inner.parameters

        @property
        def n_samples(self):
            return self.inner.n_samples

        def __call__(self, theta, basis=None):
            return self.inner(theta, basis).abs().to(torch.complex128)

    assert interpolate(Folded(model), axes_of(RELAXATION, {2: 1.0}), CPU) is None


def test_samples_without_a_subspace_are_those_of_the_frames(model):
    frames = model.model
    made = interpolate(frames, axes_of(RELAXATION, {2: 1.1}), CPU)
    theta = points(50, 3)
    theta[:, 2] = 1.1
    exact = frames(theta)
    assert not made.basis.is_complex()  # frames of one phase are real numbers
    found = made(theta) @ made.basis.to(exact.dtype).mT
    assert float(((found - exact).norm(dim=-1) / exact.norm(dim=-1)).max()) < 1e-4
    # In the coefficients of a dictionary.
    table = tabulate(made, model.subspace.basis, {}, torch.float64, CPU)
    index, offset, inside = table.near(table.coordinates(theta))
    assert bool(inside.all())
    signal = table.signal(index, offset) * table.phase
    expected = model(theta)
    error = (signal - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert float(error.max()) < 1e-4


def test_known_values_beyond_a_table_are_not_served(made):
    table = tabulate(made, None, {2: (0.975, 1.025)}, torch.float64, CPU)
    theta = points(3, 4, (1.0, 1.0))
    theta[:, 2] = torch.tensor([1.0, 1.2, math.nan])
    assert table.near(table.coordinates(theta))[2].tolist() == [True, False, False]


def test_bins_cover_what_b1_can_be():
    b1 = torch.linspace(0.4, 1.6, 200, dtype=torch.float64)
    groups = list(b1_groups(RELAXATION, torch.arange(200), {2: b1}, (0.8, 1.0, 1.3)))
    assert [group.b1 for group in groups] == [0.8, 1.0, 1.3]
    ends = [end for group in groups for end in group.between]
    assert ends == pytest.approx([0.4, 0.9, 0.9, 1.15, 1.15, 1.6])
    for group in groups:
        inside = b1[group.voxels]
        assert float(inside.min()) >= group.between[0] - 1e-9
        assert float(inside.max()) <= group.between[1] + 1e-9


def test_a_table_is_made_once(model, monkeypatch):
    library = Library(model, points(20, 5), None, None, b1_varies=False)
    like = model(points(1, 6))
    group = Group(torch.arange(1), 1.0, (0.975, 1.025))
    first = library.table(group, {}, like)
    monkeypatch.setattr("bids_brnn.estimators.dictionary.library.interpolate", None)
    assert library.table(group, {}, like) is first
    other = library.table(Group(torch.arange(1), 1.05, (1.025, 1.075)), {}, like)
    assert other is not first


def test_doubt_sends_fluid_to_the_exact_model_only_without_noise(model, monkeypatch):
    truth = points(300, 7)
    estimator = DictionaryEstimator(model, n_atoms=1000)
    signal = (3 * model(truth)).to(torch.complex64)
    known = {"B1": truth[:, 2]}
    estimator.estimate(signal, known)  # dictionaries are made
    seen = []
    linearize = EpgFisp.linearize

    def counted(self, theta, basis=None):
        seen.append(len(theta))
        return linearize(self, theta, basis)

    monkeypatch.setattr(EpgFisp, "linearize", counted)
    estimator.estimate(signal, known, sigma=1e-7)
    exact = sum(seen)
    seen.clear()
    estimator.estimate(signal, known, sigma=3 / 20)
    assert sum(seen) < exact / 2
    assert exact < 0.6 * len(truth)


def test_it_has_the_same_bytes_with_any_number_of_threads():
    model = EpgFisp(jiang_like_train(600))  # frames, whose subspace is found first
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(interpolate(model, axes_of(model.parameters, {2: 1.0}), CPU))
    finally:
        torch.set_num_threads(before)
    assert found[0].basis is not None
    for other in found[1:]:
        assert torch.equal(other.series, found[0].series)
        assert torch.equal(other.basis, found[0].basis)
