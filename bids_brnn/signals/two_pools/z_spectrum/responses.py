"""What an MT pulse does to magnetization that arrives in a pool while it lasts.

Without exchange and ``R1``, a pool answers what it has at the start and what arrives at time
``t'`` linearly: ``z(t) = Z(t, 0) z(0) + int_0^t Z(t, t') q(t') dt'``. Exchange and ``R1`` are the
source ``q``, itself linear in ``z`` of both pools. Both pools are solved exactly: the free one by
Bloch's equations, the semi-solid one by the Volterra equation of the generalized Bloch model (doi
10.1002/mrm.29071). Times are in units of the pulse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.signals.two_pools.pulses.lineshapes import Lineshape
from bids_brnn.signals.two_pools.pulses.quadrature import gauss
from bids_brnn.signals.two_pools.z_spectrum.response_kernels import (
    free_response,
    lag_integrals,
    solid_response,
)

Array = NDArray[np.float64]

ELEMENTS, RADAU = 64, 4
"""Equal elements of the pulse, and nodes in each."""
_LEAST, _MOST, _PER_CYCLE = 3, 144, 4
"""Steps of Bloch's equations in an element, and for each turn."""
_GAUSS = 8  # points between two edges of the kernel
_PER = 64.0  # points of the Green's function per unit of log(1 + kappa)


@cache
def times() -> Array:
    """Gauss points of all elements, ``(E q,)`` in (0, 1); they are symmetric about the middle."""
    nodes, _ = gauss(RADAU)
    return ((np.arange(ELEMENTS)[:, None] + nodes) / ELEMENTS).ravel()


@cache
def weights() -> Array:
    """Of the integral over the pulse by values at :func:`times`."""
    return np.tile(gauss(RADAU)[1] / ELEMENTS, ELEMENTS)


@dataclass(frozen=True, eq=False)
class FreePool:
    """Responses of the free pool to pulses of one envelope, in a basis of functions of time.

    ``basis`` is ``(E q, p)``, values at :func:`times`.
    """

    pulse: MTPulse
    basis: Array

    def response(self, angle: float, detuning: float, R2f: float) -> Array:
        """Response ``(1 + p, 1 + p)``.

        Rows: ``Mz`` at the end and its moments with the basis; columns: of ``Mz = 1`` at the
        start, and of arrivals as the basis.
        """
        per = self._per_element(angle, detuning)
        coarse, fine = (self._stepped(angle, detuning, R2f, n)[0] for n in (per, 2 * per))
        return (4 * fine - coarse) / 3

    def path(self, angle: float, detuning: float, R2f: float) -> Array:
        """``Mz`` at :func:`times` from ``Mz = 1``, to 1e-3."""
        path = self._stepped(angle, detuning, R2f, self._per_element(angle, detuning))[1]
        return np.interp(times(), np.linspace(0, 1, len(path)), path)

    def _per_element(self, angle: float, detuning: float) -> int:
        turns = (abs(detuning) * self.pulse.duration + angle) / (2 * math.pi)
        return int(min(max(_LEAST, math.ceil(_PER_CYCLE * turns / ELEMENTS)), _MOST))

    def _stepped(self, angle: float, detuning: float, R2f: float, per: int) -> tuple[Array, Array]:
        shares, values = self._steps(per)
        n, p = len(shares), values.shape[1]
        out, path = np.empty((1 + p, 1 + p)), np.empty(n + 1)
        free_response(angle, detuning, R2f, shares, values, self.pulse.duration / n, out, path)
        return out, path

    def _steps(self, per: int) -> tuple[Array, Array]:
        if per not in self._known:
            n = ELEMENTS * per
            shares = self.pulse.envelope((np.arange(n) + 0.5) * self.pulse.duration / n)
            self._known[per] = (shares / shares.sum(), _interpolated(self.basis, per))
        return self._known[per]

    @cached_property
    def _known(self) -> dict[int, tuple[Array, Array]]:
        return {}


