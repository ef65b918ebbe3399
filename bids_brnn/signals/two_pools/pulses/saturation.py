"""What one RF pulse does to the semi-solid pool: generalized Bloch and two classical models.

Isolated pool under a rectangular pulse of flip angle ``beta`` (the actual one, ``B1 * alpha``) and
duration ``tau = TRF / T2s``; transverse magnetization is zero before each pulse and dropped after
it, so the fraction ``z_end`` of longitudinal magnetization that is left says it all:

- ``gbloch``: ``z(s) = 1 - beta^2 int_0^s k(s - s') z(s') ds'``, ``k(u) = int_0^u G(tau v) dv``, a
  smooth Volterra equation (``isolated_pool``, doi 10.1002/mrm.29071);
- ``sled``: ``z(s')`` in the integral is replaced by ``z(s)`` (Sled and Pike, MRM 2001;46:923):
  ``z_end = exp(-beta^2 int_0^1 k)``. Graham and Henkelman's integral over the spectrum of the
  pulse gives the same number for a rectangular pulse;
- ``graham``: their single-frequency approximation (doi 10.1002/jmri.1880070520), a saturation
  rate ``pi w1^2 g(0)``; see :func:`on_resonance_absorption` for what ``g(0)`` means here.

The *effective rate* ``R2sl = rho / T2s`` is that transverse rate with which the ordinary Bloch
equation ends at the same ``z_end``. ``rho`` exists for ``beta <= RATE_LIMIT`` only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray

from bids_brnn.errors import ParameterError
from bids_brnn.signals.two_pools.pulses.isolated_pool import isolated_pool_z
from bids_brnn.signals.two_pools.pulses.lineshapes import SUPER_LORENTZIAN, Lineshape
from bids_brnn.signals.two_pools.pulses.quadrature import chebyshev_angles, chebyshev_points
from bids_brnn.signals.two_pools.pulses.stored import stored_series

Array = NDArray[np.float64]
Saturation = Literal["gbloch", "graham", "sled"]

TAU_RANGE = (1.0, 1000.0)
"""Domain of ``TRF / T2s``: pulses of 26 us to 4 ms for every T2s of the parameter table."""
FLIP_LIMIT = 9.0
"""Largest actual flip angle, rad, for which ``z_end`` is tabulated (2.86 pi)."""
RATE_LIMIT = 1.38 * math.pi
"""Largest actual flip angle, rad, with an effective rate: above about 1.45 pi two roots merge."""

SATURATION = "saturation"
"""What :func:`saturation_table` is called in the file of what was solved once."""
_CUTOFF = 2 * math.pi * 1500.0  # rad/s


def on_resonance_absorption(T2s: ArrayLike, lineshape: Lineshape) -> Array:
    """Absorption ``g(0)`` in s for a pulse on resonance.

    The super-Lorentzian diverges there. As usual (Bieri and Scheffler, Gloor et al., MRM 2008;
    60:691) the line is continued to the centre from where it is regular, here by the even
    parabola that has its value and slope at 1.5 kHz. For T2s = 12 us this gives 1.5e-5 s.
    """
    times = np.asarray(T2s, float)
    if lineshape is not SUPER_LORENTZIAN:
        return times * lineshape.absorption(np.zeros_like(times))
    x, step = _CUTOFF * times, 1e-3
    ahead, behind = lineshape.absorption(x * (1 + step)), lineshape.absorption(x * (1 - step))
    return times * (lineshape.absorption(x) - (ahead - behind) / (4 * step))


def bloch_z(rho: ArrayLike, tau: ArrayLike, beta: ArrayLike) -> Array:
    """End value of the Bloch equation with transverse rate ``rho / T2s`` and no other relaxation.

    ``exp(-a) (cosh q + a sinh(q)/q)``, ``a = rho tau / 2``, ``q^2 = a^2 - beta^2``.
    """
    a = np.asarray(rho, float) * tau / 2
    square = a**2 - np.square(beta)
    q = np.maximum(np.sqrt(np.abs(square)), 1e-9)
    # Exponents are combined before exp: cosh alone would overflow for large a.
    rising, falling = (np.exp(np.where(square > 0, sign * q - a, 0.0)) / 2 for sign in (1, -1))
    over = rising + falling + a * (rising - falling) / q
    under = np.exp(-a) * (np.cos(q) + a * np.sin(q) / q)
    return np.where(square > 0, over, under)


def _solve_rate(z: Array, tau: Array, beta: Array) -> Array:
    """``rho`` with ``bloch_z(rho) = z`` by Newton steps from below the turning point."""
    rho = np.full(np.broadcast_shapes(z.shape, tau.shape, beta.shape), 0.15)
    step = 1e-6
    for _ in range(60):
        slope = (bloch_z(rho + step, tau, beta) - bloch_z(rho - step, tau, beta)) / (2 * step)
        change = (bloch_z(rho, tau, beta) - z) / slope
        rho = np.clip(rho - change, rho / 2, rho * 1.5)
        if np.max(np.abs(change)) < 1e-13:
            break
    return rho


@dataclass(frozen=True, eq=False)
class SaturationTable:
    """``z_end`` and ``rho`` of a line shape: Chebyshev series in ``log tau`` and ``beta^2``."""

    z_series: Array
    rho_series: Array

    @classmethod
    def build(cls, lineshape: Lineshape) -> SaturationTable:
        """Solve the Volterra equation on a Chebyshev grid of the stated domain."""
        low, high = np.log(TAU_RANGE)
        tau = np.exp(low + (high - low) * (chebyshev_points(64) + 1) / 2)
        z_beta = FLIP_LIMIT * np.sqrt((chebyshev_points(24) + 1) / 2)
        rho_beta = RATE_LIMIT * np.sqrt((chebyshev_points(48) + 1) / 2)
        z = isolated_pool_z(tau, np.concatenate([z_beta, rho_beta]), lineshape)
        rho = _solve_rate(z[:, z_beta.size :], tau[:, None], rho_beta)
        return cls(fit_series(z[:, : z_beta.size]), fit_series(rho))

    def z_end(self, tau: ArrayLike, beta: ArrayLike) -> Array:
        """Remaining longitudinal fraction on grids: ``(..., A)``, ``(..., B)`` -> ``(..., A, B)``.

        Raises
        ------
        ParameterError
            Outside ``TAU_RANGE`` or above ``FLIP_LIMIT``.
        """
        return _on_grid(self.z_series, tau, beta, FLIP_LIMIT)

    def rho(self, tau: ArrayLike, beta: ArrayLike) -> Array:
        """Effective transverse rate times T2s, on grids like :meth:`z_end`, up to ``RATE_LIMIT``.

        Raises
        ------
        ParameterError
            Outside ``TAU_RANGE`` or above ``RATE_LIMIT``.
        """
        return _on_grid(self.rho_series, tau, beta, RATE_LIMIT)


@cache
def saturation_table(lineshape: Lineshape = SUPER_LORENTZIAN) -> SaturationTable:
    """The table of a line shape, kept or computed at first use (about half a second)."""
    kept = stored_series(SATURATION, lineshape)
    return SaturationTable(kept["z"], kept["rho"]) if kept else SaturationTable.build(lineshape)


def effective_rate(
    T2s: float, duration: float, flip: float, lineshape: Lineshape = SUPER_LORENTZIAN
) -> tuple[float, float, float]:
    """Effective rate ``R2sl`` of one pulse and its derivatives.

    Parameters
    ----------
    T2s, duration
        Seconds.
    flip
        Actual flip angle ``B1 * alpha``, rad.

    Returns
    -------
    R2sl, dR2sl/dT2s, dR2sl/dflip
        In 1/s, 1/s^2 and 1/(s rad); exact derivatives of the tabulated series. Multiply the last
        by the nominal flip angle for the derivative with respect to B1.

    Raises
    ------
    ParameterError
        Outside the domain of the table.
    """
    series = saturation_table(lineshape).rho_series
    tau = duration / T2s
    _check_domain(np.asarray(tau), np.asarray(flip), RATE_LIMIT)
    low, high = np.log(TAU_RANGE)
    x, y = 2 * (math.log(tau) - low) / (high - low) - 1, 2 * (flip / RATE_LIMIT) ** 2 - 1
    rho = float(chebyshev.chebval2d(x, y, series))
    by_x = float(chebyshev.chebval2d(x, y, chebyshev.chebder(series, axis=0)))
    by_y = float(chebyshev.chebval2d(x, y, chebyshev.chebder(series, axis=1)))
    tau_by_tau = by_x * 2 / (high - low)
    return rho / T2s, -(rho + tau_by_tau) / T2s**2, by_y * 4 * flip / RATE_LIMIT**2 / T2s


def remaining_fraction(
    model: Saturation, T2s: ArrayLike, duration: ArrayLike, flip: ArrayLike, lineshape: Lineshape
) -> Array:
    """``z_end`` of any saturation model on grids.

    Parameters
    ----------
    T2s
        Seconds, shape ``(A,)``.
    duration
        Seconds, shape ``(M, 1)``.
    flip
        Actual flip angles in rad, shape ``(M, B)``.

    Returns
    -------
    Array
        Shape ``(M, A, B)``.
    """
    tau = np.asarray(duration) / np.asarray(T2s)
    if model == "gbloch":
        return saturation_table(lineshape).z_end(tau, flip)
    _check_domain(tau, np.asarray(flip), math.inf)
    if model == "sled":
        exponent = _mean_memory(lineshape)(np.log(tau))
    elif model == "graham":
        exponent = math.pi * on_resonance_absorption(T2s, lineshape) / np.asarray(duration)
    else:
        names = ", ".join(get_args(Saturation))
        raise ParameterError(f'saturation "{model}" is unknown; use one of {names}')
    result: Array = np.exp(-exponent[..., :, None] * np.square(flip)[..., None, :])
    return result


@cache
def _mean_memory(lineshape: Lineshape) -> np.polynomial.Chebyshev:
    """``int_0^1 k(u) du`` as a Chebyshev series in ``log tau``."""
    return np.polynomial.Chebyshev.interpolate(
        lambda y: lineshape.double_integral(np.exp(y)) * np.exp(-2 * y), 64, np.log(TAU_RANGE)
    )


def fit_series(values: Array) -> Array:
    """Chebyshev coefficients over the last two axes from values at Chebyshev nodes."""
    for axis in (-2, -1):
        n = values.shape[axis]
        transform = np.cos(np.outer(np.arange(n), chebyshev_angles(n))) * 2 / n
        transform[0] /= 2
        values = np.moveaxis(np.tensordot(values, transform, (axis, 1)), -1, axis)
    return values


def _on_grid(series: Array, tau: ArrayLike, beta: ArrayLike, limit: float) -> Array:
    taus, betas = np.atleast_1d(np.asarray(tau, float)), np.atleast_1d(np.asarray(beta, float))
    _check_domain(taus, betas, limit)
    low, high = np.log(TAU_RANGE)
    rows = chebyshev.chebvander(2 * (np.log(taus) - low) / (high - low) - 1, series.shape[0] - 1)
    columns = chebyshev.chebvander(2 * (betas / limit) ** 2 - 1, series.shape[1] - 1)
    result: Array = rows @ series @ np.swapaxes(columns, -1, -2)
    return result


def _check_domain(tau: Array, beta: Array, limit: float) -> None:
    slack = 1e-9
    if np.any(tau < TAU_RANGE[0] * (1 - slack)) or np.any(tau > TAU_RANGE[1] * (1 + slack)):
        worst = tau.min() if tau.min() < TAU_RANGE[0] else tau.max()
        raise ParameterError(
            f"pulse duration over T2s is {worst:.4g}, outside the tabulated "
            f"{TAU_RANGE[0]:g} ... {TAU_RANGE[1]:g}; change the pulse or T2s"
        )
    if np.any(np.abs(beta) > limit * (1 + slack)):
        raise ParameterError(
            f"flip angle times B1 is {math.degrees(float(np.abs(beta).max())):.4g} degrees, above "
            f"the limit of {math.degrees(limit):.4g} degrees; use the exact solver of "
            "bids_brnn.signals.two_pools.reference for such a pulse"
        )
