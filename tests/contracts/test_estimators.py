"""Every estimator keeps the promises of ``estimators.base.Estimator``.

A new estimator is covered by its entry in the registry; the network is trained here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from bids_brnn.errors import BidsBrnnError
from bids_brnn.estimators import estimators
from bids_brnn.estimators.base import Estimate, Estimator
from bids_brnn.estimators.candidates import spread_candidates
from bids_brnn.estimators.checkpoint import Checkpoint
from bids_brnn.estimators.network.estimator import NetworkEstimator
from bids_brnn.learning.config import TrainingConfig
from bids_brnn.learning.networks import NetworkSpec, build_network
from bids_brnn.learning.trainer import train
from bids_brnn.learning.training_set import simulate_fingerprints
from bids_brnn.priors import Prior, TissueClass, uniform
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.signals.base import SignalModel
from bids_brnn.signals.one_pool.fisp import EpgFisp
from bids_brnn.signals.subspace import CompressedSignal, Subspace
from tests.elsewhere import DEVICES

N_VOXELS = 40


@dataclass(frozen=True)
class Case:
    """An estimator, data it can invert, and the truth."""

    estimator: Estimator
    model: SignalModel
    truth: Tensor
    data: Tensor
    supplied: dict[str, Tensor]

    @property
    def chooses(self) -> bool:
        """Whether it is one of those that choose among points, as a dictionary does."""
        return self.estimator.name not in ("nlls", "brnn")

    @property
    def round_off(self) -> float:
        """What another order of summation changes: the network computes in float32."""
        return 1e-5 if self.estimator.name == "brnn" else 1e-6


def _model(kind: str) -> SignalModel:
    frames = EpgFisp(jiang_like_train(40))
    if kind == "frames":
        return frames
    signals = frames(spread_candidates(frames.parameters, 200))
    basis = torch.linalg.svd(signals.mH, full_matrices=False)[0][:, :6]
    return CompressedSignal(frames, Subspace(basis))


def _atoms(model: SignalModel) -> Tensor:
    # Atoms at the supplied B1 values would be luck; they are spread like everything else.
    atoms = spread_candidates(model.parameters, 1000)
    atoms[:, 2] = 0.7 + 0.6 * (atoms[:, 2] - 0.4) / 1.2
    return atoms


def _trained(model: SignalModel) -> NetworkEstimator:
    """A network of two seconds' training, with errors below 1 % at the noise of these tests."""
    ranges = {"R1": uniform(0.4, 2.2), "R2": uniform(7, 22), "B1": uniform(0.7, 1.3)}
    prior = Prior(model.parameters, (TissueClass("all", 1, ranges),))
    theta = prior.sample(4000, rng=torch.Generator().manual_seed(0))
    spec = NetworkSpec(model.n_samples, ("R1", "R2"), supplied=("B1",), width=32, blocks=2)
    stage = {"loss": {"name": "mse-crb", "mirrored": False}, "steps": 400, "batch": 256,
             "learning_rate": 5e-3, "warmup": 20}  # fmt: skip
    options = {"snr_range": [500, 5000], "averaging": 0.98, "precision": "float32"}
    config = TrainingConfig.from_dict({"stages": [stage], **options})
    data = simulate_fingerprints(model, theta)
    network = train(build_network(spec), data, model.parameters, config).network
    return NetworkEstimator(network.requires_grad_(False), model)


def _build(name: str, model: SignalModel) -> Estimator:
    entry = estimators()[name]
    if entry.trained:
        return _trained(model)
    return entry.build(model, **({entry.points: _atoms(model)} if entry.points else {}))


@pytest.fixture(scope="module", params=["frames", "coefficients"])
def model(request) -> SignalModel:
    return _model(request.param)


@pytest.fixture(scope="module", params=list(estimators()))
def case(request, model) -> Case:
    rng = torch.Generator().manual_seed(4)
    truth = torch.empty(N_VOXELS, 3, dtype=torch.float64)
    for column, (low, high) in enumerate(((0.5, 2.0), (8.0, 20.0), (0.8, 1.2))):
        truth[:, column].uniform_(low, high, generator=rng)
    signal = model(truth)
    noise = torch.randn(signal.shape, dtype=torch.complex128, generator=rng)
    scale = torch.polar(1 + truth[:, 0], truth[:, 1]).to(torch.complex128)[:, None]
    data = scale * (signal + 1e-3 * signal.abs().mean() * noise)
    return Case(_build(request.param, model), model, truth, data, {"B1": truth[:, 2]})


def _run(case: Case, rows: object = slice(None), data: Tensor | None = None) -> Estimate:
    voxels = (case.data if data is None else data)[rows]
    supplied = {name: values[rows] for name, values in case.supplied.items()}
    return case.estimator.estimate(voxels, supplied)


