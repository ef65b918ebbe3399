"""The best fit of every voxel: a first start for all, further starts for doubtful ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from bids_brnn.estimators.nlls.problem import Problem
from bids_brnn.estimators.nlls.results import on_bound
from bids_brnn.estimators.nlls.solver import (
    ITERATION_LIMIT,
    NOT_FINITE,
    RESOLVED,
    STALLED,
    Solution,
    StoppingRule,
    better_of,
)
from bids_brnn.estimators.nlls.starts import Starts
from bids_brnn.signals.base import amplitude_of

Choose = Callable[[Tensor], Starts]
"""Voxels ``(B,)`` of a problem -> points to start from."""


def first_starts(
    problem: Problem, choose: Choose, given: Tensor | None
) -> tuple[Tensor, Starts | None]:
    """First start of every voxel, ``(B, P)`` in unit coordinates, and the choice there was.

    ``given`` ``(B, P)`` holds start values, NaN where one is to be chosen.
    """
    if given is not None and not bool(given.isnan().any()):
        return given, None
    choice = choose(torch.arange(len(problem.data), device=problem.data.device))
    point = choice.take_best()[0]
    return point if given is None else torch.where(given.isnan(), point, given), choice


def search(
    problem: Problem,
    choose: Choose,
    given: Tensor | None,
    rule: StoppingRule,
    *,
    n_starts: int,
    high_residual: float,
    trusted: bool,
) -> tuple[Solution, Tensor]:
    """Best solution of every voxel, and how many starts ``(B,)`` it took.

    Parameters
    ----------
    problem
        The voxels.
    choose, given
        Where to start, see :func:`first_starts`.
    rule
        When an iteration ends.
    n_starts
        Of voxels that end on a bound or fit badly.
    high_residual
        Relative residual that is a bad fit, where the noise is not known.
    trusted
        Whether values that are given and fit are believed without a second start.
    """
    free = problem.free
    voxels = torch.arange(len(problem.data), device=problem.data.device)
    start, choice = first_starts(problem, choose, given)
    solution = problem.minimise(voxels, start[:, free], rule)
    starts = torch.ones_like(voxels)
    if n_starts == 1:
        return sharpened(problem, solution, rule), starts
    doubt = doubtful(problem, solution, high_residual)
    if choice is not None and amplitude_of(problem.model) != "complex":
        # A second minimum may lie 1 % lower; looking for it costs little.
        doubt = torch.ones_like(doubt)
    if choice is None:
        if trusted:
            voxels, doubt = voxels[doubt], doubt[doubt]
        choice = choose(voxels)
    solution = further(
        problem, solution, starts, voxels, choice, doubt, rule,
        n_starts=n_starts, high_residual=high_residual,
    )  # fmt: skip
    return sharpened(problem, solution, rule), starts


def further(
    problem: Problem,
    solution: Solution,
    starts: Tensor,
    voxels: Tensor,
    choice: Starts,
    doubt: Tensor,
    rule: StoppingRule,
    *,
    n_starts: int,
    high_residual: float,
) -> Solution:
    """The better of a solution and of further starts that promise to be, or where it is doubted.

    Parameters
    ----------
    problem, solution
        Of all voxels.
    starts
        ``(B,)``: how many there were; counted up in place.
    voxels, choice, doubt
        ``(b,)``: those to try again, from which points, and which of them are in doubt.
    rule, n_starts, high_residual
        As in :func:`search`.
    """
    free = problem.free
    choice.discard(problem.reached(solution.rows(voxels), voxels, choice.unit[..., free]))
    for _ in range(1, n_starts):
        point, promise = choice.take_best()
        cost = solution.quadratic.cost[voxels]
        again = torch.isfinite(promise) & (doubt | ~(promise >= cost))
        voxels, choice, point = voxels[again], choice.rows(again), point[again]
        if len(voxels) == 0:
            break
        second = problem.minimise(voxels, point[:, free], rule, solution.rows(voxels))
        starts[voxels] += 1
        choice.discard(problem.reached(second, voxels, choice.unit[..., free]))
        solution = better_of(solution, voxels, second)
        # A bound that a second start confirms is believed.
        doubt = poor(problem, solution, high_residual)[voxels]
    return solution


def sharpened(problem: Problem, solution: Solution, rule: StoppingRule) -> Solution:
    """The solution, carried on in double precision where round-off of the model ended it."""
    stuck = (solution.reason == RESOLVED) | (solution.reason == STALLED)
    rows = torch.nonzero(stuck)[:, 0]
    if problem.precision == torch.float64 or len(rows) == 0:
        return solution
    wide = replace(problem, precision=torch.float64)
    final = wide.minimise(rows.to(problem.data.device), solution.unit[rows], rule)
    good = final.reason != NOT_FINITE
    kept, final = rows[good], final.rows(good)
    solution.unit[kept], solution.reason[kept] = final.unit, final.reason
    solution.quadratic.put(kept, final.quadratic)
    solution.iterations[kept] += final.iterations
    return solution


def doubtful(problem: Problem, solution: Solution, high_residual: float) -> Tensor:
    """Voxels that do not fit, did not converge, or end on a bound."""
    edge = torch.cat(on_bound(solution.unit), -1).any(-1)
    return poor(problem, solution, high_residual) | edge


def poor(problem: Problem, solution: Solution, high_residual: float) -> Tensor:
    """Voxels that do not fit or did not converge."""
    cost = solution.quadratic.cost
    explained = 4 * problem.variance * max(problem.degrees, 1)
    high = torch.where(explained > 0, cost > explained, cost > high_residual**2)
    return high | (solution.reason >= ITERATION_LIMIT)
