"""Samples of pulse trains from affine maps, their steady state and their derivatives.

The recursion ``m_i = A_i m_{i-1}`` (``m`` ends in 1) is the same for every model with a state of
fixed size. Maps are built for a block of steps at a time and samples are projected on a basis
block by block, so that memory grows neither with the length of the trains nor with what a
derivative of the whole train would record.

Derivatives of a train that repeats itself: with the initial state held fixed, the tangents of the
last state are ``e = dA m_0 + dc`` for the affine map ``m -> A m + c`` of the whole train. The
initial state ``m_0 = (1 - A)^-1 c`` therefore has the tangent ``(1 - A)^-1 e``, and what it adds
to each sample follows from the responses to unit initial states, which are carried along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from bids_brnn.signals.two_pools.stepping.plan import TrainPlan


class StepMaps(Protocol):
    """Builds maps ``(B, trains, steps, n, n)`` for parameters ``(B, P)``."""

    def __call__(self, theta: Tensor, steps: slice) -> Tensor:
        """Maps of a range of steps."""


Start = Callable[[Tensor], Tensor]
"""Initial state ``(B, n)`` for parameters ``(B, P)``; used for trains that do not repeat."""


def complex_step(function: Callable[[Tensor], Tensor], theta: Tensor) -> tuple[Tensor, Tensor]:
    """Value ``(B, ...)`` and derivatives ``(B, ..., P)`` of a function analytic in ``theta``.

    ``f(theta + i h) = f(theta) + i h f'(theta) + O(h^2)``: no difference is formed, so that the
    derivative has all digits for a tiny ``h``. All columns of ``theta`` are stepped in one call.
    """
    rows, n_parameters = theta.shape
    # h^2 must stay a normal number: denormals are slow.
    h = 1e-40 if theta.dtype == torch.float64 else 1e-14
    step = h * torch.eye(n_parameters, dtype=theta.dtype, device=theta.device)
    stepped = torch.complex(theta.expand(n_parameters, -1, -1), step[:, None].expand(-1, rows, -1))
    result = function(stepped.flatten(0, 1)).unflatten(0, (n_parameters, rows))
    return result[0].real, (result.imag / h).movedim(0, -1)


def step_blocks(plan: TrainPlan, numbers_per_step: int, like: Tensor) -> Iterator[slice]:
    """Ranges of steps whose maps fit into the cache (CPU) or a part of the memory (GPU)."""
    budget = 2**26 if like.is_cuda else 2**20
    length = max(1, min(plan.n_steps, budget // max(1, numbers_per_step * plan.n_trains)))
    for first in range(0, plan.n_steps, length):
        yield slice(first, min(first + length, plan.n_steps))


def steady_state(product: Tensor) -> Tensor:
    """Fixed point ``(..., n)`` of affine maps ``(..., n, n)`` whose last row is (0 ... 0 1)."""
    linear, offset = product[..., :-1, :-1], product[..., :-1, -1:]
    eye = torch.eye(linear.shape[-1], dtype=linear.dtype, device=linear.device)
    state = torch.linalg.solve(eye - linear, offset)[..., 0]
    return torch.cat([state, torch.ones_like(state[..., :1])], dim=-1)


def train_product(maps: StepMaps, plan: TrainPlan, theta: Tensor) -> Tensor:
    """Map of whole trains, ``(B, trains, n, n)``."""
    product: Tensor | None = None
    for steps in step_blocks(plan, 25 * theta.shape[0], theta):
        for step in maps(theta, steps).unbind(2):
            product = step if product is None else step @ product
    assert product is not None, "a train has at least one step"
    return product


def signal(
    maps: StepMaps, start: Start, plan: TrainPlan, theta: Tensor, basis: Tensor | None
) -> Tensor:
    """Samples ``(B, N)`` or coefficients ``(B, R)``, complex."""
    if plan.repeats:
        state = steady_state(train_product(maps, plan, theta))
    else:
        state = start(theta)[:, None].expand(-1, plan.n_trains, -1)
    observed: list[Tensor] = []
    for steps in step_blocks(plan, 25 * theta.shape[0], theta):
        states = []
        for step in maps(theta, steps).unbind(2):
            state = (step @ state[..., None])[..., 0]
            states.append(state)
        _observe(torch.stack(states, dim=2)[..., None], plan, steps, basis, observed)
    return _collect(observed, plan, basis)[..., 0]


def linearized_signal(
    maps: StepMaps, start: Start, plan: TrainPlan, theta: Tensor, basis: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Like :func:`signal`, and derivatives ``(B, N or R, P)`` with respect to ``theta``."""
    n_parameters = theta.shape[-1]
    if plan.repeats:
        product = train_product(maps, plan, theta)
        state = steady_state(product)
        # Tangents of a fixed initial state, and the responses to unit initial states.
        unit = torch.eye(state.shape[-1], dtype=theta.dtype, device=theta.device)[:, :-1]
        columns = torch.cat([unit.new_zeros(unit.shape[0], n_parameters), unit], dim=-1)
        columns = columns.expand(theta.shape[0], plan.n_trains, -1, -1)
    else:
        state, columns = (
            tensor[:, None].expand(-1, plan.n_trains, *tensor.shape[1:])
            for tensor in complex_step(start, theta)
        )
    observed: list[Tensor] = []
    for steps in step_blocks(plan, 25 * (1 + n_parameters) * theta.shape[0], theta):
        seen, state, columns = _advance(maps, steps, theta, state, columns)
        _observe(seen, plan, steps, basis, observed)
    if plan.repeats:
        linear = product[..., :-1, :-1]
        eye = torch.eye(linear.shape[-1], dtype=theta.dtype, device=theta.device)
        change = torch.linalg.solve(eye - linear, columns[..., :-1, :n_parameters])
        observed = [_with_change(part, change) for part in observed]
    result = _collect(observed, plan, basis)
    return result[..., 0], result[..., 1:]


