"""Slow, exact solution of the generalized Bloch equations of two coupled pools.

No effective rate and no splitting: during a pulse the semi-solid pool keeps its memory,

``zs' = -w1^2 int_0^t G((t - t') / T2s) cos(w0 (t - t')) zs(t') dt' + Rx m0s zf
- (R1s + Rx m0f) zs + m0s R1s``,

while the free pool obeys the Bloch equation (doi 10.1002/mrm.29071). It judges the fast models
and simulates pulses beyond their domain. Spectral collocation in time; NumPy, one parameter set
at a time, about 0.1 s per different pulse.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from bids_brnn.errors import DataError
from bids_brnn.parameters import QMT
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals.two_pools.pulses.lineshapes import SUPER_LORENTZIAN, Lineshape
from bids_brnn.signals.two_pools.pulses.quadrature import gauss, lobatto_points
from bids_brnn.signals.two_pools.stepping.plan import CRUSH, ROTATE, WAIT, TrainPlan

Array = NDArray[np.float64]

_NODES, _QUADRATURE = 72, 96


@dataclass(frozen=True)
class Tissue:
    """One parameter set in SI units; defaults are those of the parameter table."""

    m0s: float = QMT["m0s"].start
    R1f: float = QMT["R1f"].start
    R2f: float = QMT["R2f"].start
    Rx: float = QMT["Rx"].start
    R1s: float = QMT["R1s"].start
    T2s: float = QMT["T2s"].start
    w0: float = 0.0
    B1: float = 1.0

    @property
    def m0f(self) -> float:
        """Fractional size of the free pool."""
        return 1 - self.m0s


def pulse_map(
    tissue: Tissue, flip: float, duration: float, lineshape: Lineshape = SUPER_LORENTZIAN
) -> Array:
    """What a rectangular pulse about y does to (xf, yf, zf, zs, 1), as a matrix ``(5, 5)``.

    Parameters
    ----------
    tissue
        Parameters.
    flip
        Nominal flip angle, rad; any size.
    duration
        Seconds, above 0.
    lineshape
        Line of the semi-solid pool.

    Raises
    ------
    DataError
        If the duration is not positive.
    """
    if not duration > 0:
        raise DataError(f"the pulse lasts {duration:g} s; the exact solver needs more than 0 s")
    nodes, integral = _integration()
    w1 = tissue.B1 * flip / duration
    free, exchange, recovery = _generators(tissue, w1)
    memory = _memory(tissue, duration, lineshape)
    n = nodes.size
    # Unknown: the four components at all times; u = u(0) + int (D u + recovery).
    system = np.kron(free + exchange, np.eye(n))
    system[3 * n :, 3 * n :] -= w1**2 * memory
    integrate = np.kron(np.eye(4), duration * integral)
    start = np.zeros((4 * n, 5))
    for component in range(4):
        start[component * n : (component + 1) * n, component] = 1
    start[:, 4] = integrate @ np.repeat(recovery, n)
    solution = np.linalg.solve(np.eye(4 * n) - integrate @ system, start)
    result = np.eye(5)
    result[:4] = solution[n - 1 :: n]
    return result


def simulate(
    sequence: PulseSequence, tissue: Tissue, lineshape: Lineshape = SUPER_LORENTZIAN
) -> NDArray[np.complex128]:
    """Signal ``(N,)`` at M0 = 1 of all trains, train after train.

    Conventions, gradients and starts are those of
    :class:`~bids_brnn.signals.two_pools.generalized_bloch.GeneralizedBloch`.
    """
    plan = TrainPlan.from_sequence(sequence)
    pulses: dict[tuple[float, float, int], Array] = {}
    signal = np.empty(sequence.n_samples, dtype=complex)
    for train in range(plan.n_trains):
        steps = [
            _step(plan, train, step, tissue, lineshape, pulses) for step in range(plan.n_steps)
        ]
        state = _start(plan, steps, tissue)
        for step, matrix in enumerate(steps):
            state = matrix @ state
            if plan.sample[train, step] >= 0:
                signal[plan.sample[train, step]] = state[0] + 1j * state[1]
    return signal


def _start(plan: TrainPlan, steps: list[Array], tissue: Tissue) -> Array:
    if not plan.repeats:
        sign = -1.0 if plan.start == "inversion" else 1.0
        return np.array([0, 0, sign * tissue.m0f, tissue.m0s, 1])
    product = np.eye(5)
    for matrix in steps:
        product = matrix @ product
    state = np.linalg.solve(np.eye(4) - product[:4, :4], product[:4, 4])
    return np.append(state, 1.0)


def _step(
    plan: TrainPlan,
    train: int,
    step: int,
    tissue: Tissue,
    lineshape: Lineshape,
    pulses: dict[tuple[float, float, int], Array],
) -> Array:
    """From sample to sample; maps of equal pulses are kept in ``pulses``."""
    at = (train, step)
    kind = int(plan.kind[at])
    before, after = (time[at] - plan.half[at] for time in (plan.before, plan.after))
    key = (float(plan.flip[at]), float(plan.duration[at]), kind)
    if key not in pulses:
        pulses[key] = _pulse(tissue, *key, lineshape)
    phase = _wait(tissue, before) @ _turn(-plan.increment[at])
    result: Array = _wait(tissue, after) @ pulses[key] @ phase
    return result


def _pulse(tissue: Tissue, flip: float, duration: float, kind: int, lineshape: Lineshape) -> Array:
    if kind == WAIT:
        return np.eye(5)
    if kind == ROTATE:
        return pulse_map(tissue, flip, duration, lineshape)
    # Crushed or spoiled: an instant for the free pool; the semi-solid pool is alone with the RF.
    alone = Tissue(m0s=1.0, R1f=0, R2f=0, Rx=0, R1s=0, T2s=tissue.T2s, w0=0.0, B1=tissue.B1)
    left = pulse_map(alone, flip, duration, lineshape)[3, 3] if flip > 0 else 1.0
    angle = tissue.B1 * flip
    echo = np.sin(angle / 2) ** 2 if kind == CRUSH else 0.0
    return np.diag([-echo, echo, np.cos(angle), left, 1.0])


def _turn(angle: float) -> Array:
    result = np.eye(5)
    result[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return result


def _wait(tissue: Tissue, time: float) -> Array:
    free, exchange, _ = _generators(tissue, 0.0)
    result = np.eye(5)
    decay, angle = np.exp(-tissue.R2f * time), tissue.w0 * time
    result[:2] = decay * _turn(angle)[:2]
    result[2:4, 2:4] = expm((free + exchange)[2:, 2:] * time)
    equilibrium = np.array([tissue.m0f, tissue.m0s])
    result[2:4, 4] = equilibrium - result[2:4, 2:4] @ equilibrium
    return result


def _generators(tissue: Tissue, w1: float) -> tuple[Array, Array, Array]:
    """Rates of (xf, yf, zf, zs): RF, precession and relaxation; exchange; recovery."""
    free = np.array(
        [
            [-tissue.R2f, -tissue.w0, w1, 0],
            [tissue.w0, -tissue.R2f, 0, 0],
            [-w1, 0, -tissue.R1f, 0],
            [0, 0, 0, -tissue.R1s],
        ]
    )
    exchange = np.zeros((4, 4))
    forward, backward = tissue.Rx * tissue.m0s, tissue.Rx * tissue.m0f
    exchange[2:, 2:] = [[-forward, backward], [forward, -backward]]
    recovery = np.array([0, 0, tissue.m0f * tissue.R1f, tissue.m0s * tissue.R1s])
    return free, exchange, recovery


@cache
def _integration() -> tuple[Array, Array]:
    """Chebyshev-Lobatto points on [0, 1] and the matrix of ``int_0^s`` on values there."""
    n = _NODES
    nodes = lobatto_points(n)
    vandermonde = np.polynomial.chebyshev.chebvander(2 * nodes - 1, n - 1)
    powers = np.polynomial.chebyshev.chebint(np.eye(n), lbnd=-1, axis=0)
    integrals = np.polynomial.chebyshev.chebvander(2 * nodes - 1, n) @ powers / 2
    return nodes, np.asarray(np.linalg.solve(vandermonde.T, integrals.T).T, float)


def _memory(tissue: Tissue, duration: float, lineshape: Lineshape) -> Array:
    """``int_0^t G((t - t')/T2s) cos(w0 (t - t')) z(t') dt'`` on values at the nodes."""
    nodes, _ = _integration()
    x, weights = gauss(_QUADRATURE)
    degree = nodes.size - 1
    values = np.polynomial.chebyshev.chebvander(2 * nodes[:, None] * x - 1, degree)
    lag = duration * nodes[:, None] * (1 - x)
    kernel = lineshape.green(lag / tissue.T2s) * np.cos(tissue.w0 * lag)
    moments = ((duration * nodes[:, None] * weights * kernel)[..., None] * values).sum(1)
    vandermonde = np.polynomial.chebyshev.chebvander(2 * nodes - 1, degree)
    result: Array = np.linalg.solve(vandermonde.T, moments.T).T
    return result
