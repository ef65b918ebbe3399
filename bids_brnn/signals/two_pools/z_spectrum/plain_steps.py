"""Steps of two pools without derivatives, compiled; see :mod:`.dual_steps` for those with.

A step ``M -> A M + g`` is ``(6,)``: ff, fs, sf, ss, f, s.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit_in_place
from bids_brnn.signals.copying import put
from bids_brnn.signals.two_pools.z_spectrum.dual_steps import levels, modes

Array = NDArray[Any]


@jit_in_place
def plain_under(time: float, theta: Array, Wf: float, Ws: float, out: Array) -> None:
    """A time (s) under constant saturation rates (1/s)."""
    m0s, R1f, Rx, R1s = theta[0], theta[1], theta[3], theta[4]
    kf, kr = Rx * m0s, Rx * (1 - m0s)
    free, solid = R1f + kf + Wf, R1s + kr + Ws
    half = (solid - free) / 2
    _, even, odd = modes(time, free, solid, kf * kr)
    out[0], out[1] = even + odd * half, odd * kr
    out[2], out[3] = odd * kf, even - odd * half
    _, f, s = levels(free, solid, kf, kr, R1f * (1 - m0s), R1s * m0s)
    out[4] = f - out[0] * f - out[1] * s
    out[5] = s - out[2] * f - out[3] * s


@jit_in_place
def plain_then(first: Array, later: Array, out: Array) -> None:
    """One step, then another."""
    for row in range(2):
        f, s = later[2 * row], later[2 * row + 1]
        out[2 * row] = f * first[0] + s * first[2]
        out[2 * row + 1] = f * first[1] + s * first[3]
        out[4 + row] = later[4 + row] + f * first[4] + s * first[5]


@jit_in_place
def plain_scaled_before(step: Array, free: float, out: Array) -> None:
    """A step before which the free pool is multiplied by a number."""
    put(step, out)
    out[0] *= free
    out[2] *= free


@jit_in_place
def plain_cyclic(step: Array) -> float:
    """``Mzf`` that the step leads back to itself."""
    keep_f, keep_s = 1 - step[0], 1 - step[3]
    above = keep_s * step[4] + step[1] * step[5]
    found: float = above / (keep_f * keep_s - step[1] * step[2])
    return found
