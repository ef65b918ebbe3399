"""Steps of two pools and their derivatives by all parameters, compiled.

Numbers with derivatives are arrays ``(9,)``: the value, then its derivatives by (m0s, R1f, R2f,
Rx, R1s, T2s, w0, B1). A step ``M -> A M + g`` is ``(6, 9)``: ff, fs, sf, ss, f, s, as in
:class:`..pools.Step`.
"""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit_in_place
from bids_brnn.signals.copying import put_matrix

Array = NDArray[Any]


@jit_in_place
def add_product(a: Array, b: Array, sign: float, out: Array) -> None:
    """``out += sign a b``."""
    a0, b0 = sign * a[0], sign * b[0]
    out[0] += a0 * b[0]
    for i in range(1, 9):
        out[i] += a0 * b[i] + b0 * a[i]


@jit_in_place
def levels(
    free: float, solid: float, kf: float, kr: float, up: float, us: float
) -> tuple[float, float, float]:
    """Determinant of the rates of loss, and both pools where loss and gain are equal.

    Of pools that lose at the rates ``free`` and ``solid``, exchange at ``kf`` and ``kr`` (1/s)
    and gain ``up`` and ``us`` (1/s).
    """
    determinant = free * solid - kf * kr
    return determinant, (up * solid + us * kr) / determinant, (us * free + up * kf) / determinant


@jit_in_place
def modes(time: float, free: float, solid: float, exchange: float) -> tuple[float, float, float]:
    """Both ways in which pools relax that lose at ``free`` and ``solid`` (1/s), after a time (s).

    Square of half of the difference of their rates ``2 r``, and ``e^(-m t) cosh(r t)`` and
    ``e^(-m t) sinh(r t) / r`` with their mean rate ``m``; ``exchange`` is the product of both
    rates of exchange.
    """
    mean, half = -(free + solid) / 2, (solid - free) / 2
    q = max(half * half + exchange, 1e-12)
    root = math.sqrt(q)
    # Neither exponent is positive: strong saturation leads to 0, not out of the range of numbers.
    fast = math.exp((mean - root) * time)
    if root * time > 1.0:
        slow = math.exp((mean + root) * time)
        odd = (slow - fast) / (2 * root)
    else:
        rise = math.expm1(2 * root * time)
        slow = fast + fast * rise
        odd = fast * rise / (2 * root)
    return q, (slow + fast) / 2, odd


@jit_in_place
def equilibrium(theta: Array, Wf: float, Ws: float, row: int, out: Array) -> None:
    """The free (``row`` 0) or the semi-solid pool ``(9,)`` under constant saturation rates (1/s).

    The third and the sixth derivative are those by the rates ``Wf`` and ``Ws``, in the places of
    R2f and T2s, which act through them; there is none by w0 and B1.
    """
    m0s, R1f, Rx, R1s = theta[0], theta[1], theta[3], theta[4]
    kf, kr = Rx * m0s, Rx * (1 - m0s)
    free, solid = R1f + kf + Wf, R1s + kr + Ws
    up, us = R1f * (1 - m0s), R1s * m0s
    determinant, f, s = levels(free, solid, kf, kr, up, us)
    inverse = 1 / determinant
    pool = f if row == 0 else s
    by_Wf, by_Ws = -pool * solid, -pool * free
    by_kf, by_kr = -pool * (solid - kr), -pool * (free - kf)
    if row == 0:
        by_Ws += up
        by_kr += up + us
        by_up, by_us = solid, kr
    else:
        by_Wf += us
        by_kf += up + us
        by_up, by_us = kf, free
    out[0] = pool
    out[1] = inverse * (Rx * (by_kf - by_kr) + R1s * by_us - R1f * by_up)
    out[2] = inverse * (by_Wf + (1 - m0s) * by_up)
    out[3] = inverse * by_Wf
    out[4] = inverse * (m0s * by_kf + (1 - m0s) * by_kr)
    out[5] = inverse * (by_Ws + m0s * by_us)
    out[6] = inverse * by_Ws
    out[7] = out[8] = 0.0


