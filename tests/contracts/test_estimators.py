"""Every registered estimator keeps the promises of ``estimators.base.Estimator``.

A new estimator is covered by its line in ``ESTIMATORS``; one that needs options to be small
enough for a test gets them in ``_OPTIONS``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from bids_brnn.errors import BidsBrnnError
from bids_brnn.estimators import ESTIMATORS
from bids_brnn.estimators.base import Estimate, Estimator
from bids_brnn.estimators.candidates import spread_candidates
from bids_brnn.estimators.voxels import count_invalid
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals import SIGNALS, build_model
from bids_brnn.signals.base import SignalModel
from bids_brnn.signals.one_pool.fisp import EpgFisp
from bids_brnn.signals.subspace import CompressedSignal, Subspace

N_VOXELS = 40


@dataclass(frozen=True)
class Case:
    """An estimator, data it can invert, and the truth."""

    estimator: Estimator
    model: SignalModel
    truth: Tensor
    data: Tensor
    supplied: dict[str, Tensor]


def _model(kind: str) -> SignalModel:
    frames = EpgFisp(jiang_like_train(40))
    if kind == "frames":
        return frames
    signals = frames(spread_candidates(frames.parameters, 200))
    basis = torch.linalg.svd(signals.mH, full_matrices=False)[0][:, :6]
    return CompressedSignal(frames, Subspace(basis))


def _build(name: str, model: SignalModel, start: Tensor) -> Estimator:
    if name == "dict":
        return ESTIMATORS[name](model, start)
    return ESTIMATORS[name](model, start=start)


@pytest.fixture(scope="module", params=["frames", "coefficients"])
def model(request) -> SignalModel:
    return _model(request.param)


@pytest.fixture(scope="module", params=[name for name in ESTIMATORS if name != "network"])
def case(request, model) -> Case:
    rng = torch.Generator().manual_seed(4)
    truth = torch.empty(N_VOXELS, 3, dtype=torch.float64)
    for column, (low, high) in enumerate(((0.5, 2.0), (8.0, 20.0), (0.8, 1.2))):
        truth[:, column].uniform_(low, high, generator=rng)
    signal = model(truth)
    noise = torch.randn(signal.shape, dtype=torch.complex128, generator=rng)
    scale = torch.polar(1 + truth[:, 0], truth[:, 1]).to(torch.complex128)[:, None]
    data = scale * (signal + 1e-3 * signal.abs().mean() * noise)
    # Atoms at the supplied B1 values would be luck; they are spread like everything else.
    atoms = spread_candidates(model.parameters, 1000)
    atoms[:, 2] = 0.7 + 0.6 * (atoms[:, 2] - 0.4) / 1.2
    estimator = _build(request.param, model, atoms)
    return Case(estimator, model, truth, data, {"B1": truth[:, 2]})


def _run(case: Case, rows: object = slice(None), data: Tensor | None = None) -> Estimate:
    voxels = (case.data if data is None else data)[rows]
    supplied = {name: values[rows] for name, values in case.supplied.items()}
    return case.estimator.estimate(voxels, supplied)


def _same(one: Estimate, other: Estimate, rtol: float = 1e-9) -> None:
    # Sums may be ordered differently for another batch: round-off, amplified by the fit.
    torch.testing.assert_close(one.theta, other.theta, rtol=rtol, atol=0, equal_nan=True)
    torch.testing.assert_close(one.residual, other.residual, rtol=rtol, atol=1e-12, equal_nan=True)
    assert (one.std is None) == (other.std is None)
    if one.std is not None and other.std is not None:
        torch.testing.assert_close(one.std, other.std, rtol=1e-6, atol=0, equal_nan=True)


def test_it_is_an_estimator_under_its_own_name(case):
    assert isinstance(case.estimator, Estimator)
    assert ESTIMATORS[case.estimator.name] is type(case.estimator)
    assert case.estimator.parameters.names == case.model.parameters.names


def test_shapes_dtypes_and_finite_values(case):
    result = _run(case)
    assert result.theta.shape == case.truth.shape
    assert result.m0.shape == result.residual.shape == (N_VOXELS,)
    assert (result.theta.dtype, result.m0.dtype) == (torch.float64, torch.complex128)
    assert torch.isfinite(result.theta).all()
    assert torch.isfinite(result.residual).all()
    if result.std is not None:
        assert result.std.shape == case.truth.shape
        assert torch.isfinite(result.std).all()
        assert (result.std[:, :2] > 0).all()
    for name, values in result.quality.items():
        assert values.shape == (N_VOXELS,), name


def test_it_finds_the_truth_within_what_its_kind_resolves(case):
    result = _run(case)
    # The noise allows 1 %; a dictionary without refinement also errs by its spacing, 15 % here.
    error = (result.theta[:, :2] / case.truth[:, :2] - 1).abs().median(0).values
    assert (error < (0.01 if case.estimator.name == "nlls" else 0.15)).all()


def test_residual_and_m0_describe_the_fit(case):
    result = _run(case)
    signal = case.model(result.theta)
    fit = result.m0[:, None] * signal
    residual = (case.data - fit).norm(dim=-1) / case.data.norm(dim=-1)
    # A dictionary reports its atom, which may carry another value of B1 than the supplied one.
    tolerance = 1e-6 if case.estimator.name == "nlls" else 5e-2
    torch.testing.assert_close(result.residual, residual, rtol=0, atol=tolerance)


@pytest.mark.parametrize("factor", [1e-9, 1e9, 3.0j, -0.2 + 0.7j])
def test_a_complex_factor_changes_m0_only(case, factor):
    plain, scaled = _run(case), _run(case, data=case.data * factor)
    _same(plain, scaled, rtol=1e-6)
    torch.testing.assert_close(scaled.m0, plain.m0 * factor, rtol=1e-5, atol=0)


def test_order_and_split_do_not_matter(case):
    whole = _run(case)
    order = torch.randperm(N_VOXELS, generator=torch.Generator().manual_seed(1))
    parts = [_run(case, rows) for rows in (slice(0, 1), slice(1, 18), slice(18, None))]
    for theta, expected in (
        (_run(case, order).theta, whole.theta[order]),
        (torch.cat([part.theta for part in parts]), whole.theta),
    ):
        # Atoms are matched in single precision: two that match alike to 1e-7 may swap, which
        # moves the estimate by far less than the noise (1 %).
        torch.testing.assert_close(theta, expected, rtol=2e-3, atol=0)
        same = torch.isclose(theta, expected, rtol=1e-6, atol=0).all(-1)
        assert same.double().mean() >= (1 if case.estimator.name == "nlls" else 0.9)


def test_the_same_input_gives_the_same_output(case):
    one, other = _run(case), _run(case)
    assert torch.equal(one.theta, other.theta)
    assert torch.equal(one.m0, other.m0)


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
def test_an_impossible_voxel_is_nan_there_only(case, value):
    data = case.data.clone()
    data[7] = 0
    data[7, 3] = value
    plain, marred = _run(case), _run(case, data=data)
    others = torch.arange(N_VOXELS) != 7
    assert torch.isnan(marred.theta[7]).all()
    assert torch.isnan(marred.residual[7])
    assert torch.isnan(marred.m0[7].real)
    assert marred.std is None or torch.isnan(marred.std[7]).all()
    torch.testing.assert_close(marred.theta[others], plain.theta[others], rtol=1e-6, atol=0)
    assert count_invalid(marred) == 1


def test_only_impossible_voxels_or_none_at_all(case):
    for n in (3, 0):
        result = _run(case, slice(0, n), data=torch.zeros_like(case.data))
        assert result.theta.shape == (n, 3)
        assert torch.isnan(result.theta).all()
        assert count_invalid(result) == n


def test_single_precision_in_single_precision_out(case):
    narrow = Case(case.estimator, case.model, case.truth, case.data.to(torch.complex64),
                  {"B1": case.truth[:, 2].float()})  # fmt: skip
    result = _run(narrow)
    assert (result.theta.dtype, result.m0.dtype) == (torch.float32, torch.complex64)
    assert result.residual.dtype == torch.float32
    # Rounding of the data (6e-8) is far below the noise (1e-3); a dictionary may swap two atoms.
    close = torch.isclose(result.theta.double(), _run(case).theta, rtol=1e-3, atol=0).all(-1)
    assert close.double().mean() > 0.9


def test_bounds_are_respected(case):
    rng = torch.Generator().manual_seed(2)
    nonsense = torch.randn(case.data.shape, dtype=torch.complex128, generator=rng)
    result = _run(case, slice(0, 10), data=nonsense)
    lower, upper = case.model.parameters.bounds(result.theta)
    assert ((result.theta >= lower) & (result.theta <= upper)).all()
    assert (result.residual <= 1 + 1e-9).all()


def test_supplied_values_are_used_and_kept(case):
    result = _run(case)
    torch.testing.assert_close(result.theta[:, 2], case.truth[:, 2])
    assert result.std is None or (result.std[:, 2] == 0).all()
    wrong = case.estimator.estimate(case.data, {"B1": torch.full((N_VOXELS,), 1.0)})
    error = (result.theta[:, 1] / case.truth[:, 1] - 1).abs().mean()
    assert (wrong.theta[:, 1] / case.truth[:, 1] - 1).abs().mean() > 1.5 * error


def test_without_a_map_the_start_value_is_used(case):
    result = case.estimator.estimate(case.data)
    assert (result.theta[:, 2] == case.model.parameters["B1"].start).all()


@pytest.mark.parametrize(
    ("data", "supplied", "words"),
    [
        (np.s_[:, :4], {}, "shape"),
        (np.s_[:], {"B0": torch.ones(N_VOXELS)}, "B0"),
        (np.s_[:], {"B1": torch.ones(3)}, "B1"),
    ],
)
def test_input_that_does_not_fit_is_refused_in_words(case, data, supplied, words):
    with pytest.raises(BidsBrnnError, match=words):
        case.estimator.estimate(case.data[data], supplied)


def _sequence(kind: str) -> PulseSequence:
    if kind == "gbloch":
        return hybrid_state_train(n_pulses=100)
    fisp = jiang_like_train(100)
    if kind == "fisp":
        return fisp
    shape = fisp.flip_angle.shape
    return PulseSequence(
        flip_angle=fisp.flip_angle,
        rf_duration=np.zeros(shape),
        rf_phase=np.broadcast_to(np.pi * (np.arange(shape[1]) % 2), shape).copy(),
        repetition_time=fisp.repetition_time,
        echo_time=fisp.echo_time,
        gradient=np.where(fisp.inversion, "spoiler", "balanced"),
        inversion=fisp.inversion,
        start="thermal",
    )


@pytest.mark.parametrize("kind", list(SIGNALS))
def test_least_squares_inverts_every_signal_model(kind):
    model = build_model(kind, _sequence(kind))
    parameters = model.parameters
    middle = parameters.to_unit(parameters.start(torch.zeros(1, dtype=torch.float64)))
    unit = torch.rand(8, len(parameters), generator=torch.Generator().manual_seed(3)).double()
    truth = parameters.from_unit((middle * (0.9 + 0.2 * unit)).clamp(0.01, 0.99))
    known = {name: truth[:, parameters.index((name,))[0]]
             for name in parameters.select("supplied").names}  # fmt: skip
    start = parameters.from_unit((parameters.to_unit(truth) * 1.02).clamp(0, 1))
    data = (2 - 1j) * model(truth)
    result = ESTIMATORS["nlls"](model, n_starts=1).estimate(data, known, start=start)
    assert (result.quality["stop"] == 1).all()
    # Limited by the compiled models (derivatives to 1e-5), and by how well they determine theta.
    torch.testing.assert_close(
        parameters.to_unit(result.theta), parameters.to_unit(truth), rtol=0, atol=1e-4
    )
    assert (result.m0 - (2 - 1j)).abs().max() < 1e-3
