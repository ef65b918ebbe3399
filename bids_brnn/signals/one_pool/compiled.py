"""The extended phase graph on the CPU, compiled: tables, lanes and threads around the kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_brnn.signals.one_pool import kernel
from bids_brnn.signals.one_pool.kernel import LANES, ROWS, UNROLL, UNROLL_TANGENTS
from bids_brnn.signals.one_pool.train import PulseTrain
from bids_brnn.signals.threads import kernel_threads

Array = NDArray[Any]

_CHUNK = 4 * LANES
"""Parameter sets whose tables are made together (a few MB)."""


def usable(trains: Sequence[PulseTrain], theta: Tensor) -> bool:
    """Whether the compiled path can serve: CPU, single or double, real states, no autograd."""
    if theta.device.type != "cpu" or theta.dtype not in (torch.float32, torch.float64):
        return False
    if theta.requires_grad or not all(train.is_real for train in trains):
        return False
    try:
        theta.numpy()
    except RuntimeError:  # inside a torch.func transform, or a dual number
        return False
    return torch.autograd.forward_ad.unpack_dual(theta).tangent is None


def simulate(
    trains: Sequence[PulseTrain],
    theta: Tensor,
    n_states: Tensor,
    factors: Sequence[float],
    *,
    inversion_efficiency: float,
    basis: Tensor | None,
    derivatives: bool,
) -> Tensor:
    """Simulate rows, averaged over sub-slices; as :func:`recursion.simulate`.

    Parameters
    ----------
    theta
        ``(rows, 3)``: R1, R2 (1/s), B1.
    n_states
        ``(rows,)``: orders of each row. Rows that share a number go through the kernel together,
        so that a result never depends on the other rows.
    factors
        Flip angle over nominal of each sub-slice.

    Returns
    -------
    Tensor
        ``(1 or 4, rows, N or R)`` complex.
    """
    rows = theta.detach().contiguous().numpy()
    projection = _Projection.of(basis, rows.dtype)
    plans = [_Plan(train, rows.dtype) for train in trains]
    n_rows = ROWS if derivatives else 1
    n_samples = sum(plan.n_samples for plan in plans)
    width = n_samples if basis is None else basis.shape[1]
    result = np.zeros((n_rows, len(rows), width), np.result_type(rows.dtype, np.complex64))
    scale = np.asarray(factors, rows.dtype)

    def work(index: NDArray[np.int64], orders: int) -> None:
        torch.set_flush_denormal(True)  # holds for the calling thread, which is ours
        fine = np.repeat(rows[index], len(scale), 0)
        fine[:, 2] *= np.tile(scale, len(index))
        part = np.zeros((n_rows, len(index), width), result.dtype)
        start = 0
        for plan in plans:
            stop = start + plan.n_samples
            weights = projection.rows(start, stop)
            real = plan.run(fine, orders, inversion_efficiency, weights, n_rows)
            real = real.reshape(n_rows, len(index), len(scale), real.shape[-1])
            if n_rows > 1:
                real[3] *= scale[:, None]
            projection.add(part if basis is not None else part[..., start:stop], real.mean(2))
            start = stop
        result[:, index] = part

    chunks = _chunks(n_states.numpy(), max(1, _CHUNK // len(scale)))
    with ThreadPoolExecutor(max(1, kernel_threads())) as threads:
        for task in [threads.submit(work, index, orders) for index, orders in chunks]:
            task.result()
    return torch.from_numpy(result)


def _chunks(n_states: Array, size: int) -> list[tuple[NDArray[np.int64], int]]:
    """Rows of equal number of orders, the longest tasks first."""
    return [
        (index[first : first + size], int(orders))
        for orders in np.unique(n_states)[::-1]
        for index in [np.flatnonzero(n_states == orders)]
        for first in range(0, len(index), size)
    ]


@dataclass(frozen=True)
class _Projection:
    """Basis as real columns: the kernel's samples ``x`` are real, the signal is ``-i x``."""

    columns: Array | None
    n_real: int

    @classmethod
    def of(cls, basis: Tensor | None, dtype: np.dtype[Any]) -> _Projection:
        if basis is None:
            return cls(None, 0)
        matrix = basis.detach().cpu().resolve_conj().numpy()
        columns = np.concatenate([matrix.real, matrix.imag], 1) if basis.is_complex() else matrix
        return cls(np.ascontiguousarray(columns, dtype), basis.shape[1])

    def rows(self, start: int, stop: int) -> Array | None:
        return None if self.columns is None else self.columns[start:stop]

    def add(self, result: Array, real: Array) -> None:
        """``result`` += ``-i`` times samples, or times their product with the conjugate basis."""
        if self.columns is None:
            result.imag -= real
            return
        result.imag -= real[..., : self.n_real]
        if self.columns.shape[1] > self.n_real:
            result.real -= real[..., self.n_real :]


