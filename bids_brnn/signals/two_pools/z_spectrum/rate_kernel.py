"""Z-spectra of models in which saturation is a rate or a factor, with derivatives, compiled.

Derivatives are taken by what acts on the pools (rates ``Wf`` and ``Ws``, factor on the free pool)
and carried on to R2f, T2s, w0 and B1 at the end. See ``models`` for what the models are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit, jit_in_place
from bids_brnn.signals.copying import put
from bids_brnn.signals.two_pools.z_spectrum.dual_steps import (
    add_product,
    cyclic,
    equilibrium,
    levels,
    scaled,
    scaled_before,
    then,
    under,
    wait,
)
from bids_brnn.signals.two_pools.z_spectrum.line_kernel import piece
from bids_brnn.signals.two_pools.z_spectrum.plain_steps import (
    plain_cyclic,
    plain_scaled_before,
    plain_then,
    plain_under,
)
from bids_brnn.signals.two_pools.z_spectrum.z_kernel import adjoint, steady

Array = NDArray[Any]

RAMANI, YARNYKH, SLED_PIKE_CW, SLED_PIKE_RP = range(4)
"""Kinds."""
RATE, DRIVEN, DELAY, REST, FLIP, NEAR, LOW, HIGH, PER = range(9)
"""Places in ``protocol``."""


@jit_in_place
def semi_solid(
    theta: Array, offset: float, power: float, protocol: Array, values: Array, rises: Array,
    out: Array
) -> None:  # fmt: skip
    """Saturation rate (1/s) of the semi-solid pool by the power (rad^2/s^2), at an offset (Hz).

    ``out`` ``(4,)``: the rate, and its derivatives by T2s, by the offset and by B1.
    """
    f, by_offset = abs(offset), 1.0 if offset >= 0 else -1.0
    if f <= protocol[NEAR]:  # the line diverges on resonance and is never seen there
        f, by_offset = 1140.0 + 1.6e-4 * f * f, by_offset * 3.2e-4 * f
    T2s = theta[5]
    x = 2 * math.pi * f * T2s
    shape, slope = piece(x, values, rises, protocol[LOW], protocol[HIGH], protocol[PER])
    out[0] = math.pi * power * T2s * shape
    out[1] = math.pi * power * (shape + x * slope)
    out[2] = math.pi * power * T2s * slope * 2 * math.pi * T2s * by_offset
    out[3] = 2 * out[0] / theta[7]


@jit_in_place
def measured(
    kind: int, theta: Array, protocol: Array, Wf: float, Ws: float, left: Array, excited: Array,
    waits: Array, work: Array, signal: Array
) -> None:  # fmt: skip
    """``Mzf`` before the excitation in the steady state ``(9,)``, by what acts on the pools.

    Derivatives: m0s, R1f, Wf, Rx, R1s, Ws, the factor ``left`` and that of the excitation.

    Parameters
    ----------
    left, excited
        ``(9,)``: factors on the free pool, of the pulse and of the excitation.
    waits
        ``(3, 6, 9)``: delay; delay, excitation and rest; rest.
    work
        ``(6, 6, 9)``.
    """
    pair = work[3]
    if kind == RAMANI:
        equilibrium(theta, Wf, Ws, 0, signal)
        return
    step, first, second, vectors = work[0], work[1], work[2], work[4]
    under(protocol[DRIVEN], theta, Wf, Ws, pair, step)
    if kind == YARNYKH:
        start, end = vectors[0, :2], vectors[1, :2]
        weight, at_start = vectors[2, :2], vectors[3, :2]
        values = vectors[4, :6]
        for i in range(6):
            values[i] = step[i, 0]
        signal[0] = steady(values, waits[0], waits[1], start, end, weight, at_start)
        adjoint(waits[0], waits[1], end, at_start, signal[1:])
        for d in range(8):
            g = d + 1
            f, s = step[0, g] * start[0], step[2, g] * start[0]
            f, s = f + step[1, g] * start[1] + step[4, g], s + step[3, g] * start[1] + step[5, g]
            signal[g] += weight[0] * f + weight[1] * s
        return
    if kind == SLED_PIKE_CW:
        scaled_before(step, left, first)
        cyclic(first, work[5], second[0])
    else:
        # From one middle of the pulse to the next: half of it on both sides of the rest.
        second[0] = 0.0
        add_product(left, excited, 1.0, second[0])
        scaled_before(step, second[0], first)
        then(first, waits[2], second)
        then(second, step, first)
        cyclic(first, work[5], second[0])
    signal[:] = 0.0
    add_product(left, second[0], 1.0, signal)


@jit_in_place
def plain_waits(
    kind: int, theta: Array, protocol: Array, excited: float, waits: Array, work: Array
) -> None:  # fmt: skip
    """The values in ``waits`` of :func:`measured`, without derivatives; ``work`` is (3, 6)."""
    if kind == YARNYKH:
        plain_under(protocol[DELAY], theta, 0.0, 0.0, work[0])
        put(work[0], waits[0, :, 0])
        work[0, 0] *= excited
        work[0, 1] *= excited
        work[0, 4] *= excited
        plain_under(protocol[REST], theta, 0.0, 0.0, work[1])
        plain_then(work[0], work[1], work[2])
        put(work[2], waits[1, :, 0])
    elif kind == SLED_PIKE_RP:
        plain_under(protocol[REST], theta, 0.0, 0.0, work[0])
        put(work[0], waits[2, :, 0])


@jit_in_place
def plainly(
    kind: int, theta: Array, protocol: Array, Wf: float, Ws: float, left: float, excited: float,
    waits: Array, work: Array
) -> float:  # fmt: skip
    """The value of :func:`measured` alone; ``left`` and ``excited`` are numbers, ``work`` (3, 6).

    It takes a tenth of the time, and is what is asked at every point where a fit may start.
    """
    step, first, second = work[0], work[1], work[2]
    if kind == RAMANI:
        m0s, R1f, Rx, R1s = theta[0], theta[1], theta[3], theta[4]
        kf, kr = Rx * m0s, Rx * (1 - m0s)
        return levels(R1f + kf + Wf, R1s + kr + Ws, kf, kr, R1f * (1 - m0s), R1s * m0s)[1]
    plain_under(protocol[DRIVEN], theta, Wf, Ws, step)
    if kind == YARNYKH:
        ends = second[:4].reshape((2, 2))
        return steady(step, waits[0], waits[1], ends[0], ends[1], first[:2], first[2:4])
    if kind == SLED_PIKE_CW:
        plain_scaled_before(step, left, first)
        return left * plain_cyclic(first)
    plain_scaled_before(step, left * excited, first)
    plain_then(first, waits[2, :, 0], second)
    plain_then(second, step, first)
    return left * plain_cyclic(first)


@jit
def rate_spectra(
    kind: int, theta: Array, pulses: Array, protocol: Array, values: Array, rises: Array,
    factors: Array, normalised: bool, signal: Array, slopes: Array
) -> None:  # fmt: skip
    """Signals and derivatives.

    Parameters
    ----------
    kind
        One of :data:`RAMANI` and so on.
    theta
        ``(V, 8)``: m0s, R1f, R2f, Rx, R1s, T2s, w0, B1.
    pulses
        ``(N, 2)``: nominal flip angles (rad) and offsets (Hz).
    protocol
        ``(9,)``: mean square of the field over square of the flip angle (1/s^2), time under it,
        delay and rest (s), flip angle of the excitation (rad), offset (Hz) to which the line is
        not used, or less than 0, ends of the table of the line, and its nodes per unit of log x.
    values, rises
        Table of the line over its argument, as of :func:`..line_kernel.piece`.
    factors
        ``(V, N, 4)``: what a pulse leaves of the free pool, and derivatives by B1, the shift of
        the offset (Hz) and R2f, for models that have such; else ``(0, N, 4)``.
    normalised
        Whether signals are divided by that without MT pulse.
    signal, slopes
        ``(V, N)`` and ``(V, N, 8)``, or ``(0, N, 8)`` where no derivatives are wanted; written.
    """
    _spectra(
        kind, theta, pulses, protocol, values, rises, factors, normalised, np.empty((3, 6, 9)),
        np.empty((6, 6, 9)), np.empty((6, 9)), np.empty((3, 6)), signal, slopes
    )  # fmt: skip


@jit_in_place
def _spectra(
    kind: int, theta: Array, pulses: Array, protocol: Array, values: Array, rises: Array,
    factors: Array, normalised: bool, waits: Array, work: Array, vectors: Array, plain: Array,
    signal: Array, slopes: Array
) -> None:  # fmt: skip
    """:func:`rate_spectra`, and what it works in."""
    derivatives = slopes.shape[0] > 0
    left, excited, unit, off, here = vectors[0], vectors[1], vectors[2], vectors[3], vectors[4]
    Ws = vectors[5, :4]
    unit[:] = 0.0
    unit[0] = 1.0
    excited[:] = 0.0
    left[:] = 0.0
    for v in range(theta.shape[0]):
        row = theta[v]
        R2f, B1 = row[2], row[7]
        excited[0], excited[8] = math.cos(B1 * protocol[FLIP]), 1.0
        by_flip = -protocol[FLIP] * math.sin(B1 * protocol[FLIP])
        if not derivatives:
            plain_waits(kind, row, protocol, excited[0], waits, plain)
            off[0] = plainly(kind, row, protocol, 0.0, 0.0, 1.0, excited[0], waits, plain)
        else:
            if kind == YARNYKH:
                wait(protocol[DELAY], row, work[3], waits[0])
                scaled(waits[0], excited, unit, work[1])
                wait(protocol[REST], row, work[3], waits[2])
                then(work[1], waits[2], waits[1])
            elif kind == SLED_PIKE_RP:
                wait(protocol[REST], row, work[3], waits[2])
            measured(kind, row, protocol, 0.0, 0.0, unit, excited, waits, work, off)
            off[3] = off[6] = off[7] = 0.0  # no pulse, whatever R2f, T2s and w0 are
            off[8] *= by_flip
        for n in range(signal.shape[1]):
            angle = B1 * pulses[n, 0]
            offset = pulses[n, 1] - row[6] / (2 * math.pi)
            if pulses[n, 0] == 0:
                put(off, here)
            else:
                power = angle * angle * protocol[RATE]
                semi_solid(row, offset, power, protocol, values, rises, Ws)
                away = max((2 * math.pi * offset) ** 2, 1e-6)
                Wf, by_R2f = 0.0, power / away
                left[0] = 1.0
                if kind in (RAMANI, YARNYKH):
                    Wf = by_R2f * R2f
                else:
                    left[0], left[7] = factors[v, n, 0], 1.0
                if not derivatives:
                    value = plainly(
                        kind, row, protocol, Wf, Ws[0], left[0], excited[0], waits, plain
                    )  # fmt: skip
                    signal[v, n] = value / off[0] if normalised else value
                    continue
                measured(kind, row, protocol, Wf, Ws[0], left, excited, waits, work, here)
                by_f, by_s, by_left = here[3], here[6], here[7]
                by_offset, by_B1 = by_s * Ws[2], by_s * Ws[3] + here[8] * by_flip
                if kind in (RAMANI, YARNYKH):
                    here[3] = by_f * by_R2f
                    by_B1 += by_f * 2 * Wf / B1
                    if away > 1e-6:
                        by_offset -= by_f * 2 * Wf / offset
                else:
                    here[3] = by_left * factors[v, n, 3]
                    by_B1 += by_left * factors[v, n, 1]
                    by_offset += by_left * factors[v, n, 2]
                here[6], here[7], here[8] = by_s * Ws[1], -by_offset / (2 * math.pi), by_B1
            value = here[0]
            if normalised:
                value /= off[0]
            signal[v, n] = value
            if derivatives:
                for d in range(8):
                    slope = here[1 + d]
                    if normalised:
                        slope = (slope - value * off[1 + d]) / off[0]
                    slopes[v, n, d] = slope
