"""From the best atom to the value between atoms: one damped Gauss-Newton step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bids_brnn.information.bounds import covariance, project_out_scale
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.base import SignalModel

_DAMPING = 1e-3
_REACH = 0.25
"""Largest step: ratio of a rate or time constant, or share of the bounds of anything else."""


@dataclass(frozen=True)
class Explained:
    """What a model signal explains of a voxel; ``(V,)`` each."""

    m0: Tensor
    match: Tensor
    """``|<s, y>| / (|s| |y|)`` with the norm of all samples of ``y``."""
    residual: Tensor
    """``|y - m0 s| / |y|``."""


def explain(data: Tensor, outside: Tensor, signal: Tensor) -> Explained:
    """Complex least-squares scale of ``signal`` and what is left.

    Parameters
    ----------
    data, signal
        ``(V, R)``; ``data`` of norm 1 together with what lies outside the subspace.
    outside
        ``(V,)``: squared norm of the data outside the subspace of the coefficients.
    """
    energy = (signal.real**2 + signal.imag**2).sum(-1)
    overlap = (signal.conj() * data).sum(-1)
    m0 = overlap / energy
    left = data - m0[:, None] * signal
    residual = ((left.real**2 + left.imag**2).sum(-1) + outside).sqrt()
    return Explained(m0, overlap.abs() / energy.sqrt(), residual)


def step(
    parameters: ParameterSet,
    free: list[int],
    theta: Tensor,
    target: Tensor,
    data: Tensor,
    signal: Tensor,
    derivatives: Tensor,
    damping: float = _DAMPING,
) -> Tensor:
    """Move ``theta`` ``(V, P)`` along the tangent of the model towards ``data``.

    ``target`` holds, in the columns that are not ``free``, the known values; the signal is first
    moved there along its derivatives. M0 is projected out. Returns ``(V, P)`` within bounds.
    """
    lower, upper = parameters.bounds(theta)
    here = target.clone()
    here[:, free] = theta[:, free]
    if not free:
        return torch.minimum(torch.maximum(here, lower), upper)
    known = [column for column in range(len(parameters)) if column not in free]
    shift = (target - theta)[:, known].to(signal.dtype)
    signal = signal + (derivatives[..., known] @ shift[..., None])[..., 0]
    relative = lower > 0
    scale = torch.where(relative, here, upper - lower)[:, free]
    slopes = derivatives[..., free] * scale[:, None, :].to(signal.dtype)
    overlap = (signal.conj() * data).sum(-1) / (signal.abs() ** 2).sum(-1)
    orthogonal = project_out_scale(signal, slopes)
    # Divided by M0, so that a voxel without signal gives a step of NaN, refused by the caller.
    left = (data / overlap[:, None] - signal)[..., None]
    gradient = (orthogonal.mH @ left).real[..., 0].double()
    information = (orthogonal.mH @ orthogonal).real.double()
    information.diagonal(dim1=-2, dim2=-1).mul_(1 + damping).add_(1e-12)
    move, _ = torch.linalg.solve_ex(information, gradient)
    move = move * (_REACH / move.abs().amax(-1, keepdim=True)).clamp_max(1)
    moved = here.clone()
    rates = relative[free]
    moved[:, free] = torch.where(
        rates, here[:, free] * torch.exp(move), here[:, free] + move * scale
    ).to(theta.dtype)
    return torch.minimum(torch.maximum(moved, lower), upper)


def standard_deviation(
    signal: Tensor, derivatives: Tensor, free: list[int], noise: Tensor
) -> Tensor:
    """``(V, P)``: root of the Cramer-Rao bound; ``noise`` is sigma / |M0|, 0 where known."""
    std = torch.zeros_like(derivatives[:, 0, :].real)
    if not free:
        return std
    bound = covariance(signal, derivatives[..., free]).diagonal(dim1=-2, dim2=-1)
    std[:, free] = noise[:, None] * bound.sqrt()
    return std


def better_of(
    model: SignalModel, first: tuple[Tensor, ...], data: Tensor, outside: Tensor, other: Tensor
) -> tuple[Tensor, Tensor, Tensor, Explained]:
    """Where ``other`` (theta) explains a voxel better than what ``first`` holds, take it."""
    theta, signal, derivatives = (part.clone() for part in first)
    explained = explain(data, outside, signal)
    # NaN must lose: the step may have left what the model can simulate.
    bad = ~torch.isfinite(explained.match)
    new_signal, new_derivatives = model.linearize(other)
    new = explain(data, outside, new_signal)
    take = bad | (new.match > explained.match)
    theta[take], signal[take] = other[take], new_signal[take]
    derivatives[take] = new_derivatives[take]
    return theta, signal, derivatives, explain(data, outside, signal)
