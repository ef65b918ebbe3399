"""EPG-FISP: independent references, closed forms, invariances, and what is refused."""

from __future__ import annotations

import math
import subprocess
import sys

import numba
import numpy as np
import pytest
import torch
from torch import Tensor

from bids_brnn.errors import ParameterError, SequenceError
from bids_brnn.information.bounds import cramer_rao_bound
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals import build_model
from bids_brnn.signals.base import forward_derivatives
from bids_brnn.signals.compiling import jit
from bids_brnn.signals.one_pool.fisp import EpgFisp
from bids_brnn.signals.one_pool.orders import _EDGES, TOLERANCE

TISSUES = torch.tensor(
    # WM, GM, CSF, short T1 and T2 (1/s), B1
    [[1 / 0.83, 1 / 0.08, 1.0], [1 / 1.33, 1 / 0.11, 0.9], [0.24, 0.6, 1.1], [10, 100, 1.0]],
    dtype=torch.float64,
)
METHODS = ("torch", "compiled")


def train(
    flip, *, phase=0.0, tr=0.012, te=0.003, inversion=(), gradient="dephasing", start="thermal"
) -> PulseSequence:
    """One train; angles in degrees, ``inversion`` lists pulses that are not sampled."""
    flip = np.radians(np.atleast_2d(np.asarray(flip, float)))
    inverts = np.zeros(flip.shape, bool)
    inverts[0, list(inversion)] = True
    echo = np.broadcast_to(te, flip.shape).astype(float)
    return PulseSequence(
        flip_angle=np.where(inverts, math.pi, flip),
        rf_duration=np.zeros_like(flip),
        rf_phase=np.broadcast_to(np.radians(phase), flip.shape).astype(float),
        repetition_time=np.broadcast_to(tr, flip.shape).astype(float),
        echo_time=np.where(inverts, np.nan, echo)[..., None],
        gradient=np.broadcast_to(gradient, flip.shape).astype("<U9"),
        inversion=inverts,
        start=start,
    )


def random_train(n: int, *, phases: str) -> PulseSequence:
    rng = np.random.default_rng(5)
    phase = {
        "zero": 0.0,
        "half turns": 180.0 * rng.integers(0, 2, n),
        "any": rng.uniform(0, 360, n),
    }[phases]
    return train(
        rng.uniform(0, 100, n), phase=phase, tr=rng.uniform(0.006, 0.02, n), inversion=(0, 9)
    )


def isochromats(sequence: PulseSequence, theta: Tensor, efficiency: float) -> np.ndarray:
    """Bloch rotations of spins spread evenly over one turn of dephasing per repetition."""
    n_spins = 2 * sequence.n_pulses + 2  # more spins than orders: the mean is exact
    turn = 2 * math.pi * np.arange(n_spins) / n_spins
    r1, r2, b1 = theta.tolist()
    m = np.zeros((3, n_spins))
    m[2] = 1
    signal = []
    for pulse in range(sequence.n_pulses):
        time = sequence.repetition_time[0, pulse]
        phase = sequence.rf_phase[0, pulse]
        if sequence.inversion[0, pulse]:
            m = np.array([0 * m[0], 0 * m[1], -efficiency * m[2]])
        else:
            a = b1 * sequence.flip_angle[0, pulse]
            axis = np.array([math.cos(phase), math.sin(phase), 0])[:, None]
            along = axis * (axis * m).sum(0)
            m = along + math.cos(a) * (m - along) + math.sin(a) * np.cross(axis, m, axis=0)
            te = sequence.echo_time[0, pulse, 0]
            mean = (m[0] + 1j * m[1]).mean()
            signal.append(mean * math.exp(-te * r2) * np.exp(-1j * phase))
        xy = (m[0] + 1j * m[1]) * math.exp(-time * r2)
        if not sequence.inversion[0, pulse]:
            xy = xy * np.exp(1j * turn)
        m = np.array([xy.real, xy.imag, 1 + (m[2] - 1) * math.exp(-time * r1)])
    return np.array(signal)


