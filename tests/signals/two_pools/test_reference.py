"""The exact solver, and how far the linear approximation is from it."""

from __future__ import annotations

import math
from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from bids_brnn.errors import DataError
from bids_brnn.signals.two_pools.generalized_bloch import GeneralizedBloch
from bids_brnn.signals.two_pools.pulses.isolated_pool import isolated_pool_z
from bids_brnn.signals.two_pools.pulses.lineshapes import LORENTZIAN, SUPER_LORENTZIAN
from bids_brnn.signals.two_pools.reference import Tissue, pulse_map, simulate

TISSUE = Tissue(m0s=0.1, R1f=1.0, R2f=15.0, Rx=30.0, R1s=6.5, T2s=10e-6)
"""Parameters of the examples that the authors of the model published."""


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def linear(sequence, tissue: Tissue) -> np.ndarray:
    theta = torch.tensor([astuple(tissue)], dtype=torch.float64)
    return GeneralizedBloch(sequence, method="exact")(theta)[0].numpy()


class TestPulse:
    @pytest.mark.parametrize("flip", [0.3, 2.0, 6.0])
    def test_lorentzian_line_gives_the_bloch_equation(self, flip):
        t = Tissue(m0s=0.2, R1f=0.5, R2f=13, Rx=16, R1s=3, T2s=1e-5, w0=300.0, B1=0.9)
        duration = 2e-4
        w1 = t.B1 * flip / duration
        forward, backward = t.Rx * t.m0s, t.Rx * t.m0f
        generator = np.zeros((7, 7))  # xf yf zf xs ys zs 1
        generator[:3, :3] = [[-t.R2f, -t.w0, w1], [t.w0, -t.R2f, 0], [-w1, 0, -t.R1f - forward]]
        generator[3:6, 3:6] = [
            [-1 / t.T2s, -t.w0, w1],
            [t.w0, -1 / t.T2s, 0],
            [-w1, 0, -t.R1s - backward],
        ]
        generator[2, 5], generator[5, 2] = backward, forward
        generator[2, 6], generator[5, 6] = t.m0f * t.R1f, t.m0s * t.R1s
        kept = np.ix_([0, 1, 2, 5, 6], [0, 1, 2, 5, 6])
        expected = expm(generator * duration)[kept]
        found = pulse_map(t, flip, duration, LORENTZIAN)
        np.testing.assert_allclose(found, expected, atol=1e-12)  # spectral accuracy

    def test_alone_the_semi_solid_pool_obeys_its_own_equation(self):
        alone = Tissue(m0s=1, R1f=0, R2f=0, Rx=0, R1s=0, T2s=12.4e-6)
        z = pulse_map(alone, 2.5, 3e-4)[3, 3]
        expected = isolated_pool_z(3e-4 / 12.4e-6, 2.5, SUPER_LORENTZIAN)[0, 0]
        assert z == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("flip", [math.pi / 4, math.pi / 2, math.pi])
    def test_linear_approximation_of_short_pulses(self, train, flip):
        # the second pulse shows what the first left in zf and, by exchange, in zs
        sequence = train([flip, 1.0], duration=1e-4)
        error = relative(linear(sequence, TISSUE), simulate(sequence, TISSUE))
        assert 1e-7 < error < 1e-4  # known: 1e-5 in the free, 1e-4 in the semi-solid pool

    def test_zero_duration_is_refused(self):
        with pytest.raises(DataError, match="lasts 0 s"):
            pulse_map(TISSUE, 1.0, 0.0)

    def test_pulses_beyond_the_linear_approximation(self):
        weak, strong = (pulse_map(TISSUE, flip * math.pi, 3e-4)[3, 3] for flip in (1.3, 2.5))
        assert abs(strong) < abs(weak)


class TestTrain:
    def test_published_example_within_the_known_error(self, train):
        flips = [math.pi / 2] * 100
        sequence = train(
            flips, duration=5e-4, repetition_time=4e-3, first="crusher", start="antiperiodic"
        )
        exact, approximate = simulate(sequence, TISSUE), linear(sequence, TISSUE)
        # stated accuracy of the linear approximation: 4e-5 to 2e-4 for trains
        assert 1e-5 < relative(approximate, exact) < 4e-4

    @pytest.mark.parametrize("start", ["thermal", "inversion", "periodic"])
    def test_varying_pulses_off_resonance(self, train, start):
        flips = [math.pi, 1.0, 0.6, 1.4, 0.2, 0.9] * 2
        durations = [5e-4, 3e-4, 1e-4, 5e-4, 2e-4, 4e-4] * 2
        sequence = train(flips, duration=durations, start=start, first="crusher")
        tissue = replace(TISSUE, w0=200.0, B1=0.9)
        assert relative(linear(sequence, tissue), simulate(sequence, tissue)) < 4e-4

    def test_equilibrium_lasts_without_rf(self, train):
        sequence = train([0.0] * 5, first="spoiler", start="periodic")
        np.testing.assert_allclose(simulate(sequence, TISSUE), 0, atol=1e-14)

    def test_train_beyond_the_linear_approximation(self, train):
        signal = simulate(train([1.8 * math.pi, 0.5]), TISSUE)
        assert np.all(np.isfinite(signal))
        assert 0 < np.abs(signal).max() < 1
