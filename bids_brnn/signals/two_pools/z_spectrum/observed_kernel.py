"""The rate of the free pool where the observed one is known, with derivatives, compiled."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit_in_place
from bids_brnn.signals.copying import put

Array = NDArray[Any]

M0S, R1, RX, R1S = 0, 1, 3, 4
"""Columns of parameters; R1 is the observed rate, or that of the free pool."""
LEAST = 1e-3
"""1/s: least ``R1s - R1 + kr``, see :func:`.quantities.free_pool_rate`."""


@jit_in_place
def pools_of(
    theta: Array, equal: bool, held: Array, bounds: Array, pools: Array, slopes: Array
) -> None:  # fmt: skip
    """Parameters of both pools by :func:`.quantities.free_pool_rate`, and its derivatives.

    Parameters
    ----------
    theta
        ``(V, 8)`` with the observed rate.
    equal
        Whether R1s is that of the free pool: both are then the observed rate.
    held
        ``(2,)``: bounds of the rate of the free pool, where derivatives are 0.
    bounds
        ``(2, 2)``: lowest and highest R1f, and R1s, of the model.
    pools
        ``(V, 8)``, written.
    slopes
        ``(V, 4)``, written: derivatives of R1f by R1, m0s, Rx and R1s.
    """
    for v in range(theta.shape[0]):
        put(theta[v], pools[v])
        m0s, rate, Rx, solid = theta[v, M0S], theta[v, R1], theta[v, RX], theta[v, R1S]
        by_fall, by_m0s, by_Rx = 0.0, 0.0, 0.0
        open_ = True
        if equal:
            solid = rate
        else:
            # R1f = R1 - Rx m0s fall / among, and among moves where it is not held itself.
            fall = solid - rate
            among = max(fall + Rx * (1 - m0s), LEAST)
            share, part = fall / among, Rx * m0s / among
            rate -= Rx * m0s * fall / among
            by_among = part * share if among > LEAST else 0.0
            by_fall = by_among - part
            by_m0s = -Rx * (share + by_among)
            by_Rx = by_among * (1 - m0s) - m0s * share
            open_ = held[0] < rate < held[1]
            rate = min(max(rate, held[0]), held[1])
        slopes[v, 0] = 1 - by_fall if open_ else 0.0
        slopes[v, 1] = by_m0s if open_ else 0.0
        slopes[v, 2] = by_Rx if open_ else 0.0
        slopes[v, 3] = by_fall if open_ else 0.0
        pools[v, R1] = min(max(rate, bounds[0, 0]), bounds[0, 1])
        pools[v, R1S] = min(max(solid, bounds[1, 0]), bounds[1, 1])


@jit_in_place
def by_observed(slopes: Array, equal: bool, out: Array) -> None:
    """Turn derivatives ``(V, N, 8)`` by R1f into those by the observed rate, in their place.

    ``slopes``, ``equal`` as of :func:`pools_of`.
    """
    for v in range(out.shape[0]):
        by_R1, by_m0s, by_Rx, by_R1s = slopes[v, 0], slopes[v, 1], slopes[v, 2], slopes[v, 3]
        for n in range(out.shape[1]):
            rate = out[v, n, R1]
            out[v, n, M0S] += rate * by_m0s
            out[v, n, RX] += rate * by_Rx
            if equal:
                out[v, n, R1] = rate * by_R1 + out[v, n, R1S]
                out[v, n, R1S] = 0.0
            else:
                out[v, n, R1] = rate * by_R1
                out[v, n, R1S] += rate * by_R1s