def _same(case: Case, one: Estimate, other: Estimate) -> None:
    rtol = case.round_off
    torch.testing.assert_close(one.theta, other.theta, rtol=rtol, atol=0, equal_nan=True)
    # The residual is a small difference of numbers near 1, the standard deviation without sigma
    # a multiple of it.
    float32 = case.estimator.name == "brnn"
    torch.testing.assert_close(
        one.residual, other.residual, rtol=rtol, atol=1e-6 if float32 else 1e-12, equal_nan=True
    )
    assert (one.std is None) == (other.std is None)
    if one.std is not None and other.std is not None:
        torch.testing.assert_close(
            one.std, other.std, rtol=1e-3 if float32 else 1e-6, atol=0, equal_nan=True
        )


def _identical(one: Estimate, other: Estimate) -> None:
    assert one.quality.keys() == other.quality.keys()
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("theta", "m0", "residual")]
    pairs += [(values, other.quality[name]) for name, values in one.quality.items()]
    for mine, yours in [*pairs, (one.std, other.std)]:
        torch.testing.assert_close(mine, yours, rtol=0, atol=0, equal_nan=True)


def test_it_is_an_estimator_under_its_own_name(case):
    assert isinstance(case.estimator, Estimator)
    assert estimators()[case.estimator.name].name == case.estimator.name
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
    # The noise allows 1 %, the short training of the network 2 %; a dictionary without atoms at
    # the B1 of a voxel also errs by its spacing, 15 % here.
    limit = {"nlls": 0.01, "brnn": 0.02}.get(case.estimator.name, 0.15)
    error = (result.theta[:, :2] / case.truth[:, :2] - 1).abs().median(0).values
    assert (error < limit).all()


def test_residual_and_m0_describe_the_fit(case):
    result = _run(case)
    signal = case.model(result.theta)
    fit = result.m0[:, None] * signal
    residual = (case.data - fit).norm(dim=-1) / case.data.norm(dim=-1)
    # A dictionary reports its atom, which may carry another value of B1 than the supplied one;
    # the signal of the network's estimate is computed in float32.
    tolerance = {"nlls": 1e-6, "brnn": 1e-5}.get(case.estimator.name, 5e-2)
    torch.testing.assert_close(result.residual, residual, rtol=0, atol=tolerance)


@pytest.mark.parametrize("factor", [1e-60, 1e60, 1e9, 3.0j, -0.2 + 0.7j])
def test_a_complex_factor_changes_m0_only(case, factor):
    plain, scaled = _run(case), _run(case, data=case.data * factor)
    _same(case, plain, scaled)
    torch.testing.assert_close(scaled.m0, plain.m0 * factor, rtol=1e-5, atol=0)


def test_order_split_and_batch_size_do_not_matter(case):
    whole = _run(case)
    order = torch.randperm(N_VOXELS, generator=torch.Generator().manual_seed(1))
    parts = [_run(case, rows) for rows in (slice(0, 1), slice(1, 18), slice(18, None))]
    small = replace(case.estimator, block_size=7).estimate(case.data, case.supplied)
    for theta, expected in (
        (_run(case, order).theta, whole.theta[order]),
        (torch.cat([part.theta for part in parts]), whole.theta),
        (small.theta, whole.theta),
    ):
        # Atoms are matched in single precision: two that match alike to 1e-7 may swap, which
        # moves the estimate by far less than the noise (1 %).
        torch.testing.assert_close(theta, expected, rtol=2e-3, atol=0)
        same = torch.isclose(theta, expected, rtol=case.round_off, atol=0).all(-1)
        assert same.double().mean() >= (0.9 if case.chooses else 1)


def test_the_same_input_gives_the_same_output(case):
    _identical(_run(case), _run(case))


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
    torch.testing.assert_close(
        marred.theta[others], plain.theta[others], rtol=case.round_off, atol=0
    )
    assert int(marred.residual.isnan().sum()) == 1


def test_only_impossible_voxels_or_none_at_all(case):
    for n in (3, 0):
        result = _run(case, slice(0, n), data=torch.zeros_like(case.data))
        assert result.theta.shape == (n, 3)
        assert torch.isnan(result.theta).all()
        assert int(result.residual.isnan().sum()) == n


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
    assert (result.residual <= 1 + (1e-6 if case.estimator.name == "brnn" else 1e-9)).all()


def test_supplied_values_are_used_and_kept(case):
    result = _run(case)
    assert torch.equal(result.theta[:, 2], case.truth[:, 2])
    assert result.std is None or (result.std[:, 2] == 0).all()
    wrong = case.estimator.estimate(case.data, {"B1": torch.full((N_VOXELS,), 1.0)})
    error = (result.theta[:, 1] / case.truth[:, 1] - 1).abs().mean()
    assert (wrong.theta[:, 1] / case.truth[:, 1] - 1).abs().mean() > 1.5 * error


def test_without_a_map_the_start_value_is_used(case):
    result = case.estimator.estimate(case.data)
    assert (result.theta[:, 2] == case.model.parameters["B1"].start).all()


def test_a_noise_level_may_have_another_precision_than_the_data(case):
    data = case.data[:4].to(torch.complex64)
    supplied = {name: values[:4] for name, values in case.supplied.items()}
    for sigma in (torch.full((4,), 1e-2, dtype=torch.float64), torch.full((4,), 1e-2)):
        told = case.estimator.estimate(data, supplied, sigma=sigma)
        assert told.theta.dtype == torch.float32
        assert torch.isfinite(told.theta).all()


