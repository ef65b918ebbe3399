"""A function of log x by cubic pieces, with its derivative, compiled; see ``absorption``."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit_in_place

Array = NDArray[Any]


@jit_in_place
def piece(
    x: float, values: Array, rises: Array, low: float, high: float, per: float
) -> tuple[float, float]:  # fmt: skip
    """A function of log x by cubic Hermite pieces: value, and slope by x.

    Parameters
    ----------
    x
        At least 0.
    values, rises
        ``(n,)`` at nodes that are even in log x from ``low`` to ``high``: the function, and by
        how much its tangent rises from node to node.
    per
        Nodes per unit of log x.

    Returns
    -------
    value, slope
        Below the nodes the value at the first and slope 0, above them 0; NaN stays NaN.
    """
    n = values.shape[0]
    if not x < high:
        nothing = 0.0 * x if math.isnan(x) else 0.0
        return nothing, nothing
    place = math.log(max(x, low) / low) * per
    k = min(int(place), n - 2)
    t = place - k
    step = values[k + 1] - values[k]
    square, cubic = 3 * step - 2 * rises[k] - rises[k + 1], rises[k] + rises[k + 1] - 2 * step
    value = values[k] + t * (rises[k] + t * (square + t * cubic))
    slope = rises[k] + t * (2 * square + 3 * t * cubic)
    return value, slope * per / x if x > low else 0.0
