"""Batched Levenberg-Marquardt in a box, with a complex scale projected out.

Every problem of a batch has its own damping, converges on its own and then leaves the batch.
Coordinates are fractions of the interval between the bounds ("unit"), so that 1e-5 s and 100 1/s
count alike. Reference: Nielsen's rule for the damping (IMM-REP-1999-05).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bids_brnn.estimators.nlls.box import box_step, decrease
from bids_brnn.estimators.nlls.cost import Quadratic

CONVERGED, RESOLVED, ITERATION_LIMIT, NOT_FINITE, STALLED = 1, 2, 3, 4, 5
"""Reasons to stop."""

_SMALLEST_DAMPING = 1e-12
_GROWTH = 2.0
"""First factor on the damping after a step that failed; it doubles with every further one."""
_CLOSE = 5.0
"""A step that fails within this many tolerances of the minimum ends the iteration."""
_HOPELESS = 1e6
"""Damping beyond which steps are too short to matter."""
_FLOOR = 1e-20
"""Cost, relative to the energy of the data, below which there is only round-off."""


Expand = Callable[[Tensor, Tensor], Quadratic]
"""(unit coordinates ``(B, F)``, voxels ``(B,)``) -> expansion there."""


@dataclass(frozen=True)
class StoppingRule:
    """When a voxel is done."""

    max_iterations: int = 50
    """Model evaluations per start."""
    tolerance: float = 0.01
    """Converged when the Gauss-Newton step left is shorter than this many standard deviations."""


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


@dataclass
class _Active:
    """State of the voxels still in the batch."""

    voxel: Tensor
    unit: Tensor
    quadratic: Quadratic
    extra: Tensor
    """``(B, F)``: curvature that is not in the information."""
    damping: Tensor
    growth: Tensor

    @property
    def curvature(self) -> Tensor:
        """``(B, F, F)``: what steps are computed with."""
        return self.quadratic.information + torch.diag_embed(self.extra)

    def keep(self, rows: Tensor) -> _Active:
        return _Active(
            self.voxel[rows],
            self.unit[rows],
            self.quadratic.rows(rows),
            self.extra[rows],
            self.damping[rows],
            self.growth[rows],
        )


def minimise(
    expand: Expand, start: Tensor, variance: Tensor, degrees: int, rule: StoppingRule
) -> Solution:
    """Minimise the cost of every voxel within the unit box.

    Parameters
    ----------
    expand
        Evaluates the model.
    start
        ``(B, F)`` in [0, 1].
    variance
        ``(B,)``: known noise variance per channel, 0 where it is to be taken from the residual.
    degrees
        Degrees of freedom of the residual.
    rule
        When to stop.
    """
    voxel = torch.arange(len(start), device=start.device)
    first = expand(start, voxel)
    damping = torch.full_like(variance, 1e-3)
    result = Solution(start.clone(), first, torch.ones_like(voxel), torch.zeros_like(voxel))
    result.reason[~first.finite()] = NOT_FINITE
    active = _Active(voxel, start, first, 0 * start, damping, torch.full_like(damping, _GROWTH))
    active = active.keep(first.finite())
    for iteration in range(1, rule.max_iterations + 1):
        noise = noise_variance(active.quadratic.cost, variance[active.voxel], degrees)
        step, left = _propose(active, noise, rule.tolerance)
        failed = active.growth > _GROWTH
        done = torch.where(left <= rule.tolerance, CONVERGED, 0)
        # Near the minimum a step that fails tells of round-off rather than of curvature.
        done[(done == 0) & failed & (left <= _CLOSE * rule.tolerance)] = RESOLVED
        done[(done == 0) & failed & (active.damping > _HOPELESS)] = STALLED
        if iteration == rule.max_iterations:
            done[done == 0] = ITERATION_LIMIT
        _finish(result, active, done)
        active, step = active.keep(done == 0), step[done == 0]
        if len(step) == 0:
            break
        result.iterations[active.voxel] += 1
        _advance(active, step, expand)
    return result


def noise_variance(cost: Tensor, variance: Tensor, degrees: int) -> Tensor:
    """Noise variance per channel: what is known, else what the residual says."""
    estimated = cost / max(degrees, 1)
    return torch.where(variance > 0, variance, estimated).clamp_min(_FLOOR)


def _finish(result: Solution, active: _Active, done: Tensor) -> None:
    rows = torch.nonzero(done)[:, 0]
    voxel = active.voxel[rows]
    result.unit[voxel] = active.unit[rows]
    result.reason[voxel] = done[rows]
    result.quadratic.put(voxel, active.quadratic.rows(rows))


def _propose(active: _Active, noise: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Next step of each voxel, and how far it is from the minimum, in standard deviations.

    The undamped step, which tells, is solved only where the damped one is short: it can be short
    merely because it is damped, but never longer than the undamped one.
    """
    step, promise = _damped(active, active.damping, noise)
    near = torch.nonzero(promise <= (_CLOSE * tolerance) ** 2 * noise)[:, 0]
    if len(near):
        close = active.keep(near)
        least = torch.full_like(close.damping, _SMALLEST_DAMPING)
        longer, promise[near] = _damped(close, least, noise[near])
        # After failed steps the long one would fail again.
        step[near] = torch.where((close.growth > _GROWTH)[:, None], step[near], longer)
    # A promise that is not a decrease comes from a matrix too ill-conditioned to solve undamped.
    return step, (promise.abs() / noise).sqrt()


