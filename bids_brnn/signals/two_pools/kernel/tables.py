"""Pulses as the compiled generalized Bloch kernel knows them, before it sees a parameter set.

One pulse of duration ``T`` is one step (theory in ``docs/theory/fast_qmt.md``): an exact rotation
of the free pool, the saturation ``S`` of the semi-solid pool, and corrections of first order in
the rates times ``T``. The corrections are averages over the pulse that depend on the pulse, T2s
and B1 only. Here they are tabulated, and written as a few functions of (T2s, B1) with weights per
pulse, so that the kernel needs a handful of products where it would need exponentials.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from bids_brnn.signals.two_pools.pulses.averages import averages, free_averages
from bids_brnn.signals.two_pools.pulses.lineshapes import Lineshape
from bids_brnn.signals.two_pools.pulses.saturation import fit_series

Array = NDArray[np.float64]
Range = tuple[float, float]

_NODES = (14, 12)
"""Chebyshev terms in log T2s and B1^2."""
_TOLERANCE = {
    "S": 5e-6, "hx": 2e-4, "hz": 2e-4, "hs": 2e-4, "hj": 5e-4, "hy": 5e-4, "hxx": 1e-3,
    "hzz": 1e-3, "kxx": 3e-3, "kxz": 3e-3, "kzz": 3e-3,
}  # fmt: skip
"""Largest error. All but the saturation are multiplied by rates times T (Rx T < 0.02), those of
second order by such a number squared, hy by the off-resonance angle, hxx and hzz by its square."""
_SAMPLES, _MIXTURES = 400, 32
_FREE_TOLERANCE = {
    "g": 1e-4, "gxy": 5e-4, "gyz": 5e-4, "gxx": 1e-3, "gxz": 1e-3, "gyy": 1e-3, "gzz": 1e-3,
    "qxx": 5e-3, "qxz": 5e-3, "qzz": 5e-3, "ax": 2e-3, "ay": 2e-3, "az": 2e-3,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class LowRank:
    """``value_m(T2s, B1) = sum_k weights[m, k] feature_k(T2s, B1)`` for pulses ``m``."""

    name: str
    weights: Array
    """``(pulses, rank)``."""
    series: Array
    """``(rank, 14, 12)``; one T2s term only where the function does not depend on T2s."""

    @property
    def rank(self) -> int:
        """Number of features."""
        return int(self.weights.shape[1])

    @property
    def by_T2s(self) -> bool:
        """Whether there is a derivative with respect to T2s."""
        return bool(self.series.shape[1] > 1)

    def padded(self, least: int) -> LowRank:
        """With terms that add nothing, to ``least`` or an even rank: programs can be shared."""
        more = max(least - self.rank, self.rank % 2 if self.rank > least else 0)
        return LowRank(
            self.name,
            np.pad(self.weights, ((0, 0), (0, more))),
            np.pad(self.series, ((0, more), (0, 0), (0, 0))),
        )


def pulse_tables(
    flip: Array, duration: Array, lineshape: Lineshape, T2s_range: Range, B1_range: Range
) -> tuple[LowRank, ...]:
    """Saturation and averages of given pulses.

    Parameters
    ----------
    flip, duration
        Nominal flip angle in rad and duration in s, ``(M,)``, both positive.
    T2s_range, B1_range
        Domain; ``B1 * flip`` must stay below ``saturation.RATE_LIMIT``.

    Returns
    -------
    tuple of LowRank
        Those that :mod:`~bids_brnn.signals.two_pools.pulses.averages` names, ``S`` first.
    """
    T2s = np.exp(_stretch(_nodes(_NODES[0]), *np.log(T2s_range)))
    B1 = np.sqrt(_stretch(_nodes(_NODES[1]), *np.square(B1_range)))
    if not len(flip):  # a class without pulses
        sizes = [(name, _NODES[0]) for name in _TOLERANCE] + [
            (name, 1) for name in _FREE_TOLERANCE
        ]
        return tuple(
            LowRank(name, np.zeros((0, 0)), np.zeros((0, size, _NODES[1]))) for name, size in sizes
        )
    beta = flip[:, None] * B1
    solid = averages(lineshape, duration[:, None] / T2s, beta)
    free = free_averages(beta)
    return tuple(
        [_compress(name, solid[name], tolerance) for name, tolerance in _TOLERANCE.items()]
        + [
            _compress(name, free[name][:, None, :], tolerance)
            for name, tolerance in _FREE_TOLERANCE.items()
        ]
    )


def _compress(name: str, values: Array, tolerance: float) -> LowRank:
    """Fewest singular vectors with which no value is off by more than ``tolerance``."""
    matrix = values.reshape(len(values), -1)
    some, vectors = _leading_vectors(matrix)
    low, high = 0, vectors.shape[1]
    while low < high:
        rank = (low + high) // 2
        kept = (some @ vectors[:, :rank]) @ vectors[:, :rank].T
        low, high = (low, rank) if np.abs(kept - some).max() <= tolerance else (rank + 1, high)
    modes = vectors[:, :low].T.reshape(low, *values.shape[1:])
    modes = fit_series(modes) if values.shape[1] > 1 else _fit_last(modes)
    return LowRank(name, matrix @ vectors[:, :low], modes)


def _leading_vectors(matrix: Array) -> tuple[Array, Array]:
    """Rows that tell the rank, and right singular vectors, largest first.

    Pulses come sorted and resemble their neighbours, hence some rows stand for all; and a few
    random mixtures of rows span what all rows span, to far below the tolerances.
    """
    some = matrix[:: max(1, len(matrix) // _SAMPLES)]
    mixtures = some
    if len(some) > _MIXTURES:
        mixtures = np.random.default_rng(0).normal(size=(_MIXTURES, len(some))) @ some
    span = np.linalg.svd(mixtures, full_matrices=False)[2].T
    reduced = some @ span
    vectors: Array = span @ np.linalg.eigh(reduced.T @ reduced)[1][:, ::-1]
    return some, vectors


def _fit_last(values: Array) -> Array:
    """Chebyshev coefficients over the last axis."""
    return fit_series(np.stack([values[:, 0]] * 2, axis=1))[:, :1]


class Features:
    """Features of all tables with their derivatives.

    For each table: values, derivatives with respect to B1, and (where :attr:`LowRank.by_T2s`)
    derivatives with respect to T2s, each ``rank`` columns.

    Parameters
    ----------
    tables
        ``K`` features of T2s and B1, ``L`` of B1 alone.
    ranges
        Domain of T2s and B1.
    """

    def __init__(self, tables: tuple[LowRank, ...], ranges: tuple[Range, Range]) -> None:
        self._log = np.log(ranges[0])
        self._square = np.square(ranges[1])
        self._slopes = [chebyshev.chebder(np.eye(n)).astype(np.float64) for n in _NODES]
        both = [t for t in tables if t.by_T2s]
        alone = [t for t in tables if not t.by_T2s]
        self._both = np.concatenate([t.series for t in both]).reshape(-1, _NODES[0] * _NODES[1]).T
        self._alone = np.concatenate([t.series[:, 0] for t in alone]).T
        self._order = self._places(tables)
        columns = np.flatnonzero(self._order >= 3 * self._both.shape[1])
        self._free = columns, self._order[columns] - 3 * self._both.shape[1]
        """Columns that are functions of B1 alone, and where these are found."""

    def _places(self, tables: tuple[LowRank, ...]) -> NDArray[np.int64]:
        """Where each column of the result is found in: three times K columns, two times L."""
        n_both, n_alone = self._both.shape[1], self._alone.shape[1]
        places, start, other = [], 0, 3 * n_both
        for table in tables:
            own = np.arange(table.rank)
            if table.by_T2s:
                places += [start + own + k * n_both for k in range(3)]
                start += table.rank
            else:
                places += [other + own + k * n_alone for k in range(2)]
                other += table.rank
        return np.concatenate(places)

    def __call__(self, theta: Array, *, slopes: bool, solid: bool = True) -> Array:
        """``(..., V, total)`` for parameters ``(..., V, 8)``; zeros for what is not asked for.

        That is derivatives without ``slopes``, and functions of T2s without ``solid``. Matrix
        products are over ``V`` rows each: numbers are the same, bit for bit, however many blocks
        of ``V`` come together.
        """
        (log_low, log_high), (low, high) = self._log, self._square
        T2s, B1 = theta[..., 5], theta[..., 7]
        y, dy = self._vandermonde(2 * (B1**2 - low) / (high - low) - 1, 1)
        dy *= (4 * B1 / (high - low))[..., None]
        alone = [y @ self._alone, dy @ self._alone]
        if not solid:
            found = np.zeros((*T2s.shape, len(self._order)))
            found[..., self._free[0]] = np.concatenate(alone, axis=-1)[..., self._free[1]]
            return found
        x, dx = self._vandermonde(2 * (np.log(T2s) - log_low) / (log_high - log_low) - 1, 0)
        dx *= (2 / (log_high - log_low) / T2s)[..., None]
        pairs = ((x, y), (x, dy), (dx, y)) if slopes else ((x, y),)
        outer = np.stack([a[..., :, None] * b[..., None, :] for a, b in pairs], axis=-4)
        rows = (len(pairs) * T2s.shape[-1], self._both.shape[0])
        # One product: what it costs to lay out the tables is shared by all rows.
        found = outer.reshape(*T2s.shape[:-1], *rows) @ self._both
        kinds = np.split(found, len(pairs), axis=-2)
        value, by_B1, by_T2s = kinds if slopes else (*kinds, *[np.zeros_like(found)] * 2)
        parts = [value, by_B1, by_T2s, *alone]
        return np.concatenate(parts, axis=-1)[..., self._order]

    def _vandermonde(self, x: Array, axis: int) -> tuple[Array, Array]:
        """Chebyshev polynomials ``T_0 ... T_{n-1}`` and their derivatives, ``n`` along an axis."""
        values: Array = chebyshev.chebvander(x, _NODES[axis] - 1).astype(np.float64)
        slopes: Array = np.matmul(values[..., :-1], self._slopes[axis])
        return values, slopes


def _nodes(n: int) -> Array:
    result: Array = np.cos(np.pi * (np.arange(n) + 0.5) / n)
    return result


def _stretch(x: Array, low: Any, high: Any) -> Array:
    result: Array = low + (high - low) * (x + 1) / 2
    return result
