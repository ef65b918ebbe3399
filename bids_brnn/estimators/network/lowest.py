"""Least squares of many voxels within bounds, as far as a limit of chi-squared asks for it.

Gauss-Newton steps with M0 projected out, a voxel leaving as soon as it is decided: what is left is
below the limit, or a parabola promises that it stays far above. Directions that the data hardly
tell are damped; they hardly change what is left either. Everything is batched, on the device of
the data and in single precision: chi-squared is known to 1e-5 then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bids_brnn.estimators.network.fit_test import least_within
from bids_brnn.information.bounds import project_out_scale

_DAMPING = (1e-2, 0.3, 8.0)
"""Of the information: at first, and factors after a step that lowers and one that does not."""
_CLOSE = 0.01
"""Of the limit: a step that promises less is not taken."""

Along = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(``theta`` ``(v, P)``, rows of the task) -> signal ``(v, R)`` and derivatives ``(v, R, F)`` by
the columns that are free."""

Rounds = Sequence[tuple[int, int]]
"""Of a race: evaluations of each start (0: of one the promise), and how many are kept."""


@dataclass(frozen=True)
class Task:
    """What is to be explained of ``v`` voxels with complex M0."""

    data: Tensor
    """``(v, R)`` complex."""
    sigma: Tensor
    """``(v,)`` of the noise per channel."""
    free: Sequence[int]
    """Columns of the parameters that are not known."""
    bounds: tuple[Tensor, Tensor]
    """``(P,)`` each."""
    enough: float
    """A voxel with less needs no further step."""
    hopeless: float
    """A voxel is given up where a parabola promises no less."""

    def rows(self, rows: Tensor, *, hopeless: float | None = None) -> Task:
        """The voxels ``rows``; with another ``hopeless``, in units of ``enough``."""
        given_up = self.hopeless if hopeless is None else hopeless * self.enough
        parts = (self.free, self.bounds, self.enough, given_up)
        return Task(self.data[rows], self.sigma[rows], *parts)


def lowest(along: Along, task: Task, theta: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Chi-squared ``(v,)`` float64 of what is left, and the parameters ``(v, P)`` of it.

    Parameters
    ----------
    along
        The signal model.
    task
        The voxels.
    theta
        ``(v, P)``: where to begin.
    steps
        Evaluations per voxel at most.
    """
    free = list(task.free)
    lower, upper = (bound[free].double() for bound in task.bounds)
    span = upper - lower
    best, trial = theta.clone(), theta.clone()
    least = torch.full(theta.shape[:1], torch.inf, dtype=torch.float64, device=theta.device)
    damping = torch.full_like(least, _DAMPING[0])
    gradient = least.new_zeros((len(least), len(free)))
    matrix = least.new_zeros((len(least), len(free), len(free)))
    rows = torch.arange(len(theta), device=theta.device)
    for number in range(steps):
        cost, slope, curved = _quadratic(along(trial[rows], rows), task, rows, span)
        better = cost < least[rows]
        won = rows[better]
        least[won], best[won] = cost[better], trial[won]
        gradient[won], matrix[won] = slope[better], curved[better]
        damping[rows] *= torch.where(better, _DAMPING[1], _DAMPING[2]).to(damping.dtype)
        rows = rows[least[rows] > task.enough]
        if not len(rows) or number == steps - 1:
            break
        here = (best[rows][:, free].double() - lower) / span
        step, gain = _step(matrix[rows], gradient[rows], damping[rows], here)
        promised = least[rows] - gain
        moves = (gain > _CLOSE * task.enough) | (promised <= task.enough)
        worth = moves & (promised < task.hopeless)
        rows, step, here = rows[worth], step[worth], here[worth]
        if not len(rows):
            break
        moved = best[rows]
        moved[:, free] = (lower + (here + step).clamp(0, 1) * span).to(theta.dtype)
        trial[rows] = moved.clamp(*task.bounds)
    return least, best


def promised(along: Along, task: Task, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Chi-squared ``(v,)`` that one step from ``theta`` ``(v, P)`` promises, and where it ends.

    Parameters are those of :func:`lowest`; one evaluation per voxel.
    """
    free = list(task.free)
    lower, upper = (bound[free].double() for bound in task.bounds)
    span, rows = upper - lower, torch.arange(len(theta), device=theta.device)
    cost, slope, curved = _quadratic(along(theta, rows), task, rows, span)
    here = (theta[:, free].double() - lower) / span
    step, gain = _step(curved, slope, torch.full_like(cost, _DAMPING[0]), here)
    end = theta.clone()
    end[:, free] = (lower + (here + step).clamp(0, 1) * span).to(theta.dtype)
    return cost - gain, end.clamp(*task.bounds)


def raced(along: Along, task: Task, starts: Tensor, rounds: Rounds) -> tuple[Tensor, Tensor]:
    """As :func:`lowest`, from the best of many starts: after each round only few go on.

    Together, because a few points cost as much as one.

    Parameters
    ----------
    along, task
        As for :func:`lowest`.
    starts
        ``(v, K, P)``.
    rounds
        The last one keeps one.
    """
    least = torch.full(starts.shape[:2], torch.inf, dtype=torch.float64, device=starts.device)
    voxels = torch.arange(len(starts), device=starts.device)
    for steps, kept in rounds:
        owner = voxels.repeat_interleave(starts.shape[1])

        def here(theta: Tensor, rows: Tensor, owner: Tensor = owner) -> tuple[Tensor, Tensor]:
            return along(theta, owner[rows])

        some, points = task.rows(owner), starts.flatten(0, 1)
        left, ends = lowest(here, some, points, steps) if steps else promised(here, some, points)
        least, order = left.unflatten(0, starts.shape[:2]).sort(1)
        least, order = least[:, :kept], order[:, :kept]
        starts = ends.unflatten(0, starts.shape[:2])[voxels[:, None], order]
    return least[:, 0], starts[:, 0]


def _quadratic(
    exact: tuple[Tensor, Tensor], task: Task, rows: Tensor, span: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Chi-squared ``(v,)``, half its negative gradient and half its curvature per ``span``."""
    signal, slopes = exact
    data = task.data[rows].to(signal.dtype)
    m0 = (signal.conj() * data).sum(-1) / signal.abs().square().sum(-1)
    rest = torch.view_as_real(data - m0[:, None] * signal).flatten(1)
    changes = project_out_scale(signal, slopes) * m0[:, None, None]
    jacobian = torch.view_as_real(changes.mT.contiguous()).flatten(2)
    weight = task.sigma[rows].double() ** -2
    slope = (jacobian @ rest[..., None])[..., 0].double() * span
    curved = (jacobian @ jacobian.mT).double() * span * span[:, None]
    cost = rest.double().square().sum(-1) * weight
    return cost, slope * weight[:, None], curved * weight[:, None, None]


def _step(
    matrix: Tensor, gradient: Tensor, damping: Tensor, here: Tensor
) -> tuple[Tensor, Tensor]:
    """Step ``(v, F)`` to the minimum of a damped parabola in the unit box, from ``here``.

    And by how much chi-squared ``(v,)`` falls on the parabola that is not damped.
    """
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    tiny = torch.finfo(gradient.dtype).tiny
    damped = matrix + torch.diag_embed(damping[:, None] * diagonal + tiny)
    step = least_within(damped, gradient, (-here, 1 - here))
    return step, ((2 * gradient - (matrix @ step[..., None])[..., 0]) * step).sum(-1)
