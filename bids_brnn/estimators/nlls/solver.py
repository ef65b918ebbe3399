"""Levenberg-Marquardt in a box for many voxels, with the scale M0 projected out.

Every voxel has its own damping, converges on its own and is then not simulated any more.
Coordinates are fractions of the interval between the bounds ("unit"), so that 1e-5 s and 100 1/s
count alike. An iteration is one call of the model for all voxels that are left, and one of
:func:`.iteration_kernel.iterate`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_brnn.estimators.nlls.cost import Quadratic

CONVERGED, RESOLVED, ITERATION_LIMIT, NOT_FINITE, STALLED, REPEATED = 1, 2, 3, 4, 5, 6
"""Reasons to stop; see :mod:`.iteration_kernel`."""
_FLOOR = 1e-20
"""Cost, relative to the energy of the data, below which there is only round-off."""
_NUMBERS = 5
"""Columns of the state of a voxel that are single numbers."""

Array = NDArray[Any]
Linearize = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(unit coordinates ``(B, F)``, voxels ``(B,)``) -> signal ``(B, R)``, slopes ``(B, R, P)``."""


@dataclass(frozen=True)
class StoppingRule:
    """When a voxel is done."""

    max_iterations: int = 50
    """Model evaluations per start."""
    tolerance: float = 0.01
    """Converged when the Gauss-Newton step left is shorter than this many standard deviations."""
    damping: float = 1e-3
    """Of the first step, relative to the information."""
    hope: float = float("inf")
    """Beside a minimum that is known a start is given up if at its second evaluation it promises
    more than this many times the cost there."""


@dataclass(frozen=True)
class Solution:
    """Where the iteration ended."""

    unit: Tensor
    """``(B, F)`` in [0, 1]."""
    quadratic: Quadratic
    iterations: Tensor
    """``(B,)`` number of model evaluations."""
    reason: Tensor
    """``(B,)``: why it ended."""

    def rows(self, rows: Tensor) -> Solution:
        """The voxels ``rows``."""
        parts = (self.unit[rows], self.quadratic.rows(rows), self.iterations[rows])
        return Solution(*parts, self.reason[rows])


@dataclass(frozen=True)
class Measured:
    """Data of ``B`` voxels and what is known of them."""

    data: Array
    """``(B, R)`` complex128, whitened, of unit norm."""
    weight: Array
    """``(R,)``: what whitens the signal."""
    is_complex: bool
    """Whether data and M0 are."""
    m0: Array
    """``(B,)``: M0 if known, else NaN."""
    variance: Array
    """``(B,)`` of the noise per channel; 0: the residual tells."""
    degrees: int
    """Of freedom of the residual."""
    resolution: float
    """Relative round-off of the model."""
    free: Array
    """``(F,)``: columns of the parameters that are estimated."""
    span: Array
    """``(F,)``: widths of their bounds."""


def minimise(
    linearize: Linearize,
    measured: Measured,
    start: Tensor,
    rule: StoppingRule,
    rival: Solution | None = None,
) -> Solution:
    """Minimise the cost of every voxel within the unit box.

    Parameters
    ----------
    linearize
        The model.
    measured
        The voxels.
    start
        ``(B, F)``, inside the box.
    rule
        When to stop.
    rival
        Minima that are known; a voxel that comes within their noise stops (:data:`REPEATED`).
    """
    from bids_brnn.estimators.nlls.iteration_kernel import iterate

    n, n_free = start.shape
    unit = start.detach().to("cpu", torch.float64).numpy().copy()
    trial, step = unit.copy(), np.zeros_like(unit)
    m0, gradient = np.zeros((n, 2)), np.zeros((n, n_free))
    information, extra = np.zeros((2, n, n_free, n_free))
    numbers = np.zeros((n, _NUMBERS))
    numbers[:, 1:3] = rule.damping, 2.0
    evaluations, reason = np.zeros((2, n), np.int64)
    known = np.full((n, 1 + n_free + n_free**2), -1.0) if rival is None else _flat(rival)
    active = np.arange(n)
    while len(active):
        points = torch.from_numpy(trial[active]).to(start.device)
        signal, slopes = linearize(points, torch.from_numpy(active).to(start.device))
        iterate(
            active, _array(signal), _array(slopes), measured.data, measured.weight, measured.free,
            measured.span, measured.is_complex, measured.m0, measured.variance, measured.degrees,
            rule.tolerance, rule.max_iterations, rule.hope, measured.resolution, known, unit,
            trial, step, m0, gradient, information, extra, numbers, evaluations, reason,
        )  # fmt: skip
        active = active[reason[active] == 0]
    arrays = (numbers[:, 0].copy(), m0.view(np.complex128)[:, 0], gradient, information)
    found = Quadratic(*(torch.from_numpy(part).to(start.device) for part in arrays))
    rest = (torch.from_numpy(part).to(start.device) for part in (evaluations, reason))
    return Solution(torch.from_numpy(unit).to(start.device), found, *rest)


def _array(values: Tensor) -> Array:
    found: Array = values.detach().cpu().resolve_conj().resolve_neg().numpy()
    return found


def _flat(known: Solution) -> Array:
    """Cost, point and information as the kernel reads them; no minimum where none was found."""
    n = len(known.unit)
    cost = torch.where(known.reason == NOT_FINITE, -1.0, known.quadratic.cost)
    parts = (cost[:, None], known.unit, known.quadratic.information.reshape(n, -1))
    return _array(torch.cat(parts, dim=1))


def noise_variance(cost: Tensor, variance: Tensor, degrees: int) -> Tensor:
    """Noise variance per channel: what is known, else what the residual says."""
    estimated = cost / max(degrees, 1)
    return torch.where(variance > 0, variance, estimated).clamp_min(_FLOOR)


def better_of(first: Solution, rows: Tensor, second: Solution) -> Solution:
    """``first``, changed in place where ``second`` (of its voxels ``rows``) fits better."""
    old = torch.where(first.reason[rows] == NOT_FINITE, torch.inf, first.quadratic.cost[rows])
    usable = (second.reason != NOT_FINITE) & (second.reason != REPEATED)
    wins = usable & (second.quadratic.cost < old * (1 - 1e-6) - _FLOOR)
    taken = rows[wins]
    first.unit[taken] = second.unit[wins]
    first.reason[taken] = second.reason[wins]
    first.quadratic.put(taken, second.quadratic.rows(wins))
    iterations = first.iterations.index_add(0, rows, second.iterations)
    return Solution(first.unit, first.quadratic, iterations, first.reason)
