"""Tables of what the MT pulses of a protocol do, by B1, off-resonance and transverse rates.

For each measurement the plane of B1 and w0 is cut into panels, halved where polynomials of low
degree do not suffice, and only where parameter sets fall. A panel holds the responses of both
pools (``responses``) in a basis of its own (``time_basis``) as Chebyshev polynomials in B1, w0 and
a third variable: ``R2f`` less the loss of the free pool, or ``log(T2s)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.two_pools.pulses.quadrature import chebyshev_points
from bids_brnn.signals.two_pools.z_spectrum.responses import FreePool, SolidPool, times
from bids_brnn.signals.two_pools.z_spectrum.time_basis import TimeBasis, time_basis

Array = NDArray[np.float64]
Line = Callable[[Array, float, float], Array]
"""Values ``(n, m)`` at ``n`` B1, one w0 and one of the third variable."""
Box = tuple[float, float, float, float]
"""Lower and upper bound of B1, and of w0."""

_TOLERANCE = 5e-7
"""Of coefficients that are left out. A steady state divides by 1 - R1 TR at most: 1e-5 of it."""
_PROBE, _ALLOWED = 9, 6
"""Points of a line through a panel, and degree at which it is halved."""
_THIRD = 14
_DEEPEST = 14


@dataclass(frozen=True)
class Ranges:
    """Third variables of the tables: lower and upper bound."""

    R2: tuple[float, float]
    """``R2f - kf - R1f``, 1/s."""
    log_T2s: tuple[float, float]

    @classmethod
    def of(cls, parameters: ParameterSet) -> Ranges:
        """Within the bounds of a model."""
        loss_high = parameters["Rx"].upper * parameters["m0s"].upper + parameters["R1f"].upper
        loss_low = parameters["Rx"].lower * parameters["m0s"].lower + parameters["R1f"].lower
        R2f, T2s = parameters["R2f"], parameters["T2s"]
        # Round-off of float32 must not leave the range.
        R2 = (R2f.lower - loss_high - 1e-3, R2f.upper - loss_low + 1e-3)
        return cls(R2, (math.log(T2s.lower) - 1e-6, math.log(T2s.upper) + 1e-6))

    @property
    def centres(self) -> Array:
        """Centre and half width of both, as the kernel reads them."""
        return np.array(
            [x for low, high in (self.R2, self.log_T2s) for x in ((low + high) / 2,
             (high - low) / 2)]
        )  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """Tables within a box."""

    box: Box
    basis: TimeBasis
    free: Array
    """``(n1, n2, n3, m)`` Chebyshev coefficients of packed responses."""
    solid: Array
    """``(2, n1, n2, n3, m)``: of the lower and the upper half of ``log(T2s)``."""


@dataclass(frozen=True, eq=False)
class Pulse:
    """One measurement: responses of both pools by B1, w0 and a third variable."""

    angle: float
    """rad."""
    offset: float
    """Hz."""
    solid_pool: SolidPool
    ranges: Ranges

    def detuning(self, w0: float) -> float:
        """Between pulse and water, rad/s."""
        return 2 * math.pi * self.offset - w0

    def build(self, box: Box, depth: int) -> Panel | int:
        """The panel of a box, or 0 or 1: along B1 or w0 it is too wide."""
        memory = cache(self.solid_pool.memory)
        found, values = None, np.empty((len(times()), 0))
        for axes in (2, 3):  # along B1 and w0 without moments first: that is quick
            if axes == 3:
                found = self._basis(box)
                values = found.values
            free, solid = self._free(values), self._solid(values, memory)
            low, high = self.ranges.log_T2s
            middle = (low + high) / 2
            bounds = [
                (*box, *self.ranges.R2), (*box, low, middle), (*box, middle, high),
            ]  # fmt: skip
            functions = (free, solid, solid)
            degrees = [_degrees(f, b, axes) for f, b in zip(functions, bounds, strict=True)]
            largest = [max(degree[axis] for degree in degrees) for axis in range(2)]
            if max(largest) > _ALLOWED and depth < _DEEPEST:
                return int(np.argmax(largest))
        assert found is not None
        both = [max(pair) for pair in zip(*degrees[1:], strict=True)]
        halves = [chebyshev(solid, limits, both) for limits in bounds[1:]]
        return Panel(box, found, chebyshev(free, bounds[0], degrees[0]), np.stack(halves))

    def _free(self, basis: Array) -> Line:
        pool = FreePool(self.solid_pool.pulse, basis)

        def line(B1s: Array, w0: float, R2: float) -> Array:
            detuning = self.detuning(w0)
            return pack(np.stack([pool.response(self.angle * B1, detuning, R2) for B1 in B1s]))

        return line

    def _solid(self, basis: Array, memory: Callable[[float, float], Array]) -> Line:
        def line(B1s: Array, w0: float, log_T2s: float) -> Array:
            kernel = memory(self.detuning(w0), math.exp(log_T2s))
            return pack(self.solid_pool.responses(self.angle * B1s, kernel, basis))

        return line

    def _basis(self, box: Box) -> TimeBasis:
        B1 = np.array([box[0], (box[0] + box[1]) / 2, box[1]])
        w0 = np.array([box[2], (box[2] + box[3]) / 2, box[3]])
        low, high = self.ranges.log_T2s
        T2s = np.exp(np.linspace(low, high, 4))
        return time_basis(self.solid_pool, self.angle * B1, 2 * math.pi * self.offset - w0, T2s)


def pack(whole: Array) -> Array:
    """Independent values of responses: end, moments of the start, moments of arrivals."""
    p = whole.shape[-1] - 1
    rows, columns = _upper(p)
    return np.concatenate(
        [whole[:, 0, :1], whole[:, 1:, 0], whole[:, 1 + rows, 1 + columns]], axis=1
    )


@cache
def _upper(p: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(p)


def _nodes(low: float, high: float, n: int) -> Array:
    return (low + high) / 2 + (high - low) / 2 * chebyshev_points(n)


def _coefficients(values: Array, axis: int) -> Array:
    """Chebyshev coefficients from values at the zeros of the next polynomial."""
    n = values.shape[axis]
    vander = np.polynomial.chebyshev.chebvander(chebyshev_points(n), n - 1)
    inverse = vander.T * 2 / n
    inverse[0] /= 2
    return np.moveaxis(np.tensordot(inverse, values, axes=(1, axis)), 0, axis)


def _degrees(line: Line, bounds: tuple[float, ...], axes: int) -> list[int]:
    """Numbers of coefficients needed along three lines through the panel, or the first two."""
    result = []
    for axis in range(axes):
        n = _THIRD if axis == 2 else _PROBE
        at = [(bounds[2 * k] + 3 * bounds[2 * k + 1]) / 4 for k in range(3)]
        nodes = _nodes(bounds[2 * axis], bounds[2 * axis + 1], n)
        if axis == 0:
            values = line(nodes, at[1], at[2])
        else:
            rows = []
            for x in nodes.tolist():
                at[axis] = x
                rows.append(line(np.array(at[:1]), at[1], at[2])[0])
            values = np.stack(rows)
        sizes = np.abs(_coefficients(values, 0))
        large = np.flatnonzero((sizes > _TOLERANCE).any(1))
        result.append(int(large[-1]) + 1 if len(large) else 1)
    return result


def chebyshev(line: Line, bounds: tuple[float, ...], n: list[int]) -> Array:
    """Table ``(n1, n2, n3, m)`` of functions that are given along B1."""
    axes = [_nodes(bounds[2 * k], bounds[2 * k + 1], n[k]) for k in range(3)]
    values = np.stack(
        [np.stack([line(axes[0], float(w0), float(x)) for x in axes[2]], 1) for w0 in axes[1]], 1
    )
    for axis in range(3):
        values = _coefficients(values, axis)
    return values
