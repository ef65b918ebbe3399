"""The quadratic of one voxel in a box, compiled: Cholesky's factor and the active-set method."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit, jit_in_place

Array = NDArray[Any]

_EPS = float(np.finfo(np.float64).eps)
_TINY = float(np.finfo(np.float64).tiny)


@jit_in_place
def factorise(matrix: Array, skip: Array, scale: Array, factor: Array) -> bool:
    """Cholesky's lower factor of a matrix scaled to unit diagonal; False if there is none.

    Parameters
    ----------
    matrix
        ``(F, F)`` symmetric.
    skip
        ``(F,)`` flags of rows and columns that count as those of the unit matrix.
    scale
        ``(F,)``, written: what each coordinate is multiplied by, 0 where it is skipped.
    factor
        ``(F, F)``, written in its lower half.
    """
    n = matrix.shape[0]
    for i in range(n):
        scale[i] = 0.0 if skip[i] else 1 / math.sqrt(max(matrix[i, i], _TINY))
    for i in range(n):
        for j in range(i):
            total = scale[i] * scale[j] * matrix[i, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            factor[i, j] = total * factor[j, j]
        total = 1.0
        if not skip[i]:
            total = scale[i] * scale[i] * matrix[i, i]
        for k in range(i):
            total -= factor[i, k] * factor[i, k]
        if not total > 0:
            return False
        # The diagonal holds the inverse, which is what is needed.
        factor[i, i] = 1 / math.sqrt(total)
    return True


@jit_in_place
def solve_factored(factor: Array, scale: Array, right: Array) -> None:
    """``right`` becomes the solution, by :func:`factorise`."""
    n = right.shape[0]
    for i in range(n):
        total = right[i] * scale[i]
        for k in range(i):
            total -= factor[i, k] * right[k]
        right[i] = total * factor[i, i]
    for i in range(n - 1, -1, -1):
        total = right[i]
        for k in range(i + 1, n):
            total -= factor[k, i] * right[k]
        right[i] = total * factor[i, i]
    for i in range(n):
        right[i] *= scale[i]


@jit_in_place
def solve_free(
    matrix: Array, gradient: Array, held: Array, step: Array, factor: Array, scale: Array,
    target: Array
) -> None:  # fmt: skip
    """Minimum over the coordinates that are not ``held``, the others keeping their ``step``."""
    n = gradient.shape[0]
    for i in range(n):
        target[i] = 0.0
        if not held[i]:
            total = -gradient[i]
            for j in range(n):
                if held[j]:
                    total -= matrix[i, j] * step[j]
            target[i] = total
    good = factorise(matrix, held, scale, factor)
    if good:
        solve_factored(factor, scale, target)
        for i in range(n):
            good = good and math.isfinite(target[i])
    if not good:
        # A matrix that is singular to working precision still gives a way down: scaled descent.
        for i in range(n):
            total = -gradient[i]
            for j in range(n):
                if held[j]:
                    total -= matrix[i, j] * step[j]
            target[i] = total * scale[i] * scale[i]
    for i in range(n):
        if held[i]:
            target[i] = step[i]


@jit_in_place
def minimise_in_box(
    matrix: Array, gradient: Array, lower: Array, upper: Array, held: Array, factor: Array,
    work: Array, step: Array
) -> None:  # fmt: skip
    """Minimise ``gradient.d + d.matrix.d / 2`` for ``lower <= d <= upper``.

    Primal active-set method (Nocedal & Wright, Numerical Optimization, 16.5): go towards the
    minimum over the free coordinates until one meets a bound, hold that one; at the minimum, free
    the one that pulls inwards most; end when none does. Every pass lowers the value, so that the
    result is a way down even if the passes run out.

    Parameters
    ----------
    matrix
        ``(F, F)``, symmetric positive definite.
    gradient, lower, upper
        ``(F,)``; ``lower <= 0 <= upper``.
    held, factor, work
        ``(F,)`` flags, ``(F, F)`` and ``(3, F)``, overwritten.
    step
        ``(F,)``, written.
    """
    n = gradient.shape[0]
    scale, target, share = work[0], work[1], work[2]
    nothing = 0.0
    for i in range(n):
        held[i] = (lower[i] >= 0 and gradient[i] > 0) or (upper[i] <= 0 and gradient[i] < 0)
        step[i] = 0.0
        size = abs(gradient[i]) / math.sqrt(max(matrix[i, i], _TINY))
        nothing = max(nothing, 100 * _EPS * size)
    for _ in range(5 * n):
        solve_free(matrix, gradient, held, step, factor, scale, target)
        reach = 1.0
        for i in range(n):
            move = target[i] - step[i]
            share[i] = math.inf
            if move != 0.0 and not held[i]:
                room = upper[i] - step[i] if move > 0 else step[i] - lower[i]
                share[i] = room / abs(move)
                reach = min(reach, share[i])
        met_any = False
        worst, most = -1, nothing
        for i in range(n):
            move = target[i] - step[i]
            if not held[i] and share[i] <= reach:
                step[i] = upper[i] if move > 0 else lower[i]
                share[i] = -1.0
                met_any = True
            elif not held[i]:
                step[i] += reach * move
        if reach == 1.0 and not met_any:
            for i in range(n):
                if held[i]:
                    pull = gradient[i]
                    for j in range(n):
                        pull += matrix[i, j] * step[j]
                    # Inwards from the upper bound is a positive slope, from the lower a negative.
                    inwards = pull if step[i] >= upper[i] else -pull
                    inwards /= math.sqrt(max(matrix[i, i], _TINY))
                    if inwards > most:
                        worst, most = i, inwards
            if worst < 0:
                return
            held[worst] = False
        for i in range(n):
            held[i] = held[i] or share[i] == -1.0


@jit
def minimise_all(matrix: Array, gradient: Array, lower: Array, upper: Array, step: Array) -> None:
    """:func:`minimise_in_box` of ``(B, F, F)`` and ``(B, F)``."""
    n = gradient.shape[1]
    held, factor, work = np.empty(n, np.bool_), np.empty((n, n)), np.empty((3, n))
    for b in range(gradient.shape[0]):
        minimise_in_box(
            matrix[b], gradient[b], lower[b], upper[b], held, factor, work, step[b]
        )  # fmt: skip
