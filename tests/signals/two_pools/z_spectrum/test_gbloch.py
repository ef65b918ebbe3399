"""Generalized Bloch Z-spectra against their exact solution, and both against closed forms."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from bids_brnn.errors import DataError, ParameterError, SequenceError
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.sequences.z_spectrum import ZSpectrum, usual_protocol
from bids_brnn.signals.two_pools import reference as trains
from bids_brnn.signals.two_pools.pulses.lineshapes import LORENTZIAN, lineshape
from bids_brnn.signals.two_pools.reference import Tissue
from bids_brnn.signals.two_pools.z_spectrum.gbloch import GBlochZ
from bids_brnn.signals.two_pools.z_spectrum.models import SledPikeRP
from bids_brnn.signals.two_pools.z_spectrum.reference import pulse_map, simulate
from bids_brnn.signals.two_pools.z_spectrum.responses import FreePool, SolidPool, times

WM = Tissue(m0s=0.13, R1f=0.9, R2f=35.0, Rx=20.0, R1s=1.0, T2s=11e-6, w0=100.0, B1=1.05)
FAST = Tissue(m0s=0.45, R1f=1.5, R2f=48.0, Rx=78.0, R1s=4.0, T2s=19e-6, w0=-1200.0, B1=1.45)
SLOW = Tissue(m0s=0.03, R1f=0.4, R2f=6.0, Rx=3.0, R1s=0.6, T2s=5.5e-6, w0=900.0, B1=0.55)


def protocol(pulse: MTPulse, angle: float, *offsets: float, **options) -> ZSpectrum:
    """One flip angle (degrees) at some offsets (Hz)."""
    given = {"flip_angle": math.radians(7), "mt_delay": 2e-3, "excitation_duration": 1e-3,
             "repetition_time": pulse.duration + 0.015, **options}  # fmt: skip
    return ZSpectrum(np.full(len(offsets), math.radians(angle)), np.array(offsets), pulse, **given)


def theta(*tissues: Tissue) -> torch.Tensor:
    names = ("m0s", "R1f", "R2f", "Rx", "R1s", "T2s", "w0", "B1")
    return torch.tensor([[getattr(t, name) for name in names] for t in tissues]).double()


def signal(model: GBlochZ, tissue: Tissue) -> np.ndarray:
    return model(theta(tissue))[0].real.numpy()


class TestExactSolution:
    def test_with_a_lorentzian_line_it_is_bloch_equations_of_two_pools(self):
        T, angle, offset, t = 5e-3, 8.0, 700.0, replace(WM, w0=0.0, B1=1.0)
        w1, detuning = angle / T, 2 * math.pi * offset
        rates = np.zeros((7, 7))  # free x y z, semi-solid x y z, 1
        for k, R2 in ((0, t.R2f), (3, 1 / t.T2s)):
            rates[k : k + 3, k : k + 3] = [[-R2, -detuning, w1], [detuning, -R2, 0], [-w1, 0, 0]]
        forward, backward = t.Rx * t.m0s, t.Rx * t.m0f
        rates[2, [2, 5, 6]] = -t.R1f - forward, backward, t.R1f * t.m0f
        rates[5, [2, 5, 6]] = forward, -t.R1s - backward, t.R1s * t.m0s
        exact = expm(rates * T)[np.ix_([2, 5], [2, 5, 6])]
        found = pulse_map(t, MTPulse("HARD", T), angle, offset, LORENTZIAN)[:2]
        np.testing.assert_allclose(found, exact, atol=1e-11)

    @pytest.mark.parametrize("tissue", [replace(WM, w0=0.0), WM, FAST], ids=str)
    def test_a_hard_pulse_on_resonance_is_that_of_the_trains(self, tissue):
        angle, T = math.pi / 2, 5e-4
        known = trains.pulse_map(tissue, angle, T)[np.ix_([2, 3], [2, 3, 4])]
        found = pulse_map(tissue, MTPulse("HARD", T), angle, 0.0)[:2]
        np.testing.assert_allclose(found, known, atol=1e-9)

    def test_finer_elements_change_nothing(self):
        for pulse, angle, offset in (
            (MTPulse("GAUSSHANN", 0.0102, 200.0), 426, 443.0),
            (MTPulse("HARD", 1e-3), 1500, 300.0),
            (MTPulse("FERMI", 5e-3), 800, 30000.0),
        ):
            maps = [
                pulse_map(FAST, pulse, math.radians(angle), offset, refine=r) for r in (1, 1.5)
            ]
            np.testing.assert_allclose(*maps, atol=1e-9)


class TestIsolatedPools:
    @pytest.mark.parametrize("name", ["super-lorentzian", "lorentzian", "gaussian"])
    @pytest.mark.parametrize(
        ("pulse", "angle", "offset"),
        [
            (MTPulse("GAUSSHANN", 0.0102, 200.0), 426.0, 443.0),
            (MTPulse("HARD", 1e-3), 1500.0, 300.0),
            (MTPulse("SINC", 0.03), 1200.0, -4000.0),
            (MTPulse("FERMI", 1e-3), 800.0, 50000.0),
        ],
        ids=lambda value: getattr(value, "shape", None),
    )
    def test_pools_that_do_not_exchange_answer_alone(self, pulse, angle, offset, name):
        alone = replace(WM, Rx=0.0, R1f=0.0, R1s=0.0)
        exact = pulse_map(alone, pulse, math.radians(angle), offset, lineshape(name))
        B1_angle, detuning = alone.B1 * math.radians(angle), 2 * math.pi * offset - alone.w0
        nothing = np.empty((len(times()), 0))
        free = FreePool(pulse, nothing).response(B1_angle, detuning, alone.R2f)[0, 0]
        pool = SolidPool(pulse, lineshape(name))
        memory = pool.memory(detuning, alone.T2s)
        solid = pool.responses(np.array([B1_angle]), memory, nothing)[0, 0, 0]
        # Bloch's equations in steps are of the fourth order, the other of the seventh.
        assert free == pytest.approx(exact[0, 0], abs=1e-6)
        assert solid == pytest.approx(exact[1, 1], abs=1e-6)


# Tables and the projection of exchange promise 1e-4 anywhere; half of it is held here.
@pytest.mark.parametrize("tissue", [WM, FAST], ids=["WM", "fast"])
@pytest.mark.parametrize(
    ("pulse", "angle", "offset"),
    [
        (MTPulse("HARD", 6e-3), 500.0, 2000.0),
        (MTPulse("HARD", 1e-3), 1500.0, 300.0),
        (MTPulse("GAUSSIAN", 0.03), 1500.0, -1100.0),
        (MTPulse("GAUSSHANN", 0.0102, 200.0), 426.0, 443.0),
        (MTPulse("SINC", 0.012), 600.0, 5000.0),
        (MTPulse("SINCHANN", 2e-3), 300.0, -28000.0),
        (MTPulse("SINCGAUSS", 0.015), 900.0, 700.0),
        (MTPulse("FERMI", 8e-3), 700.0, 60000.0),
    ],
    ids=lambda value: getattr(value, "shape", None),
)
def test_signals_are_those_of_the_exact_solution(pulse, angle, offset, tissue):
    sequence = protocol(pulse, angle, offset, normalised=tissue is WM)
    exact = simulate(sequence, tissue)
    np.testing.assert_allclose(signal(GBlochZ(sequence), tissue), exact, atol=5e-5)


@pytest.mark.parametrize("name", ["lorentzian", "gaussian"])
def test_other_lines_too(name):
    sequence = protocol(MTPulse("GAUSSHANN", 0.0102, 200.0), 426, 1088, -17235)
    exact = simulate(sequence, SLOW, lineshape(name))
    np.testing.assert_allclose(signal(GBlochZ(sequence, name), SLOW), exact, atol=2e-5)


def test_a_hard_pulse_on_resonance_is_that_of_the_model_of_trains():
    pulse, flip = MTPulse("HARD", 5e-4), math.pi / 2
    sequence = protocol(pulse, 90, 0.0, excitation_duration=0.0, mt_delay=0.0)
    mt = trains.pulse_map(WM, flip, pulse.duration)[np.ix_([2, 3, 4], [2, 3, 4])]
    kf, kr = WM.Rx * WM.m0s, WM.Rx * WM.m0f
    rates = np.array(
        [[-WM.R1f - kf, kr, WM.R1f * WM.m0f], [kf, -WM.R1s - kr, WM.R1s * WM.m0s], [0, 0, 0]]
    )
    excite = np.diag([math.cos(WM.B1 * sequence.flip_angle), 1, 1])
    cycle = mt @ expm(rates * sequence.rest) @ excite
    steady = np.linalg.solve(np.eye(2) - cycle[:2, :2], cycle[:2, 2])
    assert signal(GBlochZ(sequence), WM)[0] == pytest.approx(steady[0], abs=1e-5)


@pytest.mark.parametrize("normalised", [False, True])
def test_derivatives_are_those_of_differences(normalised):
    model = GBlochZ(replace(usual_protocol(), normalised=normalised))
    point = theta(WM)
    _, slopes = model.linearize(point)
    for column, name in enumerate(model.parameters.names):
        h = 1e-4 * float(point[0, column])
        step = torch.zeros_like(point)
        step[0, column] = h
        difference = (model(point + step) - model(point - step)) / (2 * h)
        error = (slopes[..., column] - difference).norm() / difference.norm()
        assert float(error) < 1e-6, name  # the error of differences, h^2


def test_far_from_resonance_the_model_of_rectangular_pulses_is_near():
    """Sled and Pike leave the saturation by the excitation out, and agree where lines do."""
    sequence = protocol(MTPulse("GAUSSHANN", 0.0102, 200.0), 426, 2732, 6862, 17235)
    sequence = replace(sequence, normalised=True)
    near = SledPikeRP(sequence)(theta(WM))[0].real.numpy()
    model = GBlochZ(sequence, saturating_excitation=False)
    np.testing.assert_allclose(signal(model, WM), near, atol=2e-3)
    assert (signal(GBlochZ(sequence), WM) > signal(model, WM)).all()


def test_offsets_of_both_signs_differ_only_by_the_water_line():
    pulse = MTPulse("GAUSSIAN", 0.012)
    positive, negative = (GBlochZ(protocol(pulse, 400, f)) for f in (1500.0, -1500.0))
    mirrored = replace(WM, w0=-WM.w0)
    np.testing.assert_allclose(signal(positive, WM), signal(negative, mirrored), atol=1e-6)


def test_threads_change_nothing():
    model = GBlochZ(usual_protocol())
    sets = theta(WM, SLOW).repeat(700, 1)
    sets[:, 0] = torch.linspace(0.01, 0.3, len(sets))
    one, several = (
        model.simulate(sets.numpy(), derivatives=True, n_threads=n) for n in (1, 3)
    )  # fmt: skip
    for a, b in zip(one, several, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_model_travels_to_another_process_without_its_tables():
    model = GBlochZ(protocol(MTPulse("GAUSSHANN", 0.0102, 200.0), 300, 6000))
    before = signal(model, WM)
    there = pickle.loads(pickle.dumps(model))
    assert "tables" not in vars(there)
    np.testing.assert_array_equal(signal(there, WM), before)


def test_the_hull_of_all_bounds_is_covered():
    model = GBlochZ(protocol(MTPulse("GAUSSHANN", 0.0102, 200.0), 300, 6000))
    lower, upper = model.parameters.bounds(torch.zeros((), dtype=torch.float64))
    corners = torch.stack([lower, upper, lower.float().double(), upper.float().double()])
    values, slopes = model.linearize(corners)
    assert torch.isfinite(values.real).all()
    assert torch.isfinite(slopes.real).all()
    with pytest.raises(ParameterError, match=r"B1 = 1.8 in row 1 is outside \[0.4, 1.6\]"):
        model(theta(replace(WM, B1=1.8)))


def test_what_it_does_not_describe_is_refused():
    with pytest.raises(SequenceError, match="describes Z-spectra"):
        GBlochZ(jiang_like_train(20))  # type: ignore[arg-type]
    with pytest.raises(DataError, match='lineshape "flat" is unknown'):
        GBlochZ(usual_protocol(), "flat")
