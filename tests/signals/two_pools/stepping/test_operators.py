"""Closed forms of the two-pool Bloch equations against matrix exponentials."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import Tensor

from bids_brnn.signals.two_pools.stepping import operators as bloch
from bids_brnn.signals.two_pools.stepping.operators import State, TwoPools

R2S, W1, W0 = 1.4e4, 5e3, 400.0


def pools(**changes: float) -> TwoPools:
    values = {"m0s": 0.2, "R1f": 0.5, "R2f": 13.0, "Rx": 17.0, "R1s": 3.0, "w0": W0, **changes}
    return TwoPools(**{name: torch.tensor([[value]]).double() for name, value in values.items()})


def number(value: float) -> Tensor:
    return torch.tensor([[value]], dtype=torch.float64)


def states() -> State:
    """The unit states, with xs as a sixth one."""
    return State(*torch.eye(6, dtype=torch.float64)[:, None])


def matrix(state: State) -> np.ndarray:
    rows = torch.stack(torch.broadcast_tensors(*state), dim=-2)
    return rows.reshape(6, -1).numpy()  # xf yf zf xs zs 1


def generator(tissue: TwoPools, w1: float, R2s: float, w1s: float, rate: float) -> np.ndarray:
    flat = TwoPools(*(value[..., 0] for value in tissue))
    arguments = (number(value)[..., 0] for value in (w1, R2s, w1s, rate))
    return bloch.pulse_generator(flat, *arguments)[0].numpy()


@pytest.mark.parametrize("time", [1e-6, 1e-3, 0.1, 4.0])
@pytest.mark.parametrize(
    "rates", [{}, {"m0s": 0.0}, {"m0s": 0.0, "R1f": 10.0, "Rx": 7.0}, {"m0s": 1e-9, "R1f": 20.0}]
)
def test_relaxation_and_exchange(time, rates):
    tissue = pools(**rates, w0=0.0)
    expected = expm(generator(tissue, 0, 0, 0, 0) * time)
    found = matrix(bloch.relax(states(), tissue, number(time)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_recovery_over_a_short_time_keeps_its_digits_in_single_precision():
    tissue = pools()
    single = TwoPools(*(value.float() for value in tissue))
    start = State(*torch.zeros(6, 1, 1, dtype=torch.float64))._replace(one=number(1.0))
    exact = bloch.relax(start, tissue, number(1e-4))
    rounded = bloch.relax(State(*(value.float() for value in start)), single, number(1e-4).float())
    # one minus a number close to one would leave three digits
    torch.testing.assert_close(rounded.zf.double(), exact.zf, rtol=3e-6, atol=0)


def test_precession_turns_counter_clockwise():
    start = State(*torch.zeros(6, 1, 1, dtype=torch.float64))._replace(xf=number(1.0))
    turned = bloch.turn(start, number(math.pi / 2))
    assert turned.yf.item() == pytest.approx(1)
    assert turned.xf.item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("w0", [0.0, 300.0, -5000.0])
def test_nutation_about_a_tilted_axis(w0):
    tissue = pools(m0s=0.0, R1f=0.0, R2f=0.0, Rx=0.0, R1s=0.0, w0=w0)
    expected = expm(generator(tissue, W1, 0, 0, 0) * 3e-4)
    found = matrix(bloch.nutate(states(), number(W1), number(w0), number(3e-4)))
    np.testing.assert_allclose(found[:3, :3], expected[:3, :3], atol=1e-13)


def test_pulse_takes_plus_z_to_plus_x():
    equilibrium = State(*torch.zeros(6, 1, 1, dtype=torch.float64))._replace(zf=number(1.0))
    excited = bloch.nutate(equilibrium, number(math.pi / 2), number(0.0), number(1.0))
    assert excited.xf.item() == pytest.approx(1)


@pytest.mark.parametrize("time", [1e-9, 1e-5, 3e-4, 5e-3])
@pytest.mark.parametrize("R2s", [2.0, 2 * W1, 2 * W1 * (1 + 1e-7), 8e4])
def test_saturation_below_at_and_above_critical_damping(time, R2s):
    tissue = pools(m0s=0.0, R1f=0.0, R2f=0.0, Rx=0.0, R1s=0.0)
    expected = expm(generator(tissue, 0, R2s, W1, 0) * time)[3:5, 3:5]
    found = matrix(bloch.saturate(states(), number(W1), number(R2s), number(0.0), number(time)))[
        3:5, 3:5
    ]
    np.testing.assert_allclose(found, expected, atol=1e-11)


def test_saturation_by_a_rate():
    found = bloch.saturate(states(), number(0.0), number(0.0), number(500.0), number(1e-3))
    assert found.zs[0, 4].item() == pytest.approx(math.exp(-0.5))


@pytest.mark.parametrize("flip", [0.0, 1.0, math.pi])
def test_crushed_pulse_is_the_average_over_isochromats(flip):
    average = 0
    for angle in 2 * np.pi * np.arange(8) / 8:
        state = bloch.turn(states(), number(angle))
        state = bloch.nutate(state, number(max(flip, 1e-12)), number(0.0), number(1.0))
        average = average + matrix(bloch.turn(state, number(angle))) / 8
    found = matrix(bloch.crush(states(), number(flip), number(1.0), number(1.0)))
    np.testing.assert_allclose(found, average, atol=1e-11)
    spoiled = matrix(bloch.crush(states(), number(flip), number(1.0), number(0.0)))
    np.testing.assert_allclose(spoiled[:2], 0)
    np.testing.assert_allclose(spoiled[2:], found[2:])


def test_damped_functions_are_smooth_through_zero():
    square = torch.linspace(-0.03, 0.03, 601, dtype=torch.float64)
    for function in bloch.damped(square, torch.zeros_like(square)):
        curvature = np.diff(function.numpy(), 2) / 1e-8
        # cosh'' and (sinh r / r)'' in r^2 are 1/12 and 1/60: no step where the formulas change
        assert np.abs(np.diff(curvature)).max() < 1e-4


def test_damped_functions_do_not_overflow():
    even, odd = bloch.damped(torch.tensor([1e5]), torch.tensor([-320.0]))
    assert torch.isfinite(even).all()
    assert torch.isfinite(odd).all()
