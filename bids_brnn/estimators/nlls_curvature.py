"""Curvature that Gauss-Newton leaves out, where one parameter dominates it.

The Hessian of the cost is the information ``J^H J`` plus second derivatives of the signal weighted
with the residual. The second part matters where a parameter hardly acts to first order: the
signal of a balanced sequence is even in the off-resonance, up to a phase, so that near zero the
information vanishes while the cost still rises, and Gauss-Newton steps overshoot from one side to
the other. The part of a single parameter is learned from the exact gradients at both ends of a
step (a secant condition, as in NL2SOL, doi:10.1145/355958.355965, reduced to one coordinate).
"""

from __future__ import annotations

import torch
from torch import Tensor


def learn(extra: Tensor, information: Tensor, step: Tensor, change: Tensor) -> Tensor:
    """Update the extra curvature from one step.

    Parameters
    ----------
    extra
        ``(B, F)``: what is known so far, not negative.
    information
        ``(B, F, F)``, mean over both ends of the step.
    step, change
        ``(B, F)``: the step, and how much it changed (half) the gradient.

    Returns
    -------
    Tensor
        ``(B, F)``; only for the coordinate that explains most of what the information does not,
        and only if that is a good part of all curvature along the step.
    """
    explained = (information @ step[..., None])[..., 0]
    missing = (change - explained) * step
    along = (explained * step).sum(-1, keepdim=True)
    share = step**2 * (information.diagonal(dim1=-2, dim2=-1) + extra)
    clear = (missing > 0.5 * missing.abs().sum(-1, keepdim=True)) & (missing > 0.2 * along)
    # A step that hardly moves a coordinate tells nothing about it.
    silent = share < 0.1 * along
    fresh = torch.where(clear, missing / step**2, torch.where(silent, extra, 0))
    return torch.where(torch.isfinite(fresh), fresh, 0)
