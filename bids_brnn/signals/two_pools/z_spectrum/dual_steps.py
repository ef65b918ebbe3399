"""Steps of two pools without RF field and their derivatives by all parameters, compiled.

Numbers with derivatives are arrays ``(9,)``: the value, then its derivatives by (m0s, R1f, R2f,
Rx, R1s, T2s, w0, B1). A step ``M -> A M + g`` is ``(6, 9)``: ff, fs, sf, ss, f, s, as in
:class:`..pools.Step`.
"""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit

Array = NDArray[Any]


@jit
def add_product(a: Array, b: Array, sign: float, out: Array) -> None:
    """``out += sign a b``."""
    a0, b0 = sign * a[0], sign * b[0]
    out[0] += a0 * b[0]
    for i in range(1, 9):
        out[i] += a0 * b[i] + b0 * a[i]


@jit
def wait(time: float, theta: Array, out: Array) -> None:
    """Exchange and longitudinal relaxation of the pools ``theta`` for ``time`` (s)."""
    m0s, R1f, Rx, R1s = theta[0], theta[1], theta[3], theta[4]
    kf, kr = Rx * m0s, Rx * (1 - m0s)
    mean, half = -(R1f + R1s + Rx) / 2, (R1s + kr - R1f - kf) / 2
    q = max(half * half + kf * kr, 1e-12)
    root = math.sqrt(q)
    decay = math.exp(mean * time)
    even, odd = math.cosh(root * time), math.sinh(root * time) / root
    # Both are smooth functions of the square of the root.
    by_even = 0.5 * time * odd
    if q * time * time > 1e-4:
        by_odd = (time * even - odd) / (2 * q)
    else:
        by_odd = time**3 / 6 * (1 + q * time * time / 10)
    out[:] = 0.0
    matrix = out[:4, 0]
    matrix[0], matrix[1] = decay * (even + odd * half), decay * odd * kr
    matrix[2], matrix[3] = decay * odd * kf, decay * (even - odd * half)
    for column in (0, 1, 3, 4):
        # Derivatives of mean, half, kf and kr by m0s, R1f, Rx and R1s.
        d_mean = d_half = d_kf = d_kr = 0.0
        if column == 0:
            d_half, d_kf, d_kr = -Rx, Rx, -Rx
        elif column == 1:
            d_mean, d_half = -0.5, -0.5
        elif column == 3:
            d_mean, d_half, d_kf, d_kr = -0.5, 0.5 - m0s, m0s, 1 - m0s
        else:
            d_mean, d_half = -0.5, 0.5
        d_q = 2 * half * d_half + kf * d_kr + kr * d_kf
        d_even, d_odd = by_even * d_q, by_odd * d_q
        g = 1 + column
        out[0, g] = decay * (d_even + d_odd * half + odd * d_half) + time * d_mean * matrix[0]
        out[1, g] = decay * (d_odd * kr + odd * d_kr) + time * d_mean * matrix[1]
        out[2, g] = decay * (d_odd * kf + odd * d_kf) + time * d_mean * matrix[2]
        out[3, g] = decay * (d_even - d_odd * half - odd * d_half) + time * d_mean * matrix[3]
    # What is added leads back to equilibrium, (1 - m0s, m0s).
    for row in range(2):
        f, s = out[2 * row], out[2 * row + 1]
        for g in range(9):
            out[4 + row, g] = -f[g] * (1 - m0s) - s[g] * m0s
        out[4 + row, 1] += f[0] - s[0]
    out[4, 0] += 1 - m0s
    out[4, 1] -= 1.0
    out[5, 0] += m0s
    out[5, 1] += 1.0


@jit
def then(first: Array, later: Array, out: Array) -> None:
    """One step, then another."""
    out[:4] = 0.0
    for row in range(2):
        f, s = later[2 * row], later[2 * row + 1]
        for column in range(2):
            add_product(f, first[column], 1.0, out[2 * row + column])
            add_product(s, first[2 + column], 1.0, out[2 * row + column])
        for g in range(9):
            out[4 + row, g] = later[4 + row, g]
        add_product(f, first[4], 1.0, out[4 + row])
        add_product(s, first[5], 1.0, out[4 + row])


@jit
def scaled(step: Array, free: Array, solid: Array, out: Array) -> None:
    """A step after which the pools are multiplied by numbers."""
    out[:] = 0.0
    for row in (0, 1, 4):
        add_product(free, step[row], 1.0, out[row])
    for row in (2, 3, 5):
        add_product(solid, step[row], 1.0, out[row])


@jit
def cyclic(step: Array, work: Array, out: Array) -> None:
    """``Mzf`` that the step leads back to itself; ``work`` is ``(4, 9)``."""
    keep_f, keep_s, above, below = work[0], work[1], work[2], work[3]
    for g in range(9):
        keep_f[g], keep_s[g], above[g], below[g] = -step[0, g], -step[3, g], 0.0, 0.0
    keep_f[0] += 1.0
    keep_s[0] += 1.0
    add_product(keep_s, step[4], 1.0, above)
    add_product(step[1], step[5], 1.0, above)
    add_product(keep_f, keep_s, 1.0, below)
    add_product(step[1], step[2], -1.0, below)
    out[0] = above[0] / below[0]
    for g in range(1, 9):
        out[g] = (above[g] - out[0] * below[g]) / below[0]


@jit
def cycle(
    theta: Array, durations: Array, free: Array, solid: Array, work: Array, before: Array,
    around: Array, off: Array
) -> None:  # fmt: skip
    """What surrounds the MT pulse.

    Parameters
    ----------
    theta
        ``(8,)``.
    durations
        ``(3,)`` s: MT pulse, delay, from the excitation to the next MT pulse.
    free, solid
        ``(9,)``: what the excitation leaves of each pool.
    work
        ``(4, 6, 9)``.
    before
        ``(6, 9)``: the step from the MT pulse to the excitation.
    around
        ``(6, 9)``: that from the MT pulse through delay, excitation and recovery to the next.
    off
        ``(9,)``: signal without MT pulse.
    """
    recovery, pulse, first, second = work[0], work[1], work[2], work[3]
    wait(durations[1], theta, before)
    wait(durations[2], theta, recovery)
    wait(durations[0], theta, pulse)
    scaled(before, free, solid, first)
    then(first, recovery, around)
    # Without MT pulse: from one excitation to the next.
    first[:] = 0.0
    first[0, 0] = first[3, 0] = 1.0
    scaled(first, free, solid, second)
    then(second, recovery, first)
    then(first, pulse, second)
    then(second, before, first)
    cyclic(first, recovery, off)