def test_a_noise_level_that_is_not_positive_is_taken_from_the_residual(case):
    sigma = torch.full((N_VOXELS,), 1e-2)
    sigma[::3], sigma[1::3] = 0, torch.nan
    told = case.estimator.estimate(case.data, case.supplied, sigma=sigma)
    found = _run(case)
    unknown = torch.arange(N_VOXELS) % 3 < 2
    for name in ("theta", "std", "residual"):
        mine, theirs = getattr(told, name)[unknown], getattr(found, name)[unknown]
        torch.testing.assert_close(mine, theirs, rtol=case.round_off, atol=0)
    assert (told.std[~unknown, :2] > 2 * found.std[~unknown, :2]).all()


class _KilledError(Exception):
    pass


def test_a_killed_run_goes_on_and_ends_identically(case, tmp_path):
    estimator = replace(case.estimator, block_size=7)
    data = case.data.clone()
    data[3] = 0
    calls: list[tuple[int, int]] = []
    whole = estimator.estimate(data, case.supplied, progress=lambda *call: calls.append(call))
    assert calls[-1] == (N_VOXELS - 1, N_VOXELS - 1)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})

    def stop(*call: int) -> None:
        assert call == calls[0]
        raise _KilledError

    place = Checkpoint(tmp_path / "partial.safetensors", interval=0.0)
    with pytest.raises(_KilledError):
        estimator.estimate(data, case.supplied, progress=stop, checkpoint=place)
    left: list[tuple[int, int]] = []
    resumed = replace(estimator).estimate(
        data, case.supplied, progress=lambda *call: left.append(call), checkpoint=place
    )
    assert left == calls[1:]  # nothing is done twice
    _identical(resumed, whole)


@pytest.mark.parametrize("moved", DEVICES)
def test_results_lie_where_the_data_are(case, moved):
    here = _run(case)
    data = moved(case.data)
    there = case.estimator.estimate(data, {"B1": moved(case.truth[:, 2])})
    maps = [there.theta, there.m0, there.residual, there.std, *there.quality.values()]
    assert {values.device for values in maps} == {data.device}
    # Fits end within 1 % of the noise of the minimum, and two atoms may swap.
    close = torch.isclose(there.theta.cpu(), here.theta, rtol=1e-3, atol=0).all(-1)
    assert close.double().mean() > 0.9


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


@pytest.mark.parametrize("sigma", [-1.0, float("nan"), torch.tensor([1e-2, -1e-2] * 20)])
def test_a_noise_level_that_no_data_can_have_is_not_taken_as_unknown(case, sigma):
    with pytest.raises(BidsBrnnError, match="a standard deviation is a finite number above 0"):
        case.estimator.estimate(case.data, case.supplied, sigma=sigma)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"supplied": {"B1": torch.ones(N_VOXELS, dtype=torch.complex64)}}, "give real numbers"),
        ({"supplied": {"B1": torch.ones(N_VOXELS, dtype=torch.bool)}}, "give real numbers"),
        ({"supplied": {"B1": torch.ones(N_VOXELS, requires_grad=True)}}, "without a gradient"),
        ({"supplied": {"B1": torch.ones(N_VOXELS, 1)}}, "B1 has shape"),
        ({"supplied": torch.ones(N_VOXELS)}, "give maps by name"),
        ({"sigma": torch.ones(N_VOXELS // 8, 8)}, "or one for each voxel"),
        ({"sigma": torch.ones(N_VOXELS, dtype=torch.complex64)}, "give a real number"),
        ({"sigma": "0.1"}, "sigma is a str"),
    ],
)
def test_what_would_be_half_heard_is_refused(case, change, words):
    arguments = {"supplied": case.supplied, **change}
    with pytest.raises(BidsBrnnError, match=words):
        case.estimator.estimate(case.data, **arguments)


def test_data_with_a_gradient_are_refused(case):
    with pytest.raises(BidsBrnnError, match="no estimator passes on"):
        case.estimator.estimate(case.data.clone().requires_grad_(), case.supplied)


def test_the_log_says_why_voxels_cannot_be_estimated(case, caplog):
    percent = {"B1": 100 * case.supplied["B1"]}
    found = case.estimator.estimate(case.data, percent)
    assert found.theta.isnan().all()
    low, high = (getattr(case.estimator.parameters["B1"], side) for side in ("lower", "upper"))
    assert f"(B1 beyond {low:g} to {high:g} or missing)" in caplog.text


def test_what_is_no_tensor_is_refused_in_words(case):
    with pytest.raises(BidsBrnnError, match="data are a ndarray; give a tensor"):
        case.estimator.estimate(case.data.numpy(), case.supplied)
    for value in (1.0, np.ones(N_VOXELS)):
        with pytest.raises(BidsBrnnError, match=r"the supplied B1 is a .*; give a tensor"):
            case.estimator.estimate(case.data, {"B1": value})
