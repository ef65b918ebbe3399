"""Dictionary matching: exact search, values between atoms, B1 bins, cache, interruption."""

from __future__ import annotations

import logging
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from bids_brnn.errors import DataError, ParameterError
from bids_brnn.estimators.checkpoint import Checkpoint
from bids_brnn.estimators.dictionary import cache, library
from bids_brnn.estimators.dictionary.atoms import (
    LOST_ENERGY,
    default_atoms,
    leading_eigenvectors,
    log_grid,
    simulate,
)
from bids_brnn.estimators.dictionary.estimator import DictionaryEstimator
from bids_brnn.estimators.dictionary.search import SearchTree, best_atoms
from bids_brnn.information.bounds import cramer_rao_bound
from bids_brnn.parameters import RELAXATION
from bids_brnn.sequences.designs import balanced_train, jiang_like_train
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals.one_pool.bssfp import BalancedSsfp
from bids_brnn.signals.one_pool.fisp import EpgFisp
from bids_brnn.signals.subspace import CompressedSignal, Subspace
from bids_brnn.zoo.recipe import EstimatorRecipe

CPU = torch.device("cpu")
M0 = 30 * complex(math.cos(2.0), math.sin(2.0))


def balanced(n: int) -> BalancedSsfp:
    """After an inversion, random flip angles; the RF phase advances quadratically."""
    shape = (1, n)
    return BalancedSsfp(
        PulseSequence(
            flip_angle=np.random.default_rng(8).uniform(0.1, 1.5, shape),
            rf_duration=np.zeros(shape),
            rf_phase=0.01 * np.arange(n)[None] ** 2,
            repetition_time=np.full(shape, 0.006),
            echo_time=np.full((*shape, 1), 0.003),
            gradient=np.full(shape, "balanced"),
            inversion=np.zeros(shape, bool),
            start="inversion",
        )
    )


@pytest.fixture(scope="module")
def model() -> EpgFisp:
    return EpgFisp(jiang_like_train(200))


def grid(n: int = 400, b1: float = 1.0) -> Tensor:
    pairs = log_grid(n, t1_range=(0.3, 3.0), t2_range=(0.03, 0.6))
    return torch.cat([pairs, torch.full((len(pairs), 1), b1, dtype=torch.float64)], 1)


@pytest.fixture(scope="module")
def atoms() -> Tensor:
    return grid()