def _advance(
    maps: StepMaps, steps: slice, theta: Tensor, state: Tensor, columns: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Carry a state ``(B, T, n)`` and columns ``(B, T, n, K)`` through a block of steps.

    The first ``P`` columns are tangents, the others just follow. Returns all states and columns
    side by side, ``(B, T, steps, n, 1 + K)``, and the last of each.
    """
    n_parameters = theta.shape[-1]
    matrices, slopes = complex_step(lambda values: maps(values, steps), theta)
    states = [state]
    for step in matrices.unbind(2):
        states.append((step @ states[-1][..., None])[..., 0])
    before = torch.stack(states[:-1], dim=2)
    source = (slopes * before[..., None, :, None]).sum(-2)
    seen = []
    for step, drive in zip(matrices.unbind(2), source.unbind(2), strict=True):
        columns = step @ columns
        columns = torch.cat(
            [columns[..., :n_parameters] + drive, columns[..., n_parameters:]], dim=-1
        )
        seen.append(columns)
    after = torch.stack(states[1:], dim=2)[..., None]
    return torch.cat([after, torch.stack(seen, dim=2)], dim=-1), states[-1], columns


def _with_change(seen: Tensor, change: Tensor) -> Tensor:
    """Add what a change ``(B, T, 4, P)`` of the initial state does to the tangents."""
    size, n_parameters = change.shape[-2:]
    tangents, responses = seen[..., 1 : 1 + n_parameters], seen[..., -size:]
    return torch.cat([seen[..., :1], tangents + responses @ change.to(seen.dtype)], dim=-1)


def _observe(
    states: Tensor, plan: TrainPlan, steps: slice, basis: Tensor | None, observed: list[Tensor]
) -> None:
    """Append samples ``(B, T, steps, K)``, or add to coefficients ``(B, T, R, K)``."""
    samples = torch.complex(states[..., 0, :], states[..., 1, :])
    if basis is None:
        observed.append(samples)
        return
    rows = torch.tensor(plan.sample[:, steps], device=basis.device)
    chosen = (basis[rows.clamp_min(0)] * (rows >= 0)[..., None]).conj().to(samples.dtype)
    part = chosen.mT @ samples
    if observed:
        part = observed.pop() + part
    observed.append(part)


def _collect(observed: list[Tensor], plan: TrainPlan, basis: Tensor | None) -> Tensor:
    """Trains to one signal ``(B, N or R, K)``."""
    if basis is not None:
        return observed[0].sum(1)
    sampled = torch.as_tensor(plan.sample.ravel() >= 0, device=observed[0].device)
    return torch.cat(observed, dim=2).flatten(1, 2)[:, sampled]
