"""An MT pulse on two exchanging pools by the responses of each alone, with its adjoint, compiled.

With the loss ``a = kf + R1f`` of the free pool taken out (``F`` of Bloch's equations at
``R2f - a``, times ``exp(-a (t - t'))``: exact), moments of both pools with the basis are

``zeta = g0 zf + T G (kr z + uf e)``,  ``z = S0 zs + T S (kf zeta - b z + us e)``,

where ``G = N(-a) F N(a)``, ``N(a) = int phi phi^T exp(a (t - T/2))``, ``b = kr + R1s``,
``uf = R1f (1 - m0s)``, ``us = R1s m0s`` and ``e`` holds the integrals of the basis. As pulses are
symmetric in time, and every function of the basis is even or odd (``J``), the adjoint is the
same solution read backwards. Notation: ``docs/theory/zspectrum.md``.
"""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit_in_place

Array = NDArray[Any]

POWERS = 10
"""Terms of ``N`` in powers of ``a T (t / T - 1/2)``, each at most 0.9."""


@jit_in_place
def unpack(packed: Array, parity: Array, p: int, start: Array, matrix: Array) -> None:
    """Response to the start ``(p,)`` and to arrivals ``(p, p)`` from its independent values."""
    k = 1
    for j in range(p):
        start[j] = packed[k]
        k += 1
    for i in range(p):
        for j in range(i, p):
            matrix[i, j] = packed[k]
            matrix[j, i] = parity[i] * parity[j] * packed[k]
            k += 1


@jit_in_place
def tilts(a: float, powers: Array, p: int, N: Array, slope: Array) -> None:
    """``N(a)`` and its derivative by ``a`` (in units of 1 / T)."""
    for i in range(p):
        for j in range(p):
            N[i, j], slope[i, j] = powers[0, i, j], 0.0
    term, before = 1.0, 1.0
    for m in range(1, POWERS):
        before, term = term, term * a
        if abs(before) < 1e-15:  # each term is at most that: what follows is round-off
            break
        for i in range(p):
            for j in range(p):
                N[i, j] += term * powers[m, i, j]
                slope[i, j] += m * before * powers[m, i, j]


@jit_in_place
def multiply(a: Array, b: Array, p: int, out: Array) -> None:
    """Product of two matrices ``(p, p)``."""
    for i in range(p):
        for j in range(p):
            out[i, j] = 0.0
        for k in range(p):
            f = a[i, k]
            for j in range(p):
                out[i, j] += f * b[k, j]


@jit_in_place
def apply(a: Array, x: Array, p: int, out: Array) -> None:
    """Product of a matrix and a vector."""
    for i in range(p):
        total = 0.0
        for j in range(p):
            total += a[i, j] * x[j]
        out[i] = total


@jit_in_place
def dot(a: Array, b: Array, n: int) -> float:
    """Inner product."""
    total = 0.0
    for i in range(n):
        total += a[i] * b[i]
    return total


@jit_in_place
def solve(a: Array, b: Array, p: int, columns: int) -> None:
    """``b`` becomes ``a^-1 b``, with pivots."""
    for i in range(p):
        best = i
        for r in range(i + 1, p):
            if abs(a[r, i]) > abs(a[best, i]):
                best = r
        if best != i:
            for c in range(i, p):
                a[i, c], a[best, c] = a[best, c], a[i, c]
            for c in range(columns):
                b[i, c], b[best, c] = b[best, c], b[i, c]
        inverse = 1 / a[i, i]
        for r in range(i + 1, p):
            f = a[r, i] * inverse
            for c in range(i + 1, p):
                a[r, c] -= f * a[i, c]
            for c in range(columns):
                b[r, c] -= f * b[i, c]
    for i in range(p - 1, -1, -1):
        for r in range(i + 1, p):
            f = a[i, r]
            for c in range(columns):
                b[i, c] -= f * b[r, c]
        inverse = 1 / a[i, i]
        for c in range(columns):
            b[i, c] *= inverse


