"""Points of voxels as parameter sets, and the cost of real signals there, compiled."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit_in_place
from bids_brnn.signals.copying import put

Array = NDArray[Any]


@jit_in_place
def points(
    unit: Array, rows: Array, known: Array, free: Array, lower: Array, span: Array, upper: Array,
    theta: Array
) -> None:  # fmt: skip
    """Parameter sets ``(B, P)``, written, of points in unit coordinates.

    Parameters
    ----------
    unit
        ``(B, F)`` in [0, 1].
    rows
        ``(B,)``: voxels.
    known
        ``(V, P)``: values that are known of each voxel.
    free, lower, span, upper
        ``(F,)``: columns that are estimated, and their bounds.
    """
    for b in range(rows.shape[0]):
        put(known[rows[b]], theta[b])
        for f in range(free.shape[0]):
            # Round-off must not lead out of the bounds that a model relies on.
            theta[b, free[f]] = min(lower[f] + unit[b, f] * span[f], upper[f])


@jit_in_place
def costs(
    signal: Array, rows: Array, data: Array, weight: Array, given: Array, out: Array
) -> None:
    """Costs ``(B,)``, written, of real signals and data.

    Parameters
    ----------
    signal
        ``(B, R)``.
    rows, data, weight, given
        ``(B,)``: voxels; for the others see :func:`.iteration_kernel.iterate`.
    """
    for b in range(rows.shape[0]):
        v = rows[b]
        energy, top = 0.0, 0.0
        for k in range(signal.shape[1]):
            a = weight[k] * signal[b, k]
            energy += a * a
            top += a * data[v, k].real
        m0 = top / energy if math.isnan(given[v]) else given[v]
        cost = 0.0
        for k in range(signal.shape[1]):
            left = data[v, k].real - m0 * (weight[k] * signal[b, k])
            cost += left * left
        out[b] = cost