def _interpolated(basis: Array, per: int) -> Array:
    """A basis at the ends of ``per`` steps in each element, ``(E per + 1, p)``."""
    at = lagrange(gauss(RADAU)[0], np.arange(per + 1) / per)
    inner = np.einsum("sq,eqp->esp", at, basis.reshape(ELEMENTS, RADAU, -1))
    values = np.empty((ELEMENTS * per + 1, basis.shape[1]))
    values[:-1] = inner[:, :-1].reshape(ELEMENTS * per, -1)
    values[-1] = inner[-1, -1]
    # Polynomials of two elements need not meet.
    values[per:-1:per] = (inner[1:, 0] + inner[:-1, -1]) / 2
    return values


def lagrange(nodes: Array, at: Array) -> Array:
    """Matrix from values at ``nodes`` to values of the polynomial ``at`` other points."""
    q = len(nodes)
    to_powers = np.linalg.inv(np.vander(nodes, q, increasing=True))
    return np.asarray(np.vander(at, q, increasing=True) @ to_powers)


@dataclass(frozen=True, eq=False)
class SolidPool:
    """Responses of the semi-solid pool to pulses of one envelope."""

    pulse: MTPulse
    lineshape: Lineshape

    @cached_property
    def h(self) -> float:
        """Length of an element, s."""
        return self.pulse.duration / ELEMENTS

    @cached_property
    def w1(self) -> Array:
        """``(E, q)`` rad/s at the nodes, for a flip angle of 1 rad."""
        nodes, _ = radau(RADAU)
        at = (np.arange(ELEMENTS)[:, None] + nodes) * self.h
        return self.pulse.envelope(at) / self.pulse.area

    def memory(self, detuning: float, T2s: float) -> Array:
        """``(E, q, q)`` s: the kernel integrated over an element, by distance.

        Kernels oscillate within an element: their integral is projected, not sampled.
        """
        marks = np.asarray(np.arange(ELEMENTS + 1) * self.h, dtype=np.float64)
        edges, where = _refined(marks, abs(detuning), T2s)
        x, w = _rule(_GAUSS)
        after, before = _overlaps(RADAU)
        table = np.empty((ELEMENTS, after.shape[-1]))
        lag_integrals(
            edges, where, detuning, T2s, _green(self.lineshape), _PER, self.h, x, w, table
        )
        memory: Array = np.einsum("ijm,dm->dij", after, table)
        memory[1:] += np.einsum("ijm,dm->dij", before, table[:-1])
        return memory

    def paths(self, angles: Array, memory: Array, sources: Array) -> Array:
        """``Mz`` at :func:`times` and at the end by flip angle (rad), ``(n, E q + 1, 1 + p)``.

        From ``Mz = 1`` at the start, and of arrivals ``(E q, p)``.
        """
        _, integral = radau(RADAU)
        to_radau, to_points = _between()
        shaped = to_radau @ sources.reshape(ELEMENTS, RADAU, -1)
        # The collocation polynomial of an element starts where the one before ended.
        paths = np.empty((len(angles), ELEMENTS * RADAU + 1, 1 + sources.shape[1]))
        for angle, path in zip(angles.tolist(), paths, strict=True):
            solid_response(angle * self.w1, memory, self.h, integral, to_points, shaped, path)
        return paths

    def responses(self, angles: Array, memory: Array, basis: Array) -> Array:
        """As those of the free pool, by flip angle (rad), ``(n, 1 + p, 1 + p)``."""
        paths = self.paths(angles, memory, basis)
        moments = (basis * weights()[:, None]).T @ paths[:, :-1]
        return np.concatenate([paths[:, -1:], moments], axis=1)


