"""Constants of each parameter set: free precession over the few times that a train has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bids_brnn.signals.two_pools.kernel.layout import EXCHANGING, MATRIX

if TYPE_CHECKING:
    from bids_brnn.signals.two_pools.kernel.plan import KernelPlan

Array = NDArray[np.float64]


def constants(
    plan: KernelPlan, theta: Array, features: Array, *, solid: bool = True
) -> list[Array]:
    """All constants of parameter sets ``(V, 8)`` in the order of the layout.

    Without ``solid`` what belongs to the semi-solid pool, which nothing reads, is 0.

    Returns
    -------
    list of Array
        Parts ``(V, ...)`` to be joined along the last axis; ``features`` is one of them.
    """
    m0s, R1f, R2f, Rx, R1s, T2s, w0, B1 = theta.T
    m0f = 1 - m0s
    one = np.ones_like(m0s)
    sign = -1.0 if plan.inverted else 1.0
    to_solid, to_free = Rx * m0s, Rx * m0f
    sets = [
        m0s, R1f, R2f, Rx, R1s, T2s, w0, B1,
        m0f, R2f - R1f - to_solid, to_free, to_solid, R1s + to_free, m0f * R1f, m0s * R1s,
        sign * m0f, m0s, -sign * one, one,
    ]  # fmt: skip

    def transverse(time: float) -> list[Array]:
        decay = np.exp(-R2f * time)
        return [decay * np.cos(w0 * time), decay * np.sin(w0 * time)]

    times: list[Array] = []
    for time in plan.echo_times:
        times += transverse(time)
    free = plan.free_times
    along_z = (_exchange if solid else _relaxation)(theta, free[:, None])
    for time, columns in zip(free, along_z.swapaxes(0, 1), strict=True):
        times += [*transverse(time), *columns]
    return [np.stack(sets, axis=1), features, np.stack(times, axis=1)]


def _relaxation(theta: Array, time: Array) -> Array:
    """As :func:`_exchange`, where the semi-solid pool is empty."""
    R1f = theta[:, 1]
    found = np.zeros((len(MATRIX) * (1 + len(EXCHANGING)), len(time), len(theta)))
    slope = len(MATRIX) * (1 + EXCHANGING.index("R1f"))
    zz, z = MATRIX.index("zz"), MATRIX.index("z")
    decay = np.exp(-R1f * time)
    found[zz], found[z] = decay, 1 - decay
    found[slope + zz], found[slope + z] = -time * decay, time * decay
    return found


def _exchange(theta: Array, time: Array) -> Array:
    """``exp(-K t)`` of the two z components, recovery, and derivatives: m0s, R1f, Rx, R1s.

    Columns ``(30, T, V)`` of times ``(T, 1)``.

    With the mean ``a`` and the half difference ``d`` of the diagonal of K, ``q = d^2 + k12 k21``:
    ``exp(-K t) = exp(-a t) (cosh(r t) - sinh(r t)/r (K - a))``, ``r = sqrt(q)``, a smooth function
    of a, d, q, k12 and k21, whose differentials are taken one by one.
    """
    m0s, R1f, _, Rx, R1s = theta[:, :5].T
    m0f, one, zero = 1 - m0s, 1.0, 0.0
    forward, backward = Rx * m0s, Rx * m0f
    k = (R1f + forward, -backward, -forward, R1s + backward)
    changes = (
        (Rx, Rx, -Rx, -Rx),
        (one, zero, zero, zero),
        (m0s, -m0f, -m0s, m0f),
        (zero, zero, zero, one),
    )
    a, d = (k[0] + k[3]) / 2, (k[0] - k[3]) / 2
    q = d**2 + k[1] * k[2]
    decay = np.exp(-a * time)
    cosh, sinh, slope = _hyperbolic(q, time)
    e = (
        decay * (cosh - sinh * d),
        -decay * sinh * k[1],
        -decay * sinh * k[2],
        decay * (cosh + sinh * d),
    )
    columns = [*e, *_recovery(e, m0f, m0s)]
    for index, (k11, k12, k21, k22) in enumerate(changes):
        da, dd = (k11 + k22) / 2, (k11 - k22) / 2
        dq = 2 * d * dd + k12 * k[2] + k[1] * k21
        dcosh, dsinh = time / 2 * sinh * dq, slope * dq
        de = (
            decay * (dcosh - dsinh * d - sinh * dd) - time * da * e[0],
            -decay * (dsinh * k[1] + sinh * k12) - time * da * e[1],
            -decay * (dsinh * k[2] + sinh * k21) - time * da * e[2],
            decay * (dcosh + dsinh * d + sinh * dd) - time * da * e[3],
        )
        recovery = [-(de[0] * m0f + de[1] * m0s), -(de[2] * m0f + de[3] * m0s)]
        if index == 0:
            recovery = [recovery[0] - (1 - e[0]) - e[1], recovery[1] + e[2] + (1 - e[3])]
        columns += [*de, *recovery]
    return np.stack(columns)


def _recovery(e: tuple[Array, ...], m0f: Array, m0s: Array) -> list[Array]:
    return [m0f - e[0] * m0f - e[1] * m0s, m0s - e[2] * m0f - e[3] * m0s]


def _hyperbolic(q: Array, time: Array) -> tuple[Array, Array, Array]:
    """``cosh(r t)``, ``sinh(r t)/r`` and its derivative with respect to ``q = r^2``."""
    r = np.sqrt(np.maximum(q, 0.0))
    x = r * time
    small = x < 1e-2
    safe = np.where(small, 1.0, r)
    square = x**2
    sinh = np.where(small, time * (1 + square / 6 + square**2 / 120), np.sinh(x) / safe)
    slope = np.where(
        small,
        time**3 * (1 / 6 + square / 60 + square**2 / 1680),
        (time * np.cosh(x) - sinh) / (2 * safe**2),
    )
    return np.cosh(x), sinh, slope