def noise(shape, seed: int, dtype=torch.complex128) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def between(atoms: Tensor, n: int, seed: int = 3) -> Tensor:
    """Parameters anywhere within the range of ``atoms``, B1 = 1."""
    rng = torch.Generator().manual_seed(seed)
    unit = torch.rand(n, 3, dtype=torch.float64, generator=rng)
    t2 = 0.05 * (0.2 / 0.05) ** unit[:, 0]
    t1 = 0.5 * (2.0 / 0.5) ** unit[:, 1]
    return torch.stack([1 / t1, 1 / t2, torch.ones(n, dtype=torch.float64)], 1)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_finds_each_atom_and_its_scale(model, atoms, dtype):
    data = (M0 * model(atoms)).to(dtype)
    estimate = DictionaryEstimator(model, atoms, rank=20, refine=0).estimate(data)
    torch.testing.assert_close(estimate.theta, atoms.to(estimate.theta.dtype))
    assert estimate.m0.dtype == dtype
    # Rank 20 leaves out an energy of 1e-9 or less of any atom here.
    torch.testing.assert_close(estimate.m0, torch.full_like(estimate.m0, M0), rtol=1e-3, atol=0)
    assert float(estimate.residual.max()) < 1e-2
    assert float(estimate.quality["match"].min()) > 0.9999


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["real", "complex", "scattered"])
def test_pruned_search_is_exhaustive_search(precision, kind):
    """Near and far from the atoms; atoms in families, in families with phase, and scattered."""
    complex_type = torch.complex64 if precision == torch.float32 else torch.complex128
    if kind == "real":
        values = simulate(
            EpgFisp(jiang_like_train(100)), grid(1500), rank=8, dtype=precision, device=CPU,
        ).unit  # fmt: skip
        assert not values.is_complex()
    elif kind == "complex":
        bssfp = balanced(60)
        values = simulate(
            bssfp, default_atoms(bssfp.parameters, 1500), rank=8, dtype=precision, device=CPU,
        ).unit  # fmt: skip
        assert values.is_complex()
    else:
        values = noise((777, 8), 1, complex_type)
        values = values / values.norm(dim=-1, keepdim=True)
    members = values[::3].to(complex_type)
    near = members * torch.exp(1j * torch.arange(len(members)) / 7)[:, None].to(complex_type)
    data = torch.cat([near, near + 0.1 * noise(near.shape, 2, complex_type)])
    data = torch.cat([data, noise((500, 8), 4, complex_type)])
    index, match = SearchTree.build(values).best(data)
    expected = (data @ values.to(complex_type).mH).abs()
    # The attained product, not the index: atoms may tie within round-off.
    limit = 1e-5 if precision == torch.float32 else 1e-12
    assert float((match - expected.amax(1)).abs().div(match).max()) < limit
    attained = expected.gather(1, index[:, None])[:, 0]
    assert float((attained - expected.amax(1)).abs().div(match).max()) < limit
    other_index, other = best_atoms(data, values)
    assert float((match - other).abs().div(match).max()) < limit
    assert float((index == other_index).double().mean()) > 0.98


def test_blocked_search_ignores_the_borders_of_blocks(monkeypatch):
    values = noise((100, 6), 5)
    values = values / values.norm(dim=-1, keepdim=True)
    data = noise((50, 6), 6)
    whole = best_atoms(data, values)
    monkeypatch.setattr("bids_brnn.estimators.dictionary.search._DENSE_ATOMS", 7)
    monkeypatch.setattr("bids_brnn.estimators.dictionary.search._DENSE_VOXELS", 9)
    for part, reference in zip(best_atoms(data, values), whole, strict=True):
        torch.testing.assert_close(part, reference)


def test_conjugated_data_do_not_match_complex_atoms():
    model = balanced(60)
    atoms = default_atoms(model.parameters, 300)
    estimator = DictionaryEstimator(model, atoms, refine=0, rank=60)
    data = model(atoms[:50])
    assert float(estimator.estimate(data).quality["match"].min()) > 0.999
    assert float(estimator.estimate(data.conj()).quality["match"].median()) < 0.99


def test_refinement_leaves_the_grid(model, atoms):
    truth = between(atoms, 60)
    data = M0 * model(truth)
    errors = []
    for refine in (0, 1, 2):
        estimate = DictionaryEstimator(model, atoms, rank=20, refine=refine).estimate(data)
        errors.append((estimate.theta / truth - 1)[:, :2].abs().amax(0))
    # Steps of the grid are 14 %. Signals in double precision are exact to 1e-10 of their norm, of
    # which the least visible parameter shows a few hundredths.
    assert float(errors[0].min()) > 0.03
    assert bool((errors[1] < 1e-7).all())
    assert bool((errors[2] <= errors[1]).all())


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_between_atoms_and_bins_the_truth_returns(model, dtype):
    """Anywhere in tissue and fluid and between B1 bins, without noise: within 0.1 %."""
    rng = torch.Generator().manual_seed(21)
    unit = torch.rand(150, 3, dtype=torch.float64, generator=rng)
    t1 = 0.3 * (4.5 / 0.3) ** unit[:, 0]
    t2 = 0.02 * (0.6 * t1 / 0.02) ** unit[:, 1]
    truth = torch.stack([1 / t1, 1 / t2, 0.6 + 0.7 * unit[:, 2]], 1)
    basis = simulate(model, grid(), rank=10, dtype=torch.float64, device=CPU).basis
    compressed = CompressedSignal(model, Subspace(basis))
    estimator = DictionaryEstimator(compressed, n_atoms=2000)
    estimate = estimator.estimate((M0 * compressed(truth)).to(dtype), {"B1": truth[:, 2]})
    error = (estimate.theta.double() / truth - 1)[:, :2].abs()
    # Signals in single precision are exact to 1e-5 of their norm. T2 of fluid is all but invisible
    # in 200 pulses, and no step follows one below 1.5 %.
    assert float(error.max()) < (1e-3 if dtype == torch.complex64 else 2e-4)
    assert float(error.median()) < (1e-5 if dtype == torch.complex64 else 1e-7)


