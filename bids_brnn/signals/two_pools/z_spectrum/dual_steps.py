"""Steps of two pools without RF field and their derivatives by all parameters, compiled.

Numbers with derivatives are arrays ``(9,)``: the value, then its derivatives by (m0s, R1f, R2f,
Rx, R1s, T2s, w0, B1). A step ``M -> A M + g`` is ``(6, 9)``: ff, fs, sf, ss, f, s, as in
:class:`..pools.Step`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit

Array = NDArray[Any]


@jit
def times(a: Array, b: Array) -> Array:
    """Product."""
    out = a[0] * b
    out += b[0] * a
    out[0] = a[0] * b[0]
    return out


@jit
def over(a: Array, b: Array) -> Array:
    """Quotient."""
    ratio = a[0] / b[0]
    out = (a - ratio * b) / b[0]
    out[0] = ratio
    return out


@jit
def rates(theta: Array, out: Array) -> None:
    """``m0s``, ``kf``, ``kr``, ``R1f`` and ``R1s`` of one parameter set, ``(5, 9)``."""
    out[:] = 0.0
    m0s, Rx = theta[0], theta[3]
    out[0, 0], out[0, 1] = m0s, 1.0
    out[1, 0], out[1, 1], out[1, 4] = Rx * m0s, Rx, m0s
    out[2, 0], out[2, 1], out[2, 4] = Rx * (1 - m0s), -Rx, 1 - m0s
    out[3, 0], out[3, 2] = theta[1], 1.0
    out[4, 0], out[4, 5] = theta[4], 1.0


@jit
def wait(time: float, r: Array, out: Array) -> None:
    """Exchange and longitudinal relaxation for ``time`` (s) of pools with :func:`rates` ``r``."""
    kf, kr = r[1], r[2]
    free, solid = -r[3] - kf, -r[4] - kr
    mean, half = (free + solid) / 2, (free - solid) / 2
    square = times(half, half) + times(kf, kr)
    q = max(square[0], 1e-12)
    root = math.sqrt(q)
    even_value, odd_value = math.cosh(root * time), math.sinh(root * time) / root
    # Both are smooth functions of the square of the root.
    if q * time * time > 1e-4:
        slope = (time * even_value - odd_value) / (2 * q)
    else:
        slope = time**3 / 6 * (1 + q * time * time / 10)
    even = 0.5 * time * odd_value * square
    even[0] = even_value
    odd = slope * square
    odd[0] = odd_value
    decay = time * math.exp(mean[0] * time) * mean
    decay[0] = math.exp(mean[0] * time)
    even, odd = times(decay, even), times(decay, odd)
    shift = times(odd, half)
    out[0], out[1] = even + shift, times(odd, kr)
    out[2], out[3] = times(odd, kf), even - shift
    pool_s = r[0]
    pool_f = -pool_s
    pool_f[0] += 1.0
    out[4] = pool_f - times(out[0], pool_f) - times(out[1], pool_s)
    out[5] = pool_s - times(out[2], pool_f) - times(out[3], pool_s)


@jit
def then(first: Array, later: Array, out: Array) -> None:
    """One step, then another."""
    for row in range(2):
        f, s = later[2 * row], later[2 * row + 1]
        out[2 * row] = times(f, first[0]) + times(s, first[2])
        out[2 * row + 1] = times(f, first[1]) + times(s, first[3])
        out[4 + row] = times(f, first[4]) + times(s, first[5]) + later[4 + row]


@jit
def scaled(step: Array, free: Array, solid: Array, out: Array) -> None:
    """A step after which the pools are multiplied by numbers."""
    out[0], out[1], out[4] = times(free, step[0]), times(free, step[1]), times(free, step[4])
    out[2], out[3], out[5] = times(solid, step[2]), times(solid, step[3]), times(solid, step[5])


@jit
def cyclic(step: Array) -> Array:
    """``Mzf`` that the step leads back to itself."""
    keep_f, keep_s = -step[0], -step[3]
    keep_f[0] += 1.0
    keep_s[0] += 1.0
    above = times(keep_s, step[4]) + times(step[1], step[5])
    return over(above, times(keep_f, keep_s) - times(step[1], step[2]))


@jit
def cycle(
    theta: Array, durations: Array, free: Array, solid: Array, before: Array, around: Array,
    off: Array
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
    before
        ``(6, 9)``: the step from the MT pulse to the excitation.
    around
        ``(6, 9)``: that from the MT pulse through delay, excitation and recovery to the next.
    off
        ``(9,)``: signal without MT pulse.
    """
    r = np.empty((5, 9))
    rates(theta, r)
    recovery, excited, pulse, whole = (
        np.empty((6, 9)), np.empty((6, 9)), np.empty((6, 9)), np.empty((6, 9)),
    )  # fmt: skip
    wait(durations[1], r, before)
    wait(durations[2], r, recovery)
    wait(durations[0], r, pulse)
    scaled(before, free, solid, excited)
    then(excited, recovery, around)
    # From excitation to excitation.
    unit = np.zeros((6, 9))
    unit[0, 0] = unit[3, 0] = 1.0
    scaled(unit, free, solid, excited)
    then(excited, recovery, whole)
    then(whole, pulse, excited)
    then(excited, before, whole)
    off[:] = cyclic(whole)
