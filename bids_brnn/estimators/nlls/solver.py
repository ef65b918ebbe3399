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

    def put(self, rows: Tensor, other: Solution) -> None:
        """Overwrite the voxels ``rows`` in place."""
        self.unit[rows], self.reason[rows] = other.unit, other.reason
        self.iterations[rows] = other.iterations
        self.quadratic.put(rows, other.quadratic)


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


class Iteration:
    """The state of some voxels on their way down; each may start again when it has ended.

    Parameters
    ----------
    linearize
        The model.
    measured
        The voxels.
    rule
        When to stop.
    device
        Where the model takes its points.
    """

    def __init__(
        self, linearize: Linearize, measured: Measured, rule: StoppingRule, device: torch.device
    ) -> None:
        n, n_free = len(measured.data), len(measured.free)
        self._linearize, self._measured, self._rule = linearize, measured, rule
        self._device = device
        self._unit, self._trial, self._step, self._gradient = np.zeros((4, n, n_free))
        self._m0, self._numbers = np.zeros((n, 2)), np.zeros((n, _NUMBERS))
        self._information, self._extra = np.zeros((2, n, n_free, n_free))
        self._evaluations, self._reason = np.zeros((2, n), np.int64)
        self._known = np.full((n, 1 + n_free + n_free**2), -1.0)
        self.active: NDArray[np.int64] = np.arange(0)
        """``(A,)`` voxels that have not ended."""

    def begin(self, rows: Tensor, start: Tensor, rival: Solution | None = None) -> None:
        """Let voxels ``rows`` that are not active start from ``start`` ``(b, F)``, in the box.

        ``rival``: minima of these that are known; a voxel that comes within their noise stops
        (:data:`REPEATED`).
        """
        new = rows.cpu().numpy()
        self._unit[new] = start.detach().to("cpu", torch.float64).numpy()
        self._trial[new] = self._unit[new]
        for values in (self._step, self._gradient, self._m0, self._information, self._extra):
            values[new] = 0.0
        self._numbers[new] = (0.0, self._rule.damping, 2.0, 0.0, 0.0)
        self._evaluations[new], self._reason[new] = 0, 0
        self._known[new] = -1.0 if rival is None else _flat(rival)
        # In the order of the voxels, so that nothing depends on when each of them started.
        self.active = np.sort(np.concatenate([self.active, new]))

    def step(self) -> Tensor:
        """Evaluate the model once for every active voxel; those that ended, ``(E,)``."""
        from bids_brnn.estimators.nlls.iteration_kernel import iterate

        active, measured, rule = self.active, self._measured, self._rule
        points = torch.from_numpy(self._trial[active]).to(self._device)
        signal, slopes = self._linearize(points, torch.from_numpy(active).to(self._device))
        iterate(
            active, _array(signal), _array(slopes), measured.data, measured.weight, measured.free,
            measured.span, measured.is_complex, measured.m0, measured.variance, measured.degrees,
            rule.tolerance, rule.max_iterations, rule.hope, measured.resolution, self._known,
            self._unit, self._trial, self._step, self._m0, self._gradient, self._information,
            self._extra, self._numbers, self._evaluations, self._reason,
        )  # fmt: skip
        going = self._reason[active] == 0
        self.active = active[going]
        return torch.from_numpy(active[~going]).to(self._device)

    def solution(self, rows: Tensor) -> Solution:
        """Where voxels ``rows`` ended."""
        some = rows.cpu().numpy()
        cost, m0 = self._numbers[some, 0], self._m0[some].view(np.complex128)[:, 0]
        arrays = (cost, m0, self._gradient[some], self._information[some])
        found = Quadratic(*(torch.from_numpy(part).to(self._device) for part in arrays))
        unit, *rest = (
            torch.from_numpy(part[some]).to(self._device)
            for part in (self._unit, self._evaluations, self._reason)
        )
        return Solution(unit, found, *rest)


def _array(values: Tensor) -> Array:
    found: Array = values.detach().cpu().resolve_conj().resolve_neg().numpy()
    return found


def _flat(known: Solution) -> Array:
    """Cost, point and information as the kernel reads them; no minimum where none was found."""
    cost = torch.where(known.reason == NOT_FINITE, -1.0, known.quadratic.cost)
    parts = (cost[:, None], known.unit, known.quadratic.information.flatten(1))
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
