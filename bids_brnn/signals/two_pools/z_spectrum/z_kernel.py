"""Z-spectra of many parameter sets from tables, with derivatives, compiled; see ``panels``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit, jit_in_place
from bids_brnn.signals.copying import put
from bids_brnn.signals.two_pools.z_spectrum.dual_steps import cycle
from bids_brnn.signals.two_pools.z_spectrum.pulse_kernel import (
    POWERS,
    backward,
    dot,
    forward,
)
from bids_brnn.signals.two_pools.z_spectrum.table_kernel import (
    interpolate,
    over_fields,
    over_third,
)

Array = NDArray[Any]


@jit_in_place
def along(step: Array, row: int, g: int, state: Array) -> float:
    """One row of a step, or of its derivative ``g``, on a state of both pools."""
    total: float = step[2 * row, g] * state[0] + step[2 * row + 1, g] * state[1] + step[4 + row, g]
    return total


@jit_in_place
def steady(
    step: Array, before: Array, around: Array, start: Array, end: Array, weight: Array,
    at_start: Array
) -> float:  # fmt: skip
    """Signal in the cyclic steady state, and its adjoint.

    Parameters
    ----------
    step
        ``(6,)``: the MT pulse, from ``start`` to ``end`` ``(2,)``.
    before, around
        As of :func:`..dual_steps.cycle`.
    weight, at_start
        ``(2,)``: derivatives of the signal by what is added at the end and at the start.
    """
    m, h, b = step, around[:, 0], before[:, 0]
    # z = H (M z + m) + h
    a11, a12 = 1 - (h[0] * m[0] + h[1] * m[2]), -(h[0] * m[1] + h[1] * m[3])
    a21, a22 = -(h[2] * m[0] + h[3] * m[2]), 1 - (h[2] * m[1] + h[3] * m[3])
    f, s = h[0] * m[4] + h[1] * m[5] + h[4], h[2] * m[4] + h[3] * m[5] + h[5]
    det = a11 * a22 - a12 * a21
    start[0], start[1] = (a22 * f - a12 * s) / det, (a11 * s - a21 * f) / det
    end[0] = m[0] * start[0] + m[1] * start[1] + m[4]
    end[1] = m[2] * start[0] + m[3] * start[1] + m[5]
    # w = b + H^T M^T w
    a11, a12 = 1 - (m[0] * h[0] + m[1] * h[2]), -(m[2] * h[0] + m[3] * h[2])
    a21, a22 = -(m[0] * h[1] + m[1] * h[3]), 1 - (m[2] * h[1] + m[3] * h[3])
    det = a11 * a22 - a12 * a21
    weight[0], weight[1] = (a22 * b[0] - a12 * b[1]) / det, (a11 * b[1] - a21 * b[0]) / det
    at_start[0] = m[0] * weight[0] + m[2] * weight[1]
    at_start[1] = m[1] * weight[0] + m[3] * weight[1]
    signal: float = b[0] * end[0] + b[1] * end[1] + b[4]
    return signal


@jit_in_place
def adjoint(before: Array, around: Array, end: Array, at_start: Array, out: Array) -> None:
    """Derivatives ``(8,)`` of a signal by what surrounds the MT pulse, after :func:`steady`."""
    for d in range(8):
        g = d + 1
        out[d] = along(before, 0, g, end)
        out[d] += at_start[0] * along(around, 0, g, end)
        out[d] += at_start[1] * along(around, 1, g, end)


@jit_in_place
def at_fields(
    B1: Array, w0: Array, where: Array, layout: Array, boxes: Array, data: Array, work: Array,
    out: Array
) -> None:  # fmt: skip
    """Tables of each voxel at its own B1 and w0, once for all that is asked of it.

    Parameters
    ----------
    B1, w0, where
        ``(V,)`` and ``(V, N)``.
    layout, boxes, data
        As of :func:`z_spectra`.
    work
        ``(7, >= 64)``, see :func:`..table_kernel.over_fields`.
    out
        ``(V, N, most)``, written: of the free pool, then of both halves of the semi-solid one.
    """
    x = work[6]
    for n in range(B1.shape[0]):
        for c in range(where.shape[1]):
            i = where[n, c]
            if i < 0:
                continue
            x[0], x[1] = (B1[n] - boxes[i, 0]) / boxes[i, 1], (w0[n] - boxes[i, 2]) / boxes[i, 3]
            p, to = layout[i, 0], 0
            m = 1 + p + p * (p + 1) // 2
            for table in range(3):
                shape = layout[i, 1:4] if table == 0 else layout[i, 5:8]
                place = layout[i, 4] if table == 0 else layout[i, 8]
                if table == 2:
                    place += shape[0] * shape[1] * shape[2] * m
                over_fields(data[place:], shape, m, x, work)
                size = shape[2] * m
                put(work[2, :size], out[n, c, to : to + size])
                to += size


@jit
def z_spectra(
    theta: Array, where: Array, lines: Array, rows: Array, layout: Array, boxes: Array,
    data: Array, ranges: Array, durations: Array, flip: float, excited: Array, shape: Array,
    box: Array, normalised: bool, most: int, largest: int, signal: Array, slopes: Array
) -> None:  # fmt: skip
    """Signals and derivatives.

    Parameters
    ----------
    theta
        ``(V, 8)``: m0s, R1f, R2f, Rx, R1s, T2s, w0, B1.
    where
        ``(V, N)``: panel of each measurement, -1 without MT pulse.
    lines, rows
        Of :func:`at_fields`, and ``(V,)`` which of them belong to ``theta``; without rows
        everything comes from the tables. With them there are no derivatives by w0 and B1.
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
        ``(V, N)`` and ``(V, N, 8)``, or ``(0, N, 8)`` where no derivatives are wanted.
    """
    packed = 1 + most + most * (most + 1) // 2
    _spectra(
        theta, where, lines, rows, layout, boxes, data, ranges, durations, flip, excited, shape,
        box, normalised, signal, slopes, np.empty((6, max(largest, 64))), np.empty((10, packed)),
        np.empty((8, most, max(most, 3))), np.empty((17, most)), np.empty((6, 6, 9)),
        np.zeros((3, 9)), np.empty((8, 6))
    )  # fmt: skip


@jit_in_place
def _spectra(
    theta: Array, where: Array, lines: Array, rows: Array, layout: Array, boxes: Array,
    data: Array, ranges: Array, durations: Array, flip: float, excited: Array, shape: Array,
    box: Array, normalised: bool, signal: Array, slopes: Array, work: Array, parts: Array,
    matrices: Array, vectors: Array, steps: Array, duals: Array, small: Array
) -> None:  # fmt: skip
    """:func:`z_spectra`, and what it works in; ``duals`` are zero."""
    T = durations[0]
    F, S, wF, wS = parts[:4], parts[4:8], parts[8:9], parts[9:]
    before, around, around_work = steps[0], steps[1], steps[2:]
    off, solid, free = duals[0], duals[1], duals[2]
    left, x, step = small[0, :4].reshape((4, 1)), small[1, :3], small[2]
    k, by = small[3, :5], small[4, :4]
    start, end, weight, at_start = small[5, :2], small[5, 2:4], small[6, :2], small[6, 2:4]
    derivatives, given = slopes.shape[0] > 0, lines.shape[0] > 0
    for n in range(theta.shape[0]):
        row = theta[n]
        m0s, R1f, R2f, Rx, R1s, T2s, w0, B1 = (
            row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7],
        )  # fmt: skip
        k[0], k[1], k[2], k[3], k[4] = Rx * m0s, Rx * (1 - m0s), R1f, R1s, m0s
        x_solid = (math.log(T2s) - ranges[2]) / ranges[3]
        free[0], free[8] = math.cos(B1 * flip), -flip * math.sin(B1 * flip)
        x[0], x[1], x[2] = (B1 - box[0]) / box[1], (w0 - box[2]) / box[3], x_solid
        interpolate(excited, shape, 1, x, work, left)
        solid[0], solid[8], solid[7] = left[0, 0], left[1, 0] / box[1], left[2, 0] / box[3]
        solid[6] = left[3, 0] / (ranges[3] * T2s)
        cycle(row, durations, free, solid, around_work, before, around, off)
        for c in range(where.shape[1]):
            i = where[n, c]
            if i < 0:
                signal[n, c] = 1.0 if normalised else off[0]
                if derivatives:
                    for d in range(8):
                        none = normalised or (given and d >= 6)
                        slopes[n, c, d] = 0.0 if none else off[1 + d]
                continue
            p = layout[i, 0]
            m = 1 + p + p * (p + 1) // 2
            b1, half1, b2, half2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
            x[0], x[1] = (B1 - b1) / half1, (w0 - b2) / half2
            x[2] = (R2f - k[0] - R1f - ranges[0]) / ranges[1]
            n_free, n_solid = layout[i, 3], layout[i, 7]
            if given:
                line = lines[rows[n], c]
                over_third(line, n_free, m, x[2], work[5], F)
            else:
                interpolate(data[layout[i, 4] :], layout[i, 1:4], m, x, work, F)
            upper = x_solid >= 0
            x[2] = 2 * x_solid - 1 if upper else 2 * x_solid + 1
            if given:
                line = line[(n_free + (n_solid if upper else 0)) * m :]
                over_third(line, n_solid, m, x[2], work[5], S)
            else:
                place = layout[i, 8]
                if upper:
                    place += layout[i, 5] * layout[i, 6] * n_solid * m
                interpolate(data[place:], layout[i, 5:8], m, x, work, S)
            place = layout[i, 9]
            parity, e = data[place : place + p], data[place + p : place + 2 * p]
            place += 2 * p
            powers = data[place : place + POWERS * p * p].reshape((POWERS, p, p))
            forward(F[0], S[0], parity, e, powers, p, T, k, matrices, vectors, step)
            value = steady(step, before, around, start, end, weight, at_start)
            if not derivatives:
                signal[n, c] = value / off[0] if normalised else value
                continue
            backward(F[0], parity, e, p, T, k, matrices, vectors, start, weight, wF, wS, by)
            out = slopes[n, c]
            adjoint(before, around, end, at_start, out)
            by_R2 = dot(wF[0], F[3], m) / ranges[1]
            out[0] += by[0] - Rx * by_R2
            out[1] += by[1] - by_R2
            out[2] += by_R2
            out[3] += by[2] - m0s * by_R2
            out[4] += by[3]
            out[5] += 2 * dot(wS[0], S[3], m) / (ranges[3] * T2s)
            if given:
                out[6], out[7] = 0.0, 0.0
            else:
                out[6] += (dot(wF[0], F[2], m) + dot(wS[0], S[2], m)) / half2
                out[7] += (dot(wF[0], F[1], m) + dot(wS[0], S[1], m)) / half1
            if normalised:
                value /= off[0]
                for d in range(8):
                    out[d] = (out[d] - value * off[1 + d]) / off[0]
                if given:
                    out[6], out[7] = 0.0, 0.0
            signal[n, c] = value
