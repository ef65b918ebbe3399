"""A function of log x by cubic pieces, with its derivative, compiled; see ``absorption``."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit

Array = NDArray[Any]


@jit
def hermite(
    x: Array, values: Array, rises: Array, low: float, high: float, out: Array
) -> None:  # fmt: skip
    """Cubic Hermite pieces.

    Parameters
    ----------
    x
        ``(E,)``.
    values, rises
        ``(n,)`` at nodes that are even in log x from ``low`` to ``high``: the function, and by
        how much its tangent rises from node to node.
    out
        ``(2, E)``, written: values and slopes by x. Below the nodes the value at the first and
        slope 0, above them 0; NaN stays NaN.
    """
    n = values.shape[0]
    per = (n - 1) / math.log(high / low)
    for e in range(x.shape[0]):
        at = x[e]
        if not at < high:
            out[0, e] = out[1, e] = 0.0 * at if math.isnan(at) else 0.0
            continue
        place = math.log(max(at, low) / low) * per
        k = min(int(place), n - 2)
        t = place - k
        step = values[k + 1] - values[k]
        square, cubic = 3 * step - 2 * rises[k] - rises[k + 1], rises[k] + rises[k + 1] - 2 * step
        out[0, e] = values[k] + t * (rises[k] + t * (square + t * cubic))
        slope = rises[k] + t * (2 * square + 3 * t * cubic)
        out[1, e] = slope * per / at if at > low else 0.0