def relative(value: Tensor, reference: Tensor) -> float:
    return float((value - reference).norm() / reference.norm())


@pytest.fixture(scope="module")
def spot(shared):
    path = shared / "reference" / "mrf_spot.npz"
    if not path.is_file():
        pytest.skip(f"no reference values at {path.name}")
    with np.load(path, allow_pickle=False) as values:
        return {key: values[key] for key in values}


@pytest.fixture(scope="module")
def spot_train(spot) -> PulseSequence:
    return train(
        np.degrees(np.concatenate([[math.pi], spot["flip_angle_rad"]])),
        tr=np.concatenate([[float(spot["inversion_time_s"])], spot["repetition_time_s"]]),
        te=np.concatenate([[np.nan], spot["echo_time_s"]]),
        inversion=(0,),
    )


@pytest.fixture(scope="module")
def spot_theta(spot) -> Tensor:
    return torch.tensor(np.stack([1 / spot["T1_s"], 1 / spot["T2_s"], spot["B1"]], -1))


@pytest.mark.parametrize("method", METHODS)
def test_reference_signal_and_jacobian_with_all_orders(spot, spot_train, spot_theta, method):
    model = EpgFisp(spot_train, n_states="all", method=method)
    signal, derivatives = model.linearize(spot_theta)
    for row in range(len(spot_theta)):
        # Demanded by the issue; both are exact, so that only round-off (1e-13) differs.
        assert relative(signal[row], torch.tensor(spot["signal"])[:, row]) < 1e-9
        assert relative(derivatives[row], torch.tensor(spot["jacobian_R1_R2_B1"])[row]) < 1e-7
    assert relative(model(spot_theta), signal) < 1e-13


@pytest.mark.parametrize("method", METHODS)
def test_reference_signal_with_sixty_orders(spot, spot_train, spot_theta, method):
    signal = EpgFisp(spot_train, n_states=60, method=method)(spot_theta)
    assert relative(signal, torch.tensor(spot["signal_60_states"]).T) < 1e-9


def test_default_in_double_precision_reaches_the_reference(spot, spot_train, spot_theta):
    signal = EpgFisp(spot_train)(spot_theta)
    assert relative(signal, torch.tensor(spot["signal"]).T) < 1e-9


def test_reference_bounds(spot, spot_train, spot_theta):
    bound = cramer_rao_bound(EpgFisp(spot_train), spot_theta)
    np.testing.assert_allclose(bound[:, :2], spot["crb_R1_R2"], rtol=1e-6)


@pytest.mark.parametrize("phases", ["zero", "half turns", "any"])
@pytest.mark.parametrize("efficiency", [1.0, 0.93])
def test_agrees_with_isochromats(phases, efficiency):
    sequence = random_train(24, phases=phases)
    options = {"n_states": "all", "inversion_efficiency": efficiency}
    for method in METHODS if phases != "any" else ("torch",):
        signal = EpgFisp(sequence, **options, method=method)(TISSUES)
        for row, theta in enumerate(TISSUES):
            expected = isochromats(sequence, theta, efficiency)
            np.testing.assert_allclose(signal[row].numpy(), expected, atol=1e-13)


@pytest.mark.parametrize("flip", [10.0, 60.0])
def test_steady_state_is_the_closed_form(flip):
    """SSFP-FID; p, q as in the note on MRF-FISP (section 10) and Hänicke and Vogel 2003."""
    tr, te = 0.01, 0.002
    model = EpgFisp(train(np.full(500, flip), tr=tr, te=te), n_states="all")
    theta = torch.tensor([[10.0, 20.0, 1.0], [12.0, 40.0, 0.8]], dtype=torch.float64)
    r1, r2, b1 = theta.numpy().T
    a, e1, e2 = b1 * math.radians(flip), np.exp(-tr * r1), np.exp(-tr * r2)
    p = 1 - e1 * np.cos(a) - e2**2 * (e1 - np.cos(a))
    q = e2 * (1 - e1) * (1 + np.cos(a))
    fid = np.tan(a / 2) * (1 - (e1 - np.cos(a)) * (1 - e2**2) / np.sqrt(p**2 - q**2))
    expected = -1j * fid * np.exp(-te * r2)
    # After 500 pulses the transient has decayed by more than exp(-50).
    np.testing.assert_allclose(model(theta)[:, -1].numpy(), expected, rtol=1e-12)


