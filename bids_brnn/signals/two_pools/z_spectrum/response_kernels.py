"""Responses of isolated pools to magnetization that arrives during an MT pulse, compiled.

See ``responses``. Column 0 of a response starts with ``Mz = 1``; in the others nothing is there at
the start, and magnetization arrives as a function of time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit, jit_in_place, jit_inlined

Array = NDArray[Any]


@jit
def free_response(
    angle: float, detuning: float, R2f: float, shares: Array, values: Array, dt: float,
    out: Array, path: Array
) -> None:  # fmt: skip
    """Bloch's equations without ``R1``, in steps of constant amplitude; error even in ``dt``.

    Parameters
    ----------
    angle, detuning, R2f
        rad, rad/s, 1/s.
    shares
        ``(n,)``: share of the flip angle in each step.
    values
        ``(n + 1, p)``: functions of time at the ends of the steps.
    dt
        s.
    out
        ``(1 + p, 1 + p)``: ``Mz`` at the end, and its moments with the functions (row 1 to p);
        from ``Mz = 1`` at the start, and where magnetization arrives as the functions tell, per
        duration of the pulse.
    path
        ``(n + 1,)``: ``Mz`` of column 0.
    """
    n, p = shares.shape[0], values.shape[1]
    state = np.zeros((3, 1 + p))
    state[2, 0] = 1.0
    out[:] = 0.0
    decay = math.exp(-R2f * dt / 2)
    phase = detuning * dt
    for i in range(n + 1):
        weight = (0.5 if i in (0, n) else 1.0) / n
        path[i] = state[2, 0]
        # What arrives in an instant is half there when the moment is taken.
        for k in range(p):
            state[2, 1 + k] += 0.5 * weight * values[i, k]
        for j in range(p):
            factor = weight * values[i, j]
            for k in range(1 + p):
                out[1 + j, k] += factor * state[2, k]
        for k in range(p):
            state[2, 1 + k] += 0.5 * weight * values[i, k]
        if i == n:
            break
        t = angle * shares[i]
        square = t * t + phase * phase
        w = math.sqrt(square)
        c = math.cos(w)
        if square > 1e-8:
            s, v = math.sin(w) / w, (1 - c) / square
        else:
            s, v = 1 - square / 6, 0.5 - square / 24
        for k in range(1 + p):
            x, y, z = decay * state[0, k], decay * state[1, k], state[2, k]
            along = v * (t * x + phase * z)
            state[0, k] = decay * (c * x - s * phase * y + t * along)
            state[1, k] = decay * (c * y + s * (phase * x - t * z))
            state[2, k] = c * z + s * t * y + phase * along
    for k in range(1 + p):
        out[0, k] = state[2, k]


@jit_in_place
def lag_integrals(
    edges: Array, where: Array, detuning: float, T2s: float, green: Array, per: float,
    h: float, x: Array, w: Array, out: Array
) -> None:  # fmt: skip
    """``int G(u / T2s) cos(D u) v^m du`` over each lag of ``h``, ``v`` the place in it.

    Parameters
    ----------
    edges
        s, rising, the first 0; between two of them the integrand is smooth.
    where
        ``(E + 1,)``: which of the edges are multiples of ``h``.
    detuning, T2s
        rad/s, s.
    green, per
        ``G`` at ``log(1 + kappa) = k / per``, from ``k = -1``.
    h
        s.
    x, w
        Quadrature on [0, 1].
    out
        ``(E, degree)``: of the lags ``(d + v) h``, ``v`` in [0, 1].
    """
    last = green.shape[0] - 4
    degree = out.shape[1]
    for d in range(out.shape[0]):
        for m in range(degree):
            out[d, m] = 0.0
        for e in range(where[d], where[d + 1]):
            length = edges[e + 1] - edges[e]
            for q in range(x.shape[0]):
                lag = edges[e] + length * x[q]
                place = math.log1p(lag / T2s) * per
                k = min(int(place), last)
                f = place - k
                g = (
                    -f * (f - 1) * (f - 2) / 6 * green[k]
                    + (f + 1) * (f - 1) * (f - 2) / 2 * green[k + 1]
                    - (f + 1) * f * (f - 2) / 2 * green[k + 2]
                    + (f + 1) * f * (f - 1) / 6 * green[k + 3]
                )
                term = w[q] * length * g * math.cos(detuning * lag)
                for m in range(degree):
                    out[d, m] += term
                    term *= lag / h - d


@jit
def solid_response(
    w1: Array, memory: Array, h: float, integral: Array, points: Array, sources: Array, out: Array
) -> None:  # fmt: skip
    """The Volterra equation by collocation on equal elements.

    Parameters
    ----------
    w1
        ``(E, 4)`` rad/s at the nodes of the elements; ``q`` is 4.
    memory
        ``(E, q, q)`` s: integral of the kernel over an element by distance.
    h
        s: length of an element.
    integral
        ``(q, q)``: ``int_0^node`` by values at the nodes.
    points
        ``(q, 1 + q)``: values at other points of an element by those at its start and nodes.
    sources
        ``(E, q, p)``: what arrives, per duration of the pulse.
    out
        ``(E q + 1, 1 + p)``: ``Mz`` at these points, and at the end.
    """
    E, q = w1.shape
    p = sources.shape[2]
    driven = np.zeros((E, q, (p + 4) // 4 * 4))
    left = np.zeros(1 + p)
    left[0] = 1.0
    push = np.empty((q, driven.shape[2]))
    found = np.empty((q, 1 + p))
    system = np.empty((q, q))
    for e in range(E):
        push[:] = 0.0
        for d in range(1, e + 1):
            _remember(memory[d], driven[e - d], push)
        for i in range(q):
            for k in range(1 + p):
                push[i, k] *= -w1[e, i]
        for i in range(q):
            for k in range(p):
                push[i, 1 + k] += sources[e, i, k] / (E * h)
        for i in range(q):
            for k in range(1 + p):
                found[i, k] = left[k]
            for j in range(q):
                for k in range(1 + p):
                    found[i, k] += h * integral[i, j] * push[j, k]
                total = 0.0
                for m in range(q):
                    total += integral[i, m] * w1[e, m] * memory[0, m, j]
                system[i, j] = h * total * w1[e, j]
            system[i, i] += 1.0
        _solve(system, found)
        for i in range(q):
            at = out[e * q + i]
            for k in range(1 + p):
                driven[e, i, k] = w1[e, i] * found[i, k]
                at[k] = points[i, 0] * left[k]
            for j in range(q):
                for k in range(1 + p):
                    at[k] += points[i, 1 + j] * found[j, k]
        for k in range(1 + p):
            left[k] = found[q - 1, k]
    for k in range(1 + p):
        out[E * q, k] = left[k]


@jit_inlined
def _remember(memory: Array, driven: Array, push: Array) -> None:
    """``push += memory @ driven`` with ``memory`` ``(4, 4)``, all of whose values are held.

    Most of the time goes here: so each value of ``push`` is read and written once for four.
    """
    m00, m01, m02, m03 = memory[0, 0], memory[0, 1], memory[0, 2], memory[0, 3]
    m10, m11, m12, m13 = memory[1, 0], memory[1, 1], memory[1, 2], memory[1, 3]
    m20, m21, m22, m23 = memory[2, 0], memory[2, 1], memory[2, 2], memory[2, 3]
    m30, m31, m32, m33 = memory[3, 0], memory[3, 1], memory[3, 2], memory[3, 3]
    for k in range(driven.shape[1]):
        a, b, c, d = driven[0, k], driven[1, k], driven[2, k], driven[3, k]
        push[0, k] += m00 * a + m01 * b + m02 * c + m03 * d
        push[1, k] += m10 * a + m11 * b + m12 * c + m13 * d
        push[2, k] += m20 * a + m21 * b + m22 * c + m23 * d
        push[3, k] += m30 * a + m31 * b + m32 * c + m33 * d


@jit_in_place
def _solve(a: Array, b: Array) -> None:
    """``b`` becomes ``a^-1 b``; no pivots, ``a`` is near the unit matrix or diagonally large."""
    n, m = b.shape
    for i in range(n):
        inverse = 1 / a[i, i]
        for r in range(i + 1, n):
            factor = a[r, i] * inverse
            if factor != 0.0:
                for c in range(i + 1, n):
                    a[r, c] -= factor * a[i, c]
                for c in range(m):
                    b[r, c] -= factor * b[i, c]
    for i in range(n - 1, -1, -1):
        for c in range(m):
            total = b[i, c]
            for r in range(i + 1, n):
                total -= a[i, r] * b[r, c]
            b[i, c] = total / a[i, i]
