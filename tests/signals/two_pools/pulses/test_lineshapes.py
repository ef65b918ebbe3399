"""Line shapes against quadrature of their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad

from bids_brnn.errors import DataError
from bids_brnn.signals.two_pools.pulses.lineshapes import LINESHAPES, SUPER_LORENTZIAN, lineshape

MAGIC = 1 / math.sqrt(3)


@pytest.mark.parametrize("shape", LINESHAPES.values(), ids=LINESHAPES)
class TestEveryShape:
    def test_memory_starts_at_one_and_falls(self, shape):
        kappa = np.linspace(0, 30, 301)
        green = shape.green(kappa)
        assert green[0] == pytest.approx(1, abs=1e-14)
        assert np.all(np.diff(green) <= 1e-15)
        assert green[-1] < 0.06

    @pytest.mark.parametrize("kappa", [1e-6, 0.3, 5.0, 40.0])
    def test_integrals(self, shape, kappa):
        # quad delivers about 1e-12; the closed forms are better than that
        once = quad(shape.green, 0, kappa, epsabs=1e-13, epsrel=1e-13)[0]
        twice = quad(shape.integral, 0, kappa, epsabs=1e-13, epsrel=1e-13)[0]
        assert shape.integral(np.array(kappa)) == pytest.approx(once, rel=1e-11)
        assert shape.double_integral(np.array(kappa)) == pytest.approx(twice, rel=1e-9)


@pytest.mark.parametrize("name", ["lorentzian", "gaussian"])
@pytest.mark.parametrize("x", [0.0, 0.5, 2.0])
def test_absorption_is_the_cosine_transform_of_the_memory(name, x):
    shape = lineshape(name)
    transform = quad(lambda k: shape.green(k) * math.cos(x * k), 0, 60, limit=400)[0] / math.pi
    assert shape.absorption(np.array(x)) == pytest.approx(transform, rel=1e-7)


@pytest.mark.parametrize("x", [0.02, 0.1, 0.5, 2.0])
def test_super_lorentzian_absorption_is_the_powder_average(x):
    def one_orientation(z: float) -> float:
        width = abs(3 * z**2 - 1)
        ratio = x / width if width > 1e-9 else math.inf
        return math.exp(-2 * ratio**2) / width / math.sqrt(math.pi / 2) if width > 1e-9 else 0.0

    parts = [quad(one_orientation, *ends, epsabs=1e-13)[0] for ends in ((0, MAGIC), (MAGIC, 1))]
    assert SUPER_LORENTZIAN.absorption(np.array(x)) == pytest.approx(sum(parts), rel=1e-8)


def test_super_lorentzian_value_of_the_literature():
    assert SUPER_LORENTZIAN.green(np.array(10.0)) == pytest.approx(0.147124686809444, abs=1e-14)


def test_super_lorentzian_forgets_only_as_one_over_time():
    slow = SUPER_LORENTZIAN.green(np.array([100.0, 200.0]))
    # exponential or Gaussian memory would be gone by many orders of magnitude
    assert slow[1] / slow[0] == pytest.approx(0.5, abs=0.02)


def test_unknown_name_says_which_there_are():
    with pytest.raises(DataError, match=r'"voigt" is unknown; use one of super-lorentzian'):
        lineshape("voigt")
