"""Averages over one RF pulse that the compiled generalized Bloch kernel tabulates.

A pulse of duration ``T`` (1 in this module) that turns the free pool by ``beta`` about y and by
``phi = w0 T`` about z acts as ``F P F``, where ``F`` undoes half a duration of free precession.
To first order in a rate, what is left of it is an average over the pulse minus the mean of its
two ends; to second order see :func:`_second_order`. The factor of each rate is given here as a
series in ``phi``. Derivation: ``docs/theory/fast_qmt.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from bids_brnn.signals.two_pools.pulses.lineshapes import Lineshape
from bids_brnn.signals.two_pools.pulses.quadrature import chebyshev_points, gauss
from bids_brnn.signals.two_pools.pulses.saturation import (
    RATE_LIMIT,
    TAU_RANGE,
    SaturationTable,
    bloch_z,
    fit_series,
    saturation_table,
)
from bids_brnn.signals.two_pools.pulses.stored import stored_series

Array = NDArray[np.float64]

ODD = frozenset({"hx", "hy", "hxx", "kxz", "gyz", "gxz", "qxz", "ax", "ay"})
"""Averages that are odd in beta; the others are even."""
SOLID = "solid"
"""What these series are called in the file of what was solved once."""
_TAU_TERMS, _BETA_TERMS = 64, 32
_STEP = 0.05  # of phi, for the coefficients of the series


def averages(lineshape: Lineshape, tau: Array, beta: Array) -> dict[str, Array]:
    """Averages that depend on the saturation of the semi-solid pool.

    Parameters
    ----------
    tau
        ``TRF / T2s``, ``(M, A)``.
    beta
        Actual flip angle in rad, ``(M, B)``, at most ``saturation.RATE_LIMIT``.

    Returns
    -------
    dict
        Arrays ``(M, A, B)``: ``S`` remaining saturation; ``hx``, ``hy``, ``hz`` exchange (x, z at
        phi = 0, y per phi), ``hxx``, ``hzz`` the same of x and z per phi squared; ``hs`` losses
        of the semi-solid pool; ``hj`` its recovery; ``kxx``, ``kxz``, ``kzz`` exchange forth and
        back.
    """
    low, high = np.log(TAU_RANGE)
    rows: Array = chebyshev.chebvander(
        2 * (np.log(tau) - low) / (high - low) - 1, _TAU_TERMS - 1
    ).astype(float)
    columns = np.swapaxes(_columns(beta), 1, 2)
    result: dict[str, Array] = {
        name: rows @ series @ columns * (beta[:, None, :] if name in ODD else 1.0)
        for name, series in _solid_series(lineshape).items()
    }
    return {"S": saturation_table(lineshape).z_end(tau, beta), **result}


def free_averages(beta: Array) -> dict[str, Array]:
    """Averages that depend on the flip angle ``(M, B)`` only.

    Returns
    -------
    dict
        Arrays ``(M, B)``: ``g`` relaxation (z, minus that of x), ``gxy``, ``gyz`` per phi,
        ``gxx``, ``gxz``, ``gyy``, ``gzz`` per phi squared, ``qxx``, ``qxz``, ``qzz`` to second
        order in the rate; ``ax``, ``az`` recovery, ``ay`` per phi.
    """
    columns = _columns(beta)
    result: dict[str, Array] = {
        name: columns @ series * (beta if name in ODD else 1.0)
        for name, series in _free_series().items()
    }
    return result


def _columns(beta: Array) -> Array:
    result: Array = chebyshev.chebvander(2 * (beta / RATE_LIMIT) ** 2 - 1, _BETA_TERMS - 1).astype(
        np.float64
    )
    return result


def _turn(beta: Array, phi: float, part: Any) -> Array:
    """Rotation during a ``part`` of the pulse, ``(..., 3, 3)``; takes +z to +x."""
    angle = np.sqrt(beta**2 + phi**2)
    b, c = beta / angle, phi / angle
    zero = np.zeros_like(b)
    axis = np.stack([zero, b, c], axis=-1)[..., None]
    cross = np.stack(
        [
            np.stack([zero, -c, b], -1),
            np.stack([c, zero, zero], -1),
            np.stack([-b, zero, zero], -1),
        ],
        axis=-2,
    )
    turned = (angle * part)[..., None, None]
    along = axis @ np.swapaxes(axis, -1, -2)
    result: Array = np.cos(turned) * (np.eye(3) - along) + along + np.sin(turned) * cross
    return result


def _expand(function: Callable[[float], Array]) -> tuple[Array, Array, Array]:
    """Value, first and half of the second derivative with respect to phi at 0."""
    middle, up, down = function(0.0), function(_STEP), function(-_STEP)
    return middle, (up - down) / (2 * _STEP), (up + down - 2 * middle) / (2 * _STEP**2)


def _beta_nodes() -> Array:
    result: Array = RATE_LIMIT * np.sqrt((chebyshev_points(_BETA_TERMS) + 1) / 2)
    return result


_EZ = np.array([0.0, 0.0, 1.0])
_Z = np.outer(_EZ, _EZ)


def _back(phi: float) -> Array:
    """Free precession by half a pulse, undone."""
    return _turn(np.array(1e-12), -phi / 2, 1.0) if phi else np.eye(3)


@cache
def _free_series() -> dict[str, Array]:
    beta = _beta_nodes()
    u, w = gauss(32)

    def relaxation(phi: float) -> Array:
        whole = _turn(beta, phi, 1.0)
        before, after = _turn(beta[:, None], phi, u), _turn(beta[:, None], phi, 1 - u)
        mean = np.einsum("u,kuij->kij", w, after @ _Z @ before)
        result: Array = _back(phi) @ (mean - (_Z @ whole + whole @ _Z) / 2) @ _back(phi)
        return result

    def recovery(phi: float) -> Array:
        mean = np.einsum("u,kuij->kij", w, _turn(beta[:, None], phi, u))
        result: Array = _back(phi) @ (mean - _turn(beta, phi, 1.0) / 2) @ _EZ - _EZ / 2
        return result

    n, n1, n2 = _expand(relaxation)
    a, a1, _ = _expand(recovery)
    q = _second_order(beta)
    values = {
        "g": n[:, 2, 2], "gxy": n1[:, 0, 1], "gyz": n1[:, 1, 2],
        "gxx": n2[:, 0, 0], "gxz": n2[:, 0, 2], "gyy": n2[:, 1, 1], "gzz": n2[:, 2, 2],
        "qxx": q[:, 0, 0], "qxz": q[:, 0, 2], "qzz": q[:, 2, 2],
        "ax": a[:, 0], "ay": a1[:, 1], "az": a[:, 2],
    }  # fmt: skip
    return {
        name: fit_series(np.stack([value / beta if name in ODD else value] * 2))[0]
        for name, value in values.items()
    }


def _second_order(beta: Array) -> Array:
    """Relaxation of z twice during the pulse, with half of it undone on each side."""
    u, w = gauss(24)
    whole, after = _turn(beta, 0.0, 1.0), _turn(beta[:, None], 0.0, 1 - u)
    once = np.einsum("u,kuij->kij", w, after @ _Z @ _turn(beta[:, None], 0.0, u))
    early = u[:, None] * u
    between = np.cos(beta[:, None, None] * (u[:, None] - early))
    first = _turn(beta[:, None, None], 0.0, early)[..., 2, :]
    inner = np.einsum("v,kuv,kuvj->kuj", w, between, first) * u[:, None]
    twice = np.einsum("u,kui,kuj->kij", w, after[..., 2], inner)
    ends = (_Z @ whole @ _Z) / 4 + (_Z @ whole + whole @ _Z) / 8
    result: Array = twice - (_Z @ once + once @ _Z) / 2 + ends
    return result


@cache
def _solid_series(lineshape: Lineshape) -> dict[str, Array]:
    kept = stored_series(SOLID, lineshape)
    return kept or solid_series(saturation_table(lineshape))


def solid_series(table: SaturationTable) -> dict[str, Array]:
    """Chebyshev series in ``log tau`` and ``beta^2`` of what :func:`averages` tells but S."""
    beta = _beta_nodes()
    low, high = np.log(TAU_RANGE)
    tau = np.exp(low + (high - low) * (chebyshev_points(_TAU_TERMS) + 1) / 2)
    rho = table.rho(tau, beta)

    def remaining(part: Array) -> Array:
        """Semi-solid fraction after a part of the pulse, ``(tau, beta, *part)``."""
        extra = (1,) * part.ndim
        grid = (
            rho.reshape(*rho.shape, *extra),
            tau.reshape(-1, 1, *extra),
            beta.reshape(-1, *extra),
        )
        return bloch_z(grid[0], grid[1] * part, grid[2] * part)

    u, w = gauss(48)
    z, saturated = remaining(u), remaining(np.ones(1))

    def exchange(phi: float) -> Array:
        to_x = _turn(beta[:, None], phi, 1 - u)[..., 2]
        mean = np.einsum("u,tku,kui->tki", w, z, to_x)
        ends = (saturated * _EZ + _turn(beta, phi, 1.0)[..., 2]) / 2
        result: Array = (mean - ends) @ _back(phi).T
        return result

    h, h1, h2 = _expand(exchange)
    values = {
        "hx": h[..., 0], "hz": h[..., 2], "hy": h1[..., 1], "hxx": h2[..., 0], "hzz": h2[..., 2],
        "hs": (z * remaining(1 - u)) @ w - saturated[..., 0],
        "hj": z @ w - (1 + saturated[..., 0]) / 2,
        **_forth_and_back(beta, remaining),
    }  # fmt: skip
    return {
        name: fit_series(value / beta if name in ODD else value) for name, value in values.items()
    }


def _forth_and_back(beta: Array, remaining: Callable[[Array], Array]) -> dict[str, Array]:
    """Free to semi-solid pool and back within the pulse, with half of it undone on each side."""
    u, w = gauss(20)
    early = u[:, None] * u
    memory = remaining(u[:, None] - early) * u[:, None]
    angle = beta[:, None] * (1 - u)
    first = beta[:, None, None] * early
    z, saturated = remaining(u), remaining(np.ones(1))[..., 0]

    def twice(late: Any, begin: Any) -> Array:
        result: Array = np.einsum("u,v,tkuv,ku,kuv->tk", w, w, memory, late(angle), begin(first))
        return result

    mean_x, mean_z = (z * np.sin(angle)) @ w, (z * np.cos(angle)) @ w
    return {
        "kxx": -twice(np.sin, np.sin),
        "kxz": twice(np.sin, np.cos) - mean_x / 2 + np.sin(beta) / 8,
        "kzz": twice(np.cos, np.cos) - mean_z + (saturated + np.cos(beta)) / 4,
    }
