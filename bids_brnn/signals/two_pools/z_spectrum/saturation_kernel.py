"""Bloch's equations of a shaped MT pulse with derivatives, compiled; see ``free_pool``."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit_in_place

Array = NDArray[Any]


@jit_in_place
def saturate(
    angle: Array, offset: Array, R2f: Array, shares: Array, dt: float, out: Array
) -> None:  # fmt: skip
    """``Mz`` after the pulse and its derivatives, from ``M = (0, 0, 1)``.

    Parameters
    ----------
    angle, offset, R2f
        ``(E,)``: rad, Hz, 1/s.
    shares
        ``(steps,)``: share of the flip angle in each step.
    dt
        s: length of a step.
    out
        ``(E, 4)``: Mz, and its derivatives by angle, offset and R2f.
    """
    for e in range(angle.shape[0]):
        p = 2 * math.pi * offset[e] * dt
        dp = 2 * math.pi * dt
        d = math.exp(-R2f[e] * dt / 2)
        dd = -dt / 2  # relative derivative of the decay
        x = y = xa = ya = za = xf = yf = zf = xr = yr = zr = 0.0
        z = 1.0
        for k in range(shares.shape[0]):
            t = angle[e] * shares[k]
            square = t * t + p * p
            w = math.sqrt(square)
            c = math.cos(w)
            if square > 1e-8:
                s = math.sin(w) / w
                v = (1 - c) / square
                ds = (c - s) / square
                dv = (s - 2 * v) / square
            else:  # the limits for a small rotation
                s = 1 - square / 6
                v = 0.5 - square / 24
                ds = -1 / 3 + square / 30
                dv = -1 / 12 + square / 180
            # Half of the relaxation before.
            xr, yr = d * (xr + dd * x), d * (yr + dd * y)
            x, y, xa, ya, xf, yf = d * x, d * y, d * xa, d * ya, d * xf, d * yf
            along = t * x + p * z
            # By the turn and by the phase: of c (-s t, -s p), s (ds t, ds p) and v (dv t, dv p).
            gx = -s * x - ds * p * y + dv * t * along
            gy = -s * y + ds * (p * x - t * z)
            gz = -s * z + ds * t * y + dv * p * along
            tx, ty, tz = t * gx + v * (along + t * x), t * gy - s * z, t * gz + s * y + v * p * x
            px, py, pz = p * gx - s * y + v * t * z, p * gy + s * x, p * gz + v * (along + p * z)
            aa, af, ar = t * xa + p * za, t * xf + p * zf, t * xr + p * zr
            xa, ya, za = (
                c * xa - s * p * ya + v * t * aa + shares[k] * tx,
                c * ya + s * (p * xa - t * za) + shares[k] * ty,
                c * za + s * t * ya + v * p * aa + shares[k] * tz,
            )
            xf, yf, zf = (
                c * xf - s * p * yf + v * t * af + dp * px,
                c * yf + s * (p * xf - t * zf) + dp * py,
                c * zf + s * t * yf + v * p * af + dp * pz,
            )
            xr, yr, zr = (
                c * xr - s * p * yr + v * t * ar,
                c * yr + s * (p * xr - t * zr),
                c * zr + s * t * yr + v * p * ar,
            )
            x, y, z = (
                c * x - s * p * y + v * t * along,
                c * y + s * (p * x - t * z),
                c * z + s * t * y + v * p * along,
            )
            # And half after it.
            xr, yr = d * (xr + dd * x), d * (yr + dd * y)
            x, y, xa, ya, xf, yf = d * x, d * y, d * xa, d * ya, d * xf, d * yf
        out[e, 0] = z
        out[e, 1] = za
        out[e, 2] = zf
        out[e, 3] = zr
