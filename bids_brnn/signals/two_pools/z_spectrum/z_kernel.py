"""Z-spectra of many parameter sets from tables, with derivatives, compiled; see ``panels``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit
from bids_brnn.signals.two_pools.z_spectrum.dual_steps import cycle
from bids_brnn.signals.two_pools.z_spectrum.pulse_kernel import (
    POWERS,
    backward,
    dot,
    forward,
    interpolate,
)

Array = NDArray[Any]


@jit
def z_spectra(
    theta: Array, where: Array, layout: Array, boxes: Array, data: Array, ranges: Array,
    durations: Array, flip: float, excited: Array, shape: Array, box: Array, normalised: bool,
    most: int, largest: int, signal: Array, slopes: Array
) -> None:  # fmt: skip
    """Signals and derivatives.

    Parameters
    ----------
    theta
        ``(V, 8)``: m0s, R1f, R2f, Rx, R1s, T2s, w0, B1.
    where
        ``(V, N)``: panel of each measurement, -1 without MT pulse.
    layout
        ``(panels, 10)``: size p of the basis; n1, n2, n3 and place in ``data`` of the table of
        the free pool, of the semi-solid pool (two halves of its T2s); place of the basis.
    boxes
        ``(panels, 4)``: centre and half width in B1, then in w0.
    data
        Tables one after the other.
    ranges
        ``(4,)``: centre and half width of ``R2f - a`` (1/s) and of ``log(T2s)``.
    durations
        ``(3,)`` s: MT pulse, delay, from the start of the excitation to the next MT pulse.
    flip
        rad, of the excitation.
    excited, shape, box
        Table of what the excitation leaves of the semi-solid pool, as those of the panels.
    normalised
        Whether signals are divided by that without MT pulse.
    most, largest
        Largest basis, and largest part of a table that is interpolated at once.
    signal, slopes
        ``(V, N)`` and ``(V, N, 8)``.
    """
    T = durations[0]
    packed = 1 + most + most * (most + 1) // 2
    work = np.empty((6, max(largest, 64)))
    F, S = np.empty((4, packed)), np.empty((4, packed))
    wF, wS = np.empty((1, packed)), np.empty((1, packed))
    matrices = np.empty((8, most, max(most, 3)))
    vectors = np.empty((17, most))
    before, around, off = np.empty((6, 9)), np.empty((6, 9)), np.empty(9)
    around_work = np.empty((4, 6, 9))
    left, solid, free = np.empty((4, 1)), np.zeros(9), np.zeros(9)
    x, step, k = np.empty(3), np.empty(6), np.empty(5)
    start, weight, by = np.empty(2), np.empty(2), np.empty(4)
    for n in range(theta.shape[0]):
        row = theta[n]
        m0s, R1f, R2f, Rx, R1s, T2s, w0, B1 = (
            row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7],
        )  # fmt: skip
        k[0], k[1], k[2], k[3], k[4] = Rx * m0s, Rx * (1 - m0s), R1f, R1s, m0s
        x_solid = (math.log(T2s) - ranges[2]) / ranges[3]
        free[0], free[8] = math.cos(B1 * flip), -flip * math.sin(B1 * flip)
        x[0], x[1], x[2] = (B1 - box[0]) / box[1], (w0 - box[2]) / box[3], x_solid
        interpolate(excited, shape, x, work, left)
        solid[0], solid[8], solid[7] = left[0, 0], left[1, 0] / box[1], left[2, 0] / box[3]
        solid[6] = left[3, 0] / (ranges[3] * T2s)
        cycle(row, durations, free, solid, around_work, before, around, off)
        for c in range(where.shape[1]):
            i = where[n, c]
            if i < 0:
                signal[n, c] = off[0]
                for d in range(8):
                    slopes[n, c, d] = off[1 + d]
                if normalised:
                    signal[n, c] = 1.0
                    slopes[n, c] = 0.0
                continue
            p = layout[i, 0]
            m = 1 + p + p * (p + 1) // 2
            b1, half1, b2, half2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
            x[0], x[1] = (B1 - b1) / half1, (w0 - b2) / half2
            x[2] = (R2f - k[0] - R1f - ranges[0]) / ranges[1]
            place = layout[i, 4]
            sizes = layout[i, 1], layout[i, 2], layout[i, 3], m
            interpolate(data[place:], sizes, x, work, F)
            sizes = layout[i, 5], layout[i, 6], layout[i, 7], m
            place = layout[i, 8]
            if x_solid < 0:
                x[2] = 2 * x_solid + 1
            else:
                x[2] = 2 * x_solid - 1
                place += layout[i, 5] * layout[i, 6] * layout[i, 7] * m
            interpolate(data[place:], sizes, x, work, S)
            place = layout[i, 9]
            parity, e = data[place : place + p], data[place + p : place + 2 * p]
            place += 2 * p
            powers = data[place : place + POWERS * p * p].reshape((POWERS, p, p))
            forward(F[0], S[0], parity, e, powers, p, T, k, matrices, vectors, step)
            # Start of the pulse in the cyclic steady state, z = H (M z + m) + h.
            h = around[:, 0]
            a11 = 1 - (h[0] * step[0] + h[1] * step[2])
            a12 = -(h[0] * step[1] + h[1] * step[3])
            a21 = -(h[2] * step[0] + h[3] * step[2])
            a22 = 1 - (h[2] * step[1] + h[3] * step[3])
            f = h[0] * step[4] + h[1] * step[5] + h[4]
            s = h[2] * step[4] + h[3] * step[5] + h[5]
            det = a11 * a22 - a12 * a21
            start[0], start[1] = (a22 * f - a12 * s) / det, (a11 * s - a21 * f) / det
            end_f = step[0] * start[0] + step[1] * start[1] + step[4]
            end_s = step[2] * start[0] + step[3] * start[1] + step[5]
            value = before[0, 0] * end_f + before[1, 0] * end_s + before[4, 0]
            # Adjoint: weight of the end of the pulse, (1 - H^T M^T) w = before, and of its start.
            c11 = 1 - (step[0] * h[0] + step[1] * h[2])
            c12 = -(step[2] * h[0] + step[3] * h[2])
            c21 = -(step[0] * h[1] + step[1] * h[3])
            c22 = 1 - (step[2] * h[1] + step[3] * h[3])
            det = c11 * c22 - c12 * c21
            f, s = before[0, 0], before[1, 0]
            weight[0], weight[1] = (c22 * f - c12 * s) / det, (c11 * s - c21 * f) / det
            at_f = step[0] * weight[0] + step[2] * weight[1]
            at_s = step[1] * weight[0] + step[3] * weight[1]
            backward(F[0], S[0], parity, e, p, T, k, matrices, vectors, start, weight, wF, wS, by)
            out = slopes[n, c]
            for d in range(8):
                g = d + 1
                out[d] = (
                    before[0, g] * end_f
                    + before[1, g] * end_s
                    + before[4, g]
                    + at_f * (around[0, g] * end_f + around[1, g] * end_s + around[4, g])
                    + at_s * (around[2, g] * end_f + around[3, g] * end_s + around[5, g])
                )
            by_R2 = dot(wF[0], F[3], m) / ranges[1]
            out[0] += by[0] - Rx * by_R2
            out[1] += by[1] - by_R2
            out[2] += by_R2
            out[3] += by[2] - m0s * by_R2
            out[4] += by[3]
            out[5] += 2 * dot(wS[0], S[3], m) / (ranges[3] * T2s)
            out[6] += (dot(wF[0], F[2], m) + dot(wS[0], S[2], m)) / half2
            out[7] += (dot(wF[0], F[1], m) + dot(wS[0], S[1], m)) / half1
            if normalised:
                value /= off[0]
                for d in range(8):
                    out[d] = (out[d] - value * off[1 + d]) / off[0]
            signal[n, c] = value