@jit_in_place
def forward(
    F: Array, S: Array, parity: Array, e: Array, powers: Array, p: int, T: float, k: Array,
    m: Array, v: Array, step: Array
) -> None:  # fmt: skip
    """The pulse as a step of both pools.

    Parameters
    ----------
    F, S
        Packed responses of the free and the semi-solid pool.
    parity, e, powers
        Of the basis: ``(p,)``, ``(p,)``, ``(POWERS, p, p)``.
    p, T
        Size of the basis, duration of the pulse (s).
    k
        ``(5,)`` 1/s: kf, kr, R1f, R1s, and m0s.
    m
        ``(8, >= p, >= max(p, 3))`` work: N(a), its slope, F, S, G; then products.
    v
        ``(17, >= p)`` work: F0, S0, g0; then zeta (rows 3, 5, 7) and z (4, 6, 8) of three
        solutions: start of the free pool (z over kf), start of the semi-solid pool (zeta over
        kr), recovery.
    step
        ``(6,)``.
    """
    kf, kr, R1f, R1s, m0s = k[0], k[1], k[2], k[3], k[4]
    a, b, uf, us = kf + R1f, kr + R1s, R1f * (1 - m0s), R1s * m0s
    loss = math.exp(-a * T / 2)
    N, slope, Fm, Sm, G = m[0], m[1], m[2], m[3], m[4]
    unpack(F, parity, p, v[0], Fm)
    unpack(S, parity, p, v[1], Sm)
    tilts(a * T, powers, p, N, slope)
    multiply(Fm, N, p, m[5])
    back = m[6]  # N(-a)
    for i in range(p):
        for j in range(p):
            back[i, j] = parity[i] * parity[j] * N[i, j]
    multiply(back, m[5], p, G)
    apply(back, v[0], p, v[2])
    for i in range(p):
        v[2, i] *= loss
    # System and right sides.
    multiply(Sm, G, p, m[7])
    system, right = m[6], m[5]
    apply(G, e, p, v[9])
    for i in range(p):
        v[10, i] = T * (kf * T * uf * v[9, i] + us * e[i])
    apply(Sm, v[2], p, v[11])
    apply(Sm, v[10], p, v[12])
    for i in range(p):
        for j in range(p):
            system[i, j] = T * b * Sm[i, j] - T * T * kf * kr * m[7, i, j]
        system[i, i] += 1.0
        right[i, 0], right[i, 1], right[i, 2] = T * v[11, i], v[1, i], v[12, i]
    solve(system, right, p, 3)
    for i in range(p):
        v[4, i], v[6, i], v[8, i] = right[i, 0], right[i, 1], right[i, 2]
        v[10, i] = kr * v[8, i] + uf * e[i]
    apply(G, v[4], p, v[3])
    apply(G, v[6], p, v[5])
    apply(G, v[10], p, v[7])
    step[0], step[1], step[2], step[3], step[4], step[5] = (
        loss * loss * F[0],
        0.0,
        0.0,
        S[0],
        0.0,
        0.0,
    )
    for i in range(p):
        v[3, i] = v[2, i] + T * kr * kf * v[3, i]
        v[5, i] *= T
        v[7, i] *= T
        of, os = T * parity[i] * v[2, i], T * parity[i] * v[1, i]
        step[0] += of * kr * kf * v[4, i]
        step[1] += of * kr * v[6, i]
        step[4] += of * v[10, i]
        step[2] += os * kf * (v[3, i] - b * v[4, i])
        step[3] += os * (kf * kr * v[5, i] - b * v[6, i])
        step[5] += os * (kf * v[7, i] - b * v[8, i] + us * e[i])


