"""Non-linear least squares on a decay whose answers are known."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bids_brnn.errors import BidsBrnnError, OutputError
from bids_brnn.estimators.base import Estimate
from bids_brnn.estimators.candidates import spread_candidates
from bids_brnn.estimators.checkpoint import Checkpoint
from bids_brnn.estimators.nlls.box import box_step
from bids_brnn.estimators.nlls.estimator import STOP_REASONS, NllsEstimator, bounds_hit
from bids_brnn.estimators.nlls.starts import Candidates
from bids_brnn.information.bounds import cramer_rao_bound
from bids_brnn.parameters import MapItem, Parameter, ParameterSet
from bids_brnn.signals.base import forward_derivatives

PARAMETERS = ParameterSet(
    (
        Parameter(MapItem("R2", "1/s", "R2map", "rate"), 0.5, 200.0, 20.0, "estimated"),
        Parameter(MapItem("w0", "rad/s", "QMTmap", "offset"), -400.0, 400.0, 0.0, "nuisance"),
        Parameter(MapItem("f", "1", "QMTmap", "fast part"), 0.0, 1.0, 0.3, "estimated"),
    )
)


@dataclass(frozen=True)
class Decay:
    """Two pools that decay with R2 and 5 R2 and precess together."""

    parameters: ParameterSet = PARAMETERS
    n_samples: int = 40

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        time = torch.arange(1, self.n_samples + 1, dtype=theta.dtype) * 2e-3
        R2, w0, f = (theta[..., column, None] for column in range(3))
        size = (1 - f) * torch.exp(-R2 * time) + f * torch.exp(-5 * R2 * time)
        signal = torch.complex(size * torch.cos(w0 * time), size * torch.sin(w0 * time))
        return signal if basis is None else signal @ basis.conj().to(signal.dtype)

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return forward_derivatives(lambda x: self(x, basis), theta)


MODEL = Decay()
SIGMA = 1e-3


def _voxels(n: int, seed: int = 0, sigma: float = SIGMA) -> tuple[Tensor, Tensor, Tensor]:
    """Truth ``(n, 3)``, M0 ``(n,)`` and noisy data."""
    rng = torch.Generator().manual_seed(seed)
    unit = torch.rand(n, 5, generator=rng, dtype=torch.float64)
    theta = torch.stack(
        [20 + 20 * unit[:, 0], -350 + 700 * unit[:, 1], 0.3 + 0.3 * unit[:, 2]], -1
    )
    m0 = torch.polar(1 + unit[:, 3], 6 * unit[:, 4])
    signal = m0[:, None] * MODEL(theta)
    noise = torch.randn(n, 40, 2, generator=rng, dtype=torch.float64)
    return theta, m0, signal + sigma * torch.view_as_complex(noise)


def test_noiseless_data_give_the_exact_answer():
    theta, m0, data = _voxels(60, sigma=0.0)
    result = NllsEstimator(MODEL).estimate(data)
    torch.testing.assert_close(result.theta, theta, rtol=1e-7, atol=1e-6)
    torch.testing.assert_close(result.m0, m0, rtol=1e-7, atol=0)
    assert result.residual.max() < 1e-8
    assert (result.quality["stop"] == 1).all()


def test_errors_are_those_of_the_bound_and_std_says_so():
    theta, m0, data = _voxels(1500)
    result = NllsEstimator(MODEL).estimate(data)
    bound = cramer_rao_bound(MODEL, theta).sqrt() * SIGMA / m0.abs()[:, None]
    z = (result.theta - theta) / bound
    # 1500 normal values: sd of the sd is 1.8 %, of the mean 2.6 %; four of them.
    assert ((z.std(0) - 1).abs() < 0.075).all()
    assert (z.mean(0).abs() < 0.105).all()
    # The noise of each voxel comes from 75 degrees of freedom: 8 % scatter, 0.3 % bias of the sd.
    torch.testing.assert_close((result.std / bound).mean(0), torch.ones(3).double(), rtol=0.02,
                               atol=0)  # fmt: skip
    known = NllsEstimator(MODEL).estimate(data, sigma=torch.full((1500,), SIGMA))
    torch.testing.assert_close(known.std, bound, rtol=0.05, atol=0)


@dataclass(frozen=True)
class Guess:
    """An estimator that knows some data."""

    data: Tensor
    theta: Tensor
    name: str = "guess"
    parameters: ParameterSet = PARAMETERS

    def estimate(
        self, data, supplied=None, *, sigma=None, progress=None, checkpoint=None
    ) -> Estimate:
        index = [int((self.data == row).all(-1).nonzero()[0]) for row in data]
        nothing = torch.zeros(len(data))
        return Estimate(self.theta[index], nothing, nothing)


def test_start_values_estimator_and_candidates_lead_to_the_same_minimum():
    theta, _, data = _voxels(80)
    reference = NllsEstimator(MODEL).estimate(data).theta
    shifted = theta * torch.tensor([1.3, 0.97, 0.9])

    guess = shifted.clone()
    guess[::2, 1] = torch.nan  # no idea of the offset: found among the candidates
    rng = torch.Generator().manual_seed(1)
    draws = PARAMETERS.from_unit(torch.rand(3000, 3, generator=rng, dtype=torch.float64))
    for found in (
        NllsEstimator(MODEL).estimate(data, start=shifted),
        NllsEstimator(MODEL, start=Guess(data, guess)).estimate(data),
        NllsEstimator(MODEL, start=draws).estimate(data),
    ):
        # All stop within 1 % of a standard deviation of the minimum.
        torch.testing.assert_close(found.theta, reference, rtol=1e-3, atol=1e-2)


def test_a_local_minimum_is_left_by_further_starts():
    theta, _, data = _voxels(40)
    wrong = theta.clone()
    wrong[:, 1] -= 300 * torch.sign(theta[:, 1])
    once = NllsEstimator(MODEL, n_starts=1).estimate(data, start=wrong)
    again = NllsEstimator(MODEL, retry_residual=0.01).estimate(data, start=wrong)
    # Slow R2 with a large fast part mimics the truth to 3 %; noise is 0.3 %.
    trapped = once.residual > 0.02
    assert 5 < trapped.sum() < 35
    assert again.residual.max() < 0.01
    assert torch.equal(again.quality["starts"] > 1, trapped)
    assert (again.quality["iterations"][trapped] > once.quality["iterations"][trapped]).all()
    torch.testing.assert_close(again.theta, theta, rtol=0.1, atol=1)


def test_an_estimator_in_the_wrong_minimum_is_corrected():
    theta, _, data = _voxels(40)
    wrong = theta.clone()
    wrong[:, 1] -= 300 * torch.sign(theta[:, 1])
    # Below the limit of a high residual (5 %), but candidates promise better.
    once = NllsEstimator(MODEL, start=Guess(data, wrong), n_starts=1).estimate(data)
    assert once.residual.max() > 0.02
    again = NllsEstimator(MODEL, start=Guess(data, wrong)).estimate(data)
    assert again.residual.max() < 0.01


def test_a_minimum_outside_the_box_ends_on_the_bound_and_says_so():
    narrow = Decay(PARAMETERS.replace("R2", upper=30.0))
    theta, _, data = _voxels(200)
    result = NllsEstimator(narrow, retry_residual=0.02).estimate(data, sigma=SIGMA)
    beyond, inside = theta[:, 0] > 31, theta[:, 0] < 29
    low, up = bounds_hit(result.quality["at_bound"], PARAMETERS)["R2"]
    # Some prefer the mimic (slow R2, large fast part) to the constrained truth.
    beyond &= result.theta[:, 2] < 0.7
    assert beyond.sum() > 50
    assert up[beyond].all()
    assert (result.theta[beyond, 0] == 30).all()
    assert not up[inside].any()
    assert not low.any()
    # What is left of the decay is fitted with the other parameters: the constrained optimum.
    held = NllsEstimator(MODEL).estimate(data, {"R2": torch.full((200,), 30.0)}, sigma=SIGMA)
    torch.testing.assert_close(
        result.theta[beyond, 1:], held.theta[beyond, 1:], rtol=1e-3, atol=1e-2
    )
    free = NllsEstimator(MODEL).estimate(data, sigma=SIGMA)
    torch.testing.assert_close(result.theta[inside], free.theta[inside], rtol=1e-3, atol=1e-2)


def test_an_undetermined_parameter_has_a_std_as_wide_as_its_bounds():
    R2 = torch.tensor([10.0, 20.0, 30.0], dtype=torch.float64)
    theta = torch.stack([R2, torch.zeros(3).double(), torch.full((3,), 0.3).double()], -1)

    @dataclass(frozen=True)
    class Blind(Decay):
        def __call__(self, theta, basis=None):
            return super().__call__(torch.cat([theta[..., :2], 0 * theta[..., 2:]], -1), basis)

    model = Blind()
    result = NllsEstimator(model).estimate(model(theta) * 2, sigma=SIGMA)
    torch.testing.assert_close(result.std[:, 2], torch.ones(3).double())
    torch.testing.assert_close(result.theta[:, 0], R2, rtol=1e-5, atol=0)
    two = cramer_rao_bound(Decay(PARAMETERS.with_role("f", "supplied")), theta * 1.0)
    assert torch.isfinite(two).all()
    assert (result.std[:, 0] < 1).all()


def test_any_parameter_may_be_supplied_even_all():
    theta, m0, data = _voxels(20)
    maps = {name: theta[:, column] for column, name in enumerate(PARAMETERS.names)}
    result = NllsEstimator(MODEL).estimate(data, maps)
    torch.testing.assert_close(result.theta, theta)
    torch.testing.assert_close(result.m0, m0, rtol=0.01, atol=0)
    assert (result.std == 0).all()
    assert (result.quality["stop"] == 1).all()


def test_impossible_supplied_values_are_nan_there_only():
    theta, _, data = _voxels(6)
    offset = theta[:, 1].clone()
    offset[2], offset[4] = torch.nan, 1e4
    result = NllsEstimator(MODEL).estimate(data, {"w0": offset})
    invalid = torch.isnan(result.theta).all(-1)
    assert invalid.tolist() == [False, False, True, False, True, False]
    assert result.quality["stop"].tolist() == [1, 1, 0, 1, 0, 1]
    assert 0 in STOP_REASONS


def test_a_model_that_breaks_down_is_reported_not_raised():
    class Broken(Decay):
        def linearize(self, theta, basis=None):
            signal, slopes = super().linearize(theta, basis)
            return signal * torch.nan, slopes

    theta, _, data = _voxels(4)
    result = NllsEstimator(Broken(), start=theta[:1].clone()).estimate
    with pytest.raises(BidsBrnnError, match="finite"):
        result(data)
    kept = NllsEstimator(Broken(), n_starts=1).estimate(data, start=theta)
    assert torch.isnan(kept.theta).all()
    assert (kept.quality["stop"] == 4).all()


def test_the_iteration_limit_is_reported():
    theta, _, data = _voxels(5)
    start = theta * torch.tensor([1.5, 0.98, 0.9])
    result = NllsEstimator(MODEL, max_iterations=2, n_starts=1).estimate(data, start=start)
    assert (result.quality["stop"] == 3).all()
    assert (result.quality["iterations"] == 2).all()
    assert torch.isfinite(result.theta).all()


def test_block_size_changes_nothing():
    _, _, data = _voxels(90)
    one = NllsEstimator(MODEL).estimate(data)
    other = NllsEstimator(MODEL, block_size=7).estimate(data)
    torch.testing.assert_close(one.theta, other.theta, rtol=1e-9, atol=0)
    torch.testing.assert_close(one.std, other.std, rtol=1e-9, atol=0)


def test_threads_change_nothing(monkeypatch):
    monkeypatch.setattr("bids_brnn.estimators.nlls.estimator._BLOCK", (8192, 64, 2))
    _, _, data = _voxels(300)  # four blocks of two threads
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            found.append(NllsEstimator(MODEL).estimate(data))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for name in ("theta", "std", "m0", "residual"):  # bit for bit
        first, *others = (getattr(one, name) for one in found)
        for other in others:
            torch.testing.assert_close(first, other, rtol=0, atol=0, equal_nan=True)


def test_progress_counts_voxels_that_can_be_estimated():
    _, _, data = _voxels(10)
    data[3] = 0
    seen: list[tuple[int, int]] = []
    NllsEstimator(MODEL, block_size=4).estimate(data, progress=lambda *call: seen.append(call))
    assert seen == [(4, 9), (8, 9), (9, 9)]


class _KilledError(Exception):
    pass


def _killed_run(path, data, estimator, after: int = 2) -> None:
    def stop(done: int, total: int) -> None:
        if done >= after * estimator.block_size:
            raise _KilledError

    with pytest.raises(_KilledError):
        estimator.estimate(data, checkpoint=Checkpoint(path, interval=0.0), progress=stop)


def test_a_killed_run_goes_on_and_ends_identically(tmp_path):
    _, _, data = _voxels(30)
    data[11] = torch.nan
    data = data.to(torch.complex64)
    estimator = NllsEstimator(MODEL, block_size=8)
    path = tmp_path / "partial.safetensors"
    _killed_run(path, data, estimator)
    seen: list[int] = []
    resumed = estimator.estimate(
        data, checkpoint=Checkpoint(path), progress=lambda done, _: seen.append(done)
    )
    whole = estimator.estimate(data)
    assert seen == [24, 29]  # 16 were done
    for name in ("theta", "m0", "residual", "std"):
        torch.testing.assert_close(
            getattr(resumed, name), getattr(whole, name), rtol=0, atol=0, equal_nan=True
        )
    for name, values in whole.quality.items():
        assert torch.equal(values, resumed.quality[name])
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("change", ["data", "options", "model", "supplied", "sigma", "broken"])
def test_a_checkpoint_of_something_else_is_not_used(tmp_path, change):
    theta, _, data = _voxels(20)
    estimator = NllsEstimator(MODEL, block_size=8)
    path = tmp_path / "partial.safetensors"
    _killed_run(path, data, estimator)
    supplied, sigma = None, None
    if change == "data":
        data = data.clone()
        data[19, 0] += 1e-12
    elif change == "options":
        estimator = NllsEstimator(MODEL, block_size=8, tolerance=0.02)
    elif change == "model":
        estimator = NllsEstimator(Decay(PARAMETERS.replace("R2", upper=150.0)), block_size=8)
    elif change == "supplied":
        supplied = {"w0": theta[:, 1]}
    elif change == "sigma":
        sigma = 2 * SIGMA
    else:
        path.write_bytes(path.read_bytes()[:200])
    seen: list[int] = []
    estimator.estimate(
        data, supplied, sigma=sigma, checkpoint=Checkpoint(path),
        progress=lambda done, _: seen.append(done),
    )  # fmt: skip
    assert seen[0] == 8


def test_a_checkpoint_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    place = Checkpoint(tmp_path / "file" / "partial.safetensors", interval=0.0)
    with pytest.raises(OutputError, match=r"partial\.safetensors"):
        NllsEstimator(MODEL).estimate(_voxels(3)[2], checkpoint=place)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NllsEstimator(MODEL, n_starts=0), "n_starts"),
        (lambda: NllsEstimator(MODEL, start=torch.zeros(4, 2)), "candidates"),
        (lambda: NllsEstimator(MODEL).estimate(_voxels(3)[2], start=torch.zeros(2, 3)), "start"),
        (lambda: NllsEstimator(MODEL).estimate(_voxels(3)[2], sigma=torch.ones(2)), "sigma"),
        (lambda: NllsEstimator(MODEL, start=np.ones((4, 3))), "candidates are a ndarray"),
        (lambda: NllsEstimator(MODEL, start=1e6 * torch.ones(4, 3)), "check their units"),
        (lambda: NllsEstimator(MODEL, tolerance=float("nan")), "tolerance"),
        (lambda: NllsEstimator(MODEL, retry_residual=-1.0), "retry_residual"),
        (
            lambda: NllsEstimator(MODEL).estimate(_voxels(3)[2], start=torch.ones(3, 3) + 1j),
            "give real numbers",
        ),
        (lambda: NllsEstimator(MODEL).estimate(_voxels(3)[2].real), "complex"),
    ],
)
def test_misuse_is_refused_in_words(make, words):
    with pytest.raises(BidsBrnnError, match=words):
        make()


def test_box_step_solves_the_bounded_quadratic():
    rng = torch.Generator().manual_seed(5)
    root = torch.randn(300, 4, 4, generator=rng, dtype=torch.float64)
    matrix = root @ root.mT + 0.1 * torch.eye(4)
    gradient = torch.randn(300, 4, generator=rng, dtype=torch.float64)
    here = torch.rand(300, 4, generator=rng, dtype=torch.float64)
    step = box_step(matrix, gradient, -here, 1 - here)
    assert ((here + step >= -1e-15) & (here + step <= 1 + 1e-15)).all()

    def value(d):
        return (gradient * d).sum(-1) + (d * (matrix @ d[..., None])[..., 0]).sum(-1) / 2

    free = -torch.linalg.solve(matrix, gradient)
    inside = ((here + free > 0) & (here + free < 1)).all(-1)
    assert inside.sum() > 3
    torch.testing.assert_close(step[inside], free[inside])
    # Projected gradient descent, run to its end, is the exact answer.
    exact = torch.zeros_like(step)
    largest = torch.linalg.eigvalsh(matrix)[:, -1:]
    for _ in range(4000):
        slope = gradient + (matrix @ exact[..., None])[..., 0]
        exact = torch.minimum(torch.maximum(exact - slope / largest, -here), 1 - here)
    best = value(exact)
    torch.testing.assert_close(value(step), best, rtol=1e-4, atol=1e-6)


def test_candidates_cover_the_bounds_and_gather_around_the_start():
    parameters = PARAMETERS.with_role("f", "supplied")
    points = spread_candidates(parameters, 1024)
    lower, upper = parameters.bounds(points)
    assert ((points >= lower) & (points <= upper)).all()
    share = [0.25, 0.5, 0.75]
    gathered = torch.arange(1024) >= 256
    quarters = [
        torch.quantile(part, torch.tensor(share).double())
        for part in (points[gathered, 0], points[~gathered, 0], points[:, 1], points[:, 2])
    ]
    # R2: logarithmic, 1/8 of the way from 20 to the bounds, or half of the way where even.
    expected = [
        [20 * (0.5 / 20) ** 0.125, 20, 20 * 10**0.125],
        [20 * (0.5 / 20) ** 0.5, 20, 20 * 10**0.5],
        [-200, 0, 200],
        [0.15, 0.3, 0.65],
    ]
    for found, wanted in zip(quarters, expected, strict=True):
        torch.testing.assert_close(
            found, torch.tensor(wanted).double(), rtol=0.06, atol=8e-3 * 400
        )
    assert torch.equal(points, spread_candidates(parameters, 1024))


def test_candidates_step_along_their_tangent():
    theta, _, data = _voxels(50)
    table = Candidates.simulate(MODEL, spread_candidates(PARAMETERS, 512))
    coarse = Candidates(table.unit, table.signal, None)
    data = data / data.norm(dim=-1, keepdim=True)
    truth = PARAMETERS.to_unit(theta)
    error, plain_error = (
        (kind.starts(data, {}).take_best()[0][:, 1] - truth[:, 1]).abs()
        for kind in (table, coarse)
    )
    assert error.median() < 0.3 * plain_error.median()
    given = table.starts(data, {1: truth[:, 1]})
    torch.testing.assert_close(given.unit[:, :, 1], truth[:, 1:2].expand(-1, 32))
    best, cost = given.take_best()
    again, more = given.take_best()
    assert (more >= cost).all()
    assert not torch.equal(best, again)


_MEMORY = """
import sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[1])
torch.set_num_threads(1)
from bids_brnn.estimators.nlls.estimator import NllsEstimator
from bids_brnn.parameters import MapItem, Parameter, ParameterSet

