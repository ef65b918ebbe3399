"""Compiled generalized Bloch signals on the CPU: thousands of parameter sets per second.

The entry points are ``KernelPlan``, what is computed once per
pulse train, and :func:`simulate`. How it works is told in ``docs/theory/fast_qmt.md``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_brnn.errors import ParameterError
from bids_brnn.signals.threads import kernel_threads
from bids_brnn.signals.two_pools.kernel.constants import constants
from bids_brnn.signals.two_pools.kernel.layout import FREE_POOL, GROUP, PARAMETERS, Options
from bids_brnn.signals.two_pools.kernel.plan import KernelPlan
from bids_brnn.signals.two_pools.kernel.trains import compile_program, work_vectors
from bids_brnn.signals.two_pools.kernel.vectors import Program, aligned, native_lanes

if TYPE_CHECKING:
    from bids_brnn.signals.two_pools.kernel.plan import KernelPlan

Floats = NDArray[Any]
_TILE = 16
"""Basis columns in registers at a time, at most."""
_CHUNK = 32
"""Vectors of parameter sets in one call of the program, at most: what they need fits the cache."""

__all__ = ["KernelPlan", "simulate"]

_lock = threading.Lock()


@cache
def _compiled(options: Options) -> Program:
    return compile_program(options)


def _program(options: Options) -> Program:
    with _lock:  # LLVM's global state is not meant for several threads
        return _compiled(options)


def simulate(
    plan: KernelPlan,
    theta: Floats,
    basis: Floats | None = None,
    *,
    derivatives: bool = False,
    solid: bool = True,
    n_threads: int | None = None,
) -> tuple[Floats, Floats | None]:
    """Signals of many parameter sets, and derivatives.

    Parameters
    ----------
    plan
        The pulse trains.
    theta
        ``(V, 8)``, float32 or float64: m0s, R1f, R2f, Rx, R1s, T2s, w0, B1 in SI units, inside
        the bounds of the plan's tables.
    basis
        Real ``(N, R)``; None for all samples.
    derivatives
        Whether to return derivatives too.
    solid
        Whether there is a semi-solid pool; without it ``m0s`` must be 0, and derivatives are
        those by ``FREE_POOL``. This takes half of the time.
    n_threads
        Default: the CPUs this process may use.

    Returns
    -------
    signal, derivatives
        Complex ``(V, N or R)`` and ``(V, N or R, 8 or 4)`` or None, in the precision of
        ``theta``.

    Raises
    ------
    ParameterError
        For shapes that do not fit.
    """
    if theta.ndim != 2 or theta.shape[1] != 8:
        raise ParameterError(f"theta has shape {theta.shape}; the kernel needs (sets, 8)")
    if basis is not None and (basis.shape[0] != plan.n_samples or np.iscomplexobj(basis)):
        raise ParameterError(
            f"the basis has shape {basis.shape}; a real one with {plan.n_samples} rows is needed"
        )
    dtype = np.dtype(theta.dtype)
    lanes = native_lanes(dtype)
    width = plan.n_samples if basis is None else basis.shape[1]
    tiles = 1 if basis is None else -(-width // _TILE)
    tile = 0 if basis is None else -(-width // tiles)
    if tile < 12:
        tile = -(-tile // 4) * 4  # fewer different programs
    wanted = (PARAMETERS if solid else FREE_POOL) if derivatives else ()
    options = Options(dtype, lanes, plan.layout, wanted, plan.repeats, tile, solid)
    program = _program(options)
    rows = _basis(plan, basis, tiles, tile, dtype)
    steps = plan.steps_in(dtype)
    job = _Job(plan, program, options, tiles, width, rows, steps)
    kind = np.complex64 if dtype == np.float32 else np.complex128
    out = np.empty((len(theta), options.columns, width), kind)
    # Small enough to share among threads and to keep memory flat, large enough to hide Python.
    blocks = -(-len(theta) // lanes)
    share = min(_CHUNK, -(-blocks // max(n_threads or 1, 1))) or 1
    chunk = lanes * (1 if basis is None else share)
    pieces = [slice(i, i + chunk) for i in range(0, len(theta), chunk)]
    with _threads(n_threads, len(pieces)) as run:
        for _ in run(lambda piece: job(theta[piece], out[piece]), pieces):
            pass
    return out[:, 0], out[:, 1:].swapaxes(1, 2) if derivatives else None


@contextmanager
def _threads(n: int | None, pieces: int) -> Iterator[Any]:
    available = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    workers = min(n or available or 1, pieces)
    if workers <= 1:
        yield map
        return
    with ThreadPoolExecutor(workers) as pool:
        yield pool.map


def _basis(
    plan: KernelPlan, basis: Floats | None, tiles: int, tile: int, dtype: np.dtype[Any]
) -> Floats:
    """Rows per step, ``(trains, tiles, steps, tile)``; zero where there is no sample."""
    if basis is None:
        return np.zeros(1, dtype)
    key = (basis.shape[1], dtype)
    kept = plan.kept_rows.get(key)  # once: another thread may put another basis there
    if kept is not None and np.array_equal(kept[0], basis):
        return kept[1]
    padded = np.zeros((plan.n_samples + 1, tiles * tile), dtype)
    padded[:-1, : basis.shape[1]] = basis
    rows = padded[plan.sample].reshape(*plan.sample.shape, tiles, tile)
    found = np.ascontiguousarray(np.moveaxis(rows, 2, 1))
    plan.kept_rows[key] = basis.copy(), found
    return found


@dataclass(frozen=True, eq=False)
class _Job:
    """Everything the chunks of one call share."""

    plan: KernelPlan
    program: Program
    options: Options
    tiles: int
    width: int
    basis: Floats
    steps: Floats

    def __call__(self, theta: Floats, out: Floats) -> None:
        """Simulate one chunk into ``out``."""
        plan, options = self.plan, self.options
        lanes, dtype = options.lanes, options.dtype
        trains, n_steps = plan.sample.shape
        blocks = -(-len(theta) // lanes)
        # Idle lanes of the last block repeat its last parameter set.
        rows = np.minimum(np.arange(blocks * lanes), len(theta) - 1)
        double = theta[rows].astype(np.float64)
        per_block = double.reshape(blocks, lanes, 8)
        table_values = plan.features(per_block, slopes=bool(options.wanted), solid=options.solid)
        features = table_values.reshape(blocks * lanes, -1)
        values = constants(plan, double, features, solid=options.solid)
        joined = np.concatenate(values, axis=1)
        sets = aligned((blocks, joined.shape[1], lanes), dtype)
        sets[...] = joined.reshape(blocks, lanes, -1).swapaxes(1, 2)
        columns = out.shape[1]
        shape: tuple[int, ...]
        if options.tile:
            shape = (blocks, self.tiles, columns, 2, options.tile, lanes)
        else:
            shape = (blocks, trains * n_steps + 1, columns, 2, lanes)
        result = aligned(shape, dtype)
        work = aligned((work_vectors(options, self.tiles), lanes), dtype)
        self.program(
            blocks, trains, n_steps // GROUP, self.tiles, sets.shape[1], self.steps, plan.index,
            self.basis, sets, work, result,
        )  # fmt: skip
        # block, tile, column, part, r, lane, or block, step, column, part, lane, become
        # block, lane, column, tile and r, or step, part.
        if options.tile:
            turned = result.transpose(0, 5, 2, 1, 4, 3)
        else:
            turned = result[:, : self.width].transpose(0, 4, 2, 1, 3)
        ordered = turned.reshape(blocks * lanes, columns, -1, 2)
        out.view(dtype).reshape(*out.shape, 2)[...] = ordered[: len(theta), :, : self.width]


_PRECISIONS = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def simulate_compiled(
    plan: KernelPlan | None,
    theta: Tensor,
    basis: Tensor | None,
    *,
    derivatives: bool,
    solid: bool = True,
    n_threads: int | None = None,
) -> tuple[Tensor, Tensor | None] | None:
    """Signal and derivatives by the compiled kernel, or None where it does not apply.

    It does not for tensors on other devices or of other precision than float32 and float64, inside
    automatic differentiation (it has its own derivatives), and for trains and off-resonances
    outside its domain (see :class:`~bids_brnn.signals.two_pools.kernel.plan.KernelPlan`).

    Parameters
    ----------
    plan
        The pulse trains; None if the kernel does not cover them.
    theta
        All eight parameters, checked, ``(B, 8)``.
    basis
        ``(N, R)`` or None.
    derivatives
        Whether derivatives are wanted.
    solid
        As for :func:`simulate`.
    n_threads
        Default: those of PyTorch, so that one setting governs both.
    """
    if (
        plan is None
        or theta.is_complex()
        or not _plain(theta)
        or (basis is not None and not _plain(basis))
    ):
        return None
    values = theta.resolve_neg().numpy()
    if not plan.covers(values):
        return None
    from bids_brnn.signals.two_pools.kernel.run import simulate

    columns = None
    if basis is not None:
        columns = (
            torch.cat([basis.real, basis.imag], dim=1)
            if basis.is_complex()
            else basis.resolve_neg()
        )
    matrix = None if columns is None else columns.numpy()
    threads = n_threads or kernel_threads()
    found = simulate(plan, values, matrix, derivatives=derivatives, solid=solid, n_threads=threads)
    signal, slopes = (None if part is None else torch.from_numpy(part) for part in found)
    assert signal is not None
    if basis is not None and basis.is_complex():
        signal = _recombine(signal)
        slopes = None if slopes is None else _recombine(slopes)
    return signal, slopes


def _recombine(coefficients: Tensor) -> Tensor:
    """``s @ conj(U)`` from ``s @ [Re U, Im U]`` along the second axis."""
    real, imaginary = coefficients.chunk(2, dim=1)
    return real - 1j * imaginary


def _plain(tensor: Tensor) -> bool:
    """Numbers in main memory that nothing differentiates."""
    if tensor.device.type != "cpu" or tensor.dtype not in _PRECISIONS:
        return False
    if tensor.requires_grad or torch.autograd.forward_ad.unpack_dual(tensor).tangent is not None:
        return False
    try:
        tensor.resolve_conj().resolve_neg().numpy()
    except RuntimeError:  # inside a transform of torch.func
        return False
    return True