@jit_in_place
def backward(
    F: Array, parity: Array, e: Array, p: int, T: float, k: Array, m: Array, v: Array,
    start: Array, weight: Array, wF: Array, wS: Array, out: Array
) -> None:  # fmt: skip
    """Derivatives of ``weight . (A start + g)`` after :func:`forward`.

    Parameters
    ----------
    start, weight
        ``(2,)`` each.
    wF, wS
        ``(1, m)``: by each value of the packed responses.
    out
        ``(4,)``: by m0s, R1f, Rx and R1s at given responses.
    """
    kf, kr, R1f, R1s, m0s = k[0], k[1], k[2], k[3], k[4]
    Rx = kf + kr
    a, b, uf, us = kf + R1f, kr + R1s, R1f * (1 - m0s), R1s * m0s
    loss = math.exp(-a * T / 2)
    N, slope, Fm = m[0], m[1], m[2]
    zf, zs, uf_, us_ = start[0], start[1], weight[0], weight[1]
    zeta, z, sigma_f, sigma_s, alpha, beta, x, r = (
        v[9], v[10], v[11], v[12], v[13], v[14], v[15], v[16],
    )  # fmt: skip
    by_kf = by_kr = by_b = by_uf = by_us = by_a = 0.0
    for i in range(p):
        zeta[i] = zf * v[3, i] + zs * kr * v[5, i] + v[7, i]
        z[i] = zf * kf * v[4, i] + zs * v[6, i] + v[8, i]
        sigma_f[i] = kr * z[i] + uf * e[i]
        sigma_s[i] = kf * zeta[i] - b * z[i] + us * e[i]
        rho_f = T * parity[i] * (uf_ * v[3, i] + us_ * kf * v[5, i])
        rho_s = T * parity[i] * (uf_ * kr * v[4, i] + us_ * v[6, i])
        alpha[i] = kf * rho_s
        beta[i] = kr * rho_f - b * rho_s
        by_kr += rho_f * z[i]
        by_uf += rho_f * e[i]
        by_kf += rho_s * zeta[i]
        by_b -= rho_s * z[i]
        by_us += rho_s * e[i]
        by_a -= T / 2 * v[2, i] * (T * uf_ * parity[i] * sigma_f[i] + alpha[i] * zf)
    by_a -= T * loss * loss * F[0] * zf * uf_
    apply(N, sigma_f, p, x)
    for i in range(p):
        total = 0.0
        for j in range(p):
            total += parity[i] * parity[j] * N[i, j] * alpha[j]
        r[i] = total
    # Through N: its slope on both sides of F.
    for i in range(p):
        left, right = loss * uf_ * parity[i] * v[0, i], loss * zf * v[0, i]
        turned_r = turned_x = 0.0
        for j in range(p):
            left += Fm[j, i] * r[j]
            right += T * Fm[i, j] * x[j]
            turned_r += slope[i, j] * sigma_f[j]
            turned_x += slope[i, j] * parity[j] * alpha[j]
        by_a += T * T * left * turned_r + T * parity[i] * right * turned_x
    wF[0, 0], wS[0, 0] = loss * loss * uf_ * zf, us_ * zs
    q = 1
    for i in range(p):
        wF[0, q] = T * loss * uf_ * x[i] * parity[i] + loss * zf * r[i]
        wS[0, q] = T * us_ * parity[i] * sigma_s[i] + beta[i] * zs
        q += 1
    for i in range(p):
        wF[0, q], wS[0, q] = T * r[i] * x[i], T * beta[i] * sigma_s[i]
        q += 1
        for j in range(i + 1, p):
            sign = parity[i] * parity[j]
            wF[0, q] = T * (r[i] * x[j] + sign * r[j] * x[i])
            wS[0, q] = T * (beta[i] * sigma_s[j] + sign * beta[j] * sigma_s[i])
            q += 1
    out[0] = Rx * (by_kf + by_a - by_kr - by_b) - R1f * by_uf + R1s * by_us
    out[1] = by_a + (1 - m0s) * by_uf
    out[2] = m0s * (by_kf + by_a) + (1 - m0s) * (by_kr + by_b)
    out[3] = by_b + m0s * by_us
