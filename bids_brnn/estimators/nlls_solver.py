"""Batched Levenberg-Marquardt in a box, with a complex scale projected out.

Every problem of a batch has its own damping, converges on its own and then leaves the batch.
Coordinates are fractions of the interval between the bounds ("unit"), so that 1e-5 s and 100 1/s
count alike. References: Golub & Pereyra, SIAM J Numer Anal 1973;10:413 (variable projection) with
Kaufman's simplified Jacobian (BIT 1975;15:49); Nielsen's rule for the damping (IMM-REP-1999-05).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from bids_brnn.bounds import project_out_scale

CONVERGED, STALLED, ITERATION_LIMIT, NOT_FINITE = 1, 2, 3, 4

_SMALLEST_DAMPING = 1e-12
_HOPELESS = 1e6
"""Damping beyond which steps are too short to matter."""
_FLOOR = 1e-20
"""Cost, relative to the energy of the data, below which there is only round-off."""


@dataclass(frozen=True)
class Quadratic:
    """The cost ``|y - m0 s|^2`` of ``B`` voxels and its Gauss-Newton expansion.

    ``cost(x + d) ~ cost + 2 gradient.d + d.information.d``
    """

    cost: Tensor
    """``(B,)``."""
    m0: Tensor
    """``(B,)`` complex: best scale."""
    gradient: Tensor
    """``(B, F)``."""
    information: Tensor
    """``(B, F, F)``: Fisher information for noise of standard deviation 1 per channel."""

    def rows(self, rows: Tensor) -> Quadratic:
        """The voxels ``rows`` (indices or flags)."""
        return Quadratic(*(getattr(self, field.name)[rows] for field in fields(self)))

    def put(self, rows: Tensor, other: Quadratic) -> None:
        """Overwrite the voxels ``rows`` in place."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(other, field.name)

    def finite(self) -> Tensor:
        """``(B,)`` flags of voxels whose expansion holds no NaN or infinity."""
        flat = torch.cat([self.gradient, self.information.flatten(1)], dim=-1)
        return torch.isfinite(self.cost) & torch.isfinite(flat).all(-1)


Expand = Callable[[Tensor, Tensor], Quadratic]
"""(unit coordinates ``(B, F)``, voxels ``(B,)``) -> expansion there."""


def expand_cost(signal: Tensor, derivatives: Tensor, data: Tensor) -> Quadratic:
    """Expand the cost around ``signal`` after projection of the complex scale.

    Parameters
    ----------
    signal, data
        ``(..., N)`` complex; the signal at M0 = 1.
    derivatives
        ``(..., N, F)`` of the signal with respect to the unit coordinates.

    Notes
    -----
    With ``P`` the projector orthogonal to ``s``, the residual is ``P y`` and Kaufman's Jacobian
    ``-m0 P ds/dx``. What it neglects is orthogonal to the residual, so the gradient is exact; the
    Gram matrix is the Fisher information with M0 unknown. Parameters are real: real parts.
    """
    energy = (signal.conj() * signal).real.sum(-1)
    m0 = (signal.conj() * data).sum(-1) / energy
    residual = data - m0[..., None] * signal
    jacobian = project_out_scale(signal, derivatives) * m0[..., None, None]
    gradient = -(jacobian.mH @ residual[..., None])[..., 0].real
    cost = (residual.conj() * residual).real.sum(-1)
    return Quadratic(cost, m0, gradient, (jacobian.mH @ jacobian).real)


def decrease(quadratic: Quadratic, step: Tensor) -> Tensor:
    """Decrease of the cost that the expansion predicts for ``step``, ``(B,)``."""
    curved = (quadratic.information @ step[..., None])[..., 0]
    return -((2 * quadratic.gradient + curved) * step).sum(-1)


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
        freed = at_minimum & fixed.any(-1) & (inwards.gather(1, worst)[:, 0] > 0)
        fixed = (fixed | met).scatter(1, worst, (fixed | met).gather(1, worst) & ~freed[:, None])
        step[rows], held[rows] = now, fixed
        rows = rows[~at_minimum | freed]
    return step


