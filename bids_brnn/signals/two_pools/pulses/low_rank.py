"""Quantities of every pulse of a train as low-rank functions of (T2s, B1).

A saturation factor is a smooth function of T2s and B1 for each pulse, and the pulses of a train
resemble each other: all of them are combinations of a few functions. Evaluating those few and one
matrix product replaces thousands of look-ups per fingerprint, with exact derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_brnn.signals.two_pools.pulses.saturation import fit_series

Array = NDArray[np.float64]
Range = tuple[float, float]

_NODES = (20, 14)  # in log T2s, B1^2: round-off for the ranges of the parameter table


@dataclass(frozen=True, eq=False)
class PulseMaps:
    """``value_m(T2s, B1) = sum_r weights[m, r] feature_r(T2s, B1)``."""

    weights: Array
    """``(pulses, rank)``."""
    coefficients: Array
    """``(rank, a, b)``: Chebyshev coefficients of the features in ``log T2s`` and ``B1^2``, each
    scaled to [-1, 1] over its range."""
    T2s_range: Range
    B1_range: Range

    @classmethod
    def fit(
        cls,
        function: Callable[[Array, Array, Array], Array],
        duration: Array,
        flip: Array,
        T2s_range: Range,
        B1_range: Range,
        *,
        tolerance: float = 1e-10,
    ) -> PulseMaps:
        """Tabulate ``function`` for pulses and keep what exceeds ``tolerance``.

        Parameters
        ----------
        function
            Maps T2s ``(A,)``, durations ``(M, 1)`` and actual flip angles ``(M, B)`` to
            ``(M, A, B)``.
        duration, flip
            Of the pulses, ``(M,)``; nominal flip angles, rad.
        T2s_range, B1_range
            Domain of the maps.
        tolerance
            Root of the summed squares of what is left out, relative to the largest coefficient.
        """
        if duration.size == 0:  # a train without RF
            return cls(np.zeros((1, 1)), np.zeros((1, *_NODES)), T2s_range, B1_range)
        pulses, where = np.unique(np.stack([duration, flip], axis=1), axis=0, return_inverse=True)
        unit = [np.cos(np.pi * (np.arange(n) + 0.5) / n) for n in _NODES]
        low, high = np.log(T2s_range)
        T2s = np.exp(low + (high - low) * (unit[0] + 1) / 2)
        low, high = np.square(B1_range)
        B1 = np.sqrt(low + (high - low) * (unit[1] + 1) / 2)
        series = fit_series(function(T2s, pulses[:, :1], pulses[:, 1:] * B1))
        left, size, right = np.linalg.svd(series.reshape(len(pulses), -1), full_matrices=False)
        tail = np.sqrt(np.cumsum(size[::-1] ** 2))[::-1]
        rank = max(1, int(np.sum(tail > tolerance * np.abs(series).max())))
        return cls(
            (left[:, :rank] * size[:rank])[where.reshape(-1)],
            right[:rank].reshape(rank, *_NODES),
            T2s_range,
            B1_range,
        )

    def features(self, T2s: Tensor, B1: Tensor) -> Tensor:
        """The few functions ``(..., rank)`` of T2s and B1 ``(...)``; differentiable."""
        low, high = math.log(self.T2s_range[0]), math.log(self.T2s_range[1])
        x = _chebyshev(2 * (T2s.log() - low) / (high - low) - 1, _NODES[0])
        low, high = self.B1_range[0] ** 2, self.B1_range[1] ** 2
        y = _chebyshev(2 * (B1**2 - low) / (high - low) - 1, _NODES[1])
        coefficients = T2s.new_tensor(self.coefficients)
        result: Tensor = (
            (x @ coefficients.movedim(0, -2).flatten(1)).unflatten(-1, coefficients.shape[::2])
            * y[..., None, :]
        ).sum(-1)
        return result

    def __call__(self, T2s: Tensor, B1: Tensor) -> Tensor:
        """Values of all pulses, ``(..., pulses)``."""
        return self.features(T2s, B1) @ T2s.new_tensor(self.weights).mT


def _chebyshev(x: Tensor, n: int) -> Tensor:
    """Chebyshev polynomials ``T_0 ... T_{n-1}`` along a new last axis."""
    terms = [torch.ones_like(x), x]
    while len(terms) < n:
        terms.append(2 * x * terms[-1] - terms[-2])
    return torch.stack(terms[:n], dim=-1)
