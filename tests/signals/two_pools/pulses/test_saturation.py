"""Saturation of the semi-solid pool against independent solutions and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from bids_brnn.errors import ParameterError
from bids_brnn.signals.two_pools.pulses.isolated_pool import isolated_pool_z
from bids_brnn.signals.two_pools.pulses.lineshapes import GAUSSIAN, LORENTZIAN, SUPER_LORENTZIAN
from bids_brnn.signals.two_pools.pulses.low_rank import PulseMaps
from bids_brnn.signals.two_pools.pulses.saturation import (
    FLIP_LIMIT,
    RATE_LIMIT,
    TAU_RANGE,
    bloch_z,
    effective_rate,
    on_resonance_absorption,
    remaining_fraction,
    saturation_table,
)


def march(tau: float, beta: float, steps: int) -> float:
    """The Volterra equation by the trapezoidal rule."""
    s = np.linspace(0, 1, steps + 1)
    kernel = SUPER_LORENTZIAN.integral(tau * s) / tau
    z = np.ones(steps + 1)
    for i in range(1, steps + 1):
        memory = kernel[i] * z[0] / 2 + kernel[1:i][::-1] @ z[1:i]
        z[i] = 1 - beta**2 * memory / steps  # the kernel vanishes at lag 0
    return float(z[-1])


class TestIsolatedPool:
    @pytest.mark.parametrize(("tau", "beta"), [(40.3, math.pi), (8.0, 2.0), (30.0, 5.5)])
    def test_agrees_with_a_time_march(self, tau, beta):
        coarse, fine = march(tau, beta, 2000), march(tau, beta, 4000)
        extrapolated = fine + (fine - coarse) / 3
        # what is left of the march after one Richardson step
        found = isolated_pool_z(tau, beta, SUPER_LORENTZIAN)[0, 0]
        assert found == pytest.approx(extrapolated, abs=2e-8)

    def test_lorentzian_is_the_bloch_equation(self):
        tau, beta = np.array([1.0, 8.0, 60.0, 400.0]), np.array([0.1, 1.0, 4.0, 8.0])
        z = isolated_pool_z(tau, beta, LORENTZIAN)
        np.testing.assert_allclose(z, bloch_z(1.0, tau[:, None], beta), atol=1e-10)

    @pytest.mark.parametrize("shape", [SUPER_LORENTZIAN, GAUSSIAN], ids=lambda shape: shape.name)
    def test_weak_pulses_follow_perturbation_theory(self, shape):
        tau, beta = 25.0, 1e-3
        first_order = beta**2 * shape.double_integral(np.array(tau)) / tau**2
        lost = 1 - isolated_pool_z(tau, beta, shape)[0, 0]
        assert lost == pytest.approx(first_order, rel=1e-5)


class TestTable:
    def test_agrees_with_the_equation_over_its_domain(self):
        rng = np.random.default_rng(1)
        tau = np.exp(rng.uniform(*np.log(TAU_RANGE), 12))
        table = saturation_table()
        beta = rng.uniform(0, FLIP_LIMIT, 12)
        exact = isolated_pool_z(tau, beta, SUPER_LORENTZIAN)
        np.testing.assert_allclose(table.z_end(tau, beta), exact, atol=1e-8)
        beta = rng.uniform(0.05, RATE_LIMIT, 12)
        exact = isolated_pool_z(tau, beta, SUPER_LORENTZIAN)
        found = bloch_z(table.rho(tau, beta), tau[:, None], beta)
        np.testing.assert_allclose(found, exact, atol=1e-8)

    def test_lorentzian_rate_is_the_transverse_rate(self):
        rho = saturation_table(LORENTZIAN).rho(np.array([2.0, 40.0]), np.array([0.1, 2.0, 4.0]))
        np.testing.assert_allclose(rho, 1, atol=1e-8)

    @pytest.mark.parametrize(
        ("duration", "flip", "rho"),
        [
            (500e-6, math.pi, 0.1658),
            (500e-6, math.pi / 2, 0.1742),
            (300e-6, math.pi / 2, 0.1882),
            (100e-6, math.pi / 5, 0.1874),
            (500e-6, 1e-3, 0.1761),
        ],
    )
    def test_known_rates(self, duration, flip, rho):
        rate, _, _ = effective_rate(12.4e-6, duration, flip)
        assert rate * 12.4e-6 == pytest.approx(rho, abs=6e-5)  # four digits are given

    def test_limit_of_weak_pulses(self):
        tau = 40.0
        rho = float(saturation_table().rho(tau, 0.0)[0, 0])
        a = rho * tau
        mean_memory = SUPER_LORENTZIAN.double_integral(np.array(tau)) / tau**2
        assert (1 - (1 - math.exp(-a)) / a) / a == pytest.approx(mean_memory, rel=1e-7)

    def test_against_independent_values(self, spot):
        table, values = saturation_table(), spot.values
        T2s = values["r2sl_T2s"].numpy()
        for row, duration in enumerate(values["r2sl_TRF"].numpy()):
            tau, beta = duration / T2s, values["r2sl_alphaB1"].numpy()
            z, rate = table.z_end(tau, beta).T, table.rho(tau, beta).T / T2s
            known = ~torch.isnan(values["r2sl"][row]).numpy()
            assert known.sum() > 20
            expected = values["zs_end_of_pulse"][row].numpy()[known]
            np.testing.assert_allclose(z[known], expected, atol=1e-9)
            np.testing.assert_allclose(rate[known], values["r2sl"][row].numpy()[known], rtol=1e-7)

    @pytest.mark.parametrize("flip", [0.2, 2.0, 4.2])
    def test_derivatives(self, flip):
        T2s, duration = 12e-6, 300e-6
        _, by_T2s, by_flip = effective_rate(T2s, duration, flip)
        for derivative, step, ahead, behind in (
            (by_T2s, 1e-9, (T2s + 1e-9, duration, flip), (T2s - 1e-9, duration, flip)),
            (by_flip, 1e-4, (T2s, duration, flip + 1e-4), (T2s, duration, flip - 1e-4)),
        ):
            difference = (effective_rate(*ahead)[0] - effective_rate(*behind)[0]) / (2 * step)
            # central differences: error of the order step^2
            assert derivative == pytest.approx(difference, rel=1e-5)

    def test_there_is_no_rate_far_above_the_limit(self):
        z = isolated_pool_z(30.0, 1.5 * math.pi, SUPER_LORENTZIAN)[0, 0]
        reachable = bloch_z(np.linspace(1e-4, 3, 20000), 30.0, 1.5 * math.pi)
        assert np.all(reachable > z)

    def test_outside_the_domain(self):
        table = saturation_table()
        with pytest.raises(
            ParameterError, match=r"255 degrees, above the limit of 248\.4 degrees"
        ):
            table.rho(20.0, [math.radians(255)])
        with pytest.raises(ParameterError, match=r"0\.5, outside the tabulated 1 \.\.\. 1000"):
            table.z_end(0.5, [1.0])
        with pytest.raises(ParameterError, match=r"above the limit of 248\.4"):
            effective_rate(12e-6, 3e-4, 1.4 * math.pi)


class TestOtherModels:
    def test_sled(self):
        T2s, duration, flip = 10e-6, 200e-6, 1.3
        w1 = flip / duration

        def rate(t: float, z: np.ndarray) -> np.ndarray:
            return -(w1**2) * T2s * SUPER_LORENTZIAN.integral(np.array(t / T2s)) * z

        expected = solve_ivp(rate, (0, duration), [1.0], rtol=1e-10, atol=1e-12).y[0, -1]
        found = remaining_fraction("sled", [T2s], [[duration]], [[flip]], SUPER_LORENTZIAN)
        assert found[0, 0, 0] == pytest.approx(expected, abs=1e-8)

    def test_graham_is_a_constant_rate(self):
        T2s, duration, flip = 10e-6, 200e-6, 1.3
        found = remaining_fraction("graham", [T2s], [[duration]], [[flip]], LORENTZIAN)
        # pi w1^2 g(0) with g(0) = T2s / pi
        expected = math.exp(-((flip / duration) ** 2) * T2s * duration)
        assert found[0, 0, 0] == pytest.approx(expected, rel=1e-12)

    def test_on_resonance_line_of_the_literature(self):
        # Gloor et al. (MRM 2008;60:691) give 1.4e-5 s; where the continuation starts is a choice
        value = on_resonance_absorption([12e-6], SUPER_LORENTZIAN)[0]
        assert value == pytest.approx(1.4e-5, rel=0.15)

    def test_models_agree_for_weak_long_pulses_with_short_memory(self):
        where = ([8e-6], [[2e-3]], [[0.3]], LORENTZIAN)
        exact = 1 - remaining_fraction("gbloch", *where)[0, 0, 0]
        for model in ("graham", "sled"):
            # relative difference of the order T2s / duration
            assert 1 - remaining_fraction(model, *where)[0, 0, 0] == pytest.approx(exact, rel=0.01)

    def test_unknown_model(self):
        with pytest.raises(ParameterError, match='"bloch" is unknown; use one of gbloch'):
            remaining_fraction("bloch", [1e-5], [[3e-4]], [[1.0]], SUPER_LORENTZIAN)


class TestPulseMaps:
    T2S, B1 = (4e-6, 26e-6), (0.5, 1.3)

    @pytest.fixture(scope="class")
    def pulses(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(3)
        duration, flip = rng.uniform(1e-4, 5e-4, 40), rng.uniform(0.01, math.pi, 40)
        duration[7], flip[7] = duration[3], flip[3]
        return duration, flip

    @pytest.fixture(scope="class")
    def maps(self, pulses) -> PulseMaps:
        def left(T2s, duration, flip):
            return remaining_fraction("gbloch", T2s, duration, flip, SUPER_LORENTZIAN)

        return PulseMaps.fit(left, *pulses, self.T2S, self.B1)

    def test_values(self, maps, pulses):
        rng = np.random.default_rng(4)
        T2s, B1 = rng.uniform(*self.T2S, 6), rng.uniform(*self.B1, 6)
        found = maps(torch.tensor(T2s), torch.tensor(B1)).numpy()
        table = saturation_table()
        for row in range(6):
            expected = [
                table.z_end(duration / T2s[row], flip * B1[row])[0, 0]
                for duration, flip in zip(*pulses, strict=True)
            ]
            np.testing.assert_allclose(found[row], expected, atol=1e-8)

    def test_equal_pulses_are_equal(self, maps):
        np.testing.assert_array_equal(maps.weights[3], maps.weights[7])
        assert maps.weights.shape[0] == 40 > maps.weights.shape[1]

    def test_derivatives_by_complex_step(self, maps):
        T2s, B1 = torch.tensor([11e-6]).double(), torch.tensor([1.1]).double()
        slope = maps(torch.complex(T2s, 1e-40 + 0 * T2s), B1 + 0j).imag / 1e-40
        difference = (maps(T2s * (1 + 1e-4), B1) - maps(T2s * (1 - 1e-4), B1)) / (2e-4 * T2s)
        torch.testing.assert_close(slope, difference, rtol=1e-5, atol=1e-3)

    def test_looser_tolerance_needs_fewer_functions(self, pulses):
        def left(T2s, duration, flip):
            return remaining_fraction("gbloch", T2s, duration, flip, SUPER_LORENTZIAN)

        rough = PulseMaps.fit(left, *pulses, self.T2S, self.B1, tolerance=1e-3)
        fine = PulseMaps.fit(left, *pulses, self.T2S, self.B1)
        assert rough.weights.shape[1] < fine.weights.shape[1]
        T2s, B1 = torch.tensor([11e-6]).double(), torch.tensor([1.1]).double()
        torch.testing.assert_close(rough(T2s, B1), fine(T2s, B1), atol=3e-3, rtol=0)
