"""Chebyshev series of three variables, at the fields of a voxel and beyond, compiled."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit_in_place
from bids_brnn.signals.copying import put

Array = NDArray[Any]


@jit_in_place
def chebyshev(x: float, n: int, values: Array, slopes: Array) -> None:
    """Polynomials ``T_0 ... T_(n-1)`` and their slopes at ``x``."""
    values[0], slopes[0] = 1.0, 0.0
    if n > 1:
        values[1], slopes[1] = x, 1.0
    for k in range(2, n):
        values[k] = 2 * x * values[k - 1] - values[k - 2]
        slopes[k] = 2 * values[k - 1] + 2 * x * slopes[k - 1] - slopes[k - 2]


@jit_in_place
def over_fields(table: Array, shape: Array, m: int, x: Array, work: Array) -> None:
    """A table at two of its three variables: what is left depends on the third.

    Parameters
    ----------
    table
        ``(n1 n2 n3 m,)`` Chebyshev coefficients.
    shape
        ``(3,)``: n1, n2, n3.
    m
        Number of functions.
    x
        ``(>= 2,)`` in [-1, 1].
    work
        ``(6, >= n2 n3 m)``, at least twice as long as any axis. Rows 2 to 4: coefficients
        ``(n3 m,)`` of the values and of their slopes by the first and second variable; the last
        row is used for polynomials.
    """
    n1, n2, n3 = shape[0], shape[1], shape[2]
    most = max(n1, n2)
    values, slopes = work[5, :most], work[5, most : 2 * most]
    size = n2 * n3 * m
    chebyshev(x[0], n1, values, slopes)
    for k in range(size):
        work[0, k] = table[k]
        work[1, k] = 0.0
    for i in range(1, n1):
        f, g = values[i], slopes[i]
        part = table[i * size : (i + 1) * size]
        for k in range(size):
            work[0, k] += f * part[k]
            work[1, k] += g * part[k]
    size = n3 * m
    chebyshev(x[1], n2, values, slopes)
    for k in range(size):
        work[2, k], work[3, k], work[4, k] = work[0, k], work[1, k], 0.0
    for i in range(1, n2):
        f, g, start = values[i], slopes[i], i * size
        for k in range(size):
            work[2, k] += f * work[0, start + k]
            work[3, k] += f * work[1, start + k]
            work[4, k] += g * work[0, start + k]


@jit_in_place
def over_third(line: Array, n: int, m: int, x: float, work: Array, out: Array) -> None:
    """Values ``out[0]`` and slopes ``out[3]`` of ``m`` functions of the third variable.

    ``line`` holds their ``(n m,)`` Chebyshev coefficients; ``work`` is ``(>= 2 n,)``.
    """
    values, slopes = work[:n], work[n : 2 * n]
    chebyshev(x, n, values, slopes)
    for k in range(m):
        out[0, k], out[3, k] = line[k], 0.0
    for i in range(1, n):
        f, g = values[i], slopes[i]
        part = line[i * m : (i + 1) * m]
        for k in range(m):
            out[0, k] += f * part[k]
            out[3, k] += g * part[k]


@jit_in_place
def interpolate(
    table: Array, shape: Array, m: int, x: Array, work: Array, out: Array
) -> None:  # fmt: skip
    """Values ``out[0]`` and three slopes ``out[1:]`` of ``m`` functions of three variables.

    ``out`` is ``(4, >= m)``; all else is told in :func:`over_fields`.
    """
    over_fields(table, shape, m, x, work)
    n = shape[2]
    over_third(work[2], n, m, x[2], work[5], out)
    values = work[5, :n]  # polynomials in the third variable
    for row in (1, 2):
        line = work[2 + row]
        for k in range(m):
            out[row, k] = line[k]
        for i in range(1, n):
            part = line[i * m : (i + 1) * m]
            for k in range(m):
                out[row, k] += values[i] * part[k]


@jit_in_place
def series(
    points: Array, shapes: Array, places: Array, data: Array, work: Array, out: Array
) -> None:  # fmt: skip
    """Single functions of some tables at points.

    Parameters
    ----------
    points
        ``(V, 3)`` in [-1, 1].
    shapes, places
        ``(N, 3)`` and ``(N,)``: tables, and where they begin in ``data``; less than 0: 1.
    data
        Tables one after the other.
    work
        See :func:`over_fields`.
    out
        ``(V, N, 4)``, written: values and three slopes.
    """
    for v in range(points.shape[0]):
        for c in range(places.shape[0]):
            out[v, c, 0], out[v, c, 1:] = 1.0, 0.0
            if places[c] >= 0:
                found = out[v, c].reshape((4, 1))
                interpolate(data[places[c] :], shapes[c], 1, points[v], work, found)


@jit_in_place
def series_lines(
    points: Array, shapes: Array, places: Array, data: Array, work: Array, out: Array
) -> None:  # fmt: skip
    """What is left of these tables at two variables ``(V, 2)``: ``(V, N, most)``, written."""
    for v in range(points.shape[0]):
        for c in range(places.shape[0]):
            if places[c] >= 0:
                over_fields(data[places[c] :], shapes[c], 1, points[v], work)
                put(work[2, : shapes[c, 2]], out[v, c])


@jit_in_place
def series_along(
    x: Array, lines: Array, rows: Array, shapes: Array, places: Array, work: Array, out: Array
) -> None:  # fmt: skip
    """As :func:`series`, from ``lines[rows]`` at the third variable ``(V,)``.

    There are no slopes by the others (0). ``work`` is as long as two of the lines.
    """
    for v in range(x.shape[0]):
        for c in range(places.shape[0]):
            out[v, c, 0], out[v, c, 1:] = 1.0, 0.0
            if places[c] >= 0:
                found = out[v, c].reshape((4, 1))
                over_third(lines[rows[v], c], shapes[c, 2], 1, x[v], work, found)
