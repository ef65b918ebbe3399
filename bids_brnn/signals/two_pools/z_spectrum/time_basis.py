"""Functions of time in which exchange during an MT pulse is resolved.

Sources of exchange are projected on a few functions (trial and test functions are the same, so
that what is left out enters with its square). These are the leading ones of what the semi-solid
pool does under the pulse, for the parameters of a panel: after the loss of the free pool is taken
out exactly, it is only through the semi-solid pool that exchange acts more than once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_brnn.signals.two_pools.z_spectrum.pulse_kernel import POWERS
from bids_brnn.signals.two_pools.z_spectrum.responses import FreePool, SolidPool, times, weights

Array = NDArray[np.float64]

MOST = 22
"""Functions at most."""
_LEFT_OUT = 2e-3  # singular value over the largest; its square times exchange is the error
_LOSSES = (0.0, 40.0, 100.0)  # 1/s
_R2F = (0.0, 60.0)  # 1/s


@dataclass(frozen=True)
class TimeBasis:
    """Orthonormal functions on the pulse, even or odd about its middle."""

    values: Array
    """``(E q, p)`` at :func:`..responses.times`."""
    parity: Array
    """``(p,)``, 1 or -1."""

    @property
    def constants(self) -> Array:
        """Parities, integrals, and ``int phi phi^T (t - 1/2)^m / m!``, as the kernel reads."""
        weighted = self.values * weights()[:, None]
        powers = [
            (weighted * (times()[:, None] - 0.5) ** m).T @ self.values / math.factorial(m)
            for m in range(POWERS)
        ]
        return np.concatenate([self.parity, weighted.sum(0), np.ravel(powers)])


def time_basis(solid: SolidPool, angles: Array, detunings: Array, T2s: Array) -> TimeBasis:
    """The basis of pulses of these flip angles (rad) and detunings (rad/s) on pools of T2s (s)."""
    t, w = times(), weights()
    free = FreePool(solid.pulse, np.zeros((len(t), 1)))
    found = []
    for detuning in detunings:
        memories = [solid.memory(detuning, value) for value in T2s]
        for angle in angles:
            paths = [free.path(angle, detuning, R2f) for R2f in _R2F]
            sources = np.stack([np.ones_like(t), *paths], axis=1)
            at = np.array([angle])
            found += [solid.paths(at, memory, sources)[0, :-1] for memory in memories]
    shapes = np.concatenate(found, axis=1)
    tilted = [
        shapes * np.exp(sign * loss * solid.pulse.duration * t)[:, None]
        for loss in _LOSSES
        for sign in ((1, -1) if loss else (1,))
    ]
    shapes = np.concatenate(tilted, axis=1)
    shapes = shapes * np.sqrt(w)[:, None]
    shapes /= np.linalg.norm(shapes, axis=0)
    half = len(t) // 2  # an even or odd function is told by the first half of the pulse
    modes, sizes, parities = [], [], []
    for parity in (1.0, -1.0):
        part = (shapes[:half] + parity * shapes[: half - 1 : -1]) / math.sqrt(2)
        squares, vectors = np.linalg.eigh(part @ part.T)
        modes.append(np.concatenate([vectors, parity * vectors[::-1]]) / math.sqrt(2))
        sizes.append(np.sqrt(squares.clip(0)))
        parities.append(np.full(half, parity))
    size = np.concatenate(sizes)
    order = np.argsort(-size)
    count = int((size > _LEFT_OUT * size.max()).sum())
    order = order[: min(max(count, 3), MOST)]
    values = np.concatenate(modes, axis=1)[:, order] / np.sqrt(w)[:, None]
    return TimeBasis(np.ascontiguousarray(values), np.concatenate(parities)[order])
