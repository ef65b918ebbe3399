"""Line shapes of the semi-solid pool, as Green's functions of its transverse memory.

``G(kappa)`` with ``kappa = (t - t') / T2s`` says how much transverse magnetization that the RF
field made at ``t'`` is left at ``t``; its cosine transform is the absorption line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf

from bids_brnn.errors import DataError
from bids_brnn.signals.two_pools.pulses.quadrature import gauss

Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Lineshape:
    """One line shape; all functions are elementwise and take dimensionless arguments >= 0."""

    name: str
    green: Function
    """``G(kappa)``, with ``G(0) = 1``."""
    integral: Function
    """``int_0^kappa G``."""
    double_integral: Function
    """``int_0^kappa (kappa - u) G(u) du``, the integral of the integral."""
    absorption: Function
    """``g(omega) / T2s`` at ``x = omega T2s``, where ``int_-inf^inf g(omega) domega = 1``."""


def _orientations() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes ``a = |3 z^2 - 1| / sqrt(8)`` and weights for the average over ``z`` in [0, 1].

    The integrands have a ridge at the magic angle ``z = 1/sqrt(3)``: the quadrature is split
    there (2 x 160 Gauss-Legendre points are exact to 1e-15 for kappa <= 200).
    """
    unit, w = gauss(160)
    magic = 1 / math.sqrt(3)
    z = np.concatenate([unit * magic, magic + unit * (1 - magic)])
    weights = np.concatenate([w * magic, w * (1 - magic)])
    return np.abs(3 * z**2 - 1) / math.sqrt(8), weights


_A, _WEIGHTS = _orientations()
_ROOT_PI = math.sqrt(math.pi)


def _average(function: Function) -> Function:
    """Average over orientations; ``function`` gets one more axis, along which ``_A`` runs."""

    def averaged(kappa: NDArray[np.float64]) -> NDArray[np.float64]:
        result: NDArray[np.float64] = function(np.asarray(kappa, float)[..., None]) @ _WEIGHTS
        return result

    return averaged


def _gaussian_double_integral(a: ArrayLike) -> Function:
    """Twice integrated ``exp(-a^2 kappa^2)``, without cancellation at small ``a kappa``."""
    scale = np.asarray(a, float)

    def integral(kappa: NDArray[np.float64]) -> NDArray[np.float64]:
        u = scale * kappa
        result: NDArray[np.float64] = _ROOT_PI / 2 * erf(u) * u + np.expm1(-(u**2)) / 2
        return kappa**2 * result / _positive(u) ** 2

    return integral


def _positive(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(values, 1e-150)


def _super_lorentzian_absorption(x: NDArray[np.float64]) -> NDArray[np.float64]:
    # Diverges (logarithmically) on resonance; the quadrature resolves x >= 0.01.
    ratio = np.asarray(x, float)[..., None] / (2 * _A)
    result: NDArray[np.float64] = (np.exp(-(ratio**2)) / _A) @ _WEIGHTS / (2 * _ROOT_PI)
    return result


SUPER_LORENTZIAN = Lineshape(
    "super-lorentzian",
    _average(lambda k: np.exp(-((_A * k) ** 2))),
    _average(lambda k: _ROOT_PI / 2 * erf(_A * k) / _A),
    _average(_gaussian_double_integral(_A)),
    _super_lorentzian_absorption,
)
"""Powder average of dipolar-coupled lipid chains (Wennerstroem 1973; Morrison and Henkelman,
MRM 1995;33:475). It decays only as 1/kappa: no short-memory approximation is admissible."""

LORENTZIAN = Lineshape(
    "lorentzian",
    lambda k: np.exp(-k),
    lambda k: -np.expm1(-k),
    lambda k: k + np.expm1(-k),
    lambda x: 1 / (math.pi * (1 + np.asarray(x, float) ** 2)),
)
"""With this line the generalized Bloch equation is the Bloch equation."""

GAUSSIAN = Lineshape(
    "gaussian",
    lambda k: np.exp(-(k**2) / 2),
    lambda k: math.sqrt(math.pi / 2) * erf(k / math.sqrt(2)),
    _gaussian_double_integral(1 / math.sqrt(2)),
    lambda x: np.exp(-(np.asarray(x, float) ** 2) / 2) / math.sqrt(2 * math.pi),
)
"""Line of rigid solids such as agar."""

LINESHAPES: Mapping[str, Lineshape] = MappingProxyType(
    {shape.name: shape for shape in (SUPER_LORENTZIAN, LORENTZIAN, GAUSSIAN)}
)


def lineshape(name: str) -> Lineshape:
    """The line shape called ``name``.

    Raises
    ------
    DataError
        If there is none of that name.
    """
    if name not in LINESHAPES:
        raise DataError(f'lineshape "{name}" is unknown; use one of {", ".join(LINESHAPES)}')
    return LINESHAPES[name]
