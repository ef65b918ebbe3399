"""Quadratic functions in a box, for a batch: the step that respects bounds."""

from __future__ import annotations

import torch
from torch import Tensor


def box_step(matrix: Tensor, gradient: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Minimise ``gradient.d + d.matrix.d / 2`` for ``lower <= d <= upper``.

    Primal active-set method (Nocedal & Wright, Numerical Optimization, 16.5) for a batch: go
    towards the minimum over the free coordinates until one meets a bound, hold that one; at the
    minimum, free the one that pulls inwards most; end when none does. Every pass lowers the value,
    so that the result is a way down even if the passes run out.

    Parameters
    ----------
    matrix
        ``(B, F, F)``, symmetric positive definite.
    gradient, lower, upper
        ``(B, F)``; ``lower <= 0 <= upper``.
    """
    held = ((lower >= 0) & (gradient > 0)) | ((upper <= 0) & (gradient < 0))
    step = torch.zeros_like(gradient)
    size = gradient.abs() / matrix.diagonal(dim1=-2, dim2=-1).sqrt()
    nothing = 100 * torch.finfo(matrix.dtype).eps * size.amax(-1) if len(size.T) else size
    rows = torch.arange(len(step), device=step.device)
    for _ in range(5 * step.shape[-1]):
        if len(rows) == 0:
            break
        now, low, high, fixed = step[rows], lower[rows], upper[rows], held[rows]
        part, slope = matrix[rows], gradient[rows]
        move = torch.where(fixed, 0, _solve_free(part, slope, fixed, now) - now)
        room = torch.where(move > 0, high - now, now - low)
        share = torch.where(move == 0, torch.inf, room / move.abs())
        reach = share.amin(-1, keepdim=True).clamp_max(1)
        met = (share <= reach) & ~fixed
        now = torch.where(met & (move > 0), high, torch.where(met, low, now + reach * move))
        pull = slope + (part @ now[..., None])[..., 0]
        # Inwards from the upper bound is a positive slope, from the lower one a negative slope.
        inwards = torch.where(now >= high, pull, -pull) / part.diagonal(dim1=-2, dim2=-1).sqrt()
        worst = torch.where(fixed, inwards, -torch.inf).argmax(-1, keepdim=True)
        at_minimum = (reach == 1)[:, 0] & ~met.any(-1)
        freed = at_minimum & fixed.any(-1) & (inwards.gather(1, worst)[:, 0] > nothing[rows])
        fixed = (fixed | met).scatter(1, worst, (fixed | met).gather(1, worst) & ~freed[:, None])
        step[rows], held[rows] = now, fixed
        rows = rows[~at_minimum | freed]
    return step


def _solve_free(matrix: Tensor, gradient: Tensor, fixed: Tensor, step: Tensor) -> Tensor:
    """Minimum over the coordinates that are not ``fixed``, the others keeping their ``step``."""
    held = torch.where(fixed, step, 0)
    right = torch.where(fixed, 0, -(gradient + (matrix @ held[..., None])[..., 0]))
    scale = matrix.diagonal(dim1=-2, dim2=-1).clamp_min(torch.finfo(matrix.dtype).tiny).rsqrt()
    scale = torch.where(fixed, 0, scale)
    unit = matrix * scale[..., :, None] * scale[..., None, :]
    unit.diagonal(dim1=-2, dim2=-1)[fixed] = 1
    factor, info = torch.linalg.cholesky_ex(unit)
    solved = torch.cholesky_solve((right * scale)[..., None], factor)[..., 0] * scale
    # A matrix that is singular to working precision still gives a way down: scaled descent.
    good = (info == 0)[..., None] & torch.isfinite(solved)
    return torch.where(fixed, held, torch.where(good, solved, right * scale**2))


def decrease(gradient: Tensor, matrix: Tensor, step: Tensor) -> Tensor:
    """Decrease of the cost that its expansion predicts for ``step``, ``(B,)``."""
    curved = (matrix @ step[..., None])[..., 0]
    return -((2 * gradient + curved) * step).sum(-1)