def test_refinement_never_lowers_the_match(model, atoms):
    data = M0 * model(between(atoms, 40)) + noise((40, 200), 8) * 0.5
    coarse = DictionaryEstimator(model, atoms, refine=0).estimate(data)
    fine = DictionaryEstimator(model, atoms, refine=1).estimate(data)
    gain = fine.quality["match"] - coarse.quality["match"]
    assert float(gain.min()) > -1e-9
    assert float(gain.max()) > 1e-5
    lower, upper = model.parameters.bounds(fine.theta)
    assert bool(((fine.theta >= lower) & (fine.theta <= upper)).all())


def test_residual_and_match_are_those_of_the_fit(model, atoms):
    data = M0 * model(between(atoms, 20)) + noise((20, 200), 9) * 0.5
    estimate = DictionaryEstimator(model, atoms, rank=20).estimate(data)
    signal = model(estimate.theta)
    left = (data - estimate.m0[:, None] * signal).norm(dim=-1) / data.norm(dim=-1)
    match = (signal.conj() * data).sum(-1).abs() / signal.norm(dim=-1) / data.norm(dim=-1)
    # The signal outside of rank 20 is below 1e-4 of the whole.
    torch.testing.assert_close(estimate.residual, left, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(estimate.quality["match"], match, rtol=1e-4, atol=0)


@pytest.mark.parametrize("refine", [0, 1])
def test_standard_deviation_is_the_bound_at_the_estimate(model, atoms, refine):
    subspace = Subspace(simulate(model, atoms, rank=8, dtype=torch.float64, device=CPU).basis)
    compressed = CompressedSignal(model, subspace)
    data = M0 * compressed(between(atoms, 20)) + noise((20, 8), 10) * 0.3
    estimator = DictionaryEstimator(compressed, atoms, refine=refine)
    sigma = torch.linspace(0.1, 1, 20)
    estimate = estimator.estimate(data, sigma=sigma)
    bound = cramer_rao_bound(compressed, estimate.theta).sqrt()
    expected = bound * (sigma / estimate.m0.abs())[:, None]
    torch.testing.assert_close(estimate.std, expected, rtol=1e-6, atol=0)
    assert bool((estimate.std[:, 2] == 0).all())
    # Without a noise level, that of the residual: 8 complex data, 2 parameters, complex M0.
    norm = estimate.residual * data.norm(dim=-1)
    unknown = estimator.estimate(data).std
    expected = bound * (norm / math.sqrt(12) / estimate.m0.abs())[:, None]
    torch.testing.assert_close(unknown, expected, rtol=1e-6, atol=0)


def test_without_derivatives(model, atoms):
    estimator = DictionaryEstimator(model, atoms, refine=0, with_std=False)
    estimate = estimator.estimate(M0 * model(atoms[:5]))
    assert estimate.std is None
    assert not bool(estimator.library.at(1.0, estimate.m0)[1]._known.any())


def test_automatic_rank_keeps_the_energy_of_the_atoms(model, atoms):
    made, _ = DictionaryEstimator(model, atoms).library.at(1.0, noise(0, 0))
    frames = model(made.theta)
    lost = 1 - float((made.coefficients.abs() ** 2).sum() / (frames.abs() ** 2).sum())
    assert 0 < lost < LOST_ENERGY
    fewer = Subspace(made.basis[:, :-1]).compress(frames)
    assert 1 - float((fewer.abs() ** 2).sum() / (frames.abs() ** 2).sum()) > LOST_ENERGY
    assert Subspace(made.basis).rank < 20


@pytest.mark.parametrize("complex_values", [False, True])
def test_leading_subspace_is_that_of_all_eigenvectors(complex_values):
    """300 samples, energies falling by a factor 2: 10 of them come from block iteration."""
    dtype = torch.complex128 if complex_values else torch.float64
    vectors = torch.linalg.qr(noise((300, 300), 20, dtype))[0]
    energy = 2.0 ** -torch.arange(300, dtype=torch.float64)
    matrix = (vectors * energy) @ vectors.mH
    found, basis = leading_eigenvectors(matrix, 10)
    assert len(found) < 300
    torch.testing.assert_close(found[:10], energy[:10], rtol=1e-10, atol=0)
    overlap = (basis[:, :10].mH @ vectors[:, :10]).abs()
    torch.testing.assert_close(overlap, torch.eye(10, dtype=torch.float64), rtol=0, atol=1e-8)


def test_time_frames_and_their_coefficients_give_the_same(model, atoms):
    basis = simulate(model, atoms, rank=9, dtype=torch.float64, device=CPU).basis
    data = M0 * model(between(atoms, 30)) + noise((30, 200), 11) * 0.3
    subspace = Subspace(basis)
    frames = DictionaryEstimator(model, atoms, rank=9).estimate(data)
    coefficients = DictionaryEstimator(CompressedSignal(model, subspace), atoms).estimate(
        subspace.compress(data)
    )
    torch.testing.assert_close(frames.theta, coefficients.theta, rtol=1e-6, atol=0)
    torch.testing.assert_close(frames.m0, coefficients.m0, rtol=1e-6, atol=0)


def test_each_voxel_is_matched_in_its_b1_bin(model):
    truth = between(grid(), 40)
    truth[:, 2] = torch.linspace(0.7, 1.25, 40, dtype=torch.float64)
    data = M0 * model(truth)
    supplied = {"B1": truth[:, 2]}
    ignored = DictionaryEstimator(model, grid()).estimate(data)
    for bins, limit in ((None, 0.01), ((0.7, 0.8, 0.9, 1.0, 1.1, 1.2), 0.04)):
        estimate = DictionaryEstimator(model, grid(), b1_bins=bins, rank=20).estimate(
            data, supplied
        )
        torch.testing.assert_close(estimate.theta[:, 2], truth[:, 2])
        error = (estimate.theta / truth - 1)[:, 1].abs()
        # Bins are up to 2.5 or 5 % off (T2 by 5 or 10 %); the step along the tangent, which knows
        # B1, leaves the second order of that.
        assert float(error.max()) < limit
    assert float((ignored.theta / truth - 1)[:, 1].abs().max()) > 0.2


def test_voxels_without_usable_b1_are_left_out(model, atoms):
    data = M0 * model(atoms[:4])
    b1 = torch.tensor([1.0, math.nan, 1.0, 9.0], dtype=torch.float64)
    estimate = DictionaryEstimator(model, atoms).estimate(data, {"B1": b1})
    assert estimate.residual.isnan().tolist() == [False, True, False, True]
    assert estimate.theta.isnan().any(1).tolist() == [False, True, False, True]


def test_off_resonance_can_be_free_or_supplied():
    model = balanced(100)
    truth = torch.tensor([[1.0, 12.0, 90.0, 1.0], [0.7, 9.0, -150.0, 1.0]], dtype=torch.float64)
    data = M0 * model(truth)
    estimator = DictionaryEstimator(
        model, default_atoms(model.parameters, 6000), refine=3, rank=60
    )
    free = estimator.estimate(data)
    known = estimator.estimate(data, {"w0": truth[:, 2]})
    for estimate in (free, known):
        # 6000 atoms in three dimensions are 20 % apart; three steps come close.
        torch.testing.assert_close(estimate.theta, truth, rtol=0.02, atol=1.0)
    assert bool((free.std[:, 2] > 0).all())
    assert bool((known.theta[:, 2] == truth[:, 2]).all())
    assert bool((known.std[:, 2] == 0).all())


def test_block_size_changes_nothing_and_progress_counts(model, atoms):
    data = M0 * model(between(atoms, 50)) + noise((50, 200), 12) * 0.5
    data[3], data[7] = math.nan, 0
    supplied = {"B1": torch.linspace(0.9, 1.1, 50, dtype=torch.float64)}
    seen: list[tuple[int, int]] = []
    whole = DictionaryEstimator(model, atoms).estimate(data, supplied)
    parts = DictionaryEstimator(model, atoms, block_size=3).estimate(
        data, supplied, progress=lambda done, total: seen.append((done, total))
    )
    torch.testing.assert_close(whole.theta, parts.theta, rtol=1e-9, atol=0, equal_nan=True)
    torch.testing.assert_close(whole.std, parts.std, rtol=1e-9, atol=0, equal_nan=True)
    assert seen[-1] == (48, 48)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_any_scale_of_the_data(model, atoms, scale):
    data = model(between(atoms, 10)).to(torch.complex64)
    estimator = DictionaryEstimator(model, atoms)
    reference, scaled = estimator.estimate(data), estimator.estimate(data * scale)
    torch.testing.assert_close(scaled.theta, reference.theta, rtol=1e-5, atol=0)
    torch.testing.assert_close(scaled.m0 / scale, reference.m0, rtol=1e-5, atol=0)


def test_a_killed_run_resumes(model, atoms, tmp_path):
    data = M0 * model(between(atoms, 40)) + noise((40, 200), 13) * 0.5
    supplied = {"B1": torch.linspace(0.8, 1.2, 40, dtype=torch.float64).flip(0)}
    estimator = DictionaryEstimator(model, atoms, block_size=4)
    whole = estimator.estimate(data, supplied)

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    path = tmp_path / "partial.safetensors"
    with pytest.raises(KeyboardInterrupt):
        estimator.estimate(data, supplied, progress=stop, checkpoint=Checkpoint(path, 0))
    seen: list[int] = []
    resumed = estimator.estimate(
        data, supplied, progress=lambda done, _: seen.append(done), checkpoint=Checkpoint(path, 0)
    )
    assert min(seen) > 20
    torch.testing.assert_close(resumed.theta, whole.theta, rtol=0, atol=0)
    torch.testing.assert_close(resumed.m0, whole.m0, rtol=0, atol=0)
    other: list[int] = []
    estimator.estimate(
        2 * data, supplied, progress=lambda done, _: other.append(done),
        checkpoint=Checkpoint(path, 0),
    )  # fmt: skip
    assert min(other) < 20  # other data: nothing may be taken over


def test_cached_dictionary_is_used(model, atoms, tmp_path, monkeypatch):
    data = M0 * model(atoms[:9])
    first = DictionaryEstimator(model, atoms, cache_dir=tmp_path).estimate(data)
    assert len(list(tmp_path.glob("dictionary-*"))) == 1
    assert len(list(tmp_path.glob("interpolant-*"))) == 1

    def refuse(*_args, **_options):
        raise AssertionError("simulated again")

    monkeypatch.setattr(library, "simulate", refuse)
    monkeypatch.setattr(library, "interpolate", refuse)
    second = DictionaryEstimator(model, atoms, cache_dir=tmp_path).estimate(data)
    torch.testing.assert_close(second.theta, first.theta, rtol=0, atol=0)
    torch.testing.assert_close(second.m0, first.m0, rtol=0, atol=0)
    torch.testing.assert_close(second.std, first.std, rtol=0, atol=0)


def test_cache_key_changes_with_what_changes_the_dictionary(model, atoms):
    def key(model, theta=atoms, rank=5, dtype=torch.float32):
        return cache.dictionary_key(model, theta, rank, dtype)

    basis = Subspace(torch.eye(200, 5, dtype=torch.float64))
    other_basis = Subspace(torch.eye(200, 5, dtype=torch.float64).flip(0))
    keys = [
        key(model),
        key(EpgFisp(jiang_like_train(199))),
        key(EpgFisp(jiang_like_train(200, echo_time=3e-3))),
        key(EpgFisp(jiang_like_train(200), inversion_efficiency=0.9)),
        key(EpgFisp(jiang_like_train(200), slice_profile=(0.5, 1.0))),
        key(EpgFisp(jiang_like_train(200), n_states=9)),
        key(CompressedSignal(model, basis)),
        key(CompressedSignal(model, other_basis)),
        key(model, theta=atoms[1:]),
        key(model, rank=None),
        key(model, dtype=torch.float64),
    ]
    assert len(set(keys)) == len(keys)
    assert key(EpgFisp(jiang_like_train(200))) == keys[0]


@pytest.mark.parametrize("kind", ["dictionary", "interpolant"])
def test_damaged_cache_is_replaced_with_a_warning(model, atoms, tmp_path, caplog, kind):
    data = M0 * model(atoms[:9])
    first = DictionaryEstimator(model, atoms, cache_dir=tmp_path).estimate(data)
    (path,) = tmp_path.glob(f"{kind}-*")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        second = DictionaryEstimator(model, atoms, cache_dir=tmp_path).estimate(data)
    assert "unreadable" in caplog.text
    torch.testing.assert_close(second.theta, first.theta)
    assert path.read_bytes() == whole


def test_cache_that_cannot_be_written_costs_no_result(model, atoms, tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        estimate = DictionaryEstimator(model, atoms, cache_dir=blocked / "cache").estimate(
            M0 * model(atoms[:2])
        )
    assert "cannot keep the dictionary" in caplog.text
    assert bool(torch.isfinite(estimate.theta).all())


def test_many_jobs_make_the_cache_at_once(model, atoms, tmp_path):
    data = M0 * model(between(atoms, 9))

    def job(_):
        return DictionaryEstimator(model, atoms, cache_dir=tmp_path).estimate(data).theta

    with ThreadPoolExecutor(6) as jobs:
        results = list(jobs.map(job, range(6)))
    for theta in results[1:]:
        torch.testing.assert_close(theta, results[0], rtol=0, atol=0)
    # Atoms, what lies between them, and nothing temporary is left.
    assert len(list(tmp_path.iterdir())) == 2


def test_grid_covers_the_range_in_equal_ratios():
    pairs = log_grid(10_000)
    t1, t2 = (1 / pairs).T
    assert len(pairs) >= 10_000
    assert bool((t2 <= t1 * (1 + 1e-6)).all())
    for values, low, high in ((t1, 0.1, 5.0), (t2, 0.01, 2.5)):
        levels = torch.unique(values.log().round(decimals=9)).exp()
        assert float(levels[0]) == pytest.approx(low)
        assert float(levels[-1]) == pytest.approx(high)
        ratios = levels[1:] / levels[:-1]
        torch.testing.assert_close(ratios, torch.full_like(ratios, 1.0415), rtol=2e-3, atol=0)


def test_default_atoms_lie_within_bounds():
    atoms = default_atoms(RELAXATION, 2000)
    lower, upper = RELAXATION.bounds(atoms)
    assert bool(((atoms >= lower) & (atoms <= upper)).all())
    assert bool((atoms[:, 2] == 1).all())
    free = balanced(20).parameters
    spread = default_atoms(free, 2000)
    assert bool((spread[:, 1] >= spread[:, 0]).all())
    assert float(spread[:, 2].std()) > 100  # off-resonance is spread, B1 is not
    assert float(spread[:, 3].std()) == 0


def test_refuses_what_does_not_fit(model, atoms):
    estimator = DictionaryEstimator(model, atoms)
    with pytest.raises(DataError, match=r"data are \(2, 7\)"):
        estimator.estimate(torch.zeros(2, 7, dtype=torch.complex64))
    with pytest.raises(DataError, match="sigma has 3 values for 2 voxels"):
        estimator.estimate(model(atoms[:2]), sigma=torch.ones(3))
    with pytest.raises(ParameterError, match="unknown parameter T9"):
        estimator.estimate(model(atoms[:2]), {"T9": torch.ones(2)})
    with pytest.raises(DataError, match="atoms have shape"):
        DictionaryEstimator(model, atoms[:, :2])
    with pytest.raises(DataError, match="at least 1"):
        DictionaryEstimator(model, atoms, rank=0)
    with pytest.raises(DataError, match="check their units"):
        DictionaryEstimator(model, 1e3 * atoms)
    with pytest.raises(DataError, match="atoms are a ndarray"):
        DictionaryEstimator(model, atoms.numpy())
    with pytest.raises(DataError, match="bounds of B1"):
        DictionaryEstimator(model, atoms, b1_bins=[100.0])
    with pytest.raises(DataError, match="channels"):
        DictionaryEstimator(model, atoms, channels=3)
    with pytest.raises(DataError, match="do not follow what is supplied of R1"):
        DictionaryEstimator(model, atoms, refine=0).estimate(
            model(atoms[:2]), {"R1": atoms[:2, 0]}
        )
    bad = atoms.clone()
    bad[4, 0] = math.nan
    with pytest.raises(DataError, match=r"atom 5 of the dictionary .* is not finite"):
        DictionaryEstimator(model, bad, rank=3, b1_bins=None).library.at(None, model(atoms[:1]))


def test_everything_may_be_supplied(model, atoms):
    truth = between(atoms, 6)
    supplied = {name: truth[:, column] for column, name in enumerate(("R1", "R2", "B1"))}
    estimate = DictionaryEstimator(model, atoms, rank=20).estimate(M0 * model(truth), supplied)
    torch.testing.assert_close(estimate.theta, truth)
    torch.testing.assert_close(estimate.m0, torch.full_like(estimate.m0, M0), rtol=1e-3, atol=0)
    assert float(estimate.std.abs().max()) == 0


def test_scattered_atoms_are_refined_until_a_known_off_resonance_is_told():
    """One step from an atom at another off-resonance left T2 of fluids five times too small."""
    model = balanced(120)
    like = torch.zeros(1, dtype=torch.float64)
    values = [(0.24, 0.61, -40.0, 0.88), (0.83, 9.0, 25.0, 0.92), (1.3, 12.2, 60.0, 1.1)]
    theta = torch.stack(
        [model.parameters.theta(dict(zip(model.parameters.names, row, strict=True)), like)
         for row in values]
    )  # fmt: skip
    known = {name: theta[:, model.parameters.index((name,))[0]] for name in ("w0", "B1")}
    estimator = DictionaryEstimator(model, n_atoms=1500, b1_bins=[0.9, 1.1], with_std=False)
    found = estimator.estimate(M0 * model(theta), known)
    torch.testing.assert_close(found.theta[:, :2], theta[:, :2], rtol=0.02, atol=0)
    # As the application builds it: off-resonance is supplied, so that atoms are a grid at w0 = 0.
    model = BalancedSsfp(balanced_train(150))
    recipe = EstimatorRecipe("dict", "bssfp", model.sequence, supplied=("B1", "w0"))
    found = recipe.build().estimate(M0 * model(theta), known)
    torch.testing.assert_close(found.theta[:, :2], theta[:, :2], rtol=0.02, atol=0)