def _solve_free(matrix: Tensor, gradient: Tensor, fixed: Tensor, step: Tensor) -> Tensor:
    """Minimum over the coordinates that are not ``fixed``, the others keeping their ``step``."""
    held = torch.where(fixed, step, 0)
    right = torch.where(fixed, 0, -(gradient + (matrix @ held[..., None])[..., 0]))
    scale = matrix.diagonal(dim1=-2, dim2=-1).clamp_min(1e-300).rsqrt()
    scale = torch.where(fixed, 0, scale)
    unit = matrix * scale[..., :, None] * scale[..., None, :]
    unit.diagonal(dim1=-2, dim2=-1)[fixed] = 1
    factor, info = torch.linalg.cholesky_ex(unit)
    solved = torch.cholesky_solve((right * scale)[..., None], factor)[..., 0] * scale
    # A matrix that is singular to working precision still gives a way down: scaled descent.
    good = (info == 0)[..., None] & torch.isfinite(solved)
    return torch.where(fixed, held, torch.where(good, solved, right * scale**2))


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
    damping: Tensor
    growth: Tensor

    def keep(self, rows: Tensor) -> _Active:
        return _Active(
            self.voxel[rows],
            self.unit[rows],
            self.quadratic.rows(rows),
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
    active = _Active(voxel, start, first, damping, torch.full_like(damping, 2.0))
    active = active.keep(first.finite())
    for iteration in range(1, rule.max_iterations + 1):
        noise = noise_variance(active.quadratic.cost, variance[active.voxel], degrees)
        step, left = _propose(active, noise, rule.tolerance)
        done = left <= rule.tolerance
        # Near the minimum a step that fails tells of round-off rather than of curvature.
        failed = active.growth > 2
        stalled = ~done & failed & ((left <= 5 * rule.tolerance) | (active.damping > _HOPELESS))
        _finish(result, active, done, CONVERGED)
        _finish(result, active, stalled, STALLED)
        going = ~(done | stalled)
        if iteration == rule.max_iterations:
            _finish(result, active, going, ITERATION_LIMIT)
            break
        active, step = active.keep(going), step[going]
        if len(step) == 0:
            break
        result.iterations[active.voxel] += 1
        _advance(active, step, expand)
    return result


def noise_variance(cost: Tensor, variance: Tensor, degrees: int) -> Tensor:
    """Noise variance per channel: what is known, else what the residual says."""
    estimated = cost / max(degrees, 1)
    return torch.where(variance > 0, variance, estimated).clamp_min(_FLOOR)


def _finish(result: Solution, active: _Active, rows: Tensor, reason: int) -> None:
    voxel = active.voxel[rows]
    result.unit[voxel] = active.unit[rows]
    result.reason[voxel] = reason
    result.quadratic.put(voxel, active.quadratic.rows(rows))


def _propose(active: _Active, noise: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Next step of each voxel, and how far it is from the minimum, in standard deviations.

    The undamped step, which tells, is solved only where the damped one is short: it can be short
    merely because it is damped, but never longer than the undamped one.
    """
    step, promise = _damped(active, active.damping, noise)
    near = torch.nonzero(promise <= (5 * tolerance) ** 2 * noise)[:, 0]
    if len(near):
        close = active.keep(near)
        least = torch.full_like(close.damping, _SMALLEST_DAMPING)
        longer, promise[near] = _damped(close, least, noise[near])
        # After failed steps the long one would fail again.
        step[near] = torch.where((close.growth > 2)[:, None], step[near], longer)
    # A promise that is not a decrease comes from a matrix too ill-conditioned to solve undamped.
    return step, (promise.abs() / noise).sqrt()


def _damped(active: _Active, damping: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    quadratic = active.quadratic
    matrix = quadratic.information.clone()
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    # A coordinate that leaves no trace in the signal is still damped: as if its bounds were
    # one standard deviation apart.
    diagonal += damping[:, None] * (diagonal + noise[:, None])
    step = box_step(matrix, quadratic.gradient, -active.unit, 1 - active.unit)
    return step, decrease(quadratic, step)


def _advance(active: _Active, step: Tensor, expand: Expand) -> None:
    """Try the step of each voxel; take it where the cost falls, damp more where it does not."""
    trial = (active.unit + step).clamp(0, 1)
    reached = expand(trial, active.voxel)
    promised = decrease(active.quadratic, step)
    gain = (active.quadratic.cost - reached.cost) / promised.clamp_min(1e-300)
    better = reached.finite() & (promised > 0) & (gain > 1e-4)
    rows = torch.nonzero(better)[:, 0]
    active.unit[rows] = trial[rows]
    active.quadratic.put(rows, reached.rows(rows))
    shrink = (1 - (2 * gain.clamp(0, 2) - 1) ** 3).clamp(0.05, 4)
    lowered = (active.damping * shrink).clamp_min(_SMALLEST_DAMPING)
    active.damping = torch.where(better, lowered, active.damping * active.growth)
    active.growth = torch.where(better, 2.0, active.growth * 2)


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
