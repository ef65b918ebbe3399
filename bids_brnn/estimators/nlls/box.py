"""Quadratic functions in a box, for a batch: the step that respects bounds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def box_step(matrix: Tensor, gradient: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Minimise ``gradient.d + d.matrix.d / 2`` for ``lower <= d <= upper``, in double precision.

    The method is told in :func:`.box_kernel.minimise_in_box`.

    Parameters
    ----------
    matrix
        ``(B, F, F)``, symmetric positive definite.
    gradient, lower, upper
        ``(B, F)``; ``lower <= 0 <= upper``.
    """
    from bids_brnn.estimators.nlls.box_kernel import minimise_all

    given = [
        np.ascontiguousarray(part.detach().to("cpu", torch.float64).numpy())
        for part in (matrix, gradient, lower, upper)
    ]
    step = np.empty_like(given[1])
    minimise_all(given[0], given[1], given[2], given[3], step)
    return torch.from_numpy(step).to(gradient)


def decrease(gradient: Tensor, matrix: Tensor, step: Tensor) -> Tensor:
    """Decrease of the cost that its expansion predicts for ``step``, ``(B,)``."""
    curved = (matrix @ step[..., None])[..., 0]
    return -((2 * gradient + curved) * step).sum(-1)
