"""Balanced SSFP: closed forms, an independent simulation, symmetries, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bids_brnn.errors import ParameterError, SequenceError
from bids_brnn.information.bounds import cramer_rao_bound
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals import build_model
from bids_brnn.signals.one_pool.bssfp import BalancedSsfp

THETA = torch.tensor(
    # R1, R2 (1/s), w0 (rad/s), B1
    [[1.2, 14.0, 0.0, 1.0], [0.8, 9.0, 200.0, 0.9], [0.25, 0.6, -430.0, 1.2]],
    dtype=torch.float64,
)


def train(flip, *, phase=0.0, tr=0.005, te=0.0025, start="periodic", inversion=()):
    flip = np.radians(np.atleast_2d(np.asarray(flip, float)))
    inverts = np.zeros(flip.shape, bool)
    inverts[0, list(inversion)] = True
    return PulseSequence(
        flip_angle=np.where(inverts, math.pi, flip),
        rf_duration=np.zeros_like(flip),
        rf_phase=np.broadcast_to(np.radians(phase), flip.shape).astype(float),
        repetition_time=np.broadcast_to(tr, flip.shape).astype(float),
        echo_time=np.where(inverts, np.nan, te)[..., None],
        gradient=np.full(flip.shape, "balanced"),
        inversion=inverts,
        start=start,
    )


def random_train(n: int, start: str, inversion=()):
    rng = np.random.default_rng(8)
    return train(
        rng.uniform(0, 90, n),
        phase=rng.uniform(0, 360, n),
        tr=rng.uniform(0.004, 0.006, n),
        start=start,
        inversion=inversion,
    )


def rotations(sequence, theta, start, efficiency):
    """Plain Bloch simulation in the laboratory frame; returns signal and final state."""
    r1, r2, w0, b1 = theta.tolist()
    m = np.array(start, float)
    signal = []
    for pulse in range(sequence.n_pulses):
        phase, time = sequence.rf_phase[0, pulse], sequence.repetition_time[0, pulse]
        if sequence.inversion[0, pulse]:
            m = np.array([0, 0, -efficiency * m[2]])
        else:
            a = b1 * sequence.flip_angle[0, pulse]
            axis = np.array([math.cos(phase), math.sin(phase), 0])
            m = (
                math.cos(a) * m
                + math.sin(a) * np.cross(axis, m)
                + (1 - math.cos(a)) * axis * (axis @ m)
            )
            te = sequence.echo_time[0, pulse, 0]
            signal.append((m[0] + 1j * m[1]) * np.exp((1j * w0 - r2) * te - 1j * phase))
        xy = (m[0] + 1j * m[1]) * np.exp((1j * w0 - r2) * time)
        m = np.array([xy.real, xy.imag, 1 + (m[2] - 1) * math.exp(-time * r1)])
    return np.array(signal), m


@pytest.mark.parametrize(("phases", "start"), [([0, 180], "periodic"), ([0], "antiperiodic")])
def test_steady_state_is_the_closed_form(phases, start):
    """Freeman and Hill 1971; b is the precession per repetition seen by alternating pulses."""
    tr, te, flip = 0.005, 0.0025, 40.0
    model = BalancedSsfp(train([flip] * len(phases), phase=phases, tr=tr, te=te, start=start))
    signal = model(THETA)[:, 0].numpy()
    r1, r2, w0, b1 = THETA.numpy().T
    e1, e2, a, b = np.exp(-tr * r1), np.exp(-tr * r2), b1 * np.radians(flip), w0 * tr + np.pi
    denominator = (1 - e1 * np.cos(a)) * (1 - e2 * np.cos(b))
    denominator -= (e1 - np.cos(a)) * (e2 - np.cos(b)) * e2
    scale = (1 - e1) * np.sin(a) / denominator
    magnitude = np.hypot(scale * e2 * np.sin(b), scale * (1 - e2 * np.cos(b)))
    np.testing.assert_allclose(np.abs(signal), magnitude * np.exp(-te * r2), rtol=1e-12)


@pytest.mark.parametrize("start", ["thermal", "inversion"])
@pytest.mark.parametrize("inversion", [(), (0, 6)])
def test_agrees_with_plain_rotations(start, inversion):
    sequence = random_train(40, start, inversion)
    signal = BalancedSsfp(sequence, inversion_efficiency=0.95)(THETA)
    first = [0, 0, 1.0 if start == "thermal" else -0.95]
    for row, theta in enumerate(THETA):
        expected, _ = rotations(sequence, theta, first, 0.95)
        np.testing.assert_allclose(signal[row].numpy(), expected, atol=1e-14)


@pytest.mark.parametrize(("start", "sign"), [("periodic", 1.0), ("antiperiodic", -1.0)])
def test_steady_train_reproduces_its_start(start, sign):
    """Repeat the plain simulation until it repeats itself; short T1 and T2 make that quick."""
    sequence = random_train(30, start, (0,) if start == "periodic" else ())
    theta = torch.tensor([15.0, 60.0, 150.0, 0.9], dtype=torch.float64)
    signal = BalancedSsfp(sequence, inversion_efficiency=0.9)(theta)
    state = np.array([0, 0, 1.0])
    for _ in range(40):
        expected, end = rotations(sequence, theta, state, 0.9)
        state = end * [sign, sign, 1]
    np.testing.assert_allclose(signal.numpy(), expected, atol=1e-13)


def test_off_resonance_is_a_phase_ramp_of_the_pulses():
    """Seen from a frame that turns with the spins, the pulses advance instead."""
    n, tr, te, w0 = 20, 0.005, 0.002, 120.0
    flip = np.linspace(10, 60, n)
    theta = torch.tensor([1.0, 10.0, w0, 1.0], dtype=torch.float64)
    still = torch.tensor([1.0, 10.0, 0.0, 1.0], dtype=torch.float64)
    signal = BalancedSsfp(train(flip, tr=tr, te=te, start="thermal"))(theta)
    ramp = -np.degrees(w0 * tr) * np.arange(n)
    turned = BalancedSsfp(train(flip, phase=ramp, tr=tr, te=te, start="thermal"))(still)
    expected = turned * np.exp(1j * w0 * te)
    torch.testing.assert_close(signal, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("start", ["periodic", "inversion"])
def test_derivatives_are_exact(start):
    model = BalancedSsfp(random_train(20, start))
    signal, derivatives = model.linearize(THETA)
    torch.testing.assert_close(signal, model(THETA))
    for column, size in enumerate((1e-5, 1e-5, 1e-4, 1e-5)):
        shift = torch.zeros(4, dtype=torch.float64)
        shift[column] = size
        difference = (model(THETA + shift) - model(THETA - shift)) / (2 * size)
        error = (difference - derivatives[..., column]).norm() / difference.norm()
        # Central differences err by (size / rate)^2 and by round-off over size.
        assert float(error) < 1e-7


def test_basis_projects_and_single_precision_holds():
    model = BalancedSsfp(random_train(80, "thermal"))
    rng = torch.Generator().manual_seed(2)
    basis = torch.linalg.qr(torch.randn(80, 4, dtype=torch.complex128, generator=rng))[0]
    value, slope = model.linearize(THETA)
    projected, projected_slope = model.linearize(THETA, basis)
    torch.testing.assert_close(projected, value @ basis.conj())
    torch.testing.assert_close(projected_slope, (slope.mT @ basis.conj()).mT)
    single = model(THETA.float())
    assert single.dtype == torch.complex64
    # 80 pulses of round-off; phases w0 TR are rounded to 1e-7 rad each.
    assert float((single - value).norm() / value.norm()) < 1e-5


def test_parameters_can_be_told_apart():
    """With several flip angles the bound of every free parameter is finite."""
    model = build_model("bssfp", random_train(120, "inversion"))
    assert model.parameters.names == ("R1", "R2", "w0", "B1")
    edge = model.parameters["w0"].upper
    assert edge == pytest.approx(math.pi / model.sequence.repetition_time.max())
    bound = cramer_rao_bound(model, THETA)
    assert bool(torch.isfinite(bound).all())
    assert bool((bound[:, :3] > 0).all())
    assert bool((bound[:, 3] == 0).all())


def test_shapes_and_several_trains():
    sequence = train([[10, 20, 30], [40, 50, 60]], start="antiperiodic")
    signal = BalancedSsfp(sequence)(THETA)
    assert signal.shape == (3, 6)
    second = BalancedSsfp(train([40, 50, 60], start="antiperiodic"))(THETA)
    torch.testing.assert_close(signal[:, 3:], second)
    assert BalancedSsfp(sequence)(THETA[0]).shape == (6,)


def test_refuses_other_sequences():
    fields = dict(vars(train([10, 20])))
    fields["gradient"] = np.full((1, 2), "dephasing")
    with pytest.raises(SequenceError, match="the balanced SSFP model needs"):
        BalancedSsfp(PulseSequence(**fields))
    with pytest.raises(ParameterError, match="inversion_efficiency"):
        BalancedSsfp(train([10, 20]), inversion_efficiency=-0.1)
