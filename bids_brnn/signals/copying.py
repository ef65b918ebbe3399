"""Copies within compiled code, which Numba makes of ``out[:] = values`` by way of a new array."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit_in_place


@jit_in_place
def put(values: NDArray[Any], out: NDArray[Any]) -> None:
    """Values ``(n,)`` into ``out``."""
    for i in range(values.shape[0]):
        out[i] = values[i]


@jit_in_place
def put_matrix(values: NDArray[Any], out: NDArray[Any]) -> None:
    """Values ``(n, m)`` into ``out``."""
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            out[i, j] = values[i, j]