def test_first_pulse_and_spin_echo():
    tr, te = 0.02, 0.004
    model = EpgFisp(train([90, 180, 0], tr=tr, te=te))
    theta = torch.tensor([[1.0, 12.0, 1.0]], dtype=torch.float64)
    signal = model(theta)[0].numpy()
    decay = math.exp(-12 * te)
    echo = 1j * math.exp(-12 * 2 * tr) * decay  # refocused by 180 degrees: conjugated
    np.testing.assert_allclose(signal, [-1j * decay, 0, echo], atol=1e-15)


def test_inversion_is_adiabatic_and_imperfect():
    theta = torch.tensor([[1.0, 12.0, 0.7]], dtype=torch.float64)
    ti, te = 0.3, 0.002
    sequence = train([180, 20], tr=[ti, 0.01], te=te, inversion=(0,))
    signal = EpgFisp(sequence, inversion_efficiency=0.9)(theta)[0]
    z = 1 - 1.9 * math.exp(-ti)  # B1 scales the excitation only
    expected = -1j * z * math.sin(0.7 * math.radians(20)) * math.exp(-12 * te)
    assert signal.numpy() == pytest.approx([expected], rel=1e-13)


def test_inverted_start_equals_an_inversion_pulse_without_delay():
    flip = np.linspace(5, 60, 30)
    direct = EpgFisp(train(flip, start="inversion"), inversion_efficiency=0.95)
    pulse = train([180, *flip], tr=[1e-12, *[0.012] * 30], inversion=(0,))
    signal = EpgFisp(pulse, inversion_efficiency=0.95)(TISSUES)
    assert relative(direct(TISSUES), signal) < 1e-11


@pytest.mark.parametrize("method", METHODS)
def test_slice_profile_averages_sub_slices(method):
    sequence, profile = random_train(30, phases="zero"), (0.3, 0.8, 1.0)
    signal, derivatives = EpgFisp(sequence, slice_profile=profile, method=method).linearize(
        TISSUES
    )
    parts = []
    for factor in profile:
        theta = TISSUES * torch.tensor([1, 1, factor], dtype=torch.float64)
        value, slope = EpgFisp(sequence, method=method).linearize(theta)
        parts.append((value, slope * torch.tensor([1, 1, factor], dtype=torch.float64)))
    assert relative(signal, torch.stack([part[0] for part in parts]).mean(0)) < 1e-13
    assert relative(derivatives, torch.stack([part[1] for part in parts]).mean(0)) < 1e-13


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_automatic_orders_keep_their_promise(dtype):
    """For tissues that the table was not measured on, at the worst end of each T2 range."""
    rows = [
        (1 / t1, 1.001 / t2, b1)
        for t2 in _EDGES
        for t1 in (1.5 * t2, max(2.0, t2), max(9.0, t2))
        for b1 in (0.45, 1.0, 1.5)
    ]
    theta = torch.tensor(rows, dtype=dtype)
    sequence = jiang_like_train(400)
    truth = EpgFisp(sequence, n_states="all")(theta)
    error = (EpgFisp(sequence)(theta) - truth).norm(dim=-1) / truth.norm(dim=-1)
    assert float(error.max()) < TOLERANCE[dtype]


def test_automatic_orders_grow_with_t2_and_with_precision():
    model = EpgFisp(jiang_like_train(400))
    for dtype in (torch.float32, torch.float64):
        needed = model._needed(torch.tensor([[1, 90.0, 1], [1, 12, 1], [1, 0.5, 1]], dtype=dtype))
        assert needed[0] < needed[1] < needed[2] <= 200
    assert int(needed[1]) > int(model._needed(torch.tensor([[1, 12.0, 1]]))[0])