def _damped(active: _Active, damping: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    gradient, curvature = active.quadratic.gradient, active.curvature
    matrix = curvature.clone()
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    # A coordinate that leaves no trace in the signal is still damped: as if its bounds were
    # one standard deviation apart.
    diagonal += damping[:, None] * (diagonal + noise[:, None])
    step = box_step(matrix, gradient, -active.unit, 1 - active.unit)
    return step, decrease(gradient, curvature, step)


def _advance(active: _Active, step: Tensor, expand: Expand) -> None:
    """Try the step of each voxel; take it where the cost falls, damp more where it does not."""
    trial = (active.unit + step).clamp(0, 1)
    here, reached = active.quadratic, expand(trial, active.voxel)
    promised = decrease(here.gradient, active.curvature, step)
    gain = (here.cost - reached.cost) / promised.clamp_min(1e-300)
    finite = reached.finite()
    mean = (here.information + reached.information) / 2
    learned = learn(active.extra, mean, trial - active.unit, reached.gradient - here.gradient)
    active.extra = torch.where(finite[:, None], learned, active.extra)
    better = finite & (promised > 0) & (gain > 1e-4)
    rows = torch.nonzero(better)[:, 0]
    active.unit[rows] = trial[rows]
    here.put(rows, reached.rows(rows))
    shrink = (1 - (2 * gain.clamp(0, 2) - 1) ** 3).clamp(0.05, 4)
    lowered = (active.damping * shrink).clamp_min(_SMALLEST_DAMPING)
    active.damping = torch.where(better, lowered, active.damping * active.growth)
    active.growth = torch.where(better, _GROWTH, active.growth * 2)


def better_of(first: Solution, rows: Tensor, second: Solution) -> Solution:
    """``first``, changed in place where ``second`` (of its voxels ``rows``) fits better."""
    old = torch.where(first.reason[rows] == NOT_FINITE, torch.inf, first.quadratic.cost[rows])
    wins = (second.reason != NOT_FINITE) & (second.quadratic.cost < old * (1 - 1e-6) - _FLOOR)
    taken = rows[wins]
    first.unit[taken] = second.unit[wins]
    first.reason[taken] = second.reason[wins]
    first.quadratic.put(taken, second.quadratic.rows(wins))
    iterations = first.iterations.index_add(0, rows, second.iterations)
    return Solution(first.unit, first.quadratic, iterations, first.reason)


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