class _Plan:
    """Arrays of one train in the form and precision of the kernel."""

    def __init__(self, train: PulseTrain, dtype: np.dtype[Any]) -> None:
        self.train = train
        self.dtype = dtype
        self.n_samples = train.sample_time.size
        first = np.searchsorted(train.sample_pulse, np.arange(train.window.size + 1))
        self.arrays = (
            train.window,
            first.astype(np.int64),
            train.inversion.astype(np.int64),
            np.where(np.cos(train.turn) < 0, -1, 1).astype(np.int64),
        )
        self.steps = tuple(
            values.astype(dtype)
            for values in (train.flip_angle, train.repetition_time, train.sample_time)
        )

    def run(
        self, rows: Array, n_states: int, efficiency: float, weights: Array | None, n_rows: int
    ) -> Array:
        """``(n_rows, rows, samples or columns)`` real."""
        basis = np.zeros((self.n_samples, 0), self.dtype) if weights is None else weights
        columns = basis.shape[1] or self.n_samples
        n_states = min(n_states, self.train.n_orders)
        start = -efficiency if self.train.inverted_start else 1.0
        constants = np.array([0.5, start, efficiency], self.dtype)
        unroll = UNROLL if n_rows == 1 else UNROLL_TANGENTS
        n_pulses = self.train.window.size
        heights = (n_pulses + n_states + 2 * unroll,) * 2 + (n_states + 2 * unroll,)
        states = tuple(np.empty(height * n_rows * LANES, self.dtype) for height in heights)
        out = np.empty((-(-len(rows) // LANES), n_rows, columns, LANES), self.dtype)
        kernel = _compiled(n_rows > 1)
        for lane, group in enumerate(out):
            group[:] = 0
            tables = self._tables(rows[lane * LANES : (lane + 1) * LANES])
            arguments: tuple[Any, ...] = (self.arrays, tables, n_states, constants)
            if n_rows > 1:
                arguments += (self.steps,)
            kernel(*arguments, basis, group.reshape(-1), states)
        flat = np.moveaxis(out, 3, 1).reshape(-1, n_rows, columns)[: len(rows)]
        return np.moveaxis(flat, 0, 1)

    def _tables(self, rows: Array) -> tuple[Array, ...]:
        """``(pulses or samples, LANES)``, flat; unused lanes repeat the last row.

        Lanes that share a rate or B1, as atoms on a grid do, share its column.
        """
        rates = rows[np.minimum(np.arange(LANES), len(rows) - 1)].T
        (r1, lanes1), (r2, lanes2), (b1, lanes_b1) = (_distinct(rate) for rate in rates)
        flip, duration, echo = (torch.from_numpy(step)[:, None] for step in self.steps)
        angle = flip * b1
        tables = (
            (angle.sin(), lanes_b1),
            (angle.cos(), lanes_b1),
            ((angle / 2).sin().square(), lanes_b1),
            (torch.expm1(-duration * r1).neg(), lanes1),
            (torch.expm1(-duration * r2).neg(), lanes2),
            (torch.exp(-echo * r2), lanes2),
        )
        return tuple(table.numpy().take(lanes, 1).reshape(-1) for table, lanes in tables)


def _distinct(rate: Array) -> tuple[Tensor, Array]:
    values, lanes = np.unique(rate, return_inverse=True)
    return torch.from_numpy(values), lanes


@cache
def _compiled(derivatives: bool) -> Callable[..., None]:
    from bids_brnn.signals.compiling import jit  # numba takes a second to import

    return jit(kernel.advance_tangents if derivatives else kernel.advance)
