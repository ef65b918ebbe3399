"""The compiled kernel against reference values, matrix exponentials and its own differences."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from bids_brnn.errors import ParameterError
from bids_brnn.information.bounds import covariance
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals.two_pools.generalized_bloch import GeneralizedBloch
from bids_brnn.signals.two_pools.kernel import run, trains, vectors
from bids_brnn.signals.two_pools.kernel.run import simulate

# Required of the fast path: relative L2 of 3e-5 (signals), 3e-4 (derivatives).
SIGNAL, SLOPE = 3e-5, 3e-4


def relative(found, expected, axis=1):
    difference = np.linalg.norm(np.asarray(found) - np.asarray(expected), axis=axis)
    return difference / np.linalg.norm(np.asarray(expected), axis=axis)


def tissues(rng, n):
    """Parameters of the training distributions."""
    low = [0.02, 0.15, 3, 4, 1, 6e-6, -600, 0.65]
    high = [0.35, 1.0, 20, 30, 6, 22e-6, 600, 1.3]
    return rng.uniform(low, high, (n, 8))


def random_trains(rng, start, phases, *, n=19, trains=2):
    """Small flip angles, waits, a crusher, a spoiler, pulses without or with two samples."""
    shape = (trains, n)
    flip = rng.uniform(0, 1.2, shape)
    flip[rng.random(shape) < 0.3] *= 0.1
    flip[rng.random(shape) < 0.2] = 0
    duration = np.maximum(rng.uniform(1e-4, 5e-4, shape), flip / (2 * np.pi * 1000))
    gradient = np.full(shape, "balanced", dtype="<U9")
    gradient[:, 0], gradient[:, n // 2] = "crusher", "spoiler"
    flip[:, 0], duration[:, 0] = np.pi, 5e-4
    tr = rng.choice([3.5e-3, 4.2e-3, 5e-3], shape)
    echo = np.full((*shape, 2), np.nan)
    echo[..., 0] = 0.4 * tr
    echo[:, ::3, 1] = 0.6 * tr[:, ::3]
    echo[:, 4] = np.nan
    phase = {
        "alternating": np.broadcast_to(np.pi * (np.arange(n) % 2), shape).copy(),
        "random": rng.uniform(0, 2 * np.pi, shape),
        "none": np.zeros(shape),
    }[phases]
    return PulseSequence(
        flip_angle=flip,
        rf_duration=duration,
        rf_phase=phase,
        repetition_time=tr,
        echo_time=echo,
        gradient=gradient,
        inversion=np.zeros(shape, bool),
        start=start,
    )


@pytest.fixture(scope="module")
def small():
    """A small train, its compiled model and parameter sets."""
    rng = np.random.default_rng(3)
    sequence = random_trains(rng, "antiperiodic", "alternating")
    return GeneralizedBloch(sequence, method="compiled"), tissues(rng, 37)


class TestReference:
    """Three parameter sets on the published trains, by an independent implementation."""

    @pytest.fixture(scope="class", params=[torch.float32, torch.float64], ids=["single", "double"])
    def linearized(self, request, spot):
        model = GeneralizedBloch(spot.sequence, method="compiled")
        return model.linearize(spot.theta.to(request.param), spot.basis)

    def test_signals(self, spot):
        model = GeneralizedBloch(spot.sequence, method="compiled")
        assert relative(model(spot.theta), spot.values["signal"]).max() < SIGNAL

    def test_coefficients_and_derivatives(self, spot, linearized):
        coefficients, slopes = linearized
        assert relative(coefficients, spot.values["coefficients"]).max() < SIGNAL
        assert relative(slopes, spot.values["coefficient_derivatives"]).max() < SLOPE

    def test_bounds(self, spot, linearized, complex_gram_bound):
        coefficients, slopes = (values.to(torch.complex128) for values in linearized)
        real = covariance(coefficients, slopes).diagonal(dim1=-2, dim2=-1)
        ratio = real / spot.values["crb_real_rank15"]
        # The bound amplifies errors of derivatives that nearly depend on each other.
        assert (ratio - 1).abs().max() < 1e-3
        ratio = complex_gram_bound(coefficients, slopes) / spot.values["crb_complex_rank15"]
        assert (ratio - 1).abs().max() < 1e-3


@pytest.mark.parametrize("phases", ["alternating", "random", "none"])
@pytest.mark.parametrize("start", ["antiperiodic", "periodic", "thermal", "inversion"])
def test_agrees_with_matrix_exponentials(start, phases):
    rng = np.random.default_rng([ord(start[0]), ord(phases[0])])
    sequence = random_trains(rng, start, phases)
    theta = torch.tensor(tissues(rng, 5))
    exact = GeneralizedBloch(sequence, method="exact")
    compiled = GeneralizedBloch(sequence, method="compiled")
    assert compiled.kernel_plan is not None
    expected, slopes = (values.numpy() for values in exact.linearize(theta))
    found, changes = compiled.linearize(theta)
    assert relative(found, expected).max() < SIGNAL
    assert relative(changes, slopes).max() < SLOPE
    # Where only samples or only coefficients are wanted, other code runs.
    assert relative(compiled(theta), expected).max() < SIGNAL
    basis = torch.tensor(np.linalg.qr(rng.normal(size=(sequence.n_samples, 18)))[0])
    coefficients, changes = compiled.linearize(theta, basis)
    scale = np.linalg.norm(expected, axis=1)
    assert (np.linalg.norm(coefficients - expected @ basis.numpy(), axis=1) / scale).max() < SIGNAL
    projected = np.einsum("vnp,nr->vrp", slopes, basis.numpy())
    error = np.linalg.norm(np.asarray(changes) - projected, axis=1)
    assert (error / np.linalg.norm(slopes, axis=1)).max() < SLOPE
    # Three sweeps against one: equal up to round-off.
    assert relative(compiled(theta, basis), coefficients).max() < 1e-12


def test_derivatives_are_those_of_its_signal(small):
    model, values = small
    theta = torch.tensor(values[:6])
    _, slopes = model.linearize(theta)
    steps = [1e-4, 1e-4, 1e-3, 1e-3, 1e-3, 1e-9, 0.05, 1e-4]
    for column, step in enumerate(steps):
        shift = torch.zeros(8, dtype=torch.float64)
        shift[column] = step
        near, far = ((model(theta + k * shift) - model(theta - k * shift)) for k in (1, 2))
        difference = (8 * near - far) / (12 * step)
        # The smallest corrections are left out of some derivatives.
        assert relative(slopes[..., column], difference).max() < 1e-4


def test_single_precision(small):
    model, values = small
    double, slopes = model.linearize(torch.tensor(values))
    single, changes = model.linearize(torch.tensor(values.astype(np.float32)))
    assert single.dtype == torch.complex64
    assert relative(single, double).max() < 1e-5
    assert relative(changes, slopes).max() < 1e-4


class TestBatches:
    """A parameter set gives the same numbers, bit for bit, whatever comes with it."""

    @pytest.mark.parametrize("projected", [False, True])
    def test_position_and_company_do_not_matter(self, small, projected):
        model, values = small
        theta = torch.tensor(values.astype(np.float32))
        rng = np.random.default_rng(0)
        basis = torch.tensor(rng.normal(size=(model.n_samples, 3))) if projected else None
        whole, slopes = model.linearize(theta, basis)
        for rows in ([0], [36, 5, 17], list(range(36, -1, -1))):
            part, changes = model.linearize(theta[rows], basis)
            assert torch.equal(part, whole[rows])
            assert torch.equal(changes, slopes[rows])

    def test_threads_do_not_matter(self, small):
        model, values = small
        theta = np.tile(values, (20, 1))
        basis = np.random.default_rng(0).normal(size=(model.n_samples, 5))
        one, _ = simulate(model.kernel_plan, theta, basis, n_threads=1)
        two, _ = simulate(model.kernel_plan, theta, basis, n_threads=2)
        np.testing.assert_array_equal(one, two)

    def test_no_rows(self, small):
        model, _ = small
        signal, slopes = model.linearize(torch.zeros(0, 8))
        assert signal.shape == (0, model.n_samples)
        assert slopes.shape == (0, model.n_samples, 8)


def test_a_basis_that_changes_in_place_is_looked_at_again(small):
    model, values = small
    plan, theta = model.kernel_plan, values[:3]
    basis = np.random.default_rng(0).normal(size=(model.n_samples, 3))
    one, _ = simulate(plan, theta, basis)
    again, _ = simulate(plan, theta, basis.copy())
    np.testing.assert_array_equal(one, again)
    basis *= 2
    np.testing.assert_array_equal(simulate(plan, theta, basis)[0], 2 * one)


def test_a_layout_keeps_its_hash_in_another_process(small):
    layout = small[0].kernel_plan.layout
    hash(layout)
    assert "_hash" not in layout.__getstate__()
    assert pickle.loads(pickle.dumps(layout)) == layout


def test_complex_basis(small):
    model, values = small
    theta = torch.tensor(values[:3])
    rng = np.random.default_rng(0)
    basis = torch.tensor(rng.normal(size=(model.n_samples, 6))).view(model.n_samples, 3, 2)
    basis = torch.view_as_complex(basis)
    signal, slopes = model.linearize(theta)
    found, changes = model.linearize(theta, basis)
    assert relative(found, signal @ basis.conj()).max() < 1e-12
    projected = torch.einsum("vnp,nr->vrp", slopes, basis.conj())
    assert relative(changes, projected).max() < 1e-12


class TestFallback:
    """What the kernel does not cover goes to the PyTorch implementation, silently."""

    @pytest.fixture
    def refused(self, monkeypatch):
        """Results of the compiled path, None where it refused."""
        seen = []
        original = run.simulate_compiled

        def watch(*arguments, **keywords):
            seen.append(original(*arguments, **keywords))
            return seen[-1]

        monkeypatch.setattr(
            "bids_brnn.signals.two_pools.generalized_bloch.simulate_compiled", watch
        )
        return seen

    def compare(self, model, theta, refused):
        split = GeneralizedBloch(model.sequence, model.saturation, method="split")
        found, expected = model(theta), split(theta)
        assert refused == [None]
        assert torch.equal(found, expected)
        return found

    def test_automatic_differentiation(self, small, refused):
        model, values = small
        theta = torch.tensor(values[:2], requires_grad=True)
        self.compare(model, theta, refused).abs().sum().backward()
        assert theta.grad is not None
        assert bool((theta.grad != 0).all())

    def test_other_saturation_models(self, small, refused):
        model = GeneralizedBloch(small[0].sequence, "sled", method="auto")
        self.compare(model, torch.tensor(small[1][:2]), refused)

    def test_off_resonance_of_long_pulses(self, train, refused):
        sequence = train([0.3, 0.5, 0.2], duration=2.2e-3, repetition_time=4e-3, echoes=(0.65,))
        model = GeneralizedBloch(sequence)
        theta = torch.tensor([[0.1, 0.5, 12.0, 15.0, 3.0, 12e-6, 780.0, 1.0]])
        self.compare(model, theta.double(), refused)

    def test_auto_is_compiled_otherwise(self, small, refused):
        model = GeneralizedBloch(small[0].sequence)
        signal = model(torch.tensor(small[1][:2]))
        assert torch.equal(signal, refused[0][0])


def test_older_cpus(small, monkeypatch):
    """Narrow vectors without fused multiply-add: the same numbers up to round-off."""
    model, values = small
    theta = values[:9].astype(np.float32)
    basis = np.random.default_rng(0).normal(size=(model.n_samples, 4))
    expected = simulate(model.kernel_plan, theta, basis, derivatives=True)

    class NoExtensions(dict):
        def flatten(self):
            return ""

    monkeypatch.setattr(vectors.llvm, "get_host_cpu_name", lambda: "")
    monkeypatch.setattr(vectors.llvm, "get_host_cpu_features", NoExtensions)
    # Lanes and programs are kept per process: these must not stay.
    kept = (vectors.native_lanes, run._compiled)
    for one in kept:
        one.cache_clear()
    assert vectors.native_lanes(theta.dtype) == 8
    found = simulate(model.kernel_plan, theta, basis, derivatives=True)
    for one in kept:
        one.cache_clear()
    for one, other in zip(found, expected, strict=True):
        assert relative(one, other).max() < 1e-4
        assert not np.array_equal(one, other)


def test_machine_code_that_was_kept_makes_the_same_signals(small, tmp_path, monkeypatch):
    model, values = small
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    theta = values[:9].astype(np.float32)
    run._compiled.cache_clear()
    made = simulate(model.kernel_plan, theta, derivatives=True)
    assert list(tmp_path.rglob("*.object"))
    run._compiled.cache_clear()
    monkeypatch.setattr(trains._Trains, "record", None)  # nothing is traced again
    read = simulate(model.kernel_plan, theta, derivatives=True)
    for one, other in zip(read, made, strict=True):
        assert np.array_equal(one, other)


def test_runs_without_a_home(tmp_path):
    """No cache folder is needed, though one is used where there is one."""
    program = (
        "import torch; from bids_brnn.sequences.pulse_sequence import PulseSequence\n"
        "from bids_brnn.signals.two_pools.generalized_bloch import GeneralizedBloch\n"
        "table = {'onset': [0, 0.004], 'flip_angle': [20, 40], 'duration': [2e-4] * 2,\n"
        "         'pulse_type': ['excitation'] * 2, 'readout': [1] * 2, 'echo_time': [2e-3] * 2}\n"
        "sequence = PulseSequence.from_table(table, start='periodic')\n"
        "model = GeneralizedBloch(sequence, method='compiled')\n"
        "theta = torch.tensor([[.1, .5, 12., 15., 3., 12e-6, 5., 1.]])\n"
        "print(float(model(theta).abs().sum()))"
    )
    environment = {**os.environ, "HOME": str(tmp_path / "absent"), "XDG_CACHE_HOME": "/dev/null"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert 1e-3 < float(done.stdout) < 1
    assert list(tmp_path.iterdir()) == []


def test_shapes_are_checked(small):
    model, values = small
    with pytest.raises(ParameterError, match=r"\(37, 7\)"):
        simulate(model.kernel_plan, values[:, :7])
    with pytest.raises(ParameterError, match="rows"):
        simulate(model.kernel_plan, values, np.zeros((3, 2)))