def _refined(marks: Array, detuning: float, T2s: float) -> tuple[Array, NDArray[np.int64]]:
    """Lags between which kernel and oscillation are smooth, and where ``marks`` are in them."""
    cuts: list[Array] = [marks]
    # Green's functions change on the scale of T2s near 0, and of the lag itself far from it.
    powers = np.arange(-1, math.ceil(math.log2(marks[-1] / T2s)) + 1)
    near = np.asarray(T2s * 2.0**powers, dtype=np.float64)
    cuts.append(near[near < marks[-1]])
    wave = 2 * math.pi / max(detuning, 1e-9)
    if wave < marks[-1]:
        cuts.append(np.asarray(np.arange(1, int(marks[-1] / wave) + 1) * wave, np.float64))
    edges = np.unique(np.concatenate(cuts))
    edges = edges[edges <= marks[-1]]
    return edges, np.searchsorted(edges, marks).astype(np.int64)


@cache
def _between() -> tuple[Array, Array]:
    """From Gauss to Radau points of an element, and back from its start and Radau points."""
    (points, _), (nodes, _) = gauss(RADAU), radau(RADAU)
    return lagrange(points, nodes), lagrange(np.concatenate([[0.0], nodes]), points)


_rule = cache(gauss)


@cache
def radau(q: int) -> tuple[Array, Array]:
    """Nodes ``(q,)`` in (0, 1], the last at 1, and ``int_0^node`` by values there ``(q, q)``."""
    basis = np.polynomial.legendre.Legendre.basis
    roots = np.sort((basis(q) - basis(q - 1)).roots().real)
    roots[-1] = 1.0
    nodes = (roots + 1) / 2
    powers = np.arange(q)
    integrals = nodes[:, None] ** (powers + 1) / (powers + 1)
    return nodes, integrals @ np.linalg.inv(np.vander(nodes, q, increasing=True))


@cache
def _overlaps(q: int) -> tuple[Array, Array]:
    """Where the kernel at lag ``d + v`` between two elements leads, as polynomials in ``v``.

    The value at node ``i`` of the projection on polynomials of what the values at nodes ``j`` of
    the element ``d`` before leave at this lag: ``int proj_i(s) l_j(s - v) ds``.

    Returns
    -------
    after, before
        ``(q, q, 2 q)``: coefficients of ``v^m`` for ``v`` in [0, 1], and of ``(1 + v)^m`` for
        ``v`` in [-1, 0].
    """
    nodes, _ = radau(q)
    to_values = np.linalg.inv(np.vander(nodes, q, increasing=True))
    x, w = gauss(2 * q)
    place = (1 - np.cos(np.pi * (np.arange(2 * q) + 0.5) / (2 * q))) / 2
    result = []
    for sign in (1, -1):
        v = place if sign > 0 else place - 1
        low, high = np.maximum(v, 0), np.minimum(1 + v, 1)
        s = low[:, None] + (high - low)[:, None] * x
        project = _legendre(s, q) @ _legendre(nodes, q).T
        lagrange = (s - v[:, None])[..., None] ** np.arange(q) @ to_values
        values = np.einsum("vs,vsi,vsj->vij", w * (high - low)[:, None], project, lagrange)
        fitted = np.linalg.solve(
            np.vander(place, 2 * q, increasing=True), values.reshape(2 * q, -1)
        )
        result.append(fitted.T.reshape(q, q, 2 * q))
    return result[0], result[1]


def _legendre(at: Array, p: int) -> Array:
    """Orthonormal Legendre polynomials on [0, 1], ``(..., p)``."""
    values = np.polynomial.legendre.legvander(2 * at - 1, p - 1)
    return np.asarray(values * np.sqrt(2 * np.arange(p) + 1), dtype=np.float64)


@cache
def _green(lineshape: Lineshape) -> Array:
    """``G`` on a grid that is even in ``log(1 + kappa)``, from one point before 0."""
    values = lineshape.green(np.expm1(np.arange(12 * int(_PER) + 2) / _PER))
    # A line may have a cusp at 0: the point before it goes on as those after it.
    before = 4 * values[0] - 6 * values[1] + 4 * values[2] - values[3]
    return np.concatenate([[before], values])