items = tuple(
    Parameter(MapItem(f"p{k}", "1", "QMTmap", "x"), 0.0, 1.0, 0.5, "estimated") for k in range(8)
)

class Plane:
    parameters, n_samples = ParameterSet(items), 15
    slopes = torch.randn(15, 8, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    def __call__(self, theta, basis=None):
        return 1 + theta.to(self.slopes.dtype) @ self.slopes.mT
    def linearize(self, theta, basis=None):
        return self(theta), self.slopes.expand(len(theta), 15, 8)

def memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

estimator = NllsEstimator(Plane(), n_starts=1, max_iterations=2)
def run(n):
    data = torch.ones(n, 15, dtype=torch.complex64)
    data[:, 3] = 0.5j
    return estimator.estimate(data, start=torch.full((n, 8), 0.5))
def peak(n):
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    run(n)
    return memory("VmHWM")
peak(10_000)
few, many = 20_000, 320_000  # what the allocator keeps or not (10 MB) is then 33 B per voxel
low, high = peak(few), peak(many)
per_voxel = (high - low) / (many - few)
print(per_voxel, low - few * per_voxel)
"""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc"
)
def test_a_whole_brain_fits_into_four_gigabytes():
    from bids_brnn import __file__ as home

    told = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(Path(home).parents[1])],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    per_voxel, base = map(float, told.stdout.split())
    print(f"{per_voxel:.0f} B per voxel on top of {base / 2**20:.0f} MiB")
    assert base + per_voxel * 240 * 240 * 160 < 4e9
    assert per_voxel > 15 * 8  # the data themselves: else nothing was measured
