"""Slow, exact Z-spectra of two generalized Bloch pools, to judge the fast model.

Nothing is split, tabulated or averaged: during the MT pulse the free pool obeys Bloch's equations
and the semi-solid pool keeps its memory (doi 10.1002/mrm.29071),

``zs' = -w1(t) int_0^t G((t - t') / T2s) cos(D (t - t')) w1(t') zs(t') dt' + exchange + R1s``,

with the detuning ``D`` between pulse and water. Time is cut into equal elements that resolve
detuning, nutation and memory, with collocation in each; as they are equal, the memory between two
of them depends on their distance only. NumPy, about a second per measurement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals.two_pools.pulses.lineshapes import SUPER_LORENTZIAN, Lineshape
from bids_brnn.signals.two_pools.pulses.quadrature import gauss
from bids_brnn.signals.two_pools.reference import Tissue

Array = NDArray[np.float64]

_NODES, _QUADRATURE = 12, 24
_CYCLES = 1.0  # turns of detuning and nutation in one element
_MEMORIES = 12.0  # T2s in one element
_LEAST, _MOST = 40, 2400  # elements


@dataclass(frozen=True)
class _Elements:
    """Collocation on ``count`` elements of ``length`` s, at ``nodes`` in (0, 1]."""

    count: int
    length: float
    nodes: Array
    integral: Array
    """``int_0^node`` of a polynomial by its values at the nodes."""


def pulse_map(
    tissue: Tissue,
    pulse: MTPulse,
    angle: float,
    offset: float,
    lineshape: Lineshape = SUPER_LORENTZIAN,
    refine: float = 1.0,
) -> Array:
    """What an MT pulse, and spoiling after it, do to ``(zf, zs, 1)``.

    Parameters
    ----------
    tissue
        Parameters; its ``w0`` moves the water line, its ``B1`` scales the pulse.
    pulse
        Envelope.
    angle
        Nominal flip angle on resonance, rad.
    offset
        Hz.
    lineshape
        Of the semi-solid pool.
    refine
        Factor on the number of elements, to see that it does not matter.

    Returns
    -------
    Array
        ``(3, 3)``; the last row is (0, 0, 1).
    """
    detuning = 2 * math.pi * offset - tissue.w0
    cycles = (abs(detuning) * pulse.duration + tissue.B1 * angle * _peak(pulse)) / (2 * math.pi)
    wanted = max(cycles / _CYCLES, pulse.duration / (_MEMORIES * tissue.T2s), _LEAST)
    elements = _elements(pulse.duration, round(refine * min(wanted, _MOST)))
    memory = _memory(elements, detuning, tissue.T2s, lineshape)
    return _march(tissue, pulse, angle, detuning, elements, memory)


def simulate(
    protocol: ZSpectrum, tissue: Tissue, lineshape: Lineshape = SUPER_LORENTZIAN
) -> Array:
    """Signal ``(N,)``, with the conventions of :class:`..gbloch.GBlochZ`."""
    signal = np.empty(protocol.n_samples)
    for n, (angle, offset) in enumerate(zip(protocol.mt_flip_angle, protocol.offset, strict=True)):
        signal[n] = _measure(protocol, tissue, lineshape, float(angle), float(offset))
    if protocol.normalised:
        signal /= _measure(protocol, tissue, lineshape, 0.0, 0.0)
    return signal


def _measure(
    protocol: ZSpectrum, tissue: Tissue, lineshape: Lineshape, angle: float, offset: float
) -> float:
    """``Mzf`` before the excitation in the cyclic steady state."""
    pulse = protocol.pulse
    if angle > 0:
        mt = pulse_map(tissue, pulse, angle, offset, lineshape)
    else:
        mt = _wait(tissue, pulse.duration)
    after = _wait(tissue, protocol.excitation_duration + protocol.rest)
    excite = np.diag([math.cos(tissue.B1 * protocol.flip_angle), 1.0, 1.0])
    excite[1, 1] = _excited_solid(protocol, tissue, lineshape)
    cycle = _wait(tissue, protocol.mt_delay) @ mt @ after @ excite
    steady = np.linalg.solve(np.eye(2) - cycle[:2, :2], cycle[:2, 2])
    return float(steady[0])


def _excited_solid(protocol: ZSpectrum, tissue: Tissue, lineshape: Lineshape) -> float:
    """What a rectangular excitation leaves of the semi-solid pool alone."""
    if protocol.excitation_duration == 0 or protocol.flip_angle == 0:
        return 1.0
    alone = Tissue(m0s=1.0, R1f=0, R2f=0, Rx=0, R1s=0, T2s=tissue.T2s, w0=tissue.w0, B1=tissue.B1)
    pulse = MTPulse("HARD", protocol.excitation_duration)
    return float(pulse_map(alone, pulse, protocol.flip_angle, 0.0, lineshape)[1, 1])


def _wait(tissue: Tissue, time: float) -> Array:
    forward, backward = tissue.Rx * tissue.m0s, tissue.Rx * tissue.m0f
    rates = np.zeros((3, 3))
    rates[:2, :2] = [[-tissue.R1f - forward, backward], [forward, -tissue.R1s - backward]]
    rates[:2, 2] = [tissue.R1f * tissue.m0f, tissue.R1s * tissue.m0s]
    return np.asarray(expm(rates * time))


def _peak(pulse: MTPulse) -> float:
    """Largest over mean amplitude."""
    return pulse.duration / pulse.area


def _elements(duration: float, count: int) -> _Elements:
    """Radau points, which end each element, are good for what decays within one."""
    degree = _NODES
    legendre = np.polynomial.legendre.Legendre.basis
    # Zeros of P_n - P_(n-1) on [-1, 1] include 1.
    roots = np.sort((legendre(degree) - legendre(degree - 1)).roots().real)
    roots[-1] = 1.0
    nodes = (roots + 1) / 2
    values = np.polynomial.chebyshev.chebvander(roots, degree - 1)
    powers = np.polynomial.chebyshev.chebint(np.eye(degree), lbnd=-1, axis=0)
    integrals = np.polynomial.chebyshev.chebvander(roots, degree) @ powers / 2
    integral: Array = np.linalg.solve(values.T, integrals.T).T.astype(float)
    return _Elements(count, duration / count, nodes, integral)


def _memory(elements: _Elements, detuning: float, T2s: float, lineshape: Lineshape) -> Array:
    """``(count, n, n)``: ``int G cos`` over an element by values at its nodes, per distance."""
    nodes, n = elements.nodes, len(elements.nodes)
    x, weights = gauss(_QUADRATURE)
    to_values = np.linalg.inv(np.polynomial.chebyshev.chebvander(2 * nodes - 1, n - 1))

    def integrate(end: Array, lag: Array) -> Array:
        """Over [0, end] of an element; ``lag`` in elements, ``(..., n, quadrature)``."""
        kernel = lineshape.green(lag * elements.length / T2s)
        kernel = kernel * np.cos(detuning * elements.length * lag) * weights * end[:, None]
        basis = np.polynomial.chebyshev.chebvander(2 * end[:, None] * x - 1, n - 1)
        moments = np.einsum("...iq,iqc->...ic", kernel, basis) * elements.length
        return np.asarray(moments @ to_values)

    own = integrate(nodes, nodes[:, None] * (1 - x))
    distance = np.arange(1, elements.count)[:, None, None]
    # The element before: G falls within T2s near its end, which few points would miss.
    far = (
        [
            integrate(np.ones(n), part + nodes[:, None] - x)
            for part in np.array_split(distance, max(1, elements.count // 32))
        ]
        if elements.count > 1
        else []
    )
    return np.concatenate([own[None], *far])


def _march(
    tissue: Tissue,
    pulse: MTPulse,
    angle: float,
    detuning: float,
    elements: _Elements,
    memory: Array,
) -> Array:
    """Element after element, from ``zf = 1``, ``zs = 1`` and nothing, the last with recovery."""
    n, h = len(elements.nodes), elements.length
    forward, backward = tissue.Rx * tissue.m0s, tissue.Rx * tissue.m0f
    local = np.zeros((4, 4))  # x, y, zf, zs
    local[:2, :2] = [[-tissue.R2f, -detuning], [detuning, -tissue.R2f]]
    local[2:, 2:] = [[-tissue.R1f - forward, backward], [forward, -tissue.R1s - backward]]
    recovery = np.zeros((4, 3))
    recovery[2:, 2] = [tissue.R1f * tissue.m0f, tissue.R1s * tissue.m0s]
    state: Array = np.zeros((4, 3))
    state[2, 0] = state[3, 1] = 1.0
    driven = np.zeros((elements.count, n, 3))  # w1 zs
    integrate = h * elements.integral
    for e in range(elements.count):
        times = (e + elements.nodes) * h
        w1 = tissue.B1 * angle * pulse.envelope(times) / pulse.area
        system = np.kron(local, np.eye(n))
        system[:n, 2 * n : 3 * n] += np.diag(w1)
        system[2 * n : 3 * n, :n] -= np.diag(w1)
        system[3 * n :, 3 * n :] -= w1[:, None] * memory[0] * w1
        source = np.repeat(recovery, n, axis=0)
        if e:
            past = np.einsum("dij,djc->ic", memory[e:0:-1], driven[:e])
            source[3 * n :] -= w1[:, None] * past
        whole = np.kron(np.eye(4), integrate)
        right = np.repeat(state, n, axis=0) + whole @ source
        found = np.linalg.solve(np.eye(4 * n) - whole @ system, right)
        driven[e] = w1[:, None] * found[3 * n :]
        state = np.asarray(found[n - 1 :: n], dtype=np.float64)
    result: Array = np.eye(3)
    result[:2] = state[2:]
    return result
