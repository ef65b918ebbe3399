"""The generalized Bloch equation of a semi-solid pool that is alone with a rectangular pulse.

On resonance, with ``s`` from 0 to 1 over the pulse, ``tau = TRF / T2s`` and the actual flip angle
``beta``, integrating the equation once gives a smooth Volterra equation of the second kind,
``z(s) = 1 - beta^2 int_0^s k(s - s') z(s') ds'`` with ``k(u) = int_0^u G(tau v) dv``. Collocation
at Chebyshev points makes it a small linear system (doi 10.1002/mrm.29071).
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bids_brnn.signals.two_pools.pulses.lineshapes import Lineshape
from bids_brnn.signals.two_pools.pulses.quadrature import gauss, lobatto_points

Array = NDArray[np.float64]


def isolated_pool_z(tau: ArrayLike, beta: ArrayLike, lineshape: Lineshape) -> Array:
    """Longitudinal magnetization at the end of a pulse.

    Parameters
    ----------
    tau
        ``TRF / T2s``, shape ``(A,)``, 1 to 1000.
    beta
        Actual flip angle in rad, shape ``(B,)``.

    Returns
    -------
    Array
        ``z_end``, shape ``(A, B)``, for ``z = 1`` before the pulse; error below 1e-9.
    """
    s, x, weights, cardinal = _collocation()
    taus, betas = np.atleast_1d(tau), np.atleast_1d(beta)
    kernel = _memory_kernel(taus.max(), lineshape)
    one = np.ones((s.size, 1))
    eye = np.eye(s.size)
    z = np.empty((taus.size, betas.size))
    for row, value in enumerate(taus):
        k = kernel(value * s[:, None] * (1 - x)) / value
        operator = np.matmul((k * weights * s[:, None])[:, None, :], cardinal)[:, 0]
        system = eye + betas[:, None, None] ** 2 * operator
        z[row] = np.linalg.solve(system, np.broadcast_to(one, (betas.size, s.size, 1)))[:, -1, 0]
    return z


@cache
def _collocation() -> tuple[Array, Array, Array, Array]:
    """Chebyshev-Lobatto points ``s``, Gauss rule ``x, w`` on [0, 1], cardinal functions at s x."""
    n, q = 72, 96
    s = lobatto_points(n)
    barycentric = (-1.0) ** np.arange(n)
    barycentric[[0, -1]] /= 2
    x, w = gauss(q)
    distance = (s[:, None] * x)[..., None] - s
    hit = np.abs(distance) < 1e-15
    ratio = barycentric / np.where(hit, 1.0, distance)
    cardinal = ratio / ratio.sum(-1, keepdims=True)
    cardinal[hit.any(-1)] = hit[hit.any(-1)]
    return s, x, w, cardinal


def _memory_kernel(upper: float, lineshape: Lineshape) -> np.polynomial.Chebyshev:
    """``int_0^kappa G`` as a Chebyshev series in ``asinh(kappa)``: far fewer quadratures."""
    series = np.polynomial.Chebyshev.interpolate(
        lambda y: lineshape.integral(np.sinh(y)), 200, domain=[0.0, math.asinh(upper) + 1e-9]
    )

    def kernel(kappa: Array) -> Array:
        result: Array = series(np.arcsinh(kappa))
        return result

    return kernel  # type: ignore[return-value]
