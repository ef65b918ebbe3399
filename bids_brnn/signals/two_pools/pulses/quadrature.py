"""Points and weights of the integrals and series over one RF pulse."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def gauss(n: int) -> tuple[Array, Array]:
    """Points and weights ``(n,)`` of the Gauss-Legendre rule on [0, 1]."""
    x, w = np.polynomial.legendre.leggauss(n)
    return (x + 1) / 2, w / 2


def lobatto_points(n: int) -> Array:
    """Chebyshev-Lobatto points ``(n,)`` on [0, 1], both ends included, rising."""
    points: Array = (1 - np.cos(np.pi * np.arange(n) / (n - 1))) / 2
    return points


def chebyshev_angles(n: int) -> Array:
    """Angles ``(n,)`` of the zeros of a Chebyshev polynomial, rad."""
    angles: Array = np.pi * (np.arange(n) + 0.5) / n
    return angles


def chebyshev_points(n: int) -> Array:
    """Zeros ``(n,)`` of a Chebyshev polynomial, in (-1, 1), falling."""
    points: Array = np.cos(chebyshev_angles(n))
    return points