@pytest.mark.parametrize("method", METHODS)
def test_a_row_does_not_depend_on_its_neighbours(method):
    model = EpgFisp(jiang_like_train(60), method=method)
    theta = TISSUES.repeat(30, 1) * torch.linspace(0.9, 1.1, 120, dtype=torch.float64)[:, None]
    theta[7] = torch.nan
    value, slope = model.linearize(theta.float())
    for row in (0, 1, 50, 119):
        alone = model.linearize(theta[row : row + 1].float())
        torch.testing.assert_close(alone[0][0], value[row], rtol=0, atol=0)
        torch.testing.assert_close(alone[1][0], slope[row], rtol=0, atol=0)
    assert bool(value[7].isnan().any())
    assert not bool(value[8].isnan().any())


@pytest.mark.parametrize("phases", ["zero", "half turns"])
@pytest.mark.parametrize("complex_basis", [None, False, True])
def test_compiled_equals_readable(phases, complex_basis):
    sequence = random_train(50, phases=phases)
    basis = None
    if complex_basis is not None:
        rng = torch.Generator().manual_seed(1)
        dtype = torch.complex128 if complex_basis else torch.float64
        basis = torch.linalg.qr(torch.randn(48, 5, dtype=dtype, generator=rng))[0]
    for n_states in (3, 20, "auto"):
        compiled = EpgFisp(sequence, n_states=n_states, method="compiled")
        value, slope = compiled.linearize(TISSUES, basis)
        assert relative(compiled(TISSUES, basis), value) < 1e-13
        expected = EpgFisp(sequence, n_states=n_states, method="torch").linearize(TISSUES, basis)
        assert relative(value, expected[0]) < 1e-13
        assert relative(slope, expected[1]) < 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_basis_projects_the_signal(method):
    model = EpgFisp(jiang_like_train(100), method=method)
    rng = torch.Generator().manual_seed(2)
    basis = torch.linalg.qr(torch.randn(100, 4, dtype=torch.complex128, generator=rng))[0]
    value, slope = model.linearize(TISSUES)
    projected, projected_slope = model.linearize(TISSUES, basis)
    assert relative(projected, value @ basis.conj()) < 1e-13
    assert relative(projected_slope, (slope.mT @ basis.conj()).mT) < 1e-13


@pytest.mark.parametrize("method", METHODS)
def test_single_precision_is_accurate(method):
    model = EpgFisp(jiang_like_train(1000), method=method, n_states=100)
    value, slope = model.linearize(TISSUES)
    single, single_slope = model.linearize(TISSUES.float())
    assert single.dtype == torch.complex64
    # Measured: 2e-7 and 4e-6 (compiled), 8e-7 and 2e-6 (torch); T1 of 4 s and a TR of 13 ms make
    # round-off of 1 - E1 visible.
    assert relative(single.to(value.dtype), value) < 3e-6
    assert relative(single_slope.to(slope.dtype), slope) < 2e-5


def test_derivatives_are_those_of_the_signal():
    model = EpgFisp(random_train(40, phases="any"), slice_profile=(0.5, 1.0))
    value, slope = model.linearize(TISSUES)
    other_value, other_slope = forward_derivatives(model, TISSUES)
    assert relative(value, other_value) < 1e-14
    assert relative(slope, other_slope) < 1e-12


