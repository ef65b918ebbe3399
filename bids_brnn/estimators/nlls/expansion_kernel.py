"""The cost of one voxel and its Gauss-Newton expansion, the scale M0 projected out, compiled.

References: Golub & Pereyra, SIAM J Numer Anal 1973;10:413 (variable projection) with Kaufman's
simplified Jacobian (BIT 1975;15:49).
"""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit_in_place

Array = NDArray[Any]


@jit_in_place
def expand_complex(
    signal: Array, slopes: Array, free: Array, span: Array, data: Array, weight: Array,
    m0: Array, residual: Array, tangent: Array
) -> None:  # fmt: skip
    """Residual and derivatives of the fit, M0 complex and unknown.

    Parameters
    ----------
    signal, slopes
        ``(R,)`` and ``(R, P)`` complex, of the model at M0 = 1.
    free, span
        ``(F,)``: columns of ``slopes`` and the widths of their bounds.
    data, weight
        ``(R,)`` complex and real: whitened data, and what whitens the signal.
    m0
        ``(2,)``, written: real and imaginary part of the best scale.
    residual
        ``(2R,)``, written: data - m0 signal, real and imaginary part of each value.
    tangent
        ``(2R, F)``, written: ``m0 P ds/dx`` with the projector P orthogonal to the signal.
    """
    n, n_free = signal.shape[0], free.shape[0]
    energy, top_r, top_i = 0.0, 0.0, 0.0
    for k in range(n):
        a, b = weight[k] * signal[k].real, weight[k] * signal[k].imag
        residual[2 * k], residual[2 * k + 1] = a, b
        y = data[k]
        energy += a * a + b * b
        top_r += a * y.real + b * y.imag
        top_i += a * y.imag - b * y.real
    p, q = top_r / energy, top_i / energy
    m0[0], m0[1] = p, q
    for f in range(n_free):
        column, width = free[f], span[f]
        top_r, top_i = 0.0, 0.0
        for k in range(n):
            d = weight[k] * width * slopes[k, column].real
            e = weight[k] * width * slopes[k, column].imag
            a, b = residual[2 * k], residual[2 * k + 1]
            tangent[2 * k, f], tangent[2 * k + 1, f] = d, e
            top_r += a * d + b * e
            top_i += a * e - b * d
        top_r, top_i = top_r / energy, top_i / energy
        for k in range(n):
            a, b = residual[2 * k], residual[2 * k + 1]
            d = tangent[2 * k, f] - (a * top_r - b * top_i)
            e = tangent[2 * k + 1, f] - (a * top_i + b * top_r)
            tangent[2 * k, f], tangent[2 * k + 1, f] = p * d - q * e, p * e + q * d
    for k in range(n):
        a, b, y = residual[2 * k], residual[2 * k + 1], data[k]
        residual[2 * k] = y.real - (p * a - q * b)
        residual[2 * k + 1] = y.imag - (p * b + q * a)


@jit_in_place
def expand_real(
    signal: Array, slopes: Array, free: Array, span: Array, data: Array, weight: Array,
    m0: Array, residual: Array, tangent: Array
) -> None:  # fmt: skip
    """The same for real signals and data, ``(R,)`` and ``(R, F)``.

    ``m0[0]`` NaN: M0 is real and unknown, and projected out; else it is what is known.
    """
    n, n_free = signal.shape[0], free.shape[0]
    unknown = math.isnan(m0[0])
    energy, top = 0.0, 0.0
    for k in range(n):
        a = weight[k] * signal[k].real
        residual[k] = a
        energy += a * a
        top += a * data[k].real
    if unknown:
        m0[0] = top / energy
    p = m0[0]
    m0[1] = 0.0
    for f in range(n_free):
        column, width = free[f], span[f]
        top = 0.0
        for k in range(n):
            d = weight[k] * width * slopes[k, column].real
            tangent[k, f] = d
            top += residual[k] * d
        along = top / energy if unknown else 0.0
        for k in range(n):
            tangent[k, f] = p * (tangent[k, f] - along * residual[k])
    for k in range(n):
        residual[k] = data[k].real - p * residual[k]


@jit_in_place
def quadratic(residual: Array, tangent: Array, gradient: Array, information: Array) -> float:
    """Cost; half of its gradient ``(F,)`` and the Fisher information ``(F, F)`` are written."""
    n, n_free = tangent.shape
    cost = 0.0
    for i in range(n_free):
        gradient[i] = 0.0
        for j in range(n_free):
            information[i, j] = 0.0
    for k in range(n):
        r = residual[k]
        cost += r * r
        for i in range(n_free):
            t = tangent[k, i]
            gradient[i] -= t * r
            for j in range(n_free):
                information[i, j] += t * tangent[k, j]
    return cost