@jit_in_place
def under(time: float, theta: Array, Wf: float, Ws: float, work: Array, out: Array) -> None:
    """A time (s) under constant saturation rates (1/s); derivatives as of :func:`equilibrium`.

    ``work`` is ``(2, 9)``.
    """
    m0s, R1f, Rx, R1s = theta[0], theta[1], theta[3], theta[4]
    kf, kr = Rx * m0s, Rx * (1 - m0s)
    free, solid = R1f + kf + Wf, R1s + kr + Ws
    half = (solid - free) / 2
    q, even, odd = modes(time, free, solid, kf * kr)
    # Both are smooth functions of the square of the root.
    by_even = 0.5 * time * odd
    if q * time * time > 1e-4:
        by_odd = (time * even - odd) / (2 * q)
    else:
        by_odd = time * time / 6 * odd * (1 - q * time * time / 15)
    out[0, 0], out[1, 0] = even + odd * half, odd * kr
    out[2, 0], out[3, 0] = odd * kf, even - odd * half
    for row in range(4):
        # By half of the difference of the pools, by kf and by kr, which act through the root too.
        if row in (0, 3):
            sign = 1.0 if row == 0 else -1.0
            by_q, by_half, by_kf, by_kr = by_even + sign * by_odd * half, sign * odd, 0.0, 0.0
        elif row == 1:
            by_q, by_half, by_kf, by_kr = by_odd * kr, 0.0, 0.0, odd
        else:
            by_q, by_half, by_kf, by_kr = by_odd * kf, 0.0, odd, 0.0
        by_half += 2 * half * by_q
        lost = -0.5 * time * out[row, 0]
        by_Wf, by_Ws = lost - 0.5 * by_half, lost + 0.5 * by_half
        by_kf += kr * by_q + by_Wf
        by_kr += kf * by_q + by_Ws
        out[row, 1] = Rx * (by_kf - by_kr)
        out[row, 2] = out[row, 3] = by_Wf
        out[row, 4] = m0s * by_kf + (1 - m0s) * by_kr
        out[row, 5] = out[row, 6] = by_Ws
        out[row, 7] = out[row, 8] = 0.0
    # What is added leads to equilibrium.
    for row in range(2):
        equilibrium(theta, Wf, Ws, row, work[row])
    for row in range(2):
        for g in range(9):
            out[4 + row, g] = work[row, g]
        add_product(out[2 * row], work[0], -1.0, out[4 + row])
        add_product(out[2 * row + 1], work[1], -1.0, out[4 + row])


@jit_in_place
def wait(time: float, theta: Array, work: Array, out: Array) -> None:
    """Exchange and longitudinal relaxation of the pools ``theta`` for ``time`` (s)."""
    under(time, theta, 0.0, 0.0, work, out)
    out[:, 3] = 0.0
    out[:, 6] = 0.0


@jit_in_place
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


@jit_in_place
def scaled(step: Array, free: Array, solid: Array, out: Array) -> None:
    """A step after which the pools are multiplied by numbers."""
    out[:] = 0.0
    for row in (0, 1, 4):
        add_product(free, step[row], 1.0, out[row])
    for row in (2, 3, 5):
        add_product(solid, step[row], 1.0, out[row])


@jit_in_place
def scaled_before(step: Array, free: Array, out: Array) -> None:
    """A step before which the free pool is multiplied by a number."""
    put_matrix(step, out)
    for row in (0, 2):
        out[row] = 0.0
        add_product(free, step[row], 1.0, out[row])


@jit_in_place
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


@jit_in_place
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
    wait(durations[1], theta, first, before)
    wait(durations[2], theta, first, recovery)
    wait(durations[0], theta, first, pulse)
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