def test_reverse_mode_reaches_the_parameters():
    model = EpgFisp(jiang_like_train(20))
    theta = TISSUES.clone().requires_grad_()
    model(theta).abs().square().sum().backward()
    value, slope = model.linearize(TISSUES)
    expected = 2 * (value.conj()[..., None] * slope).real.sum(1)
    assert relative(theta.grad, expected) < 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_several_trains_start_afresh_and_padding_does_nothing(method):
    table = {
        "train": [1, 1, 1, 2, 2],
        "onset": [0, 0.02, 0.03, 0, 0.01],
        "flip_angle": [180, 20, 30, 40, 50],
        "pulse_type": ["inversion", *["excitation"] * 4],
        "readout": [0, 1, 1, 1, 1],
        "echo_time": ["n/a", 0.002, 0.003, 0.002, "0.002,0.006"],
    }
    options = {"start": "thermal", "default_gradient": "dephasing", "needs_duration": False}
    whole = PulseSequence.from_table(table, **options)
    first = {key: cells[:3] for key, cells in table.items()}
    second = {key: cells[3:] for key, cells in table.items()}
    parts = [
        EpgFisp(PulseSequence.from_table(part, **options), method=method)(TISSUES)
        for part in (first, second)
    ]
    signal = EpgFisp(whole, method=method)(TISSUES)
    assert signal.shape == (4, 5)
    assert relative(signal, torch.cat(parts, -1)) < 1e-14
    # The second sample after a pulse has decayed a little more.
    decay = torch.exp(-0.004 * TISSUES[:, 1])
    torch.testing.assert_close(signal[:, 4], signal[:, 3] * decay)
    basis = torch.linalg.qr(torch.randn(5, 3, dtype=torch.float64))[0]
    projected = EpgFisp(whole, method=method)(TISSUES, basis)
    assert relative(projected, signal @ basis.to(signal.dtype)) < 1e-13


def test_shapes_follow_theta():
    model = build_model("fisp", jiang_like_train(10))
    assert model(TISSUES[0]).shape == (10,)
    assert model(TISSUES.reshape(2, 2, 3)).shape == (2, 2, 10)
    assert model.linearize(TISSUES[:0])[1].shape == (0, 10, 3)
    assert model.parameters.names == ("R1", "R2", "B1")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"gradient": "balanced"},
            "gradient = balanced at train 1, pulse 1: the FISP model needs",
        ),
        ({"start": "periodic"}, 'BoundaryCondition "periodic"'),
    ],
)
def test_refuses_other_sequences(change, words):
    with pytest.raises(SequenceError, match=words):
        EpgFisp(train([10, 20], **change))


def test_refuses_odd_inversions():
    sequence = train([10, 20, 30], inversion=(1,))
    fields = {key: np.array(value) for key, value in vars(sequence).items()}
    fields["start"], fields["name"] = "thermal", ""
    partial = {**fields, "flip_angle": fields["flip_angle"] * np.array([[1, 0.8, 1]])}
    with pytest.raises(SequenceError, match=r"flip_angle = 144 deg .* at train 1, pulse 2"):
        EpgFisp(PulseSequence(**partial))
    sampled = {**fields, "echo_time": np.full((1, 3, 1), 0.003)}
    with pytest.raises(SequenceError, match="readout is 1 at train 1, pulse 2"):
        EpgFisp(PulseSequence(**sampled))


@pytest.mark.parametrize(
    "options",
    [
        {"n_states": 0},
        {"n_states": "many"},
        {"inversion_efficiency": 1.2},
        {"slice_profile": ()},
        {"slice_profile": (1.0, -0.1)},
        {"method": "fast"},
    ],
)
def test_refuses_bad_options(options):
    with pytest.raises(ParameterError, match=next(iter(options))):
        EpgFisp(train([10, 20]), **options)


def test_compiled_on_demand_says_what_it_cannot_do():
    model = EpgFisp(random_train(20, phases="any"), method="compiled")
    with pytest.raises(ParameterError, match="RF phases"):
        model(TISSUES)


def test_compilation_needs_no_folder_to_write_to(monkeypatch):
    """As on a read-only installation with an unwritable home."""
    monkeypatch.setattr(numba.core.caching.FunctionCache._impl_class, "_locator_classes", [])

    def double(x):
        return 2 * x

    assert jit(double)(21) == 42


def test_importing_the_model_does_not_load_numba():
    code = "import sys, bids_brnn.signals.one_pool.fisp; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
