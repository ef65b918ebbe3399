"""Nuisances of a network estimate by a few Gauss-Newton steps on the signal model.

A network spends its weights on the parameters of interest. Off-resonance and B1 only serve the
signal at the estimate, hence M0 and the residual; given the other parameters they are a small
least-squares problem that starts close to its solution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bids_brnn.bounds import project_out_scale
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.base import SignalModel

_DAMPING = 1e-3


def least_squares_scale(signal: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    """M0 ``(v,)`` and norm of the residual ``(v,)`` of signals ``(v, R)`` at M0 = 1."""
    m0 = (signal.conj() * data).sum(-1) / (signal.abs() ** 2).sum(-1)
    return m0, (data - m0[:, None] * signal).abs().square().sum(-1).sqrt()


def refine_nuisances(
    model: SignalModel,
    data: Tensor,
    theta: Tensor,
    columns: Sequence[int],
    *,
    steps: int = 3,
) -> Tensor:
    """``theta`` ``(v, P)`` with better values in ``columns``; other columns stay as they are.

    A step is taken only where it lowers the residual of ``data`` ``(v, R)``, and stays within the
    bounds of the model's parameters.
    """
    chosen = list(columns)
    if not chosen:
        return theta
    lower, upper = _bounds(model.parameters, theta, chosen)
    signal, slopes = _linearize(model, theta, chosen)
    m0, rest = least_squares_scale(signal, data)
    for _ in range(steps):
        jacobian = project_out_scale(signal, slopes) * m0[:, None, None]
        # In units of the parameter ranges: off-resonance and B1 differ by a thousand.
        jacobian = jacobian * (upper - lower)
        error = data - m0[:, None] * signal
        gradient = (jacobian.mH @ error[..., None]).real[..., 0]
        normal = (jacobian.mH @ jacobian).real
        diagonal = normal.diagonal(dim1=-2, dim2=-1)
        damped = normal + torch.diag_embed(_DAMPING * diagonal + torch.finfo(rest.dtype).tiny)
        step, _ = torch.linalg.solve_ex(damped, gradient)
        trial = theta.clone()
        moved = theta[:, chosen] + torch.nan_to_num(step) * (upper - lower)
        trial[:, chosen] = moved.clamp(lower, upper)
        new_signal, new_slopes = _linearize(model, trial, chosen)
        new_m0, new_rest = least_squares_scale(new_signal, data)
        better = new_rest < rest
        theta = torch.where(better[:, None], trial, theta)
        signal = torch.where(better[:, None], new_signal, signal)
        slopes = torch.where(better[:, None, None], new_slopes, slopes)
        m0, rest = torch.where(better, new_m0, m0), torch.where(better, new_rest, rest)
    return theta


def _bounds(parameters: ParameterSet, theta: Tensor, columns: list[int]) -> tuple[Tensor, Tensor]:
    lower, upper = parameters.bounds(theta)
    return lower[columns], upper[columns]


def _linearize(model: SignalModel, theta: Tensor, columns: list[int]) -> tuple[Tensor, Tensor]:
    """Signal ``(v, R)`` and its derivatives ``(v, R, len(columns))``, one pass per column."""
    signal: Tensor | None = None
    slopes = []
    with torch.no_grad():
        for column in columns:
            tangent = torch.zeros_like(theta)
            tangent[:, column] = 1
            signal, slope = torch.func.jvp(model, (theta,), (tangent,))[:2]
            slopes.append(slope)
    assert signal is not None
    return signal, torch.stack(slopes, dim=-1)
